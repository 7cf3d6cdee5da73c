package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

const (
	// pollEvery is how often the state of a log of another server is read while it has waiters and no notice arrives.
	pollEvery = 500 * time.Millisecond
	// blockSize is how many bytes of a log are read from the keeper at a time. keepBlocks is how many blocks of one log
	// are kept in memory while it has readers: those at the end of a live log all need the same.
	blockSize  = 128 << 10
	keepBlocks = 8
)

// ErrGone is returned to a follower of a log whose build is not on record any more: the queue was set back to an earlier
// time, or so many builds came after it that it was dropped before it was read.
var ErrGone = errors.New("console: the build of this log is not on record any more")

// Shared reads the logs of all servers. All methods are safe for concurrent use.
type Shared struct {
	keeper Keeper

	mu sync.Mutex // mu guards the following
	// tails are the logs that have readers.
	tails map[key]*tail
}

// NewShared returns the logs of a keeper.
func NewShared(keeper Keeper) *Shared { return &Shared{keeper: keeper, tails: map[key]*tail{}} }

// Open returns a reader of a log, live or complete, or [ErrNotFound]. job is the full name. New output is read from the
// keeper once, however many readers a log has. The caller must close the reader.
func (s *Shared) Open(ctx context.Context, job string, number int64) (*Reader, error) {
	t := s.enter(key{job, number})
	t.stale.Store(true)
	err := t.refresh(ctx)
	if errors.Is(err, ErrGone) { // what other readers follow; the number is that of another build now
		s.leave(t)
		t = s.enter(t.key)
		t.stale.Store(true)
		err = t.refresh(ctx)
	}
	if err != nil {
		s.leave(t)
		return nil, fmt.Errorf("open log %d of %q: %w", number, job, err)
	}
	return &Reader{&shared{tail: t, leave: sync.OnceFunc(func() { s.leave(t) })}}, nil
}

// enter returns the tail of a log for one more reader.
func (s *Shared) enter(k key) *tail {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tails[k]
	if t == nil || t.gone.Load() {
		t = &tail{keeper: s.keeper, key: k}
		s.tails[k] = t
	}
	t.readers++
	return t
}

func (s *Shared) leave(t *tail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.readers--; t.readers == 0 && s.tails[t.key] == t {
		delete(s.tails, t.key)
	}
}

// Wake wakes the waiters of the logs of some jobs.
func (s *Shared) Wake(jobs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, t := range s.tails {
		if slices.Contains(jobs, k.job) {
			t.poke()
		}
	}
}

// WakeAll wakes all waiters.
func (s *Shared) WakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tails {
		t.poke()
	}
}

// shared is one reader of a tail.
type shared struct {
	*tail
	leave func()
}

// Close implements [source].
func (s *shared) Close() error {
	s.leave()
	return nil
}

// tail is a log of the keeper, shared by its readers on this server.
type tail struct {
	progress
	keeper Keeper
	key    key
	// readers is guarded by the mu of Shared.
	readers int
	// stale is set when the log can be longer than progress.
	stale atomic.Bool
	// gone is set once the build of the log is not on record any more.
	gone atomic.Bool

	// asking is held while the state of the log is read from the keeper.
	asking sync.Mutex
	asked  time.Time
	// begun is set by the first state, together with the identity of the build. Neither changes then.
	begun bool
	build int64

	reading sync.Mutex // reading guards the following
	// blocks are parts of the log, the most recently used one last.
	blocks []block
}

// block is a part of a log, as far as it has been read. Its bytes never change.
type block struct {
	at    int64
	bytes []byte
}

// poke wakes all waiters.
func (t *tail) poke() {
	t.stale.Store(true)
	t.changed.Notify()
}

// refresh reads the state of the log from the keeper, unless another reader has just done so. It returns [ErrNotFound]
// if the log was never there, and [ErrGone] if its build is not on record any more.
func (t *tail) refresh(ctx context.Context) error {
	t.asking.Lock()
	defer t.asking.Unlock()
	if t.gone.Load() {
		return ErrGone
	}
	if !t.stale.Swap(false) {
		return nil
	}
	t.asked = time.Now()
	s, err := t.keeper.LogState(ctx, t.key.job, t.key.number)
	missing := errors.Is(err, queue.ErrNotFound)
	switch {
	case t.begun && (missing || err == nil && s.Build != t.build):
		t.gone.Store(true)
		t.end()
		return ErrGone
	case missing:
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case err != nil:
		return err
	case !t.begun:
		t.begun, t.build = true, s.Build
	}
	if before, _ := t.state(); s.Size < before {
		t.forget() // the bytes behind it can differ from now on
	}
	t.set(s.Size, s.Complete)
	return nil
}

// overdue reports whether the state has not been read for a while.
func (t *tail) overdue() bool {
	t.asking.Lock()
	defer t.asking.Unlock()
	return time.Since(t.asked) >= pollEvery
}

// wait implements [source].
func (t *tail) wait(ctx context.Context, offset int64) (size int64, complete bool, err error) {
	poll := time.NewTimer(pollEvery)
	defer poll.Stop()
	for {
		size, complete, changed := t.next()
		if t.gone.Load() {
			return size, complete, ErrGone
		}
		if size > offset || complete {
			return size, complete, nil
		}
		select {
		case <-changed:
		case <-poll.C:
			if t.overdue() {
				t.stale.Store(true)
			}
			poll.Reset(pollEvery)
		case <-ctx.Done():
			return size, false, context.Cause(ctx)
		}
		_ = t.refresh(ctx) // after an error, such as an interruption of the database, the next poll tries again
	}
}

// ReadAt implements [source].
func (t *tail) ReadAt(p []byte, offset int64) (int, error) {
	for n := 0; ; {
		text, err := t.part(offset+int64(n), len(p)-n)
		if err != nil {
			return n, err
		}
		if n += copy(p[n:], text); n == len(p) {
			return n, nil
		}
		if len(text) == 0 {
			return n, io.EOF
		}
	}
}

// part returns bytes from offset on: at most most, not beyond their block, and none at the end.
func (t *tail) part(offset int64, most int) ([]byte, error) {
	at := offset - offset%blockSize
	from := int(offset - at)
	need := min(from+most, blockSize)
	t.reading.Lock()
	defer t.reading.Unlock()
	var b block
	if i := slices.IndexFunc(t.blocks, func(b block) bool { return b.at == at }); i >= 0 {
		b = t.blocks[i]
		t.blocks = slices.Delete(t.blocks, i, i+1)
	} else {
		b.at = at
		t.blocks = t.blocks[max(0, len(t.blocks)-keepBlocks+1):]
	}
	var err error
	if have := len(b.bytes); have < need {
		size, _ := t.state()
		more := make([]byte, max(0, min(size-at, blockSize)-int64(have)))
		var n int
		n, err = t.keeper.ReadLog(context.Background(), t.key.job, t.key.number, t.build, at+int64(have), more) // it has a limit
		b.bytes = append(b.bytes, more[:n]...)
	}
	t.blocks = append(t.blocks, b)
	if errors.Is(err, queue.ErrNotFound) {
		err = ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("console: read: %w", err)
	}
	return b.bytes[min(from, len(b.bytes)):min(need, len(b.bytes))], nil
}

// times implements [source].
func (t *tail) times(ctx context.Context, from, to int64) ([]Stamp, error) {
	return t.keeper.LogTimes(ctx, t.key.job, t.key.number, from, to)
}

// forget drops what is in memory.
func (t *tail) forget() {
	t.reading.Lock()
	defer t.reading.Unlock()
	t.blocks = nil
}

var _ source = (*shared)(nil)
