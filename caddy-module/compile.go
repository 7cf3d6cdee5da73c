package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/hook"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// compiler turns the configuration of a handler into a Spec. It collects all errors,
// each with the full name of the job or folder.
type compiler struct {
	ctx caddy.Context
	// lines are the places of rules, see [Handler.Lines].
	lines map[string]string
	errs  []error
}

// compile loads the runners and resolves the secrets of a tree. url is the configured
// root URL, if any, and lines are the places of rules. lint collects the warnings about
// the result.
func compile(ctx caddy.Context, root *Folder, access *Access, url string, lines map[string]string, lint *loadLint) (*definition.Spec, *definition.Site, error) {
	c := compiler{ctx: ctx, lines: lines}
	spec := definition.Spec{Root: c.folder("", root), URL: url}
	if access != nil {
		spec.Access = definition.Access{Read: access.Read, Build: access.Build, Cancel: access.Cancel}
	}
	if err := errors.Join(c.errs...); err != nil {
		return nil, nil, err
	}
	site, err := definition.Compile(spec)
	if err == nil {
		lint.site(&spec)
	}
	return &spec, site, err
}

func (c *compiler) fail(where string, err error) {
	c.errs = append(c.errs, fmt.Errorf("%s: %w", where, err))
}

func (c *compiler) folder(full string, f *Folder) definition.Folder {
	where := fmt.Sprintf("folder %q", full)
	if full == "" {
		where = "top level"
	}
	compiled := definition.Folder{
		Name: f.Name, Settings: c.settings(where, &f.Scope), Tokens: c.tokens(where, full, f.Tokens), Allow: c.rules(levelName(full), f.Allow),
		Webhooks: c.webhooks(where, f.Webhooks), Notify: c.notifies(where, f.Notify),
	}
	for i := range f.Folders {
		sub := &f.Folders[i]
		compiled.Folders = append(compiled.Folders, c.folder(job.Join(full, sub.Name), sub))
	}
	for i := range f.Jobs {
		j := &f.Jobs[i]
		compiled.Jobs = append(compiled.Jobs, c.job(job.Join(full, j.Name), j))
	}
	return compiled
}

func (c *compiler) job(full string, j *Job) definition.Job {
	where := fmt.Sprintf("job %q", full)
	run, poll := load[runner.Runner](c, where, j, "RunRaw"), load[runner.Poller](c, where, j, "PollRaw")
	if p, ok := poll.(*ExecPoller); ok {
		if err := p.beside(run); err != nil {
			c.fail(where, err)
		}
	}
	return definition.Job{
		Name: j.Name, Description: j.Description, Disabled: j.Disabled, Concurrent: j.Concurrent, Coalesce: j.Coalesce, Badge: j.Badge,
		Settings: c.settings(where, &j.Scope), Tokens: c.tokens(where, full, j.Tokens), Allow: c.rules(full, j.Allow), Params: j.Params,
		Runner: run, Poller: poll, Webhooks: c.webhooks(where, j.Webhooks), On: c.on(full, j.On), Schedules: c.schedules(where, j.Schedules),
		Notify: c.notifies(where, j.Notify),
	}
}

// load loads a guest module of a job, if there is one.
func load[T any](c *compiler, where string, j *Job, field string) T {
	var none T
	if (field == "RunRaw" && j.RunRaw == nil) || (field == "PollRaw" && j.PollRaw == nil) {
		return none
	}
	mod, err := c.ctx.LoadModule(j, field)
	if err != nil {
		c.fail(where, err)
		return none
	}
	loaded, ok := mod.(T)
	if !ok {
		c.fail(where, fmt.Errorf("module %T can't be used here", mod))
	}
	return loaded
}

func (c *compiler) settings(where string, s *Scope) job.Settings {
	settings := job.Settings{
		QuietPeriod: (*time.Duration)(s.QuietPeriod), Timeout: (*time.Duration)(s.Timeout), KeepBuilds: s.KeepBuilds,
	}
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		value, err := placeholders{}.replace(s.Env[name])
		if err != nil {
			c.fail(where, fmt.Errorf("env %s: %w", name, err))
		}
		settings.Env = append(settings.Env, job.Var{Name: name, Value: value})
	}
	if s.Dir != "" {
		dir, err := placeholders{}.replace(s.Dir)
		if err != nil {
			c.fail(where, fmt.Errorf("dir: %w", err))
		}
		settings.Dir = &dir
	}
	if s.Label != "" {
		label := s.Label // a pointer into the tree would keep it
		settings.Label = &label
	}
	return settings
}

func (c *compiler) tokens(where, full string, tokens []Token) []definition.Token {
	var compiled []definition.Token
	for _, t := range tokens {
		if t.Name == "" {
			t.Name = "default"
		}
		at := where + " token " + t.Name
		if err := token.CheckName(t.Name); err != nil {
			c.fail(where, err) // which does not show the name: it may be a secret
			continue
		}
		secret, err := placeholders{}.replace(t.Secret)
		if err != nil {
			c.fail(at, err)
			continue
		}
		digest, err := token.ParseSecret(secret)
		if err != nil {
			c.fail(at, err)
			continue
		}
		grants, err := token.ParseGrants(t.Grants)
		if err != nil {
			c.fail(at, err)
			continue
		}
		compiled = append(compiled, definition.Token{Name: t.Name, Digest: digest, Expires: t.Expires, Grants: grants, Allow: c.rules(levelName(full)+" token "+t.Name, t.Allow)})
	}
	return compiled
}

// rules returns the rules of a level or token, with their places.
func (c *compiler) rules(of string, configured []Rule) []policy.Rule {
	compiled := make([]policy.Rule, len(configured))
	for i, r := range configured {
		compiled[i] = policy.Rule{Source: r.Expression, Message: r.Message, At: c.lines[ruleName(of, i+1)]}
	}
	return compiled
}

// levelName returns the name of a job or folder in the names of its rules, as in package
// definition.
func levelName(full string) string { return cmp.Or(full, "top level") }

// placeName is the name of the place of a directive in a job or folder, in [Handler.Lines].
func placeName(full, directive string) string { return levelName(full) + " " + directive }

func ruleName(of string, n int) string { return fmt.Sprintf("%s allow %d", of, n) }

func onName(full string, n int) string { return fmt.Sprintf("%s on %d", full, n) }

// webhooks resolves the secrets of senders.
func (c *compiler) webhooks(where string, webhooks []Webhook) []definition.WebhookSpec {
	var compiled []definition.WebhookSpec
	for i := range webhooks {
		w := &webhooks[i]
		at := where + " webhook " + definition.WebhookName(w.Name, w.Kind)
		var secrets []hook.Secret
		for _, text := range w.Secrets {
			secret, err := c.hookSecret(w.Kind, text)
			if err != nil {
				c.fail(at, err)
				continue
			}
			secrets = append(secrets, secret)
		}
		if len(secrets) == len(w.Secrets) {
			compiled = append(compiled, definition.WebhookSpec{Name: w.Name, Config: w.config(secrets)})
		}
	}
	return compiled
}

func (c *compiler) hookSecret(kind, text string) (hook.Secret, error) {
	text, err := placeholders{}.replace(text)
	if err != nil {
		return hook.Secret{}, err
	}
	return hook.ParseSecret(event.Kind(kind), text) //nolint:wrapcheck // its caller names the webhook
}

func (c *compiler) on(full string, on []On) []definition.OnSpec {
	var specs []definition.OnSpec
	for i := range on {
		spec := on[i].spec()
		spec.At = c.lines[onName(full, i+1)]
		specs = append(specs, spec)
	}
	return specs
}

func (c *compiler) schedules(where string, schedules []Schedule) []definition.ScheduleSpec {
	var specs []definition.ScheduleSpec
	for _, s := range schedules {
		spec := s.spec()
		for name, value := range spec.Params {
			replaced, err := placeholders{}.replace(value)
			if err != nil {
				c.fail(where, fmt.Errorf("schedule: param %s: %w", name, err))
			}
			spec.Params[name] = replaced
		}
		specs = append(specs, spec)
	}
	return specs
}
