package buildtoken_test

import (
	"cmp"
	"context"
	"flag"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

var scheduleSeed = flag.Uint64("schedule.seed", 0, "when servers are restarted and reloaded; 0: another time each time")

var scheduleDays = flag.Int("schedule.days", 0, "days of fake time for which schedules are compared with the timetable; 0: as many as take seconds")

// timetable has the schedules of the test and the times when they are due, computed without
// package schedule. A bubble begins on 1 January 2000, a Saturday in a leap year.
var timetable = []struct {
	name, spec, zone string
	catchUp          bool
	due              func(local time.Time) bool
}{
	{"office", "0 9,17 * * 1-5", "UTC", false, func(l time.Time) bool {
		return l.Minute() == 0 && (l.Hour() == 9 || l.Hour() == 17) && l.Weekday() != time.Saturday && l.Weekday() != time.Sunday
	}},
	// At 2:30, which does not exist on 26 March and exists twice on 29 October.
	{"night", "30 2 * * *", "Europe/Berlin", false, func(l time.Time) bool { return l.Minute() == 30 && l.Hour() == 2 }},
	{"leap", "15 4 29 2 *", "UTC", false, func(l time.Time) bool {
		return l.Minute() == 15 && l.Hour() == 4 && l.Day() == 29 && l.Month() == time.February
	}},
	{"friday", "5 5 13 * 5", "America/New_York", false, func(l time.Time) bool {
		return l.Minute() == 5 && l.Hour() == 5 && l.Day() == 13 && l.Weekday() == time.Friday
	}},
	// These are the minutes that Jenkins assigns to a job of this name.
	{"stuff", "H H(12-13) * * *", "UTC", false, func(l time.Time) bool { return l.Minute() == 56 && l.Hour() == 13 }},
	{"monthly", "59 23 1,15 */2 *", "Asia/Kathmandu", false, func(l time.Time) bool {
		return l.Minute() == 59 && l.Hour() == 23 && (l.Day() == 1 || l.Day() == 15) && (l.Month()-1)%2 == 0
	}},
	{"caught", "0 */6 * * *", "UTC", true, func(l time.Time) bool { return l.Minute() == 0 && l.Hour()%6 == 0 }},
}

// fired records what schedules start. It connects a bubble of fake time with a queue that is
// outside of it.
type fired struct {
	buildtoken.Queue

	reopen  func() buildtoken.Queue
	changed chan struct{} // of the bubble
	// calls and done are outside of the bubble: time stands still while a call waits for them.
	calls chan func()
	done  chan struct{}

	// mu guards the following. Only one call is made at a time.
	mu    sync.Mutex
	times map[string][]string // by job
}

// outside returns a queue whose calls run outside of the bubble, in a goroutine that ends with
// the test.
func newFired(t *testing.T, reopen func() buildtoken.Queue) *fired {
	f := &fired{reopen: reopen, calls: make(chan func()), done: make(chan struct{}), times: map[string][]string{}}
	go func() { // ends when calls is closed
		for call := range f.calls {
			call()
			f.done <- struct{}{}
		}
	}()
	t.Cleanup(func() { close(f.calls) })
	return f
}

func do[T any](f *fired, call func(ctx context.Context) (T, error)) (v T, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls <- func() { v, err = call(context.Background()) }
	<-f.done
	return v, err
}

// open opens the queue again. It must be called inside the bubble.
func (f *fired) open() {
	f.changed = make(chan struct{}, 1)
	_, _ = do(f, func(context.Context) (any, error) {
		f.Queue = f.reopen()
		return nil, nil
	})
}

func (f *fired) Changed() <-chan struct{}              { return f.changed }
func (f *fired) NotificationsChanged() <-chan struct{} { return nil }

func (f *fired) Schedule(_ context.Context, now time.Time, r queue.Request) (queue.Item, bool, error) {
	type answer struct {
		it      queue.Item
		created bool
	}
	a, err := do(f, func(ctx context.Context) (a answer, err error) {
		if a.it, a.created, err = f.Queue.Schedule(ctx, now, r); err == nil {
			f.times[r.Job] = append(f.times[r.Job], now.UTC().Format(time.DateTime))
		}
		return a, err
	})
	select {
	case f.changed <- struct{}{}:
	default:
	}
	return a.it, a.created, err
}

func (f *fired) Claim(_ context.Context, now time.Time, node queue.Node, executors []int) ([]queue.Build, time.Time, error) {
	var next time.Time
	builds, err := do(f, func(ctx context.Context) (builds []queue.Build, err error) {
		builds, next, err = f.Queue.Claim(ctx, now, node, executors)
		return builds, err
	})
	return builds, next, err
}

func (f *fired) Finish(_ context.Context, now time.Time, job string, number int64, r queue.Result, reason string) (queue.Build, error) {
	return do(f, func(ctx context.Context) (queue.Build, error) {
		return f.Queue.Finish(ctx, now, job, number, r, reason)
	})
}

func (f *fired) Aborts(context.Context) ([]queue.Build, error) {
	return do(f, func(ctx context.Context) ([]queue.Build, error) { return f.Queue.Aborts(ctx) })
}

func (f *fired) SetRules(_ context.Context, now time.Time, c queue.Config) error {
	_, err := do(f, func(ctx context.Context) (any, error) { return nil, f.Queue.SetRules(ctx, now, c) }) //nolint:contextcheck // a context of the bubble must not leave it
	return err
}

func (f *fired) Lost(context.Context) ([]queue.Build, error) {
	return do(f, func(ctx context.Context) ([]queue.Build, error) { return f.Queue.Lost(ctx) })
}

func (f *fired) Reclaim(_ context.Context, now time.Time, reason string, keep func(queue.Build) bool) ([]queue.Build, error) {
	return do(f, func(ctx context.Context) ([]queue.Build, error) { return f.Queue.Reclaim(ctx, now, reason, keep) })
}

func (f *fired) Builds(_ context.Context, job string, before int64, limit int) ([]queue.Build, error) {
	return do(f, func(ctx context.Context) ([]queue.Build, error) { return f.Queue.Builds(ctx, job, before, limit) })
}

func (f *fired) Oldest(_ context.Context, job string) (int64, error) {
	return do(f, func(ctx context.Context) (int64, error) { return f.Queue.Oldest(ctx, job) })
}

func (f *fired) Refs(context.Context) ([]string, error) {
	return do(f, func(ctx context.Context) ([]string, error) { return f.Queue.Refs(ctx) })
}

func (f *fired) TakeNotifications(_ context.Context, now time.Time, targets []string, limit int) ([]queue.Notification, time.Time, error) {
	return nil, time.Time{}, nil
}

func (f *fired) Close() error {
	_, err := do(f, func(context.Context) (any, error) { return nil, f.Queue.Close() })
	return err
}

// TestSchedulesForAYear compares what schedules start with the timetable, with restarts and
// reloads at random. The flag schedule.days sets the number of days.
func TestSchedulesForAYear(t *testing.T) {
	dir := t.TempDir()
	c := newCluster(t)
	for name, tt := range map[string]struct {
		days   int
		reopen func() buildtoken.Queue
	}{
		"in a file": {100, func() buildtoken.Queue {
			q, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db"), Commit: commitFast})
			if err != nil {
				t.Fatal(err)
			}
			return q
		}},
		"in Postgres": {15, func() buildtoken.Queue { return c.queue("a") }},
	} {
		t.Run(name, func(t *testing.T) {
			q := newFired(t, tt.reopen)
			days := cmp.Or(*scheduleDays, tt.days)
			data := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				seed := cmp.Or(*scheduleSeed, rand.Uint64())
				t.Logf("repeat with -schedule.seed=%d -schedule.days=%d", seed, days)
				r := rand.New(rand.NewPCG(seed, 0))
				time.Sleep(time.Duration(r.IntN(1+max(0, 366-days))) * 24 * time.Hour)
				year(t, q, data, r, time.Now().AddDate(0, 0, days))
			})
		})
	}
}

// year runs servers one after another until the end.
func year(t *testing.T, q *fired, dir string, r *rand.Rand, end time.Time) {
	var jobs []definition.Job
	for _, s := range timetable {
		jobs = append(jobs, definition.Job{Name: s.name, Runner: succeeds(), Schedules: []definition.ScheduleSpec{{Spec: s.spec, Zone: s.zone, CatchUp: s.catchUp}}})
	}
	spec := definition.Spec{Root: definition.Folder{Jobs: jobs}}
	want, handled := map[string][]string{}, map[string]time.Time{}
	for time.Now().Before(end) {
		up := time.Now()
		q.open()
		s := &site{t: t, dir: dir, cfg: buildtoken.Config{Executors: 3}}
		var err error
		if s.Controller, err = buildtoken.Open(t.Context(), buildtoken.Options{Queue: q, Dir: dir}); err != nil {
			t.Fatal(err)
		}
		s.attach(spec)
		for range r.IntN(3) { // reloads
			sleepOdd(r, 5*24*time.Hour)
			old := s.detach
			s.attach(spec)
			old()
		}
		sleepOdd(r, 20*24*time.Hour)
		down := time.Now()
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		expect(want, handled, up, down)
		if r.IntN(2) == 0 {
			sleepOdd(r, 40*time.Hour)
		}
	}
	if diff := gocmp.Diff(want, q.times); diff != "" {
		t.Errorf("fired (-want +got):\n%s", diff)
	}
}

// sleepOdd sleeps until a random instant that is not a full minute.
func sleepOdd(r *rand.Rand, most time.Duration) {
	time.Sleep(time.Duration(r.Int64N(int64(most))).Truncate(time.Minute) + 17*time.Second)
	if time.Now().Second() == 0 {
		time.Sleep(time.Second)
	}
}

// expect adds what is due while a server is up, and what it catches up on when it starts.
// handled has the last time of each schedule that a server has handled.
func expect(want map[string][]string, handled map[string]time.Time, up, down time.Time) {
	for _, s := range timetable {
		zone, err := time.LoadLocation(s.zone)
		if err != nil {
			panic(err)
		}
		late := time.Time{}
		for m := up.Add(-24 * time.Hour).Truncate(time.Minute); m.Before(down); m = m.Add(time.Minute) {
			if !s.due(m.In(zone)) {
				continue
			}
			if !m.After(up) {
				if !m.Before(up.Add(-24 * time.Hour)) {
					late = m
				}
				continue
			}
			if s.catchUp && late.After(handled[s.name]) {
				want[s.name] = append(want[s.name], up.UTC().Format(time.DateTime))
				handled[s.name] = late
			}
			want[s.name] = append(want[s.name], m.UTC().Format(time.DateTime))
			handled[s.name] = m
		}
		if s.catchUp && late.After(handled[s.name]) { // nothing was due since
			want[s.name] = append(want[s.name], up.UTC().Format(time.DateTime))
			handled[s.name] = late
		}
	}
}

func (f *fired) TokenUses(context.Context) ([]queue.TokenUse, error) {
	return do(f, func(ctx context.Context) ([]queue.TokenUse, error) { return f.Queue.TokenUses(ctx) })
}

func (f *fired) SaveTokenUses(_ context.Context, now time.Time, uses []queue.TokenUse) error {
	_, err := do(f, func(ctx context.Context) (any, error) { return nil, f.Queue.SaveTokenUses(ctx, now, uses) }) //nolint:contextcheck // a context of the bubble must not leave it
	return err
}
