package jenkins

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// Errors that arise here.
var (
	errNotFound  = errors.New("jenkins: not found")
	errForbidden = errors.New("jenkins: forbidden")
	errCrossSite = errors.New("jenkins: cross-site request without a token")
	errNoJob     = errors.New("jenkins: no job given")
	errNoItem    = errors.New("jenkins: no item given")
	errNoEngine  = errors.New("jenkins: no engine")
	errSlowBody  = errors.New("jenkins: body did not come in time")
)

// methodError says that the method is none of those allowed.
type methodError struct{ allow []string }

func (e *methodError) Error() string { return "jenkins: method not allowed" }

// verdict is what the client learns of an error.
type verdict struct {
	status int
	// text is a line for people; "" means that there is nothing to tell.
	text string
	// allow are the methods for 405, retry how long to wait with another try.
	allow []string
	retry time.Duration
}

// How long clients should wait. A full queue moves when builds end; an engine
// that shuts down is followed by another.
const (
	retryFull     = 30 * time.Second
	retryShutdown = 5 * time.Second
	retryStorage  = 10 * time.Second
)

// verdictOf is the one place where errors become statuses. What it does not
// know has status 500 and no text.
//
// The three ways in which a job is not there look the same, and so do the
// three in which a token is no good.
func verdictOf(err error) verdict {
	if method, ok := errors.AsType[*methodError](err); ok {
		return verdict{status: http.StatusMethodNotAllowed, text: "use " + strings.Join(method.allow, " or "), allow: method.allow}
	}
	if tooLarge, ok := errors.AsType[*tooLargeError](err); ok {
		return verdict{status: http.StatusRequestEntityTooLarge, text: tooLarge.Error()}
	}
	if malformed, ok := errors.AsType[*badRequestError](err); ok {
		return verdict{status: http.StatusBadRequest, text: malformed.Error()}
	}
	if throttled, ok := errors.AsType[*buildtoken.ThrottledError](err); ok {
		return verdict{status: http.StatusTooManyRequests, text: "too many wrong tokens, wait", retry: throttled.Wait}
	}
	switch {
	case errors.Is(err, errSlowBody):
		return verdict{status: http.StatusRequestTimeout, text: "the body did not come in time"}
	case errors.Is(err, errNoJob):
		return verdict{status: http.StatusBadRequest, text: "job is missing or empty"}
	case errors.Is(err, errNoItem):
		return verdict{status: http.StatusBadRequest, text: "item is missing or empty"}

	case errors.Is(err, definition.ErrUnknownJob), errors.Is(err, errNotFound), errors.Is(err, queue.ErrNotFound):
		return verdict{status: http.StatusNotFound, text: "not found"}
	case errors.Is(err, errCrossSite):
		return verdict{status: http.StatusForbidden, text: "refused, because a page of another site sent it"}
	case errors.Is(err, token.ErrMissing), errors.Is(err, token.ErrMismatch), errors.Is(err, token.ErrExpired):
		return verdict{status: http.StatusForbidden, text: "invalid token"}
	case errors.Is(err, buildtoken.ErrNotGranted), errors.Is(err, policy.ErrDenied), errors.Is(err, errForbidden):
		return verdict{status: http.StatusForbidden, text: "not allowed"}
	case errors.Is(err, buildtoken.ErrNeedsPost):
		return verdict{status: http.StatusMethodNotAllowed, text: "without a token use POST", allow: []string{http.MethodPost}}

	case errors.Is(err, buildtoken.ErrNotBuildable), errors.Is(err, buildtoken.ErrNotPollable),
		errors.Is(err, buildtoken.ErrTakesParameters), errors.Is(err, buildtoken.ErrTakesNoParameters):
		return verdict{status: http.StatusBadRequest, text: err.Error()}
	case errors.Is(err, job.ErrDelay), errors.Is(err, job.ErrValue), errors.Is(err, runner.ErrTooLarge), errors.Is(err, runner.ErrBadValue):
		return verdict{status: http.StatusBadRequest, text: withoutPackage(err)}

	case errors.Is(err, queue.ErrLeft):
		return verdict{status: http.StatusConflict, text: "the item has left the queue"}
	case errors.Is(err, queue.ErrNotRunning):
		return verdict{status: http.StatusConflict, text: "the build is not running"}

	case errors.Is(err, queue.ErrKeyReused):
		return verdict{status: http.StatusUnprocessableEntity, text: "this Idempotency-Key was used for a trigger with other parameter values"}

	case errors.Is(err, buildtoken.ErrShuttingDown), errors.Is(err, queue.ErrClosed), errors.Is(err, errNoEngine):
		return verdict{status: http.StatusServiceUnavailable, text: "shutting down or not ready, try again later", retry: retryShutdown}
	case errors.Is(err, queue.ErrFull):
		return verdict{status: http.StatusServiceUnavailable, text: "the queue is full, try again later", retry: retryFull}
	case errors.Is(err, queue.ErrStorage), errors.Is(err, buildtoken.ErrUpload):
		return verdict{status: http.StatusServiceUnavailable, text: "the disk refuses, try again later", retry: retryStorage}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return verdict{status: http.StatusServiceUnavailable, text: "given up, try again later", retry: retryShutdown}
	}
	return verdict{status: http.StatusInternalServerError}
}

// withoutPackage is the error's text without the package's name in front,
// which means something to us only.
func withoutPackage(err error) string {
	text := err.Error()
	if before, after, ok := strings.Cut(text, ": "); ok && (before == "job" || before == "runner") {
		return after
	}
	return text
}
