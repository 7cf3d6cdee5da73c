package boltqueue_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// A caller that gives up while its trigger is being written gets the outcome. Otherwise it
// would report that nothing was queued although an item was.
func TestCallerThatGivesUpGetsTheOutcome(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	synctest.Test(t, func(t *testing.T) {
		goOn, d := make(chan struct{}), &disk{}
		q := open(t, boltqueue.Options{Path: path, Commit: d.commit(goOn)})
		d.next(heldForever)
		ctx, giveUp := context.WithCancel(t.Context())
		var it queue.Item
		var err error
		var caller sync.WaitGroup
		caller.Go(func() { it, _, err = q.Schedule(ctx, start, request("a", "1")) })
		synctest.Wait()
		giveUp()
		synctest.Wait()
		if _, _, err := q.Schedule(ctx, start, request("a", "2")); !errors.Is(err, context.Canceled) {
			t.Errorf("Schedule by a caller that gave up before: %v, want %v", err, context.Canceled)
		}
		close(goOn)
		caller.Wait()
		if err != nil || it.ID != 1 {
			t.Errorf("Schedule = %v, %v; want item 1, which is queued", it, err)
		}
		if entries, err := q.Items(t.Context(), start, "", 10); err != nil || len(entries) != 1 {
			t.Errorf("items %v, %v; want one", entries, err)
		}
	})
}

// A reader that gives up does not wait for a commit, and neither does a caller whose trigger was
// not accepted yet. That trigger is never accepted.
func TestCallersThatGiveUpDoNotWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	synctest.Test(t, func(t *testing.T) {
		goOn, d := make(chan struct{}), &disk{}
		q := open(t, boltqueue.Options{Path: path, Commit: d.commit(goOn)})
		d.next(heldForever)
		var callers sync.WaitGroup
		callers.Go(func() { schedule(t, q, request("held", "k")) })
		synctest.Wait()
		enough := errors.New("enough")
		ctx, giveUp := context.WithCancelCause(t.Context())
		answers := make(chan error, 2)
		callers.Go(func() { _, err := laneOf(ctx, q, "held"); answers <- err })
		synctest.Wait() // the first one that waits is accepted
		callers.Go(func() { _, _, err := q.Schedule(ctx, start, request("late", "k")); answers <- err })
		synctest.Wait()
		giveUp(enough)
		synctest.Wait()
		if len(answers) != 2 {
			t.Errorf("%d of the callers that gave up have an answer, want both", len(answers))
		}
		close(goOn)
		callers.Wait()
		for range 2 {
			if err := <-answers; !errors.Is(err, enough) {
				t.Errorf("a caller that gave up got %v, want %v", err, enough)
			}
		}
		if l, err := laneOf(t.Context(), q, "late"); err != nil || l.Queued != 0 {
			t.Errorf("lane %+v, %v; want nothing queued", l, err)
		}
	})
}
