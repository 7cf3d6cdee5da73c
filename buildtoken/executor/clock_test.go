package executor_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/executor"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// setClock is a queue whose clock differs from that of the pool. For the pool that is the same
// as if its own clock were set: the time until due instants changes, and its timers do not
// notice.
type setClock struct {
	*fakeQueue

	// ahead is guarded by mu.
	ahead sync.Mutex
	by    time.Duration
}

func (q *setClock) set(by time.Duration) {
	q.ahead.Lock()
	defer q.ahead.Unlock()
	q.by += by
}

func (q *setClock) Claim(ctx context.Context, now time.Time, node queue.Node, executors []int) ([]queue.Build, time.Time, error) {
	q.ahead.Lock()
	by := q.by
	q.ahead.Unlock()
	builds, next, err := q.fakeQueue.Claim(ctx, now.Add(by), node, executors)
	if !next.IsZero() {
		next = next.Add(-by)
	}
	return builds, next, err
}

// queue adds an item that is due after a delay by the current clock.
func (q *setClock) queue(job string, delay time.Duration) {
	q.ahead.Lock()
	by := q.by
	q.ahead.Unlock()
	q.add(job, delay+by)
}

// startsAfter requires that a build starts after exactly that time.
func (q *setClock) startsAfter(t *testing.T, d time.Duration) {
	t.Helper()
	time.Sleep(d - 1)
	wantRunning(t, q.fakeQueue, 0)
	time.Sleep(time.Nanosecond)
	wantRunning(t, q.fakeQueue, 1)
}

func TestClockThatIsSet(t *testing.T) {
	const late = time.Minute // a sleeping pool notices at most this late that the clock was set
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, q *setClock)
	}{
		{"forward: what has become due by it starts within a minute", func(t *testing.T, q *setClock) {
			q.queue("a", 2*time.Hour)
			synctest.Wait()
			q.set(3 * time.Hour)
			time.Sleep(late)
			wantRunning(t, q.fakeQueue, 1)
		}},
		{"forward, but not far enough: nothing starts early", func(t *testing.T, q *setClock) {
			q.queue("a", 2*time.Hour)
			synctest.Wait()
			q.set(time.Hour)
			q.startsAfter(t, time.Hour)
		}},
		{"back: what waits is due by the clock, and starts then", func(t *testing.T, q *setClock) {
			q.queue("a", 10*time.Second)
			synctest.Wait()
			q.set(-3 * time.Hour)
			q.startsAfter(t, 3*time.Hour+10*time.Second)
		}},
		{"back: what comes later waits as long as it should", func(t *testing.T, q *setClock) {
			q.queue("a", 10*time.Second)
			synctest.Wait()
			q.set(-3 * time.Hour)
			q.queue("b", 10*time.Second)
			q.startsAfter(t, 10*time.Second)
		}},
		{"back and right again: what waits starts within a minute of its instant", func(t *testing.T, q *setClock) {
			q.queue("a", 10*time.Second)
			synctest.Wait()
			q.set(-3 * time.Hour)
			time.Sleep(time.Hour)
			wantRunning(t, q.fakeQueue, 0)
			q.set(3 * time.Hour)
			time.Sleep(late)
			wantRunning(t, q.fakeQueue, 1)
		}},
		{"forward and right again: what came between waits by the right clock, for hours and not for ever", func(t *testing.T, q *setClock) {
			q.set(3 * time.Hour)
			q.queue("a", 10*time.Second)
			synctest.Wait()
			q.set(-3 * time.Hour)
			q.startsAfter(t, 3*time.Hour+10*time.Second)
		}},
		{"to and fro a hundred times: each item starts once", func(t *testing.T, q *setClock) {
			for n := range 100 {
				q.queue("job"+string(rune('a'+n%26)), time.Duration(n)*time.Minute)
				q.set(time.Duration(n%7-3) * time.Hour)
				time.Sleep(time.Second)
			}
			time.Sleep(40 * time.Hour)
			synctest.Wait()
			q.mu.Lock()
			defer q.mu.Unlock()
			if len(q.builds) != 100 || len(q.items) != 0 {
				t.Errorf("%d builds, %d items are left, want 100 and none", len(q.builds), len(q.items))
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &setClock{fakeQueue: newQueue()}
				p := executor.Start(q, takes(2*time.Minute), executor.Options{Executors: 30})
				defer p.Stop(time.Minute)
				tt.do(t, q)
			})
		})
	}
}
