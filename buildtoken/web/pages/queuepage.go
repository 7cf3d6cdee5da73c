package pages

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// entryRow is an item in a list.
type entryRow struct {
	ID       int64
	URL      string
	Job      string
	JobURL   string
	State    mark
	Why      string
	Position string
	Since    time.Time
	// Due is set in the quiet period only, Free while another build of the job runs: it is
	// when that is expected to end.
	Due, Free time.Time
	Cause     string
	More      int
	// Params are the values that are not the defaults.
	Params chipsView
	// Cancel is the address of the form that cancels it; "" if the caller may not.
	Cancel string
}

// entriesView is a list of items.
type entriesView struct {
	Entries []entryRow
	// OneJob is set on the page of a job. Then the name of the job is not repeated, and the
	// place in the queue is left out: it would be that among the items of the job, while the
	// page of an item has the place among all.
	OneJob bool
	// More is set if there are more than are shown.
	More bool
	// Deliveries is the page of webhook deliveries, "" if there is none to see.
	Deliveries string
}

// queuePage is the page of the queue.
func (v *visit) queuePage() (*page, error) {
	if !v.MayReadSome("") {
		return nil, web.ErrForbidden
	}
	view, next, err := v.entries("")
	if err != nil {
		return nil, err
	}
	if v.seesDeliveries() {
		view.Deliveries = "queue/deliveries/"
	}
	return &page{
		Title: "Queue", Name: "queue", Here: "queue", path: "queue/", next: next,
		Say:     plural(len(view.Entries), "item", "items") + " queued",
		Regions: []region{{Name: "queue", Data: view}},
	}, nil
}

// entries lists the items that the caller may read, of one job or, if full is
// "", of all. next is when the first of them that waits becomes due.
func (v *visit) entries(full string) (view entriesView, next time.Time, err error) {
	all, err := v.ctl.Items(v.R.Context(), v.Definition, full, queuedShown+1)
	if err != nil {
		return view, next, err
	}
	view.OneJob = full != ""
	if len(all) > queuedShown {
		all, view.More = all[:queuedShown], true
	}
	if full == "" {
		all = slices.DeleteFunc(all, func(e queue.Entry) bool { return !v.MayRead(e.Item.Job) })
	}
	usual, err := v.usual(all...)
	if err != nil {
		return view, next, err
	}
	for _, e := range all {
		row := v.entryRow(e)
		if row.Free, err = v.free(e, usual[e.Item.Job]); err != nil {
			return view, next, err
		}
		view.Entries = append(view.Entries, row)
		next = soonest(next, soonest(row.Due, row.Free))
	}
	return view, next, nil
}

// soonest returns the earlier instant; zero is none.
func soonest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// usual returns how long builds usually take, by the job of some items, with one query.
func (v *visit) usual(entries ...queue.Entry) (map[string]time.Duration, error) {
	of := map[string]time.Duration{}
	for _, e := range entries {
		of[e.Item.Job] = 0
	}
	jobs := slices.Sorted(maps.Keys(of))
	if len(jobs) == 0 {
		return of, nil
	}
	overviews, err := v.ctl.Overviews(v.R.Context(), jobs...)
	for i := range overviews {
		of[jobs[i]], _ = overviews[i].Summary.Estimate()
	}
	return of, err
}

// free returns when the build that an item waits for is expected to end; zero if there is
// none, or it should have ended already.
func (v *visit) free(e queue.Entry, usual time.Duration) (time.Time, error) {
	if usual == 0 || e.State == queue.Left || e.Blockage.Reason != queue.BuildRunning {
		return time.Time{}, nil
	}
	b, here := v.running()[buildOf{e.Item.Job, e.Blockage.Number}]
	if !here {
		var err error
		if b, err = v.ctl.Build(v.R.Context(), e.Item.Job, e.Blockage.Number); err != nil {
			if missing(err) {
				err = nil
			}
			return time.Time{}, err
		}
	}
	if end := b.Started.Add(usual); end.After(v.Now) {
		return end, nil
	}
	return time.Time{}, nil
}

func (v *visit) entryRow(e queue.Entry) entryRow {
	row := entryRow{
		ID: e.Item.ID, URL: web.ItemURL(v.base, e.Item.ID), Job: web.Displayed(e.Item.Job), JobURL: web.JobURL(v.base, e.Item.Job),
		State: entryMark(e), Why: web.Why(e, "", ""), Since: e.Item.Since, More: e.Item.Triggers() - 1, Position: position(e.Position),
		Params: v.unusual(e.Item),
	}
	if e.State == queue.Waiting {
		row.Due = e.Item.Due
	}
	if len(e.Item.Causes) > 0 {
		row.Cause = e.Item.Causes[0].String()
	}
	if e.State != queue.Left && v.May(definition.Stop, e.Item.Job) {
		row.Cancel = row.URL + "cancelForm"
	}
	return row
}

// position is a place in the queue, counted from 1.
func position(from0 int) string {
	if from0 < 0 {
		return "far behind"
	}
	return strconv.Itoa(from0 + 1)
}

// itemView is the content of an item's page.
type itemView struct {
	entryRow
	Causes causesView
	Params []param
	// Usual is how long builds of the job usually take; 0 if none has ended.
	Usual time.Duration
	// Cancelled is when the item was cancelled, and By who cancelled it.
	Cancelled time.Time
	By        string
}

// item is the page of an item, for as long as it has no build. An item that
// the caller may not read looks like one that is not there.
func (v *visit) item(id int64) (*page, error) {
	entry, err := v.readableEntry(id)
	if err != nil {
		return nil, err
	}
	if entry.Build != nil {
		return &page{redirect: web.BuildURL(v.base, entry.Item.Job, entry.Build.Number)}, nil
	}
	number := strconv.FormatInt(id, 10)
	usual, err := v.usual(entry)
	if err != nil {
		return nil, err
	}
	view := itemView{entryRow: v.entryRow(entry), Causes: causesOf(entry.Item), Params: v.params(entry.Item), Usual: usual[entry.Item.Job]}
	if view.Free, err = v.free(entry, view.Usual); err != nil {
		return nil, err
	}
	pg := &page{
		Icon: view.State.Class, Title: titled(view.State, "Queue item "+number+" of "+web.Displayed(entry.Item.Job)), Name: "item", Here: "queue",
		Crumbs: append(v.crumbs(entry.Item.Job), link{Text: "Item " + number, URL: web.ItemURL(v.base, id)}),
		Say:    "Item " + number + ": " + view.State.Word + ". " + view.Why, path: strings.TrimPrefix(web.ItemURL("/", id), "/"),
		next: soonest(view.Due, view.Free),
	}
	if c := entry.Cancelled; c != nil {
		view.Cancelled, view.By, pg.ended = c.At, c.By, true
	}
	pg.Regions = []region{{Name: "item", Data: view}}
	return pg, nil
}

func (v *visit) readableEntry(id int64) (queue.Entry, error) {
	entry, err := v.ctl.Entry(v.R.Context(), v.Definition, id)
	switch {
	case err == nil && v.MayRead(entry.Item.Job):
		return entry, nil
	case err != nil && !missing(err):
		return queue.Entry{}, err
	case v.MayReadSome(""):
		return queue.Entry{}, web.ErrNotFound
	}
	return queue.Entry{}, web.ErrForbidden
}
