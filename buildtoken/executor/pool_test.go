package executor_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/executor"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// fakeQueue keeps lanes in memory and decides with package queue, as a backend does. It records
// what happened to each build.
type fakeQueue struct {
	changed chan struct{}

	// mu guards the following.
	mu       sync.Mutex
	lanes    map[string]*queue.Lane
	items    []queue.Item // due first
	builds   map[string]queue.Build
	nextID   int64
	claims   int // how often Claim was called
	finishes int
	// claimErr, finishErr and abortsErr are the errors of the next calls.
	claimErr, finishErr, abortsErr []error
	// claimed runs after a claim is on record and before it is answered.
	claimed func()
	// hangs, if not nil, blocks each claim until it is closed.
	hangs chan struct{}
}

func newQueue() *fakeQueue {
	return &fakeQueue{changed: make(chan struct{}, 1), lanes: map[string]*queue.Lane{}, builds: map[string]queue.Build{}}
}

func (q *fakeQueue) Changed() <-chan struct{} { return q.changed }

func (q *fakeQueue) wake() {
	select {
	case q.changed <- struct{}{}:
	default:
	}
}

// add queues an item that is due after a delay.
func (q *fakeQueue) add(job string, delay time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lane(job).Queued++
	q.nextID++
	q.items = append(q.items, queue.Item{ID: q.nextID, Job: job, Due: time.Now().Add(delay)})
	q.sort()
	q.wake()
}

// join makes the first item of a job due after a delay.
func (q *fakeQueue) join(job string, delay time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.IndexFunc(q.items, func(it queue.Item) bool { return it.Job == job })
	q.items[i].Due = time.Now().Add(delay)
	q.sort()
	q.wake()
}

func (q *fakeQueue) sort() {
	slices.SortFunc(q.items, func(a, b queue.Item) int { return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.ID, b.ID)) })
}

func (q *fakeQueue) lane(job string) *queue.Lane {
	if q.lanes[job] == nil {
		q.lanes[job] = &queue.Lane{Job: job}
	}
	return q.lanes[job]
}

// pop returns the next planned error.
func pop(errs *[]error) error {
	if len(*errs) == 0 {
		return nil
	}
	err := (*errs)[0]
	*errs = (*errs)[1:]
	return err
}

func (q *fakeQueue) Claim(_ context.Context, now time.Time, node queue.Node, executors []int) ([]queue.Build, time.Time, error) {
	q.mu.Lock()
	hangs := q.hangs
	q.mu.Unlock()
	if hangs != nil {
		<-hangs
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.claims++
	if err := pop(&q.claimErr); err != nil {
		return nil, time.Time{}, err
	}
	var builds []queue.Build
	var next time.Time
	blocked := map[string]bool{}
	for i := 0; i < len(q.items); {
		it := q.items[i]
		l := q.lane(it.Job)
		if l.Rules.Remote != node.Remote {
			i++
			continue
		}
		if at := queue.Next(*l, it.Due); blocked[it.Job] || at.IsZero() || at.After(now) {
			if !blocked[it.Job] && !at.IsZero() && (next.IsZero() || at.Before(next)) {
				next = at
			}
			blocked[it.Job] = true
			i++
			continue
		}
		if len(builds) == len(executors) {
			next = it.Due
			break
		}
		change, ok := queue.Claim(now, *l, &it, node, executors[len(builds)])
		if !ok {
			return nil, time.Time{}, errors.New("fake queue: claim refused")
		}
		*l = change.Lane
		q.items = slices.Delete(q.items, i, i+1)
		q.builds[buildName(*change.Build)] = *change.Build
		builds = append(builds, *change.Build)
	}
	if len(builds) > 0 && q.claimed != nil {
		q.claimed()
	}
	return builds, next, nil
}

func (q *fakeQueue) Finish(ctx context.Context, now time.Time, job string, number int64, r queue.Result, reason string) (queue.Build, error) {
	if ctx.Err() != nil {
		return queue.Build{}, fmt.Errorf("fake queue: %w", context.Cause(ctx))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finishes++
	if err := pop(&q.finishErr); err != nil {
		return queue.Build{}, err
	}
	name := fmt.Sprintf("%s #%d", job, number)
	change, err := queue.Finish(now, *q.lane(job), queue.Summary{}, q.builds[name], r, reason)
	if err != nil {
		return queue.Build{}, err
	}
	*q.lane(job) = change.Lane
	q.builds[name] = *change.Build
	q.wake()
	return *change.Build, nil
}

func (q *fakeQueue) Aborts(ctx context.Context) ([]queue.Build, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("fake queue: %w", context.Cause(ctx))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := pop(&q.abortsErr); err != nil {
		return nil, err
	}
	var wished []queue.Build
	for _, b := range q.builds {
		if b.Running() && b.Abort != "" {
			wished = append(wished, b)
		}
	}
	return wished, nil
}

// abort records a request to stop a build.
func (q *fakeQueue) abort(name, by string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.builds[name]
	b.Abort = by
	q.builds[name] = b
	q.wake()
}

func buildName(b queue.Build) string { return fmt.Sprintf("%s #%d", b.Item.Job, b.Number) }

// recorded returns the record of a build.
func (q *fakeQueue) recorded(job string, number int64) queue.Build {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.builds[fmt.Sprintf("%s #%d", job, number)]
}

// ends returns how each build ended, as "app #1 SUCCESS reason".
func (q *fakeQueue) ends() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	var all []string
	for _, name := range slices.Sorted(maps.Keys(q.builds)) {
		b := q.builds[name]
		all = append(all, name+" "+cmp.Or(string(b.Result), "running")+" "+b.Reason)
	}
	return all
}

// running returns how many builds are running on record.
func (q *fakeQueue) running() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, b := range q.builds {
		if b.Running() {
			n++
		}
	}
	return n
}

// takes runs builds that take that long, or until they are stopped.
func takes(d time.Duration) executor.Prepare {
	return unprepared(func(ctx context.Context, _ queue.Build) (queue.Result, string) { return pass(ctx, d) })
}

// pass is a build that takes that long, or until it is stopped.
func pass(ctx context.Context, d time.Duration) (queue.Result, string) {
	select {
	case <-time.After(d):
		return queue.Success, ""
	case <-ctx.Done():
		return queue.Aborted, context.Cause(ctx).Error()
	}
}

// unprepared runs builds that need no preparation.
func unprepared(run func(ctx context.Context, b queue.Build) (queue.Result, string)) executor.Prepare {
	return func(b queue.Build) executor.Run {
		return func(ctx context.Context) (queue.Result, string) { return run(ctx, b) }
	}
}

func wantEnds(t *testing.T, q *fakeQueue, want ...string) {
	t.Helper()
	if diff := gocmp.Diff(want, q.ends()); diff != "" {
		t.Errorf("builds on record (-want +got):\n%s", diff)
	}
}

func wantRunning(t *testing.T, q *fakeQueue, want int) {
	t.Helper()
	synctest.Wait()
	if got := q.running(); got != want {
		t.Errorf("after %v: %d builds run, want %d", time.Now().UTC().Format(time.TimeOnly), got, want)
	}
}

func TestBuildStartsWhenDueAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		p := executor.Start(q, takes(time.Second), executor.Options{Executors: 1})
		defer p.Stop(0)
		q.add("app", 10*time.Second)
		time.Sleep(10*time.Second - 1)
		wantRunning(t, q, 0)
		time.Sleep(time.Nanosecond)
		wantRunning(t, q, 1)
	})
}

// A build uses the configuration that was in force when it was claimed: no other one comes into
// force before Resize has returned.
func TestBuildsArePreparedBeforeResizeReturns(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			q := newQueue()
			var prepared atomic.Int64
			p := executor.Start(q, func(b queue.Build) executor.Run {
				runtime.Gosched() // lets goroutines continue that do not wait for this one
				prepared.Add(1)
				return takes(time.Hour)(b)
			}, executor.Options{Executors: 3})
			defer p.Stop(0)
			for _, name := range []string{"a", "b", "c"} {
				q.add(name, 0)
			}
			p.Resize(0, 0)
			if got, want := int(prepared.Load()), q.running(); got != want {
				t.Errorf("%d builds are prepared, %d are claimed", got, want)
			}
		})
	}
}

func TestAnEarlierDueInstantWakesThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		p := executor.Start(q, takes(time.Hour), executor.Options{Executors: 1})
		defer p.Stop(0)
		q.add("app", time.Hour)
		synctest.Wait()
		q.join("app", 2*time.Second)
		time.Sleep(2*time.Second - 1)
		wantRunning(t, q, 0)
		time.Sleep(time.Nanosecond)
		wantRunning(t, q, 1)
	})
}

func TestLongWaitsAreSleptInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		p := executor.Start(q, takes(time.Hour), executor.Options{Executors: 1})
		defer p.Stop(0)
		q.add("app", 24*time.Hour)
		synctest.Wait()
		// The wall clock is set, which no timer notices. The effect is that of an item that is
		// due earlier, without a notification.
		q.mu.Lock()
		q.items[0].Due = time.Now()
		q.mu.Unlock()
		time.Sleep(time.Minute)
		wantRunning(t, q, 1)
	})
}

func TestIdlePoolSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		p := executor.Start(q, takes(time.Second), executor.Options{Executors: 2})
		defer p.Stop(0)
		q.add("app", 0)
		time.Sleep(time.Minute)
		synctest.Wait()
		before := q.claims
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if got := q.claims - before; got != 0 {
			t.Errorf("an idle pool called Claim %d times in a day, want 0", got)
		}
	})
}

func TestExecutorsBoundRunningBuilds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		var mu sync.Mutex
		used := map[int]bool{}
		run := func(ctx context.Context, b queue.Build) (queue.Result, string) {
			mu.Lock()
			if used[b.Executor] {
				t.Errorf("%s got executor %d, which is in use", buildName(b), b.Executor)
			}
			if b.Executor < 0 || b.Executor > 2 {
				t.Errorf("%s got executor %d of 3", buildName(b), b.Executor)
			}
			used[b.Executor] = true
			mu.Unlock()
			defer func() {
				mu.Lock()
				delete(used, b.Executor)
				mu.Unlock()
			}()
			return pass(ctx, time.Duration(b.Item.ID)*time.Second)
		}
		p := executor.Start(q, unprepared(run), executor.Options{Executors: 3})
		defer p.Stop(0)
		for i := range 20 {
			q.add(fmt.Sprintf("job%02d", i), 0)
		}
		for range 100 {
			synctest.Wait()
			if n := q.running(); n > 3 {
				t.Fatalf("%d builds run on 3 executors", n)
			}
			time.Sleep(time.Second)
		}
		for _, end := range q.ends() {
			if want := end[:len("job00 #1 ")] + "SUCCESS "; end != want {
				t.Errorf("end = %q, want %q", end, want)
			}
		}
	})
}

func TestAFreedLaneStartsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		p := executor.Start(q, takes(3*time.Second), executor.Options{Executors: 2})
		defer p.Stop(0)
		q.add("app", 0)
		q.add("app", 0)
		wantRunning(t, q, 1) // the job is not concurrent
		time.Sleep(3*time.Second - 1)
		wantRunning(t, q, 1)
		time.Sleep(time.Nanosecond)
		wantRunning(t, q, 1)
		wantEnds(t, q, "app #1 SUCCESS ", "app #2 running ")
	})
}

func TestResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		p := executor.Start(q, takes(10*time.Second), executor.Options{})
		defer p.Stop(0)
		for i := range 6 {
			q.add(fmt.Sprintf("job%d", i), 0)
		}
		time.Sleep(time.Hour)
		wantRunning(t, q, 0)
		p.Resize(4, 0)
		wantRunning(t, q, 4)
		p.Resize(1, 0) // running builds are not stopped
		wantRunning(t, q, 4)
		time.Sleep(10 * time.Second)
		wantRunning(t, q, 1)
		p.Resize(-1, 0)
		time.Sleep(10 * time.Second)
		wantRunning(t, q, 0)
		p.Resize(3, 0)
		wantRunning(t, q, 1)
		time.Sleep(10 * time.Second)
		if got := len(q.ends()); got != 6 {
			t.Errorf("%d builds ran, want 6", got)
		}
	})
}

func TestRemoteBuildsTakeNoExecutor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		for i := range 3 {
			q.lane(fmt.Sprintf("remote%d", i)).Rules.Remote = true
		}
		p := executor.Start(q, takes(10*time.Second), executor.Options{Executors: 1, Remote: 2})
		defer p.Stop(0)
		for i := range 3 {
			q.add(fmt.Sprintf("remote%d", i), 0)
			q.add(fmt.Sprintf("local%d", i), 0)
		}
		wantRunning(t, q, 3) // two and one
		wantEnds(t, q, "local0 #1 running ", "remote0 #1 running ", "remote1 #1 running ")
		p.Resize(3, 2)
		wantRunning(t, q, 5)
		time.Sleep(10 * time.Second)
		wantRunning(t, q, 1)
	})
}

func TestAdoptedBuildTakesASlotAndItsEndIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.lane("remote").Rules.Remote = true
		first := executor.Start(q, unprepared(func(ctx context.Context, _ queue.Build) (queue.Result, string) {
			<-ctx.Done()
			return "", "" // it continues on another server
		}), executor.Options{Remote: 1})
		q.add("remote", 0)
		wantRunning(t, q, 1)
		first.Stop(0)
		wantEnds(t, q, "remote #1 running ")

		q.lane("other").Rules.Remote = true
		p := executor.Start(q, takes(time.Second), executor.Options{Remote: 1})
		defer p.Stop(0)
		p.Adopt(q.recorded("remote", 1), func(ctx context.Context) (queue.Result, string) { return pass(ctx, 10*time.Second) })
		q.add("other", 0)
		time.Sleep(10*time.Second - 1)
		wantEnds(t, q, "remote #1 running ") // the other one waits for the slot
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		wantEnds(t, q, "other #1 running ", "remote #1 SUCCESS ")
		time.Sleep(time.Second)
		p.Stop(0)
		p.Adopt(q.recorded("remote", 1), nil) // must return
	})
}

// The remaining builds keep their executors, which can have numbers above the new number of
// executors.
func TestSurplusCountsAfterResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		run := func(ctx context.Context, b queue.Build) (queue.Result, string) {
			return pass(ctx, time.Duration(b.Item.ID)*10*time.Second)
		}
		p := executor.Start(q, unprepared(run), executor.Options{Executors: 3})
		defer p.Stop(0)
		for i := range 4 {
			q.add(fmt.Sprintf("job%d", i), 0)
		}
		wantRunning(t, q, 3)
		p.Resize(2, 0)
		time.Sleep(15 * time.Second) // the first has ended: two are left
		wantRunning(t, q, 2)
		wantEnds(t, q, "job0 #1 SUCCESS ", "job1 #1 running ", "job2 #1 running ")
		time.Sleep(10 * time.Second)
		wantRunning(t, q, 2)
		wantEnds(t, q, "job0 #1 SUCCESS ", "job1 #1 SUCCESS ", "job2 #1 running ", "job3 #1 running ")
	})
}

// A pool that a reload resizes while it stops must not start anything.
func TestResizeDuringStopStartsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		p := executor.Start(q, takes(10*time.Second), executor.Options{Executors: 1})
		q.add("app", 0)
		q.add("other", 0)
		wantRunning(t, q, 1)
		go p.Stop(time.Minute)
		synctest.Wait()
		p.Resize(5, 0)
		wantRunning(t, q, 1)
		p.Stop(0)
		p.Resize(5, 0) // must return
		wantEnds(t, q, "app #1 SUCCESS ")
	})
}

func TestStop(t *testing.T) {
	for _, tt := range []struct {
		name        string
		takes       time.Duration
		grace, want time.Duration
		end         string
	}{
		{"a build that ends in time is left alone", 5 * time.Second, 10 * time.Second, 5 * time.Second, "app #1 SUCCESS "},
		{"a build that takes longer is stopped", time.Hour, 10 * time.Second, 10 * time.Second, "app #1 ABORTED the server was shut down"},
		{"no grace", time.Hour, 0, 0, "app #1 ABORTED the server was shut down"},
		{"negative grace is none", time.Hour, -time.Second, 0, "app #1 ABORTED the server was shut down"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueue()
				p := executor.Start(q, takes(tt.takes), executor.Options{Executors: 1})
				q.add("app", 0)
				q.add("waits", 0)
				q.add("app", 0)
				wantRunning(t, q, 1)
				start := time.Now()
				p.Stop(tt.grace)
				if got := time.Since(start); got != tt.want {
					t.Errorf("Stop took %v, want %v", got, tt.want)
				}
				wantEnds(t, q, tt.end)
				p.Stop(time.Hour) // a second time
				if got := time.Since(start); got != tt.want {
					t.Errorf("after the second Stop %v have passed, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestStopCallsReturnTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		p := executor.Start(q, takes(5*time.Second), executor.Options{Executors: 1})
		q.add("app", 0)
		wantRunning(t, q, 1)
		var stops sync.WaitGroup
		for range 3 {
			stops.Go(func() {
				p.Stop(time.Minute)
				if q.running() != 0 {
					t.Error("Stop returned while a build was running")
				}
			})
		}
		stops.Wait()
	})
}

// The claim is on record when Stop is called: the build must end on record too.
func TestBuildClaimedDuringStopEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.claimed = func() { time.Sleep(time.Minute) } // the disk is slow
		p := executor.Start(q, takes(time.Hour), executor.Options{Executors: 1})
		q.add("app", 0)
		time.Sleep(time.Second)
		p.Stop(time.Second)
		wantEnds(t, q, "app #1 ABORTED the server was shut down")
	})
}

func TestStopWish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		cause := make(chan error, 1)
		run := func(ctx context.Context, b queue.Build) (queue.Result, string) {
			r, reason := pass(ctx, time.Hour)
			cause <- context.Cause(ctx)
			return r, reason
		}
		p := executor.Start(q, unprepared(run), executor.Options{Executors: 2})
		defer p.Stop(0)
		q.add("app", 0)
		q.add("other", 0)
		wantRunning(t, q, 2)
		q.abort("app #1", "user alice")
		synctest.Wait()
		var stopped *executor.StoppedError
		if err := <-cause; !errors.As(err, &stopped) || stopped.By != "user alice" {
			t.Errorf("cause = %v, want a StoppedError by user alice", err)
		}
		wantEnds(t, q, "app #1 ABORTED stopped by user alice", "other #1 running ")
	})
}

func TestCutOffStopsWhatRunsAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		cause := make(chan error, 1)
		run := func(ctx context.Context, b queue.Build) (queue.Result, string) {
			r, reason := pass(ctx, time.Hour)
			if b.Number == 1 {
				cause <- context.Cause(ctx)
			}
			return r, reason
		}
		p := executor.Start(q, unprepared(run), executor.Options{Executors: 1})
		q.add("app", 0)
		wantRunning(t, q, 1)
		p.CutOff()
		synctest.Wait()
		if err := <-cause; !errors.Is(err, executor.ErrCutOff) || !errors.Is(err, runner.ErrDetached) || errors.Is(err, executor.ErrShutdown) {
			t.Errorf("cause = %v, want %v, which detaches remote builds", err, executor.ErrCutOff)
		}
		q.add("app", 0)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		wantEnds(t, q, "app #1 ABORTED the server was cut off from the queue", "app #2 SUCCESS ")
		p.Stop(0)
		p.CutOff() // no builds are left, and it returns
	})
}

// A queue that the server is cut off from does not answer.
func TestCutOffWaitsForNoQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		stopped := make(chan error, 2)
		p := executor.Start(q, unprepared(func(ctx context.Context, _ queue.Build) (queue.Result, string) {
			r, reason := pass(ctx, time.Hour)
			stopped <- context.Cause(ctx)
			return r, reason
		}), executor.Options{Executors: 2})
		q.add("first", 0)
		wantRunning(t, q, 1)
		q.mu.Lock()
		hangs := make(chan struct{})
		q.hangs = hangs
		q.mu.Unlock()
		q.add("second", 0)
		synctest.Wait() // the claim is in progress
		p.CutOff()
		synctest.Wait()
		select {
		case err := <-stopped:
			if !errors.Is(err, executor.ErrCutOff) {
				t.Errorf("cause = %v, want %v", err, executor.ErrCutOff)
			}
		default:
			t.Error("the build goes on")
		}
		close(hangs)
		synctest.Wait()
		p.Stop(0)
		wantEnds(t, q, "first #1 ABORTED the server was cut off from the queue", "second #1 ABORTED the server was cut off from the queue")
	})
}

// The request is recorded after the claim and before the pool knows the build.
func TestStopWishOfABuildThatIsJustClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.claimed = func() {
			b := q.builds["app #1"]
			b.Abort = "user alice"
			q.builds["app #1"] = b
			q.wake()
		}
		p := executor.Start(q, takes(time.Hour), executor.Options{Executors: 1})
		defer p.Stop(0)
		q.add("app", 0)
		synctest.Wait()
		wantEnds(t, q, "app #1 ABORTED stopped by user alice")
	})
}

func TestStopWishIsReadAgainAfterAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		core, logs := observer.New(zap.ErrorLevel)
		p := executor.Start(q, takes(time.Hour), executor.Options{Executors: 1, Log: func() *zap.Logger { return zap.New(core) }})
		defer p.Stop(0)
		q.add("app", 0)
		wantRunning(t, q, 1)
		q.abortsErr = []error{queue.ErrStorage, queue.ErrStorage}
		q.abort("app #1", "user alice")
		time.Sleep(3 * time.Second)
		synctest.Wait()
		wantEnds(t, q, "app #1 ABORTED stopped by user alice")
		if logs.FilterMessageSnippet("requests to stop").Len() != 2 {
			t.Errorf("the operator reads %v, want a line for each of two errors", logs.All())
		}
	})
}

func TestClaimErrorHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.claimErr = []error{queue.ErrStorage, queue.ErrStorage, queue.ErrStorage, queue.ErrStorage}
		core, logs := observer.New(zap.ErrorLevel)
		p := executor.Start(q, takes(time.Hour), executor.Options{Executors: 1, Log: func() *zap.Logger { return zap.New(core) }})
		defer p.Stop(0)
		q.add("app", 0)
		time.Sleep(5 * time.Second)
		wantRunning(t, q, 1)
		if logs.Len() != 4 {
			t.Errorf("%d lines were logged, want one for each of 4 errors", logs.Len())
		}
	})
}

// While the queue fails, events must not cause attempts or log lines.
func TestClaimErrorsAreNoBusyLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const seconds = 10
		q := newQueue()
		q.claimErr = slices.Repeat([]error{queue.ErrStorage}, 1000)
		core, logs := observer.New(zap.ErrorLevel)
		p := executor.Start(q, takes(time.Hour), executor.Options{Executors: 1, Log: func() *zap.Logger { return zap.New(core) }})
		defer p.Stop(0)
		q.add("app", 0)
		for range 10 * seconds {
			q.wake()
			time.Sleep(100 * time.Millisecond)
		}
		q.mu.Lock()
		claims := q.claims
		q.mu.Unlock()
		if claims > seconds+1 || logs.Len() > seconds+1 {
			t.Errorf("%d claims and %d log lines in %d s with ten events a second, want one of each a second", claims, logs.Len(), seconds)
		}
	})
}

func TestEndIsRecordedAgainUntilItIsOnRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		for range 100 {
			q.finishErr = append(q.finishErr, queue.ErrStorage)
		}
		core, logs := observer.New(zap.ErrorLevel)
		p := executor.Start(q, takes(time.Second), executor.Options{Executors: 1, Log: func() *zap.Logger { return zap.New(core) }})
		q.add("app", 0)
		time.Sleep(50 * time.Second)
		wantRunning(t, q, 1) // on record, and its executor is still taken
		lines := logs.FilterMessageSnippet("trying again").FilterField(zap.String("job", "app")).Len()
		if lines < 10 || lines > 50 {
			t.Errorf("%d lines in 50 s, want at most one a second", lines)
		}
		q.add("other", 0)
		wantRunning(t, q, 1)
		time.Sleep(time.Minute)
		synctest.Wait()
		p.Stop(0)
		wantEnds(t, q, "app #1 SUCCESS ", "other #1 SUCCESS ")
	})
}

func TestStopGivesUpAnEndThatCannotBeRecorded(t *testing.T) {
	for _, name := range []string{"of a build that ended", "of a build that somebody stopped before"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueue()
				for range 1000 {
					q.finishErr = append(q.finishErr, queue.ErrStorage)
				}
				p := executor.Start(q, takes(time.Minute), executor.Options{Executors: 1})
				q.add("app", 0)
				synctest.Wait()
				if name != "of a build that ended" {
					q.abort("app #1", "user alice")
				}
				time.Sleep(2*time.Minute + 500*time.Millisecond) // between two tries, which are a second apart
				start := time.Now()
				p.Stop(10 * time.Second)
				if got, want := time.Since(start), 15*time.Second+500*time.Millisecond; got != want {
					t.Errorf("Stop took %v, want grace and five tries, %v", got, want)
				}
				wantEnds(t, q, "app #1 running ")
			})
		})
	}
}

func TestAnEndThatSomeoneElseRecordedStands(t *testing.T) {
	for _, err := range []error{queue.ErrNotRunning, queue.ErrNotFound, queue.ErrClosed} {
		t.Run(err.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueue()
				q.finishErr = []error{fmt.Errorf("wrapped: %w", err)}
				core, logs := observer.New(zap.ErrorLevel)
				p := executor.Start(q, takes(time.Second), executor.Options{Executors: 1, Log: func() *zap.Logger { return zap.New(core) }})
				q.add("app", 0)
				time.Sleep(time.Minute)
				p.Stop(0)
				if q.finishes != 1 || logs.FilterMessage("cannot record the end of a build").Len() != 1 {
					t.Errorf("Finish was called %d times, want once, and that in the log: %v", q.finishes, logs.All())
				}
			})
		})
	}
}

func TestAClosedQueueIsNotAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		for range 100 {
			q.claimErr = append(q.claimErr, queue.ErrClosed)
		}
		p := executor.Start(q, takes(time.Second), executor.Options{Executors: 1})
		time.Sleep(time.Hour)
		p.Stop(0)
		if q.claims != 1 {
			t.Errorf("Claim was called %d times, want once", q.claims)
		}
	})
}

// TestStopWishOfAnAdoptedBuild adopts a build whose stop was requested on another server.
func TestStopWishOfAnAdoptedBuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		p := executor.Start(q, takes(time.Hour), executor.Options{Executors: 1, Remote: 1})
		defer p.Stop(0)
		q.mu.Lock()
		q.lane("app").Running = []int64{1}
		b := queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1, Started: time.Now(), Abort: "user alice"}
		q.builds["app #1"] = b
		q.mu.Unlock()
		p.Adopt(b, func(ctx context.Context) (queue.Result, string) { return pass(ctx, time.Hour) })
		synctest.Wait()
		wantEnds(t, q, "app #1 ABORTED stopped by user alice")
	})
}

// TestRequestsToStopAreReadOnlyAfterAChange counts the calls of Aborts: a pool without a
// notification must not call the queue again.
func TestRequestsToStopAreReadOnlyAfterAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		p := executor.Start(q, takes(30*time.Hour), executor.Options{Executors: 2})
		defer p.Stop(0)
		q.add("later", 20*time.Hour) // until then the pool checks the clock each minute
		synctest.Wait()
		q.add("app", 0)
		wantRunning(t, q, 1)
		for _, last := range []string{"while nothing ran", "while a build ran"} {
			q.abortsErr = slices.Repeat([]error{queue.ErrStorage}, 100)
			time.Sleep(8 * time.Hour)
			synctest.Wait()
			if left := len(q.abortsErr); left != 100 {
				t.Errorf("requests to stop were read %d times without a change since one %s", 100-left, last)
			}
			q.abortsErr = nil
			q.wake()
			synctest.Wait()
		}
	})
}
