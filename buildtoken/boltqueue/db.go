package boltqueue

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// ErrLocked says that another process has the file open.
var ErrLocked = errors.New("boltqueue: file is used by another process")

// ErrForeign says that the file is not a queue, is damaged, or was written by
// a newer program. It is left as it is.
var ErrForeign = errors.New("boltqueue: not a usable queue file")

// maxBatch is how many requests share one commit.
const maxBatch = 256

// flushAfter is how long a higher count of causes may wait for a commit that
// happens anyway, before it gets one of its own.
const flushAfter = time.Second

// retryAfter is how often a file that could not be opened again after a
// failed commit is tried.
const retryAfter = time.Second

// Options say how to open a queue. Path is required.
type Options struct {
	// Path is the file. Its folder must exist.
	Path string
	// Limit is how many items may be queued over all jobs; 0 means no limit.
	Limit int
	// MaxKiB is how much the parameters of all queued items may take, in KiB; 0
	// means 256 MiB. Parameters below one KiB do not count.
	MaxKiB int
	// LockTimeout is how long Open waits for another process to let go of the
	// file. Zero means 1s; there is no "for ever".
	LockTimeout time.Duration
	// Log hears of commits that failed and what was done about them. Nil is silent.
	Log *zap.Logger
	// Commit ends every transaction but the one that makes a new file; nil means
	// (*bolt.Tx).Commit. Fault tests put their own here.
	Commit func(*bolt.Tx) error
}

// DB is a queue in a file. All methods may be called concurrently. What they
// return must not be changed: it shares its slices with the queue.
type DB struct {
	opts     Options
	requests chan request
	changed  chan struct{}
	stop     chan struct{}
	stopped  chan struct{}
	closing  sync.Once
	calls    sync.Pool // of Schedule

	// mu guards the following: readers use db while the loop may replace it.
	mu   sync.RWMutex
	db   *opened // nil: closed
	down error   // why it can't be read now

	// The rest is the loop's.
	mem     *memory
	taken   []request // the last batch
	enc     *encoder
	limit   int
	broken  error     // why nothing can be committed now
	retryAt time.Time // when the file is tried again
	revert  []write   // what a failed batch may have left visible
	failed  uint64    // the number of that batch
}

// request is one thing for the loop to do.
type request struct {
	// decide runs before the commit of its batch.
	decide func(*batch) error
	// look runs after it, and sees what the batch did.
	look func(*memory) error
	// set runs after it too, also when nothing can be committed.
	set func(*memory)
	// done has room for one answer; ask makes it if there is none.
	done chan error
}

// Open opens the queue of a file, or makes a new one if there is no file.
// A file that exists and is not a usable queue is an error that wraps
// [ErrForeign], never the beginning of a new queue.
//
// Builds that were running when the file was last used are still running on
// record; call [DB.Reclaim] before the first [DB.Claim].
func Open(opts Options) (*DB, error) {
	if opts.LockTimeout <= 0 {
		opts.LockTimeout = time.Second
	}
	if opts.MaxKiB <= 0 {
		opts.MaxKiB = 256 << 10
	}
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Commit == nil {
		opts.Commit = (*bolt.Tx).Commit
	}
	db, mem, err := open(opts)
	if err != nil {
		return nil, err
	}
	q := &DB{
		opts: opts, db: db, mem: mem, limit: opts.Limit,
		requests: make(chan request),
		changed:  make(chan struct{}, 1),
		stop:     make(chan struct{}),
		stopped:  make(chan struct{}),
		enc:      newEncoder(),
	}
	q.calls.New = func() any { return newCall(&q.calls) }
	go q.loop() // Close ends it and waits for it
	return q, nil
}

// Close answers what was taken, writes what was not yet written, and closes
// the file. Later calls of any method answer queue.ErrClosed. Close may be
// called more than once.
func (q *DB) Close() error {
	q.closing.Do(func() { close(q.stop) })
	<-q.stopped
	q.mu.Lock()
	defer q.mu.Unlock()
	q.down = queue.ErrClosed
	if q.db == nil {
		return nil
	}
	err := q.db.Close()
	q.db = nil
	if err != nil {
		return fmt.Errorf("boltqueue: close %s: %w", q.opts.Path, err)
	}
	return nil
}

// Changed has a value after a commit that may have moved the next due instant
// earlier, freed a lane, or recorded the wish to stop a build, and after new
// rules. It holds one value: who reads it looks at everything.
func (q *DB) Changed() <-chan struct{} { return q.changed }

// loop owns all lanes: nothing else reads or changes memory.
func (q *DB) loop() {
	defer close(q.stopped)
	var flush <-chan time.Time // runs while counts wait for a commit
	var retry <-chan time.Time // runs while the file can't be opened
	for {
		switch {
		case len(q.mem.unsaved) == 0:
			flush = nil
		case flush == nil:
			flush = time.After(flushAfter)
		}
		switch {
		case q.broken == nil:
			retry = nil
		case retry == nil:
			retry = time.After(time.Until(q.retryAt))
		}
		select {
		case r := <-q.requests:
			q.serve(q.take(r))
		case <-flush:
			flush = nil
			q.serve(nil)
		case <-retry:
			retry = nil
			q.serve(nil)
		case <-q.stop:
			q.retryAt = time.Time{} // the last chance to take back what failed
			q.serve(nil)
			return
		}
	}
}

// take gathers what else waits, without waiting for more. Callers that are about
// to ask, and only lack a processor, are let through first: the more share a commit,
// the less each of them pays for it. With nobody there, that costs nothing. The
// batch is good until the next one is taken.
func (q *DB) take(first request) []request {
	clear(q.taken) // or it holds on to what callers handed in
	batch := append(q.taken[:0], first)
	for before := 0; len(batch) > before && len(batch) < maxBatch; runtime.Gosched() {
		before = len(batch)
		batch = q.drain(batch)
	}
	q.taken = batch
	return batch
}

// drain adds the requests that wait at this instant.
func (q *DB) drain(batch []request) []request {
	for len(batch) < maxBatch {
		select {
		case r := <-q.requests:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// serve decides the requests in order, commits once, and answers.
func (q *DB) serve(requests []request) {
	wasBroken := q.broken != nil
	if wasBroken {
		q.reopen()
	}
	answers := make([]error, len(requests))
	wake := wasBroken && q.broken == nil
	if q.broken == nil {
		wake = q.transact(requests, answers) || wake
	} else {
		for i := range requests {
			answers[i] = q.broken
		}
	}
	for i, r := range requests {
		switch {
		case r.set != nil:
			r.set(q.mem)
			answers[i], wake = nil, true
		case r.look == nil:
		case q.broken != nil:
			answers[i] = q.broken // memory may hold what was never written
		default:
			answers[i] = r.look(q.mem)
		}
	}
	if wake { // before the answers: who has one finds Changed set
		select {
		case q.changed <- struct{}{}:
		default:
		}
	}
	for i, r := range requests {
		r.done <- answers[i] // has room for one: never waits
	}
}

// transact decides and commits one batch. If that fails, every decision of the
// batch has failed.
func (q *DB) transact(requests []request, answers []error) (wake bool) {
	q.enc.reset() // nothing of the last batch is needed any more
	b := &batch{mem: q.mem, db: q.db.DB, limit: q.limit, maxKiB: q.opts.MaxKiB, enc: q.enc, log: q.opts.Log, firstID: q.mem.nextID, flush: len(requests) == 0}
	err := guard(q.opts.Path, func() error {
		for i, r := range requests {
			if r.decide != nil {
				answers[i] = b.decide(r.decide)
			}
		}
		return q.commit(b)
	})
	if b.tx != nil {
		_ = b.tx.Rollback() // after a commit it does nothing; else nothing was to be written, or the error that counts is err
	}
	if err == nil {
		return b.wake
	}
	q.broken = fmt.Errorf("%w: %w", queue.ErrStorage, err)
	for i, r := range requests {
		if r.decide != nil && (answers[i] == nil || answersFirst(answers[i])) {
			answers[i] = q.broken
		}
	}
	q.opts.Log.Error("queue file could not be written; nothing is accepted until it was read again",
		zap.String("path", q.opts.Path), zap.Error(err))
	q.revert, q.failed, q.retryAt = b.undo, b.number, time.Time{}
	q.reopen()
	return q.broken == nil
}

// commit makes the batch durable, if there is anything to write.
func (q *DB) commit(b *batch) error {
	if err := b.finish(); err != nil {
		return err
	}
	if !b.writes() {
		return nil
	}
	if err := q.db.inPlace(q.opts.Path); err != nil {
		return err
	}
	if err := q.opts.Commit(b.tx); err != nil {
		return err
	}
	clear(b.saved)
	return nil
}

// reopen takes memory from the file again after a failed commit. Until it has
// worked, broken stays set.
func (q *DB) reopen() {
	now := time.Now()
	if now.Before(q.retryAt) {
		return
	}
	q.retryAt = now.Add(retryAfter)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.db != nil {
		if err := q.db.inPlace(q.opts.Path); err != nil {
			// It stays open: nothing else may have what is in it any more.
			q.broken = fmt.Errorf("%w: %w", queue.ErrStorage, err)
			q.down = q.broken
			q.opts.Log.Error("queue file is not in its place; nothing is accepted until it is back, or this process is restarted",
				zap.String("path", q.opts.Path), zap.Error(err))
			return
		}
		if err := q.db.Close(); err != nil {
			q.opts.Log.Warn("queue file could not be closed", zap.String("path", q.opts.Path), zap.Error(err))
		}
		q.db = nil
	}
	db, mem, err := reopen(q.opts, q.failed, q.revert)
	if err != nil {
		q.broken = fmt.Errorf("%w: %w", queue.ErrStorage, err)
		q.down = q.broken
		q.opts.Log.Error("queue file could not be read again", zap.String("path", q.opts.Path), zap.Error(err))
		return
	}
	mem.rule(q.mem.rules)
	mem.nextID = max(mem.nextID, q.mem.nextID)
	q.db, q.mem, q.broken, q.down, q.revert = db, mem, nil, nil, nil
	q.opts.Log.Info("queue file was read again", zap.String("path", q.opts.Path), zap.Int("items", len(mem.byID)))
}

// ask hands the loop a request and waits for its answer. If ctx ends before the
// loop has taken it, nothing was or will be done. After that, who wants something
// changed hears what became of it, and only who looks may give up: a caller
// that gave up could be told that nothing happened when it did. No more than a
// batch of callers waits so.
func (q *DB) ask(ctx context.Context, r request) error {
	if ctx.Err() != nil {
		return fmt.Errorf("boltqueue: %w", context.Cause(ctx))
	}
	if r.done == nil {
		r.done = make(chan error, 1)
	}
	select {
	case q.requests <- r:
	case <-q.stopped:
		return queue.ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("boltqueue: %w", context.Cause(ctx))
	}
	if r.look == nil {
		return <-r.done
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("boltqueue: %w", context.Cause(ctx))
	}
}

// view runs a read-only transaction.
func (q *DB) view(read func(*bolt.Tx) error) error {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if q.down != nil {
		return q.down
	}
	return guard(q.opts.Path, func() error { return q.db.View(read) })
}
