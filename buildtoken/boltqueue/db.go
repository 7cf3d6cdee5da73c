package boltqueue

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/atomicfile"
)

// ErrLocked is returned when another process has the file open.
var ErrLocked = errors.New("boltqueue: file is used by another process")

// ErrForeign is returned when the file is not a queue, is damaged, or was written by
// a newer program. A file that fails the first inspection is left unchanged. One whose
// records turn out to be damaged afterwards may have been compacted, with the same content.
var ErrForeign = errors.New("boltqueue: not a usable queue file")

// retryAfter is the pause between two attempts to reopen the file, and between two
// attempts to write while commits fail.
const retryAfter = time.Second

// probeAtMost is the longest pause between two attempts to write without a request, which
// find out that the disk has room again. It starts with retryAfter and doubles.
const probeAtMost = 30 * time.Second

// Options configure a queue. Path is required.
type Options struct {
	// Path is the file. Its directory must exist.
	Path string
	// Limit is the maximum number of queued items over all jobs; 0 means no limit. It
	// applies until [DB.SetRules] sets another one.
	Limit int
	// MaxKiB limits the size of the parameters of all queued items, in KiB; 0
	// means 256 MiB. Items whose parameters take less than one KiB do not count. An item
	// that was queued before the file was opened counts with the size of its whole record,
	// including its causes.
	MaxKiB int
	// LockTimeout is how long Open waits for another process to release the
	// file. Zero means 1s; it cannot be disabled.
	LockTimeout time.Duration
	// Log receives failed commits and the recovery from them, records that cannot be read,
	// compactions, lost builds, and notifications that are given up because too many wait.
	// Nil discards all of this.
	Log *zap.Logger
	// Commit commits every transaction except the one that creates a new file; nil
	// means (*bolt.Tx).Commit. Fault tests replace it.
	Commit func(*bolt.Tx) error
	// SyncDir makes the name of a new file, or of one that replaces another, durable; nil means that of the operating
	// system. Fault tests replace it.
	SyncDir func(dir string) error
}

// DB is a queue in a file. Its methods are safe for concurrent use. Callers must not
// modify returned values, which share slices with the queue.
type DB struct {
	opts     Options
	requests chan request
	changed  chan struct{}
	notified chan struct{}
	stop     chan struct{}
	stopped  chan struct{}
	closing  sync.Once

	// mu guards the following: readers use db while the holder of the turn may replace it.
	mu   sync.RWMutex
	db   *opened // nil: closed
	down error   // why the file cannot be read now

	// turn is full while a goroutine holds the turn. That goroutine owns the rest.
	turn     chan struct{}
	mem      *memory
	taken    []request // of the last batch
	answers  []error   // to them
	batch    batch     // the last one
	enc      *encoder
	limit    int
	flush    *time.Timer // runs while counts wait for a commit
	flushing bool        // whether flush is set
	retry    *time.Timer // runs while the file is broken or writes are paused
	broken   error       // why the file can be neither read nor written now
	paused   error       // why nothing is written now; reads work
	retryAt  time.Time   // when broken or paused is tried again
	failing  bool        // the last commit failed
	// While writes are refused, the file is written at probeAt even if no request does, and
	// probeAfter after the next failure.
	probeAt    time.Time
	probeAfter time.Duration
	revert     []write // what a failed batch may have left visible
	failed     uint64  // the number of that batch

	// failures counts the commits that failed. A backup that runs then ends, because reopen
	// waits for it.
	failures atomic.Int64
	// refusal is why writes are refused: it is set while the file is broken or writes are paused,
	// and then until one has succeeded.
	refusal atomic.Pointer[error]

	commitFailed, reopenFailed, reopened rate.Sometimes // at most one log line a second each
}

// Open opens the queue in a file and creates the file if it does not exist.
// If the file exists but is not a usable queue, the error wraps [ErrForeign].
//
// Builds that were running when the file was last used are still recorded as
// running; call [DB.Reclaim] before the first [DB.Claim].
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
	if opts.SyncDir == nil {
		opts.SyncDir = atomicfile.SyncDir
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
		notified: make(chan struct{}, 1),
		stop:     make(chan struct{}),
		stopped:  make(chan struct{}),
		turn:     make(chan struct{}, 1),
		enc:      newEncoder(),
		flush:    time.NewTimer(flushAfter),
		retry:    time.NewTimer(retryAfter),

		commitFailed: rate.Sometimes{Interval: time.Second},
		reopenFailed: rate.Sometimes{Interval: time.Second},
		reopened:     rate.Sometimes{Interval: time.Second},
	}
	q.flush.Stop()
	q.retry.Stop()
	go q.loop() // Close ends it and waits for it
	if len(mem.outbox.waiting) > 0 {
		signal(q.notified)
	}
	return q, nil
}

// Close answers the requests that were accepted, writes what is not yet durable, and
// closes the file. Later calls of any method return queue.ErrClosed. Close may be
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
	if err := q.db.Close(); err != nil { // a second one does nothing
		return fmt.Errorf("boltqueue: close %s: %w", q.opts.Path, err)
	}
	return nil
}

// Changed receives a value after a commit that may have moved the next due instant
// earlier, freed a lane, or recorded a request to stop a build, and after new
// rules. It holds one value, which may stand for several changes.
func (q *DB) Changed() <-chan struct{} { return q.changed }

// Refuses returns why triggers are refused, such as a full disk, or nil. After a refusal it
// returns nil only once a write has succeeded again.
func (q *DB) Refuses() error {
	if why := q.refusal.Load(); why != nil {
		return *why
	}
	return nil
}

// reopen reads the file again after a failed commit. Until that succeeds, broken
// stays set.
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
			// It stays open: its content may exist nowhere else.
			q.broken = fmt.Errorf("%w: %w", queue.ErrStorage, err)
			q.down = q.broken
			q.reopenFailed.Do(func() {
				q.opts.Log.Error("queue file was moved or removed; triggers are refused until it is back or this process restarts",
					zap.String("path", q.opts.Path), zap.Error(err))
			})
			return
		}
		_ = q.db.Close() // if it keeps its lock, the next line fails, which is logged
		q.db = nil
	}
	db, mem, err := reopen(q.opts, q.failed, q.revert)
	if err != nil {
		q.broken = fmt.Errorf("%w: %w", queue.ErrStorage, err)
		q.down = q.broken
		q.reopenFailed.Do(func() {
			q.opts.Log.Error("cannot read queue file again; triggers are refused until it can be read", zap.String("path", q.opts.Path), zap.Error(err))
		})
		return
	}
	if !q.mem.configured.IsZero() {
		mem.configure(q.mem.configured, q.mem.config)
	}
	mem.nextID = max(mem.nextID, q.mem.nextID)
	mem.outbox.leased = q.mem.outbox.leased
	q.db, q.mem, q.broken, q.down, q.revert = db, mem, nil, nil, nil
	q.reopened.Do(func() {
		q.opts.Log.Info("queue file was read again", zap.String("path", q.opts.Path), zap.Int("items", len(mem.byID)))
	})
}

// resume ends the pause after failed commits once its time is over.
func (q *DB) resume() {
	if q.paused != nil && !time.Now().Before(q.retryAt) {
		q.paused = nil
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
