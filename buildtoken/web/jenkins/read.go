package jenkins

import (
	"net/http"
	"strconv"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// reader is a request of somebody with an account.
type reader struct {
	*request
	by   definition.Caller
	form *form
}

// serveReading is for callers with an account, and for triggers at a job's own URL.
func (q *request) serveReading() {
	q.w.Header().Set("X-Jenkins", version)
	full, rest := q.path.job()
	if full != "" && len(rest) == 1 && (rest[0] == "build" || rest[0] == "buildWithParameters") {
		// Most clients can make something of an empty body or JSON only.
		q.empty, q.accountOnly = true, true
		// Below a job, a token alone opens nothing but a POST: whoever may not
		// read learns no more by another method than anywhere else there.
		if q.r.Method != http.MethodPost {
			if q.mayRead(q.caller(nil), full) {
				q.fail(&methodError{allow: []string{http.MethodPost}})
			} else {
				q.fail(errForbidden)
			}
			return
		}
		q.trigger(buildtoken.Trigger{Action: buildtoken.Action(rest[0]), Job: full, AnyKind: true, UserMayTrigger: true})
		return
	}
	q.plain = true
	r := &reader{request: q, by: q.caller(nil)}
	f, err := readForm(q.w, q.r, func(*form) int64 { return maxBody })
	defer f.close()
	if err != nil {
		q.fail(err)
		return
	}
	r.form = f
	switch q.path.at(0) {
	case "job":
		r.serveJob(full, rest)
	case "queue":
		r.serveQueue(q.path.from(1))
	default:
		r.serveSite()
	}
}

// serveSite is for what belongs to no job.
func (r *reader) serveSite() {
	if !r.mayReadSome("") {
		r.fail(errForbidden)
		return
	}
	rest := r.path.from(1)
	switch r.path.at(0) {
	case "api":
		r.export(r.path.from(0), (*view).site)
	case "whoAmI":
		r.export(rest, (*view).whoAmI)
	case "me":
		if r.by.User == "" {
			r.fail(errForbidden)
			return
		}
		r.export(rest, (*view).me)
	case "crumbIssuer":
		r.serveCrumb(rest)
	}
}

// serveQueue is for /queue and below.
func (r *reader) serveQueue(rest []string) {
	at := func(i int) string { return path{segments: rest}.at(i) }
	switch {
	case at(0) == "item" && len(rest) > 1:
		r.serveItem(at(1), rest[2:])
	case at(0) == "cancelItem" && len(rest) == 1:
		if r.mutating() {
			r.cancelItem(r.form.text("id"), http.StatusNoContent)
		}
	case !r.mayReadSome(""):
		r.fail(errForbidden)
	case len(rest) == 0:
		r.page("")
	case at(0) == "api":
		r.export(rest, (*view).queue)
	default:
		r.fail(errNotFound)
	}
}

// serveItem is for one item. An item that the caller may not read looks like
// one that is not there.
func (r *reader) serveItem(text string, rest []string) {
	if len(rest) == 1 && rest[0] == "cancelQueue" {
		if r.mutating() {
			r.cancelItem(text, http.StatusFound)
		}
		return
	}
	ctl, ok := r.controller()
	if !ok {
		return
	}
	entry, err := r.entry(ctl, text)
	switch {
	case err == nil && r.mayRead(r.by, entry.Item.Job):
	case !r.mayReadSome(""):
		r.fail(errForbidden)
		return
	case err == nil:
		r.fail(errNotFound)
		return
	default:
		r.fail(err)
		return
	}
	switch {
	case len(rest) == 0:
		r.page("Queue item exists. For details check, for example, " + r.api.Root(r.r) +
			"queue/item/" + strconv.FormatInt(entry.Item.ID, 10) + "/api/json?tree=cancelled,executable[url]\n")
	case rest[0] == "api":
		r.export(rest, func(v *view) object { return v.item(entry) })
	default:
		r.fail(errNotFound)
	}
}

// entry finds an item by the text of its id.
func (q *request) entry(ctl *buildtoken.Controller, text string) (queue.Entry, error) {
	id, ok := parseNumber(text)
	if !ok {
		return queue.Entry{}, errNotFound
	}
	return ctl.Entry(q.r.Context(), q.api.Definition, id)
}

// parseNumber reads an id or a build number as we write them: from 1, no zeros in front.
func parseNumber(text string) (int64, bool) {
	if text == "" || text[0] < '1' || text[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// mayReadSome says whether the caller may read something in a folder, "" being the root.
func (r *reader) mayReadSome(folder string) bool {
	if r.mayRead(r.by, folder) {
		return true
	}
	for _, j := range r.api.Definition.Tree().Jobs() {
		if within(j.FullName, folder) && r.mayRead(r.by, j.FullName) {
			return true
		}
	}
	return false
}

// within says whether a full name stands in a folder, at any depth.
func within(full, folder string) bool {
	return folder == "" || (len(full) > len(folder) && full[len(folder)] == '/' && full[:len(folder)] == folder)
}

// reading answers 405 to methods that make no sense for reading.
func (r *reader) reading() bool {
	return r.allowed(http.MethodGet, http.MethodHead, http.MethodPost)
}

// page is where redirects of clients end: they want 200, and a body that is
// empty or at least no HTML.
func (r *reader) page(text string) {
	if r.reading() {
		r.write(http.StatusOK, plainText, text)
	}
}

// export serves an object as api/json or api/python. What stands behind that
// in the path is ignored: clients put suffixes on URLs that have them.
func (r *reader) export(rest []string, make func(*view) object) {
	if len(rest) < 2 || rest[0] != "api" || (rest[1] != string(flavourJSON) && rest[1] != string(flavourPython)) {
		r.fail(errNotFound)
		return
	}
	if !r.reading() {
		return
	}
	var tree selection
	if text := r.form.first("tree"); text != nil {
		var err error
		if tree, err = parseTree(*text); err != nil {
			r.fail(err)
			return
		}
	}
	ctl, ok := r.controller()
	if !ok {
		return
	}
	v := r.view(ctl)
	var value any = make(v)
	if tree != nil {
		value = tree.prune(value)
	}
	if v.err != nil {
		r.fail(v.err)
		return
	}
	contentType := jsonText
	if rest[1] == string(flavourPython) {
		contentType = "text/x-python; charset=utf-8"
	}
	pretty := r.form.first("pretty") != nil
	r.write(http.StatusOK, contentType, encoded(value, flavour(rest[1]), pretty)+"\n")
}
