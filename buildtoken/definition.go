package buildtoken

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// ErrDefinition is wrapped by every error of [Define]. The text names the job
// or folder that is wrong.
var ErrDefinition = errors.New("buildtoken: bad definition")

// DefaultQuietPeriod is the quiet period of a job that nothing says one for.
const DefaultQuietPeriod = 5 * time.Second

// Spec is a job tree as a configuration has it.
type Spec struct {
	// Root is the tree. Its Name is empty.
	Root Folder
	// Access says what callers without a token may do.
	Access Access
}

// Access holds CEL rules over user, job and request. An empty rule is the
// default: everybody whom an authentication handler let in may read, nobody
// may build or cancel.
type Access struct{ Read, Build, Cancel string }

// Folder holds jobs and folders. What stands in it applies to every job below,
// unless the job says otherwise.
type Folder struct {
	Name     string
	Settings job.Settings
	// Tokens open every job below.
	Tokens []Token
	// Allow are CEL rules; all must be true for every job below.
	Allow   []string
	Folders []Folder
	Jobs    []Job
}

// Token is a token as a configuration has it, the secret already digested.
type Token struct {
	// Name defaults to "default".
	Name   string
	Digest token.Digest
	// Expires is when the token stops to work. Zero: never.
	Expires time.Time
	// Grants default to token.Trigger.
	Grants token.Grant
	// Allow are CEL rules for callers with this token, besides those of job and folders.
	Allow []string
}

// Job is a job as a configuration has it.
type Job struct {
	Name        string
	Description string
	Disabled    bool
	Concurrent  bool
	Coalesce    job.Coalesce
	Settings    job.Settings
	Tokens      []Token
	Allow       []string
	Params      []job.Param
	// Runner runs the builds. It is required.
	Runner runner.Runner
	// Poller looks for changes; nil: the job can't be polled.
	Poller runner.Poller
	// Badge lets everybody see the state of the job as a picture.
	Badge bool
}

// Definition is a compiled configuration of one site. It is immutable and may
// be used by any number of goroutines.
type Definition struct {
	tree   *job.Tree
	jobs   map[string]*definedJob
	access struct{ read, build, cancel *policy.Policy }
	// files is set if some job takes files, so that a body may be large.
	files bool
}

// definedJob is all that is known of one job.
type definedJob struct {
	*job.Job
	tokens token.Set
	// rules apply to every caller: those of the folders from the top, then the job's.
	rules []*policy.Policy
	// byToken are the rules of the tokens, by level and name.
	byToken map[tokenKey]*policy.Policy
	runner  runner.Runner
	poller  runner.Poller
	badge   bool
	// fitsSmall says whether the runner can start builds with any small values;
	// found out when it is first asked for.
	fitsSmall func() bool
}

type tokenKey struct {
	level int
	name  string
}

// Define checks and compiles a tree. Its errors wrap [ErrDefinition], and all
// that can be found are joined.
func Define(spec Spec) (*Definition, error) {
	triggers, err := policy.NewEnv()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDefinition, err)
	}
	accesses, err := policy.NewAccessEnv()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDefinition, err)
	}
	c := compiler{env: triggers, d: &Definition{jobs: map[string]*definedJob{}}}
	c.folder("", spec.Root, scope{})
	c.d.access.read = c.accessRule(accesses, "read", spec.Access.Read, `user != ""`)
	c.d.access.build = c.accessRule(accesses, "build", spec.Access.Build, "false")
	c.d.access.cancel = c.accessRule(accesses, "cancel", spec.Access.Cancel, "false")
	if len(c.errs) == 0 {
		if c.d.tree, err = job.NewTree(c.all); err != nil {
			c.fail("", err)
		} else {
			for _, j := range c.d.tree.Jobs() {
				c.d.jobs[j.FullName].Job = j
			}
		}
	}
	if err := errors.Join(c.errs...); err != nil {
		return nil, err
	}
	return c.d, nil
}

// scope is what a job inherits.
type scope struct {
	settings job.Settings
	tokens   []levelTokens // innermost last
	rules    []*policy.Policy
}

type levelTokens struct {
	tokens []Token
	rules  []*policy.Policy
}

// compiler walks the tree once and keeps every error.
type compiler struct {
	env  *policy.Env
	d    *Definition
	all  []job.Job
	errs []error
}

func (c *compiler) fail(where string, err error) {
	if where == "" {
		c.errs = append(c.errs, fmt.Errorf("%w: %w", ErrDefinition, err))
		return
	}
	c.errs = append(c.errs, fmt.Errorf("%w: %s: %w", ErrDefinition, where, err))
}

func (c *compiler) folder(full string, f Folder, outer scope) {
	inner := c.enter(full, "", f.Settings, f.Tokens, f.Allow, outer)
	for _, sub := range f.Folders {
		if err := job.CheckName(sub.Name); err != nil {
			c.fail(job.Join(full, sub.Name), fmt.Errorf("folder: %w", err))
			continue
		}
		c.folder(job.Join(full, sub.Name), sub, inner)
	}
	for _, j := range f.Jobs {
		c.job(full, j, inner)
	}
}

// enter adds what a folder or job says to what it inherits.
func (c *compiler) enter(full, kind string, s job.Settings, tokens []Token, allow []string, outer scope) scope {
	where := full
	if where == "" {
		where = "top level"
	}
	inner := scope{
		settings: s.Under(outer.settings),
		tokens:   slices.Clone(outer.tokens),
		rules:    slices.Clone(outer.rules),
	}
	if p := c.rules(where+kind, allow); p != nil {
		inner.rules = append(inner.rules, p)
	}
	level := levelTokens{}
	for _, t := range tokens {
		if t.Name == "" {
			t.Name = "default"
		}
		if t.Grants == 0 {
			t.Grants = token.Trigger
		}
		level.tokens = append(level.tokens, t)
		level.rules = append(level.rules, c.rules(where+kind+" token "+t.Name, t.Allow))
	}
	inner.tokens = append(inner.tokens, level)
	return inner
}

// rules compiles the rules of one place; nil if there are none.
func (c *compiler) rules(where string, allow []string) *policy.Policy {
	if len(allow) == 0 {
		return nil
	}
	rules := make([]policy.Rule, len(allow))
	for i, source := range allow {
		rules[i] = policy.Rule{Name: fmt.Sprintf("%s allow %d", where, i+1), Source: source}
	}
	p, err := c.env.Compile(rules)
	if err != nil {
		c.fail("", err)
	}
	return p
}

func (c *compiler) accessRule(env *policy.Env, what, source, byDefault string) *policy.Policy {
	if source == "" {
		source = byDefault
	}
	p, err := env.Compile([]policy.Rule{{Name: "access " + what, Source: source}})
	if err != nil {
		c.fail("", err)
	}
	return p
}

func (c *compiler) job(folder string, j Job, outer scope) {
	full := job.Join(folder, j.Name)
	if err := job.CheckName(j.Name); err != nil {
		c.fail(full, fmt.Errorf("job: %w", err))
		return
	}
	if c.d.jobs[full] != nil {
		c.fail(full, job.ErrDuplicate)
		return
	}
	if j.Runner == nil {
		c.fail(full, errors.New("nothing to run: a job needs a runner"))
	}
	c.checkArguments(full, j)
	inner := c.enter(full, "", j.Settings, j.Tokens, j.Allow, outer)
	defined := &definedJob{
		rules: inner.rules, byToken: map[tokenKey]*policy.Policy{},
		runner: j.Runner, poller: j.Poller, badge: j.Badge,
	}
	defined.fitsSmall = sync.OnceValue(defined.fitsLargestSmall)
	var tokens []token.Token
	for level, at := range slices.Backward(inner.tokens) {
		distance := len(inner.tokens) - 1 - level
		for i, t := range at.tokens {
			tokens = append(tokens, token.Token{Name: t.Name, Digest: t.Digest, Expires: t.Expires, Grants: t.Grants, Level: distance})
			if at.rules[i] != nil {
				defined.byToken[tokenKey{distance, t.Name}] = at.rules[i]
			}
		}
	}
	set, err := token.NewSet(tokens)
	if err != nil {
		c.fail(full, err)
	}
	defined.tokens = set
	settings := inner.settings
	if settings.QuietPeriod == nil {
		quiet := DefaultQuietPeriod
		settings.QuietPeriod = &quiet
	}
	inTree := job.Job{
		FullName: full, Description: j.Description, Disabled: j.Disabled, Concurrent: j.Concurrent,
		Coalesce: j.Coalesce, Settings: settings, Params: j.Params,
	}
	if err := inTree.Check(); err != nil {
		c.fail("", err)
	}
	c.d.jobs[full] = defined
	c.d.files = c.d.files || slices.ContainsFunc(j.Params, func(p job.Param) bool { return p.Kind == job.KindFile })
	c.all = append(c.all, inTree)
}

// argumenter is a runner that puts parameters into its command's arguments.
type argumenter interface {
	// Params are the names of the parameters that it refers to.
	Params() []string
}

// checkArguments refuses references to parameters that the job does not have,
// and to passwords: the arguments of a process are for everybody on the
// machine to see.
func (c *compiler) checkArguments(full string, j Job) {
	for _, r := range []any{j.Runner, j.Poller} {
		a, ok := r.(argumenter)
		if !ok {
			continue
		}
		for _, name := range a.Params() {
			at := slices.IndexFunc(j.Params, func(p job.Param) bool { return p.Name == name })
			switch {
			case at < 0:
				c.fail(full, fmt.Errorf("{param.%s}: the job has no such parameter", name))
			case j.Params[at].Kind == job.KindPassword:
				c.fail(full, fmt.Errorf("{param.%s}: a password would be seen in the list of processes; the command finds it in its environment", name))
			}
		}
	}
}

// Tree is the job tree.
func (d *Definition) Tree() *job.Tree { return d.tree }

// TakesFiles says whether some job has a file parameter.
func (d *Definition) TakesFiles() bool { return d.files }

// lookup finds a job by the name that a request gave.
func (d *Definition) lookup(given string) (*definedJob, error) {
	full, err := job.ParseFullName(given)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknownJob, err)
	}
	if j, ok := d.jobs[full]; ok {
		return j, nil
	}
	return nil, fmt.Errorf("%w: %q", ErrUnknownJob, full)
}

// url is where the job's pages are, below a root that ends with a slash.
func jobURL(root, full string) string {
	var b strings.Builder
	b.WriteString(root)
	for segment := range strings.SplitSeq(full, "/") {
		b.WriteString("job/")
		b.WriteString(escape(segment))
		b.WriteByte('/')
	}
	return b.String()
}
