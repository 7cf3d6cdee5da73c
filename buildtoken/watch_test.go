package buildtoken_test

import (
	"context"
	"io"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

// untilStopped is a runner whose builds run until they are stopped.
type untilStopped struct{}

func (untilStopped) Run(ctx context.Context, _ runner.Build, _ io.Writer) runner.Result {
	<-ctx.Done()
	return runner.Result{Outcome: runner.Aborted, Reason: context.Cause(ctx).Error()}
}

func TestWatchNotifiesOfEveryChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		q, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
		if err != nil {
			t.Fatal(err)
		}
		c, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: q, Dir: dir, SealKey: vault.NewKey()})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		d, err := definition.Compile(definition.Spec{
			Root:   definition.Folder{Jobs: []definition.Job{{Name: "watched", Runner: untilStopped{}}}},
			Access: definition.Access{Build: "true"},
		})
		if err != nil {
			t.Fatal(err)
		}
		// Watchers of a job's builds must be notified of its builds, and never of the queue or
		// of other jobs.
		ofBuilds := map[string]bool{"a configuration": true, "a start": true, "a stop and an end": true}
		woken := func(changed <-chan struct{}) bool {
			select {
			case <-changed:
				return true
			default:
				return false
			}
		}
		changes := func(what string, want bool, do func()) {
			t.Helper()
			changed := c.Watch()
			builds, others := c.WatchBuilds("watched"), c.WatchBuilds("other")
			do()
			synctest.Wait()
			if got := woken(builds); got != ofBuilds[what] {
				t.Errorf("%s: notified watchers of builds: %v, want %v", what, got, ofBuilds[what])
			}
			if woken(others) && what != "a configuration" {
				t.Errorf("%s: notified watchers of another job's builds", what)
			}
			if notified := woken(changed); notified != want {
				t.Errorf("%s: notified %v, want %v", what, notified, want)
			}
		}
		trigger := func() {
			if _, err := c.Trigger(t.Context(), d, buildtoken.Trigger{
				Caller: definition.Caller{User: "alice", Post: true}, Action: buildtoken.Build, Job: "watched", UserMayTrigger: true,
			}); err != nil {
				t.Fatal(err)
			}
		}
		changes("nothing", false, func() {})
		changes("a configuration", true, func() {
			if _, err := c.Attach(t.Context(), buildtoken.Config{Sites: []*definition.Site{d}}); err != nil {
				t.Fatal(err)
			}
		})
		changes("a refused trigger", false, func() {
			_, _ = c.Trigger(t.Context(), d, buildtoken.Trigger{Job: "nothing"})
		})
		changes("a new item", true, trigger)
		changes("a joined item", true, trigger)
		if n := len(c.Running()); n != 0 {
			t.Errorf("%d builds are running, want none", n)
		}
		changes("a start", true, func() { time.Sleep(definition.DefaultQuietPeriod) })
		if running := c.Running(); len(running) != 1 || running[0].Item.Job != "watched" || running[0].Number != 1 {
			t.Errorf("running builds %+v, want watched #1", running)
		}
		changes("an item that waits", true, trigger)
		changes("a due instant that starts nothing", false, func() { time.Sleep(definition.DefaultQuietPeriod) })
		changes("a cancelled item", true, func() {
			if err := c.Cancel(t.Context(), "watched", 2, "user alice"); err != nil {
				t.Fatal(err)
			}
		})
		changes("a cancelled item that is gone", false, func() {
			if err := c.Cancel(t.Context(), "watched", 2, "user alice"); err == nil {
				t.Error("cancelled twice")
			}
		})
		changes("a stop and an end", true, func() {
			if err := c.StopBuild(t.Context(), "watched", 1, "user alice"); err != nil {
				t.Fatal(err)
			}
		})
		if n := len(c.Running()); n != 0 {
			t.Errorf("%d builds are running, want none", n)
		}
	})
}

// A page shows that a build is being stopped, which can take a while.
func TestWatchNotifiesOfTheRequestToStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{}, definition.Job{Name: "app", Tokens: opens(), Runner: runs(func(context.Context, runner.Build, io.Writer) runner.Result {
			time.Sleep(time.Minute) // whatever ctx says
			return runner.Result{Outcome: runner.Success}
		})})
		s.trigger("app")
		synctest.Wait()
		changed, builds := s.Watch(), s.WatchBuilds("app")
		if err := s.StopBuild(t.Context(), "app", 1, "user alice"); err != nil {
			t.Fatal(err)
		}
		for name, changed := range map[string]<-chan struct{}{"Watch": changed, "WatchBuilds": builds} {
			select {
			case <-changed:
			default:
				t.Errorf("%s: not notified of the request", name)
			}
		}
		if b := s.build("app", 1); !b.Running() {
			t.Errorf("build %+v, want it running", b)
		}
	})
}

// A page shows what a poll has found, even if it is nothing.
func TestWatchNotifiesOfTheEndOfAPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{}, definition.Job{
			Name: "app", Tokens: opens(), Runner: succeeds(),
			Poller: looks(func(context.Context, runner.Build, io.Writer) (bool, error) {
				time.Sleep(time.Minute)
				return false, nil
			}),
		})
		poll(s, "app")
		synctest.Wait()
		changed := s.Watch()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		select {
		case <-changed:
		default:
			t.Error("watchers were not notified")
		}
	})
}
