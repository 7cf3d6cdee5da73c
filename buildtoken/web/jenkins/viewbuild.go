package jenkins

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

func (v *view) buildURL(full string, number int64) string { return web.BuildURL(v.root, full, number) }

// buildLink refers to a build.
func (v *view) buildLink(b queue.Build) link {
	return link{
		brief: object{{"_class", classBuild}, {"number", b.Number}, {"url", v.buildURL(b.Item.Job, b.Number)}},
		full:  func() object { return v.build(b) },
	}
}

// build is a build. Both building and inProgress end with the console log.
func (v *view) build(b queue.Build) object {
	number := strconv.FormatInt(b.Number, 10)
	var result, executor any
	var duration int64
	if b.Running() {
		executor = object{}
	} else {
		result, duration = string(b.Result), b.Ended.Sub(b.Started).Milliseconds()
	}
	estimated := int64(-1)
	if e := v.estimate(b.Item.Job); e >= 0 {
		estimated = e.Milliseconds()
	}
	builtOn := b.Node
	if builtOn == buildtoken.DefaultNode {
		builtOn = ""
	}
	return object{
		{"_class", classBuild},
		{"actions", v.actions(b.Item)},
		{"artifacts", []any{}},
		{"building", b.Running()},
		{"description", orNull(b.Reason)},
		{"displayName", "#" + number},
		{"duration", duration},
		{"estimatedDuration", estimated},
		{"executor", executor},
		{"fullDisplayName", web.Displayed(b.Item.Job) + " #" + number},
		{"id", number},
		{"inProgress", b.Running()},
		{"keepLog", false},
		{"number", b.Number},
		{"queueId", b.Item.ID},
		{"result", result},
		{"timestamp", b.Started.UnixMilli()},
		{"url", v.buildURL(b.Item.Job, b.Number)},
		{"builtOn", builtOn},
		{"changeSet", object{{"_class", "hudson.scm.EmptyChangeLogSet"}, {"items", []any{}}, {"kind", nil}}},
		{"culprits", []any{}},
	}
}

// overview returns the summary of a job. The first call reads those of all listed jobs.
func (v *view) overview(full string) queue.Overview {
	if o, ok := v.overviews[full]; ok {
		return o
	}
	jobs := slices.Concat(v.listed, []string{full})
	v.listed = nil
	all, err := v.ctl.Overviews(v.ctx(), jobs...)
	if err != nil {
		v.note(err)
		return queue.Overview{}
	}
	for i, o := range all {
		v.overviews[jobs[i]] = o
	}
	return v.overviews[full]
}

// estimate returns how long the next build of a job is expected to take, -1 if that is
// not known.
func (v *view) estimate(full string) time.Duration {
	if estimate, ok := v.overview(full).Summary.Estimate(); ok {
		return estimate
	}
	return -1
}

func stability(ended, bad int) string {
	switch bad {
	case 0:
		return "Build stability: No recent builds failed."
	case ended:
		return "Build stability: All recent builds failed."
	}
	return fmt.Sprintf("Build stability: %d out of the last %d builds failed.", bad, ended)
}

// mark is the build to which a permalink leads, or nil. The build is read only if more is
// shown than its number.
func (v *view) mark(full, name string) any {
	o := v.overview(full)
	number, ok := web.Permalink(&o, name)
	if !ok {
		return nil
	}
	brief := v.buildLink(queue.Build{Number: number, Item: queue.Item{Job: full}}).brief
	return link{brief: brief, full: func() object {
		found, err := v.ctl.Builds(v.ctx(), full, number+1, 1)
		if err != nil {
			v.note(err)
		}
		if len(found) == 0 || found[0].Number != number { // it was dropped meanwhile, or is damaged
			return brief
		}
		return v.build(found[0])
	}}
}
