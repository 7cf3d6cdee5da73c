package build_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/build"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// looks is a poller made of a function.
type looks func(ctx context.Context, b runner.Build, log io.Writer) (bool, error)

func (f looks) Poll(ctx context.Context, b runner.Build, log io.Writer) (bool, error) {
	return f(ctx, b, log)
}

// runs is a runner made of a function.
type runs func(ctx context.Context, b runner.Build, log io.Writer) runner.Result

func (f runs) Run(ctx context.Context, b runner.Build, log io.Writer) runner.Result {
	return f(ctx, b, log)
}

// lasts waits for a while, or until ctx ends.
func lasts(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// watched is a Host, and what it logs.
func watched(t *testing.T) (*build.Host, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	return openHost(t, build.Options{Log: func() *zap.Logger { return zap.New(core) }}), logs
}

// polling is a Polls of one job, and what came of it.
type polling struct {
	*build.Polls
	err error // of found

	// mu guards the following.
	mu       sync.Mutex
	outcomes []string // of polls
	found    []string // roots
}

func polls(t *testing.T, h *build.Host, j *build.Job) *polling {
	p := &polling{}
	p.Polls = h.NewPolls(func(string) *build.Job { return j }, func(_ context.Context, full, root string) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.found = append(p.found, full+" of "+root)
		return p.err
	}, func(full, outcome string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.outcomes = append(p.outcomes, full+" "+outcome)
	})
	t.Cleanup(func() { p.Close(errors.New("the test ends")) })
	return p
}

func TestPollsAndTheirLogs(t *testing.T) {
	timeout := 5 * time.Second
	for _, tt := range []struct {
		name    string
		timeout *time.Duration
		poll    looks
		outcome string
		log     string // after the first line
		want    build.Poll
	}{
		{"changes", nil, func(_ context.Context, b runner.Build, log io.Writer) (bool, error) {
			time.Sleep(1500 * time.Millisecond)
			fmt.Fprint(log, b.Job, " at ", b.Env[3])
			return true, nil
		}, "changes", "app at JOB_URL=http://x/job/app/\nDone. Took 1.5s\nChanges found\n", build.Poll{Found: true}},
		{"none", nil, func(_ context.Context, _ runner.Build, log io.Writer) (bool, error) {
			fmt.Fprintln(log, "Changes found\nFailed: not really")
			return false, nil
		}, "none", "Changes found\nFailed: not really\nDone. Took 0s\nNo changes\n", build.Poll{}},
		{"an error", nil, func(context.Context, runner.Build, io.Writer) (bool, error) {
			return true, errors.New("no route")
		}, "failed", "Done. Took 0s\nFailed: poll: no route\n", build.Poll{Problem: "poll: no route"}},
		{
			"longer than ten minutes", nil, func(ctx context.Context, _ runner.Build, _ io.Writer) (bool, error) {
				return true, lasts(ctx, time.Hour)
			},
			"failed", "Done. Took 10m0s\nFailed: poll: timed out after 10m0s\n",
			build.Poll{Problem: "poll: timed out after 10m0s"},
		},
		{
			"longer than the timeout of the job", &timeout, func(ctx context.Context, _ runner.Build, _ io.Writer) (bool, error) {
				return true, lasts(ctx, time.Hour)
			},
			"failed", "Done. Took 5s\nFailed: poll: timed out after 5s\n",
			build.Poll{Problem: "poll: timed out after 5s"},
		},
		{"more output than is kept", nil, func(_ context.Context, _ runner.Build, log io.Writer) (bool, error) {
			for range 3 {
				n, err := log.Write([]byte(strings.Repeat("x", 1<<19)))
				if n != 1<<19 || err != nil {
					return false, err
				}
			}
			return true, nil
		}, "changes", strings.Repeat("x", 1<<20-len("Started on 2000-01-01T00:00:00Z\n")) + "\nDone. Took 0s\nChanges found\n", build.Poll{Found: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, _ := watched(t)
				if _, err := h.LastPoll("app"); !errors.Is(err, queue.ErrNotFound) {
					t.Errorf("LastPoll before the first = %v", err)
				}
				started := time.Now().UTC()
				p := polls(t, h, &build.Job{Job: &job.Job{FullName: "app", Settings: job.Settings{Timeout: tt.timeout}}, Poller: tt.poll})
				if !p.Request("app", "http://x/") {
					t.Error("Request = false")
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				log, err := h.PollLog("app")
				if want := "Started on 2000-01-01T00:00:00Z\n" + tt.log; string(log) != want || err != nil {
					t.Errorf("PollLog = %.300q, %v, want %.300q", log, err, want)
				}
				tt.want.Started = started
				if last, err := h.LastPoll("app"); last != tt.want || err != nil {
					t.Errorf("LastPoll = %+v, %v, want %+v", last, err, tt.want)
				}
				if !slices.Equal(p.outcomes, []string{"app " + tt.outcome}) {
					t.Errorf("outcomes %q, want one of app, %s", p.outcomes, tt.outcome)
				}
				if found := slices.Equal(p.found, []string{"app of http://x/"}); found != (tt.outcome == "changes") {
					t.Errorf("changes were found: %q", p.found)
				}
			})
		})
	}
}

// What the operator has to know about polls is in the server's log.
func TestPollsThatComeToNothing(t *testing.T) {
	for _, tt := range []struct {
		name string
		poll looks // nil: the job has none
		err  error // of the queue
		want string
	}{
		{"the job is gone", nil, nil, "poll dropped: the job is gone, disabled, or is not polled any more"},
		{"the poll fails", func(context.Context, runner.Build, io.Writer) (bool, error) { return false, errors.New("no route") }, nil, "poll failed"},
		{"the queue is full", func(context.Context, runner.Build, io.Writer) (bool, error) { return true, nil }, queue.ErrFull, "changes were found, but no build could be queued"},
		{"nothing is wrong", func(context.Context, runner.Build, io.Writer) (bool, error) { return true, nil }, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, logs := watched(t)
				var j *build.Job
				if tt.poll != nil {
					j = &build.Job{Job: &job.Job{FullName: "app"}, Poller: tt.poll}
				}
				p := polls(t, h, j)
				p.err = tt.err
				p.Request("app", "http://x/")
				synctest.Wait()
				var got []string
				for _, entry := range logs.All() {
					got = append(got, entry.Message)
				}
				if strings.Join(got, "; ") != tt.want {
					t.Errorf("the log has %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// A poller gets the parameters of a build, or is not called.
func TestPollWithABadDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := watched(t)
		j := &job.Job{FullName: "app", Params: []job.Param{{Name: "B", Kind: job.KindBoolean, Default: "perhaps"}}}
		p := polls(t, h, &build.Job{Job: j, Poller: looks(func(context.Context, runner.Build, io.Writer) (bool, error) { return true, nil })})
		p.Request("app", "http://x/")
		synctest.Wait()
		if last, err := h.LastPoll("app"); err != nil || last.Found || !strings.HasPrefix(last.Problem, "default parameters: ") {
			t.Errorf("LastPoll = %+v, %v, want the problem", last, err)
		}
	})
}

// What the data directory has no place for is an error for the operator.
func TestPollsWithoutAPlace(t *testing.T) {
	for _, tt := range []struct {
		taken, logged string
		found         bool
	}{
		{"polling", "polling log could not be written", true},
		{"polling/" + job.PathElement("app") + ".log/file", "polling log could not be written", true},
		{"workspaces", "poll failed", false},
	} {
		t.Run(tt.taken, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, tt.taken)), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, tt.taken), nil, 0o600); err != nil {
					t.Fatal(err)
				}
				core, logged := observer.New(zap.ErrorLevel)
				h := openHost(t, build.Options{Dir: dir, Log: func() *zap.Logger { return zap.New(core) }})
				p := polls(t, h, &build.Job{Job: &job.Job{FullName: "app"}, Poller: looks(func(context.Context, runner.Build, io.Writer) (bool, error) { return true, nil })})
				p.Request("app", "http://x/")
				synctest.Wait()
				if (len(p.found) == 1) != tt.found || logged.FilterMessage(tt.logged).Len() != 1 {
					t.Errorf("found %q, logged %v; want %v and the error %q", p.found, logged.All(), tt.found, tt.logged)
				}
				if _, err := h.PollLog("app"); err == nil || errors.Is(err, queue.ErrNotFound) == tt.found {
					t.Errorf("PollLog = %v", err)
				}
			})
		})
	}
}

func TestRequestsDuringAPollCauseOneMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := watched(t)
		p := polls(t, h, &build.Job{Job: &job.Job{FullName: "app"}, Poller: looks(func(ctx context.Context, _ runner.Build, _ io.Writer) (bool, error) {
			return true, lasts(ctx, time.Minute)
		})})
		for _, root := range []string{"a", "b", "c"} {
			if !p.Request("app", root) {
				t.Error("Request = false")
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if want := []string{"app of a", "app of c"}; !slices.Equal(p.found, want) {
			t.Errorf("found %q, want %q", p.found, want)
		}
		p.Request("app", "d")
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(p.found) != 3 {
			t.Errorf("a request after all that: %q", p.found)
		}
	})
}

func TestTenPollsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := watched(t)
		var running, most atomic.Int64
		p := polls(t, h, &build.Job{Job: &job.Job{FullName: "app"}, Poller: looks(func(ctx context.Context, _ runner.Build, _ io.Writer) (bool, error) {
			if n := running.Add(1); n > most.Load() { // they begin one after the other
				most.Store(n)
			}
			err := lasts(ctx, time.Minute)
			running.Add(-1)
			return false, err
		})})
		for n := range 25 {
			p.Request(fmt.Sprint("app", n), "")
			synctest.Wait() // so that they do not count at the same time
		}
		for range 25 {
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		if most.Load() != 10 || len(p.outcomes) != 25 {
			t.Errorf("%d polls at once, %d in all, want 10 and 25", most.Load(), len(p.outcomes))
		}
	})
}

// A poll compares with what the last build left, so neither runs beside the other.
func TestPollsAndBuildsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := watched(t)
		begin := time.Now()
		var mu sync.Mutex // guards events
		var events []string
		note := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, fmt.Sprint(what, " at ", time.Since(begin)))
		}
		base := func(b runner.Build) string {
			return "app" + strings.TrimPrefix(filepath.Base(b.Workspace), job.PathElement("app"))
		}
		app := &build.Job{
			Job: &job.Job{FullName: "app"},
			Runner: runs(func(ctx context.Context, b runner.Build, _ io.Writer) runner.Result {
				note(fmt.Sprint("build ", b.Number, " in ", base(b)))
				_ = lasts(ctx, time.Hour)
				return runner.Result{Outcome: runner.Success}
			}),
			Poller: looks(func(ctx context.Context, b runner.Build, _ io.Writer) (bool, error) {
				note("poll in " + base(b))
				return false, lasts(ctx, 5*time.Minute)
			}),
		}
		run := func(number int64) {
			go h.Run(t.Context(), app, queue.Build{Item: queue.Item{ID: number, Job: "app"}, Number: number})
			synctest.Wait()
		}
		run(1)
		run(2) // a concurrent one
		p := polls(t, h, app)
		p.Request("app", "")
		time.Sleep(time.Hour)
		synctest.Wait()
		run(3)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		want := []string{"build 1 in app at 0s", "build 2 in app@2 at 0s", "poll in app at 1h0m0s", "build 3 in app at 1h5m0s"}
		if !slices.Equal(events, want) {
			t.Errorf("events %q, want %q", events, want)
		}
		if log := readLog(t, h, queue.Build{Item: queue.Item{Job: "app"}, Number: 3}); strings.Count(log, "Waiting for a poll of the job to leave the workspace\n") != 1 {
			t.Errorf("the log of the build that waited is %q", log)
		}
	})
}

// apart is a poller that does not share the workspace of the builds.
type apart struct{ looks }

func (apart) Separate() bool { return true }

func TestPollInASeparateWorkspace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := watched(t)
		var seen []string
		p := polls(t, h, &build.Job{Job: &job.Job{FullName: "app"}, Poller: apart{func(_ context.Context, b runner.Build, _ io.Writer) (bool, error) {
			seen = append(seen, filepath.Base(b.Workspace))
			return false, os.WriteFile(filepath.Join(b.Workspace, fmt.Sprint(len(seen))), nil, 0o600)
		}}})
		for range 2 { // the second one finds it there
			p.Request("app", "")
			synctest.Wait()
		}
		want := job.PathElement("app") + "@poll"
		if !slices.Equal(seen, []string{want, want}) || !slices.Equal(p.outcomes, []string{"app none", "app none"}) {
			t.Errorf("polls in %q end with %q, want two in %q that find nothing", seen, p.outcomes, want)
		}
	})
}

// A poll that has no workspace does not use another one.
func TestPollWithoutItsSeparateWorkspace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "workspaces", job.PathElement("app")+"@poll")
		if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		h := openHost(t, build.Options{Dir: dir})
		p := polls(t, h, &build.Job{Job: &job.Job{FullName: "app"}, Poller: apart{func(_ context.Context, b runner.Build, _ io.Writer) (bool, error) {
			t.Errorf("polled in %q", b.Workspace)
			return true, nil
		}}})
		p.Request("app", "")
		synctest.Wait()
		if last, err := h.LastPoll("app"); err != nil || !strings.HasPrefix(last.Problem, "workspace: ") || !slices.Equal(p.outcomes, []string{"app failed"}) {
			t.Errorf("LastPoll = %+v, %v after %q, want the problem", last, err, p.outcomes)
		}
	})
}

// Close ends what runs and what waits, with its cause.
func TestClosedPollsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, logs := watched(t)
		app := &build.Job{
			Job: &job.Job{FullName: "app"},
			Runner: runs(func(ctx context.Context, _ runner.Build, _ io.Writer) runner.Result {
				return runner.AbortedBy(endOf(ctx))
			}),
			Poller: looks(func(ctx context.Context, _ runner.Build, _ io.Writer) (bool, error) {
				return true, lasts(ctx, time.Minute)
			}),
		}
		ctx, stop := context.WithCancelCause(t.Context())
		ended := make(chan queue.Result, 1)
		go func() {
			result, _ := h.Run(ctx, app, queue.Build{Item: queue.Item{ID: 1, Job: "busy"}, Number: 1})
			ended <- result
		}()
		synctest.Wait()
		p := polls(t, h, app)
		p.Request("app", "")  // runs
		p.Request("app", "")  // once more
		p.Request("busy", "") // waits for the build
		synctest.Wait()
		begin := time.Now()
		p.Close(errors.New("the server stops"))
		if took := time.Since(begin); took != 0 {
			t.Errorf("Close took %v", took)
		}
		if p.Request("app", "") {
			t.Error("Request = true after Close")
		}
		if !slices.Equal(p.outcomes, []string{"app failed"}) || len(p.found) > 0 {
			t.Errorf("outcomes %q, found %q, want one poll that failed", p.outcomes, p.found)
		}
		if last, err := h.LastPoll("app"); err != nil || last.Problem != "poll: the server stops" {
			t.Errorf("LastPoll = %+v, %v, want the cause", last, err)
		}
		if failed := logs.FilterMessage("poll failed").Len(); failed != 1 {
			t.Errorf("%d polls are logged as failed, want the one that ran", failed)
		}
		stop(errors.New("stopped by user alice"))
		if result := <-ended; result != queue.Aborted {
			t.Errorf("the build ended %s", result)
		}
	})
}

// endOf waits for the end of ctx and returns it.
func endOf(ctx context.Context) context.Context {
	<-ctx.Done()
	return ctx
}

// TestLogOfAPollThatCannotBeRead replaces the log of a poll by something else.
func TestLogOfAPollThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h := openHost(t, build.Options{Dir: dir})
		p := polls(t, h, &build.Job{Job: &job.Job{FullName: "app"}, Poller: looks(func(context.Context, runner.Build, io.Writer) (bool, error) { return false, nil })})
		p.Request("app", "http://x/")
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, err := h.LastPoll("app"); err != nil {
			t.Fatal(err)
		}
		replaced := 0
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			replaced++
			return os.WriteFile(path, []byte("no poll\n"), 0o600)
		})
		if err != nil || replaced != 1 {
			t.Fatalf("replaced %d files, %v; want that of the log", replaced, err)
		}
		if last, err := h.LastPoll("app"); err == nil || !strings.Contains(err.Error(), "app") {
			t.Errorf("LastPoll = %+v, %v, want an error that names the job", last, err)
		}
	})
}
