package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// shipTime bounds one attempt to copy the rest of a log to the keeper. Each
// attempt continues where the last one stopped.
const shipTime = 10 * time.Second

// ship copies the log of a build to the keeper while it grows. The caller must
// call shipped when the log is complete. It blocks until the keeper has all of
// it, or until that is not possible now; [Host.CompleteLog] copies the rest then.
// With now, shipped stops copying and must be called before the log is closed.
func (h *Host) ship(ctx context.Context, b queue.Build) (shipped func(now bool)) {
	if h.logs.keeper == nil {
		return func(bool) {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // a stopped build has a log too
	var shipper sync.WaitGroup
	shipper.Go(func() { // shipped waits for it
		log := about(h.opts.Log(), b)
		r, err := h.logs.Open(job.PathElement(b.Item.Job), b.Number)
		if err != nil {
			log.Warn("console log cannot be read", zap.Error(err))
			return
		}
		defer func() { _ = r.Close() }() // only read
		for logged := false; ; {
			err := console.Ship(ctx, h.logs.keeper, r, b.Item.Job, b.Number, true)
			if err == nil || ctx.Err() != nil || errors.Is(err, queue.ErrNotRunning) || errors.Is(err, queue.ErrClosed) {
				return
			}
			if !logged {
				log.Warn("console log cannot be copied to the queue; trying again", zap.Error(err))
				logged = true
			}
			if !r.Settle(ctx) || r.Complete() {
				return
			}
		}
	})
	return func(now bool) {
		if now {
			cancel()
		}
		limit := time.AfterFunc(shipTime, cancel)
		shipper.Wait()
		limit.Stop()
		cancel()
	}
}

// shipPart copies what there is of the log of a build that will be resumed, perhaps
// by another server. What cannot be copied is missing there.
func (h *Host) shipPart(ctx context.Context, b queue.Build) {
	if h.logs.keeper == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shipTime)
	defer cancel()
	r, err := h.logs.Open(job.PathElement(b.Item.Job), b.Number)
	if err == nil {
		err = console.Ship(ctx, h.logs.keeper, r, b.Item.Job, b.Number, false)
		_ = r.Close() // only read
	}
	if err != nil {
		about(h.opts.Log(), b).Warn("a part of a log could not be copied to the queue", zap.Error(err))
	}
}

// CompleteLog copies what the keeper does not have yet of a build's log. The
// caller must call it before it records the end of the build, and not record
// the end if it returns an error, which is temporary. A log that cannot be read
// ends with lines that say so, because a build must end.
func (h *Host) CompleteLog(ctx context.Context, b queue.Build) error {
	if h.logs.keeper == nil {
		return nil
	}
	full, number := b.Item.Job, b.Number
	ctx, cancel := context.WithTimeout(ctx, shipTime)
	defer cancel()
	r, err := h.logs.Open(job.PathElement(full), number)
	if err == nil {
		err = console.Ship(ctx, h.logs.keeper, r, full, number, true)
		_ = r.Close() // only read
	}
	switch {
	case err == nil, errors.Is(err, console.ErrNotFound), errors.Is(err, queue.ErrNotRunning), errors.Is(err, queue.ErrNotFound):
		return nil
	case ctx.Err() != nil, errors.Is(err, queue.ErrStorage), errors.Is(err, queue.ErrClosed):
		return fmt.Errorf("build: log of %s #%d: %w", full, number, err)
	}
	about(h.opts.Log(), b).Error("console log is not complete", zap.Error(err))
	kept, err := h.logs.keeper.LogState(ctx, full, number)
	if err == nil {
		text := "\n[the rest is missing: the file of the log can't be read]\n"
		for _, line := range b.LastLines() {
			text += line + "\n"
		}
		_, err = h.logs.keeper.AppendLog(ctx, full, number, kept.Size, []byte(text), true)
	}
	return err
}

// RemoveLogFile removes this server's file of a log that the keeper has. The
// caller must call it after it recorded the end of the build.
func (h *Host) RemoveLogFile(b queue.Build) {
	if h.logs.keeper == nil {
		return
	}
	if err := h.logs.Remove(job.PathElement(b.Item.Job), b.Number); err != nil && !errors.Is(err, fs.ErrNotExist) {
		about(h.opts.Log(), b).Warn("file of a log could not be removed", zap.Error(err))
	}
}
