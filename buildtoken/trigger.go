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

// Errors of [Controller.Trigger], besides those of packages token, job,
// policy and queue. Each may come wrapped.
var (
	// ErrNeedsPost says that a caller without a token must use POST.
	ErrNeedsPost = errors.New("buildtoken: without a token this needs POST")
	// ErrNotBuildable says that the job is disabled.
	ErrNotBuildable = errors.New("is not buildable")
	// ErrTakesParameters and ErrTakesNoParameters name the endpoint to use.
	ErrTakesParameters   = errors.New("use buildWithParameters for this job since it takes parameters")
	ErrTakesNoParameters = errors.New("use build for this job since it takes no parameters")
	// ErrNotPollable says that the job has nothing to poll with.
	ErrNotPollable = errors.New("is not configured to poll")
	// ErrNotGranted says that the token is right, but does not open this.
	ErrNotGranted = errors.New("buildtoken: not granted to the token")
	// ErrUpload is returned when an uploaded file could not be stored.
	ErrUpload = errors.New("buildtoken: upload")
)

// ThrottledError says that a client showed too many wrong tokens for a job.
type ThrottledError struct {
	// Wait is how long the client should wait.
	Wait time.Duration
}

// Error says how long to wait.
func (e *ThrottledError) Error() string {
	return fmt.Sprintf("buildtoken: too many wrong tokens, wait %v", e.Wait.Round(time.Second))
}

// Action is what a trigger asks for.
type Action string

// The actions.
const (
	Build               Action = "build"
	BuildWithParameters Action = "buildWithParameters"
	Polling             Action = "polling"
)

// Upload is a file that came with a trigger.
type Upload struct {
	// Name is the name that the client gave, Size its length in bytes.
	Name string
	Size int64
	// Open opens the content. It is called at most once, after the trigger was allowed.
	Open func() (io.ReadCloser, error)
}

// Trigger asks for a build or a poll.
type Trigger struct {
	definition.Caller
	Action Action
	// Job is the full name as it came.
	Job string
	// Root is the URL under which the trigger came; it ends with a slash.
	Root string
	// Delay is the text of the delay, nil if there was none.
	Delay *string
	// Cause is the text of the cause, nil if there was none.
	Cause *string
	// Values and Files are the parameters, by name; others are ignored.
	Values map[string][]string
	Files  map[string]Upload
	// Once, if not nil, says that a trigger of the job by the same token or user
	// that gives the same text within [queue.KeepReceipts] is this one, coming again.
	Once *string
	// AnyKind takes parameters or not, whatever the job has: endpoints that
	// Jenkins itself has are not strict about it.
	AnyKind bool
	// UserMayTrigger lets a user trigger a job that no token opens.
	UserMayTrigger bool
	// Webhook is the name of the webhook that verified the delivery which the
	// trigger came from. If it is not empty, no token is needed and no wrong tokens
	// of the client count; the job's rules still apply.
	Webhook string
}

// Outcome is what became of a trigger that was accepted.
type Outcome struct {
	// Item is the queued item, durable. It is empty after a poll; if the trigger
	// was Repeated, only its ID and Job are set.
	Item queue.Item
	// Created tells a new item from one that was joined.
	Created bool
	// Repeated says that this is the answer to an earlier trigger, with the same
	// [Trigger.Once]; nothing was queued now, and the item may be gone.
	Repeated bool
	// Job is the job's full name.
	Job string
	// Grants are those of the token that opened the job; none for a user.
	Grants token.Grant
}

// Trigger checks a trigger and queues a build. The order of the checks decides
// what the caller may learn: whether the job exists at all comes first and
// looks the same for all the ways in which it doesn't; anything about the job
// itself comes after the token.
func (c *Controller) Trigger(ctx context.Context, d *definition.Site, t Trigger) (Outcome, error) {
	now := time.Now()
	out, tokenName, err := c.trigger(ctx, now, d, t)
	c.stats.trigger(out, err)
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
	if err != nil || (j.Tokens.Len() == 0 && !t.UserMayTrigger) {
		_, _ = token.Set{}.Check(now, t.Secret) // the same work as for a job that exists
		if err == nil {
			err = fmt.Errorf("%w: no token opens %s", definition.ErrUnknownJob, j.FullName)
		}
		return Outcome{}, "", err
	}
	out := Outcome{Job: j.FullName}
	opened, rules, err := c.authorize(ctx, now, d, j, t.Caller, token.Trigger)
	if err != nil {
		return out, opened.Name, err
	}
	out, err = c.accept(ctx, now, j, t, opened, rules)
	out.Grants = opened.Grants
	return out, opened.Name, err
}

// authorize finds the token that opens the job, or the access rule that lets a
// user start it without one, and returns the rules that the trigger has to meet.
// Wrong tokens are counted where tokens are defined; a job without tokens has no
// such place, so its callers learn nothing from a limit.
func (c *Controller) authorize(ctx context.Context, now time.Time, d *definition.Site, j *definition.Compiled, by definition.Caller, need token.Grant) (token.Token, []*policy.Policy, error) {
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
	if wait > 0 && !c.wrong.Remembers(now, by.Remote, by.Secret.Digest()) {
		return token.Token{}, nil, &ThrottledError{Wait: wait}
	}
	opened, err := j.Tokens.Check(now, by.Secret)
	if err != nil {
		if errors.Is(err, token.ErrMissing) { // an empty token was presented: that is a wrong one
			err = token.ErrMismatch
		}
		c.wrong.Add(now, limit, by.Remote, j.Places...)
		return token.Token{}, nil, err
	}
	if !opened.Grants.Has(need) {
		return opened, nil, fmt.Errorf("%w: %s", ErrNotGranted, need)
	}
	c.wrong.Remember(now, limit, by.Remote, opened.Digest)
	return opened, j.RulesFor(opened), nil
}

// accept checks what was asked for, and queues it.
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

// texts are the parameters as rules see them.
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
	// A rule may let in who has no name; then the address is what is known.
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

// logRefused tells the operator why a trigger was refused; the caller learns
// less. A client that was told to wait is not worth a line each time.
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
