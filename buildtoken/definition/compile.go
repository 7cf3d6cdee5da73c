package definition

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// Compile checks and compiles a configuration. Its errors wrap [ErrInvalid];
// all that can be found are joined.
func Compile(spec Spec) (*Site, error) {
	triggers, err := policy.NewEnv()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	accesses, err := policy.NewAccessEnv()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	c := compiler{env: triggers, newEventEnv: sync.OnceValues(policy.NewEventEnv), site: &Site{jobs: map[string]*Compiled{}}, url: spec.URL}
	c.folder("", spec.Root, scope{})
	c.site.access.read = c.accessRule(accesses, "read", spec.Access.Read, `user != ""`)
	c.site.access.build = c.accessRule(accesses, "build", spec.Access.Build, "false")
	c.site.access.cancel = c.accessRule(accesses, "cancel", spec.Access.Cancel, "false")
	if len(c.errs) == 0 {
		if c.site.tree, err = job.NewTree(c.all); err != nil {
			c.fail("", err)
		} else {
			for _, j := range c.site.tree.Jobs() {
				compiled := c.site.jobs[j.FullName]
				if compiled.Job = j; len(compiled.On) > 0 {
					c.site.hooked = append(c.site.hooked, j.FullName)
				}
			}
			slices.Sort(c.site.hooked)
		}
	}
	if err := errors.Join(c.errs...); err != nil {
		return nil, err
	}
	return c.site, nil
}

// maxMessage bounds the message of a rule, in bytes.
const maxMessage = 300

// scope is what a job inherits.
type scope struct {
	settings job.Settings
	tokens   []levelTokens // innermost last
	rules    []*policy.Policy
	webhooks []*Webhook // innermost last
	notify   []Notify
}

type levelTokens struct {
	tokens []Token
	rules  []*policy.Policy
}

// compiler walks the tree once and keeps every error.
type compiler struct {
	env *policy.Env
	// newEventEnv returns the one environment of On, which most sites do not need.
	newEventEnv func() (*policy.EventEnv, error)
	site        *Site
	url         string
	all         []job.Job
	errs        []error
}

func (c *compiler) fail(where string, err error) {
	if where == "" {
		c.errs = append(c.errs, fmt.Errorf("%w: %w", ErrInvalid, err))
		return
	}
	c.errs = append(c.errs, fmt.Errorf("%w: %s: %w", ErrInvalid, where, err))
}

func (c *compiler) folder(full string, f Folder, outer scope) {
	inner := c.enter(full, "", f.Settings, f.Tokens, f.Allow, outer)
	inner.webhooks = c.webhooks(full, f.Webhooks, outer.webhooks)
	inner.notify = c.notifies(full, f.Notify, outer.notify)
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

// enter adds the settings of a folder or job to those that it inherits.
func (c *compiler) enter(full, kind string, s job.Settings, tokens []Token, allow []policy.Rule, outer scope) scope {
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
func (c *compiler) rules(where string, allow []policy.Rule) *policy.Policy {
	if len(allow) == 0 {
		return nil
	}
	rules := slices.Clone(allow)
	for i := range rules {
		rules[i].Name = fmt.Sprintf("%s allow %d", where, i+1)
		rules[i].Message = queue.OneLine(rules[i].Message, maxMessage)
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
	if c.site.jobs[full] != nil {
		c.fail(full, job.ErrDuplicate)
	}
	if j.Runner == nil {
		c.fail(full, errors.New("nothing to run: a job needs a runner"))
	}
	c.checkReferences(full, j)
	inner := c.enter(full, "", j.Settings, j.Tokens, j.Allow, outer)
	inner.webhooks = c.webhooks(full, j.Webhooks, outer.webhooks)
	inner.notify = c.notifies(full, j.Notify, outer.notify)
	c.checkNotify(full, j, inner.notify)
	defined := &Compiled{
		Rules: inner.rules, byToken: map[tokenKey]*policy.Policy{},
		Runner: j.Runner, Poller: j.Poller, Badge: j.Badge, On: c.on(full, j, inner.webhooks), Schedules: c.schedules(full, j), URL: c.url,
		Notify: inner.notify,
	}
	defined.fitsSmall = sync.OnceValue(defined.fitsLargestSmall)
	var tokens []token.Token
	for level, at := range slices.Backward(inner.tokens) {
		distance := len(inner.tokens) - 1 - level
		if len(at.tokens) > 0 {
			defined.Places = append(defined.Places, place(full, distance))
		}
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
	defined.Tokens = set
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
	c.site.jobs[full] = defined
	c.all = append(c.all, inTree)
}

// referrer is a runner or poller whose configuration refers to parameters where others can see their values, as in the
// arguments of a process.
type referrer interface {
	// Params returns the names of these parameters.
	Params() []string
}

// hider is a runner or poller whose configuration refers to parameters where no one else can see their values.
type hider interface {
	// HiddenParams returns the names of these parameters.
	HiddenParams() []string
}

// place returns a text for the job (distance 0) or for the folder so many
// levels above it. That of a folder ends with a slash; that of the top level is empty.
func place(full string, distance int) string {
	for range distance {
		full = strings.TrimSuffix(full, "/")
		full = full[:strings.LastIndexByte(full, '/')+1]
	}
	return full
}

// noParam is the error of a reference to a parameter that is not among params.
func noParam(params []job.Param) error {
	if len(params) == 0 {
		return errors.New("the job has no such parameter, and no other")
	}
	var names []string
	for _, p := range params {
		names = append(names, p.Name)
	}
	return fmt.Errorf("the job has no such parameter, only %s", strings.Join(names, ", "))
}

// checkReferences refuses references to parameters that the job does not have, and to passwords where others can see them.
func (c *compiler) checkReferences(full string, j Job) {
	check := func(name string, visible bool) {
		at := slices.IndexFunc(j.Params, func(p job.Param) bool { return p.Name == name })
		switch {
		case at < 0:
			c.fail(full, fmt.Errorf("{param.%s}: %w", name, noParam(j.Params)))
		case visible && j.Params[at].Kind == job.KindPassword:
			c.fail(full, fmt.Errorf("{param.%s}: others could see a password here, in the list of processes or in the log of a server; "+
				"a command finds it in its environment, a request can have it in a header or the body", name))
		}
	}
	for _, r := range []any{j.Runner, j.Poller} {
		if r, ok := r.(referrer); ok {
			for _, name := range r.Params() {
				check(name, true)
			}
		}
		if r, ok := r.(hider); ok {
			for _, name := range r.HiddenParams() {
				check(name, false)
			}
		}
	}
}
