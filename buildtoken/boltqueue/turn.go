package boltqueue

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// maxBatch is how many requests share one commit.
const maxBatch = 256

// flushAfter is how long a higher count of causes may wait for a commit that
// happens anyway, before it gets one of its own.
const flushAfter = time.Second

// request is one thing to do with the queue.
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

// ask has a request served and waits for its answer. Who finds nobody at work
// takes the turn and serves itself, which saves two changes of goroutine; who
// doesn't hands the request to the loop.
//
// If ctx ends before anybody has taken the request, nothing was or will be done. After
// that, who wants something changed hears what became of it, and only who looks
// may give up: a caller that gave up could be told that nothing happened when it
// did. No more than a batch of callers waits so.
func (q *DB) ask(ctx context.Context, r request) error {
	if ctx.Err() != nil {
		return fmt.Errorf("boltqueue: %w", context.Cause(ctx))
	}
	if r.done == nil {
		r.done = make(chan error, 1)
	}
	select {
	case q.turn <- struct{}{}:
		defer q.pass()
		if q.closed {
			return queue.ErrClosed
		}
		q.serve(r)
		return <-r.done
	default:
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

// pass ends the turn. The next one is that of whoever waits longest for it.
func (q *DB) pass() { <-q.turn }

// loop serves those who found somebody at work, and does what only time asks for.
func (q *DB) loop() {
	defer close(q.stopped)
	for {
		select {
		case r := <-q.requests:
			q.turn <- struct{}{}
			q.serve(r)
		case <-q.flush.C:
			q.turn <- struct{}{}
			q.flushing = false
			q.serve()
		case <-q.retry.C:
			q.turn <- struct{}{}
			q.serve()
		case <-q.stop:
			q.turn <- struct{}{}
			q.retryAt = time.Time{} // the last chance to take back what failed
			q.serve()
			q.closed = true
			q.pass()
			return
		}
		q.pass()
	}
}

// drain adds the requests that wait at this instant.
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

// serve decides a request, and with it all that wait if it has to be written;
// commits once, and answers. Without a request it writes what waits for a commit.
// The caller has the turn.
//
// What panics is an answer too: whoever serves a request of HTTP would recover from it
// above, and the others of the batch would wait for ever.
func (q *DB) serve(first ...request) {
	wasBroken := q.broken != nil
	if wasBroken {
		q.reopen()
	}
	clear(q.taken) // or it holds on to what callers handed in
	q.taken, q.answers = append(q.taken[:0], first...), q.answers[:0]
	wake := wasBroken && q.broken == nil
	if q.broken == nil {
		wake = q.transact() || wake
	} else {
		q.drain()
		for range q.taken {
			q.answers = append(q.answers, q.broken)
		}
	}
	for i, r := range q.taken {
		switch {
		case r.set != nil:
			q.answers[i] = guard(q.opts.Path, func() error {
				r.set(q.mem)
				return nil
			})
			wake = true
		case r.look == nil:
		case q.broken != nil:
			q.answers[i] = q.broken // memory may hold what was never written
		default:
			q.answers[i] = guard(q.opts.Path, func() error { return r.look(q.mem) })
		}
	}
	q.arm()
	if wake { // before the answers: who has one finds Changed set
		select {
		case q.changed <- struct{}{}:
		default:
		}
	}
	for i, r := range q.taken {
		r.done <- q.answers[i] // has room for one: never waits
	}
}

// arm has the loop come back when time asks for it.
func (q *DB) arm() {
	if waits := len(q.mem.unsaved) > 0; waits != q.flushing {
		if q.flushing = waits; waits {
			q.flush.Reset(flushAfter)
		} else {
			q.flush.Stop()
		}
	}
	if q.broken != nil {
		q.retry.Reset(time.Until(q.retryAt))
	}
}

// transact decides and commits one batch. If that fails, every decision of the
// batch has failed.
func (q *DB) transact() (wake bool) {
	q.enc.reset() // nothing of the last batch is needed any more
	b := &batch{
		mem: q.mem, db: q.db.DB, limit: q.limit, maxKiB: q.opts.MaxKiB, enc: q.enc, log: q.opts.Log,
		firstID: q.mem.nextID, flush: len(q.taken) == 0,
	}
	err := guard(q.opts.Path, func() error {
		q.decide(b)
		return q.commit(b)
	})
	if b.tx != nil {
		_ = b.tx.Rollback() // after a commit it does nothing; else nothing was to be written, or the error that counts is err
	}
	if err == nil {
		return b.wake
	}
	q.broken = fmt.Errorf("%w: %w", queue.ErrStorage, err)
	for i, r := range q.taken {
		if i == len(q.answers) { // it came to no decision
			q.answers = append(q.answers, nil)
		}
		if r.decide != nil && (q.answers[i] == nil || answersFirst(q.answers[i])) {
			q.answers[i] = q.broken
		}
	}
	q.opts.Log.Error("queue file could not be written; nothing is accepted until it was read again",
		zap.String("path", q.opts.Path), zap.Error(err))
	q.revert, q.failed, q.retryAt = b.undo, b.number, time.Time{}
	q.reopen()
	return q.broken == nil
}

// decide decides what was taken and, if something has to be written, what else
// waits, without waiting for more. Callers that are about to ask, and only lack
// a processor, are let through first: the more share a commit, the less each of them
// pays for it. With nobody there, that costs nothing.
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
	if err := q.opts.Commit(b.tx); err != nil {
		return err
	}
	clear(b.saved)
	return nil
}
