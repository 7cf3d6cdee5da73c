package buildtoken

import (
	"cmp"
	"errors"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Decision is what [Controller.Audit] writes down. Nothing in it is secret.
type Decision struct {
	// Outcome is accepted, joined, repeated, refused, cancelled or stopped.
	Outcome string
	// Action is what was asked for, such as build or cancel.
	Action string
	// Job is the name of the job, as the request gave it if it was refused.
	Job string
	// Who asked, such as "token ci", and Remote from where.
	Who, Remote string
	// Item and Build are the item and the build number, as far as there are any.
	Item, Build int64
	// Rule is what allowed a caller without a token.
	Rule string
	// Err is why it was refused. If a rule decided, it is named as the rule.
	Err error
}

// Audit writes one line for a decision to the log for audits, if the configuration has one.
func (c *Controller) Audit(d Decision) {
	log := c.effective.Load().Audit
	if log == nil {
		return
	}
	fields := make([]zap.Field, 0, 8)
	fields = append(fields, zap.String("action", d.Action), zap.String("job", queue.OneLine(job.ShownName(d.Job), 200)),
		zap.String("who", queue.OneLine(d.Who, 200)), zap.String("remote", d.Remote))
	if d.Item != 0 {
		fields = append(fields, zap.Int64("item", d.Item))
	}
	if d.Build != 0 {
		fields = append(fields, zap.Int64("number", d.Build))
	}
	if denied, ok := errors.AsType[*policy.Denied](d.Err); ok {
		d.Rule = denied.Rule.Name
	}
	if d.Rule != "" {
		fields = append(fields, zap.String("rule", d.Rule))
	}
	if d.Err != nil {
		fields = append(fields, zap.String("reason", d.Err.Error()))
	}
	log.Info(d.Outcome, fields...)
}

// auditTrigger writes a line for what became of a trigger.
func (c *Controller) auditTrigger(t Trigger, tokenName string, out Outcome, err error) {
	if c.effective.Load().Audit == nil {
		return
	}
	d := Decision{
		Action: string(t.Action), Job: cmp.Or(out.Job, t.Job), Who: whoOf(t.Caller, tokenName),
		Remote: t.RemoteText(), Item: out.Item.ID, Err: err,
	}
	switch {
	case t.Webhook != "":
		d.Who = "webhook " + t.Webhook
	case err == nil && !t.Presented && !t.Operator:
		d.Rule = "access build"
	}
	switch {
	case err != nil:
		d.Outcome = "refused"
	case out.Repeated:
		d.Outcome = "repeated"
	default:
		d.Outcome = queuedOutcome(out.Created || out.Item.ID == 0) // a poll has no item
	}
	c.Audit(d)
}

// auditQueued writes a line for a build that the server itself queued, or could not queue.
func (c *Controller) auditQueued(action, who, full string, item int64, created bool, err error) {
	d := Decision{Outcome: queuedOutcome(created), Action: action, Who: who, Job: full, Item: item, Err: err}
	if err != nil {
		d.Outcome = "refused"
	}
	c.Audit(d)
}

func queuedOutcome(created bool) string {
	if created {
		return "accepted"
	}
	return "joined"
}

// whoOf names a caller by the token that opened the job, else by the account.
func whoOf(by definition.Caller, tokenName string) string {
	switch {
	case tokenName != "":
		return "token " + tokenName
	case by.User != "":
		return "user " + by.User
	}
	return "anonymous"
}
