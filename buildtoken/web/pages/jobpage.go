package pages

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// buildsShown is how many builds one page of a job's history has.
const buildsShown = 25

// queuedShown is how many items a list shows at most.
const queuedShown = 100

// jobHead says what a job is.
type jobHead struct {
	Name, Description string
	Disabled          bool
	State             mark
	Concurrent        bool
	Badge             string
}

// buildRow is a build in a list.
type buildRow struct {
	Number  int64
	URL     string
	State   mark
	Started time.Time
	Took    time.Duration
	Running bool
	Cause   string
	// More counts the other triggers that the build stands for.
	More int
}

// historyView is the region with a job's builds.
type historyView struct {
	Builds       []buildRow
	Newer, Older string
}

// job is the page of a job that the site has. form is what somebody has sent
// and has to send again; nil for a fresh one.
func (v *visit) job(full string, form *formView) (*page, error) {
	if !v.may(definition.Read, full) {
		return nil, errHidden
	}
	j, ok := v.p.Definition.Job(full)
	if !ok {
		return nil, errMissing
	}
	lanes, err := v.ctl.Lanes(v.r.Context(), full)
	if err != nil {
		return nil, err
	}
	at := jobURL(v.base, full)
	head := jobHead{Name: j.Name(), Description: j.Description, Disabled: j.Disabled, Concurrent: j.Concurrent, State: laneMark(lanes[0])}
	if v.p.Definition.Badged(full) {
		head.Badge = at + "badge/icon.svg"
	}
	history, paged, err := v.history(full, at)
	if err != nil {
		return nil, err
	}
	queued, next, err := v.entries(full)
	if err != nil {
		return nil, err
	}
	pg := &page{
		Title: displayed(full), Name: "job", Here: "jobs", Crumbs: v.crumbs(full), Feed: at + "rssAll",
		Say:  j.Name() + ": " + head.State.Word + ", " + plural(len(queued.Entries), "item", "items") + " queued",
		next: next, path: strings.TrimPrefix(jobURL("/", full), "/"),
	}
	pg.Regions = []region{{Name: "jobhead", Data: head}}
	if form == nil && v.may(definition.Start, full) {
		form = v.freshForm(j)
	}
	if form != nil {
		pg.Regions = append(pg.Regions, region{Name: "start", Static: true, Data: form})
	}
	pg.Regions = append(pg.Regions,
		region{Name: "jobqueue", Data: queued},
		// Who looks at old builds does not want them to move.
		region{Name: "history", Static: paged, Data: history})
	return pg, nil
}

// laneMark is the state of a job.
func laneMark(l queue.Lane) mark {
	switch {
	case len(l.Running) > 0:
		return mark{"running", "Running"}
	case l.LastEnded > 0:
		return resultMark(l.Last)
	}
	return neverBuilt()
}

func (v *visit) history(full, at string) (view historyView, paged bool, err error) {
	before, paged := parseNumber(v.r.URL.Query().Get("before"))
	builds, err := v.ctl.Builds(v.r.Context(), full, before, buildsShown+1)
	if err != nil {
		return view, paged, err
	}
	if len(builds) > buildsShown {
		builds = builds[:buildsShown]
		view.Older = at + "?before=" + strconv.FormatInt(builds[buildsShown-1].Number, 10)
	}
	if paged {
		view.Newer = at
	}
	for _, b := range builds {
		view.Builds = append(view.Builds, v.buildRow(b))
	}
	return view, paged, nil
}

func (v *visit) buildRow(b queue.Build) buildRow {
	row := buildRow{
		Number: b.Number, URL: buildURL(v.base, b.Item.Job, b.Number), State: buildMark(b),
		Started: b.Started, Running: b.Running(), More: b.Item.Triggers() - 1,
	}
	if !b.Running() {
		row.Took = b.Ended.Sub(b.Started)
	}
	if len(b.Item.Causes) > 0 {
		row.Cause = b.Item.Causes[0].String()
	}
	return row
}

// permalinks are names for builds, and which builds they mean.
func permalinks() map[string]func(queue.Build) bool {
	return map[string]func(queue.Build) bool{
		"lastBuild":             func(queue.Build) bool { return true },
		"lastCompletedBuild":    func(b queue.Build) bool { return !b.Running() },
		"lastSuccessfulBuild":   func(b queue.Build) bool { return b.Result == queue.Success || b.Result == queue.Unstable },
		"lastUnstableBuild":     func(b queue.Build) bool { return b.Result == queue.Unstable },
		"lastStableBuild":       func(b queue.Build) bool { return b.Result == queue.Success },
		"lastFailedBuild":       func(b queue.Build) bool { return b.Result == queue.Failure },
		"lastUnsuccessfulBuild": func(b queue.Build) bool { return !b.Running() && b.Result != queue.Success },
	}
}

// permalink goes to the newest build that is meant.
func (v *visit) permalink(full string, is func(queue.Build) bool, suffix string) (*page, error) {
	if !v.may(definition.Read, full) {
		return nil, errHidden
	}
	if _, ok := v.p.Definition.Job(full); !ok {
		return nil, errMissing
	}
	const some = 100
	for before := int64(0); ; {
		builds, err := v.ctl.Builds(v.r.Context(), full, before, some)
		if err != nil {
			return nil, err
		}
		for _, b := range builds {
			if is(b) {
				return &page{redirect: buildURL(v.base, full, b.Number) + suffix}, nil
			}
			before = b.Number
		}
		if len(builds) < some {
			return nil, errMissing
		}
	}
}

// missing says whether an error means that something is not there.
func missing(err error) bool { return errors.Is(err, queue.ErrNotFound) }

// description is that of a parameter of the newest definition.
func description(j *job.Job, name string) string {
	for _, p := range j.Params {
		if p.Name == name {
			return p.Description
		}
	}
	return ""
}
