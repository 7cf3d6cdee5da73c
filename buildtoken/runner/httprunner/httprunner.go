// Package httprunner runs a build as one HTTP request to another system, and can follow there what the request started.
//
// A 2xx answer is a success. The answer is copied into the log, at most 1 MiB of it. Redirects are not followed, so the
// configuration alone decides which hosts are contacted. A request is repeated only as long as no connection could be
// made; after that the other system may have received it, and it is never sent again.
//
// The values of parameters are escaped for where they stand: in the path and query of a URL, in a JSON or XML body, in
// a form. They cannot change the host, the path's structure, or the structure of the body. In a header and in a body of
// plain text they stand as they are; a header refuses control characters.
//
// Stopping a build ends the request or the following. The other system is not notified. After a restart of the server,
// the following goes on; a request that has no answer yet is lost.
package httprunner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// The defaults of [Config] and [Follow].
const (
	DefaultRetryFor  = 5 * time.Minute
	DefaultEvery     = 5 * time.Second
	DefaultLostAfter = 15 * time.Minute
)

// Config describes the request. Method and URL are required. URL, the values of Header, Body and the URL of Follow may
// refer to parameters as {param.NAME}.
type Config struct {
	// Method is the HTTP method.
	Method string
	// URL is an absolute http or https URL. It may refer to parameters only after the host.
	URL string
	// Header has the header fields, in the order in which they are set.
	Header []Field
	// Body is the body. Its type is that of the Content-Type field; without one it is application/json if Body begins
	// with "{" or "[", else application/x-www-form-urlencoded.
	Body string
	// Follow is what to do after a 2xx answer; nil ends the build with the answer.
	Follow *Follow
	// RetryFor is how long to try to connect before the build ends as not built. Zero means [DefaultRetryFor].
	RetryFor time.Duration
	// Transport is used instead of a new [http.Transport]; for tests.
	Transport *http.Transport
}

// Field is one header field.
type Field struct{ Name, Value string }

// Follow describes how to wait for the end of what the request started: by GET of a URL, again and again.
type Follow struct {
	// URL may also refer to fields of the JSON answer to the request, as {response.id} or {response.build.id}.
	URL string
	// Done is a CEL expression of type bool over status and body. The following ends when it is true.
	Done string
	// Result is a CEL expression over status and body of the last answer: a bool, or the text SUCCESS, UNSTABLE, FAILURE
	// or ABORTED in any case. Empty means that a 2xx status is a success.
	Result string
	// Every is the time between two requests. Zero means [DefaultEvery].
	Every time.Duration
	// LostAfter is how long the other system may be silent before the build fails. Zero means [DefaultLostAfter].
	LostAfter time.Duration
}

// Runner sends the configured request for each build. It is safe for concurrent use. Create one with [New].
type Runner struct {
	retryFor time.Duration
	request  request
	follow   *follow
	client   *http.Client
}

// New checks the configuration and returns its runner. It contacts no other system.
func New(c Config) (*Runner, error) {
	r := &Runner{retryFor: c.RetryFor}
	if r.retryFor == 0 {
		r.retryFor = DefaultRetryFor
	}
	var err error
	if r.request, err = parseRequest(c.Method, c.URL, c.Header, c.Body); err != nil {
		return nil, fmt.Errorf("httprunner: %w", err)
	}
	if c.Follow != nil {
		if r.follow, err = newFollow(*c.Follow, c.Header); err != nil {
			return nil, fmt.Errorf("httprunner: follow: %w", err)
		}
	}
	transport := c.Transport
	if transport == nil {
		transport = &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 15 * time.Second}
	}
	// A new connection for each request: net/http repeats requests that fail on a connection that was used before.
	transport.DisableKeepAlives = true
	r.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	return r, nil
}

// Params returns the names of the parameters in URLs, each once. Others can see these: servers log URLs.
func (r *Runner) Params() []string {
	names := r.request.url.Params()
	if r.follow != nil {
		for _, name := range r.follow.request.url.Params() {
			if !strings.HasPrefix(name, responsePrefix) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// HiddenParams returns the names of the parameters in header fields and the body, each once.
func (r *Runner) HiddenParams() []string {
	names := r.request.hidden()
	slices.Sort(names)
	return slices.Compact(names)
}

// Fits implements [runner.Sizer].
func (r *Runner) Fits(_ []string, params []runner.Param) error {
	_, err := r.request.build(context.Background(), params)
	return err
}

// Run implements [runner.Runner].
func (r *Runner) Run(ctx context.Context, b runner.Build, log io.Writer) runner.Result {
	if ctx.Err() != nil {
		return runner.AbortedBy(ctx)
	}
	out := &runner.Output{To: log}
	if b.Handle != nil {
		return r.resume(ctx, b, out)
	}
	got, result := r.send(ctx, b, out)
	if result.Outcome != runner.Success || r.follow == nil {
		return result
	}
	fields, err := r.follow.fields(got)
	if err != nil {
		return runner.FailedBy(err)
	}
	if err := save(b, fields); err != nil {
		out.Line("A restart of the server would end this build: %v", err)
	}
	return r.watch(ctx, append(b.Params[:len(b.Params):len(b.Params)], fields...), out)
}

// Remote implements [runner.Remote].
func (r *Runner) Remote() {}

// handle is what is saved of a build: not the parameters, among which can be passwords.
type handle struct {
	Fields []runner.Param `json:"fields"`
}

func save(b runner.Build, fields []runner.Param) error {
	if b.Save == nil {
		return nil
	}
	text, err := json.Marshal(handle{fields})
	if err != nil {
		return err
	}
	return b.Save(text)
}

// resume follows what an earlier process started.
func (r *Runner) resume(ctx context.Context, b runner.Build, out *runner.Output) runner.Result {
	var h handle
	if err := json.Unmarshal(b.Handle, &h); err != nil || r.follow == nil {
		return runner.FailedBy(errors.New("the build cannot be followed any more: the configuration of its runner has changed"))
	}
	return r.watch(ctx, append(b.Params[:len(b.Params):len(b.Params)], h.Fields...), out)
}

var errNotText = errors.New("want SUCCESS, UNSTABLE, FAILURE or ABORTED, or a bool")

var (
	_ runner.Remote = (*Runner)(nil)
	_ runner.Sizer  = (*Runner)(nil)
)
