package jenkinsrunner

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

const (
	// maxMissing is how often a build must be missing, while its job is there, before it counts as deleted.
	maxMissing = 3
	// checkEvery is the longest time between two looks at a build whose log does not end.
	checkEvery = 15 * time.Second
)

// follow copies the log until the build has ended.
func (l *relay) follow(ctx context.Context) (runner.Result, bool) {
	wait, missing := l.every, 0
	var checked time.Time
	var over bool // the build had ended before the log was read last
	for {
		grown, more, logErr := l.copyLog(ctx)
		b, err := build{}, logErr
		if ctx.Err() == nil && (err != nil || !more || over || !grown && time.Since(checked) >= checkEvery) {
			checked = time.Now()
			b, err = l.state(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return l.ended(ctx), true
		case status(err) == http.StatusNotFound:
			if s, _ := l.look(ctx); s.readable { // the job is there
				missing, err = missing+1, nil
			}
		case err == nil:
			missing = 0
		}
		switch {
		case missing >= maxMissing:
			return runner.Result{Outcome: runner.Aborted, Reason: fmt.Sprintf("%s #%d was deleted or discarded in Jenkins", l.job, l.at.Number)}, true
		case l.silent(err):
			return l.lost(err)
		case b.ended() && (!more || over && !grown):
			l.log.Gaps = l.log.Gaps || logErr != nil
			l.finishLog(ctx)
			return l.result(b.Result), true
		}
		over = over || b.ended()
		l.saveSometimes()
		if grown {
			wait = l.every
		}
		if !runner.Pause(ctx, wait) {
			return l.ended(ctx), true
		}
		wait = min(2*wait, max(slowest, l.every))
	}
}

// build is the state of a build.
type build struct {
	Number     int64   `json:"number"`
	QueueID    int64   `json:"queueId"`
	Building   bool    `json:"building"`
	InProgress *bool   `json:"inProgress"` // missing on old servers
	Result     string  `json:"result"`
	Actions    actions `json:"actions"`
}

// ended reports whether the build has ended, with its whole log written. It can have a result before.
func (b build) ended() bool {
	inProgress := b.Building
	if b.InProgress != nil {
		inProgress = inProgress || *b.InProgress
	}
	return !inProgress && b.Result != ""
}

func (l *relay) buildPath() string { return fmt.Sprintf("%s/%d", l.path, l.at.Number) }

func (l *relay) state(ctx context.Context) (b build, err error) {
	err = l.jenkins.get(ctx, l.buildPath(), "number,building,inProgress,result,"+actionsTree, &b)
	l.at.Shared = l.at.Shared || b.Actions.causes() > 1
	return b, err
}

// result returns what Jenkins' result means here.
func (l *relay) result(word string) runner.Result {
	outcome := runner.Outcome(word)
	reason := fmt.Sprintf("%s #%d ended as %s in Jenkins", l.job, l.at.Number, queue.OneLine(word, 100))
	switch outcome {
	case runner.Success:
		return runner.Result{Outcome: outcome}
	case runner.Unstable, runner.Failure, runner.Aborted, runner.NotBuilt:
		return runner.Result{Outcome: outcome, Reason: reason}
	}
	return runner.Result{Outcome: runner.Failure, Reason: reason + ", which is no result that is known here"}
}

// stop ends the work in Jenkins because the build is to stop, unless others wait for it too.
func (l *relay) stop(ctx context.Context) runner.Result {
	result := runner.AbortedBy(ctx)
	if l.at.Item == 0 {
		if l.at.Sent {
			result.Reason += "; Jenkins may have got the trigger"
		}
		return result
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), 30*time.Second+3*l.killDelay, errDeaf)
	defer cancel()
	err := l.cancel(ctx)
	if err == nil && l.at.Number != 0 {
		err = l.stopBuild(ctx)
	}
	switch {
	case errors.Is(err, errShared):
		result.Reason += "; it goes on in Jenkins, where others wait for it too"
	case err != nil:
		result.Reason += "; it may go on in Jenkins: " + runner.OneLine(err.Error())
	}
	return result
}

// errShared means that the item or build is not only ours.
var errShared = errors.New("others wait for it too")

// errDeaf means that the work goes on although it was to stop.
var errDeaf = errors.New("it did not stop")

// cancel removes the item from the queue, or finds out the number of its build.
func (l *relay) cancel(ctx context.Context) error {
	for wait := l.every; l.at.Number == 0; wait = min(2*wait, slowest) {
		it, err := l.item(ctx)
		switch {
		case status(err) == http.StatusNotFound:
			_, err := l.findBuild(ctx) // without one, it is gone
			return err
		case err != nil:
			return err
		case l.at.Shared:
			return errShared
		case it.Executable != nil:
			l.at.Number = it.Executable.Number
			return nil
		case it.Cancelled != nil && *it.Cancelled:
			return nil
		}
		err = l.jenkins.post(ctx, fmt.Sprintf("/queue/cancelItem?id=%d", l.at.Item))
		if code := status(err); err == nil || code != http.StatusNotFound && code != http.StatusInternalServerError {
			return err
		}
		if !runner.Pause(ctx, wait) { // it has left the queue
			return context.Cause(ctx)
		}
	}
	return nil
}

// stopBuild stops the build, more and more firmly, and copies the log until it ends. Only pipelines can be
// terminated and killed; other jobs answer that with 404.
func (l *relay) stopBuild(ctx context.Context) error {
	if b, err := l.state(ctx); err != nil || b.ended() {
		return err
	}
	if l.at.Shared {
		return errShared
	}
	for i, action := range []string{"stop", "term", "kill"} {
		if err := l.jenkins.post(ctx, l.buildPath()+"/"+action); err != nil && (i == 0 || status(err) != http.StatusNotFound) {
			return err
		}
		patience := l.killDelay
		if action == "kill" {
			patience = time.Minute // more than ctx has
		}
		for asked := time.Now(); time.Since(asked) < patience; {
			_, _, _ = l.copyLog(ctx) // the state decides
			if b, err := l.state(ctx); err != nil || b.ended() {
				if err == nil {
					l.finishLog(ctx)
				}
				return err
			}
			if !runner.Pause(ctx, min(l.every, l.killDelay)) {
				return errDeaf
			}
		}
	}
	return errDeaf
}
