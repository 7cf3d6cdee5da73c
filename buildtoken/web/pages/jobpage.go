package pages

import (
	"errors"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// queuedShown is how many items a list shows at most.
const queuedShown = 100

// jobHead is the top of a job's page.
type jobHead struct {
	Name, Description string
	Disabled          bool
	State             mark
	// Stuck is the reason why queued items can never run, and what to do; "" if they can.
	Stuck      string
	Concurrent bool
	Badge      string
	// Schedules are the schedules of the job with their next runs, soonest first.
	Schedules []scheduleView
	// Poll is about the last poll; nil if the job is not polled.
	Poll *pollView
	// NoStart is why the caller has no form; "" if there is one.
	NoStart string
}

// pollView is the last poll of a job.
type pollView struct {
	// Started is zero if this server has not polled the job yet.
	Started time.Time
	// Outcome is the result of the poll, and Log the address of its output.
	Outcome, Log string
}

// poll returns the last poll of a job, or nil if the job has no poll command.
func (v *visit) poll(full, at string) (*pollView, error) {
	if !v.Definition.Pollable(full) {
		return nil, nil
	}
	last, err := v.ctl.LastPoll(full)
	switch {
	case missing(err):
		return &pollView{}, nil
	case err != nil:
		return nil, err
	}
	view := &pollView{Started: last.Started, Outcome: "no changes", Log: at + "pollingLog"}
	switch {
	case last.Problem != "":
		view.Outcome = "failed: " + last.Problem
	case last.Found:
		view.Outcome = "changes"
	}
	return view, nil
}

// job is the page of a job of the site. form is a form that was refused and has to be
// sent again; nil means a fresh one.
func (v *visit) job(j *job.Job, form *formView) (*page, error) {
	full := j.FullName
	if !v.MayRead(full) {
		return nil, web.ErrForbidden
	}
	overviews, err := v.ctl.Overviews(v.R.Context(), full)
	if err != nil {
		return nil, err
	}
	lane := overviews[0].Lane
	at := web.JobURL(v.base, full)
	head := jobHead{Name: j.Name(), Description: j.Description, Disabled: j.Disabled, Concurrent: j.Concurrent, State: laneMark(lane)}
	if v.Definition.Badged(full) {
		head.Badge = at + "badge/icon.svg"
	}
	if why := v.stuck(lane); why != "" {
		head.Stuck = why + ". " + remedy(v.ctl.NeverRuns(lane).Reason)
		if v.May(definition.Stop, full) {
			head.Stuck += " Otherwise, cancel what is queued."
		}
	}
	if compiled, err := v.Definition.Find(full); err == nil {
		head.Schedules = schedulesOf(compiled, v.Now)
	}
	if head.Poll, err = v.poll(full, at); err != nil {
		return nil, err
	}
	if !v.May(definition.Start, full) {
		head.NoStart = v.mayNotStart()
	}
	history, fixed, err := v.history(full, at)
	if err != nil {
		return nil, err
	}
	queued, next, err := v.entries(full, lane.Queued)
	if err != nil {
		return nil, err
	}
	queued.ByJob = v.loads([]queue.Lane{lane})
	if len(head.Schedules) > 0 {
		next = soonest(next, head.Schedules[0].Next)
	}
	state := head.State
	if head.Stuck != "" {
		state = stuckMark
	}
	pg := &page{
		Icon: state.Class, Title: titled(state, web.Displayed(full)), Name: "job", Here: "jobs", Crumbs: v.crumbs(full), Feed: at + "rssAll",
		Say:    j.Name() + ": " + head.State.Word + ", " + plural(lane.Queued, "item", "items") + " queued",
		Notice: v.cancelledNotice(), next: next, path: strings.TrimPrefix(web.JobURL("/", full), "/"),
	}
	pg.Regions = []region{{Name: "jobhead", Data: head}}
	if form == nil && v.May(definition.Start, full) {
		if form, err = v.likeForm(j); err != nil {
			return nil, err
		}
	}
	if form != nil {
		pg.Regions = append(pg.Regions, region{Name: "start", Static: true, Data: form})
	}
	pg.Regions = append(pg.Regions,
		region{Name: "jobqueue", Data: queued},
		region{Name: "trend", Data: v.trend(overviews[0])},
		region{Name: "history", Static: fixed, Data: history})
	notifications, err := v.notifications(full, 0)
	if err != nil {
		return nil, err
	}
	if len(notifications) > 0 {
		pg.Regions = append(pg.Regions, region{Name: "notifications", Data: notifications})
	}
	if compiled, err := v.Definition.Find(full); err == nil {
		pg.Regions = append(pg.Regions, region{Name: "howto", Static: true, Data: v.howto(compiled)})
	}
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
	return neverBuilt
}

// permalink goes to the build that a name such as lastBuild means.
func (v *visit) permalink(full, name, suffix string) (*page, error) {
	if !v.MayRead(full) {
		return nil, web.ErrForbidden
	}
	if _, ok := v.Definition.Job(full); !ok {
		return nil, web.ErrNotFound
	}
	b, err := web.FindBuild(v.R.Context(), v.ctl, full, name)
	if err != nil {
		return nil, err
	}
	to := web.BuildURL(v.base, full, b.Number) + suffix
	if query := v.R.URL.Query(); len(query) > 0 && !v.streaming { // what to show of the log
		to += "?" + query.Encode()
	}
	return &page{redirect: to}, nil
}

// missing reports whether an error means that something is not there.
func missing(err error) bool { return errors.Is(err, queue.ErrNotFound) }
