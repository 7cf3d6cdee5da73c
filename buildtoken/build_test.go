package buildtoken_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/stats"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

func TestBuildEnvironment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got runner.Build
		s := openSite(t, buildtoken.Config{})
		s.attach(definition.Spec{Root: definition.Folder{
			Settings: job.Settings{Env: []job.Var{{Name: "STAGE", Value: "test"}, {Name: "REGION", Value: "eu"}}},
			Folders: []definition.Folder{{
				Name: "tëam a", Tokens: opens(), Settings: job.Settings{Env: []job.Var{{Name: "STAGE", Value: "live"}}, Dir: new("src")},
				Jobs: []definition.Job{{
					Name: "app", Params: []job.Param{{Name: "BRANCH", Kind: job.KindString, Default: "main"}, {Name: "PW", Kind: job.KindPassword}, {Name: "DRY", Kind: job.KindBoolean}},
					Settings: job.Settings{Env: []job.Var{{Name: "OWN", Value: "1"}}},
					Runner: runs(func(_ context.Context, b runner.Build, _ io.Writer) runner.Result {
						got = b
						return runner.Result{Outcome: runner.Success}
					}),
				}},
			}},
		}})
		for range 2 {
			s.trigger("tëam a/app", values("BRANCH", "", "PW", "hidden", "DRY", "on"), func(t *buildtoken.Trigger) {
				t.Cause, t.Remote, t.Trace = new("push"), guesser, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
			})
			synctest.Wait()
		}
		workspace := filepath.Join(s.dir, "workspaces", job.PathElement("tëam a/app"))
		want := runner.Build{
			Job: "tëam a/app", Number: 2, QueueID: 2, Workspace: workspace, Dir: "src",
			Env: []string{
				"CI=true", "JOB_NAME=tëam a/app", "JOB_BASE_NAME=app",
				"JOB_URL=http://ci.example.com/job/t%C3%ABam%20a/job/app/",
				"BUILD_NUMBER=2", "BUILD_ID=2", "BUILD_DISPLAY_NAME=#2", "BUILD_TAG=buildtoken-tëam a-app-2",
				"BUILD_URL=http://ci.example.com/job/t%C3%ABam%20a/job/app/2/",
				"BUILD_CAUSE=Started by remote host 192.0.2.1 with note: push", "QUEUE_ID=2", "NODE_NAME=built-in",
				"EXECUTOR_NUMBER=0", "WORKSPACE=" + workspace, "TRACEPARENT=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
				"REGION=eu", "STAGE=live", "OWN=1",
				"BRANCH=", "PW=hidden", "DRY=true",
			},
			Params: []runner.Param{{Name: "BRANCH"}, {Name: "PW", Value: "hidden", Secret: true}, {Name: "DRY", Value: "true"}},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("build (-want +got):\n%s", diff)
		}
		if info, err := os.Stat(workspace); err != nil || !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("workspace: %v, %v; want a folder for this user only", info, err)
		}
	})
}

// Without a configured limit, a log keeps the first 64 MiB that a build writes.
func TestLogEndsAtTheDefaultLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 64 << 20
		s := openSite(t, buildtoken.Config{}, definition.Job{
			Name: "app", Tokens: opens(),
			Runner: runs(func(_ context.Context, _ runner.Build, log io.Writer) runner.Result {
				block := bytes.Repeat([]byte("x"), limit/8)
				for range 8 {
					_, _ = log.Write(block) // a log that is not written fails the test below
				}
				fmt.Fprint(log, "one more")
				return runner.Result{Outcome: runner.Success}
			}),
		})
		s.trigger("app")
		s.wantResult("app", 1, queue.Success, "")
		lines := s.log("app", 1)
		if len(lines) != 4 || len(lines[1]) != limit {
			t.Fatalf("the log has %d lines, the second one of %d bytes, want 4 and %d", len(lines), len(lines[min(1, len(lines)-1)]), limit)
		}
		if want := fmt.Sprintf("[output limit of %d bytes reached, the rest is dropped]", limit); lines[2] != want {
			t.Errorf("after the output comes %.100q, want %q", lines[2], want)
		}
	})
}

// A log has another limit if one is configured, and none if it is negative.
func TestLogEndsAtItsLimit(t *testing.T) {
	for limit, want := range map[int64][]string{
		10: {"0123456789", "[output limit of 10 bytes reached, the rest is dropped]"},
		-1: {"0123456789ABC"},
	} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			c, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: openFailing(t, dir), Dir: dir, LogLimit: limit, Node: "n1"})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			s := &site{Controller: c, t: t, cfg: buildtoken.Config{}}
			s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: runs(
				func(_ context.Context, _ runner.Build, log io.Writer) runner.Result {
					fmt.Fprint(log, "0123456789ABC")
					return runner.Result{Outcome: runner.Success}
				})}}}})
			s.trigger("app")
			s.wantResult("app", 1, queue.Success, "")
			if diff := cmp.Diff(append(want, "Finished: SUCCESS"), s.log("app", 1)[1:]); diff != "" {
				t.Errorf("log with a limit of %d bytes (-want +got):\n%s", limit, diff)
			}
			if node := s.build("app", 1).Node; node != "n1" || c.Name() != "n1" {
				t.Errorf("the build ran on %q, Name = %q, want the configured name n1", node, c.Name())
			}
		})
	}
}

// Running builds are listed by their executors, and remote ones by their slots.
func TestRunningBuildsAreInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		named := func(name string, r runner.Runner) definition.Job {
			return definition.Job{Name: name, Tokens: opens(), Runner: r, Concurrent: true, Coalesce: job.Never}
		}
		s := openSite(t, buildtoken.Config{Executors: 6},
			named("short", lasts(time.Minute)), named("long", lasts(time.Hour)), named("far", remotely{lasts(time.Hour)}))
		trigger := func(full string, n int) {
			for range n {
				s.trigger(full)
				synctest.Wait()
			}
		}
		want := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			var got []string
			for _, b := range append(s.Running(), s.RunningRemote()...) {
				got = append(got, fmt.Sprint(b.Item.Job, " in ", b.Executor))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("running builds %s (-want +got):\n%s", when, diff)
			}
		}
		trigger("short", 3)
		trigger("far", 3)
		trigger("long", 3)
		want("at first", "short in 0", "short in 1", "short in 2", "long in 3", "long in 4", "long in 5", "far in 0", "far in 1", "far in 2")
		time.Sleep(2 * time.Minute)
		trigger("long", 2)
		want("after some have ended", "long in 0", "long in 1", "long in 3", "long in 4", "long in 5", "far in 0", "far in 1", "far in 2")
		time.Sleep(2 * time.Hour)
		want("after all have ended")
	})
}

func TestResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := func(o runner.Outcome, reason string) runs {
			return func(_ context.Context, _ runner.Build, log io.Writer) runner.Result {
				fmt.Fprint(log, "output without an end of line")
				return runner.Result{Outcome: o, Reason: reason}
			}
		}
		s := openSite(t, buildtoken.Config{Executors: 20})
		var jobs []definition.Job
		add := func(name string, r runner.Runner, s job.Settings) {
			jobs = append(jobs, definition.Job{Name: name, Tokens: opens(), Runner: r, Settings: s})
		}
		none := job.Settings{}
		add("success", ends(runner.Success, "ignored"), none)
		add("failure", ends(runner.Failure, "exit status 3"), none)
		add("unstable", ends(runner.Unstable, "3 tests failed"), none)
		add("lines", ends(runner.Failure, "a\nFinished: SUCCESS"), none)
		add("not built", ends(runner.NotBuilt, "no such program"), none)
		add("no outcome", ends("", ""), none)
		add("panic", runs(func(context.Context, runner.Build, io.Writer) runner.Result { panic("broken") }), none)
		add("timeout", lasts(time.Hour), job.Settings{Timeout: new(90 * time.Second)})
		add("in time", lasts(time.Minute), job.Settings{Timeout: new(90 * time.Second)})
		add("stopped", lasts(time.Hour), none)
		add("shutdown", lasts(time.Hour), none)
		s.cfg.ShutdownTimeout = 10 * time.Second
		s.attach(definition.Spec{Root: definition.Folder{Jobs: jobs}})
		for _, j := range jobs {
			s.trigger(j.Name)
		}
		synctest.Wait()
		if err := s.StopBuild(t.Context(), "stopped", 1, "user alice"); err != nil {
			t.Errorf("StopBuild = %v", err)
		}
		s.wantResult("success", 1, queue.Success, "")
		s.wantResult("failure", 1, queue.Failure, "exit status 3")
		s.wantResult("unstable", 1, queue.Unstable, "3 tests failed")
		s.wantResult("lines", 1, queue.Failure, "a Finished: SUCCESS")
		s.wantResult("not built", 1, queue.NotBuilt, "no such program")
		s.wantResult("no outcome", 1, queue.Failure, `the runner gave an unknown result ""`)
		s.wantResult("panic", 1, queue.Failure, "the runner panicked; see the server's log")
		s.wantResult("stopped", 1, queue.Aborted, "stopped by user alice")
		if err := s.StopBuild(t.Context(), "stopped", 1, "user bob"); !errors.Is(err, queue.ErrNotRunning) {
			t.Errorf("StopBuild of an ended build = %v, want ErrNotRunning", err)
		}
		if err := s.StopBuild(t.Context(), "stopped", 7, "user bob"); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("StopBuild of no build = %v, want ErrNotFound", err)
		}
		time.Sleep(100 * time.Second)
		s.wantResult("timeout", 1, queue.Aborted, "timed out after 1m30s")
		s.wantResult("in time", 1, queue.Success, "")

		want := []string{"Started by remote host (no address)", "output without an end of line", "exit status 3", "Finished: FAILURE"}
		if diff := cmp.Diff(want, s.log("failure", 1)); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
		start := time.Now()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("Close took %v, want the shutdown timeout of 10s", took)
		}
		s.open()
		s.wantResult("shutdown", 1, queue.Aborted, "the server was shut down")
	})
}

// A build that is stopped between its claim and its start is ABORTED, because it did not fail.
func TestBuildStoppedBeforeItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := false
		polling := make(chan struct{})
		s := openSite(t, buildtoken.Config{}, definition.Job{
			Name: "app", Tokens: opens(),
			Runner: runs(func(context.Context, runner.Build, io.Writer) runner.Result {
				started = true
				return runner.Result{Outcome: runner.Success}
			}),
			Poller: looks(func(context.Context, runner.Build, io.Writer) (bool, error) { <-polling; return false, nil }),
		})
		poll(s, "app")
		synctest.Wait()
		s.trigger("app")
		synctest.Wait()
		if err := s.StopBuild(t.Context(), "app", 1, "user alice"); err != nil {
			t.Fatal(err)
		}
		s.wantResult("app", 1, queue.Aborted, "stopped by user alice")
		close(polling)
		if started {
			t.Error("the build ran")
		}
	})
}

// forgets is a queue that cannot record the end of a build until a time.
type forgets struct {
	buildtoken.Queue
	until time.Time
}

func (q forgets) Finish(ctx context.Context, now time.Time, job string, number int64, r queue.Result, reason string) (queue.Build, error) {
	if time.Now().Before(q.until) {
		return queue.Build{}, queue.ErrStorage
	}
	return q.Queue.Finish(ctx, now, job, number, r, reason)
}

// A build whose end cannot be recorded counts as running until it can.
func TestEndThatCannotBeRecordedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{})
		s.reopenShared(func(q cutOff) buildtoken.Queue { return forgets{q, start().Add(time.Minute)} })
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: succeeds()}}}})
		s.trigger("app")
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if b := s.build("app", 1); !b.Running() || len(s.Running()) != 1 || s.Stats().Jobs[0].Results[queue.Success] != 0 {
			t.Errorf("build %+v, %d running, counters %+v; want it to count as running", b, len(s.Running()), s.Stats().Jobs)
		}
		time.Sleep(10 * time.Minute)
		s.wantResult("app", 1, queue.Success, "")
		if n := s.Stats().Jobs[0].Results[queue.Success]; n != 1 || len(s.Running()) != 0 {
			t.Errorf("%d ends were counted, and %d builds run; want one and none", n, len(s.Running()))
		}
	})
}

func TestJobThatIsGoneOrCannotBeOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := definition.Job{Name: "app", Tokens: opens(), Runner: succeeds(), Params: []job.Param{{Name: "P", Kind: job.KindPassword}}}
		gone := definition.Job{Name: "gone", Tokens: opens(), Runner: succeeds()}
		s := openSite(t, buildtoken.Config{}, app, gone)
		s.trigger("gone", delayed("10s"))
		item := s.trigger("app", values("P", "hidden"), delayed("10s")).Item
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s.key = vault.NewKey()
		s.open()
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{app}}})
		time.Sleep(10*time.Second - 1)
		synctest.Wait()
		if entry, err := s.Entry(t.Context(), s.def, item.ID); err != nil || entry.State != queue.Waiting {
			t.Errorf("Entry = %+v, %v; want it waiting", entry, err)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if entry, err := s.Entry(t.Context(), s.def, 1); err != nil || entry.Blockage.Reason != queue.NoServer {
			t.Errorf("Entry of a job that is gone = %+v, %v; want it waiting for a server", entry, err)
		}
		if items, err := s.Items(t.Context(), s.def, "", 10); err != nil || len(items) != 1 || items[0].Item.ID != 1 {
			t.Errorf("Items = %+v, %v; want the item of the job that is gone", items, err)
		}
		if lanes, err := s.Gone(t.Context()); err != nil || len(lanes) != 1 || lanes[0].Job != "gone" || lanes[0].Queued != 1 {
			t.Errorf("Gone = %+v, %v; want the job with one item", lanes, err)
		}
		time.Sleep(buildtoken.DefaultOrphanTimeout)
		s.wantResult("gone", 1, queue.NotBuilt, "the job is not in the configuration any more")
		s.wantResult("app", 1, queue.NotBuilt, "a password parameter cannot be opened: the key file is not the one with which it was queued (P)")

		// The site must not reveal builds of a job that it does not have.
		if _, err := s.Entry(t.Context(), s.def, 1); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("Entry of a job that the site does not have = %v, want ErrNotFound", err)
		}
	})
}

func TestLogThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{}, definition.Job{Name: "app", Tokens: opens(), Runner: succeeds()})
		if err := os.WriteFile(filepath.Join(s.dir, "logs"), nil, 0o600); err != nil { // a file where the folder should be
			t.Fatal(err)
		}
		s.trigger("app")
		synctest.Wait()
		b := s.build("app", 1)
		if b.Result != queue.NotBuilt || !strings.HasPrefix(b.Reason, "the console log cannot be written: ") {
			t.Errorf("build ended %s, %q", b.Result, b.Reason)
		}
		if _, err := s.Log(t.Context(), "app", 1); err == nil {
			t.Error("Log = nil error, there is no log")
		}
		s.wantEndLogged("app", 1, queue.NotBuilt)
	})
}

// TestOldestDue skips items that wait for a change of the configuration.
func TestOldestDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{}, definition.Job{Name: "app", Tokens: opens(), Runner: lasts(time.Hour)}, definition.Job{Name: "off", Tokens: opens(), Runner: succeeds()})
		want := func(when string, due time.Time) {
			t.Helper()
			if got, err := s.OldestDue(t.Context()); err != nil || !got.Equal(due) {
				t.Errorf("OldestDue %s = %v, %v; want %v", when, got, err, due)
			}
		}
		want("of an empty queue", time.Time{})
		s.trigger("off", delayed("1h"))
		want("of an item that is not due", time.Time{})
		s.trigger("app")
		synctest.Wait()
		began := time.Now()
		time.Sleep(time.Minute)
		s.trigger("app")
		time.Sleep(time.Minute)
		want("of an item that waits for a build of its job", began.Add(time.Minute).Truncate(time.Millisecond))
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: lasts(time.Hour)}, {Name: "off", Disabled: true, Tokens: opens(), Runner: succeeds()}}}})
		time.Sleep(61 * time.Minute)
		synctest.Wait()
		want("of an item of a disabled job", time.Time{})
	})
}

// held is a queue with items that wait for a change of the configuration, and one behind them.
type held struct {
	buildtoken.Queue
	n int
}

func (q held) Items(_ context.Context, _ time.Time, _ string, limit int) ([]queue.Entry, error) {
	var all []queue.Entry
	for i := range min(limit, q.n+1) {
		e := queue.Entry{Item: queue.Item{ID: int64(i + 1), Due: start()}, Blockage: queue.Blockage{Reason: queue.NoServer}}
		if i == q.n {
			e.Blockage = queue.Blockage{Reason: queue.NoExecutor}
		}
		all = append(all, e)
	}
	return all, nil
}

// OldestDue looks behind items that wait for a change of the configuration, but not without a limit.
func TestOldestDueBehindOthers(t *testing.T) {
	for n, want := range map[int]time.Time{0: start(), 19: start(), 20: start(), 999: start(), 1000: {}, 5000: {}} {
		dir := t.TempDir()
		c, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: held{openFailing(t, dir), n}, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.OldestDue(t.Context()); err != nil || !got.Equal(want) {
			t.Errorf("OldestDue behind %d items = %v, %v; want %v", n, got, err, want)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestOldLogUnderANewNumber starts with a log whose build is not on record, as after the
// restore of an older queue. The build that gets this number has a new log.
func TestOldLogUnderANewNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{}, definition.Job{Name: "app", Tokens: opens(), Runner: succeeds(), Settings: job.Settings{KeepBuilds: new(1)}})
		folder := filepath.Join(s.dir, "logs", job.PathElement("app"))
		old := filepath.Join(folder, "1.log")
		if err := errors.Join(os.MkdirAll(folder, 0o700), os.WriteFile(old, []byte("of another time\nFinished: FAILURE\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
		s.trigger("app")
		synctest.Wait()
		s.wantResult("app", 1, queue.Success, "")
		if text, err := os.ReadFile(old); err != nil || bytes.Contains(text, []byte("another time")) || !bytes.Contains(text, []byte("Finished: SUCCESS")) {
			t.Errorf("log of build 1: %q, %v; want only its own", text, err)
		}
		if text, err := os.ReadFile(old + ".old"); err != nil || !bytes.Contains(text, []byte("another time")) {
			t.Errorf("the old log: %q, %v; want it put aside", text, err)
		}
		s.trigger("app")
		synctest.Wait()
		s.wantResult("app", 2, queue.Success, "")
		if left, err := os.ReadDir(folder); err != nil || len(left) != 2 || left[0].Name() != "2.log" || left[1].Name() != "2.log.times" {
			t.Errorf("logs after build 1 was dropped: %v, %v; want that of build 2 with its times alone", left, err)
		}
	})
}

func TestRetentionDropsLogsAndRecordsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{KeepBuilds: 3},
			definition.Job{Name: "app", Tokens: opens(), Runner: succeeds()},
			definition.Job{Name: "own", Tokens: opens(), Runner: succeeds(), Settings: job.Settings{KeepBuilds: new(1)}},
			definition.Job{Name: "all", Tokens: opens(), Runner: succeeds(), Settings: job.Settings{KeepBuilds: new(0)}})
		want := func(full string, numbers ...int64) {
			t.Helper()
			synctest.Wait()
			builds, err := s.Builds(t.Context(), full, 0, 100)
			if err != nil {
				t.Fatal(err)
			}
			var got []int64
			for _, b := range slices.Backward(builds) {
				got = append(got, b.Number)
			}
			if diff := cmp.Diff(numbers, got); diff != "" {
				t.Errorf("builds of %s on record (-want +got):\n%s", full, diff)
			}
			logs, err := os.ReadDir(filepath.Join(s.dir, "logs", job.PathElement(full)))
			if err != nil {
				t.Fatal(err)
			}
			var names, wantNames []string
			for _, e := range logs {
				names = append(names, e.Name())
			}
			for _, n := range numbers {
				wantNames = append(wantNames, fmt.Sprintf("%d.log", n), fmt.Sprintf("%d.log.times", n))
			}
			if diff := cmp.Diff(wantNames, names); diff != "" {
				t.Errorf("logs of %s (-want +got):\n%s", full, diff)
			}
		}
		first := s.trigger("app").Item.ID
		synctest.Wait()
		for range 4 {
			for _, full := range []string{"app", "own", "all"} {
				s.trigger(full)
			}
			synctest.Wait()
		}
		want("app", 3, 4, 5)
		want("own", 4)
		want("all", 1, 2, 3, 4)
		if _, err := s.Entry(t.Context(), s.def, first); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("Entry of a dropped build = %v, want ErrNotFound", err)
		}
		// The end of the next build removes what a crash left behind.
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, "logs", job.PathElement("app"), "2.log"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s.open()
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: succeeds()}}}})
		s.trigger("app")
		want("app", 4, 5, 6)
	})
}

// crash simulates a SIGKILL: it copies the files of the running controller, and opens another
// controller on the copy.
func (s *site) crash() {
	s.t.Helper()
	synctest.Wait()
	old, dir := s.Controller, s.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(s.dir)); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = old.Close() })
	s.dir = dir
	s.open()
}

// reaps is a runner whose builds outlive their server.
type reaps struct {
	runs
	reap func(b runner.Build) (int, error)
}

func (r reaps) Reap(_ context.Context, b runner.Build) (int, error) { return r.reap(b) }

func TestLostBuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var reaped []string
		app := definition.Job{Name: "app", Tokens: opens(), Concurrent: true, Runner: reaps{
			runs: func(ctx context.Context, b runner.Build, log io.Writer) runner.Result {
				fmt.Fprintln(log, "working")
				fmt.Fprint(log, "half a li")
				return lasts(time.Hour)(ctx, b, log)
			},
			reap: func(b runner.Build) (int, error) {
				mu.Lock()
				defer mu.Unlock()
				reaped = append(reaped, fmt.Sprintf("%s #%d item %d in %s", b.Job, b.Number, b.QueueID, filepath.Base(b.Workspace)))
				if b.Number == 2 {
					return 0, errors.New("no such thing")
				}
				return 2, nil
			},
		}}
		s := openSite(t, buildtoken.Config{}, app)
		for range 2 {
			s.trigger("app")
			synctest.Wait()
		}
		if got := s.build("app", 2); !got.Running() {
			t.Fatalf("build 2 = %+v, want it running", got)
		}
		s.crash()
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{app}}})
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{app}}}) // only the first one looks for lost builds
		for number := range int64(2) {
			s.wantResult("app", number+1, queue.Aborted, "lost: the server stopped while the build was running")
			s.wantEndLogged("app", number+1, queue.Aborted)
		}
		if got := s.Stats(); got.Lost != 2 || got.Jobs[0].Results[queue.Aborted] != 2 {
			t.Errorf("Stats = %+v, want two lost builds that ended ABORTED", got)
		}
		if got := s.log("app", 1)[1:3]; fmt.Sprint(got) != "[working half a li]" {
			t.Errorf("log = %q, want what the build wrote", got)
		}
		element := job.PathElement("app")
		slices.Sort(reaped)
		want := []string{
			"app #1 item 1 in " + element, "app #1 item 1 in " + element + "@2",
			"app #2 item 2 in " + element, "app #2 item 2 in " + element + "@2",
		}
		if diff := cmp.Diff(want, reaped); diff != "" {
			t.Errorf("reaped (-want +got):\n%s", diff)
		}
		if got := s.trigger("app").Item.ID; got != 3 {
			t.Errorf("the next item is %d, want 3: lost builds are not queued again", got)
		}
		synctest.Wait()
		if got := s.build("app", 3); !got.Running() {
			t.Errorf("the next build = %+v, want number 3", got)
		}
	})
}

// If a server dies while it ends the processes of lost builds, the builds must still be on
// record. Otherwise the next server does not end the other processes.
func TestLostBuildIsOnRecordUntilItsProcessesAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *site
		reaped, dies := 0, true
		app := definition.Job{Name: "app", Tokens: opens(), Runner: reaps{
			runs: lasts(time.Hour),
			reap: func(b runner.Build) (int, error) {
				reaped++
				if got := s.build("app", b.Number); !got.Running() {
					t.Errorf("build = %+v on record while its processes are ended, want it running", got)
				}
				if dies {
					dies = false
					s.crash()
				}
				return 1, nil
			},
		}}
		spec := definition.Spec{Root: definition.Folder{Jobs: []definition.Job{app}}}
		s = openSite(t, buildtoken.Config{}, app)
		s.trigger("app")
		synctest.Wait()
		s.crash()
		s.attach(spec) // dies half-way through
		s.attach(spec) // by the next server
		if reaped != 2 {
			t.Errorf("processes were ended %d times, want 2: once by each server", reaped)
		}
		s.wantResult("app", 1, queue.Aborted, "lost: the server stopped while the build was running")
	})
}

func TestAttachAndDetach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var ran []string
		config := func(name string, settings job.Settings) definition.Spec {
			return definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Concurrent: true, Tokens: opens(), Settings: settings, Runner: runs(
				func(ctx context.Context, b runner.Build, log io.Writer) runner.Result {
					mu.Lock()
					ran = append(ran, fmt.Sprintf("#%d by %s", b.Number, name))
					mu.Unlock()
					return lasts(time.Minute)(ctx, b, log)
				})}}}}
		}
		s := openSite(t, buildtoken.Config{})
		s.detach()
		s.cfg.Executors = 1
		detachFirst := s.attach(config("first", job.Settings{}))
		firstDef := s.def
		s.trigger("app", delayed("0"))
		synctest.Wait()
		s.cfg.Executors = 3
		detachSecond := s.attach(config("second", job.Settings{}))
		if s.Executors() != 3 {
			t.Errorf("Executors = %d, want 3", s.Executors())
		}
		s.trigger("app") // beside the running one, since there are more executors now
		synctest.Wait()
		// A request that arrived under the first configuration can end under the second.
		if _, err := s.Trigger(t.Context(), firstDef, ask("app", func(t *buildtoken.Trigger) { t.Cause = new("late") })); err != nil {
			t.Errorf("Trigger with an earlier definition = %v", err)
		}
		synctest.Wait()
		detachSecond() // a reload that failed after all
		detachSecond()
		s.def = firstDef
		time.Sleep(2 * time.Minute)
		s.trigger("app")
		synctest.Wait()
		if s.Executors() != 1 {
			t.Errorf("Executors = %d after the reload was taken back, want 1", s.Executors())
		}
		detachFirst()
		s.refused(buildtoken.ErrShuttingDown, ask("app"))
		if b := s.build("app", 4); !b.Running() {
			t.Errorf("build 4 = %+v, want it running while nothing is attached", b)
		}
		time.Sleep(time.Minute)
		s.wantResult("app", 4, queue.Success, "")
		if diff := cmp.Diff([]string{"#1 by first", "#2 by second", "#3 by second", "#4 by first"}, ran); diff != "" {
			t.Errorf("builds (-want +got):\n%s", diff)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Attach(ctx, buildtoken.Config{}); !errors.Is(err, context.Canceled) {
			t.Errorf("Attach with an ended context = %v, want context.Canceled", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Attach(t.Context(), buildtoken.Config{}); !errors.Is(err, buildtoken.ErrShuttingDown) {
			t.Errorf("Attach after Close = %v, want ErrShuttingDown", err)
		}
		detachFirst()
		s.refused(buildtoken.ErrShuttingDown, ask("app"))
	})
}

// A job of several sites is that of the first one. Its notifications go to the first receiver of a target.
func TestJobOfSeveralSites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran []string
		var to [2]inbox
		sites := make([]*definition.Site, 2)
		for i := range sites {
			j := notified("app", &to[i])
			j.Runner = runs(func(context.Context, runner.Build, io.Writer) runner.Result {
				ran = append(ran, fmt.Sprint("site ", i))
				return runner.Result{Outcome: runner.Success}
			})
			sites[i] = define(t, definition.Spec{Root: definition.Folder{Jobs: []definition.Job{j}}})
		}
		s := openSite(t, buildtoken.Config{})
		if _, err := s.Attach(t.Context(), buildtoken.Config{Sites: sites}); err != nil {
			t.Fatal(err)
		}
		s.def = sites[1]
		s.triggerNow("app")
		if diff := cmp.Diff([]string{"site 0"}, ran); diff != "" {
			t.Errorf("ran (-want +got):\n%s", diff)
		}
		to[0].want(t, "0s app #1 endedSUCCESS")
		to[1].want(t)
	})
}

// A reload that has begun is completed, whatever becomes of its context, and can be taken back.
func TestAttachIsCompleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		q := openFailing(t, dir)
		c, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: q, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx, cancel := context.WithCancel(t.Context())
		q.before = cancel
		s := &site{Controller: c, t: t, dir: dir}
		s.def = define(t, definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: succeeds()}}}})
		if _, err := c.Attach(ctx, buildtoken.Config{Sites: []*definition.Site{s.def}, Executors: 1}); err != nil {
			t.Fatalf("Attach whose context ends = %v", err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		q.before = cancel
		core, logs := observer.New(zap.ErrorLevel)
		second, err := c.Attach(ctx, buildtoken.Config{Executors: 2, Log: zap.New(core)})
		if err != nil {
			t.Fatalf("Attach whose context ends = %v", err)
		}
		second()
		if c.Executors() != 1 || logs.Len() > 0 {
			t.Errorf("%d executors after the second configuration was taken back, errors %v; want 1 and none", c.Executors(), logs.All())
		}
		s.trigger("app")
		s.wantResult("app", 1, queue.Success, "")
	})
}

// A configuration whose rules cannot be put back takes the place of the one that ends all the same.
func TestDetachThatCannotPutRulesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.ErrorLevel)
		dir := t.TempDir()
		q := openFailing(t, dir)
		c, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: q, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s := &site{Controller: c, t: t, dir: dir, cfg: buildtoken.Config{Log: zap.New(core), Executors: 1}}
		spec := definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: succeeds()}}}}
		s.attach(spec)
		s.cfg.Executors = 2
		second := s.attach(spec)
		q.setRules = queue.ErrStorage
		second()
		if c.Executors() != 1 {
			t.Errorf("Executors = %d, want that of the first configuration", c.Executors())
		}
		if diff := cmp.Diff([]string{"error rules of the earlier configuration could not be put back into the queue:"}, logged(logs.All())); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
		s.trigger("app")
		s.wantResult("app", 1, queue.Success, "")
	})
}

// In every reload, the old configuration ends after the new one began. That must change
// nothing.
func TestDetachOfAnOlderConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := definition.Job{Name: "app", Tokens: opens(), Runner: succeeds()}
		s := openSite(t, buildtoken.Config{}, app)
		old := s.detach
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{app}}})
		changed := s.Watch()
		old()
		select {
		case <-changed:
			t.Error("watchers were notified of a configuration")
		default:
		}
		s.trigger("app")
		s.wantResult("app", 1, queue.Success, "")
		s.detach()
		s.refused(buildtoken.ErrShuttingDown, ask("app"))
	})
}

func TestQueuedItemsWaitWhileNothingIsAttached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, far := definition.Job{Name: "app", Tokens: opens(), Runner: succeeds()}, definition.Job{Name: "far", Tokens: opens(), Runner: remotely{succeeds()}}
		s := openSite(t, buildtoken.Config{}, app, far)
		id := s.trigger("app", delayed("5s")).Item.ID
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s.open()
		time.Sleep(time.Hour)
		synctest.Wait()
		entry, err := s.Entry(t.Context(), s.def, id)
		if err != nil || entry.State != queue.Buildable {
			t.Errorf("Entry = %+v, %v; want it buildable, since no configuration is attached", entry, err)
		}
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{app, far}}})
		s.wantResult("app", 1, queue.Success, "")

		items := []int64{s.trigger("app", delayed("5s")).Item.ID, s.trigger("far", delayed("5s")).Item.ID}
		s.detach()
		time.Sleep(time.Hour)
		synctest.Wait()
		for _, id := range items {
			if entry, err := s.Entry(t.Context(), s.def, id); err != nil || entry.State != queue.Buildable {
				t.Errorf("Entry = %+v, %v; want it buildable, since no configuration is attached any more", entry, err)
			}
		}
	})
}

func TestDisabledJobHoldsItsItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := definition.Job{Name: "app", Tokens: opens(), Runner: succeeds()}
		s := openSite(t, buildtoken.Config{}, app)
		id := s.trigger("app", delayed("5s")).Item.ID
		app.Disabled = true
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{app}}})
		time.Sleep(time.Hour)
		synctest.Wait()
		entry, err := s.Entry(t.Context(), s.def, id)
		if err != nil || entry.State != queue.Blocked || entry.Blockage.Reason != queue.JobDisabled {
			t.Errorf("Entry = %+v, %v; want it blocked because the job is disabled", entry, err)
		}
		s.detach() // enabled again
		s.wantResult("app", 1, queue.Success, "")
	})
}

func TestLabelHoldsItemsUntilTheServerHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gpu := definition.Job{Name: "gpu", Tokens: opens(), Runner: succeeds()}
		gpu.Settings.Label = new("gpu")
		named := definition.Job{Name: "named", Tokens: opens(), Runner: succeeds()}
		named.Settings.Label = new(buildtoken.DefaultNode)
		plain := definition.Job{Name: "plain", Tokens: opens(), Runner: succeeds()}
		jobs := definition.Spec{Root: definition.Folder{Jobs: []definition.Job{gpu, named, plain}}}
		s := openSite(t, buildtoken.Config{Executors: 1})
		s.attach(jobs)
		id := s.trigger("gpu").Item.ID
		s.trigger("named")
		s.trigger("plain")
		time.Sleep(time.Hour)
		s.wantResult("named", 1, queue.Success, "")
		s.wantResult("plain", 1, queue.Success, "")
		want := queue.Blockage{Reason: queue.NoNode, Label: "gpu"}
		entry, err := s.Entry(t.Context(), s.def, id)
		if err != nil || entry.State != queue.Buildable || entry.Blockage != want {
			t.Errorf("Entry = %+v, %v; want it buildable, and no node", entry, err)
		}
		if items, err := s.Items(t.Context(), s.def, "", 10); err != nil || len(items) != 1 || items[0].Blockage != want {
			t.Errorf("Items = %+v, %v; want one that no node can run", items, err)
		}
		s.cfg.Labels = []string{"linux", "gpu"}
		s.attach(jobs)
		s.wantResult("gpu", 1, queue.Success, "")
	})
}

func TestConcurrentBuildsHaveSeparateWorkspaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []string
		s := openSite(t, buildtoken.Config{Executors: 3}, definition.Job{
			Name: "app", Tokens: opens(), Concurrent: true, Coalesce: job.Never,
			Runner: runs(func(ctx context.Context, b runner.Build, log io.Writer) runner.Result {
				mu.Lock()
				got = append(got, filepath.Base(b.Workspace))
				mu.Unlock()
				return lasts(time.Duration(b.Number)*time.Second)(ctx, b, log)
			}),
		})
		for range 4 { // the fourth begins when the first has ended
			s.trigger("app")
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		own := job.PathElement("app")
		if diff := cmp.Diff([]string{own, own + "@2", own + "@3", own}, got); diff != "" {
			t.Errorf("workspaces (-want +got):\n%s", diff)
		}
	})
}

func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{QueueLimit: 1},
			definition.Job{Name: "app", Tokens: opens(), Runner: succeeds()},
			definition.Job{Name: "denied", Tokens: opens(), Runner: succeeds(), Allow: rulesOf("false")},
			definition.Job{Name: "other", Tokens: opens(), Runner: succeeds()})
		s.trigger("app", delayed("5s"))
		s.trigger("app", delayed("5s"))
		s.refused(policy.ErrDenied, ask("denied"))
		s.refused(definition.ErrUnknownJob, ask("nowhere"))
		s.guess("app", guesser, 20)
		s.refused(queue.ErrFull, ask("other"))
		_, _ = s.Trigger(t.Context(), s.def, ask("app", func(t *buildtoken.Trigger) { t.Remote = guesser }))
		s.refused(job.ErrDelay, ask("app", delayed("soon")))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		ended := func(successes uint64) map[queue.Result]uint64 {
			return map[queue.Result]uint64{queue.Success: successes, queue.Unstable: 0, queue.Failure: 0, queue.Aborted: 0, queue.NotBuilt: 0}
		}
		atOnce := stats.Durations{N: 1}
		for i := range atOnce.Counts {
			atOnce.Counts[i] = 1
		}
		want := stats.Stats{
			Jobs: []stats.Job{
				{Name: "app", Created: 1, Joined: 1, Refused: 22, Results: ended(1), Took: atOnce},
				{Name: "denied", Refused: 1, Results: ended(0)},
				{Name: "other", Refused: 1, Results: ended(0)},
			},
			Waited:  atOnce,
			Refused: map[stats.Reason]uint64{"full": 1, "policy": 1, "unknown": 1, "token": 20, "throttled": 1, "storage": 0, "other": 1},
		}
		if diff := cmp.Diff(want, s.Stats()); diff != "" {
			t.Errorf("Stats (-want +got):\n%s", diff)
		}
	})
}

func TestItemsOfOneSiteAreFoundBehindThoseOfAnother(t *testing.T) {
	mine := definition.Job{Name: "mine", Tokens: opens(), Coalesce: job.Never, Runner: succeeds()}
	other := mine
	other.Name = "other"
	s := openSite(t, buildtoken.Config{}, mine, other)
	for range 50 {
		s.trigger("other", delayed("1h"))
	}
	for range 3 {
		s.trigger("mine", delayed("2h"))
	}
	own := define(t, definition.Spec{Root: definition.Folder{Jobs: []definition.Job{mine}}})
	for limit, want := range map[int]int{-1: 0, 0: 0, 1: 1, 2: 2, 3: 3, 100: 3} {
		items, err := s.Items(t.Context(), own, "", limit)
		if err != nil || len(items) != want {
			t.Errorf("Items(limit %d) = %d items, %v; want %d", limit, len(items), err, want)
		}
	}
}

// failing is a queue that returns the errors which are set.
type failing struct {
	buildtoken.Queue
	reclaim, refs, setRules, schedule, lanes, uses, close error
	before                                                func() // is called before SetRules and Reclaim; may be nil
	closed                                                int
}

func (q *failing) Reclaim(ctx context.Context, now time.Time, reason string, keep func(queue.Build) bool) ([]queue.Build, error) {
	if q.reclaim != nil {
		return nil, q.reclaim
	}
	if q.before != nil {
		q.before()
	}
	return q.Queue.Reclaim(ctx, now, reason, keep)
}

func (q *failing) Schedule(ctx context.Context, now time.Time, r queue.Request) (queue.Item, bool, error) {
	if q.schedule != nil {
		return queue.Item{}, false, q.schedule
	}
	return q.Queue.Schedule(ctx, now, r)
}

func (q *failing) Refs(ctx context.Context) ([]string, error) {
	if q.refs != nil {
		return nil, q.refs
	}
	return q.Queue.Refs(ctx)
}

func (q *failing) SetRules(ctx context.Context, now time.Time, c queue.Config) error {
	if q.setRules != nil {
		return q.setRules
	}
	if q.before != nil {
		q.before()
	}
	return q.Queue.SetRules(ctx, now, c)
}

func (q *failing) AllLanes(ctx context.Context) ([]queue.Lane, error) {
	if q.lanes != nil {
		return nil, q.lanes
	}
	return q.Queue.AllLanes(ctx)
}

func (q *failing) TokenUses(ctx context.Context) ([]queue.TokenUse, error) {
	if q.uses != nil {
		return nil, q.uses
	}
	return q.Queue.TokenUses(ctx)
}

func (q *failing) Close() error {
	q.closed++
	return errors.Join(q.Queue.Close(), q.close)
}

func openFailing(t *testing.T, dir string) *failing {
	t.Helper()
	q, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db"), Commit: commitFast})
	if err != nil {
		t.Fatal(err)
	}
	return &failing{Queue: q}
}

// locked is a shared queue that is used with another key. It closes another queue with itself.
type locked struct {
	cutOff
	closes io.Closer
}

func (locked) UseKey(context.Context, []byte) error { return queue.ErrClosed }
func (q locked) Close() error                       { return errors.Join(q.cutOff.Close(), q.closes.Close()) }

// Close returns the error of the queue, each time.
func TestCloseReturnsTheErrorOfTheQueue(t *testing.T) {
	dir := t.TempDir()
	q := openFailing(t, dir)
	q.close = queue.ErrStorage
	c, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: q, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Close(); !errors.Is(err, queue.ErrStorage) {
			t.Errorf("Close = %v, want %v", err, queue.ErrStorage)
		}
	}
	if q.closed != 1 || !c.ShuttingDown() {
		t.Errorf("the queue was closed %d times, ShuttingDown = %v; want once, true", q.closed, c.ShuttingDown())
	}
}

// While it drains, the controller takes triggers but starts no builds, and reports why it waits.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		polled := make(chan error, 1)
		s := openSite(t, buildtoken.Config{ShutdownTimeout: time.Minute}, hourly(func(j *definition.Job) { j.Schedules[0].Spec = "* * * * *" }),
			definition.Job{Name: "long", Tokens: opens(), Runner: lasts(50 * time.Second)},
			definition.Job{Name: "app", Tokens: opens(), Runner: succeeds(), Poller: looks(func(ctx context.Context, _ runner.Build, _ io.Writer) (bool, error) {
				<-ctx.Done()
				polled <- context.Cause(ctx)
				time.Sleep(20 * time.Second)
				return false, nil
			})},
			definition.Job{Name: "other", Tokens: opens(), Runner: succeeds()})
		if s.ShuttingDown() {
			t.Error("ShuttingDown = true before anything")
		}
		time.Sleep(time.Second)
		s.trigger("long")
		poll(s, "app")
		synctest.Wait()
		drained := make(chan time.Duration, 1)
		began := time.Now()
		go func() { s.Drain(); drained <- time.Since(began) }()
		synctest.Wait()
		if err := <-polled; !errors.Is(err, buildtoken.ErrShuttingDown) {
			t.Errorf("the poll ended with %v, want %v", err, buildtoken.ErrShuttingDown)
		}
		if !s.ShuttingDown() {
			t.Error("ShuttingDown = false")
		}
		item := s.trigger("other", delayed("5s")).Item.ID
		s.refused(buildtoken.ErrShuttingDown, ask("app", func(t *buildtoken.Trigger) { t.Action = buildtoken.Polling }))
		if _, err := s.Attach(t.Context(), buildtoken.Config{}); !errors.Is(err, buildtoken.ErrShuttingDown) {
			t.Errorf("Attach = %v, want %v", err, buildtoken.ErrShuttingDown)
		}
		s.detach() // as Caddy does; it must not stop what still runs
		if took := <-drained; took != 50*time.Second {
			t.Errorf("Drain took %v, want the 50s of the build", took)
		}
		s.Drain() // returns at once
		s.wantResult("long", 1, queue.Success, "")
		time.Sleep(time.Hour)
		if e, err := s.Entry(t.Context(), s.def, item); err != nil || e.State != queue.Buildable {
			t.Errorf("Entry = %+v, %v; want it to wait for the next start", e, err)
		}
		if builds, err := s.Builds(t.Context(), "nightly", 0, 10); err != nil || len(builds) > 1 {
			t.Errorf("%d builds of a schedule, %v; want none after the first", len(builds), err)
		}
		want := []string{fmt.Sprintf("info waiting for running builds: builds=1 shutdown_timeout=%v", time.Minute)}
		if diff := cmp.Diff(want, logged(s.logs.FilterMessage("waiting for running builds").All())); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

// While polls end, which can take a while, no build starts.
func TestDrainStartsNoBuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{},
			definition.Job{Name: "app", Tokens: opens(), Runner: succeeds(), Poller: looks(func(context.Context, runner.Build, io.Writer) (bool, error) {
				time.Sleep(20 * time.Second)
				return false, nil
			})},
			definition.Job{Name: "near", Tokens: opens(), Runner: succeeds()}, definition.Job{Name: "far", Tokens: opens(), Runner: remotely{succeeds()}})
		poll(s, "app")
		items := []int64{s.trigger("near", delayed("5s")).Item.ID, s.trigger("far", delayed("5s")).Item.ID}
		synctest.Wait()
		began := time.Now()
		if s.Drain(); time.Since(began) != 20*time.Second {
			t.Errorf("Drain took %v, want the 20s of the poll", time.Since(began))
		}
		for _, id := range items {
			if e, err := s.Entry(t.Context(), s.def, id); err != nil || e.State != queue.Buildable {
				t.Errorf("Entry = %+v, %v; want it to wait for the next start", e, err)
			}
		}
	})
}

// Nothing is logged about running builds if there are none, or no time to wait for them.
func TestDrainWithoutWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for timeout, build := range map[time.Duration]bool{time.Minute: false, -1: true} {
			s := openSite(t, buildtoken.Config{ShutdownTimeout: timeout}, definition.Job{Name: "long", Tokens: opens(), Runner: lasts(time.Hour)})
			if build {
				s.trigger("long")
				synctest.Wait()
			}
			began := time.Now()
			s.Drain()
			if took := time.Since(began); took > 0 || s.logs.FilterMessage("waiting for running builds").Len() > 0 {
				t.Errorf("with a timeout of %v and a build %v, Drain took %v; want no time, and no log line about it", timeout, build, took)
			}
		}
	})
}

func TestOpenThatFailsClosesTheQueue(t *testing.T) {
	for _, tt := range []struct {
		name  string
		want  error
		spoil func(q *failing, o *buildtoken.Options)
	}{
		{"uploads cannot be listed", queue.ErrStorage, func(q *failing, _ *buildtoken.Options) { q.refs = queue.ErrStorage }},
		{"uses of tokens cannot be read", queue.ErrStorage, func(q *failing, _ *buildtoken.Options) { q.uses = queue.ErrStorage }},
		{"the folder is relative", nil, func(_ *failing, o *buildtoken.Options) { o.Dir = "data" }},
		{"uploads cannot be read", buildtoken.ErrUpload, func(_ *failing, o *buildtoken.Options) {
			if err := os.WriteFile(filepath.Join(o.Dir, "uploads"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"the key is another one", queue.ErrClosed, func(q *failing, o *buildtoken.Options) {
			db, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(o.Dir, "other.db")})
			if err != nil {
				t.Fatal(err)
			}
			o.Queue = locked{cutOff: cutOff{DB: db}, closes: q}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			q := openFailing(t, dir)
			o := buildtoken.Options{Queue: q, Dir: dir}
			tt.spoil(q, &o)
			c, err := buildtoken.Open(t.Context(), o)
			if err == nil || c != nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("Open = %v, %v; want %v", c, err, tt.want)
			}
			if q.closed != 1 {
				t.Errorf("the queue was closed %d times, want once", q.closed)
			}
		})
	}
}

// TestAttachNeedsTheEndOfLostBuilds lets the queue fail while Attach ends a lost build. The
// next Attach must end it.
func TestAttachNeedsTheEndOfLostBuilds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		q := openFailing(t, dir)
		if _, _, err := q.Schedule(t.Context(), time.Now(), queue.Request{Job: "app"}); err != nil {
			t.Fatal(err)
		}
		if builds, _, err := q.Claim(t.Context(), time.Now(), queue.Node{}, []int{0}); err != nil || len(builds) != 1 {
			t.Fatalf("Claim = %v, %v; want one build", builds, err)
		}
		c, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: q, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		q.reclaim = queue.ErrStorage
		if _, err := c.Attach(t.Context(), buildtoken.Config{}); !errors.Is(err, queue.ErrStorage) {
			t.Errorf("Attach = %v, want ErrStorage", err)
		}
		q.reclaim = nil
		if _, err := c.Attach(t.Context(), buildtoken.Config{}); err != nil {
			t.Errorf("Attach = %v", err)
		}
		if b, err := c.Build(t.Context(), "app", 1); err != nil || b.Result != queue.Aborted {
			t.Errorf("the lost build = %+v, %v; want it ABORTED", b, err)
		}
	})
}

// While the queue cannot be written, as on a full disk, clients may send triggers all the time. The log,
// which may be on the same disk, gets a line a second.
func TestTriggersThatCannotBeStoredFillNoLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		dir := t.TempDir()
		q := openFailing(t, dir)
		c, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: q, Dir: dir, Log: zap.New(core)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		def, err := definition.Compile(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: succeeds()}}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Attach(t.Context(), buildtoken.Config{Sites: []*definition.Site{def}, Log: zap.New(core)}); err != nil {
			t.Fatal(err)
		}
		q.schedule = queue.ErrStorage
		for range 3000 {
			if _, err := c.Trigger(t.Context(), def, ask("app")); !errors.Is(err, queue.ErrStorage) {
				t.Fatalf("Trigger = %v, want ErrStorage", err)
			}
			time.Sleep(time.Millisecond)
		}
		if lines := logs.FilterMessage("trigger refused").Len(); lines < 3 || lines > 4 {
			t.Errorf("3000 triggers in three seconds: %d lines, want one a second", lines)
		}
	})
}

// Watchers of a job that looked while the first Attach found its lost build are notified of the end.
func TestEndOfALostBuildIsNotified(t *testing.T) {
	q := openFailing(t, t.TempDir())
	if _, _, err := q.Schedule(t.Context(), time.Now(), queue.Request{Job: "app"}); err != nil {
		t.Fatal(err)
	}
	if builds, _, err := q.Claim(t.Context(), time.Now(), queue.Node{}, []int{0}); err != nil || len(builds) != 1 {
		t.Fatalf("Claim = %v, %v; want one build", builds, err)
	}
	c, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: q, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var changed <-chan struct{}
	q.before = func() { changed = c.WatchBuilds("app") }
	if _, err := c.Attach(t.Context(), buildtoken.Config{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("watchers of the job were not notified")
	}
}

// remotely is a runner whose builds take no executor.
type remotely struct{ runs }

func (remotely) Remote() {}

// No build starts under the configuration before while the queue gets the rules of a new one.
func TestNoBuildStartsBetweenTwoConfigurations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		q := openFailing(t, dir)
		c, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: q, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s := &site{Controller: c, t: t, dir: dir, cfg: buildtoken.Config{Log: zap.NewNop()}}
		spec := definition.Spec{Root: definition.Folder{Jobs: []definition.Job{
			{Name: "near", Tokens: opens(), Runner: succeeds()}, {Name: "far", Tokens: opens(), Runner: remotely{succeeds()}},
		}}}
		s.attach(spec)
		for _, name := range []string{"near", "far"} {
			s.trigger(name, delayed("10m"))
		}
		number := int64(1)
		q.before = func() {
			time.Sleep(time.Hour)
			for _, name := range []string{"near", "far"} {
				if _, err := c.Build(t.Context(), name, number); !errors.Is(err, queue.ErrNotFound) {
					t.Errorf("build %d of %s started between two configurations: %v", number, name, err)
				}
			}
		}
		second := s.attach(spec)
		for _, name := range []string{"near", "far"} {
			s.wantResult(name, 1, queue.Success, "")
			s.trigger(name, delayed("10m"))
		}
		number++
		second() // back to the first one
		for _, name := range []string{"near", "far"} {
			s.wantResult(name, 2, queue.Success, "")
		}
	})
}

func TestAttachThatFailsKeepsTheOldConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		q := openFailing(t, dir)
		c, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: q, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s := &site{Controller: c, t: t, dir: dir, cfg: buildtoken.Config{Log: zap.NewNop()}}
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: succeeds()}}}})
		q.reclaim = queue.ErrStorage // the error was returned once
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: succeeds()}}}})
		q.setRules = queue.ErrStorage
		if _, err := c.Attach(t.Context(), buildtoken.Config{Executors: 7}); !errors.Is(err, queue.ErrStorage) {
			t.Errorf("Attach = %v, want ErrStorage", err)
		}
		if c.Executors() != buildtoken.DefaultExecutors {
			t.Errorf("Executors = %d, want those of the old configuration", c.Executors())
		}
		s.trigger("app")
		s.wantResult("app", 1, queue.Success, "")
	})
}

func TestDefaultsAreThoseOfTheDocuments(t *testing.T) {
	text, err := os.ReadFile("../docs/caddyfile.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{
		fmt.Sprintf("| `executors <n>` | %d |", buildtoken.DefaultExecutors),
		fmt.Sprintf("| `remote_builds <n>` | %d |", buildtoken.DefaultRemoteBuilds),
		fmt.Sprintf("| `queue_limit <n>` | %d |", buildtoken.DefaultQueueLimit),
		fmt.Sprintf("| `keep_builds <n>` | %d |", buildtoken.DefaultKeepBuilds),
		fmt.Sprintf("| `shutdown_timeout <duration>` | %.0fs |", buildtoken.DefaultShutdownTimeout.Seconds()),
		fmt.Sprintf("| `orphan_timeout <duration>` | %.0fh |", buildtoken.DefaultOrphanTimeout.Hours()),
	} {
		if !strings.Contains(string(text), row) {
			t.Errorf("docs/caddyfile.md does not contain %q", row)
		}
	}
}

// ruled is a queue that keeps the last rules that it got.
type ruled struct {
	buildtoken.Queue
	last queue.Config
}

func (q *ruled) SetRules(ctx context.Context, now time.Time, c queue.Config) error {
	q.last = c
	return q.Queue.SetRules(ctx, now, c)
}

// The queue gets the limits of the configuration, or their defaults, and what counts for each job.
func TestRulesOfAConfiguration(t *testing.T) {
	dir := t.TempDir()
	q := &ruled{Queue: openFailing(t, dir)}
	c, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: q, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	plain := definition.Job{Name: "plain", Runner: succeeds()}
	own := definition.Job{Name: "own", Runner: remotely{succeeds()}, Concurrent: true, Disabled: true, Settings: job.Settings{KeepBuilds: new(7), Label: new("gpu")}}
	own.Notify = []definition.NotifySpec{{Name: "in", On: []queue.Condition{queue.OnFailure, queue.OnFixed}, To: new(inbox)}}
	jobs := definition.Spec{Root: definition.Folder{Jobs: []definition.Job{plain, own}}}
	for _, tt := range []struct {
		name              string
		cfg               buildtoken.Config
		limit, keep       int
		grace             time.Duration
		executors, remote int
	}{
		{"the defaults", buildtoken.Config{}, 10_000, 100, 24 * time.Hour, 2, 100},
		{
			"own limits",
			buildtoken.Config{QueueLimit: 5, KeepBuilds: 3, OrphanTimeout: time.Hour, Executors: 4, RemoteBuilds: 6},
			5, 3, time.Hour, 4, 6,
		},
		{"no time for jobs that are gone", buildtoken.Config{OrphanTimeout: -1}, 10_000, 100, 0, 2, 100},
	} {
		s := &site{Controller: c, t: t, cfg: tt.cfg}
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{plain}}})
		if got := c.RemoteBuilds(); got != 0 {
			t.Errorf("%s: RemoteBuilds without remote jobs = %d, want 0", tt.name, got)
		}
		s.attach(jobs)
		want := queue.Config{Limit: tt.limit, Grace: tt.grace, Rules: map[string]queue.Rules{
			"plain": {KeepBuilds: tt.keep},
			"own": {
				KeepBuilds: 7, Label: "gpu", Remote: true, Concurrent: true, Disabled: true,
				Notify: []queue.Target{{Name: "own/in", On: []queue.Condition{queue.OnFailure, queue.OnFixed}}},
			},
		}}
		if diff := cmp.Diff(want, q.last); diff != "" {
			t.Errorf("%s: rules (-want +got):\n%s", tt.name, diff)
		}
		if executors, remote := c.Executors(), c.RemoteBuilds(); executors != tt.executors || remote != tt.remote {
			t.Errorf("%s: %d executors and %d remote builds, want %d and %d", tt.name, executors, remote, tt.executors, tt.remote)
		}
	}
}

// QueuedLanes has the jobs that no server has any more, too.
func TestQueuedLanes(t *testing.T) {
	q := openFailing(t, t.TempDir())
	c, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: q, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := &site{Controller: c, t: t, cfg: buildtoken.Config{Log: zap.NewNop()}}
	named := func(names ...string) (spec definition.Spec) {
		for _, name := range names {
			spec.Root.Jobs = append(spec.Root.Jobs, definition.Job{Name: name, Tokens: opens(), Runner: succeeds()})
		}
		return spec
	}
	s.attach(named("gone", "idle", "waits"))
	for _, name := range []string{"gone", "waits"} {
		s.trigger(name, delayed("1h"))
	}
	s.attach(named("idle", "waits"))
	lanes, err := c.QueuedLanes(t.Context())
	var got []string
	for _, l := range lanes {
		got = append(got, fmt.Sprint(l.Job, " ", l.Queued))
	}
	if diff := cmp.Diff([]string{"gone 1", "waits 1"}, got); err != nil || diff != "" {
		t.Errorf("QueuedLanes: %v (-want +got):\n%s", err, diff)
	}
	q.lanes = queue.ErrStorage
	if lanes, err := c.QueuedLanes(t.Context()); !errors.Is(err, queue.ErrStorage) || lanes != nil {
		t.Errorf("QueuedLanes = %v, %v, want %v", lanes, err, queue.ErrStorage)
	}
}

// A password is to be typed again if it is neither empty nor the default of its parameter, or cannot be opened.
func TestTypedPassword(t *testing.T) {
	s := openSite(t, buildtoken.Config{}, definition.Job{
		Name: "app", Tokens: opens(), Runner: succeeds(),
		Params: []job.Param{{Name: "PIN", Kind: job.KindPassword, Default: "4711"}, {Name: "KEY", Kind: job.KindPassword, Default: "Secret"}},
	})
	s.trigger("app", values("PIN", "4711", "KEY", "4711"), delayed("1h"))
	s.trigger("app", values("PIN", "", "KEY", "Secret"), delayed("1h"))
	j, err := s.def.Find("app")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for id := range int64(2) {
		e, err := s.Entry(t.Context(), s.def, id+1)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range e.Item.Values {
			got[fmt.Sprint(v.Name, " of item ", id+1)] = s.TypedPassword(j.Job, v)
			v.Name += "X" // it was sealed for another parameter
			got[fmt.Sprint(v.Name, " of item ", id+1)] = s.TypedPassword(j.Job, v)
		}
	}
	want := map[string]bool{
		"PIN of item 1": false, "PINX of item 1": true, "KEY of item 1": true, "KEYX of item 1": true,
		"PIN of item 2": false, "PINX of item 2": false, "KEY of item 2": false, "KEYX of item 2": true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("TypedPassword (-want +got):\n%s", diff)
	}
}
