package jenkins

import (
	"net/http"
	"strconv"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// reader is a request of a caller with an account.
type reader struct {
	*web.Request
	form *web.Form
}

// Serve answers the request if its path belongs to the remote API, and reports whether
// it does. It answers completely, errors too.
func Serve(q *web.Request) (handled bool) {
	if q.Path.Dotted() {
		return false
	}
	switch q.Path.At(0) {
	case "queue", "job", "crumbIssuer", "whoAmI":
	case "computer":
		if !isAPI(q.Path.From(1)) && !isAPI(q.Path.From(2)) {
			return false
		}
	case "api":
		if !isAPI(q.Path) {
			return false
		}
	case "me":
		if q.Path.At(1) != "api" {
			return false
		}
	default:
		return false
	}
	defer q.Begin().End()
	q.Plain = true
	if err := (&reader{Request: q}).serve(); err != nil {
		q.Fail(err)
	}
	return true
}

// isAPI reports whether a path begins like an object of the remote API.
func isAPI(p web.Path) bool {
	return p.At(0) == "api" && (p.At(1) == string(flavourJSON) || p.At(1) == string(flavourPython))
}

func (r *reader) serve() error {
	f, err := r.ReadForm(web.FormOptions{})
	if err != nil {
		return err
	}
	defer f.Close()
	r.form = f
	switch r.Path.At(0) {
	case "job":
		full, rest := r.Path.Job()
		return r.serveJob(full, rest)
	case "queue":
		return r.serveQueue(r.Path.From(1))
	}
	return r.serveSite()
}

// serveSite serves what belongs to no job.
func (r *reader) serveSite() error {
	if !r.MayReadSome("") {
		return web.ErrForbidden
	}
	rest := r.Path.From(1)
	switch r.Path.At(0) {
	case "api":
		return r.export(r.Path, (*view).site)
	case "whoAmI":
		return r.export(rest, (*view).whoAmI)
	case "me":
		if r.User() == "" {
			return web.ErrForbidden
		}
		return r.export(rest, (*view).me)
	case "computer":
		return r.serveComputer(rest)
	}
	return r.serveCrumb(rest)
}

// serveQueue serves /queue and below.
func (r *reader) serveQueue(rest web.Path) error {
	switch {
	case rest.At(0) == "item":
		return r.serveItem(rest.At(1), rest.From(2))
	case rest.Is("cancelItem"):
		if err := r.mutating(); err != nil {
			return err
		}
		return r.cancelItem(r.form.Text("id"), http.StatusNoContent)
	case !r.MayReadSome(""):
		return web.ErrForbidden
	case rest.Len() == 0:
		return r.page("")
	case rest.At(0) == "api":
		return r.export(rest, (*view).queue)
	}
	return web.ErrNotFound
}

// reading returns an error for methods that make no sense for reading.
func (r *reader) reading() error {
	return r.Allow(http.MethodGet, http.MethodHead, http.MethodPost)
}

// page is where redirects of clients end: they want 200, and a body that is empty or at
// least no HTML.
func (r *reader) page(text string) error {
	err := r.reading()
	if err == nil {
		r.Write(http.StatusOK, web.PlainText, text)
	}
	return err
}

// mutating returns an error for everything but POST, and for a POST that another site
// made a browser send.
func (r *reader) mutating() error {
	if r.R.Method != http.MethodPost && !r.MayReadSome("") {
		return web.ErrForbidden
	}
	if err := r.Allow(http.MethodPost); err != nil {
		return err
	}
	if r.CrossSite() {
		return web.ErrCrossSite
	}
	return nil
}

// redirect sends the client on, with the status that Jenkins has after such a POST.
func (r *reader) redirect(to string) {
	r.W.Header().Set("Location", to)
	r.Write(http.StatusFound, web.PlainText, "")
}

// export serves an object as api/json or api/python. Nothing may follow that, except the
// same again: gojenkins appends it to URLs that have it.
func (r *reader) export(rest web.Path, object func(*view) object) error {
	if again := rest.From(2); !isAPI(rest) || again.Len() > 0 && !again.Is(rest.At(0), rest.At(1)) {
		return web.ErrNotFound
	}
	if err := r.reading(); err != nil {
		return err
	}
	var tree *selection
	if text := r.form.First("tree"); text != nil {
		var err error
		if tree, err = parseTree(*text); err != nil {
			return err
		}
	}
	v, err := r.view()
	if err != nil {
		return err
	}
	var value any = object(v)
	kept := r.Answer()
	defer kept.Release()
	if tree != nil {
		p := pruner{ctx: v.ctx(), grow: kept.Grow}
		value = tree.prune(&p, value)
		v.note(p.err)
	}
	v.note(v.ctx().Err())
	if v.err != nil {
		return v.err
	}
	contentType, f := web.JSONText, flavour(rest.At(1))
	if f == flavourPython {
		contentType = "text/x-python; charset=utf-8"
	}
	if v.total > maxItems {
		r.W.Header().Set("X-Total-Count", strconv.Itoa(v.total))
	}
	text := encoded(value, f, r.form.First("pretty") != nil) + "\n"
	if v.err != nil { // of what is lazy
		return v.err
	}
	kept.Release() // what is written counts again
	r.Write(http.StatusOK, contentType, text)
	return nil
}
