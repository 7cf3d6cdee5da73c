package build

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// reaper is a runner whose builds can outlive the server that ran them, and
// that can find and end them.
type reaper interface {
	// Reap ends what is left of a build whose server died. It returns when that
	// is gone or ctx ends, with the number of processes that it found.
	Reap(ctx context.Context, b runner.Build) (found int, err error)
}

// reapTime bounds how long Reap takes.
const reapTime = 15 * time.Second

// Reap ends what is left of lost builds, before new ones can meet it in their
// workspaces. jobOf returns the job with a full name; nil if the configuration
// does not have it. Its builds are left alone then: how they were run is not
// known. Reap returns after 15 s at most.
func (h *Host) Reap(ctx context.Context, log *zap.Logger, lost []queue.Build, jobOf func(full string) *Job) {
	ctx, cancel := context.WithTimeout(ctx, reapTime)
	defer cancel()
	var builds sync.WaitGroup
	for _, b := range lost {
		j := jobOf(b.Item.Job)
		if j == nil {
			continue
		}
		if r, ok := j.Runner.(reaper); ok {
			builds.Go(func() { h.reap(ctx, about(log, b), r, j, b) }) // waited for below
		}
	}
	builds.Wait()
}

func (h *Host) reap(ctx context.Context, log *zap.Logger, r reaper, j *Job, b queue.Build) {
	// Which of the job's workspaces it had is not on record.
	workspaces, err := h.spaces.of(b.Item.Job)
	if errors.Is(err, fs.ErrNotExist) {
		return // no build has ever begun
	}
	if err != nil {
		log.Warn("processes of a lost build could not be searched for", zap.Error(err))
	}
	for _, workspace := range workspaces {
		var found int
		panicked := guard(log, "runner", func() { found, err = r.Reap(ctx, h.describe(j, b, nil, workspace)) })
		if err := errors.Join(panicked, err); err != nil {
			log.Warn("processes of a lost build could not be ended", zap.Error(err))
		}
		if found > 0 {
			log.Info("ended processes of a lost build", zap.Int("processes", found))
		}
	}
}

// ShipLost copies to the keeper what earlier processes of this server left of
// the logs of lost builds. The caller must call it before it records the end of
// these builds. What cannot be copied is missing at the end of the log.
func (h *Host) ShipLost(ctx context.Context, log *zap.Logger, lost []queue.Build) {
	if h.logs.keeper == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, shipTime)
	defer cancel()
	for _, b := range lost {
		r, err := h.logs.Open(job.PathElement(b.Item.Job), b.Number)
		if errors.Is(err, console.ErrNotFound) {
			continue // nothing was written, or it is another server's
		}
		if err == nil {
			err = console.Ship(ctx, h.logs.keeper, r, b.Item.Job, b.Number, false) // the reason of the end follows
			_ = r.Close()                                                          // only read
		}
		if err == nil || errors.Is(err, queue.ErrNotRunning) { // another server has ended it
			err = h.logs.Remove(job.PathElement(b.Item.Job), b.Number)
		}
		if err != nil {
			about(log, b).Warn("log of a lost build ends early", zap.Error(err))
		}
	}
}

// EndLost writes the last lines of a lost build's log, unless the keeper has
// done that, removes its uploads, and logs its end. The caller must call it
// after it recorded the end of the build.
func (h *Host) EndLost(log *zap.Logger, b queue.Build) {
	if h.logs.keeper == nil {
		err := h.logs.Append(job.PathElement(b.Item.Job), b.Number, b.LastLines()...)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, console.ErrNotFound) {
			about(log, b).Warn("log of a lost build could not be ended", zap.Error(err))
		}
	}
	h.RemoveUploads(b.Item.Values)
	logEnded(log, b)
}
