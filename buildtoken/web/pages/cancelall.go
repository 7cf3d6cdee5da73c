package pages

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

const (
	// cancelListed is how many items the confirmation lists at most.
	cancelListed = 1000
	// cancelAtOnce is how many items are cancelled at the same time, so that they share
	// commits.
	cancelAtOnce = 32
)

// cancelAllView shows the question whether to cancel all items of a job.
type cancelAllView struct {
	Job, Action, Back string
	Entries           []entryRow
	Total             int
	// UpTo is the newest of the items. Those that come later have higher numbers and stay.
	UpTo int64
}

// cancelAllURL is where all items of a job are cancelled; "" if the caller may not.
func (v *visit) cancelAllURL(full string) string {
	if !v.May(definition.Stop, full) {
		return ""
	}
	return web.JobURL(v.base, full) + "cancelAll"
}

// ofJob returns the page of a job, or that of the queue if the site does not have the job.
func (v *visit) ofJob(full string) string {
	if v.Definition.Has(full) {
		return web.JobURL(v.base, full)
	}
	return v.base + "queue/"
}

// cancelAllPage is the page with the question.
func (v *visit) cancelAllPage(full string) (*page, error) {
	all, err := v.cancellable(full)
	if err != nil {
		return nil, err
	}
	view := cancelAllView{Job: web.Displayed(full), Action: web.JobURL(v.base, full) + "cancelAllForm", Back: v.ofJob(full), Total: len(all)}
	for i, e := range all {
		view.UpTo = max(view.UpTo, e.Item.ID)
		if i < cancelListed {
			view.Entries = append(view.Entries, v.entryRow(e))
		}
	}
	return &page{
		Title: "Cancel all items of " + web.Displayed(full), Name: "cancelall", Here: "queue", Crumbs: v.crumbs(full),
		Regions: []region{{Name: "cancelall", Static: true, Data: view}},
	}, nil
}

// cancelAll cancels the items of a job up to the one that the form names.
func (v *visit) cancelAll(full string) error {
	all, err := v.cancellable(full)
	if err != nil {
		return err
	}
	in, err := v.ReadForm(web.FormOptions{BodyOnly: true})
	if err != nil {
		return err
	}
	defer in.Close()
	upTo, ok := web.Number(in.Text("upto"))
	if !ok {
		return web.ErrNoItem
	}
	by := v.Who()
	var cancelled atomic.Int64
	var group errgroup.Group
	group.SetLimit(cancelAtOnce)
	for _, e := range all {
		if id := e.Item.ID; id <= upTo {
			group.Go(func() error { // ends with the request, which waits for it
				err := v.Cancel(v.ctl, full, id, by)
				if errors.Is(err, queue.ErrLeft) || missing(err) { // meanwhile
					return nil
				}
				if err == nil {
					cancelled.Add(1)
				}
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err //nolint:wrapcheck // it is the controller's
	}
	listed, _ := web.Number(in.Text("listed"))
	v.redirect(withQuery(v.ofJob(full), url.Values{
		"cancelled": {strconv.FormatInt(cancelled.Load(), 10)}, "of": {strconv.FormatInt(listed, 10)},
	}))
	return nil
}

// cancelledNotice is the text after [visit.cancelAll], from the address to which that leads; ""
// at other addresses.
func (v *visit) cancelledNotice() string {
	query := v.R.URL.Query()
	n, err := strconv.Atoi(query.Get("cancelled"))
	if err != nil || n < 0 {
		return ""
	}
	text := plural(n, "item was", "items were") + " cancelled."
	if of, _ := strconv.Atoi(query.Get("of")); of > n {
		text = fmt.Sprintf("%d of %d items were cancelled. The rest had started or was cancelled already.", n, of)
	}
	return text
}

// cancellable returns all queued items of a job that the caller may read and cancel.
func (v *visit) cancellable(full string) ([]queue.Entry, error) {
	if !v.MayRead(full) {
		return nil, web.ErrForbidden
	}
	if !v.May(definition.Stop, full) {
		return nil, v.RefuseCancel(v.ctl, full, 0)
	}
	lanes, err := v.ctl.Lanes(v.R.Context(), full)
	if err != nil {
		return nil, err
	}
	all, err := v.ctl.Items(v.R.Context(), v.Definition, full, lanes[0].Queued)
	if err == nil && len(all) == 0 && !v.Definition.Has(full) {
		return nil, web.ErrNotFound // the items of a job of another site are not shown either
	}
	return all, err //nolint:wrapcheck // it is the controller's
}
