package buildtoken

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/build"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// Errors of [Controller.Trigger], in addition to those of packages definition,
// token, job, policy and queue.
var (
	// ErrNeedsPost is returned to a caller without a token that does not use POST.
	ErrNeedsPost = errors.New("buildtoken: without a token this needs POST")
	// ErrNotBuildable is returned if the job is disabled.
	ErrNotBuildable = errors.New("is not buildable")
	// ErrTakesParameters and ErrTakesNoParameters name the endpoint to use.
	ErrTakesParameters   = errors.New("use buildWithParameters for this job since it takes parameters")
	ErrTakesNoParameters = errors.New("use build for this job since it takes no parameters")
	// ErrNotPollable is returned if the job has no poller.
	ErrNotPollable = errors.New("is not configured to poll")
	// ErrNotGranted is returned when the token is valid but lacks the required grant.
	ErrNotGranted = errors.New("buildtoken: not granted to the token")
	// ErrUpload is returned when an uploaded file could not be stored.
	ErrUpload = errors.New("buildtoken: upload")
)

// ThrottledError is returned to a client that showed too many wrong tokens.
type ThrottledError struct {
	// Wait is how long the client should wait.
	Wait time.Duration
}

// Error returns a text with the time to wait.
func (e *ThrottledError) Error() string {
	return fmt.Sprintf("buildtoken: too many wrong tokens, wait %v", e.Wait.Round(time.Second))
}

// Action is what a trigger requests.
type Action string

// The actions.
const (
	Build               Action = "build"
	BuildWithParameters Action = "buildWithParameters"
	Polling             Action = "polling"
)

// Upload is a file of a trigger.
type Upload struct {
	// Name is the name that the client sent, Size the length in bytes.
	Name string
	Size int64
	// Open opens the content. It is called at most once, after the trigger was allowed.
	Open func() (io.ReadCloser, error)
}

// Trigger is a request for a build or a poll.
type Trigger struct {
	definition.Caller
	Action Action
	// Job is the full name as in the request.
	Job string
	// Root is the URL of the site for the client; it ends with a slash.
	Root string
	// Delay is the text of the delay; nil if there is none.
	Delay *string
	// Cause is the text of the cause; nil if there is none.
	Cause *string
	// Values and Files are the parameters, by name; others are ignored.
	Values map[string][]string
	Files  map[string]Upload
	// IdempotencyKey, if not nil, identifies the trigger: another one of the job by
	// the same token or user with the same key, within [queue.KeepReceipts], is a
	// repetition of this one.
	IdempotencyKey *string
	// AnyKind accepts a trigger with or without parameters, whatever the job has.
	// Jenkins' own endpoints do not insist on the right one.
	AnyKind bool
	// UserMayTrigger allows a user to trigger a job without tokens.
	UserMayTrigger bool
	// Webhook is the name of the webhook that verified the delivery which the
	// trigger came from. If it is not empty, no token is needed and no wrong tokens
	// of the client count; the job's rules still apply.
	Webhook string
}

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
	// Share is the ID of a link that shows the item, for [Controller.Shared]. It is
	// empty unless the token grants it.
	Share string
}

// Trigger checks a trigger and queues a build. The order of the checks decides
// what the caller can learn. Whether the job exists is checked first, and all
// ways in which it does not exist look the same. Everything else about the job is
// checked after the token.
func (c *Controller) Trigger(ctx context.Context, d *definition.Site, t Trigger) (Outcome, error) {
	now := time.Now()
	out, tokenName, err := c.trigger(ctx, now, d, t)
	c.stats.trigger(out, err)
	c.auditTrigger(t, tokenName, out, err)
	if err != nil {
		c.logRefused(t, tokenName, err)
		return Outcome{}, err
	}
	if log := c.logger().Check(zap.DebugLevel, "trigger accepted"); log != nil {
		log.Write(zap.String("job", out.Job), zap.String("action", string(t.Action)), zap.Int64("item", out.Item.ID),
			zap.Bool("created", out.Created), zap.String("token", tokenName), zap.String("remote", t.RemoteText()))
	}
	return out, nil
}

func (c *Controller) trigger(ctx context.Context, now time.Time, d *definition.Site, t Trigger) (Outcome, string, error) {
	j, err := d.Find(t.Job)
	if err == nil && t.Webhook != "" {
		out, err := c.accept(ctx, now, j, t, token.Token{}, j.Rules)
		return out, "", err
	}
	if err != nil || (j.Tokens.Len() == 0 && !t.UserMayTrigger && !t.Operator) {
		_, _ = token.Set{}.Check(now, t.Secret) // the same work as for a job that exists
		if err == nil {
			err = fmt.Errorf("%w: no token opens %s", definition.ErrUnknownJob, j.FullName)
		}
		return Outcome{}, "", err
	}
	out := Outcome{Job: j.FullName}
	opened, rules, err := c.authorize(ctx, now, d, j, t.Caller, token.Trigger)
	c.countUse(now, j, opened, t.Caller, err)
	if err != nil {
		return out, opened.Name, err
	}
	out, err = c.accept(ctx, now, j, t, opened, rules)
	out.Grants = opened.Grants
	if err == nil {
		out.Share = c.share(now, out, opened)
	}
	return out, opened.Name, err
}

// authorize finds the token that opens the job, or the access rule that lets a
// user start it without one, and returns the rules that the trigger has to meet.
// Wrong tokens are counted where tokens are defined; a job without tokens has no
// such place, so its callers learn nothing from a limit.
func (c *Controller) authorize(ctx context.Context, now time.Time, d *definition.Site, j *definition.Compiled, by definition.Caller, need token.Grant) (token.Token, []*policy.Policy, error) {
	if by.Operator {
		return token.Token{Grants: token.Trigger | token.Status | token.Log | token.Cancel}, j.Rules, nil
	}
	limit := c.effective.Load().WrongTokens
	wait := c.wrong.Wait(now, limit, by.Remote, j.Places...)
	if !by.Presented {
		_, err := token.Set{}.Check(now, token.Secret{})
		switch {
		case need == token.Trigger && d.May(ctx, by, definition.Start, j.FullName):
			if !by.Post {
				return token.Token{}, nil, ErrNeedsPost
			}
			return token.Token{}, j.Rules, nil
		case wait > 0:
			return token.Token{}, nil, &ThrottledError{Wait: wait}
		}
		return token.Token{}, nil, err
	}
	opened, err := j.Tokens.Check(now, by.Secret)
	// The same work for a right token and a wrong one, whose digest is zero here.
	if wait > 0 && !c.wrong.Remembers(now, by.Remote, opened.Digest) {
		return token.Token{}, nil, &ThrottledError{Wait: wait}
	}
	if err != nil {
		if errors.Is(err, token.ErrMissing) { // an empty token was presented: that is a wrong one
			err = token.ErrMismatch
		}
		c.wrong.Add(now, limit, by.Remote, j.Places...)
		if before := c.effective.Load().before[j.FullName]; before != nil && errors.Is(err, token.ErrMismatch) {
			opened, _ = before.Tokens.Check(now, by.Secret)
			opened.Grants, opened.Digest = 0, token.Digest{}
		}
		return opened, nil, err // one that opens nothing any more is named
	}
	if !opened.Grants.Has(need) {
		return opened, nil, fmt.Errorf("%w: %s", ErrNotGranted, need)
	}
	c.wrong.Remember(now, limit, by.Remote, opened.Digest)
	return opened, j.RulesFor(opened), nil
}

// accept checks the request of an authorized caller, and queues the build.
func (c *Controller) accept(ctx context.Context, now time.Time, j *definition.Compiled, t Trigger, opened token.Token, rules []*policy.Policy) (Outcome, error) {
	out := Outcome{Job: j.FullName}
	switch {
	case j.Disabled:
		return out, fmt.Errorf("%s %w", t.Job, ErrNotBuildable)
	case t.Action == Polling && j.Poller == nil:
		return out, fmt.Errorf("%s %w", t.Job, ErrNotPollable)
	case t.Action == Build && len(j.Params) > 0 && !t.AnyKind:
		return out, ErrTakesParameters
	case t.Action == BuildWithParameters && len(j.Params) == 0 && !t.AnyKind:
		return out, ErrTakesNoParameters
	}
	delay := *j.Settings.QuietPeriod
	if t.Delay != nil {
		given, err := job.ParseDelay(*t.Delay)
		if err != nil {
			return out, err
		}
		delay = given
	}
	values, err := c.values(j, t)
	if err != nil {
		return out, err
	}
	cause := causeOf(t, opened)
	if len(rules) > 0 {
		if err := decide(ctx, rules, &policy.Input{
			Job: policy.JobOf(j.FullName), Token: policy.Token{Name: opened.Name}, Params: texts(values),
			Delay: delay, Cause: cause.Note, User: t.User, Now: now, Request: t.PolicyRequest(),
		}); err != nil {
			return out, err
		}
	}
	if c.effective.Load().detached {
		return out, ErrShuttingDown
	}
	if t.Action == Polling {
		if !c.polls.Request(j.FullName, t.Root) {
			return out, ErrShuttingDown
		}
		return out, nil
	}
	return c.schedule(ctx, now, j, t, opened, values, delay, cause)
}

// values returns the checked parameters of the build. The build endpoint of
// Jenkins uses the defaults of a job with parameters.
func (c *Controller) values(j *definition.Compiled, t Trigger) ([]job.Value, error) {
	if t.Action == Polling || len(j.Params) == 0 {
		return nil, nil
	}
	files := make(map[string]job.File, len(t.Files))
	for name, f := range t.Files {
		files[name] = job.File{Name: f.Name, Size: f.Size, Ref: build.PendingRef}
	}
	given := t.Values
	if t.Action == Build {
		given, files = nil, nil
	}
	values, err := j.Values(given, files)
	if err != nil {
		return nil, err
	}
	if err := j.Fits(t.Root, values); err != nil {
		return nil, err
	}
	return values, nil
}

func decide(ctx context.Context, rules []*policy.Policy, in *policy.Input) error {
	for _, p := range rules {
		if err := p.Decide(ctx, in); err != nil {
			return err
		}
	}
	return nil
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

func causeOf(t Trigger, opened token.Token) queue.Cause {
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

// logRefused logs why a trigger was refused, in more detail than the answer. A
// throttled client is logged for debugging only.
func (c *Controller) logRefused(t Trigger, tokenName string, err error) {
	level := zap.InfoLevel
	_, throttled := errors.AsType[*ThrottledError](err)
	switch {
	case throttled:
		level = zap.DebugLevel
	case errors.Is(err, queue.ErrStorage):
		level = zap.ErrorLevel
	}
	log := c.logger().Check(level, "trigger refused")
	if log == nil {
		return
	}
	fields := []zap.Field{
		zap.String("job", queue.OneLine(job.ShownName(t.Job), 200)), zap.String("action", string(t.Action)),
		zap.String("token", tokenName), zap.String("user", t.User), zap.String("remote", t.RemoteText()), zap.Error(err),
	}
	if denied, ok := errors.AsType[*policy.Denied](err); ok {
		fields = append(fields, zap.String("rule", denied.Rule.Name))
	}
	log.Write(fields...)
}
