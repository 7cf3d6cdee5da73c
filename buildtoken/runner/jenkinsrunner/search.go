package jenkinsrunner

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

const (
	// searches is how often a trigger is looked for that Jenkins may have got.
	searches = 10
	// maxOlder is how many builds are looked at that are older than those that Jenkins lists.
	maxOlder = 1000
	// slowest is the longest time between two requests about a build.
	slowest = 5 * time.Second
)

// actions are those of an item or a build. Only causes are read.
type actions []struct {
	Causes []struct {
		Note        string `json:"note"`
		Description string `json:"shortDescription"`
	} `json:"causes"`
}

const actionsTree = "actions[causes[note,shortDescription]]"

// has reports whether a cause carries the mark.
func (a actions) has(mark string) bool {
	for _, action := range a {
		for _, c := range action.Causes {
			if strings.Contains(c.Note, mark) || strings.Contains(c.Description, mark) {
				return true
			}
		}
	}
	return false
}

// causes returns how many triggers there were.
func (a actions) causes() int {
	n := 0
	for _, action := range a {
		n += len(action.Causes)
	}
	return n
}

// search looks for the trigger by its mark, because Jenkins may have got it. It is never sent again.
func (l *relay) search(ctx context.Context, cause error) (runner.Result, bool) {
	unknown := runner.Result{Outcome: runner.Aborted, Reason: runner.OneLine(cause.Error() + "; Jenkins may have got it")}
	if l.jobToken() == "" {
		unknown.Reason += ", which could be found out with a job_token"
		return unknown, true
	}
	l.comment("looking for the trigger: %v", cause)
	wait := l.every
	for misses := 0; misses < searches; {
		found, err := l.find(ctx)
		switch {
		case found:
			l.note()
			l.comment("found it as item %d", l.at.Item)
			return runner.Result{}, false
		case ctx.Err() != nil:
			return l.ended(ctx), true
		case l.silent(err):
			unknown.Reason = runner.OneLine(unknown.Reason + ": " + err.Error())
			return unknown, true
		case err == nil:
			misses++
		}
		if !runner.Pause(ctx, wait) {
			return l.ended(ctx), true
		}
		wait = min(2*wait, slowest)
	}
	unknown.Reason += ", but it is neither in the queue nor among the builds since then"
	return unknown, true
}

// find looks for the mark in the queue, and then among the builds, so that an item that leaves the queue meanwhile is found.
func (l *relay) find(ctx context.Context) (bool, error) {
	var q struct {
		Items []struct {
			ID      int64   `json:"id"`
			Actions actions `json:"actions"`
		} `json:"items"`
	}
	if err := l.jenkins.get(ctx, "/queue", "items[id,"+actionsTree+"]", &q); err != nil {
		return false, err
	}
	for _, it := range q.Items {
		if it.Actions.has(l.mark()) {
			l.at.Item = it.ID
			return true, nil
		}
	}
	return l.findBuild(ctx)
}

// findBuild looks for the build of the item. Jenkins lists only the last 100 builds of a job: to list more, it would load
// all of them from its disk, even for a short range. So those between the trigger and the last 100 are read one by one. The
// oldest come first, because the build was made soon after the trigger, however long this server was away.
func (l *relay) findBuild(ctx context.Context) (bool, error) {
	var j struct {
		Builds []build `json:"builds"`
	}
	if err := l.jenkins.get(ctx, l.path, "builds["+foundTree+"]{0,100}", &j); err != nil {
		return false, err
	}
	listed := int64(0) // from this number on
	for _, b := range j.Builds {
		if l.isBuild(b) {
			return true, nil
		}
		listed = b.Number
	}
	if l.at.Next == 0 {
		return false, nil
	}
	for n := l.at.Next; n < min(listed, l.at.Next+maxOlder); n++ {
		b, err := l.older.read(ctx, l.Runner, n)
		switch {
		case status(err) == http.StatusNotFound: // discarded, or the job is missing for a moment
		case err != nil:
			return false, err
		case l.isBuild(b):
			return true, nil
		}
	}
	return false, nil
}

// older has the builds that were read one by one. All builds here that look for theirs share it: after a restart of this
// server, hundreds may do that at once.
type older struct {
	reading singleflight.Group

	// mu guards the following.
	mu     sync.Mutex
	builds map[int64]build
	since  time.Time // when builds was empty
}

// olderFor is how long a build is not read again: it changes only if the job is made anew.
const olderFor = time.Minute

// read returns a build with foundTree. An error can be that of another caller.
func (o *older) read(ctx context.Context, r *Runner, number int64) (build, error) {
	o.mu.Lock()
	if time.Since(o.since) > olderFor {
		o.builds, o.since = map[int64]build{}, time.Now()
	}
	builds := o.builds
	b, ok := builds[number]
	o.mu.Unlock()
	if ok {
		return b, nil
	}
	found, err, _ := o.reading.Do(strconv.FormatInt(number, 10), func() (any, error) {
		var b build
		err := r.jenkins.get(ctx, fmt.Sprintf("%s/%d", r.path, number), foundTree, &b)
		if err == nil {
			o.mu.Lock()
			defer o.mu.Unlock()
			builds[number] = b
		}
		return b, err
	})
	b, _ = found.(build)
	return b, err
}

// foundTree has what isBuild needs.
const foundTree = "number,queueId," + actionsTree

// isBuild reports whether b is the build of the item, by the item's ID, or by the mark while that is not known. Then it
// takes over what b shows.
func (l *relay) isBuild(b build) bool {
	if l.at.Item != 0 && b.QueueID != l.at.Item || l.at.Item == 0 && !b.Actions.has(l.mark()) {
		return false
	}
	l.at.Item, l.at.Number = b.QueueID, b.Number
	l.at.Shared = l.at.Shared || b.Actions.causes() > 1
	return true
}

// surelyLost reports whether a trigger that a proxy answered with an error has not reached Jenkins: the job is as it was
// before, with nothing queued.
func (l *relay) surelyLost(ctx context.Context, before state, err error) bool {
	if status(err) != http.StatusBadGateway || !before.readable || before.InQueue {
		return false
	}
	for wait := l.every; runner.Pause(ctx, wait); wait = min(2*wait, lastRetry) {
		after, err := l.look(ctx)
		if err == nil {
			return after.readable && after.Next == before.Next && !after.InQueue
		}
		if !errors.Is(err, errAway) || time.Since(l.at.Began) > l.retryFor {
			return false
		}
	}
	return false
}

// wait follows the item until it has a build.
func (l *relay) wait(ctx context.Context) (runner.Result, bool) {
	if l.at.Number != 0 {
		return runner.Result{}, false
	}
	wait, misses, told := l.every, 0, ""
	for l.at.Number == 0 {
		it, err := l.item(ctx)
		gone := status(err) == http.StatusNotFound
		left := err == nil && it.Cancelled != nil && it.Executable == nil
		found := false
		if gone || left {
			found, err = l.findBuild(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return l.ended(ctx), true
		case l.silent(err):
			return l.lost(err)
		case found || err != nil:
		case it.Cancelled != nil && *it.Cancelled:
			return runner.Result{Outcome: runner.Aborted, Reason: fmt.Sprintf("item %d was cancelled in Jenkins", l.at.Item)}, true
		case it.Executable != nil:
			l.at.Number = it.Executable.Number
		case gone:
			if misses++; misses >= searches {
				return runner.Result{Outcome: runner.Aborted, Reason: fmt.Sprintf("item %d is gone from the queue of Jenkins without a build, or its build was discarded", l.at.Item)}, true
			}
		default:
			if why := runner.OneLine(it.Why); why != "" && shape(why) != told {
				l.comment("%.500s", why)
				told = shape(why)
			}
		}
		if l.at.Number != 0 {
			break
		}
		if !runner.Pause(ctx, wait) {
			return l.ended(ctx), true
		}
		wait = min(2*wait, slowest)
	}
	l.comment("%s #%d is %s%s/%d/", l.job, l.at.Number, l.jenkins.base, l.path, l.at.Number)
	l.note()
	return runner.Result{}, false
}

// shape is a text without the parts that change while an item waits.
func shape(why string) string {
	why, _, _ = strings.Cut(why, "Expires in")
	return strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' {
			return -1
		}
		return c
	}, why)
}

// item is a queue item. Cancelled is nil until it has left the queue.
type item struct {
	Cancelled  *bool  `json:"cancelled"`
	Why        string `json:"why"`
	Executable *struct {
		Number int64 `json:"number"`
	} `json:"executable"`
	Actions actions `json:"actions"`
}

func (l *relay) item(ctx context.Context) (it item, err error) {
	err = l.jenkins.get(ctx, fmt.Sprintf("/queue/item/%d", l.at.Item), "cancelled,why,executable[number],"+actionsTree, &it)
	l.at.Shared = l.at.Shared || it.Actions.causes() > 1
	return it, err
}
