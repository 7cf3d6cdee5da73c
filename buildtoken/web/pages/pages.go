package pages

import (
	"net/http"
	"net/url"
	"sync"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// Pages has what all pages are made with. Its zero value is ready, and any number of
// requests, of any number of sites, may be served at the same time.
type Pages struct {
	once sync.Once
	kit  *kit
}

// visit is one request for a page.
type visit struct {
	*web.Request
	outlook
	kit *kit
	// streaming is set when static regions are of no use.
	streaming bool
	// madePage ends what startMaking began. It may be called again. Nil for a stream.
	madePage func()
}

// outlook is what pages are about, whoever reads them.
type outlook struct {
	ctl  *buildtoken.Controller
	site *definition.Site
	// root is the absolute URL of the site, and base its path; both end with a slash.
	root, base string
}

// Serve answers the request if it is for people, and reports whether it is. It answers
// completely, errors too.
func (p *Pages) Serve(q *web.Request) (handled bool) {
	rt, ok := route(q)
	if !ok || q.Path.Dotted() || (rt.shared && !q.WantsPage()) || (rt.common && !q.MayReadSome("")) {
		return false
	}
	p.once.Do(func() { p.kit = newKit() })
	v := &visit{Request: q, kit: p.kit, outlook: outlook{site: q.Definition, root: q.Root(), base: "/"}}
	if u, err := url.Parse(v.root); err == nil {
		v.base = u.EscapedPath()
	}
	defer q.Begin().End()
	v.setHeaders()
	if err := v.serve(rt); err != nil {
		v.fail(err)
	}
	return true
}

func (v *visit) serve(rt target) error {
	if rt.form && v.R.Method != http.MethodPost {
		// The browser's address bar has the form's address after a refused form.
		if err := v.Allow(http.MethodGet, http.MethodHead, http.MethodPost); err != nil {
			return err
		}
		v.redirect(v.base + rt.page)
		return nil
	}
	if err := v.Allow(rt.methods...); err != nil {
		return err
	}
	if v.R.Method == http.MethodPost && v.CrossSite() {
		return web.ErrCrossSite
	}
	if rt.needsController {
		var err error
		if v.ctl, err = v.Controller(); err != nil {
			return err
		}
	}
	return rt.serve(v)
}
