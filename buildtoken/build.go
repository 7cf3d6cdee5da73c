package buildtoken

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/executor"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// prepare is the executors' Prepare: a build runs as the configuration says that
// was in force when it left the queue.
func (c *Controller) prepare(b queue.Build) executor.Run {
	j := c.effective.Load().jobs[b.Item.Job]
	return func(ctx context.Context) (queue.Result, string) { return c.run(ctx, j, b) }
}

// run runs one build to its end. j is nil if the configuration doesn't have the
// job.
func (c *Controller) run(ctx context.Context, j *definition.Compiled, b queue.Build) (queue.Result, string) {
	about(c.logger(), b).Info("build started", zap.Int("executor", b.Executor), zap.Duration("late", b.Started.Sub(b.Item.Due)))
	b.Result, b.Reason = c.runLogged(ctx, j, b)
	logEnded(c.logger(), b) // asked for anew: a build may outlive a configuration
	return b.Result, b.Reason
}

// about is a logger for what there is to say about a build.
func about(log *zap.Logger, b queue.Build) *zap.Logger {
	return log.With(zap.String("job", b.Item.Job), zap.Int64("number", b.Number), zap.Int64("item", b.Item.ID))
}

// logEnded says that a build has ended now, and how.
func logEnded(log *zap.Logger, b queue.Build) {
	about(log, b).Info("build ended", zap.String("result", string(b.Result)), zap.String("reason", b.Reason),
		zap.Duration("duration", time.Since(b.Started)))
}

// runLogged runs a build with its console log, which is closed, with the result
// as its last line, before the end is recorded: whoever sees that a build has
// ended finds its whole log.
func (c *Controller) runLogged(ctx context.Context, j *definition.Compiled, b queue.Build) (queue.Result, string) {
	full := b.Item.Job
	out, err := c.logs.create(full, b.Number, c.opts.LogLimit)
	for c.lacks(ctx, b, err) {
		out, err = c.logs.create(full, b.Number, c.opts.LogLimit)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return queue.Aborted, queue.OneLine(context.Cause(ctx).Error()+", while there was no room for a console log", maxReason)
	case err != nil:
		about(c.logger(), b).Error("build not started: no log", zap.Error(err))
		return queue.NotBuilt, queue.OneLine("the console log cannot be written: "+err.Error(), maxReason)
	}
	c.queue.logBegun(b.Item.ID) // who waits for the log can have it
	shipped := c.ship(ctx, b)
	for _, cause := range b.Item.Causes {
		for range min(cause.Count, maxCauseLines) {
			out.Line(cause.String())
		}
		if cause.Count > maxCauseLines {
			out.Line(fmt.Sprintf("%s (%d times in all)", cause, cause.Count))
		}
	}
	if b.Item.MoreCauses > 0 {
		out.Line(fmt.Sprintf("Started by %d more triggers", b.Item.MoreCauses))
	}
	result := checked(c.execute(ctx, j, b, out))
	b.Result, b.Reason = queue.Result(result.Outcome), result.Reason
	for _, line := range b.LastLines() {
		out.Line(line)
	}
	if err := out.Close(); err != nil {
		about(c.logger(), b).Error("console log is not complete", zap.Error(err))
	}
	shipped()
	return b.Result, b.Reason
}

// lacks waits a moment and says true if it was for want of something that there
// may be later, such as room on the disk or a database, that a build could not go on: what
// was accepted must not end for that. Once ctx has ended it says false.
func (c *Controller) lacks(ctx context.Context, b queue.Build, err error) bool {
	if !runner.Scarce(err) && !errors.Is(err, queue.ErrStorage) {
		return false
	}
	c.logger().Warn("build waits for what the system lacks", zap.String("job", b.Item.Job), zap.Int64("number", b.Number), zap.Error(err))
	again := time.NewTimer(runner.ScarceRetry)
	defer again.Stop()
	select {
	case <-again.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// maxReason bounds the reason of a result, in bytes.
const maxReason = 1000

// checked returns a result that the queue can record, whatever the runner returned:
// one of the known outcomes, since an empty one would mean a build that runs for
// ever, and a reason of one line, or none for a success.
func checked(r runner.Result) runner.Result {
	switch r.Outcome {
	case runner.Success:
		return runner.Result{Outcome: runner.Success}
	case runner.Unstable, runner.Failure, runner.Aborted, runner.NotBuilt:
		return runner.Result{Outcome: r.Outcome, Reason: queue.OneLine(r.Reason, maxReason)}
	}
	return runner.Result{Outcome: runner.Failure, Reason: queue.OneLine(fmt.Sprintf("the runner gave an unknown result %.100q", r.Outcome), maxReason)}
}

// maxCauseLines is how often the log repeats a cause that came again and again.
const maxCauseLines = 5

// execute prepares what the build needs and hands it to its runner.
func (c *Controller) execute(ctx context.Context, j *definition.Compiled, b queue.Build, out *console.Writer) runner.Result {
	notBuilt := func(err error) runner.Result {
		return runner.Result{Outcome: runner.NotBuilt, Reason: err.Error()}
	}
	if j == nil {
		return notBuilt(errors.New("the job is not in the configuration any more"))
	}
	values, err := c.vault.Open(b.Item.Job, b.Item.Values)
	if err != nil {
		return notBuilt(err)
	}
	err = c.uploads.fetch(ctx, b.Item.Values)
	for c.lacks(ctx, b, err) {
		err = c.uploads.fetch(ctx, b.Item.Values)
	}
	if err != nil && ctx.Err() == nil {
		return notBuilt(err)
	}
	poll := func() { out.Line("Waiting for a poll of the job to leave the workspace") }
	workspace, leave, err := c.spaces.enter(ctx, b.Item.Job, poll)
	for c.lacks(ctx, b, err) {
		workspace, leave, err = c.spaces.enter(ctx, b.Item.Job, poll)
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
		ctx, cancel = context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("timed out after %v", *timeout))
		defer cancel()
	}
	return c.guarded(ctx, j, c.describe(j, b, values, workspace), out)
}

// guarded runs the build, and turns a panic of a runner, which may be anybody's,
// into a failed build: the server has others to run.
func (c *Controller) guarded(ctx context.Context, j *definition.Compiled, b runner.Build, out io.Writer) (result runner.Result) {
	defer func() {
		if r := recover(); r != nil {
			c.logger().Error("runner panicked", zap.String("job", b.Job), zap.Int64("number", b.Number), zap.Any("panic", r), zap.Stack("stack"))
			result = runner.Result{Outcome: runner.Failure, Reason: "the runner broke; the server's log says more"}
		}
	}()
	return j.Runner.Run(ctx, b, out)
}

// describe returns the build as its runner sees it.
func (c *Controller) describe(j *definition.Compiled, b queue.Build, values []job.Value, workspace string) runner.Build {
	described := runner.Describe(j.Job, b, values, runner.Place{Node: c.opts.Node, Workspace: workspace})
	for i, v := range values {
		if v.Ref != "" {
			described.Params[i].File = c.uploads.path(v.Ref)
		}
	}
	return described
}

// ended cleans up after a build whose end is on record.
func (c *Controller) ended(ctx context.Context, b queue.Build) {
	c.stats.ended(b)
	c.removeUploads(b)
	oldest, err := c.queue.Oldest(ctx, b.Item.Job)
	if err == nil {
		err = c.swept.below(c.logs.Store, b.Item.Job, oldest)
	}
	if err == nil && c.logs.keeper != nil {
		err = c.logs.keeper.DropLogs(ctx, b.Item.Job, oldest)
	}
	if err != nil {
		c.logger().Warn("logs of dropped builds could not be removed", zap.String("job", b.Item.Job), zap.Error(err))
	}
}

// removeUploads removes the files that a build was triggered with.
func (c *Controller) removeUploads(b queue.Build) {
	for _, v := range b.Item.Values {
		if v.Ref != "" {
			c.uploads.removeRef(v.Ref)
		}
	}
}
