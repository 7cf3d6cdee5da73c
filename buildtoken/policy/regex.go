package policy

import (
	"fmt"
	"regexp/syntax"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// regexes checks regular expressions when a rule is compiled. Each must stand in the rule as a literal,
// or be an element of a list of literals that the rule loops over: matching takes time in proportion
// to the size of the pattern too, and cannot be interrupted, so no caller may choose the pattern.
//
// It takes the place of two of CEL's validators. The one that checks reports only "invalid
// argument"; the one that limits the size panics on any repetition like {2,4}, as it compiles the pattern
// without simplifying it first.
type regexes struct{}

// Name implements [cel.ASTValidator]. It is the name of CEL's own validator, whose place this one takes.
func (regexes) Name() string { return "cel.validator.matches" }

// Validate implements [cel.ASTValidator].
func (regexes) Validate(_ *cel.Env, _ cel.ValidatorConfig, a *ast.AST, issues *cel.Issues) {
	for _, call := range ast.MatchDescendants(ast.NavigateAST(a), ast.FunctionMatcher("matches")) {
		args := call.AsCall().Args() // the checked call has a pattern
		pattern := args[len(args)-1]
		literals, ok := patterns(call, pattern)
		if !ok {
			issues.ReportErrorAtID(pattern.ID(), "the pattern of matches must be a literal text")
		}
		for _, l := range literals {
			if err := checkPattern(l); err != nil {
				issues.ReportErrorAtID(pattern.ID(), "%s", err)
				break
			}
		}
	}
}

// patterns returns the texts that the pattern of a call may be; ok is false if the rule does not say.
func patterns(call ast.NavigableExpr, pattern ast.Expr) (texts []string, ok bool) {
	if s, ok := literal(pattern); ok {
		return []string{s}, true
	}
	if pattern.Kind() != ast.IdentKind {
		return nil, false
	}
	for e, more := call.Parent(); more; e, more = e.Parent() {
		if e.Kind() != ast.ComprehensionKind || e.AsComprehension().IterVar() != pattern.AsIdent() {
			continue
		}
		list := e.AsComprehension().IterRange()
		if list.Kind() != ast.ListKind {
			return nil, false
		}
		for _, element := range list.AsList().Elements() {
			s, ok := literal(element)
			if !ok {
				return nil, false
			}
			texts = append(texts, s)
		}
		return texts, true
	}
	return nil, false
}

func literal(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

func checkPattern(pattern string) error {
	size, err := programSize(pattern)
	if err == nil && size > maxRegexProgram {
		err = fmt.Errorf("regular expression too large: %d instructions, the limit is %d", size, maxRegexProgram)
	}
	return err
}

// programSize counts the instructions that matching text of any length goes through at most once per
// character.
func programSize(pattern string) (int, error) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0, err
	}
	program, err := syntax.Compile(re.Simplify())
	if err != nil {
		return 0, fmt.Errorf("compile: %w", err)
	}
	return len(program.Inst), nil
}

var _ cel.ASTValidator = regexes{}
