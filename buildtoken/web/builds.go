package web

import (
	"context"
	"fmt"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Limits of the search for one answer.
const (
	searchStep  = 100   // builds that are read at once
	maxSearched = 2_000 // builds that are looked at for one permalink
)

// permalinks are the names that stand for a build: the last with a result of some kind.
// As in Jenkins, an unstable build is successful, but not stable.
//
//nolint:gochecknoglobals // a constant table
var permalinks = map[string]func(queue.Build) bool{
	"lastBuild":             func(queue.Build) bool { return true },
	"lastCompletedBuild":    func(b queue.Build) bool { return !b.Running() },
	"lastStableBuild":       func(b queue.Build) bool { return b.Result == queue.Success },
	"lastSuccessfulBuild":   func(b queue.Build) bool { return b.Result.Successful() },
	"lastUnstableBuild":     func(b queue.Build) bool { return b.Result == queue.Unstable },
	"lastFailedBuild":       func(b queue.Build) bool { return b.Result == queue.Failure },
	"lastUnsuccessfulBuild": func(b queue.Build) bool { return !b.Running() && b.Result != queue.Success },
}

// IsPermalink reports whether a segment of a path names a build by its place.
func IsPermalink(segment string) bool {
	_, ok := permalinks[segment]
	return ok || segment == "firstBuild"
}

// FindBuild returns the build that a segment of a path names, by its number or as a
// permalink. Without such a build, and for any other name, the error is
// [queue.ErrNotFound]. A permalink is looked for among the newest 2,000 builds.
//
// newest are the job's newest builds, if the caller has them, else nil. Fewer than 100 are
// taken for the whole history of the job.
func FindBuild(ctx context.Context, ctl *buildtoken.Controller, full, segment string, newest []queue.Build) (queue.Build, error) {
	number, ok := Number(segment)
	if segment == "firstBuild" {
		var err error
		if number, err = ctl.OldestBuild(ctx, full); err != nil {
			return queue.Build{}, err
		}
		ok = true
	}
	if ok {
		return ctl.Build(ctx, full, number)
	}
	fits := permalinks[segment]
	if fits == nil {
		return queue.Build{}, fmt.Errorf("%w: %s of %s", queue.ErrNotFound, segment, full)
	}
	builds := newest
	for before, seen := int64(0), 0; seen < maxSearched; seen += len(builds) {
		if seen > 0 || builds == nil {
			var err error
			if builds, err = ctl.Builds(ctx, full, before, searchStep); err != nil {
				return queue.Build{}, err
			}
		}
		for _, b := range builds {
			if fits(b) {
				return b, nil
			}
		}
		if len(builds) < searchStep {
			break
		}
		before = builds[len(builds)-1].Number
	}
	return queue.Build{}, fmt.Errorf("%w: %s of %s", queue.ErrNotFound, segment, full)
}
