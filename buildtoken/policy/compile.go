package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/ext"
)

// ErrBadRule is wrapped by the errors of [Env.Compile]: a rule is not valid CEL, not of type bool, too
// long or too dear. The text names the rule, the place in it, and what is wrong there.
var ErrBadRule = errors.New("policy: bad rule")

const (
	maxSource       = 8192 // characters of a rule
	maxNesting      = 2    // comprehensions inside each other
	maxRegexProgram = 1000 // instructions of a compiled regular expression
	interruptEvery  = 100  // steps of a loop between two looks at the context
	maxProblem      = 300  // bytes of one problem's text in an error
)

// Rule is one CEL expression of type bool.
type Rule struct {
	Name   string // what errors and logs show, like "team/app allow 1"
	Source string
	// Message is for a caller that the rule refuses; empty if there is none.
	Message string
	// At is the file and line of the rule, such as "Caddyfile:12"; empty if unknown.
	At string
}

// Env compiles rules: it has the variables and functions. [NewEnv] and [NewAccessEnv] take about
// 0.3 ms, so call them once for a configuration. An Env is safe for concurrent use.
//
// It caches compiled rules, since each takes about 0.3 ms, and many jobs have the same ones. Release it
// when the rules of a configuration are compiled.
type Env struct {
	cel   *cel.Env
	sizes checker.CostEstimator
	limit uint64 // of the cost of one rule
	// bounds limit what single calls, and all calls of an evaluation, may do.
	bounds []cel.ProgramOption
	// untracked leaves it to the context to end a loop. CEL tracks the cost at run time
	// in a time that grows with the square of the number of rounds: 2 s for
	// 20 000 rounds.
	untracked bool

	// mu guards the following.
	mu    sync.Mutex
	known map[string]compiled // by source
}

// NewEnv returns the environment of rules about triggers. They see every variable.
func NewEnv() (*Env, error) { return newEnv(false) }

// NewAccessEnv returns the environment of the rules of an access block. They see user, job and request.
func NewAccessEnv() (*Env, error) { return newEnv(true) }

func newEnv(access bool) (*Env, error) { return newEnvWith(variables(access), sizes{}, maxCost) }

func newEnvWith(variables []cel.EnvOption, sizes checker.CostEstimator, limit uint64) (*Env, error) {
	opts := append(variables,
		cel.OptionalTypes(),
		ext.Strings(), ext.Sets(), ext.Math(), ext.Encoders(), ext.Network(),
		extensionEstimates(),
		withStructs,
		cel.DefaultUTCTimeZone(true),
		cel.ExtendedValidations(),
		cel.ParserExpressionSizeLimit(maxSource),
		cel.ASTValidators(regexes{}, cel.ValidateComprehensionNestingLimit(maxNesting)),
	)
	e, err := cel.NewEnv(opts...)
	if err != nil {
		return nil, fmt.Errorf("policy: build environment: %w", err)
	}
	bounds, err := boundedCalls(e)
	if err != nil {
		return nil, err
	}
	return &Env{cel: e, sizes: sizes, limit: limit, bounds: append(bounds, boundedMemory()), known: map[string]compiled{}}, nil
}

// Compile checks the rules and returns the policy that allows what all of them allow, evaluated in this
// order. Without rules it allows everything. The error covers every bad rule, one line each, and
// wraps [ErrBadRule].
func (e *Env) Compile(rules []Rule) (*Policy, error) {
	p := &Policy{rules: make([]compiled, 0, len(rules))}
	var errs []error
	for _, r := range rules {
		c, err := e.once(r)
		if err != nil {
			errs = append(errs, fmt.Errorf("%w: %s: %w", ErrBadRule, r.Name, err))
			continue
		}
		p.rules = append(p.rules, c)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return p, nil
}

// once compiles a rule, unless one with the same source was compiled before.
func (e *Env) once(r Rule) (compiled, error) {
	e.mu.Lock()
	c, ok := e.known[r.Source]
	e.mu.Unlock()
	if ok {
		c.rule = r
		return c, nil
	}
	c, err := e.compile(r)
	if err != nil {
		return compiled{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.known[r.Source] = c
	return c, nil
}

func (e *Env) compile(r Rule) (compiled, error) {
	checked, err := e.check(r.Source)
	if err != nil {
		return compiled{}, err
	}
	if t := checked.OutputType(); t != cel.BoolType {
		return compiled{}, fmt.Errorf("the expression is of type %s, want bool%s", cel.FormatCELType(t), quoted(r.Source))
	}
	return e.program(r, checked)
}

// check parses and type-checks an expression. A panic of the checker is an error of the
// expression: cel-go's validator of lists panics over some optional elements.
func (e *Env) check(source string) (checked *cel.Ast, err error) {
	if strings.TrimSpace(source) == "" {
		return nil, errors.New("the expression is empty")
	}
	defer func() {
		if p := recover(); p != nil {
			checked, err = nil, fmt.Errorf("the expression cannot be checked; a ? in a list or map needs an optional value after it (%v)%s", p, quoted(source))
		}
	}()
	checked, issues := e.cel.Compile(source)
	if issues.Err() != nil {
		return nil, problems(issues, source)
	}
	return checked, nil
}

// program makes a checked expression ready to run, within the limit of its cost.
func (e *Env) program(r Rule, checked *cel.Ast) (compiled, error) {
	cost, bounded, err := estimate(e.cel, checked, e.sizes)
	switch {
	case err != nil:
		return compiled{}, fmt.Errorf("estimate cost: %w", err)
	case !bounded:
		return compiled{}, fmt.Errorf("too dear: its cost has no bound, the limit is %d%s", e.limit, quoted(r.Source))
	case cost > e.limit:
		return compiled{}, fmt.Errorf("too dear: it may cost %d, the limit is %d%s", cost, e.limit, quoted(r.Source))
	}
	opts := append(slices.Clone(e.bounds), cel.EvalOptions(cel.OptOptimize), cel.InterruptCheckFrequency(interruptEvery))
	if !e.untracked {
		opts = append(opts, cel.CostLimit(e.limit), jsonCost())
	}
	program, err := e.cel.Program(checked, opts...)
	if err != nil {
		return compiled{}, fmt.Errorf("%s%s", oneLine(err.Error()), quoted(r.Source))
	}
	return compiled{rule: r, program: program, loops: hasLoop(checked), names: mentioned(checked), reads: reads(checked)}, nil
}

// mentioned returns the variables that an expression mentions.
func mentioned(checked *cel.Ast) map[string]bool {
	names := map[string]bool{}
	for _, reference := range checked.NativeRep().ReferenceMap() {
		names[reference.Name] = true // a function has none
	}
	return names
}

// hasLoop reports whether the evaluation takes a loop: only loops check the context.
func hasLoop(checked *cel.Ast) bool {
	root := ast.NavigateAST(checked.NativeRep())
	return len(ast.MatchDescendants(root, ast.KindMatcher(ast.ComprehensionKind))) > 0
}

// problems turns what CEL found into one line: the place (line and column, from 1) before each problem,
// the source at the end.
func problems(issues *cel.Issues, source string) error {
	list := slices.Clone(issues.Errors())
	texts := make([]string, 0, len(list))
	for _, p := range list {
		text := oneLine(strings.ReplaceAll(p.Message, " (in container '')", ""))
		if p.Location != nil && p.Location.Line() > 0 {
			text = fmt.Sprintf("%d:%d: %s", p.Location.Line(), p.Location.Column()+1, text)
		}
		texts = append(texts, text)
	}
	return errors.New(strings.Join(texts, "; ") + quoted(source))
}

// quoted is the source as the end of an error.
func quoted(source string) string { return " in `" + oneLine(source) + "`" }

// oneLine puts s on one line of bearable length.
func oneLine(s string) string {
	return shorten(strings.Join(strings.Fields(s), " "))
}

func shorten(s string) string {
	if len(s) <= maxProblem {
		return s
	}
	return strings.ToValidUTF8(s[:maxProblem], "") + "…"
}
