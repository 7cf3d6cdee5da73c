package buildtoken

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// reaper is a runner whose builds may outlive the server that ran them, and
// that can find and end them.
type reaper interface {
	// Reap ends what is left of a build whose server died, and returns when it
	// is gone or ctx ends. It says how much it found.
	Reap(ctx context.Context, b runner.Build) (found int, err error)
}

// reapTime bounds how long the first configuration waits for what is left of lost builds.
const reapTime = 15 * time.Second

// lostReason is what the record and the log of a build say whose process died.
const lostReason = "lost: the server stopped while the build was running"

// reclaim ends the builds that ran when the queue was last used. What is left of
// them is ended before they are recorded: a server that dies in between leaves
// them on record, and the next one looks for them again.
func (c *Controller) reclaim(ctx context.Context, e *effective) error {
	lost, err := c.queue.Lost(ctx)
	if err == nil {
		c.reap(ctx, e, lost)
		c.shipLost(ctx, e.Log, lost)
		lost, err = c.queue.Reclaim(ctx, time.Now(), lostReason)
	}
	if err != nil {
		return fmt.Errorf("buildtoken: end lost builds: %w", err)
	}
	for _, b := range lost {
		c.closeLost(e.Log, b)
	}
	return nil
}

// closeLost ends the log of a build that was lost, unless the queue has done
// that, removes its uploads, and says so.
func (c *Controller) closeLost(log *zap.Logger, b queue.Build) {
	if c.logs.keeper == nil {
		err := c.logs.Append(job.PathElement(b.Item.Job), b.Number, b.LastLines()...)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, console.ErrNotFound) {
			about(log, b).Warn("log of a lost build could not be ended", zap.Error(err))
		}
	}
	c.removeUploads(b)
	logEnded(log, b)
}

// reap ends what is left of lost builds, before new ones can meet it in their
// workspaces. A build of a job that the configuration doesn't have is left
// alone: nothing says how it was run.
func (c *Controller) reap(ctx context.Context, e *effective, lost []queue.Build) {
	ctx, cancel := context.WithTimeout(ctx, reapTime)
	defer cancel()
	var builds sync.WaitGroup
	for _, b := range lost {
		j := e.jobs[b.Item.Job]
		if j == nil {
			continue
		}
		if r, ok := j.Runner.(reaper); ok {
			builds.Go(func() { c.reapBuild(ctx, e.Log, r, j, b) }) // waited for below
		}
	}
	builds.Wait()
}

func (c *Controller) reapBuild(ctx context.Context, log *zap.Logger, r reaper, j *definition.Compiled, b queue.Build) {
	log = log.With(zap.String("job", b.Item.Job), zap.Int64("number", b.Number))
	// Which of the job's workspaces it had is not on record.
	workspaces, err := c.spaces.of(b.Item.Job)
	if errors.Is(err, fs.ErrNotExist) {
		return // then no build ever began
	}
	if err != nil {
		log.Warn("what is left of a lost build could not be looked for", zap.Error(err))
		return
	}
	for _, workspace := range workspaces {
		found, err := r.Reap(ctx, c.describe(j, b, nil, workspace))
		if err != nil {
			log.Warn("what is left of a lost build could not be ended", zap.Error(err))
		}
		if found > 0 {
			log.Info("ended what was left of a lost build", zap.Int("processes", found))
		}
	}
}
