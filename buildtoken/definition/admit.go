package definition

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/throttle"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// Check names one of the checks of a trigger.
type Check string

// The checks of [Site.Admit], in their order. What the caller can learn depends on it.
// Whether the job exists is checked first, and all ways in which it does not exist look
// the same. Everything else about the job is checked after the token.
const (
	CheckJob        Check = "job"
	CheckGuesses    Check = "wrong tokens" // that the client showed before
	CheckToken      Check = "token"
	CheckAccess     Check = "access build" // of a caller without a token
	CheckPost       Check = "post"         // of a caller without a token
	CheckGrant      Check = "grant"
	CheckEnabled    Check = "enabled"
	CheckEndpoint   Check = "endpoint"
	CheckDelay      Check = "delay"
	CheckParameters Check = "parameters"
	CheckRule       Check = "rule"
)

// Guard counts the wrong tokens of clients. The zero value counts none and lets every
// client try.
type Guard struct {
	Limiter *throttle.Limiter
	Limit   throttle.Limit
}

func (g Guard) wait(now time.Time, by *Caller, places []string) time.Duration {
	if g.Limiter == nil {
		return 0
	}
	return g.Limiter.Wait(now, g.Limit, by.Remote, places...)
}

// Admission is what [Site.Admit] found.
type Admission struct {
	// Check is the check that refused the trigger, or the last one.
	Check Check
	// Admitted reports whether all checks let the trigger through.
	Admitted bool
	// Job is the job; nil unless the caller may know of it.
	Job *Compiled
	// Token opened the job. If it has expired, it has neither digest nor grants. It is
	// empty for a caller without one.
	Token token.Token
	// Values, Delay and Cause are those of the build, as far as they were checked.
	Values []job.Value
	Delay  time.Duration
	Cause  queue.Cause
}

// Admit checks a trigger, in the order of the checks. It changes nothing but the counts
// of the guard. x receives what each check saw and decided; nil costs nothing. The
// running server and the command that explains its decisions both decide by it.
func (s *Site) Admit(ctx context.Context, now time.Time, guard Guard, t *Trigger, x *Explanation) (Admission, error) {
	a := Admission{Check: CheckJob}
	j, err := s.Find(t.Job)
	if err == nil && t.Webhook != "" {
		a.Job = j
		x.pass(CheckJob, j.FullName)
		err = a.accept(ctx, now, t, j.Rules, x)
		return a, err
	}
	if err != nil || (j.Tokens.Len() == 0 && !t.UserMayTrigger && !t.Operator) {
		_, _ = token.Set{}.Check(now, t.Secret) // the same work as for a job that exists
		if err == nil {
			err = fmt.Errorf("%w: no token opens %s", ErrUnknownJob, j.FullName)
		}
		return a, x.refuse(CheckJob, err)
	}
	a.Job = j
	x.pass(CheckJob, j.FullName)
	opened, check, err := s.Authorize(ctx, now, guard, j, &t.Caller, token.Trigger, x)
	a.Token, a.Check = opened, check
	if err != nil {
		return a, err
	}
	rules := j.Rules
	if check == CheckGrant {
		rules = j.rulesFor(opened)
	}
	err = a.accept(ctx, now, t, rules, x)
	return a, err
}

// Authorize finds the token that opens the job for an action, or the access rule that
// lets a user start it without one, and returns the check that decided. A token that has
// expired is returned with [token.ErrExpired]. Wrong tokens are counted where tokens are
// defined; a job without tokens has no such place, so its callers learn nothing from a
// limit.
func (s *Site) Authorize(ctx context.Context, now time.Time, guard Guard, j *Compiled, by *Caller, need token.Grant, x *Explanation) (token.Token, Check, error) {
	if by.Operator {
		x.pass(CheckToken, "not needed at the admin API")
		return token.Token{Grants: token.Trigger | token.Status | token.Log | token.Cancel}, CheckToken, nil
	}
	wait := guard.wait(now, by, j.Places)
	if !by.Presented {
		_, err := token.Set{}.Check(now, token.Secret{})
		switch {
		case need == token.Trigger && s.May(ctx, *by, Start, j.FullName):
			x.pass(CheckAccess, "the caller may build without a token")
			if !by.Post {
				return token.Token{}, CheckPost, x.refuse(CheckPost, ErrNeedsPost)
			}
			return token.Token{}, CheckAccess, nil
		case wait > 0:
			return token.Token{}, CheckGuesses, x.refuse(CheckGuesses, &ThrottledError{Wait: wait})
		}
		return token.Token{}, CheckToken, x.refuse(CheckToken, err)
	}
	opened, err := j.Tokens.Check(now, by.Secret)
	// The same work for a right token and a wrong one, whose digest is zero here.
	if wait > 0 && !guard.Limiter.Remembers(now, by.Remote, opened.Digest) {
		return token.Token{}, CheckGuesses, x.refuse(CheckGuesses, &ThrottledError{Wait: wait})
	}
	if err != nil {
		if errors.Is(err, token.ErrMissing) { // an empty token was presented: that is a wrong one
			err = token.ErrMismatch
		}
		if guard.Limiter != nil {
			guard.Limiter.Add(now, guard.Limit, by.Remote, j.Places...)
		}
		return opened, CheckToken, x.refuse(CheckToken, err)
	}
	if x != nil {
		x.pass(CheckToken, opened.Name+" of "+shownPlace(j.Place(opened)))
	}
	if !opened.Grants.Has(need) {
		return opened, CheckGrant, x.refuse(CheckGrant, fmt.Errorf("%w: %s", ErrNotGranted, need))
	}
	if x != nil {
		x.pass(CheckGrant, opened.Grants.String())
	}
	if guard.Limiter != nil {
		guard.Limiter.Remember(now, guard.Limit, by.Remote, opened.Digest)
	}
	return opened, CheckGrant, nil
}

// accept checks the request of an authorized caller.
func (a *Admission) accept(ctx context.Context, now time.Time, t *Trigger, rules []*policy.Policy, x *Explanation) error {
	j := a.Job
	if a.Check = CheckEnabled; j.Disabled {
		return x.refuse(a.Check, fmt.Errorf("%s %w", t.Job, ErrNotBuildable))
	}
	x.pass(a.Check, "")
	a.Check = CheckEndpoint
	switch {
	case t.Action == Polling && j.Poller == nil:
		return x.refuse(a.Check, fmt.Errorf("%s %w", t.Job, ErrNotPollable))
	case t.Action == Build && len(j.Params) > 0 && !t.AnyKind:
		return x.refuse(a.Check, ErrTakesParameters)
	case t.Action == BuildWithParameters && len(j.Params) == 0 && !t.AnyKind:
		return x.refuse(a.Check, ErrTakesNoParameters)
	}
	x.pass(a.Check, string(t.Action))
	a.Check, a.Delay = CheckDelay, *j.Settings.QuietPeriod
	if t.Delay != nil {
		given, err := job.ParseDelay(*t.Delay)
		if err != nil {
			return x.refuse(a.Check, err)
		}
		a.Delay = given
	}
	if x != nil {
		x.pass(a.Check, a.Delay.String())
	}
	a.Check = CheckParameters
	values, err := j.valuesOf(t)
	if err != nil {
		return x.refuse(a.Check, err)
	}
	if a.Values = values; x != nil {
		x.pass(a.Check, shownValues(values))
	}
	a.Cause = causeOf(t, a.Token)
	if len(rules) == 0 {
		a.Admitted = true
		return nil
	}
	a.Check = CheckRule
	in := policy.Input{
		Job: policy.JobOf(j.FullName), Token: policy.Token{Name: a.Token.Name}, Params: texts(values),
		Delay: a.Delay, Cause: a.Cause.Note, User: t.User, Now: now, Request: t.PolicyRequest(),
	}
	for _, p := range rules {
		err := p.Decide(ctx, &in)
		if x != nil {
			x.rules(p, &in, values, err)
		}
		if err != nil {
			return err //nolint:wrapcheck // its text names the rule
		}
	}
	a.Admitted = true
	return nil
}

// valuesOf returns the checked parameters of the build. The build endpoint of Jenkins
// uses the defaults of a job with parameters.
func (c *Compiled) valuesOf(t *Trigger) ([]job.Value, error) {
	if t.Action == Polling || len(c.Params) == 0 {
		return nil, nil
	}
	files := make(map[string]job.File, len(t.Files))
	for name, f := range t.Files {
		files[name] = job.File{Name: f.Name, Size: f.Size, Ref: job.PendingRef}
	}
	given := t.Values
	if t.Action == Build {
		given, files = nil, nil
	}
	values, err := c.Values(given, files)
	if err != nil {
		return nil, err
	}
	if err := c.Fits(t.Root, values); err != nil {
		return nil, err
	}
	return values, nil
}

// texts returns the parameters as rules see them.
func texts(values []job.Value) map[string]string {
	m := make(map[string]string, len(values))
	for _, v := range values {
		m[v.Name] = v.Text
	}
	return m
}

// maxCause bounds the text of a cause, in bytes.
const maxCause = 1000

func causeOf(t *Trigger, opened token.Token) queue.Cause {
	cause := queue.Cause{Kind: queue.CauseRemote, Token: opened.Name}
	if t.Remote.IsValid() {
		cause.Addr = t.Remote.Unmap().String()
	}
	// A rule can admit a caller without a name; then only the address is known.
	if !t.Presented && t.User != "" {
		cause = queue.Cause{Kind: queue.CauseUser, User: t.User}
	}
	if t.Webhook != "" {
		cause = queue.Cause{Kind: queue.CauseWebhook, Webhook: t.Webhook}
	}
	if t.Cause != nil {
		cause.Noted, cause.Note = true, queue.OneLine(*t.Cause, maxCause)
	}
	return cause
}
