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
	// pollEvery is how often a log of another server is looked at while somebody waits for more of it and nobody has
	// told that there is more.
	pollEvery = 500 * time.Millisecond
	// blockSize is how much of a log is read from the keeper at a time, and keepBlocks how much of one log is kept in
	// memory while it has readers: those at the end of a live log all want the same.
	blockSize  = 128 << 10
	keepBlocks = 8
)

// Shared has the logs of all servers. All methods may be called at the same time.
type Shared struct {
	keeper Keeper

	mu sync.Mutex // mu guards the following
	// tails are the logs that have readers.
	tails map[key]*tail
}

// NewShared returns the logs that a keeper has.
func NewShared(keeper Keeper) *Shared { return &Shared{keeper: keeper, tails: map[key]*tail{}} }

// Open returns a reader of a log, live or complete, or [ErrNotFound]. job is the full name. However many readers a log
// has, the keeper is asked once for what is new. The caller closes the reader.
func (s *Shared) Open(ctx context.Context, job string, number int64) (*Reader, error) {
	k := key{job, number}
	s.mu.Lock()
	t := s.tails[k]
	if t == nil {
		t = &tail{keeper: s.keeper, key: k}
		s.tails[k] = t
	}
	t.readers++
	s.mu.Unlock()
	r := &Reader{&shared{tail: t, leave: sync.OnceFunc(func() { s.leave(t) })}}
	t.stale.Store(true)
	if err := t.refresh(ctx); err != nil {
		_ = r.Close() // never fails
		return nil, fmt.Errorf("open log %d of %q: %w", number, job, err)
	}
	return r, nil
}

func (s *Shared) leave(t *tail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.readers--; t.readers == 0 {
		delete(s.tails, t.key)
	}
}

// Wake has those look who wait for more of the logs of some jobs.
func (s *Shared) Wake(jobs ...string) {
	if len(jobs) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, t := range s.tails {
		if slices.Contains(jobs, k.job) {
			t.poke()
		}
	}
}

// WakeAll has all look who wait.
func (s *Shared) WakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tails {
		t.poke()
	}
}

// shared is the place of one reader at a tail.
type shared struct {
	*tail
	leave func()
}

// Close implements [source].
func (s *shared) Close() error {
	s.leave()
	return nil
}

// tail is a log of the keeper with all who read it here.
type tail struct {
	progress
	keeper Keeper
	key    key
	// readers is the Shared's.
	readers int
	// stale says that there may be more than progress says.
	stale atomic.Bool

	// asking is held by the one who asks how long the log is.
	asking sync.Mutex
	asked  time.Time

	reading sync.Mutex // reading guards the following
	// blocks are parts of the log, that which was used last at the end.
	blocks []block
}

// block is a part of a log, as far as it has been read. What is there never changes.
type block struct {
	at    int64
	bytes []byte
}

// poke has all look who wait.
func (t *tail) poke() {
	t.stale.Store(true)
	t.changed.Notify()
}

// refresh asks how long the log is, unless somebody else has just done it.
func (t *tail) refresh(ctx context.Context) error {
	t.asking.Lock()
	defer t.asking.Unlock()
	if _, complete := t.state(); complete || !t.stale.Swap(false) {
		return nil
	}
	t.asked = time.Now()
	size, complete, err := t.keeper.LogState(ctx, t.key.job, t.key.number)
	if errors.Is(err, queue.ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err != nil {
		return err
	}
	if before, _ := t.state(); size < before {
		t.forget() // what comes there may be something else
	}
	t.set(size, complete)
	return nil
}

// overdue says whether nobody has asked for a while.
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
		if err := t.refresh(ctx); errors.Is(err, ErrNotFound) {
			t.end() // the build was dropped, and its log with it
		}
		// After another error, such as that of a database which is away for a moment, the next poll asks again.
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

// part gives bytes from offset on: up to most, not beyond the block they are in, none if there are none.
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
		n, err = t.keeper.ReadLog(context.Background(), t.key.job, t.key.number, at+int64(have), more) // it has a limit
		b.bytes = append(b.bytes, more[:n]...)
	}
	t.blocks = append(t.blocks, b)
	if err != nil {
		return nil, fmt.Errorf("console: read: %w", err)
	}
	return b.bytes[min(from, len(b.bytes)):min(need, len(b.bytes))], nil
}

// forget drops what is in memory.
func (t *tail) forget() {
	t.reading.Lock()
	defer t.reading.Unlock()
	t.blocks = nil
}

var _ source = (*shared)(nil)
