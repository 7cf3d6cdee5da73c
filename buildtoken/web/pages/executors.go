package pages

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// executorRow is one executor and its build.
type executorRow struct {
	Number int
	Busy   bool
	// Build is empty if the executor is idle, or if the caller may not see its build.
	Build, URL string
	State      mark
	Started    time.Time
	// Usual is the progress of the build; empty if the caller may not see the build.
	Usual estimate
}

// executorsView is the region with executors.
type executorsView struct {
	Executors []executorRow
	// Remote are the builds that only follow another system, which take no executor;
	// Most is how many there can be, 0 if the configuration has no such jobs.
	Remote       []executorRow
	Most         int
	ShuttingDown bool
}

// executors is the page of the executors of this server.
func (v *visit) executors() (*page, error) {
	if !v.MayReadSome("") {
		return nil, web.ErrForbidden
	}
	view := executorsView{ShuttingDown: v.ctl.ShuttingDown(), Most: v.ctl.RemoteBuilds()}
	var rows []executorRow
	busy := 0
	for range v.ctl.Executors() {
		rows = append(rows, executorRow{})
	}
	running, remote := v.ctl.Running(), v.ctl.RunningRemote()
	summaries, err := v.summaries(slices.Concat(running, remote))
	if err != nil {
		return nil, err
	}
	var next time.Time
	for _, b := range running {
		busy++
		row := v.executorRow(b, summaries)
		next = soonest(next, row.Usual.next(v.Now))
		if at := b.Executor; at < len(rows) && !rows[at].Busy {
			rows[at] = row
			continue
		}
		rows = append(rows, row) // there were more executors when it was started
	}
	for i := range rows {
		rows[i].Number = i + 1
	}
	view.Executors = rows
	for i, b := range remote {
		row := v.executorRow(b, summaries)
		row.Number = i + 1
		next = soonest(next, row.Usual.next(v.Now))
		view.Remote = append(view.Remote, row)
	}
	say := plural(busy, "executor is busy", "executors are busy")
	if len(remote) > 0 {
		say += ", " + plural(len(remote), "remote build runs", "remote builds run")
	}
	title := "Executors"
	if busy > 0 {
		title = strconv.Itoa(busy) + " busy · " + title
	}
	return &page{
		Title: title, Name: "executors", Here: "executors", path: "computer/", next: next,
		Say:     say,
		Regions: []region{{Name: "executors", Data: view}},
	}, nil
}

func (v *visit) executorRow(b queue.Build, summaries map[string]queue.Summary) executorRow {
	row := executorRow{Busy: true, State: buildMark(b), Started: b.Started}
	if v.sees(b.Item.Job) {
		row.Build = web.Displayed(b.Item.Job) + " #" + strconv.FormatInt(b.Number, 10)
		row.URL = web.BuildURL(v.base, b.Item.Job, b.Number)
		usual := summaries[b.Item.Job].Usual()
		row.Usual = estimateOf(v.Now, b.Started, usual)
	}
	return row
}

// sees reports whether a job is one of the site that the caller may read.
func (v *visit) sees(full string) bool {
	_, ours := v.Definition.Job(full)
	return ours && v.MayRead(full)
}

// summaries returns those of the jobs of some builds that the caller may see, with one query.
func (v *visit) summaries(builds []queue.Build) (map[string]queue.Summary, error) {
	of := map[string]queue.Summary{}
	for _, b := range builds {
		if v.sees(b.Item.Job) {
			of[b.Item.Job] = queue.Summary{}
		}
	}
	jobs := slices.Sorted(maps.Keys(of))
	if len(jobs) == 0 {
		return of, nil
	}
	overviews, err := v.ctl.Overviews(v.R.Context(), jobs...)
	for i := range overviews {
		of[jobs[i]] = overviews[i].Summary
	}
	return of, err
}
