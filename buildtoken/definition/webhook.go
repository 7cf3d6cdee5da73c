package definition

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"

	"github.com/buildtoken/buildtoken/buildtoken/hook"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// WebhookSpec is a configured sender of webhooks.
type WebhookSpec struct {
	// Name is what the On of a job calls it. Empty means the name of its kind.
	Name string
	hook.Config
}

// OnSpec is what a job does with the deliveries of a webhook.
type OnSpec struct {
	// Webhook is the name of a webhook of the job or of a folder above it. The nearest counts.
	Webhook string
	// Events are those that count, by the names that [event.Event.Is] knows. None means any.
	Events []string
	// When is a CEL condition over the delivery; empty means true.
	When string
	// Set are CEL expressions for parameters of the job.
	Set []SetSpec
	// Cause is a CEL expression for the note of the cause; empty means a summary of the event.
	Cause string
	// Delay takes the place of the quiet period, if it is not nil.
	Delay *time.Duration
	// Include brings back what is ignored otherwise: deletions, skips, forks.
	Include []string
	// At is the file and line, such as "Caddyfile:12"; empty if unknown.
	At string
}

// SetSpec gives a parameter the value of an expression.
type SetSpec struct{ Param, Value string }

// Webhook is a compiled [WebhookSpec].
type Webhook struct {
	*hook.Webhook
	Name string
}

// On is a compiled [OnSpec].
type On struct {
	Webhook *Webhook

	name    string // for errors and logs
	at      string // the file and line
	events  []string
	when    *policy.Expression
	source  string // of when
	set     []set
	cause   *policy.Expression
	delay   *time.Duration
	include include
	secret  bool // a password is set
}

type set struct {
	param string
	value *policy.Expression
}

type include struct{ deletions, skips, forks bool }

// webhooks adds those of a folder or job to what it inherits.
func (c *compiler) webhooks(full string, specs []WebhookSpec, outer []*Webhook) []*Webhook {
	all := slices.Clone(outer)
	for i, spec := range specs {
		name := WebhookName(spec.Name, string(spec.Kind))
		w, err := hook.New(spec.Config)
		if err == nil {
			err = token.CheckName(name)
		}
		if slices.ContainsFunc(specs[:i], func(other WebhookSpec) bool { return WebhookName(other.Name, string(other.Kind)) == name }) {
			err = errors.New("there are two of this name")
		}
		if err != nil {
			c.fail(full, fmt.Errorf("webhook %s: %w", name, err))
			continue
		}
		all = append(all, &Webhook{w, name})
	}
	return all
}

// WebhookName returns the name of a webhook, which is that of its kind by default.
func WebhookName(name, kind string) string {
	if name == "" {
		return kind
	}
	return name
}

// on compiles what a job does with deliveries.
func (c *compiler) on(full string, j Job, webhooks []*Webhook) []*On {
	if len(j.On) == 0 {
		return nil
	}
	env, err := c.newEventEnv()
	if err != nil {
		c.fail(full, err)
		return nil
	}
	var all []*On
	for i, spec := range j.On {
		at := slices.IndexFunc(webhooks, func(w *Webhook) bool { return w.Name == spec.Webhook })
		for k, w := range webhooks { // the innermost is the last
			if w.Name == spec.Webhook {
				at = k
			}
		}
		if at < 0 {
			c.fail(full, fmt.Errorf("on %s: neither the job nor a folder above it has a webhook of this name", spec.Webhook))
			continue
		}
		o, err := CompileOn(env, spec, j.Params)
		if err != nil {
			c.fail(full, fmt.Errorf("on %d: %w", i+1, err))
			continue
		}
		o.Webhook = webhooks[at]
		all = append(all, o)
	}
	return all
}

// CompileOn compiles and type-checks an On for a job with these parameters. Its
// Webhook is left out.
func CompileOn(env *policy.EventEnv, spec OnSpec, params []job.Param) (*On, error) {
	o := &On{name: strings.Join(append([]string{"on", spec.Webhook}, spec.Events...), " "), at: spec.At, events: spec.Events, delay: spec.Delay}
	if o.delay != nil && (*o.delay < 0 || *o.delay > job.MaxDelay) {
		return nil, fmt.Errorf("%s: delay: %v is not between 0 and %v", o.name, *o.delay, job.MaxDelay)
	}
	for _, what := range spec.Include {
		switch what {
		case "deletions":
			o.include.deletions = true
		case "skips":
			o.include.skips = true
		case "forks":
			o.include.forks = true
		default:
			return nil, fmt.Errorf("%s: include: %q is none of deletions, skips, forks", o.name, what)
		}
	}
	var err error
	o.source = spec.When
	if spec.When != "" {
		if o.when, err = env.Condition(policy.Rule{Name: o.name + " when", Source: spec.When}); err != nil {
			return nil, err
		}
	}
	if spec.Cause != "" {
		if o.cause, err = env.Value(policy.Rule{Name: o.name + " cause", Source: spec.Cause}); err != nil {
			return nil, err
		}
	}
	for i, s := range spec.Set {
		name := fmt.Sprintf("%s set %s", o.name, s.Param)
		at := slices.IndexFunc(params, func(p job.Param) bool { return p.Name == s.Param })
		switch {
		case at < 0:
			return nil, fmt.Errorf("%s: %w", name, noParam(params))
		case slices.ContainsFunc(spec.Set[:i], func(other SetSpec) bool { return other.Param == s.Param }):
			return nil, fmt.Errorf("%s: it is set twice", name)
		case params[at].Kind == job.KindFile:
			return nil, fmt.Errorf("%s: a delivery cannot set a file", name)
		}
		x, err := env.Value(policy.Rule{Name: name, Source: s.Value})
		if err != nil {
			return nil, err
		}
		if k := params[at].Kind; (k == job.KindBoolean || k == job.KindChoice) && !x.Is(types.StringKind, types.BoolKind, types.IntKind) {
			return nil, fmt.Errorf("%s: the type of the expression does not fit a %s", name, k)
		}
		o.set = append(o.set, set{s.Param, x})
		o.secret = o.secret || params[at].Kind == job.KindPassword
	}
	return o, nil
}

// Takes reports whether an On of the job is for one of these webhooks.
func (c *Compiled) Takes(webhooks []*Webhook) bool {
	return slices.ContainsFunc(c.On, func(o *On) bool { return slices.Contains(webhooks, o.Webhook) })
}

// SetsPassword reports whether the job sets a password from deliveries of one of these webhooks.
func (c *Compiled) SetsPassword(webhooks []*Webhook) bool {
	return slices.ContainsFunc(c.On, func(o *On) bool { return o.secret && slices.Contains(webhooks, o.Webhook) })
}

// TakesFrom reports whether an On of the job is for a webhook that shares a secret with the one
// that had these identities.
func (c *Compiled) TakesFrom(identities [][32]byte) bool {
	return slices.ContainsFunc(c.On, func(o *On) bool { return o.Webhook.SharesSecret(identities) })
}

// Hooked returns the job with the name that a request gave, or the jobs of the folder
// with that name, as far as they have an On. The empty name is that of the top.
// The error is [ErrUnknownJob] if there are none.
func (s *Site) Hooked(given string) ([]*Compiled, error) {
	full, prefix := "", ""
	if given != "" {
		var err error
		if full, err = job.ParseFullName(given); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnknownJob, err)
		}
		prefix = full + "/"
	}
	var all []*Compiled
	for _, name := range s.hooked {
		if name == full || strings.HasPrefix(name, prefix) {
			all = append(all, s.jobs[name])
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: no job at or below it has an on for a webhook", ErrUnknownJob) // without the name, which can hold a token
	}
	return all, nil
}
