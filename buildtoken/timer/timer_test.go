package timer_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/schedule"
	"github.com/buildtoken/buildtoken/buildtoken/timer"
)

// record collects calls as text: the time of the minute, and "missed".
type record struct {
	mu    sync.Mutex
	calls []string
	errs  int // how many of the next calls fail
}

func (r *record) entry(t *testing.T, id, spec string, catchUp bool) timer.Entry {
	t.Helper()
	s, err := schedule.Parse(spec, "job", time.UTC, false)
	if err != nil {
		t.Fatal(err)
	}
	return timer.Entry{ID: id, Schedule: s, CatchUp: catchUp, Fire: func(_ context.Context, minute time.Time, missed bool) error {
		text := id + " " + minute.Format("02 15:04")
		if missed {
			text += " missed"
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.calls = append(r.calls, text)
		if r.errs > 0 {
			r.errs--
			return errors.New("the disk refuses")
		}
		return nil
	}}
}

func (r *record) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if g, w := strings.Join(r.calls, ", "), strings.Join(want, ", "); g != w {
		t.Errorf("calls: %s; want %s", g, w)
	}
	r.calls = nil
}

// A synctest bubble begins on 1 January 2000 at midnight UTC.
func TestTimer(t *testing.T) {
	for _, tt := range []struct {
		name string
		test func(t *testing.T, r *record, tm *timer.Timer)
	}{
		{"calls at each due minute, and at no other", func(t *testing.T, r *record, tm *timer.Timer) {
			tm.Set([]timer.Entry{r.entry(t, "a", "*/30 * * * *", false), r.entry(t, "b", "0 1 * * *", false)})
			time.Sleep(time.Hour - time.Nanosecond)
			r.want(t, "a 01 00:30")
			time.Sleep(time.Nanosecond)
			r.want(t, "a 01 01:00", "b 01 01:00")
		}},
		{"does not call for the minute in which an entry is added", func(t *testing.T, r *record, tm *timer.Timer) {
			tm.Set([]timer.Entry{r.entry(t, "a", "* * * * *", false)})
			time.Sleep(30 * time.Second)
			r.want(t)
		}},
		{"forgets removed entries", func(t *testing.T, r *record, tm *timer.Timer) {
			tm.Set([]timer.Entry{r.entry(t, "a", "*/5 * * * *", false)})
			time.Sleep(5 * time.Minute)
			r.want(t, "a 01 00:05")
			tm.Set(nil)
			time.Sleep(time.Hour)
			r.want(t)
		}},
		{"looks back when it starts, once, for entries that catch up", func(t *testing.T, r *record, tm *timer.Timer) {
			tm.Set([]timer.Entry{r.entry(t, "a", "0 */6 * * *", true), r.entry(t, "b", "0 */6 * * *", false)})
			synctest.Wait()
			r.want(t, "a 01 00:00") // midnight is now, so in time
			tm.Set([]timer.Entry{r.entry(t, "a", "0 */6 * * *", true), r.entry(t, "c", "0 */6 * * *", true)})
			r.want(t)
		}},
		{"looks back when the first entries come late", func(t *testing.T, r *record, tm *timer.Timer) {
			tm.Set(nil)
			synctest.Wait()
			tm.Set([]timer.Entry{r.entry(t, "a", "30 0 31 12 *", true)})
			r.want(t, "a 31 00:30 missed")
		}},
		{"looks back for 24 hours and no longer", func(t *testing.T, r *record, tm *timer.Timer) {
			tm.Set([]timer.Entry{r.entry(t, "a", "30 0 31 12 *", true), r.entry(t, "b", "30 23 30 12 *", true)})
			r.want(t, "a 31 00:30 missed")
		}},
		{"takes a minute ago for late, and now for in time", func(t *testing.T, r *record, tm *timer.Timer) {
			tm.Set([]timer.Entry{r.entry(t, "a", "59 23 31 12 *", true), r.entry(t, "b", "0 0 1 1 *", true)})
			r.want(t, "a 31 23:59 missed", "b 01 00:00")
		}},
		{"reports late minutes as missed", func(t *testing.T, r *record, tm *timer.Timer) {
			tm.Set([]timer.Entry{r.entry(t, "a", "0 20,22 * * *", true)})
			r.want(t, "a 31 22:00 missed")
		}},
		{"tries again after an error", func(t *testing.T, r *record, tm *timer.Timer) {
			r.errs = 2
			tm.Set([]timer.Entry{r.entry(t, "a", "0 1 * * *", false)})
			time.Sleep(time.Hour)
			r.want(t, "a 01 01:00")
			time.Sleep(10 * time.Second)
			r.want(t, "a 01 01:00")
			time.Sleep(time.Hour)
			r.want(t, "a 01 01:00")
			time.Sleep(time.Hour)
			r.want(t)
		}},
		{"gives up after an hour", func(t *testing.T, r *record, tm *timer.Timer) {
			r.errs = 1000
			tm.Set([]timer.Entry{r.entry(t, "a", "0 1 * * *", false)})
			time.Sleep(3 * time.Hour)
			synctest.Wait()
			r.mu.Lock()
			defer r.mu.Unlock()
			// The first call, one every 10 s until the end of the hour, and the one that finds
			// the hour over.
			if n := len(r.calls); n != 1+360+1 {
				t.Errorf("called %d times, want every 10 s for an hour", n)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tm := timer.Start()
				defer tm.Close()
				tt.test(t, &record{}, tm)
			})
		})
	}
}

// TestCloseWaitsForTheCall closes a timer while it calls an entry.
func TestCloseWaitsForTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := schedule.Parse("* * * * *", "job", time.UTC, false)
		if err != nil {
			t.Fatal(err)
		}
		ended := false
		tm := timer.Start()
		tm.Set([]timer.Entry{{ID: "a", Schedule: s, Fire: func(ctx context.Context, _ time.Time, _ bool) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			ended = true
			return nil
		}}})
		time.Sleep(time.Minute)
		synctest.Wait()
		tm.Close()
		if !ended {
			t.Error("Close returned during a call")
		}
	})
}
