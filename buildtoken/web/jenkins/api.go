package jenkins

import (
	"net/http"
	"net/netip"
	"slices"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// API answers the requests of one site. Its fields must not change once it
// serves; then any number of requests may be served at the same time.
type API struct {
	// Open gives the controller. It is called for each request that needs one;
	// its error is answered 503 and logged. It is required.
	Open func() (*buildtoken.Controller, error)
	// Definition is the site's. It is required.
	Definition *definition.Site
	// Methods are those that may trigger, of GET and POST. Nil means both;
	// others never trigger.
	Methods []string
	// Root gives the absolute URL under which the client sees the API; it ends
	// with a slash. It is required.
	Root func(*http.Request) string
	// Remote gives the client's address; the zero value, and a nil Remote, is unknown.
	Remote func(*http.Request) netip.Addr
	// User gives whom an authentication handler let in; "", and a nil User, is nobody.
	User func(*http.Request) string
	// Log hears of what the operator should know. Nil is silent.
	Log *zap.Logger
	// Done ends the streams of logs when it is closed, as before a shutdown or
	// when the configuration goes away. Nil never does.
	Done <-chan struct{}
}

// version is what the X-Jenkins header says: clients look whether it is there
// and which of Jenkins' habits to expect.
const version = "2.568"

// request is one request on its way.
type request struct {
	api *API
	w   *web.Writer
	r   *http.Request
	// path holds the unescaped segments of the path.
	path     path
	segments [4]string // of most paths
	// empty answers with an empty body where a text would be for people only.
	empty bool
	// accountOnly says that the Authorization header of a user is the user's.
	accountOnly bool
	// plain answers in text, whatever Accept says.
	plain bool
	// remote is the client's address, and seen what rules see, once one has asked.
	remote netip.Addr
	seen   *policy.Request
}

// Serve answers the request if its path is ours, and says whether it was.
// All that is ours is answered here, errors too.
func (a *API) Serve(w http.ResponseWriter, r *http.Request) (handled bool) {
	q := &request{api: a, r: r}
	q.path = splitPath(r.URL.EscapedPath(), q.segments[:])
	var serve func()
	switch q.path.at(0) {
	case "buildByToken":
		serve = q.serveByToken
	case "queue", "job", "crumbIssuer", "whoAmI":
		serve = q.serveReading
	case "api":
		if flavour := q.path.at(1); flavour != "json" && flavour != "python" {
			return false
		}
		serve = q.serveReading
	case "me":
		if q.path.at(1) != "api" {
			return false
		}
		serve = q.serveReading
	default:
		return false
	}
	setAll(w.Header(), "Cache-Control", "no-store", "Referrer-Policy", "no-referrer", "X-Content-Type-Options", "nosniff")
	q.w = web.NewWriter(w, r, a.Done)
	defer q.w.End()
	serve()
	return true
}

// serveByToken is for callers who have nothing but a token.
func (q *request) serveByToken() {
	action, ok := q.path.action()
	if !ok {
		q.fail(errNotFound)
		return
	}
	switch action {
	case "build", "buildWithParameters", "polling":
		q.trigger(buildtoken.Trigger{Action: buildtoken.Action(action)})
	case "status":
		q.ownStatus()
	case "log":
		q.ownLog()
	case "cancel":
		q.ownCancel()
	default:
		q.fail(errNotFound)
	}
}

// allowed answers 405 unless the method is one of these.
func (q *request) allowed(methods ...string) bool {
	if slices.Contains(methods, q.r.Method) {
		return true
	}
	q.fail(&methodError{allow: methods})
	return false
}

// controller gives the controller, or answers that there is none now.
func (q *request) controller() (*buildtoken.Controller, bool) {
	c, err := q.api.Open()
	if err != nil {
		q.api.log().Error("no engine to serve requests", zap.Error(err))
		q.fail(errNoEngine)
		return nil, false
	}
	return c, true
}

func (a *API) log() *zap.Logger {
	if a.Log == nil {
		return zap.NewNop()
	}
	return a.Log
}

// mayTrigger says whether a method may trigger.
func (a *API) mayTrigger(method string) bool {
	return (method == http.MethodGet || method == http.MethodPost) && (a.Methods == nil || slices.Contains(a.Methods, method))
}

// triggering are the methods that may trigger.
func (a *API) triggering() []string {
	return slices.DeleteFunc([]string{http.MethodGet, http.MethodPost}, func(m string) bool { return !a.mayTrigger(m) })
}
