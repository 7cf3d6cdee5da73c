package definition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
)

// Decision is what a job does with one event of a delivery, before its rules are
// evaluated and anything is queued.
type Decision struct {
	// Job is the full name.
	Job string
	// Steps are all checks in their order, and what each found.
	Steps []Step
	// Webhook is the name of the webhook of the On that counts. It is empty if the event is ignored.
	Webhook string
	// Ignored names the check because of which the event is ignored.
	Ignored string
	// Warning is why an expression failed though the event goes on, or is
	// ignored for it. The text shows no value of the delivery.
	Warning error
	// Values, Cause and Delay are for the trigger. Delay is nil for the quiet period.
	Values map[string][]string
	Cause  string
	Delay  *time.Duration
	// Err wraps [job.ErrValue] if a parameter got no legal value. The event is refused then.
	Err error
}

// step records a check that let the event go on.
func (d *Decision) step(o *On, check, format string, args ...any) {
	d.Steps = append(d.Steps, Step{Check: o.name + " " + check, Found: fmt.Sprintf(format, args...), OK: true, Rule: o.rule(check)})
}

// stop records a check that ended the consideration of the event, or of one On.
func (d *Decision) stop(o *On, check, format string, args ...any) {
	d.Steps = append(d.Steps, Step{
		Check: o.name + " " + check, Found: fmt.Sprintf(format, args...), OtherEvent: check == checkEvent, Rule: o.rule(check),
	})
}

// rule returns the place of an On, and the expression of its condition for the check of that.
func (o *On) rule(check string) policy.Rule {
	r := policy.Rule{At: o.at}
	if check == checkWhen {
		r.Source = o.source
	}
	return r
}

// ignore ends the consideration of one On. The check that came furthest names the
// reason in the end.
func (d *Decision) ignore(o *On, check, why string) {
	d.stop(o, check, "%s", why)
	if check != checkEvent || d.Ignored == "" {
		d.Ignored = check
	}
}

// The checks because of which an event is ignored.
const (
	checkDisabled = "disabled"
	checkEvent    = "event"
	checkDeletion = "deletion"
	checkSkip     = "skip"
	checkFork     = "fork"
	checkWhen     = "when"
)

// Decide returns what the job does with an event that one of these webhooks has
// verified. It changes nothing, and is all that decides: a program can call it for a
// delivery that was saved.
func (c *Compiled) Decide(ctx context.Context, verified []*Webhook, in policy.Delivery) Decision {
	in.Job = policy.JobOf(c.FullName)
	d := Decision{Job: c.FullName}
	if c.Disabled {
		d.Ignored = checkDisabled
		d.Steps = append(d.Steps, Step{Check: checkDisabled, Found: "the job is disabled"})
		return d
	}
	for _, o := range c.On {
		if slices.Contains(verified, o.Webhook) && o.matches(ctx, &d, &in) {
			d.Ignored, d.Webhook = "", o.Webhook.Name
			o.prepare(ctx, &d, &in)
			return d
		}
	}
	return d
}

// matches reports whether an On counts for the event.
func (o *On) matches(ctx context.Context, d *Decision, in *policy.Delivery) bool {
	e := in.Event
	switch {
	case len(o.events) > 0 && !slices.ContainsFunc(o.events, e.Is):
		d.ignore(o, checkEvent, fmt.Sprintf("it is %q", e.Name))
		return false
	case e.Deleted && !o.include.deletions:
		d.ignore(o, checkDeletion, "the ref is deleted")
		return false
	case e.Skip && !o.include.skips:
		d.ignore(o, checkSkip, "the head commit asks to be skipped")
		return false
	case e.Fork && !o.include.forks:
		d.ignore(o, checkFork, "the code is from a fork, or may be")
		return false
	}
	if o.when == nil {
		return true
	}
	holds, err := o.when.Holds(ctx, in)
	switch {
	case err != nil:
		d.Warning = fmt.Errorf("%s when: %w", o.name, err)
		d.ignore(o, checkWhen, "it failed: "+err.Error())
		return false
	case !holds:
		d.ignore(o, checkWhen, "false")
		return false
	}
	d.step(o, checkWhen, "true")
	return true
}

// prepare evaluates what the trigger needs.
func (o *On) prepare(ctx context.Context, d *Decision, in *policy.Delivery) {
	d.Delay = o.delay
	d.Values = make(map[string][]string, len(o.set))
	for _, s := range o.set {
		text, ok, err := s.value.Text(ctx, in)
		switch {
		case err != nil:
			d.Err = fmt.Errorf("%w: parameter %s: the expression failed: %w", job.ErrValue, s.param, err)
			d.stop(o, "set "+s.param, "it failed: %v", err)
			return
		case ok:
			d.Values[s.param] = []string{text}
			d.step(o, "set "+s.param, "%d bytes", len(text)) // it may be a secret
		default:
			d.step(o, "set "+s.param, "absent, the default")
		}
	}
	d.Cause = Summary(in.Event)
	if o.cause == nil {
		return
	}
	text, ok, err := o.cause.Text(ctx, in)
	switch {
	case err != nil:
		d.Warning = errors.Join(d.Warning, fmt.Errorf("%s cause: %w", o.name, err))
	case ok:
		d.Cause = text
	}
}

// Summary describes an event to people.
func Summary(e *event.Event) string {
	var b strings.Builder
	b.WriteString(e.Name)
	if e.Action != "" {
		b.WriteString(" " + e.Action)
	}
	switch {
	case e.Number != 0:
		fmt.Fprintf(&b, " #%d", e.Number)
	case e.Tag != "":
		b.WriteString(" of tag " + e.Tag)
	case e.Branch != "":
		b.WriteString(" to " + e.Branch)
	}
	if e.Repo != "" {
		b.WriteString(" of " + e.Repo)
	}
	if e.Sender != "" {
		b.WriteString(" by " + e.Sender)
	}
	return b.String()
}
