package jenkins

import (
	"errors"
	"fmt"
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

// estimate returns how long the next build of a job is expected to take, -1 if that is
// not known.
func (v *view) estimate(full string) time.Duration {
	if known, ok := v.estimates[full]; ok {
		return known
	}
	v.estimates[full] = -1
	of, err := v.ctl.Overviews(v.ctx(), full)
	if err != nil {
		v.note(err)
	} else if estimate, ok := of[0].Summary.Estimate(); ok {
		v.estimates[full] = estimate
	}
	return v.estimates[full]
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

// marks finds the builds to which a permalink leads. Most of them are among the newest,
// which are passed.
func (v *view) marks(full string, newest []queue.Build) (map[string]queue.Build, error) {
	marks := map[string]queue.Build{}
	if len(newest) == 0 {
		return marks, nil
	}
	for _, name := range []string{
		"firstBuild", "lastBuild", "lastCompletedBuild", "lastStableBuild", "lastSuccessfulBuild", "lastUnstableBuild", "lastFailedBuild", "lastUnsuccessfulBuild",
	} {
		b, err := web.FindBuild(v.ctx(), v.ctl, full, name, newest)
		switch {
		case err == nil:
			marks[name] = b
		case !errors.Is(err, queue.ErrNotFound):
			return marks, err
		}
	}
	return marks, nil
}
