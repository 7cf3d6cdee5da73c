package boltqueue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// maxBatch is the maximum number of requests that share one commit.
const maxBatch = 256

// flushAfter is how long a higher count of causes waits for another commit to share
// before it gets a commit to itself.
const flushAfter = time.Second

// request is one operation on the queue. Exactly one of decide, look and set is not nil.
type request struct {
	// decide runs before the commit of its batch. If it returns an error, it must have changed
	// nothing: the changes of a decision are committed even if it fails.
	decide func(*batch) error
	// look runs after the commit and sees what the batch did. It must not change anything
	// that is also on disk. If it changes memory, its caller must pass ask a ctx that never
	// ends, because look still runs after ask has returned early.
	look func(*memory)
	// set runs after the commit, even when nothing can be committed.
	set func(*memory)
	// done receives the answer, and has room for one; nil if the caller runs the request itself.
	done chan error
}

// ask serves a request and returns its answer. If the turn is free, ask runs the
// request on the calling goroutine, which saves two context switches. Otherwise it
// hands the request to the loop.
//
// If ctx ends before the request is accepted, nothing was or will be done. After
// that, ask waits for the outcome of a request that changes something: a caller that
// gave up could report that nothing happened although it did. At most one batch of
// callers waits like this. A request that only reads may be abandoned at any time.
func (q *DB) ask(ctx context.Context, r request) error {
	if ctx.Err() != nil {
		return fmt.Errorf("boltqueue: %w", context.Cause(ctx))
	}
	select {
	case q.turn <- struct{}{}:
		defer q.pass()
		q.serve(r)
		return q.answers[0]
	default:
	}
	r.done = make(chan error, 1)
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

// look runs a request that only reads memory, and returns what read returns. read must not
// write to variables of the caller: it still runs after look has returned because ctx ended.
func look[T any](ctx context.Context, q *DB, read func(*memory) T) (T, error) {
	var found T
	if err := q.ask(ctx, request{look: func(m *memory) { found = read(m) }}); err != nil {
		var none T
		return none, err // found may still be written
	}
	return found, nil
}

// pass releases the turn. Only loop ever waits for it.
func (q *DB) pass() { <-q.turn }

// loop serves the requests of callers that found the turn taken, and does what is due
// by time: writing counts, and retrying after a failure. Close ends it.
func (q *DB) loop() {
	defer close(q.stopped)
	for {
		select {
		case r := <-q.requests:
			q.turn <- struct{}{}
			q.serve(r)
		case <-q.flush.C:
			q.turn <- struct{}{}
			q.flushing = false // arm sets it again if the commit fails
			q.serve()
		case <-q.retry.C:
			q.turn <- struct{}{}
			q.serve()
		case <-q.stop:
			q.turn <- struct{}{}
			q.retryAt = time.Time{} // the last chance to revert what failed
			q.serve()
			return // with the turn, so that nothing is served any more
		}
		q.pass()
	}
}

// drain accepts the requests that wait at this instant.
func (q *DB) drain() {
	for len(q.taken) < maxBatch {
		select {
		case r := <-q.requests:
			q.taken = append(q.taken, r)
		default:
			return
		}
	}
}

// serve decides a request, and if it has to be written also those that wait; commits
// once, and answers. Without a request it writes what waits for a commit. The caller
// must hold the turn; the answer to its request is the first of q.answers.
//
// A panic becomes an answer too: an HTTP server would recover it further up, and the
// other callers of the batch would wait for ever.
func (q *DB) serve(first ...request) {
	refused := q.broken != nil || q.paused != nil
	if q.broken != nil {
		q.reopen()
	}
	q.resume()
	clear(q.taken) // so that it does not retain what callers passed in
	q.taken, q.answers = append(q.taken[:0], first...), q.answers[:0]
	wake := false
	if refusal := cmp.Or(q.broken, q.paused); refusal == nil {
		probe := len(first) == 0 && q.Refuses() != nil && !time.Now().Before(q.probeAt)
		wake = q.transact(probe) || refused && q.paused == nil
	} else {
		q.drain()
		for range q.taken {
			q.answers = append(q.answers, refusal)
		}
	}
	for i, r := range q.taken {
		switch {
		case r.set != nil:
			q.answers[i] = q.contain(func() error {
				r.set(q.mem)
				return nil
			})
			wake = true
		case r.look == nil:
		case q.broken != nil:
			q.answers[i] = q.broken // memory may hold what was never written
		default:
			q.answers[i] = q.contain(func() error {
				r.look(q.mem)
				return nil
			})
		}
	}
	switch refusal := cmp.Or(q.broken, q.paused); {
	case refusal != nil:
		q.refusal.Store(new(refusal))
	case !q.failing && q.refusal.Load() != nil:
		q.refusal.Store(nil)
	}
	q.arm()
	if wake { // before the answers, so that a caller with an answer finds Changed set
		signal(q.changed)
	}
	for i, r := range q.taken {
		if r.done != nil {
			r.done <- q.answers[i] // has room for one: never waits
		}
	}
}

// signal puts a value into a channel that holds one, unless it has one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// arm sets the timers that wake the loop.
func (q *DB) arm() {
	if waits := len(q.mem.unsaved) > 0; waits != q.flushing {
		if q.flushing = waits; waits {
			q.flush.Reset(flushAfter)
		} else {
			q.flush.Stop()
		}
	}
	switch {
	case q.broken != nil, q.paused != nil:
		q.retry.Reset(time.Until(q.retryAt))
	case q.Refuses() != nil:
		q.retry.Reset(time.Until(q.probeAt))
	}
}

// transact decides and commits one batch, and reports whether that may let something
// start. If it fails, every decision of the batch has failed. A probe writes even if nothing
// has changed.
func (q *DB) transact(probe bool) (wake bool) {
	q.enc.reset() // nothing of the last batch is needed any more
	b := &q.batch
	*b = batch{
		mem: q.mem, db: q.db.DB, path: q.opts.Path, limit: q.limit, maxKiB: q.opts.MaxKiB, enc: q.enc, log: q.opts.Log,
		firstID: q.mem.nextID, flush: len(q.taken) == 0, probe: probe,
	}
	err := q.contain(func() error {
		q.decide(b)
		return q.commit(b)
	})
	if b.tx != nil {
		_ = guard(q.opts.Path, b.tx.Rollback) // after a commit it does nothing; otherwise nothing was to be written, or err is the error that counts
	}
	if err == nil {
		q.failing = q.failing && !b.writes()
		if b.notify {
			signal(q.notified)
		}
		return b.wake
	}
	q.broken = fmt.Errorf("%w: %w", queue.ErrStorage, err)
	for i, r := range q.taken {
		if i == len(q.answers) { // it was not decided
			q.answers = append(q.answers, nil)
		}
		if r.decide != nil { // even an error may follow from what the batch did before
			q.answers[i] = q.broken
		}
	}
	q.failures.Add(1)
	q.commitFailed.Do(func() {
		q.opts.Log.Error("cannot write queue file; its last batch is reverted", zap.String("path", q.opts.Path), zap.Error(err))
	})
	refusal := q.broken
	q.revert, q.failed, q.retryAt = b.undo, b.number, time.Time{}
	q.reopen()
	again := q.failing
	q.failing = true
	q.probeAfter = min(max(2*q.probeAfter, retryAfter), probeAtMost)
	if !again {
		q.probeAfter = retryAfter
	}
	q.probeAt = time.Now().Add(q.probeAfter)
	if q.broken == nil && again {
		// The file can be read, but was not written twice in a row, as on a full disk:
		// the next attempt has to wait, or every caller that is woken tries at once.
		q.paused = refusal
		return false
	}
	return q.broken == nil
}

// contain runs f and turns a panic into an error: a bug must not cost the other
// callers of the batch their answers. Panics over a damaged file do not get here;
// [guard] converts those where the file is read.
func (q *DB) contain(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			q.opts.Log.Error("panic in the queue; please report it", zap.Any("panic", r), zap.Stack("stack"))
			err = fmt.Errorf("%w: %v", errPanic, r)
		}
	}()
	return f()
}

// errPanic is returned to a caller whose request made the program panic.
var errPanic = errors.New("boltqueue: internal error")

// decide decides what was accepted and, if something has to be written, also the
// requests that wait, without waiting for more. It first yields the processor to
// callers that are about to ask: the more of them share a commit, the less each one
// pays for it. With no other caller, yielding costs nothing.
func (q *DB) decide(b *batch) {
	for len(q.answers) < len(q.taken) {
		for _, r := range q.taken[len(q.answers):] {
			var answer error
			if r.decide != nil {
				answer = b.decide(r.decide)
			}
			q.answers = append(q.answers, answer)
		}
		if b.writes() {
			runtime.Gosched()
			q.drain()
		}
	}
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
	if err := guard(q.opts.Path, func() error { return q.opts.Commit(b.tx) }); err != nil {
		return err
	}
	clear(q.mem.unsaved) // finish has written them
	for _, id := range b.released {
		delete(q.mem.outbox.leased, id)
	}
	return nil
}
