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
	// Last is the state of the last build, Build its number, 0 if there was none.
	Last     mark
	Build    int64
	BuildURL string
	Started  time.Time
	// Took is how long it took; zero while it runs.
	Took   time.Duration
	Queued int
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
	// Empty says that there is nothing that the caller may see.
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
	lanes, err := v.ctl.Lanes(v.R.Context(), jobs...)
	if err != nil {
		return nil, err
	}
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
		row, err := v.jobRow(full, lanes[i])
		if err != nil {
			return nil, err
		}
		rows := &view.Folders[len(view.Folders)-1]
		rows.Jobs = append(rows.Jobs, row)
	}
	pg.Regions = []region{{Name: "jobs", Data: view}}
	return pg, nil
}

func (v *visit) jobRow(full string, lane queue.Lane) (jobRow, error) {
	_, name := job.Split(full)
	row := jobRow{Name: name, URL: web.JobURL(v.base, full), Last: neverBuilt, Queued: lane.Queued}
	if j, ok := v.Definition.Job(full); ok {
		row.Description, row.Disabled = j.Description, j.Disabled
	}
	if lane.LastNumber == 0 {
		return row, nil
	}
	builds, err := v.ctl.Builds(v.R.Context(), full, 0, 1)
	if err != nil || len(builds) == 0 {
		return row, err
	}
	b := builds[0]
	row.Last, row.Build, row.BuildURL, row.Started = buildMark(b), b.Number, web.BuildURL(v.base, full, b.Number), b.Started
	if !b.Running() {
		row.Took = b.Ended.Sub(b.Started)
	}
	return row, nil
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
