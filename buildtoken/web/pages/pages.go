package pages

import (
	"net/http"
	"net/url"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// Pages are the pages of one site. Its fields must not change once it serves;
// then any number of requests may be served at the same time.
type Pages struct {
	// Open gives the controller. It is called for each request that needs one;
	// its error is answered 503 and logged. It is required.
	Open func() (*buildtoken.Controller, error)
	// Definition is the site's. It is required.
	Definition *definition.Site
	// Root gives the absolute URL under which the client sees the site; it ends
	// with a slash. It is required.
	Root func(*http.Request) string
	// Caller says who asks: user, address, and the request as rules see it. A
	// token that it presents is not looked at: pages are for people with an
	// account. It is required.
	Caller func(*http.Request) definition.Caller
	// Done ends event streams when it is closed, as before a shutdown or when
	// the configuration goes away; browsers come back. Nil never does.
	Done <-chan struct{}
	// Log hears of what the operator should know. Nil is silent.
	Log *zap.Logger

	once sync.Once
	kit  *kit
}

// visit is one request on its way.
type visit struct {
	p   *Pages
	w   http.ResponseWriter
	r   *http.Request
	kit *kit
	by  definition.Caller
	// root is absolute, base its path; both end with a slash.
	root, base string
	ctl        *buildtoken.Controller
	// now is the one instant that the answer is of.
	now time.Time
	// streaming says that static regions are of no use.
	streaming bool
}

// Serve answers the request if it is for people, and says whether it was. All
// that is ours is answered here, errors too.
func (p *Pages) Serve(w http.ResponseWriter, r *http.Request) (handled bool) {
	path := splitPath(r.URL.EscapedPath())
	rt, ok := p.route(path)
	if !ok || (rt.shared && !prefersHTML(r)) {
		return false
	}
	p.once.Do(func() { p.kit = newKit() })
	v := &visit{p: p, w: w, r: r, kit: p.kit, root: p.Root(r), base: "/", now: time.Now()}
	if u, err := url.Parse(v.root); err == nil && u.EscapedPath() != "" {
		v.base = u.EscapedPath()
	}
	v.by = p.Caller(r)
	v.by.Secret, v.by.Presented = noSecret()
	v.by.Post = r.Method == http.MethodPost
	if rt.common && !v.mayReadSome() {
		return false
	}
	slow := web.NewWriter(w, r, p.Done)
	defer slow.End()
	v.w = slow
	v.setHeaders()
	if !v.allowed(rt.methods) {
		return true
	}
	if rt.needsController {
		ctl, err := p.Open()
		if err != nil {
			p.log().Error("no engine to show pages of", zap.Error(err))
			v.fail(errNoEngine)
			return true
		}
		v.ctl = ctl
	}
	if err := rt.serve(v); err != nil {
		v.fail(err)
	}
	return true
}

func (p *Pages) log() *zap.Logger {
	if p.Log == nil {
		return zap.NewNop()
	}
	return p.Log
}
