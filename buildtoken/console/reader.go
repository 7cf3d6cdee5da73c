package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// settling is how long a follower that was just given something lets the log grow. Hundreds of them would be busy with
// nothing else if each was given every line of a busy build on its own; nobody reads faster than four times a second.
const settling = 250 * time.Millisecond

// Reader reads one log, live or complete. Offsets and sizes are in bytes of the log, wherever it is kept. Its methods
// may be called at the same time, Close last. Open one with [Store.Open] or [Shared.Open].
type Reader struct{ from source }

// source is where a log is kept.
type source interface {
	// ReadAt is only asked for what state has said is there.
	io.ReaderAt
	io.Closer
	state() (size int64, complete bool)
	wait(ctx context.Context, offset int64) (size int64, complete bool, err error)
	settle(ctx context.Context, d time.Duration) bool
}

// local is a log in a file of this server.
type local struct {
	*os.File
	*progress
}

// ReadAt is [io.ReaderAt] over what was written so far: at the end it gives [io.EOF], even if more will come.
func (r *Reader) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("console: read at %d: negative offset", offset)
	}
	size, _ := r.from.state()
	if offset >= size {
		return 0, io.EOF
	}
	if size-offset < int64(len(p)) {
		n, err := r.from.ReadAt(p[:size-offset], offset)
		if err == nil {
			err = io.EOF
		}
		return n, err
	}
	return r.from.ReadAt(p, offset)
}

// Size returns how many bytes were written so far.
func (r *Reader) Size() int64 {
	size, _ := r.from.state()
	return size
}

// Complete reports whether no more will come. Ask it before [Reader.Size] if both matter: the size of a complete log
// does not change any more. [Reader.Wait] gives both of one instant.
func (r *Reader) Complete() bool {
	_, complete := r.from.state()
	return complete
}

// Shared reports whether the log is read where other servers write it. Until it is complete, an offset behind its end
// may be one that such a server gave, which knows more.
func (r *Reader) Shared() bool {
	_, is := r.from.(*shared)
	return is
}

// Wait returns when the log is longer than offset or complete, with both facts of one instant, or when ctx ends, with
// its cause. It costs nothing while it waits, also with hundreds of callers. An offset of -1 returns at once.
func (r *Reader) Wait(ctx context.Context, offset int64) (size int64, complete bool, err error) {
	return r.from.wait(ctx, offset)
}

// Settle lets the log grow for a moment after what was there has been given to somebody, so that what comes then can be
// given at once. It returns early when the log is complete or ctx ends, and says whether ctx goes on: if not, what the log
// has now is the last that was held back.
func (r *Reader) Settle(ctx context.Context) bool { return r.from.settle(ctx, settling) }

// Close releases the file or what is in memory. It does not wake who is in [Reader.Wait]; their context does.
func (r *Reader) Close() error { return r.from.Close() }

// Follow gives write all bytes of the log from offset on, in order, as they come, until the log is complete and all of
// it was given. It returns the offset behind the last byte that write took without an error, to go on from later.
//
// What comes after a silence is given at once, and what a build writes without a pause four times a second. The end of
// the log is never held back, and when ctx ends, write is still given what was.
//
// A negative offset means 0; with one behind the end nothing is given until the log is longer than that. Follow ends
// early with the error of write, of the disk, or the cause of ctx. The slice is only good until write returns.
func Follow(ctx context.Context, r *Reader, offset int64, write func([]byte) error) (int64, error) {
	offset = max(offset, 0)
	buf := make([]byte, 32<<10)
	for last := false; ; {
		size, complete, err := r.Wait(ctx, offset)
		if err != nil {
			return offset, err
		}
		for offset < size {
			if ctx.Err() != nil && !last {
				return offset, context.Cause(ctx)
			}
			n, err := r.ReadAt(buf[:min(int64(len(buf)), size-offset)], offset)
			if n == 0 && err != nil {
				if errors.Is(err, io.EOF) { // somebody cut the file short behind our back
					err = io.ErrUnexpectedEOF
				}
				return offset, fmt.Errorf("console: follow: %w", err)
			}
			if err := write(buf[:n]); err != nil {
				return offset, err
			}
			offset += int64(n)
		}
		switch {
		case complete:
			return offset, nil
		case last:
			return offset, context.Cause(ctx)
		}
		last = !r.Settle(ctx)
	}
}

var (
	_ io.ReaderAt = (*Reader)(nil)
	_ source      = local{}
)
