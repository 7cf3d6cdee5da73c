package httprunner

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

const (
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 1 << 20
	// firstRetry and lastRetry bound the time between two tries to connect.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// answer is what is kept of an answer.
type answer struct {
	status int
	body   []byte
}

// send sends the request, and tries again until a connection is made. It copies the answer to the log.
func (r *Runner) send(ctx context.Context, b runner.Build, out *runner.Output) (answer, runner.Result) {
	began, step := time.Now(), firstRetry
	for {
		req, err := r.request.build(ctx, b.Params)
		if err != nil {
			return answer{}, runner.Result{Outcome: runner.NotBuilt, Reason: runner.OneLine(err.Error())}
		}
		got, connected, err := r.do(req, out)
		switch {
		case ctx.Err() != nil:
			return answer{}, runner.AbortedBy(ctx)
		case err == nil && got.status/100 == 2:
			return got, runner.Result{Outcome: runner.Success}
		case err == nil:
			return got, runner.FailedBy(errors.New(describe(got.status)))
		case connected:
			return got, runner.FailedBy(fmt.Errorf("the connection broke after the request was sent, so it is not repeated: %w", err))
		case errors.As(err, new(*tls.CertificateVerificationError)) || time.Since(began) >= r.retryFor:
			return got, runner.Result{Outcome: runner.NotBuilt, Reason: runner.OneLine("no connection: " + err.Error())}
		case step == firstRetry:
			out.Line("No connection, trying again for %v: %v", r.retryFor, err)
		}
		if !runner.Pause(ctx, min(step, r.retryFor-time.Since(began))) { // the last try is at the end
			return answer{}, runner.AbortedBy(ctx)
		}
		step = min(2*step, lastRetry)
	}
}

// do sends one request and copies the answer to the log as it comes. connected is true if the other system may have
// received the request. The error does not contain the URL.
func (r *Runner) do(req *http.Request, out *runner.Output) (got answer, connected bool, err error) {
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected = true }}
	resp, err := r.client.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err
		}
		return answer{}, connected, err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	var body bytes.Buffer
	n, err := io.Copy(io.MultiWriter(&body, out), io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return answer{}, true, err
	}
	if n == maxAnswer {
		if more, _ := io.CopyN(io.Discard, resp.Body, 1); more > 0 {
			out.Line("(the answer goes on)")
		}
	}
	out.EndLine()
	return answer{resp.StatusCode, body.Bytes()}, true, nil
}

func describe(status int) string {
	text := fmt.Sprintf("the answer is %d %s", status, http.StatusText(status))
	if status/100 == 3 {
		text += "; redirects are not followed"
	}
	return text
}
