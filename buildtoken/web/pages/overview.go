package pages

import (
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
	// Last is the state of the last build, Build its number, 0 if there was none.
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
	// Recent are the last results.
	Recent []queue.Ended
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
	// Form is set if there are jobs to find.
	Form bool
}

// overview is the page of a folder, "" being the root. What is no folder, and
// one in which there is nothing for the caller, look the same.
func (v *visit) overview(folder string) (*page, error) {
	jobs := v.Readable(folder)
	if len(jobs) == 0 {
		if !v.MayRead(folder) {
			return nil, web.ErrForbidden
		}
		if _, ok := v.Definition.Tree().Folder(folder); !ok {
			return nil, web.ErrNotFound
		}
	}
	if len(jobs) > 0 && v.R.URL.Query().Has("by") {
		return v.builds(folder, jobs)
	}
	slices.SortStableFunc(jobs, byFolder)
	overviews, err := v.ctl.Overviews(v.R.Context(), jobs...)
	if err != nil {
		return nil, err
	}
	at := web.JobURL(v.base, folder)
	find := jobsFind{Title: "Jobs", Action: at, jobsQuery: v.jobsQuery(), States: jobStates, Form: len(jobs) > 0}
	pg := &page{Title: "Jobs", Name: "jobs", Here: "jobs", Feed: v.base + "rssAll", path: strings.TrimPrefix(web.JobURL("/", folder), "/")}
	if folder != "" {
		_, find.Title = job.Split(folder)
		pg.Title, pg.Feed = web.Displayed(folder), web.JobURL(v.base, folder)+"rssAll"
		pg.Crumbs = v.crumbs(folder)
	}
	if query := find.encoded(); query != "" {
		pg.path += "?" + query
	}
	view := jobsView{Closed: len(jobs) >= foldedFrom, Filtered: find.Filters(), All: at, Root: v.Root(), NoJobs: len(v.Definition.Tree().Jobs()) == 0}
	var all, counts jobCounts
	running := v.running()
	for i, full := range jobs {
		row, err := v.jobRow(full, overviews[i], running)
		if err != nil {
			return nil, err
		}
		pg.next = soonest(pg.next, row.Usual.next(v.Now))
		all = all.plus(row)
		if find.found(full, row.Description) {
			counts = counts.plus(row)
			view.add(v, folder, full, row, find.jobsQuery)
		}
	}
	view.Counts = counts.linked(at, find.Text)
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
// for, whatever their state, so that a change of it moves rows and nothing else.
func (view *jobsView) add(v *visit, folder, full string, row jobRow, query jobsQuery) {
	above, _ := job.Split(full)
	in := above
	if above == folder {
		in = ""
	}
	if n := len(view.Folders); n == 0 || view.Folders[n-1].Folder != in {
		f := folderRows{
			Folder: in, Name: web.Displayed(in), URL: web.JobURL(v.base, in),
			Path: v.pathBelow(folder, above), Open: query.open(in, view.Closed),
		}
		view.Folders = append(view.Folders, f)
	}
	f := &view.Folders[len(view.Folders)-1]
	f.Counts = f.Counts.plus(row)
	if !query.fits(row) {
		return
	}
	view.Listed++
	if row.Failing {
		row.Path = v.pathBelow(folder, above)
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
func (v *visit) running() map[buildOf]queue.Build {
	all := map[buildOf]queue.Build{}
	for _, b := range v.ctl.Running() {
		all[buildOf{b.Item.Job, b.Number}] = b
	}
	return all
}

// jobRow makes the row of a job. Only a last build that runs on another server is looked up.
func (v *visit) jobRow(full string, o queue.Overview, running map[buildOf]queue.Build) (jobRow, error) {
	_, name := job.Split(full)
	row := jobRow{
		Name: name, URL: web.JobURL(v.base, full), Last: neverBuilt, Queued: o.Lane.Queued, Running: len(o.Lane.Running),
		Stuck: v.stuck(o.Lane), Recent: o.Summary.Recent,
	}
	if j, ok := v.Definition.Job(full); ok {
		row.Description, row.Disabled = j.Description, j.Disabled
	}
	if since, failing := o.Summary.FailingSince(); failing && !row.Disabled {
		first := v.endedRow(o, since)
		row.Failing, row.Since = true, &first
	}
	last, ok := o.Summary.LastWith()
	if n := len(o.Lane.Running); n > 0 && o.Lane.Running[n-1] > last.Number {
		b, here := running[buildOf{full, o.Lane.Running[n-1]}]
		if !here {
			var err error
			b, err = v.ctl.Build(v.R.Context(), full, o.Lane.Running[n-1])
			if err != nil && !missing(err) {
				return row, err
			}
		}
		if b.Number > 0 {
			row.Last, row.Build, row.Started = buildMark(b), b.Number, b.Started
			usual, _ := o.Summary.Estimate()
			row.Usual = estimateOf(v.Now, b.Started, usual)
		}
	} else if ok {
		row.Last, row.Build, row.Started, row.Took = resultMark(last.Result), last.Number, last.Started, max(last.Took, 1)
	}
	if row.Build > 0 {
		row.BuildURL = web.BuildURL(v.base, full, row.Build)
	}
	return row, nil
}

// stuck returns why the queued items of a lane can never run; "" if they can, or if nothing is
// queued.
func (v *visit) stuck(lane queue.Lane) string {
	if lane.Queued == 0 {
		return ""
	}
	b := v.ctl.NeverRuns(lane)
	if b.Reason == "" {
		return ""
	}
	return web.Why(queue.Entry{Blockage: b}, "", "")
}

// crumbs lead from the root to a folder or job; the last one is where we are.
func (v *visit) crumbs(full string) []link {
	return append([]link{{Text: "Jobs", URL: v.base}}, v.pathBelow("", full)...)
}

// pathBelow leads from a folder to what stands in it.
func (v *visit) pathBelow(folder, full string) []link {
	if full == folder {
		return nil
	}
	above, name := job.Split(full)
	if above != folder && above == "" {
		return nil
	}
	return append(v.pathBelow(folder, above), link{Text: name, URL: web.JobURL(v.base, full)})
}
