package web

import (
	"context"
	"fmt"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// permalinks are the names that stand for a build. Those of the last build with some result
// have these results; without results, any counts. As in Jenkins, an unstable build is
// successful, but not stable.
//
//nolint:gochecknoglobals // a constant table
var permalinks = map[string][]queue.Result{
	"firstBuild":            {},
	"lastBuild":             {},
	"lastCompletedBuild":    {},
	"lastStableBuild":       {queue.Success},
	"lastSuccessfulBuild":   {queue.Success, queue.Unstable},
	"lastUnstableBuild":     {queue.Unstable},
	"lastFailedBuild":       {queue.Failure},
	"lastUnsuccessfulBuild": {queue.Unstable, queue.Failure, queue.Aborted, queue.NotBuilt},
}

// IsPermalink reports whether a segment of a path names a build by its place.
func IsPermalink(segment string) bool {
	_, ok := permalinks[segment]
	return ok
}

// Permalink returns the number of the build that a permalink leads to, false if there is none.
func Permalink(o *queue.Overview, name string) (number int64, ok bool) {
	results, ok := permalinks[name]
	if !ok {
		return 0, false
	}
	last, _ := o.Summary.LastWith(results...)
	number = last.Number
	switch running := o.Lane.Running; {
	case name == "firstBuild":
		number = o.Oldest
	case name == "lastBuild" && len(running) > 0:
		number = max(number, running[len(running)-1])
	}
	return number, number > 0 && number >= o.Oldest
}

// FindBuild returns the build that a segment of a path names, by its number or as a
// permalink. Without such a build, and for any other name, the error is
// [queue.ErrNotFound].
func FindBuild(ctx context.Context, ctl *buildtoken.Controller, full, segment string) (queue.Build, error) {
	number, ok := Number(segment)
	if !ok && IsPermalink(segment) {
		of, err := ctl.Overviews(ctx, full)
		if err != nil {
			return queue.Build{}, err
		}
		number, ok = Permalink(&of[0], segment)
	}
	if !ok {
		return queue.Build{}, fmt.Errorf("%w: %s of %s", queue.ErrNotFound, segment, full)
	}
	return ctl.Build(ctx, full, number)
}
