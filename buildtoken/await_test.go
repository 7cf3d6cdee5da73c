package buildtoken_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

// awaiting is a goroutine in Await.
type awaiting struct {
	looks atomic.Int64
	over  atomic.Bool
	// The following are set when Await has returned.
	entry queue.Entry
	err   error
}

func (a *awaiting) looked() int { return int(a.looks.Load()) }
func (a *awaiting) ended() bool { return a.over.Load() }

// String returns the state for failure messages.
func (a *awaiting) String() string {
	if !a.ended() {
		return fmt.Sprintf("still waiting after %d looks", a.looked())
	}
	return fmt.Sprintf("over after %d looks with %+v, %v", a.looked(), a.entry, a.err)
}

// awaitBench is a controller with two jobs whose builds run until they are stopped.
type awaitBench struct {
	t *testing.T
	c *buildtoken.Controller
	d *definition.Site
}

func newAwaitBench(t *testing.T, wrap ...func(buildtoken.Queue) buildtoken.Queue) *awaitBench {
	t.Helper()
	dir := t.TempDir()
	db, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
	if err != nil {
		t.Fatal(err)
	}
	var q buildtoken.Queue = db
	for _, w := range wrap {
		q = w(q)
	}
	c, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: q, Dir: dir, SealKey: vault.NewKey()})
	if err != nil {
		t.Fatal(err)
	}
	d := define(t, definition.Spec{
		Root:   definition.Folder{Jobs: []definition.Job{{Name: "one", Runner: untilStopped{}}, {Name: "other", Runner: untilStopped{}}}},
		Access: definition.Access{Build: "true"},
	})
	if _, err := c.Attach(t.Context(), buildtoken.Config{Sites: []*definition.Site{d}}); err != nil {
		t.Fatal(err)
	}
	return &awaitBench{t: t, c: c, d: d}
}

func (b *awaitBench) trigger(full string) int64 {
	b.t.Helper()
	out, err := b.c.Trigger(b.t.Context(), b.d, buildtoken.Trigger{
		Caller: definition.Caller{User: "alice", Post: true}, Action: buildtoken.Build, Job: full, UserMayTrigger: true,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return out.Item.ID
}

// await calls Await in a goroutine that ends with ctx.
func (b *awaitBench) await(ctx context.Context, id int64, enough func(queue.Entry) bool) *awaiting {
	a := &awaiting{}
	go func() {
		a.entry, a.err = b.c.Await(ctx, b.d, id, func(e queue.Entry) bool {
			a.looks.Add(1)
			return enough(e)
		})
		a.over.Store(true)
	}()
	synctest.Wait()
	return a
}

func TestAwaitLooksOnlyWhenItsItemChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newAwaitBench(t)
		defer b.c.Close()
		one := b.trigger("one")
		a := b.await(t.Context(), one, queue.Entry.Ended)
		looks := func(after string, want int, isOver bool) {
			t.Helper()
			synctest.Wait()
			if a.looked() != want || a.ended() != isOver {
				t.Errorf("after %s enough was called %d times, over %v; want %d, %v", after, a.looked(), a.ended(), want, isOver)
			}
		}
		looks("it has begun", 1, false)
		other := b.trigger("other")
		if err := b.c.Cancel(t.Context(), "other", other, "user alice"); err != nil {
			t.Fatal(err)
		}
		b.trigger("one") // joins
		looks("what happened to others, and a join", 1, false)
		time.Sleep(definition.DefaultQuietPeriod)
		synctest.Wait()
		if a.looked() < 2 || a.looked() > 3 { // the start of the build and that of its log can arrive as one change
			t.Errorf("after the start, enough was called %d times, want 2 or 3", a.looked())
		}
		atStart := a.looked()
		time.Sleep(time.Hour)
		looks("an hour", atStart, false)
		if err := b.c.StopBuild(t.Context(), "one", 1, "user alice"); err != nil {
			t.Fatal(err)
		}
		looks("the end", atStart+1, true)
		if a.err != nil || a.entry.Build == nil || a.entry.Build.Result != queue.Aborted {
			t.Errorf("Await = %+v, %v, want an aborted build", a.entry, a.err)
		}
		if again := b.await(t.Context(), one, queue.Entry.Ended); !again.ended() || again.looked() != 1 || again.err != nil {
			t.Errorf("an Await after the end is %v, want it to return the entry at once", again)
		}
	})
}

// A caller that waits for the log of a build gets it when it begins, however long after the build that is.
func TestAwaitReturnsWhenTheLogBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{})
		create := make(chan struct{})
		s.cfg.Log = s.cfg.Log.WithOptions(zap.Hooks(func(e zapcore.Entry) error {
			if e.Message == "build started" { // before there is a log
				<-create
			}
			return nil
		}))
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: lasts(time.Hour)}}}})
		id := s.trigger("app", delayed("1m")).Item.ID
		var started atomic.Bool
		readable := func(e queue.Entry) bool {
			if e.Build == nil {
				return false
			}
			started.Store(true)
			r, err := s.Log(t.Context(), "app", e.Build.Number)
			if err != nil {
				return false
			}
			return r.Close() == nil
		}
		found := make(chan queue.Entry, 1)
		go func() {
			e, _ := s.Await(t.Context(), s.def, id, readable) // the test below looks at the entry
			found <- e
		}()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(found) > 0 {
			t.Fatalf("Await returned %+v before there was a log", <-found)
		}
		if !started.Load() {
			t.Error("Await has not looked when the build started")
		}
		close(create)
		synctest.Wait()
		if len(found) == 0 {
			t.Error("Await has not returned when the log began")
		}
		if e := <-found; e.Build == nil || !e.Build.Running() {
			t.Errorf("Await = %+v, want a running build", e)
		}
	})
}

// hangsUp is a queue whose callers have gone before a cancellation is answered.
type hangsUp struct {
	buildtoken.Queue
	hangUp context.CancelFunc
}

func (q hangsUp) Cancel(ctx context.Context, now time.Time, job string, id int64, by string) error {
	err := q.Queue.Cancel(ctx, now, job, id, by)
	q.hangUp()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func TestAwaitReturnsAfterACancellationWhoseCallerHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, hangUp := context.WithCancel(t.Context())
		b := newAwaitBench(t, func(q buildtoken.Queue) buildtoken.Queue { return hangsUp{q, hangUp} })
		defer b.c.Close()
		one := b.trigger("one")
		a := b.await(t.Context(), one, queue.Entry.Ended)
		_ = b.c.Cancel(ctx, "one", one, "user alice") // its error is not of interest
		synctest.Wait()
		if !a.ended() || a.err != nil || a.entry.Cancelled == nil {
			t.Errorf("Await is %v, want it to return the cancelled item", a)
		}
	})
}

// takenOver is a queue in which another server always records the end of a build first.
type takenOver struct{ buildtoken.Queue }

func (q takenOver) Finish(ctx context.Context, now time.Time, job string, number int64, r queue.Result, reason string) (queue.Build, error) {
	if _, err := q.Queue.Finish(ctx, now, job, number, queue.Aborted, "lost"); err != nil {
		return queue.Build{}, err
	}
	return q.Queue.Finish(ctx, now, job, number, r, reason)
}

func TestAwaitReturnsWhenAnotherServerEndsTheBuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newAwaitBench(t, func(q buildtoken.Queue) buildtoken.Queue { return takenOver{q} })
		defer b.c.Close()
		one := b.trigger("one")
		a := b.await(t.Context(), one, queue.Entry.Ended)
		time.Sleep(definition.DefaultQuietPeriod)
		synctest.Wait()
		if err := b.c.StopBuild(t.Context(), "one", 1, "user alice"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !a.ended() || a.err != nil || a.entry.Build.Reason != "lost" {
			t.Errorf("Await is %v, want it to return the lost build", a)
		}
		if n := len(b.c.Running()); n != 0 {
			t.Errorf("%d builds are running, want none", n)
		}
	})
}

func TestAwaitEndsWithItsContextAndWithTheController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newAwaitBench(t)
		one := b.trigger("one")
		enough := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, enough)
		defer cancel()
		short := b.await(ctx, one, queue.Entry.Ended)
		long := b.await(t.Context(), one, queue.Entry.Ended)
		time.Sleep(time.Second)
		synctest.Wait()
		if !short.ended() || !errors.Is(short.err, enough) || short.entry.Item.ID != one {
			t.Errorf("an Await of one second is %v, want it to return the last entry and %v", short, enough)
		}
		if long.ended() {
			t.Errorf("an Await without a deadline is %v, want it to wait", long)
		}
		if err := b.c.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !long.ended() || !errors.Is(long.err, queue.ErrClosed) {
			t.Errorf("after Close, an Await without a deadline is %v, want it to return %v", long, queue.ErrClosed)
		}
	})
}

func TestPlacesToAwaitAnEndAreLimited(t *testing.T) {
	const ofAJob, ofAll = 250, 1000
	synctest.Test(t, func(t *testing.T) {
		b := newAwaitBench(t)
		defer b.c.Close()
		items := map[string]int64{}
		var jobs []definition.Job
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			jobs = append(jobs, definition.Job{Name: name, Runner: untilStopped{}})
		}
		b.d = define(t, definition.Spec{Root: definition.Folder{Jobs: jobs}, Access: definition.Access{Build: "true"}})
		for _, j := range jobs {
			items[j.Name] = b.trigger(j.Name)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		var inside, turnedAway atomic.Int64
		enter := func(full string, n int) {
			for range n {
				wait.Go(func() {
					inside.Add(1)
					defer inside.Add(-1)
					if _, ok, err := b.c.AwaitEnd(ctx, b.d, full, items[full]); !ok {
						turnedAway.Add(1)
						if err != nil {
							t.Errorf("AwaitEnd without a place = %v", err)
						}
					}
				})
			}
			synctest.Wait()
		}
		for _, step := range []struct {
			job               string
			n                 int
			inside, turnAways int64
		}{
			{"a", ofAJob, ofAJob, 0},
			{"a", 10, ofAJob, 10},
			{"b", ofAJob, 2 * ofAJob, 10},
			{"c", ofAJob, 3 * ofAJob, 10},
			{"d", ofAJob - 1, ofAll - 1, 10},
			{"e", 2, ofAll, 11},
		} {
			enter(step.job, step.n)
			if inside.Load() != step.inside || turnedAway.Load() != step.turnAways {
				t.Errorf("after %d more of %s %d wait and %d were turned away, want %d and %d", step.n, step.job, inside.Load(), turnedAway.Load(), step.inside, step.turnAways)
			}
		}
		cancel()
		wait.Wait()
		ctx = t.Context()
		if entry, ok, err := b.c.AwaitEnd(ctx, b.d, "e", 99); !ok || !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("after all callers have gone, AwaitEnd = %+v, %v, %v, want a place", entry, ok, err)
		}
	})
}

func TestAwaitOfAnUnknownItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newAwaitBench(t)
		defer b.c.Close()
		if a := b.await(t.Context(), 99, queue.Entry.Ended); !a.ended() || !errors.Is(a.err, queue.ErrNotFound) {
			t.Errorf("Await is %v, want %v", a, queue.ErrNotFound)
		}
	})
}

// over is a queue in which every item was cancelled, or is not kept any more if its number is even.
type over struct{ buildtoken.Queue }

func (over) Entry(_ context.Context, _ time.Time, id int64) (queue.Entry, error) {
	if id%2 == 0 {
		return queue.Entry{}, queue.ErrNotFound
	}
	return queue.Entry{Item: queue.Item{ID: id, Job: "one"}, Cancelled: &queue.Cancelled{}}, nil
}

// A caller that finds its item at its end leaves nothing behind. It would be kept for ever.
func TestAwaitOfItemsThatHaveEndedTakesNoMemory(t *testing.T) {
	b := newAwaitBench(t, func(q buildtoken.Queue) buildtoken.Queue { return over{q} })
	defer b.c.Close()
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const calls, perCall = 50_000, 30 // bytes
	for _, tt := range []struct {
		name        string
		first, step int64
		job         string
	}{
		{"items that are not kept", 2, 2, "one"},
		{"items that were cancelled", 1, 2, "one"},
		{"an item of many jobs", 1, 0, "job %d"},
	} {
		before := heap()
		for n := range int64(calls) {
			full := tt.job
			if tt.step == 0 {
				full = fmt.Sprintf(tt.job, n)
			}
			if _, ok, err := b.c.AwaitEnd(t.Context(), b.d, full, tt.first+n*tt.step); !ok || err != nil && !errors.Is(err, queue.ErrNotFound) {
				t.Fatalf("AwaitEnd = %v, %v", ok, err)
			}
		}
		if after := heap(); after > before && (after-before)/calls > perCall {
			t.Errorf("%s: %d calls have left %d KB", tt.name, calls, (after-before)>>10)
		}
	}
}

// A caller that waits for a build of the process before gets its end from the first configuration.
func TestAwaitReturnsWhenALostBuildEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: lasts(time.Hour)}}}}
		s := openSite(t, buildtoken.Config{})
		s.attach(spec)
		id := s.trigger("app").Item.ID
		s.crash()
		found := make(chan queue.Entry, 1)
		go func() {
			e, _ := s.Await(t.Context(), s.def, id, queue.Entry.Ended) // the test below looks at the entry
			found <- e
		}()
		synctest.Wait()
		s.attach(spec)
		synctest.Wait()
		if len(found) == 0 {
			t.Fatal("Await has not returned")
		}
		if e := <-found; e.Build == nil || e.Build.Result != queue.Aborted {
			t.Errorf("Await = %+v, want an aborted build", e)
		}
	})
}
