package boltqueue

import (
	"errors"
	"fmt"
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

	// mu guards the following: readers use db while who has the turn may replace it.
	mu   sync.RWMutex
	db   *opened // nil: closed
	down error   // why it can't be read now

	// turn is full while somebody is at work; the rest is theirs.
	turn     chan struct{}
	mem      *memory
	taken    []request // the last batch
	answers  []error   // to it
	enc      *encoder
	limit    int
	flush    *time.Timer // runs while counts wait for a commit
	flushing bool        // it runs
	retry    *time.Timer // runs while the file can't be opened
	broken   error       // why nothing can be committed now
	retryAt  time.Time   // when the file is tried again
	revert   []write     // what a failed batch may have left visible
	failed   uint64      // the number of that batch
	closed   bool
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
		turn:     make(chan struct{}, 1),
		enc:      newEncoder(),
		flush:    time.NewTimer(flushAfter),
		retry:    time.NewTimer(retryAfter),
	}
	q.flush.Stop()
	q.retry.Stop()
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

// view runs a read-only transaction.
func (q *DB) view(read func(*bolt.Tx) error) error {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if q.down != nil {
		return q.down
	}
	return guard(q.opts.Path, func() error { return q.db.View(read) })
}
