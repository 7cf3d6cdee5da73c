package definition

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// Errors of [Site.Admit], in addition to [ErrUnknownJob] and those of packages token,
// job and policy.
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
	Caller
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
