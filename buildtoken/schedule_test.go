package buildtoken_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// hourly returns a job with a schedule for each full hour in UTC.
func hourly(change func(*definition.Job)) definition.Job {
	j := definition.Job{
		Name: "nightly", Runner: succeeds(),
		Params:    []job.Param{{Name: "ENV", Kind: job.KindString, Default: "staging"}},
		Schedules: []definition.ScheduleSpec{{Spec: "0 * * * *", Zone: "UTC"}},
	}
	if change != nil {
		change(&j)
	}
	return j
}

// timed lists the builds of a job, oldest first, with the time when they were queued and the
// value of ENV.
func (s *site) timed(full string) string {
	s.t.Helper()
	synctest.Wait()
	builds, err := s.Builds(context.Background(), full, 0, 1000)
	if err != nil {
		s.t.Fatal(err)
	}
	var all []string
	for _, b := range slices.Backward(builds) {
		text := b.Item.Since.UTC().Format("15:04:05")
		for _, v := range b.Item.Values {
			text += " " + v.Text
		}
		if c := b.Item.Causes[0]; c.Kind != queue.CauseTimer || c.String() != "Started by timer" {
			s.t.Errorf("cause %+v", c)
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// A synctest bubble begins on 1 January 2000 at midnight UTC.
func TestSchedule(t *testing.T) {
	catchUp := func(j *definition.Job) { j.Schedules[0].CatchUp = true }
	for _, tt := range []struct {
		name string
		job  definition.Job
		test func(s *site, restart func(down time.Duration))
		want string
	}{
		{
			"starts a build with the defaults, at once", hourly(nil),
			func(*site, func(time.Duration)) { time.Sleep(2*time.Hour + time.Minute) },
			"01:00:00 staging, 02:00:00 staging",
		},
		{
			"sets parameters", hourly(func(j *definition.Job) { j.Schedules[0].Params = map[string]string{"ENV": "production"} }),
			func(*site, func(time.Duration)) { time.Sleep(90 * time.Minute) },
			"01:00:00 production",
		},
		{
			"at one time with several values starts a build for each", hourly(func(j *definition.Job) {
				j.Schedules = append(j.Schedules, j.Schedules[0])
				j.Schedules[1].Params = map[string]string{"ENV": "production"}
			}),
			func(*site, func(time.Duration)) { time.Sleep(90 * time.Minute) },
			"01:00:00 staging, 01:00:00 production",
		},
		{
			"that polls is another one than one at the same time that builds", hourly(func(j *definition.Job) {
				j.Schedules = append(j.Schedules, j.Schedules[0])
				j.Schedules[0].Poll = true
				j.Poller = looks(func(context.Context, runner.Build, io.Writer) (bool, error) { return false, nil })
			}),
			func(s *site, _ func(time.Duration)) {
				time.Sleep(90 * time.Minute)
				synctest.Wait()
				if p, err := s.LastPoll("nightly"); err != nil || !p.Started.Equal(start().Add(time.Hour)) {
					s.t.Errorf("LastPoll = %+v, %v; want one at 01:00", p, err)
				}
			},
			"01:00:00 staging",
		},
		{
			"does not start a disabled job, nor queue a build for later", hourly(func(j *definition.Job) { j.Disabled = true }),
			func(s *site, _ func(time.Duration)) {
				time.Sleep(150 * time.Minute)
				s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{hourly(nil)}}})
				time.Sleep(time.Hour)
			},
			"03:00:00 staging",
		},
		{
			"of a reload counts, that of before does not", hourly(nil),
			func(s *site, _ func(time.Duration)) {
				time.Sleep(90 * time.Minute)
				old := s.detach
				j := hourly(func(j *definition.Job) { j.Schedules[0].Spec = "30 * * * *" })
				s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{j}}})
				old()
				time.Sleep(2 * time.Hour)
			},
			"01:00:00 staging, 02:30:00 staging, 03:30:00 staging",
		},
		{
			"fires once though it is attached twice in the minute", hourly(nil),
			func(_ *site, restart func(time.Duration)) {
				time.Sleep(time.Hour + time.Second)
				restart(time.Second)
				time.Sleep(10 * time.Minute)
			},
			"01:00:00 staging",
		},
		{
			"is not made up for by default", hourly(nil),
			func(_ *site, restart func(time.Duration)) {
				time.Sleep(90 * time.Minute)
				restart(3 * time.Hour)
				time.Sleep(time.Hour)
			},
			"01:00:00 staging, 05:00:00 staging",
		},
		{
			"is made up for once", hourly(catchUp),
			func(_ *site, restart func(time.Duration)) {
				time.Sleep(90 * time.Minute)
				restart(3 * time.Hour)
				time.Sleep(time.Hour)
			},
			"00:00:00 staging, 01:00:00 staging, 04:30:00 staging, 05:00:00 staging", // the first start is at midnight
		},
		{
			"that ran is not made up for", hourly(catchUp),
			func(_ *site, restart func(time.Duration)) {
				time.Sleep(90 * time.Minute)
				restart(5 * time.Minute)
			},
			"00:00:00 staging, 01:00:00 staging",
		},
		{
			"that is new has missed nothing", hourly(func(j *definition.Job) {
				j.Schedules[0] = definition.ScheduleSpec{Spec: "0 20 * * *", Zone: "UTC", CatchUp: true}
			}),
			func(*site, func(time.Duration)) { time.Sleep(time.Hour) },
			"",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := openSite(t, buildtoken.Config{}, tt.job)
				tt.test(s, func(down time.Duration) {
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					time.Sleep(down)
					s.open()
					s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{tt.job}}})
				})
				if got := s.timed("nightly"); got != tt.want {
					t.Errorf("builds: %s; want %s", got, tt.want)
				}
				if errs := s.logs.FilterLevelExact(zapcore.ErrorLevel).All(); len(errs) > 0 {
					t.Errorf("errors were logged: %v", errs)
				}
			})
		})
	}
}

// A schedule for which there is no room in the queue is tried again until there is.
func TestScheduleIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{QueueLimit: 1}, hourly(nil), definition.Job{Name: "app", Tokens: opens(), Runner: succeeds()})
		s.trigger("app", delayed("3605s"))
		time.Sleep(70 * time.Minute)
		if got, want := s.timed("nightly"), "01:00:10 staging"; got != want {
			t.Errorf("builds: %s; want %s", got, want)
		}
		lines := s.logs.FilterMessage("schedule could not start a build").All()
		if len(lines) != 1 {
			t.Fatalf("%d log lines, want one", len(lines))
		}
		m := lines[0].ContextMap()
		if m["job"] != "nightly" || m["schedule"] != "0 * * * *" || fmt.Sprint(m["due"]) != fmt.Sprint(start().Add(time.Hour)) || !strings.Contains(fmt.Sprint(m["error"]), queue.ErrFull.Error()) {
			t.Errorf("log line %v, want the job, its schedule, its time and the error", m)
		}
		due := s.logs.FilterMessage("schedule is due").All()
		if len(due) != 1 || due[0].ContextMap()["item"] != int64(2) || due[0].ContextMap()["created"] != true {
			t.Errorf("log lines about schedules that are due: %v, want one with the item", due)
		}
	})
}

// unknowing is a queue that cannot tell which builds it has until a time.
type unknowing struct {
	cutOff
	until time.Time
}

func (q unknowing) Builds(ctx context.Context, job string, before int64, limit int) ([]queue.Build, error) {
	if time.Now().Before(q.until) {
		return nil, queue.ErrStorage
	}
	return q.cutOff.Builds(ctx, job, before, limit)
}

// A poll by a schedule is made once the queue can tell which server is to make it.
func TestScheduledPollIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var polled []time.Duration
		s := openSite(t, buildtoken.Config{})
		s.reopenShared(func(q cutOff) buildtoken.Queue { return unknowing{q, start().Add(time.Hour + 5*time.Second)} })
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{hourly(func(j *definition.Job) {
			j.Schedules[0].Spec, j.Schedules[0].Poll = "0 1 * * *", true
			j.Poller = looks(func(context.Context, runner.Build, io.Writer) (bool, error) {
				polled = append(polled, time.Since(start()))
				return false, nil
			})
		})}}})
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if len(polled) != 1 || polled[0] != time.Hour+10*time.Second {
			t.Errorf("polled after %v, want 1h0m10s", polled)
		}
		if n := s.logs.FilterMessage("schedule could not start a build").Len(); n != 1 {
			t.Errorf("%d log lines about a schedule that failed, want 1", n)
		}
	})
}

// A missed schedule is made up for once the queue can be read.
func TestMissedScheduleIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nightly := hourly(func(j *definition.Job) { j.Schedules[0].CatchUp = true })
		s := openSite(t, buildtoken.Config{}, nightly)
		time.Sleep(30 * time.Minute)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		s.open()
		s.reopenShared(func(q cutOff) buildtoken.Queue { return unknowing{q, time.Now().Add(15 * time.Second)} })
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{nightly}}})
		time.Sleep(10 * time.Minute)
		if got, want := s.timed("nightly"), "00:00:00 staging, 01:30:20 staging"; got != want {
			t.Errorf("builds: %s; want %s", got, want)
		}
		if n := s.logs.FilterMessage("schedule could not start a build").Len(); n < 2 { // the first attempt can be made twice
			t.Errorf("%d log lines about a schedule that failed, want one for each attempt", n)
		}
	})
}

// TestScheduledPollRunsWhereTheWorkspaceIs fires a schedule that polls on all servers that
// share a queue: before there is a build, after one, and when its server has gone.
func TestScheduledPollRunsWhereTheWorkspaceIs(t *testing.T) {
	polled := make(chan string, 100)
	c := newCluster(t, hourly(func(j *definition.Job) {
		j.Tokens, j.Params = opens(), nil
		j.Settings.Label = new("can")
		j.Schedules[0].Poll = true
		j.Poller = looks(func(_ context.Context, b runner.Build, _ io.Writer) (bool, error) {
			for _, v := range b.Env {
				if name, ok := strings.CutPrefix(v, "NODE_NAME="); ok {
					polled <- name
				}
			}
			return false, nil
		})
	}))
	a := c.join("a")
	able := map[string]*site{"b": c.join("b", "can"), "d": c.join("d", "can")}
	fire := func(want string, on ...*site) {
		t.Helper()
		for _, s := range on {
			for changed := s.Watch(); len(buildtoken.Nodes(s.Controller)) != len(on); changed = s.Watch() {
				<-changed
			}
		}
		for _, s := range on {
			if err := buildtoken.Fire(t.Context(), s.Controller, "nightly", time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		if got := <-polled; got != want {
			t.Errorf("polled on %s, want on %s", got, want)
		}
	}
	fire("b", able["d"], a, able["b"]) // b is the first name of the servers that can run it
	built := a.ended(a.trigger("nightly").Item.ID).Node
	fire(built, a, able["b"], able["d"])
	if err := able[built].Close(); err != nil {
		t.Fatal(err)
	}
	delete(able, built)
	for name, left := range able {
		fire(name, left, a)
		if err := errors.Join(a.Close(), left.Close()); err != nil { // both wait for polls
			t.Fatal(err)
		}
	}
	if len(polled) > 0 {
		t.Errorf("%d polls too many", len(polled))
	}
}

// A schedule joins an equal item that is queued, unless the job never coalesces.
func TestScheduleJoins(t *testing.T) {
	for coalesce, want := range map[job.Coalesce]string{"": "[2]", job.Never: "[1 1]"} {
		synctest.Test(t, func(t *testing.T) {
			s := openSite(t, buildtoken.Config{}, hourly(func(j *definition.Job) { j.Tokens, j.Coalesce = opens(), coalesce }))
			time.Sleep(50 * time.Minute)
			s.trigger("nightly", values(), delayed("20m"))
			time.Sleep(40 * time.Minute)
			synctest.Wait()
			builds, err := s.Builds(t.Context(), "nightly", 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			var triggers []int64
			for _, b := range builds {
				triggers = append(triggers, int64(b.Item.Triggers()))
			}
			if got := fmt.Sprint(triggers); got != want {
				t.Errorf("coalesce %q: builds of %s triggers, want %s", coalesce, got, want)
			}
		})
	}
}

// Servers that are reloaded one by one can have other defaults for a while. A minute still fires once.
func TestScheduleFiresOnceWithOtherDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{}, hourly(nil))
		time.Sleep(time.Hour + time.Second)
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{hourly(func(j *definition.Job) { j.Params[0].Default = "production" })}}})
		if err := buildtoken.Fire(t.Context(), s.Controller, "nightly", start().Add(time.Hour)); err != nil {
			t.Errorf("fired the same minute with other defaults: %v", err)
		}
		if got, want := s.timed("nightly"), "01:00:00 staging"; got != want {
			t.Errorf("builds: %s; want %s", got, want)
		}
	})
}

// TestScheduleFiresOnceOverAllServers fires the same minute on two servers that share a queue,
// and then again on one of them.
func TestScheduleFiresOnceOverAllServers(t *testing.T) {
	c := newCluster(t, hourly(nil))
	a, b := c.join("a"), c.join("b")
	minute := time.Now().Truncate(time.Minute)
	for _, s := range []*site{a, b, a} {
		if err := buildtoken.Fire(t.Context(), s.Controller, "nightly", minute); err != nil {
			t.Fatal(err)
		}
	}
	items, err := a.Items(t.Context(), a.def, "nightly", 10)
	if err != nil {
		t.Fatal(err)
	}
	builds, err := b.Builds(t.Context(), "nightly", 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, e := range items {
		ids[fmt.Sprint(e.Item.ID)] = true
	}
	for _, one := range builds {
		ids[fmt.Sprint(one.Item.ID)] = true
	}
	if len(ids) != 1 {
		t.Errorf("three servers fired for one minute: %d items %v, want 1", len(ids), ids)
	}
}
