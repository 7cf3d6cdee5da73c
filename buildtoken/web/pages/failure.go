package pages

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// Errors that arise here.
var (
	// errHidden is for who may not read, whether or not there is anything.
	errHidden    = errors.New("pages: not for this caller")
	errMissing   = errors.New("pages: not found")
	errMethod    = errors.New("pages: method not allowed")
	errCrossSite = errors.New("pages: form of another site")
	errTooLarge  = errors.New("pages: form too large")
	errMalformed = errors.New("pages: malformed form")
	errNoEngine  = errors.New("pages: no engine")
)

// failure is what people learn of an error. The statuses are those that the
// remote API answers; the words are longer.
type failure struct {
	status      int
	Title, Text string
	// Home is where to go on.
	Home string
}

func failureOf(err error) failure {
	switch {
	case errors.Is(err, errHidden), errors.Is(err, token.ErrMissing), errors.Is(err, token.ErrMismatch), errors.Is(err, token.ErrExpired):
		return failure{
			status: http.StatusForbidden, Title: "No access",
			Text: "You may not see or do this, or it does not exist. If you have an account, sign in with it.",
		}
	case errors.Is(err, errCrossSite):
		return failure{
			status: http.StatusForbidden, Title: "Sent from another site",
			Text: "This form was not sent by one of our pages, so nothing was done. Open the page here and try again.",
		}
	case errors.Is(err, policy.ErrDenied):
		return failure{status: http.StatusForbidden, Title: "Not allowed", Text: "A rule does not allow a build with these values now."}
	case errors.Is(err, errMissing), errors.Is(err, queue.ErrNotFound), errors.Is(err, definition.ErrUnknownJob):
		return failure{status: http.StatusNotFound, Title: "Not found", Text: "There is nothing here, or no longer: old builds are dropped."}
	case errors.Is(err, errMethod):
		return failure{status: http.StatusMethodNotAllowed, Title: "Method not allowed", Text: "This address does not answer such requests."}
	case errors.Is(err, errTooLarge):
		return failure{
			status: http.StatusRequestEntityTooLarge, Title: "Too large",
			Text: "The form is larger than it may be: 1 MiB, or 32 MiB with files. Nothing was queued.",
		}
	case errors.Is(err, errMalformed):
		return failure{status: http.StatusBadRequest, Title: "Malformed form", Text: "The form could not be read. Nothing was queued."}
	case errors.Is(err, buildtoken.ErrNotBuildable):
		return failure{status: http.StatusBadRequest, Title: "Disabled", Text: "The job is disabled, so nothing was queued."}
	case errors.Is(err, queue.ErrFull):
		return failure{status: http.StatusServiceUnavailable, Title: "The queue is full", Text: "Nothing was queued. Try again when builds have ended."}
	case errors.Is(err, queue.ErrStorage), errors.Is(err, buildtoken.ErrUpload):
		return failure{status: http.StatusServiceUnavailable, Title: "Not stored", Text: "The server cannot store it now. Nothing was queued."}
	case errors.Is(err, buildtoken.ErrShuttingDown), errors.Is(err, queue.ErrClosed), errors.Is(err, errNoEngine),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return failure{status: http.StatusServiceUnavailable, Title: "Not ready", Text: "The server is starting or shutting down. Try again in a moment."}
	}
	if throttled := (*buildtoken.ThrottledError)(nil); errors.As(err, &throttled) {
		return failure{status: http.StatusTooManyRequests, Title: "Too many wrong tokens", Text: "Wait a while before you try again."}
	}
	return failure{status: http.StatusInternalServerError, Title: "Something went wrong"}
}

// fail answers an error with a page.
func (v *visit) fail(err error) {
	f := v.explain(err)
	v.write(&page{Title: f.Title, Name: "failure", status: f.status, Regions: []region{{Name: "failure", Static: true, Data: f}}})
}

// explain is what people learn of an error; the operator learns the rest of
// one that nobody expected.
func (v *visit) explain(err error) failure {
	f := failureOf(err)
	if f.status == http.StatusInternalServerError {
		id := rand.Text()
		v.p.log().Error("page failed", zap.String("request_id", id), zap.String("path", v.r.URL.Path), zap.Error(err))
		f.Text = "The server's log says more under request " + id + "."
	}
	f.Home = v.base
	return f
}
