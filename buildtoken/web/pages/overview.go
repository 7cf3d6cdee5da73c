package pages

import (
	"slices"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// jobRow is a job in a list.
type jobRow struct {
	Name, URL, Description string
	Disabled               bool
	// Stuck is set if something is queued that no server can run.
	Stuck bool
	// Last is the state of the last build, Build its number, 0 if there was none.
	Last     mark
	Build    int64
	BuildURL string
	Started  time.Time
	// Took is how long it took; zero while it runs.
	Took   time.Duration
	Queued int
	// Usual is how far the last build is while it runs.
	Usual estimate
}

// folderRows are the jobs of one folder.
type folderRows struct {
	// Path leads to the folder; it is empty for the folder that the page is of.
	Path []link
	Jobs []jobRow
}

// jobsView is the region with jobs.
type jobsView struct {
	Title   string
	Folders []folderRows
	// Empty is set if there is nothing that the caller may see.
	Empty bool
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
	// Jobs of one folder stand together, and those of the folder itself come first.
	slices.SortStableFunc(jobs, func(a, b string) int {
		above, _ := job.Split(a)
		other, _ := job.Split(b)
		return strings.Compare(above, other)
	})
	overviews, err := v.ctl.Overviews(v.R.Context(), jobs...)
	if err != nil {
		return nil, err
	}
	running := v.running()
	view := jobsView{Title: "Jobs", Empty: len(jobs) == 0}
	pg := &page{Title: "Jobs", Name: "jobs", Here: "jobs", Feed: v.base + "rssAll", path: strings.TrimPrefix(web.JobURL("/", folder), "/")}
	if folder != "" {
		_, view.Title = job.Split(folder)
		pg.Title, pg.Feed = web.Displayed(folder), web.JobURL(v.base, folder)+"rssAll"
		pg.Crumbs = v.crumbs(folder)
	}
	at := ""
	for i, full := range jobs {
		above, _ := job.Split(full)
		if i == 0 || above != at {
			view.Folders = append(view.Folders, folderRows{Path: v.pathBelow(folder, above)})
			at = above
		}
		rows := &view.Folders[len(view.Folders)-1]
		row, err := v.jobRow(full, overviews[i], running)
		if err != nil {
			return nil, err
		}
		rows.Jobs = append(rows.Jobs, row)
		pg.next = soonest(pg.next, row.Usual.next(v.Now))
	}
	pg.Regions = []region{{Name: "jobs", Data: view}}
	return pg, nil
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
	row := jobRow{Name: name, URL: web.JobURL(v.base, full), Last: neverBuilt, Queued: o.Lane.Queued, Stuck: v.stuck(o.Lane) != ""}
	if j, ok := v.Definition.Job(full); ok {
		row.Description, row.Disabled = j.Description, j.Disabled
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

// stuck returns why what is queued can never run, "" if it can or nothing is queued.
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
