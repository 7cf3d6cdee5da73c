package jenkins

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

func (v *view) buildURL(full string, number int64) string {
	return v.jobURL(full) + strconv.FormatInt(number, 10) + "/"
}

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
		{"fullDisplayName", displayed(b.Item.Job) + " #" + number},
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

// estimate is how long builds of a job take: the mean of the last three
// successes among the last twenty builds; -1 if there is none.
func (v *view) estimate(full string) time.Duration {
	if known, ok := v.estimates[full]; ok {
		return known
	}
	builds, err := v.ctl.Builds(v.ctx(), full, 0, 20)
	if err != nil {
		v.note(err)
	}
	var sum time.Duration
	n := 0
	for _, b := range builds {
		if b.Result == queue.Success && n < 3 {
			sum += b.Ended.Sub(b.Started)
			n++
		}
	}
	estimate := time.Duration(-1)
	if n > 0 {
		estimate = sum / time.Duration(n)
	}
	v.estimates[full] = estimate
	return estimate
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

// marked returns which builds a permalink may lead to. As in Jenkins, an unstable
// build is successful, but not stable.
func marked(name string) (fits func(queue.Build) bool, ok bool) {
	switch name {
	case "lastBuild", "firstBuild":
		return func(queue.Build) bool { return true }, true
	case "lastCompletedBuild":
		return func(b queue.Build) bool { return !b.Running() }, true
	case "lastStableBuild":
		return func(b queue.Build) bool { return b.Result == queue.Success }, true
	case "lastSuccessfulBuild":
		return func(b queue.Build) bool { return b.Result == queue.Success || b.Result == queue.Unstable }, true
	case "lastUnstableBuild":
		return func(b queue.Build) bool { return b.Result == queue.Unstable }, true
	case "lastFailedBuild":
		return func(b queue.Build) bool { return b.Result == queue.Failure }, true
	case "lastUnsuccessfulBuild":
		return func(b queue.Build) bool { return !b.Running() && b.Result != queue.Success }, true
	}
	return nil, false
}

// maxSearched is how many builds are looked at for one of the marks.
const maxSearched = 2000

// marks finds the marked builds, most of them among the newest, which are given.
func (v *view) marks(full string, newest []queue.Build) (map[string]queue.Build, error) {
	marks := map[string]queue.Build{}
	if len(newest) == 0 {
		return marks, nil
	}
	for _, name := range []string{"lastBuild", "lastCompletedBuild", "lastStableBuild", "lastSuccessfulBuild", "lastUnstableBuild", "lastFailedBuild", "lastUnsuccessfulBuild"} {
		b, err := v.r.mark(v.ctl, full, name, newest)
		switch {
		case err == nil:
			marks[name] = b
		case !errors.Is(err, queue.ErrNotFound):
			return marks, err
		}
	}
	first, err := v.r.firstBuild(v.ctl, full)
	if err == nil {
		marks["firstBuild"] = first
	} else if !errors.Is(err, queue.ErrNotFound) {
		return marks, err
	}
	return marks, nil
}

func (q *request) firstBuild(ctl *buildtoken.Controller, full string) (queue.Build, error) {
	number, err := ctl.OldestBuild(q.r.Context(), full)
	if err != nil {
		return queue.Build{}, err
	}
	return ctl.Build(q.r.Context(), full, number)
}

// mark finds one marked build, queue.ErrNotFound if there is none. newest are
// the first builds to look at, if they are known.
func (q *request) mark(ctl *buildtoken.Controller, full, name string, newest []queue.Build) (queue.Build, error) {
	fits, ok := marked(name)
	switch {
	case !ok:
		return queue.Build{}, errNotFound
	case name == "firstBuild":
		return q.firstBuild(ctl, full)
	}
	builds := newest
	for before, seen := int64(0), 0; seen < maxSearched; seen += len(builds) {
		if seen > 0 || builds == nil {
			var err error
			if builds, err = ctl.Builds(q.r.Context(), full, before, maxBuilds); err != nil {
				return queue.Build{}, err
			}
		}
		for _, b := range builds {
			if fits(b) {
				return b, nil
			}
		}
		if len(builds) < maxBuilds {
			break
		}
		before = builds[len(builds)-1].Number
	}
	return queue.Build{}, fmt.Errorf("%w: %s of %s", queue.ErrNotFound, name, full)
}

// find is the build that a segment of a path names: a number or a mark.
func (r *reader) find(ctl *buildtoken.Controller, j *job.Job, segment string) (queue.Build, error) {
	if number, ok := parseNumber(segment); ok {
		return ctl.Build(r.r.Context(), j.FullName, number)
	}
	return r.mark(ctl, j.FullName, segment, nil)
}
