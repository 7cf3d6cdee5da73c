package triggers

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// trigger is a request that triggers a job.
type trigger struct {
	*web.Request
	// atJob is set at a job's own URL, where Jenkins' clients expect an empty body, and
	// where the Authorization header of a user is the user's.
	atJob bool
	ctl   *buildtoken.Controller
	form  *web.Form
	// unready is why it is not known whether the body may be large.
	unready error
}

// serve reads a trigger and passes it to the controller. t has what follows from the path:
// the action, and the job unless the request names it.
func (q *trigger) serve(t buildtoken.Trigger) error {
	if !q.MayTrigger(q.R.Method) {
		return &web.MethodError{Allow: q.TriggerMethods()}
	}
	if q.Early() {
		return web.ErrTooEarly
	}
	if q.Prefetch() {
		return web.ErrPrefetch
	}
	var err error
	named := t.Job
	q.form, err = q.ReadForm(web.FormOptions{
		NamedInPath: named != "",
		Large:       func(f *web.Form) bool { return q.mayUpload(f, named) },
	})
	if err != nil {
		return cmp.Or(q.unready, err)
	}
	defer q.form.Close()
	if t.Job == "" {
		t.Job = q.form.Text("job")
	}
	if t.Job == "" {
		return web.ErrNoJob
	}
	if t.Action != buildtoken.Polling { // a repeated poll is harmless
		if t.IdempotencyKey, err = idempotencyKey(q.R.Header); err != nil {
			return err
		}
	}
	t.Caller = withToken(q.Request, q.form.Secret, q.form.Presented, q.atJob)
	if q.atJob {
		if err := needsPost(q.Request, t.Presented); err != nil {
			return err
		}
		if err := q.form.ReadJSON(); err != nil {
			return err
		}
	}
	t.Root = q.Root()
	t.Delay, t.Cause = q.form.First("delay"), q.form.First("cause")
	t.Values, t.Files = q.form.Values("job", "delay", "cause"), q.form.Uploads(false)
	if q.atJob && len(t.Values)+len(t.Files) > 0 {
		t.Action = buildtoken.BuildWithParameters // so that no default replaces a value that was sent
	}
	if q.ctl, err = q.Controller(); err != nil {
		return err
	}
	out, err := q.submit(t)
	if err != nil {
		return err
	}
	if t.Action == buildtoken.Polling {
		q.Write(http.StatusOK, "text/html", "Scheduled.\n") // as Jenkins does, type included
		return nil
	}
	a := answer{trigger: q, out: out}
	if j, ok := q.Definition.Job(out.Job); ok {
		a.ignored = job.Unknown(j, t.Values, t.Files)
	}
	wait := q.mayWait(out)
	t = buildtoken.Trigger{} // a waiting request holds little memory
	q.form.Close()
	q.Release()
	a.ended = q.awaitEnd(out, wait)
	a.write()
	return nil
}

// withToken returns the caller with the token of the query or form, or else with that of a
// header. Of several tokens, the first in this order applies: query, body, Authorization:
// Bearer, X-Build-Token, X-Gitlab-Token. An empty token counts as a wrong one. At a job's own
// URL, the Authorization header of a user is the user's.
func withToken(q *web.Request, secret token.Secret, presented, atJob bool) definition.Caller {
	by := q.Caller()
	if by.Secret, by.Presented = secret, presented; !by.Presented {
		by.Secret, by.Presented = web.HeaderToken(q.R.Header, atJob && by.User != "")
	}
	return by
}

// mayUpload reports whether the body may be as large as uploads are: the job is named
// and takes a file, and the caller has shown a right token outside the body, or may
// start the job without one.
func (q *trigger) mayUpload(f *web.Form, full string) bool {
	if full == "" {
		full = f.Text("job")
	}
	j, ok := q.Definition.Job(full)
	if !ok || !j.TakesFiles() {
		return false
	}
	secret, presented := q.queryToken()
	by := withToken(q.Request, secret, presented, q.atJob)
	if !by.Presented {
		return by.Post && !q.CrossSite() && q.May(definition.Start, j.FullName)
	}
	ctl, err := q.Controller()
	if err != nil {
		q.unready = err
		return false
	}
	_, _, err = ctl.Opens(q.R.Context(), q.Definition, full, by, token.Trigger)
	return err == nil
}

// queryToken returns the first token of the query.
func (q *trigger) queryToken() (token.Secret, bool) {
	given, ok := q.R.URL.Query()["token"]
	if !ok {
		return token.Secret{}, false
	}
	return token.NewSecret(given[0]), true
}

// submit hands the trigger to the controller.
func (q *trigger) submit(t buildtoken.Trigger) (buildtoken.Outcome, error) {
	// Without a token the browser's session decides, and a page of another site could have
	// made the browser send the request.
	crossSite := !t.Presented && t.Post && q.CrossSite()
	if crossSite {
		t.Post = false
	}
	out, err := q.ctl.Trigger(q.R.Context(), q.Definition, t)
	switch {
	case crossSite && errors.Is(err, definition.ErrNeedsPost):
		return out, web.ErrCrossSite
	case q.atJob && errors.Is(err, definition.ErrUnknownJob):
		// At a job's own URL, only callers who may read learn that there is no such job. All
		// others get the answer to a missing or wrong token.
		if !q.MayRead(t.Job) {
			if !t.Presented {
				return out, token.ErrMissing
			}
			return out, token.ErrMismatch
		}
		q.Plain = true // some clients go on asking after a 404 of JSON
	}
	return out, err
}

// answer is the answer to an accepted trigger.
type answer struct {
	*trigger
	out buildtoken.Outcome
	// ended is how the item ended, if the client has waited for that.
	ended *queue.Entry
	// ignored are the names of values and files for which the job has no parameter.
	ignored []string
}

// accepted is the answer as JSON.
type accepted struct {
	ID      int64    `json:"id"`
	URL     string   `json:"url"`
	Created bool     `json:"created"`
	Share   string   `json:"share,omitempty"`
	Ignored []string `json:"ignored,omitempty"`
	*status
}

func (a answer) write() {
	location := web.ItemURL(a.Root(), a.out.Item.ID)
	a.W.Header().Set("Location", location)
	shared := ""
	if a.out.Share != "" {
		shared = web.SharedURL(a.Root(), a.out.Share)
		a.W.Header().Set("Link", "<"+shared+`>; rel="monitor"`)
	}
	code, became := http.StatusCreated, "queued as"
	if !a.out.Created {
		became = "joined"
		// Clients of the job's own URL cannot make use of a redirection, and a client that
		// has waited has the answer here: most would follow, and throw it away.
		if !a.atJob && a.ended == nil && a.Joined != http.StatusCreated {
			code = http.StatusSeeOther
		}
	}
	if a.WantsJSON() {
		v := accepted{ID: a.out.Item.ID, URL: location, Created: a.out.Created, Share: shared, Ignored: a.ignored}
		if a.ended != nil {
			s := statusOf(a.Now, *a.ended)
			v.status = &s
		}
		a.WriteJSON(code, v)
		return
	}
	text := became + " item " + strconv.FormatInt(a.out.Item.ID, 10)
	if a.ended != nil {
		text += ", " + endOf(*a.ended)
	} else if a.atJob {
		a.Write(code, web.PlainText, "") // clients can make something of an empty body or JSON only
		return
	}
	if len(a.ignored) > 0 {
		text += " (ignored: " + shortList(a.ignored) + ")"
	}
	a.Write(code, web.PlainText, text+"\n")
}

// shortList joins names to one short line.
func shortList(names []string) string {
	const most = 10
	more := ""
	if len(names) > most {
		names, more = names[:most], ", …"
	}
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = strings.Trim(fmt.Sprintf("%.60q", name), `"`)
	}
	return strings.Join(quoted, ", ") + more
}
