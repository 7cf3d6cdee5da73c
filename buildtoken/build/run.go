package build

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// Run runs one build to its end and returns how it ended. j is nil if the
// configuration does not have the job any more. When ctx ends, the build is
// stopped; the cause of ctx is the reason then. A build with a handle is resumed.
// After [Host.Detach] the result can be empty: the build has not ended then.
func (h *Host) Run(ctx context.Context, j *Job, b queue.Build) (queue.Result, string) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &remote{cancel}
	defer h.remotes.remove(r)
	// Before anything that takes time: if the server stops meanwhile, the build is not to end.
	if b.Handle != nil && !h.remotes.add(r) {
		return "", ""
	}
	if b.Handle == nil {
		about(h.opts.Log(), b).Info("build started", append(startedBy(b.Item), zap.Int("executor", b.Executor), zap.Duration("late", b.Started.Sub(b.Item.Due)))...)
	} else {
		about(h.opts.Log(), b).Info("build resumed")
	}
	b.Result, b.Reason = h.runLogged(ctx, r, j, b)
	if b.Result == "" {
		about(h.opts.Log(), b).Info("build goes on, and will be resumed")
		return "", ""
	}
	logEnded(h.opts.Log(), b) // not the logger from above: a build may outlive a configuration
	return b.Result, b.Reason
}

// logEnded logs how a build has ended just now. One that could not be started
// is a warning: the operator has to change something.
func logEnded(log *zap.Logger, b queue.Build) {
	level := zap.InfoLevel
	if b.Result == queue.NotBuilt {
		level = zap.WarnLevel
	}
	about(log, b).Log(level, "build ended", zap.String("result", string(b.Result)), zap.String("reason", b.Reason),
		zap.Duration("duration", time.Since(b.Started)))
}

// runLogged runs a build with its console log. The log is closed, with the
// result as its last line, before the end is recorded.
func (h *Host) runLogged(ctx context.Context, r *remote, j *Job, b queue.Build) (queue.Result, string) {
	open := func() (*console.Writer, error) {
		if b.Handle != nil {
			return h.logs.resume(ctx, b.Item.Job, b.Number, h.opts.LogLimit)
		}
		return h.logs.create(h.opts.Log(), b, h.opts.LogLimit)
	}
	out, err := open()
	for h.retryLater(ctx, b, err) {
		out, err = open()
	}
	switch {
	case err != nil && h.remotes.left(ctx, r):
		return "", ""
	case err != nil && ctx.Err() != nil:
		return queue.Aborted, queue.OneLine(context.Cause(ctx).Error()+", while there was no room for a console log", maxReason)
	case err != nil:
		about(h.opts.Log(), b).Error("build not started: no log", zap.Error(err))
		return queue.NotBuilt, queue.OneLine("the console log cannot be written: "+err.Error(), maxReason)
	}
	if h.opts.LogBegun != nil {
		h.opts.LogBegun(b.Item.ID)
	}
	shipped := h.ship(ctx, b)
	if b.Handle == nil {
		writeCauses(out, b.Item)
	} else {
		out.Line("Resumed after a restart of the server")
	}
	result := checked(h.execute(ctx, r, j, b, out))
	detached := result.Outcome == runner.Aborted && h.remotes.left(ctx, r)
	if !detached {
		b.Result, b.Reason = queue.Result(result.Outcome), result.Reason
		for _, line := range b.LastLines() {
			out.Line(line)
		}
	}
	if detached {
		shipped(true) // before the log looks complete
	}
	if err := h.logs.end(out, b.Item.Job); err != nil {
		about(h.opts.Log(), b).Error("console log is not complete", zap.Error(err))
	}
	if detached {
		h.shipPart(ctx, b)
	} else {
		shipped(false)
	}
	return b.Result, b.Reason
}

// maxCauseLines is how often the log repeats a cause that came again and again.
const maxCauseLines = 5

// writeCauses writes the first lines of a log: why the build was started.
func writeCauses(out *console.Writer, it queue.Item) {
	for _, cause := range it.Causes {
		for range min(cause.Count, maxCauseLines) {
			out.Line(cause.String())
		}
		if cause.Count > maxCauseLines {
			out.Line(fmt.Sprintf("%s (%d times in all)", cause, cause.Count))
		}
	}
	if it.MoreCauses > 0 {
		out.Line(fmt.Sprintf("Started by %d more triggers", it.MoreCauses))
	}
}

// retryLater reports whether err is a shortage that can end, such as a full
// disk or a database that does not answer: an accepted build must not end
// because of it. retryLater sleeps before it returns true; it returns false
// once ctx has ended.
func (h *Host) retryLater(ctx context.Context, b queue.Build, err error) bool {
	if !runner.Scarce(err) && !errors.Is(err, queue.ErrStorage) {
		return false
	}
	h.scarce.Do(func() { about(h.opts.Log(), b).Warn("build waits for system resources", zap.Error(err)) })
	select {
	case <-time.After(runner.ScarceRetry):
		return true
	case <-ctx.Done():
		return false
	}
}

// maxReason bounds the reason of a result, in bytes.
const maxReason = 1000

// checked returns a result that the queue can rely on, whatever a runner
// returns: one of the known outcomes, since a build with another would run for
// ever, and a reason of one line, empty for a success.
func checked(r runner.Result) runner.Result {
	switch r.Outcome {
	case runner.Success:
		return runner.Result{Outcome: runner.Success}
	case runner.Unstable, runner.Failure, runner.Aborted, runner.NotBuilt:
		return runner.Result{Outcome: r.Outcome, Reason: queue.OneLine(r.Reason, maxReason)}
	}
	return runner.Result{Outcome: runner.Failure, Reason: queue.OneLine(fmt.Sprintf("the runner gave an unknown result %.100q", r.Outcome), maxReason)}
}

// execute prepares what the build needs and calls its runner.
func (h *Host) execute(ctx context.Context, r *remote, j *Job, b queue.Build, out *console.Writer) runner.Result {
	notBuilt := func(err error) runner.Result {
		return runner.Result{Outcome: runner.NotBuilt, Reason: err.Error()}
	}
	if j == nil {
		return notBuilt(errors.New("the job is not in the configuration any more"))
	}
	values, err := h.opts.Vault.Open(b.Item.Job, b.Item.Values)
	if err != nil {
		return notBuilt(err)
	}
	err = h.uploads.fetch(ctx, b.Item.Values)
	for h.retryLater(ctx, b, err) {
		err = h.uploads.fetch(ctx, b.Item.Values)
	}
	if err != nil && ctx.Err() == nil {
		return notBuilt(err)
	}
	poll := func() { out.Line("Waiting for a poll of the job to leave the workspace") }
	workspace, leave, err := h.spaces.enter(ctx, b.Item.Job, poll)
	for h.retryLater(ctx, b, err) {
		workspace, leave, err = h.spaces.enter(ctx, b.Item.Job, poll)
	}
	if ctx.Err() != nil {
		if err == nil {
			leave()
		}
		return runner.Result{Outcome: runner.Aborted, Reason: context.Cause(ctx).Error()}
	}
	if err != nil {
		return notBuilt(err)
	}
	defer leave()
	if timeout := j.Settings.Timeout; timeout != nil && *timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, time.Now().Add(remaining(*timeout, b)), fmt.Errorf("timed out after %v", *timeout))
		defer cancel()
	}
	described := h.describe(j, b, values, workspace)
	if j.Remote() {
		h.resumable(ctx, r, b, &described)
	}
	var result runner.Result
	if err := guard(about(h.opts.Log(), b), "runner", func() { result = j.Runner.Run(ctx, described, out) }); err != nil {
		return runner.Result{Outcome: runner.Failure, Reason: err.Error()}
	}
	return result
}

// remaining returns how much of its timeout a build has left: for a resumed one, the time before counts.
func remaining(timeout time.Duration, b queue.Build) time.Duration {
	if b.Handle == nil {
		return timeout
	}
	return timeout - time.Since(b.Started)
}
