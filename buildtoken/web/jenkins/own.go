package jenkins

import (
	"errors"
	"net/http"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// own is what a token's holder asks about: one item of the job that it opens.
type own struct {
	*request
	ctl   *buildtoken.Controller
	form  *form
	token token.Token
	entry queue.Entry
}

// own checks the token and finds the item, or answers why not. An item of
// another job looks like one that was never there.
func (q *request) own(need token.Grant, methods ...string) (*own, bool) {
	if !q.allowed(methods...) {
		return nil, false
	}
	f, err := q.form("")
	defer f.close()
	if err != nil {
		q.fail(err)
		return nil, false
	}
	if f.text("job") == "" {
		q.fail(errNoJob)
		return nil, false
	}
	ctl, ok := q.controller()
	if !ok {
		return nil, false
	}
	ctx := q.r.Context()
	full, opened, err := ctl.Opens(ctx, q.api.Definition, f.text("job"), q.caller(f), need)
	if err != nil {
		q.fail(err)
		return nil, false
	}
	if f.text("item") == "" {
		q.fail(errNoItem)
		return nil, false
	}
	entry, err := q.entry(ctl, f.text("item"))
	if err == nil && entry.Item.Job != full {
		err = errNotFound
	}
	if err != nil {
		q.fail(err)
		return nil, false
	}
	return &own{request: q, ctl: ctl, form: f, token: opened, entry: entry}, true
}

// stateOf says in one word where an item is: waiting, blocked, buildable, then
// running and ended, or cancelled.
func stateOf(e queue.Entry) string {
	switch {
	case e.Cancelled != nil:
		return "cancelled"
	case e.Build == nil:
		return string(e.State)
	case e.Build.Running():
		return "running"
	}
	return "ended"
}

// ownStatus tells how the item is doing.
func (q *request) ownStatus() {
	o, ok := q.own(token.Status, http.MethodGet, http.MethodPost)
	if !ok {
		return
	}
	q.write(http.StatusOK, jsonText, encode(statusOf(time.Now(), o.entry), flavourJSON), "\n")
}

// statusOf is what a token's holder may know of an item. Other jobs are only in
// its position.
func statusOf(now time.Time, e queue.Entry) object {
	o := object{
		{"item", e.Item.ID},
		{"job", e.Item.Job},
		{"state", stateOf(e)},
		{"why", orNull(why(now, e, ""))},
		{"due", e.Item.Due.UTC().Format(time.RFC3339Nano)},
	}
	var position, number, result any
	if e.State != queue.Left && e.Position >= 0 { // of one far behind nobody counts
		position = e.Position
	}
	if e.Build != nil {
		number, result = e.Build.Number, orNull(string(e.Build.Result))
	}
	return append(o, member{"position", position}, member{"build", number}, member{"result", result})
}

// ownCancel takes the item out of the queue, or stops its build.
func (q *request) ownCancel() {
	o, ok := q.own(token.Cancel, http.MethodPost)
	if !ok {
		return
	}
	if err := o.cancel(); err != nil {
		q.fail(err)
		return
	}
	q.w.WriteHeader(http.StatusNoContent)
}

func (o *own) cancel() error {
	ctx, it, by := o.r.Context(), o.entry.Item, "token "+o.token.Name
	if o.entry.State != queue.Left {
		err := o.ctl.Cancel(ctx, it.Job, it.ID, by)
		if !errors.Is(err, queue.ErrLeft) {
			return err
		}
		// It was started between the two looks.
		if o.entry, err = o.ctl.Entry(ctx, o.api.Definition, it.ID); err != nil {
			return err
		}
	}
	if o.entry.Build == nil {
		return queue.ErrLeft
	}
	return o.ctl.StopBuild(ctx, it.Job, o.entry.Build.Number, by)
}
