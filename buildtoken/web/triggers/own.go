package triggers

import (
	"errors"
	"net/http"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// own is a request by the holder of a token about one item of the job that it opens.
type own struct {
	*web.Request
	ctl   *buildtoken.Controller
	token token.Token
	entry queue.Entry
	start *string // the parameter start
}

// newOwn checks the token and finds the item. An item of another job looks like one
// that was never there.
func newOwn(q *web.Request, need token.Grant, methods ...string) (*own, error) {
	if err := q.Allow(methods...); err != nil {
		return nil, err
	}
	if q.Early() {
		return nil, web.ErrTooEarly
	}
	f, err := q.ReadForm(web.FormOptions{})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Text("job") == "" {
		return nil, web.ErrNoJob
	}
	o := &own{Request: q, start: f.First("start")}
	if o.ctl, err = q.Controller(); err != nil {
		return nil, err
	}
	full, opened, err := o.ctl.Opens(q.R.Context(), q.Definition, f.Text("job"), withToken(q, f.Secret, f.Presented, false), need)
	if err != nil {
		return nil, err
	}
	o.token = opened
	if f.Text("item") == "" {
		return nil, web.ErrNoItem
	}
	o.entry, err = q.Entry(o.ctl, f.Text("item"))
	if err == nil && o.entry.Item.Job != full {
		err = web.ErrNotFound
	}
	return o, err
}

// status is the state of an item as the holder of a token may see it. Only its position
// depends on other jobs; it is null if too many items are due before it.
type status struct {
	Item     int64   `json:"item"`
	Job      string  `json:"job"`
	State    string  `json:"state"`
	Stuck    bool    `json:"stuck,omitempty"`
	Why      *string `json:"why"`
	Due      string  `json:"due"`
	Position *int    `json:"position"`
	Build    *int64  `json:"build"`
	Result   *string `json:"result"`
}

func statusOf(now time.Time, e queue.Entry) status {
	s := status{
		Item: e.Item.ID, Job: e.Item.Job, State: web.State(e), Stuck: web.Stuck(now, e), Why: orNull(web.WhyNow(now, e, "")),
		Due: e.Item.Due.UTC().Format(time.RFC3339Nano),
	}
	if e.State != queue.Left && e.Position >= 0 {
		s.Position = &e.Position
	}
	if e.Build != nil {
		s.Build, s.Result = &e.Build.Number, orNull(string(e.Build.Result))
	}
	return s
}

// orNull returns nil for an empty text.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// ownStatus answers with the state of the item.
func ownStatus(q *web.Request) error {
	o, err := newOwn(q, token.Status, http.MethodGet, http.MethodPost)
	if err != nil {
		return err
	}
	q.WriteJSON(http.StatusOK, statusOf(time.Now(), o.entry))
	return nil
}

// ownCancel takes the item out of the queue, or stops its build.
func ownCancel(q *web.Request) error {
	o, err := newOwn(q, token.Cancel, http.MethodPost)
	if err != nil {
		return err
	}
	if err := o.cancel(); err != nil {
		return err
	}
	q.W.WriteHeader(http.StatusNoContent)
	return nil
}

func (o *own) cancel() error {
	ctx, it, by := o.R.Context(), o.entry.Item, "token "+o.token.Name
	if o.token.Name == "" {
		by = o.Who()
	}
	if o.entry.State != queue.Left {
		err := o.Cancel(o.ctl, it.Job, it.ID, by)
		if !errors.Is(err, queue.ErrLeft) {
			return err
		}
		// It was started after it had been found.
		if o.entry, err = o.ctl.Entry(ctx, o.Definition, it.ID); err != nil {
			return err
		}
	}
	if o.entry.Build == nil {
		return queue.ErrLeft
	}
	return o.StopBuild(o.ctl, it.Job, o.entry.Build.Number, by)
}
