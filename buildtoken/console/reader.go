package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// settling is how long a follower that has just received output lets the log grow. Hundreds of followers would keep the
// server busy if each received every line of a busy build separately. Four times a second is enough for readers.
const settling = 250 * time.Millisecond

// Reader reads one log, live or complete. Offsets and sizes are in bytes of the log, wherever it is kept. All methods
// except Close are safe for concurrent use. [Store.Open] and [Shared.Open] return a Reader.
type Reader struct{ from source }

// source is the place of a log.
type source interface {
	// ReadAt is called only for offsets below the size that state returned.
	io.ReaderAt
	io.Closer
	state() (size int64, complete bool)
	wait(ctx context.Context, offset int64) (size int64, complete bool, err error)
	settle(ctx context.Context, d time.Duration) bool
	times(ctx context.Context, from, to int64) ([]Stamp, error)
}

// local is a log in a file of this server.
type local struct {
	*os.File
	*progress
	*stampFile
}

// Close implements [source].
func (l local) Close() error { return errors.Join(l.File.Close(), l.close()) }

// ReadAt implements [io.ReaderAt]. At the current end of the log it returns [io.EOF], even if the log is live. If bytes
// before that end are missing, it returns [io.ErrUnexpectedEOF].
func (r *Reader) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("console: read at %d: negative offset", offset)
	}
	size, _ := r.from.state()
	if offset >= size {
		return 0, io.EOF
	}
	there := p[:min(int64(len(p)), size-offset)]
	n, err := r.from.ReadAt(there, offset)
	switch {
	case n < len(there) && errors.Is(err, io.EOF): // another program has truncated the file
		err = io.ErrUnexpectedEOF
	case err == nil && len(there) < len(p):
		err = io.EOF
	}
	return n, err
}

// Part returns a reader of the bytes from one offset to another, which the log had before.
func (r *Reader) Part(from, to int64) *Part { return &Part{log: r, at: from, to: to} }

// Part is a part of a log. It must not be used concurrently.
type Part struct {
	log    *Reader
	at, to int64
	err    error
}

// Read implements [io.Reader]. If the log does not have all bytes of the part any more, it returns
// [io.ErrUnexpectedEOF]: a database that crashed can lose the end of a live log.
func (p *Part) Read(b []byte) (int, error) {
	if p.at >= p.to || p.err != nil {
		return 0, cmp.Or(p.err, io.EOF)
	}
	n, err := p.log.ReadAt(b[:min(int64(len(b)), p.to-p.at)], p.at)
	p.at += int64(n)
	if p.err = err; errors.Is(err, io.EOF) { // the log is shorter than the part
		p.err = io.ErrUnexpectedEOF
	}
	return n, p.err
}

// Err returns the error that ended the part early, nil if none did. So a caller of [io.Copy] can tell it from one of the
// other end.
func (p *Part) Err() error { return p.err }

// Size returns how many bytes were written so far.
func (r *Reader) Size() int64 {
	size, _ := r.from.state()
	return size
}

// Complete reports whether the log is complete. If both matter, call it before [Reader.Size]: the size of a complete log
// does not change any more. [Reader.Wait] returns both for one instant.
func (r *Reader) Complete() bool {
	_, complete := r.from.state()
	return complete
}

// Shared reports whether the log is written by other servers. Until it is complete, an offset behind its end can come
// from such a server, which has more of the log.
func (r *Reader) Shared() bool {
	_, is := r.from.(*shared)
	return is
}

// Wait blocks until the log is longer than offset or complete, and returns both for one instant. If ctx ends first, it
// returns the cause. It does not poll. An offset of -1 returns at once.
func (r *Reader) Wait(ctx context.Context, offset int64) (size int64, complete bool, err error) {
	return r.from.wait(ctx, offset)
}

// Settle lets the log grow for a moment after a reader has received output, so that the next output is sent in one
// piece. It returns early when the log is complete or ctx ends, and reports whether ctx has not ended: if it has, the
// output up to now is the last that was held back.
func (r *Reader) Settle(ctx context.Context) bool { return r.from.settle(ctx, settling) }

// Close releases the file or the memory. It does not interrupt [Reader.Wait].
func (r *Reader) Close() error { return r.from.Close() }

// Follow calls write with all bytes of the log from offset on, in order, as they are written, until the log is complete.
// It returns the offset behind the last byte that write accepted, from which a later call can continue.
//
// Output after a pause is passed on at once, continuous output four times a second. The end of the log is never held
// back; if ctx ends, what was held back is still passed on.
//
// A negative offset means 0. With an offset behind the end, Follow waits until the log is longer. It ends early with the
// error of write, of the disk, or the cause of ctx. The slice is valid only until write returns.
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
				if errors.Is(err, io.EOF) { // the log has become shorter
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
