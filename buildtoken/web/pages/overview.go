package pages

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// foldedFrom is the number of jobs from which on the folders of a list start folded.
const foldedFrom = 150

// jobRow is a job in a list.
type jobRow struct {
	Name, URL, Description string
	// Path leads to the job's folder; it is empty where the list shows that.
	Path     []link
	Disabled bool
	// Stuck is why something that is queued can never run; "" if it can.
	Stuck string
	// Failing is set if the last verdict was not a success, and Since is the first such build
	// in a row.
	Failing bool
	Since   *endedRow
	// Last is the state of the last build, Build its number, 0 if there was none, and then BuildURL
	// means nothing.
	Last     mark
	Build    int64
	BuildURL string
	Started  time.Time
	// Took is how long it took; zero while it runs.
	Took time.Duration
	// Queued and Running count items and builds.
	Queued, Running int
	// Usual is how far the last build is while it runs.
	Usual estimate
	// Recent are the last results. Succeeded is their share of successes, as text; "" unless the
	// list is sorted by it.
	Recent    []queue.Ended
	Succeeded string
}

// folderRows are the jobs of one folder, apart from those that are failing.
type folderRows struct {
	// Folder is the full name, and Path leads to it; both are empty for the folder that the
	// page is of.
	Folder    string
	Name, URL string
	Path      []link
	Open      bool
	// Counts are about all jobs of the folder that were searched for.
	Counts jobCounts
	// Above counts those that the list of failing jobs shows instead.
	Above int
	Jobs  []jobRow
}

// Size is how many jobs the folder has, and where those are that the state leaves out or that
// are listed elsewhere.
func (f folderRows) Size() string {
	text := plural(f.Counts.Jobs, "job", "jobs")
	if listed := len(f.Jobs) + f.Above; listed < f.Counts.Jobs {
		text = strconv.Itoa(listed) + " of " + text
	}
	for _, c := range f.Counts.Shown() {
		text += " · " + strconv.Itoa(c.Number) + " " + c.Word
		if c.Word == failingWord && f.Above > 0 {
			text += ", listed above"
		}
	}
	return text
}

// jobsView is the region with jobs.
type jobsView struct {
	// Counts are about all jobs of the folder that were searched for, whatever their state.
	Counts []jobCount
	// Failing are the jobs that fail, of all folders.
	Failing []jobRow
	Folders []folderRows
	// Closed is set if folders start folded.
	Closed bool
	// Listed counts the jobs that are listed, and Filtered is set if the query can leave
	// some out.
	Listed   int
	Filtered bool
	// All is where the list is without a query.
	All string
	// NoJobs is set if the site has no jobs at all, and Root is its absolute URL.
	NoJobs bool
	Root   string
}

// jobsFind is the region with the form that finds jobs.
type jobsFind struct {
	Title, Action string
	jobsQuery
	States []jobState
	Sorts  []jobSort
	// Form is set if there are jobs to find.
	Form bool
}

// overview is the page of a folder, "" being the root. What is no folder, and
// one in which there is nothing for the caller, look the same.
func (v *visit) overview(folder string) (plan, error) {
	jobs := v.Readable(folder)
	if len(jobs) == 0 {
		if !v.MayRead(folder) {
			return plan{}, web.ErrForbidden
		}
		if _, ok := v.Definition.Tree().Folder(folder); !ok {
			return plan{}, web.ErrNotFound
		}
	}
	if len(jobs) > 0 && v.R.URL.Query().Has("by") {
		return plan{make: func() (*page, error) { return v.builds(folder, v.Readable(folder)) }}, nil
	}
	slices.SortStableFunc(jobs, byFolder)
	l := jobList{outlook: v.outlook, folder: folder, query: v.jobsQuery(), jobs: jobs}
	return plan{
		key:  pageKey{v.ctl, v.site, v.root, l.path(), digestOf(jobs)},
		make: func() (*page, error) { return l.page(v.R.Context(), v.Now) },
	}, nil
}

// jobList is a list of jobs. It does not know the reader: its page is the same for all who may
// see the same jobs.
type jobList struct {
	outlook
	folder string
	query  jobsQuery
	// jobs are the full names of the jobs, those of a folder together.
	jobs []string
}

// path is the path of the list below the root, with the query.
func (l *jobList) path() string {
	path := strings.TrimPrefix(web.JobURL("/", l.folder), "/")
	if query := l.query.encoded(); query != "" {
		path += "?" + query
	}
	return path
}

// page makes the page of the list.
func (l *jobList) page(ctx context.Context, now time.Time) (*page, error) {
	overviews, err := l.ctl.Overviews(ctx, l.jobs...)
	if err != nil {
		return nil, err
	}
	at := web.JobURL(l.base, l.folder)
	find := jobsFind{Title: "Jobs", Action: at, jobsQuery: l.query, States: jobStates, Sorts: jobSorts, Form: len(l.jobs) > 0}
	pg := &page{Title: "Jobs", Name: "jobs", Here: "jobs", Feed: l.base + "rssAll", path: l.path()}
	if l.folder != "" {
		_, find.Title = job.Split(l.folder)
		pg.Title, pg.Feed = web.Displayed(l.folder), web.JobURL(l.base, l.folder)+"rssAll"
		pg.Crumbs = l.crumbs(l.folder)
	}
	view := jobsView{Closed: len(l.jobs) >= foldedFrom, Filtered: find.Filters(), All: at, Root: l.root, NoJobs: len(l.site.Tree().Jobs()) == 0}
	var all, counts jobCounts
	running := l.running()
	for i, full := range l.jobs {
		row, err := l.jobRow(ctx, now, full, overviews[i], running)
		if err != nil {
			return nil, err
		}
		pg.next = soonest(pg.next, row.Usual.next(now))
		all = all.plus(row)
		if find.found(full, row.Description) {
			counts = counts.plus(row)
			view.add(l, full, row)
		}
	}
	if l.query.order != nil && len(view.Folders) > 0 {
		slices.SortStableFunc(view.Folders[0].Jobs, l.query.order)
	}
	view.Counts = counts.linked(at, l.query)
	if all.Failing > 0 {
		// The other counts change too often to be announced.
		pg.Say = plural(all.Failing, "job is failing", "jobs are failing")
		pg.Title, pg.Icon = strconv.Itoa(all.Failing)+" failing · "+pg.Title, resultMark(queue.Failure).Class
	}
	pg.Regions = []region{
		{Name: "jobsfind", Static: true, Data: find},
		{Name: "jobs", Data: view},
	}
	return pg, nil
}

// add adds a job, in the order of folders. A folder is there for all jobs that were searched
// for, whatever their state, so that a change of it moves rows and nothing else. In another
// order than that of folders, all jobs are in one.
func (view *jobsView) add(l *jobList, full string, row jobRow) {
	above, _ := job.Split(full)
	in := above
	if above == l.folder || l.query.order != nil {
		in = ""
	}
	if n := len(view.Folders); n == 0 || view.Folders[n-1].Folder != in {
		f := folderRows{
			Folder: in, Name: web.Displayed(in), URL: web.JobURL(l.base, in),
			Path: l.pathBelow(l.folder, above), Open: l.query.open(in, view.Closed),
		}
		view.Folders = append(view.Folders, f)
	}
	f := &view.Folders[len(view.Folders)-1]
	f.Counts = f.Counts.plus(row)
	if !l.query.fits(row) {
		return
	}
	view.Listed++
	if l.query.order != nil {
		row.Path = l.pathBelow(l.folder, above)
		if good, all := successes(row.Recent); all > 0 {
			row.Succeeded = strconv.Itoa(percent(good, all)) + " % of " + strconv.Itoa(all)
		}
	} else if row.Failing {
		row.Path = l.pathBelow(l.folder, above)
		f.Above++
		view.Failing = append(view.Failing, row)
		return
	}
	f.Jobs = append(f.Jobs, row)
}

// buildOf is one build of a job.
type buildOf struct {
	job    string
	number int64
}

// running returns the builds that run on this server.
func (l *outlook) running() map[buildOf]queue.Build {
	all := map[buildOf]queue.Build{}
	for _, b := range l.ctl.Running() {
		all[buildOf{b.Item.Job, b.Number}] = b
	}
	return all
}

// jobRow makes the row of a job. Only a last build that runs on another server is looked up.
func (l *jobList) jobRow(ctx context.Context, now time.Time, full string, o queue.Overview, running map[buildOf]queue.Build) (jobRow, error) {
	_, name := job.Split(full)
	row := jobRow{
		Name: name, URL: web.JobURL(l.base, full), Last: neverBuilt, Queued: o.Lane.Queued, Running: len(o.Lane.Running),
		Stuck: l.stuck(o.Lane), Recent: o.Summary.Recent,
	}
	if j, ok := l.site.Job(full); ok {
		row.Description, row.Disabled = j.Description, j.Disabled
	}
	if since, failing := o.Summary.FailingSince(); failing && !row.Disabled {
		first := l.endedRow(o, since)
		row.Failing, row.Since = true, &first
	}
	last, ok := o.Summary.LastWith()
	var newest int64 // of those that run
	if n := len(o.Lane.Running); n > 0 {
		newest = o.Lane.Running[n-1]
	}
	if newest > last.Number {
		b, here := running[buildOf{full, newest}]
		if !here {
			var err error
			b, err = l.ctl.Build(ctx, full, newest)
			if err != nil && !missing(err) {
				return row, err
			}
		}
		if b.Number > 0 {
			row.Last, row.Build, row.Started = buildMark(b), b.Number, b.Started
			usual := o.Summary.Usual()
			row.Usual = estimateOf(now, b.Started, usual)
		}
	} else if ok {
		row.Last, row.Build, row.Started, row.Took = resultMark(last.Result), last.Number, last.Started, max(last.Took, 1)
	}
	row.BuildURL = web.BuildURL(l.base, full, row.Build)
	return row, nil
}

// stuck returns why the queued items of a lane can never run; "" if they can, or if nothing is
// queued.
func (l *outlook) stuck(lane queue.Lane) string {
	if lane.Queued == 0 {
		return ""
	}
	b := l.ctl.NeverRuns(lane)
	if b.Reason == "" {
		return ""
	}
	return web.Why(queue.Entry{Blockage: b}, "", "")
}

// crumbs lead from the root to a folder or job; the last one is where we are.
func (l *outlook) crumbs(full string) []link {
	return append([]link{{Text: "Jobs", URL: l.base}}, l.pathBelow("", full)...)
}

// pathBelow leads from a folder to what stands in it.
func (l *outlook) pathBelow(folder, full string) []link {
	if full == folder {
		return nil
	}
	above, name := job.Split(full)
	return append(l.pathBelow(folder, above), link{Text: name, URL: web.JobURL(l.base, full)})
}
