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
func (r *Runner) send(ctx context.Context, b runner.Build, out *output) (answer, runner.Result) {
	began, step := time.Now(), firstRetry
	for {
		req, err := r.request.build(ctx, b.Params)
		if err != nil {
			return answer{}, runner.Result{Outcome: runner.NotBuilt, Reason: oneLine(err.Error())}
		}
		got, connected, err := r.do(req, out)
		switch {
		case ctx.Err() != nil:
			return answer{}, aborted(ctx)
		case err == nil && got.status/100 == 2:
			return got, runner.Result{Outcome: runner.Success}
		case err == nil:
			return got, failed(errors.New(describe(got.status)))
		case connected:
			return got, failed(fmt.Errorf("the connection broke after the request was sent, so it is not repeated: %w", err))
		case errors.As(err, new(*tls.CertificateVerificationError)) || time.Since(began)+step > r.retryFor:
			return got, runner.Result{Outcome: runner.NotBuilt, Reason: oneLine("no connection: " + err.Error())}
		case step == firstRetry:
			out.line("No connection, trying again for %v: %v", r.retryFor, err)
		}
		if !pause(ctx, step) {
			return answer{}, aborted(ctx)
		}
		step = min(2*step, lastRetry)
	}
}

// do sends one request and copies the answer to the log as it comes. connected is true if the other system may have
// received the request. The error does not contain the URL.
func (r *Runner) do(req *http.Request, out *output) (got answer, connected bool, err error) {
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
			out.line("(the answer goes on)")
		}
	}
	out.endLine()
	return answer{resp.StatusCode, body.Bytes()}, true, nil
}

func describe(status int) string {
	text := fmt.Sprintf("the answer is %d %s", status, http.StatusText(status))
	if status/100 == 3 {
		text += "; redirects are not followed"
	}
	return text
}

// output writes to the log until a write fails; the rest is dropped.
type output struct {
	to      io.Writer
	failed  bool
	midLine bool
}

// Write never fails.
func (o *output) Write(p []byte) (int, error) {
	if len(p) > 0 && !o.failed {
		n, err := o.to.Write(p)
		o.failed = err != nil || n < len(p)
		o.midLine = p[len(p)-1] != '\n'
	}
	return len(p), nil
}

func (o *output) endLine() {
	if o.midLine {
		_, _ = o.Write([]byte("\n"))
	}
}

func (o *output) line(format string, args ...any) {
	o.endLine()
	_, _ = fmt.Fprintf(o, format+"\n", args...)
}
