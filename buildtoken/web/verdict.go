package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/hook"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// Errors of the requests themselves. ErrForbidden is returned whether or not the thing
// exists, so that the answer does not reveal it.
var (
	ErrNotFound     = errors.New("web: not found")
	ErrForbidden    = errors.New("web: forbidden")
	ErrCrossSite    = errors.New("web: cross-site request without a token")
	ErrPrefetch     = errors.New("web: prefetched by a browser")
	ErrTooEarly     = errors.New("web: early data")
	ErrNoJob        = errors.New("web: no job given")
	ErrNoItem       = errors.New("web: no item given")
	ErrNoController = errors.New("web: no controller")
	ErrSlowBody     = errors.New("web: body did not come in time")
	ErrBusy         = errors.New("web: too many bodies in flight")
	ErrCrowded      = errors.New("web: too many answers are being read")
	ErrSpool        = errors.New("web: no place for the body")
)

// MethodError reports that the method is none of those allowed.
type MethodError struct{ Allow []string }

// Error implements error.
func (e *MethodError) Error() string { return "web: method not allowed" }

// BadRequestError reports which part of a request is malformed.
type BadRequestError struct{ Problem string }

// Error returns the problem, as the client may see it.
func (e *BadRequestError) Error() string { return e.Problem }

// TooLargeError reports that a body is larger than it may be.
type TooLargeError struct {
	Limit int64 // bytes
	// NeedsToken reports whether a right token outside the body would raise the limit.
	NeedsToken bool
}

// Error returns the limit, as the client may see it.
func (e *TooLargeError) Error() string {
	text := fmt.Sprintf("the body is larger than %d bytes", e.Limit)
	if e.NeedsToken {
		text += "; to send larger files to a job that takes them, name the job in the URL and present the token in a header"
	}
	return text
}

// Verdict is how an error is reported to a client. Text is one line for programs and
// people; a page shows it below Title, with Help.
type Verdict struct {
	Status      int
	Title, Text string
	// Help is what a person can do, "" if there is nothing to add.
	Help string
	// Allow has the methods for status 405, Retry how long to wait before another try.
	Allow []string
	Retry time.Duration
}

// How long clients should wait. A full queue moves when builds end; a controller
// that shuts down is followed by another.
const (
	retryFull     = 30 * time.Second
	retryShutdown = 5 * time.Second
	retryStorage  = 10 * time.Second
)

const (
	nothingQueued = "Nothing was queued."
	titleStorage  = "Not stored"
)

// VerdictOf returns how an error is reported to the client. An error that it
// does not list has status 500 and no text.
//
// The client cannot distinguish a wrong token from an expired one. Without a right token, a
// job that has no tokens looks like one that does not exist (404), while a job that has
// tokens answers 403.
func VerdictOf(err error) Verdict {
	if v, ok := verdictOfType(err); ok {
		return v
	}
	switch {
	case errors.Is(err, ErrSlowBody):
		return Verdict{Status: http.StatusRequestTimeout, Title: "Too slow", Text: "the body did not come in time", Help: nothingQueued}
	case errors.Is(err, ErrNoJob):
		return Verdict{Status: http.StatusBadRequest, Title: "No job", Text: "job is missing or empty"}
	case errors.Is(err, ErrNoItem):
		return Verdict{Status: http.StatusBadRequest, Title: "No item", Text: "item is missing or empty"}

	case errors.Is(err, definition.ErrUnknownJob), errors.Is(err, ErrNotFound), errors.Is(err, queue.ErrNotFound), errors.Is(err, console.ErrGone):
		return Verdict{Status: http.StatusNotFound, Title: "Not found", Text: "not found"}
	case errors.Is(err, ErrCrossSite):
		return Verdict{
			Status: http.StatusForbidden, Title: "Sent from another site", Text: "refused, because a page of another site sent it",
			Help: "Nothing was done. Open the page on this site and try again.",
		}
	case errors.Is(err, ErrPrefetch):
		return Verdict{Status: http.StatusForbidden, Title: "Not for prefetching", Text: "refused, because a browser prefetched it"}
	case errors.Is(err, ErrTooEarly):
		return Verdict{
			Status: http.StatusTooEarly, Title: "Too early", Text: "sent before the TLS handshake was complete, send it again",
			Help: "Nothing was done. Try again.",
		}
	case errors.Is(err, token.ErrMissing):
		return Verdict{Status: http.StatusForbidden, Title: titleNoAccess, Text: "missing token"}
	case errors.Is(err, token.ErrMismatch), errors.Is(err, token.ErrExpired):
		return Verdict{Status: http.StatusForbidden, Title: titleNoAccess, Text: "invalid token"}
	case errors.Is(err, hook.ErrUnsigned), errors.Is(err, hook.ErrMismatch), errors.Is(err, hook.ErrStale):
		return Verdict{Status: http.StatusForbidden, Title: titleNoAccess, Text: "invalid signature"}
	case errors.Is(err, event.ErrMalformed):
		return Verdict{Status: http.StatusBadRequest, Title: "Malformed delivery", Text: "the body is neither the JSON nor the form of its sender"}
	case errors.Is(err, policy.ErrDenied):
		return Verdict{Status: http.StatusForbidden, Title: "Not allowed", Text: "not allowed", Help: "A rule does not allow a build with these values now. " + nothingQueued}
	case errors.Is(err, definition.ErrNotGranted), errors.Is(err, ErrForbidden):
		return Verdict{Status: http.StatusForbidden, Title: titleNoAccess, Text: "not allowed"}
	case errors.Is(err, definition.ErrNeedsPost):
		return Verdict{Status: http.StatusMethodNotAllowed, Title: "Use POST", Text: "no token was given, and without one only POST starts a build", Allow: []string{http.MethodPost}}

	case errors.Is(err, definition.ErrNotBuildable), errors.Is(err, definition.ErrNotPollable),
		errors.Is(err, definition.ErrTakesParameters), errors.Is(err, definition.ErrTakesNoParameters):
		return Verdict{Status: http.StatusBadRequest, Title: "Not possible", Text: err.Error(), Help: nothingQueued}
	case errors.Is(err, job.ErrDelay), errors.Is(err, job.ErrValue), errors.Is(err, runner.ErrTooLarge), errors.Is(err, runner.ErrBadValue):
		return Verdict{Status: http.StatusBadRequest, Title: "Not accepted", Text: Reason(err), Help: nothingQueued}

	case errors.Is(err, queue.ErrLeft):
		return Verdict{Status: http.StatusConflict, Title: "Started already", Text: "the item has left the queue"}
	case errors.Is(err, queue.ErrNotRunning):
		return Verdict{Status: http.StatusConflict, Title: "Not running", Text: "the build is not running"}
	case errors.Is(err, queue.ErrKeyReused):
		return Verdict{Status: http.StatusUnprocessableEntity, Title: "Key used twice", Text: "this Idempotency-Key was used for a trigger with other parameter values"}
	}
	return unavailable(err)
}

const titleNoAccess = "No access"

// verdictOfType returns the verdict of errors that carry details.
func verdictOfType(err error) (Verdict, bool) {
	if denied, ok := errors.AsType[*policy.Denied](err); ok && denied.Rule.Message != "" {
		message := denied.Rule.Message
		return Verdict{Status: http.StatusForbidden, Title: "Not allowed", Text: "not allowed: " + message, Help: nothingQueued}, true
	}
	if method, ok := errors.AsType[*MethodError](err); ok {
		return Verdict{
			Status: http.StatusMethodNotAllowed, Title: "Method not allowed", Text: "use " + strings.Join(method.Allow, " or "), Allow: method.Allow,
		}, true
	}
	if tooLarge, ok := errors.AsType[*TooLargeError](err); ok {
		return Verdict{Status: http.StatusRequestEntityTooLarge, Title: "Too large", Text: tooLarge.Error(), Help: nothingQueued}, true
	}
	if malformed, ok := errors.AsType[*BadRequestError](err); ok {
		return Verdict{Status: http.StatusBadRequest, Title: "Malformed request", Text: malformed.Error(), Help: nothingQueued}, true
	}
	if throttled, ok := errors.AsType[*definition.ThrottledError](err); ok {
		return Verdict{Status: http.StatusTooManyRequests, Title: "Too many wrong tokens", Text: "too many wrong tokens, wait", Retry: throttled.Wait}, true
	}
	return Verdict{}, false
}

// unavailable returns the verdict of temporary errors.
func unavailable(err error) Verdict {
	v := Verdict{Status: http.StatusServiceUnavailable, Help: nothingQueued + " Try again in a moment."}
	switch {
	case errors.Is(err, buildtoken.ErrShuttingDown), errors.Is(err, queue.ErrClosed), errors.Is(err, ErrNoController):
		v.Title, v.Text, v.Retry = "Not ready", "shutting down or not ready, try again later", retryShutdown
	case errors.Is(err, queue.ErrFull):
		v.Title, v.Text, v.Retry = "The queue is full", "the queue is full, try again later", retryFull
		v.Help = nothingQueued + " Try again when builds have ended."
	case errors.Is(err, queue.ErrStorage), errors.Is(err, buildtoken.ErrUpload), errors.Is(err, ErrSpool):
		v.Title, v.Text, v.Retry = titleStorage, "the queue is not available now, try again later", retryStorage
	case errors.Is(err, ErrBusy):
		v.Title, v.Text, v.Retry = "Too busy", "too many uploads at the moment, try again later", retryStorage
	case errors.Is(err, ErrCrowded):
		v.Title, v.Text, v.Retry = "Too busy", "too many answers are being read at the moment, try again later", retryStorage
		v.Help = "Close pages that are open, and try again in a moment."
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		v.Title, v.Text, v.Retry = "Not ready", "given up, try again later", retryShutdown
	default:
		return Verdict{Status: http.StatusInternalServerError, Title: "Something went wrong"}
	}
	return v
}

// Reason returns the text of an error for people, without the name of the package that
// errors of this module begin with.
func Reason(err error) string {
	text := err.Error()
	before, after, _ := strings.Cut(text, ": ")
	switch before {
	case "buildtoken", "event", "hook", "job", "policy", "queue", "runner", "token", "web":
		return after
	}
	return text
}
