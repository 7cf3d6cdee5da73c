package buildtoken

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/buildtoken/buildtoken/buildtoken/audit"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/share"
	"github.com/buildtoken/buildtoken/buildtoken/spans"
	"github.com/buildtoken/buildtoken/buildtoken/stats"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// ErrUpload is returned when an uploaded file could not be stored.
var ErrUpload = errors.New("buildtoken: upload")

// Trigger, Action and Upload are those of package definition, which checks them.
type (
	Trigger = definition.Trigger
	Action  = definition.Action
	Upload  = definition.Upload
)

// The actions.
const (
	Build               = definition.Build
	BuildWithParameters = definition.BuildWithParameters
	Polling             = definition.Polling
)

// Outcome is the result of an accepted trigger.
type Outcome struct {
	// Item is the queued item, which is durable. It is empty after a poll. If the
	// trigger was Repeated, only its ID and Job are set.
	Item queue.Item
	// Created reports whether the item is new; otherwise the trigger joined it.
	Created bool
	// Repeated reports whether this is the outcome of an earlier trigger with the
	// same IdempotencyKey. Nothing was queued now, and the item may be gone.
	Repeated bool
	// Job is the job's full name.
	Job string
	// Grants are those of the token that opened the job; none for a user.
	Grants token.Grant
	// Share is the ID of a link that shows the item, for [Controller.SharedItem]. It is
	// empty unless the token grants it.
	Share string
}

// Trigger checks a trigger (see [definition.Site.Admit]) and queues a build. Its errors
// are those of the checks, [ErrShuttingDown], [ErrUpload], and those of package queue.
func (c *Controller) Trigger(ctx context.Context, d *definition.Site, t Trigger) (Outcome, error) {
	now := time.Now()
	a, err := d.Admit(ctx, now, c.guard(), &t, nil)
	if a.Job != nil && t.Webhook == "" {
		a.Token = c.recognize(now, a.Job, a.Token, &t.Caller, err)
		c.countUse(now, a.Job, a.Token, t.Caller, err)
	}
	out := Outcome{}
	if a.Job != nil {
		out.Job, out.Grants = a.Job.FullName, a.Token.Grants
	}
	if err == nil {
		out, err = c.accepted(ctx, now, &t, &a, out)
	}
	c.countTrigger(out, err)
	c.remember(now, &t, &a, err)
	if c.effective.Load().Audit != nil {
		c.auditTrigger(&t, a.Token.Name, out, err)
	}
	if err != nil {
		c.logRefused(t, &a, err)
		return Outcome{}, err
	}
	if log := c.logger().Check(zap.DebugLevel, "trigger accepted"); log != nil {
		log.Write(zap.String("job", out.Job), zap.String("action", string(t.Action)), zap.Int64("item", out.Item.ID),
			zap.Bool("created", out.Created), zap.String("token", a.Token.Name), zap.String("remote", t.RemoteText()))
	}
	return out, nil
}

// Opens checks a token for an action other than a trigger: status, log or
// cancel. It returns the errors of [Controller.Trigger] for a wrong token, and
// [definition.ErrNotGranted] if the token lacks the grant. A check for a trigger, which
// follows, or for [token.Any] is neither counted as a use nor written to the audit log.
func (c *Controller) Opens(ctx context.Context, d *definition.Site, given string, by definition.Caller, need token.Grant) (full string, t token.Token, err error) {
	now := time.Now()
	j, err := d.Find(given)
	if err != nil || (j.Tokens.Len() == 0 && !by.Operator) {
		_, _ = token.Set{}.Check(now, by.Secret) // the same work as for a job that exists
		if err == nil {
			err = fmt.Errorf("%w: no token opens %s", definition.ErrUnknownJob, j.FullName)
		}
		return "", token.Token{}, err
	}
	t, _, err = d.Authorize(ctx, now, c.guard(), j, &by, need, nil)
	t = c.recognize(now, j, t, &by, err)
	recorded := need != token.Trigger && need != token.Any
	if recorded {
		c.countUse(now, j, t, by, err)
	}
	if err != nil {
		if recorded {
			c.Audit(audit.Decision{Outcome: audit.Refused, Action: need.String(), Job: j.FullName, Who: whoOf(&by, t.Name), Remote: by.RemoteText(), Err: err})
			c.logger().Log(refusedLevel(err), "request refused", zap.String("job", j.FullName), zap.String("action", need.String()),
				zap.String("token", t.Name), zap.String("user", by.User), zap.String("remote", by.RemoteText()), zap.Error(err))
		}
		return "", token.Token{}, err
	}
	return j.FullName, t, nil
}

// guard returns what limits wrong tokens.
func (c *Controller) guard() definition.Guard {
	return definition.Guard{Limiter: c.guesses, Limit: c.effective.Load().WrongTokens}
}

// recognize returns the token that decided about a caller. It also recognizes a token that
// opened the job under the previous configuration and was removed since.
func (c *Controller) recognize(now time.Time, j *definition.Compiled, opened token.Token, by *definition.Caller, err error) token.Token {
	if !by.Presented || !errors.Is(err, token.ErrMismatch) {
		return opened
	}
	if before := c.effective.Load().before[j.FullName]; before != nil {
		opened, _ = before.Tokens.Check(now, by.Secret)
		opened.Grants, opened.Digest = 0, token.Digest{}
	}
	return opened
}

// countUse counts the use of a token of the job, unless err reports that it was wrong.
func (c *Controller) countUse(now time.Time, j *definition.Compiled, t token.Token, by definition.Caller, err error) {
	if t.Name == "" {
		return // a wrong token, or a caller without one
	}
	removed := errors.Is(err, token.ErrMismatch)
	dead := removed || errors.Is(err, token.ErrExpired)
	place := j.Place(t)
	if c.usage.Count(now, place, t, by.Remote, dead) {
		what, expired := "a token that has expired is still shown", zap.Time("expired", t.Expires)
		if removed {
			what, expired = "a token that the last reload removed is still shown", zap.Skip()
		}
		c.logger().Warn(what, zap.String("token", t.Name), zap.String("place", place),
			expired, zap.String("job", j.FullName), zap.String("remote", by.RemoteText()))
	}
}

// countTrigger counts the outcome of a trigger.
func (c *Controller) countTrigger(out Outcome, err error) {
	switch {
	case err != nil:
		c.stats.Refused(out.Job, reasonOf(err))
	case out.Item.ID == 0: // a poll
	case out.Repeated:
		c.stats.Repeated(out.Job)
	default:
		c.stats.Queued(out.Job, out.Created)
	}
}

func reasonOf(err error) stats.Reason {
	if _, ok := errors.AsType[*definition.ThrottledError](err); ok {
		return stats.Throttled
	}
	switch {
	case errors.Is(err, definition.ErrUnknownJob):
		return stats.Unknown
	case errors.Is(err, token.ErrMismatch), errors.Is(err, token.ErrMissing), errors.Is(err, token.ErrExpired), errors.Is(err, definition.ErrNotGranted):
		return stats.Token
	case errors.Is(err, policy.ErrDenied):
		return stats.Policy
	case errors.Is(err, queue.ErrFull):
		return stats.Full
	case errors.Is(err, queue.ErrStorage):
		return stats.Storage
	}
	return stats.Other
}

// Stats returns the counters as of now. What has not happened is counted as 0.
func (c *Controller) Stats() stats.Stats {
	defined := map[string]bool{}
	for full, j := range c.effective.Load().jobs {
		defined[full] = j.Poller != nil
	}
	return c.stats.Stats(defined)
}

// accepted performs the action of an admitted trigger.
func (c *Controller) accepted(ctx context.Context, now time.Time, t *Trigger, a *definition.Admission, out Outcome) (Outcome, error) {
	if c.effective.Load().detached {
		return out, ErrShuttingDown
	}
	if t.Action == Polling {
		if !c.polls.Request(out.Job, t.Root) {
			return out, ErrShuttingDown
		}
		return out, nil
	}
	if err := c.schedule(ctx, now, t, a, &out); err != nil {
		return out, err
	}
	spans.Mark(ctx, out.Job, out.Item.ID)
	if out.Item.ID != 0 && a.Token.Grants.Has(token.Share) {
		out.Share = share.Link{Item: out.Item.ID, Job: out.Job}.ID(now, c.vault, a.Token)
	}
	return out, nil
}

// refusedLevel is the level at which a refusal is logged. A throttled client is logged for
// debugging only.
func refusedLevel(err error) zapcore.Level {
	_, throttled := errors.AsType[*definition.ThrottledError](err)
	switch {
	case throttled:
		return zap.DebugLevel
	case errors.Is(err, queue.ErrStorage), errors.Is(err, ErrUpload):
		return zap.ErrorLevel
	}
	return zap.InfoLevel
}

// logRefused logs why a trigger was refused, in more detail than the answer: at most once a second that
// it could not be stored.
func (c *Controller) logRefused(t Trigger, a *definition.Admission, err error) {
	log := c.logger().Check(refusedLevel(err), "trigger refused")
	if log == nil {
		return
	}
	if log.Level == zap.ErrorLevel {
		due := false
		if c.unstored.Do(func() { due = true }); !due {
			return
		}
	}
	fields := []zap.Field{
		zap.String("job", queue.OneLine(job.ShownName(t.Job), 200)), zap.String("action", string(t.Action)),
		zap.String("token", a.Token.Name), zap.String("user", t.User), zap.String("remote", t.RemoteText()),
		zap.Error(err),
	}
	if !a.Admitted {
		fields = append(fields, zap.String("check", string(a.Check)))
	}
	if denied, ok := errors.AsType[*policy.Denied](err); ok {
		if fields = append(fields, zap.String("rule", denied.Rule.Name)); denied.Rule.At != "" {
			fields = append(fields, zap.String("at", denied.Rule.At))
		}
	}
	log.Write(fields...)
}

// remember keeps the decision about a known caller. Guesses are left out, because they could
// push out all other decisions.
func (c *Controller) remember(now time.Time, t *Trigger, a *definition.Admission, err error) {
	known := a.Token.Name != "" || a.Check != definition.CheckToken // webhooks and the operator pass that check
	if a.Job == nil || a.Check == definition.CheckGuesses || !known {
		return
	}
	kept := audit.Trigger{
		Time: now, Job: a.Job.FullName, Action: string(t.Action), Token: a.Token.Name, Webhook: t.Webhook, Operator: t.Operator,
		Remote: t.Remote, Post: t.Post, Delay: t.Delay, Cause: t.Cause, Admitted: a.Admitted,
	}
	if kept.User = t.User; kept.Token != "" {
		kept.Place = a.Job.Place(a.Token)
	}
	if !a.Admitted {
		kept.Check = string(a.Check)
		if denied, ok := errors.AsType[*policy.Denied](err); ok {
			kept.Rule = denied.Rule.Name
		}
	}
	var room [8]audit.Param
	kept.Params = room[:0]
	for _, p := range a.Job.Params {
		if f, ok := t.Files[p.Name]; ok && p.Kind == job.KindFile {
			kept.Params = append(kept.Params, audit.Param{Name: p.Name, Value: f.Name, File: true})
			continue
		}
		for _, text := range t.Values[p.Name] {
			if p.Kind != job.KindFile {
				kept.Params = append(kept.Params, audit.Param{Name: p.Name, Value: text, Hidden: p.Kind == job.KindPassword})
			}
		}
	}
	c.history.Add(&kept)
}

// Decisions returns the last triggers of known callers, the oldest first.
func (c *Controller) Decisions() []audit.Trigger { return c.history.All() }

// Audit writes one line for a decision to the log for audits, if the configuration has one.
func (c *Controller) Audit(d audit.Decision) { audit.Write(c.effective.Load().Audit, d) }

// auditTrigger writes the outcome of a trigger to the audit log.
func (c *Controller) auditTrigger(t *Trigger, tokenName string, out Outcome, err error) {
	d := audit.Decision{
		Action: string(t.Action), Job: cmp.Or(out.Job, t.Job), Who: whoOf(&t.Caller, tokenName),
		Remote: t.RemoteText(), Item: out.Item.ID, Err: err,
	}
	switch {
	case t.Webhook != "":
		d.Who, d.Action = "webhook "+t.Webhook, "webhook"
	case !t.Presented && !t.Operator && (err == nil || errors.Is(err, token.ErrMissing)):
		d.Rule = "access build"
	}
	switch {
	case err != nil:
		d.Outcome = audit.Refused
	case out.Repeated:
		d.Outcome = audit.Repeated
	default:
		d.Outcome = queuedOutcome(out.Created || out.Item.ID == 0) // a poll has no item
	}
	c.Audit(d)
}

// auditQueued writes a line for a build that the server itself queued, or could not queue.
func (c *Controller) auditQueued(action, who, full string, item int64, created bool, err error) {
	d := audit.Decision{Outcome: queuedOutcome(created), Action: action, Who: who, Job: full, Item: item, Err: err}
	if err != nil {
		d.Outcome = audit.Refused
	}
	c.Audit(d)
}

func queuedOutcome(created bool) string {
	if created {
		return audit.Accepted
	}
	return audit.Joined
}

// whoOf names a caller by the token that opened the job, else by the account.
func whoOf(by *definition.Caller, tokenName string) string {
	switch {
	case tokenName != "":
		return "token " + tokenName
	case by.User != "":
		return "user " + by.User
	}
	return "anonymous"
}
