package web

import (
	"net/http"
	"net/netip"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Site describes one site: its jobs, and how its requests are to be understood. Its
// fields must not change once it serves; then any number of requests may be served
// at the same time.
type Site struct {
	// Open returns the controller. It is called for each request that needs one; an
	// error is answered with 503 and logged. It is required.
	Open func() (*buildtoken.Controller, error)
	// Definition has the site's jobs. It is required.
	Definition *definition.Site
	// Methods are the methods that may trigger, of GET and POST. Nil means both;
	// other methods never trigger.
	Methods []string
	// Root returns the absolute URL under which the client reaches the site. It ends
	// with a slash. It is required.
	Root func(*http.Request) string
	// Remote returns the client's address. The zero address, and a nil Remote, mean
	// that it is unknown.
	Remote func(*http.Request) netip.Addr
	// User returns the user that an authentication handler admitted; "", and a nil
	// User, mean that there is none.
	User func(*http.Request) string
	// Log receives what an operator should know. Nil discards it.
	Log *zap.Logger
	// Done is closed when the server shuts down or the configuration is replaced: all
	// streams and waiting requests end. If it is nil, they do not end early.
	Done <-chan struct{}
	// InFlight bounds the bodies, large answers and streams of all sites that share it. Nil bounds this
	// site alone.
	InFlight *InFlight
	// Spool creates a file for a part of a body, which is removed after the request. Nil
	// means [buildtoken.Controller.SpoolFile].
	Spool func() (*os.File, error)
	// Operator is set for the site that Caddy's admin API serves; see [definition.Caller].
	Operator bool
	// Joined is the status of a trigger that joined a queued item: 303 or 201. Zero is 303.
	Joined int

	own own
}

// Logger returns the site's logger, never nil.
func (s *Site) Logger() *zap.Logger {
	if s.Log == nil {
		return zap.NewNop()
	}
	return s.Log
}

// MayTrigger reports whether a method may trigger.
func (s *Site) MayTrigger(method string) bool {
	return (method == http.MethodGet || method == http.MethodPost) && (s.Methods == nil || slices.Contains(s.Methods, method))
}

// TriggerMethods returns the methods that may trigger.
func (s *Site) TriggerMethods() []string {
	return slices.DeleteFunc([]string{http.MethodGet, http.MethodPost}, func(m string) bool { return !s.MayTrigger(m) })
}

// Request is one request to a site. It is for the goroutine that serves the request. Its
// methods Root and User return what the site's functions of the same names do, but call
// them only once.
type Request struct {
	*Site

	R *http.Request
	// W writes the answer. It is nil until [Request.Begin].
	W *Writer
	// Path is the path in unescaped segments.
	Path Path
	// Now is when the request arrived.
	Now time.Time
	// Plain makes [Request.Fail] answer in plain text, whatever the client accepts.
	Plain bool

	w      http.ResponseWriter
	root   string
	caller definition.Caller // set if known
	known  bool
	access *definition.Checker
	rules  *policy.Request // what rules see of the request, once one has asked
}

// Request wraps a request to the site.
func (s *Site) Request(w http.ResponseWriter, r *http.Request) *Request {
	return &Request{Site: s, R: r, Path: SplitPath(r.URL.EscapedPath()), Now: time.Now(), w: w}
}

// jenkinsVersion is the version that the X-Jenkins header announces. Clients check
// whether the header is there and which of Jenkins' habits to expect.
const jenkinsVersion = "2.578"

// Begin takes over the request: it sets the headers that all answers share, and
// bounds the time of a slow client. The caller must call [Writer.End] when the request is
// served.
func (q *Request) Begin() *Writer {
	q.W = NewWriter(q.w, q.R, q.Done)
	SetAll(q.W.Header(), "Cache-Control", "no-store", "Referrer-Policy", "no-referrer", "X-Content-Type-Options", "nosniff")
	if q.Path.At(0) != ByToken || q.User() != "" {
		q.markJenkins()
	}
	return q.W
}

// markJenkins adds the header by which clients recognise Jenkins.
func (q *Request) markJenkins() { q.W.Header().Set("X-Jenkins", jenkinsVersion) }

// Root returns the absolute URL of the site, which ends with a slash.
func (q *Request) Root() string {
	if q.root == "" {
		q.root = q.Site.Root(q.R)
	}
	return q.root
}

// Controller returns the controller, or [ErrNoController] if there is none now.
func (q *Request) Controller() (*buildtoken.Controller, error) {
	c, err := q.Open()
	if err != nil {
		q.ready().unopened.Do(func() { q.Logger().Error("no controller to serve requests", zap.Error(err)) })
		return nil, ErrNoController
	}
	return c, nil
}

// Allow returns a [MethodError] unless the method is one of these, and [ErrTooEarly] if it is POST
// and the request is [Request.Early].
func (q *Request) Allow(methods ...string) error {
	switch {
	case !slices.Contains(methods, q.R.Method):
		return &MethodError{Allow: methods}
	case q.R.Method == http.MethodPost && q.Early():
		return ErrTooEarly
	}
	return nil
}

// Entry finds an item of the site by the text of its id.
func (q *Request) Entry(ctl *buildtoken.Controller, id string) (queue.Entry, error) {
	n, ok := Number(id)
	if !ok {
		return queue.Entry{}, ErrNotFound
	}
	return ctl.Entry(q.R.Context(), q.Definition, n)
}
