package pages

import (
	"cmp"
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
	ID     int64
	URL    string
	Job    string
	JobURL string
	State  mark
	// Why is why it waits, and WhyURL the page of what it waits for; "" if there is none.
	Why, WhyURL string
	Position    string
	Since       time.Time
	// Due is set in the quiet period only, Free while another build of the job runs: it is
	// when that is expected to end.
	Due, Free time.Time
	Cause     firstCause
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
	// Pages lead through the items, if not all of them are shown.
	Pages []link
	// Here is which of them are shown, of how many. Without Entries it does not count.
	Here string
	// ByJob are the jobs with several items.
	ByJob []jobLoad
	// Deliveries is the page of webhook deliveries, "" if there is none to see.
	Deliveries string
}

// jobLoad is a job with queued items.
type jobLoad struct {
	Job, URL string
	Queued   int
	// Cancel is the page that cancels all of them; "" if the caller may not.
	Cancel string
}

// loadsShown is how many jobs the page of the queue lists above the items.
const loadsShown = 10

// queuePage is the page of the queue.
func (v *visit) queuePage() (*page, error) {
	if !v.MayReadSome("") {
		return nil, web.ErrForbidden
	}
	lanes, err := v.QueuedLanes(v.ctl)
	if err != nil {
		return nil, err
	}
	total := 0
	for _, l := range lanes {
		total += l.Queued
	}
	view, next, err := v.entries("", total)
	if err != nil {
		return nil, err
	}
	view.ByJob = v.loads(lanes)
	if v.seesDeliveries() {
		view.Deliveries = v.base + "queue/deliveries/"
	}
	title := "Queue"
	if total > 0 {
		title = strconv.Itoa(total) + " queued · " + title
	}
	return &page{
		Title: title, Name: "queue", Here: "queue", path: "queue/" + pageQuery(v.pageNumber()), next: next,
		Say:    plural(total, "item", "items") + " queued",
		Notice: v.cancelledNotice(), Regions: []region{{Name: "queue", Data: view}},
	}, nil
}

// loads returns the jobs with the most queued items, of those with several.
func (v *visit) loads(lanes []queue.Lane) []jobLoad {
	var all []jobLoad
	for _, l := range lanes {
		if l.Queued > 1 {
			all = append(all, jobLoad{Job: web.Displayed(l.Job), URL: web.JobURL(v.base, l.Job), Queued: l.Queued, Cancel: v.cancelAllURL(l.Job)})
		}
	}
	slices.SortStableFunc(all, func(a, b jobLoad) int { return cmp.Compare(b.Queued, a.Queued) })
	return all[:min(len(all), loadsShown)]
}

// pageNumber is the page of the queue that the query wants, from 1.
func (v *visit) pageNumber() int {
	n, _ := web.Number(v.R.URL.Query().Get("page"))
	return int(min(max(n, 1), 1<<20))
}

func pageQuery(number int) string {
	if number <= 1 {
		return ""
	}
	return "?page=" + strconv.Itoa(number)
}

// entries lists a page of the items that the caller may read, of one job or, if full is
// "", of all. total is how many there are. next is when the first of them that waits
// becomes due.
func (v *visit) entries(full string, total int) (view entriesView, next time.Time, err error) {
	view.OneJob = full != ""
	number := 1
	if !view.OneJob {
		number = max(min(v.pageNumber(), (total+queuedShown-1)/queuedShown), 1)
	}
	all, err := v.ReadableItems(v.ctl, full, min(number*queuedShown, total))
	if err != nil {
		return view, next, err
	}
	first := min((number-1)*queuedShown, len(all))
	all = all[first:min(first+queuedShown, len(all))]
	if total > queuedShown {
		view.Here = strconv.Itoa(first+1) + "–" + strconv.Itoa(first+len(all)) + " of " + plural(total, "item", "items")
		view.Pages = v.queuePages(view.OneJob, number, total)
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

// queuePages are the pages before and after one. The page of a job leads to the queue.
func (v *visit) queuePages(oneJob bool, number, total int) []link {
	at := v.base + "queue/"
	if oneJob {
		return []link{{Text: "The whole queue", URL: at}}
	}
	var pages []link
	if number > 1 {
		pages = append(pages, link{Text: "First page", URL: at}, link{Text: "Previous page", URL: at + pageQuery(number-1)})
	}
	if number*queuedShown < total {
		pages = append(pages, link{Text: "Next page", URL: at + pageQuery(number+1)})
	}
	return pages
}

func (v *visit) entryRow(e queue.Entry) entryRow {
	row := entryRow{
		ID: e.Item.ID, URL: web.ItemURL(v.base, e.Item.ID), Job: web.Displayed(e.Item.Job), JobURL: web.JobURL(v.base, e.Item.Job),
		State: entryMark(e), Why: web.Why(e, "", ""), Since: e.Item.Since, Cause: firstCauseOf(e.Item, v.startedBy(e.Item.Job), starter{}), Position: position(e.Position),
		Params: v.unusual(e.Item),
	}
	if e.State == queue.Waiting {
		row.Due = e.Item.Due
	}
	switch e.Blockage.Reason {
	case queue.BuildRunning:
		row.WhyURL = web.BuildURL(v.base, e.Item.Job, e.Blockage.Number)
	case queue.NoExecutor:
		row.WhyURL = v.base + "computer/"
	case queue.NoServer, queue.QuietPeriod, queue.JobDisabled, queue.NoNode, queue.RecordDamaged:
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
	// Remedy is what to do so that it runs; "" if that is only a matter of time.
	Remedy string
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
	view := itemView{entryRow: v.entryRow(entry), Causes: causesOf(entry.Item, v.startedBy(entry.Item.Job)), Params: v.params(entry.Item, nil), Usual: usual[entry.Item.Job]}
	if view.Free, err = v.free(entry, view.Usual); err != nil {
		return nil, err
	}
	pg := &page{
		Icon: view.State.Class, Title: titled(view.State, "Queue item "+number+" of "+web.Displayed(entry.Item.Job)), Name: "item", Here: "queue",
		Crumbs: append(v.crumbs(entry.Item.Job), link{Text: "Item " + number, URL: web.ItemURL(v.base, id)}),
		Say:    "Item " + number + ": " + view.State.Word + ". " + view.Why, path: strings.TrimPrefix(web.ItemURL("/", id), "/"),
		next: soonest(view.Due, view.Free),
	}
	if entry.State != queue.Left {
		view.Remedy = remedy(entry.Blockage.Reason)
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
