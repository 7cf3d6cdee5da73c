package pages

import (
	"net/http"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// target is the handler of a path.
type target struct {
	methods []string
	// shared is set for paths of the remote API, which answers clients that do not want HTML.
	shared bool
	// common is set for paths that another handler of the site may serve, such as the home
	// page. Pages serve them only to callers who may read something.
	common          bool
	needsController bool
	serve           func(*visit) error
	// form is set for the address of a form, and page is where its page is, below the root.
	form bool
	page string
}

// loader returns how a page is made.
type loader func(*visit) (plan, error)

// personal returns the loader of a page that is made for its reader.
func personal(load func(*visit) (*page, error)) loader {
	return func(v *visit) (plan, error) {
		return plan{make: func() (*page, error) { return load(v) }}, nil
	}
}

func reading(serve func(*visit) error) target {
	return target{methods: []string{http.MethodGet, http.MethodHead}, needsController: true, serve: serve}
}

func submitting(page string, serve func(*visit) error) target {
	return target{methods: []string{http.MethodPost}, needsController: true, serve: serve, form: true, page: page}
}

// own is the beginning of the paths that only pages use. It is not below buildByToken,
// because logins in front of the site leave that open, and streams and parts of logs are for
// callers who may read.
const own = "queue/-/"

// route returns the target of a path. If ok is false, the path belongs to another handler.
func route(q *web.Request) (t target, ok bool) {
	p := q.Path
	if p.Len() >= 3 && p.At(0) == "queue" && p.At(1) == "-" {
		return ownRoute(q, p.At(2), p.From(3))
	}
	if load, ok := pageOf(q, p); ok {
		rt := reading(func(v *visit) error { return v.show(load) })
		// POST to a page is the remote API's. The home page has no other form.
		rt.common = p.Len() == 0 || p.At(0) == "computer"
		rt.shared = p.Len() > 0
		return rt, p.Len() > 0 || q.R.Method == http.MethodGet || q.R.Method == http.MethodHead
	}
	if p.Is("rssAll") {
		rt := reading(func(v *visit) error { return v.feed("") })
		rt.common = true
		return rt, true
	}
	if p.Len() == 4 && p.At(0) == "queue" && p.At(1) == "item" && p.At(3) == "cancelForm" {
		id, ok := web.Number(p.At(2))
		return submitting(web.ItemURL("", id), func(v *visit) error { return v.cancel(id) }), ok
	}
	full, rest := p.Job()
	if full == "" {
		return target{}, false
	}
	return jobRoute(full, rest)
}

// jobRoute returns the target of a path below a job that is not a page.
func jobRoute(full string, rest web.Path) (target, bool) {
	switch {
	case rest.Is("rssAll"):
		return reading(func(v *visit) error { return v.feed(full) }), true
	case rest.Is("badge", "icon"), rest.Is("badge", "icon.svg"):
		return reading(func(v *visit) error { return v.badge(full) }), true
	case rest.Is("cancelAll"):
		return reading(func(v *visit) error {
			return v.show(personal(func(v *visit) (*page, error) { return v.cancelAllPage(full) }))
		}), true
	case rest.Is("cancelAllForm"):
		return submitting(web.JobURL("", full)+"cancelAll", func(v *visit) error { return v.cancelAll(full) }), true
	case rest.Is("buildForm"):
		return submitting(web.JobURL("", full), func(v *visit) error { return v.start(full) }), true
	case rest.Len() == 2 && rest.At(1) == "stopForm":
		number, ok := web.Number(rest.At(0))
		return submitting(web.BuildURL("", full, number), func(v *visit) error { return v.stop(full, number) }), ok
	}
	return target{}, false
}

// ownRoute returns the target of a path that only pages use: assets, events and parts of logs.
func ownRoute(q *web.Request, kind string, rest web.Path) (target, bool) {
	switch kind {
	case "assets":
		rt := reading(func(v *visit) error { return v.asset(rest.At(0)) })
		rt.needsController = false
		return rt, rest.Len() == 1
	case "events":
		load, ok := pageOf(q, rest)
		return reading(func(v *visit) error { return v.stream(load) }), ok
	case "log":
		full, rest := rest.Job()
		number, ok := web.Number(rest.At(0))
		return reading(func(v *visit) error { return v.logPart(full, number) }), ok && full != "" && rest.Len() == 1
	}
	return target{}, false
}

// pageOf returns the loader of the page at a path.
func pageOf(q *web.Request, p web.Path) (loader, bool) {
	switch {
	case p.Len() == 0:
		return func(v *visit) (plan, error) { return v.overview("") }, true
	case p.Is("queue"):
		return personal((*visit).queuePage), true
	case p.Is("queue", "deliveries"):
		return personal((*visit).deliveries), true
	case p.Is("computer"):
		return personal((*visit).executors), true
	case p.Len() == 3 && p.At(0) == "queue" && p.At(1) == "item":
		id, ok := web.Number(p.At(2))
		return personal(func(v *visit) (*page, error) { return v.item(id) }), ok
	}
	full, rest := p.Job()
	if full == "" || rest.Len() > 2 || (rest.Len() == 2 && rest.At(1) != "console") {
		return nil, false
	}
	if rest.Len() == 0 {
		if j, ok := q.Definition.Job(full); ok {
			return personal(func(v *visit) (*page, error) { return v.job(j, nil) }), true
		}
		return func(v *visit) (plan, error) { return v.overview(full) }, true
	}
	if web.IsPermalink(rest.At(0)) {
		return personal(func(v *visit) (*page, error) { return v.permalink(full, rest.At(0), rest.At(1)) }), true
	}
	number, ok := web.Number(rest.At(0))
	return personal(func(v *visit) (*page, error) { return v.build(full, number, rest.Len() == 2) }), ok
}
