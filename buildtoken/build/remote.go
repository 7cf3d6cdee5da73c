package build

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// Remote reports whether builds of the job only follow work on another system.
func (j *Job) Remote() bool {
	_, ok := j.Runner.(runner.Remote)
	return ok
}

// remotes are the builds that can be resumed after a restart of this server.
type remotes struct {
	// mu guards the following.
	mu       sync.Mutex
	detached bool
	saved    map[*remote]bool
}

// remote is one such build. Its context ends with cancel.
type remote struct{ cancel context.CancelCauseFunc }

// add is called once the handle of a build is durable. It reports false if the builds were detached before: then the
// context of this one has ended.
func (r *remotes) add(b *remote) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.saved == nil {
		r.saved = map[*remote]bool{}
	}
	r.saved[b] = true
	if r.detached {
		b.cancel(runner.ErrDetached)
	}
	return !r.detached
}

// left reports whether a build whose context is ctx has ended here only to be resumed later.
func (r *remotes) left(ctx context.Context, b *remote) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.saved[b] && errors.Is(context.Cause(ctx), runner.ErrDetached)
}

func (r *remotes) remove(b *remote) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.saved, b)
}

// Detach ends the builds here that can be resumed after a restart, without stopping their work on other systems. Their
// [Host.Run] returns an empty result. Builds that save a handle later are ended then.
func (h *Host) Detach() {
	h.remotes.mu.Lock()
	defer h.remotes.mu.Unlock()
	h.remotes.detached = true
	for b := range h.remotes.saved {
		b.cancel(runner.ErrDetached)
	}
}

// resumable lets the runner of a remote build store a handle.
func (h *Host) resumable(ctx context.Context, r *remote, b queue.Build, described *runner.Build) {
	described.Handle = b.Handle
	described.Save = func(handle []byte) error {
		if err := h.opts.SetHandle(context.WithoutCancel(ctx), b.Item.Job, b.Number, slices.Clone(handle)); err != nil {
			return fmt.Errorf("save the handle of a build: %w", err)
		}
		h.remotes.add(r)
		return nil
	}
}

// resume continues the log of a build that an earlier process started. Offsets are the same on every server. So if the
// keeper has more of the log than this server, its copy is fetched first: the build may come from another server, or a
// power failure may have taken the end of the file.
func (l logs) resume(ctx context.Context, full string, number, limit int64) (*console.Writer, error) {
	element := job.PathElement(full)
	if l.keeper != nil {
		kept, err := l.keeper.LogState(ctx, full, number)
		if err != nil && !errors.Is(err, queue.ErrNotFound) {
			return nil, err
		}
		r, err := l.Open(element, number)
		missing := errors.Is(err, console.ErrNotFound)
		short := err == nil && r.Size() < kept.Size
		if err == nil {
			_ = r.Close() // only its size counts
		}
		if short {
			if err := l.Remove(element, number); err != nil {
				return nil, err
			}
		}
		if missing || short {
			if err := l.fetch(ctx, full, number); err != nil {
				return nil, err
			}
		}
	}
	return l.Resume(element, number, limit)
}

// fetch copies a log from the keeper to this server. If it fails, what was copied is too short, and
// resume fetches it again.
func (l logs) fetch(ctx context.Context, full string, number int64) error {
	w, err := l.Create(job.PathElement(full), number, 0)
	if err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for offset := int64(0); err == nil; {
		var n int
		n, err = l.keeper.ReadLog(ctx, full, number, 0, offset, buf)
		if n == 0 {
			break
		}
		offset += int64(n)
		_, _ = w.Copy(buf[:n]) // Close returns the first error
	}
	return errors.Join(err, w.Close())
}
