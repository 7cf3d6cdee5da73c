package build_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/build"
	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// follows is a runner whose builds continue on another system, and write one line.
type follows struct{}

func (follows) Remote() {}

func (follows) Run(_ context.Context, b runner.Build, log io.Writer) runner.Result {
	_, _ = fmt.Fprintf(log, "goes on from %s\n", b.Handle)
	return runner.Result{Outcome: runner.Success}
}

// TestResumedLogContinuesWhatTheQueueHas resumes a build after a power failure that has removed
// some or all of its log from this server. The queue's copy must be continued, whatever is left
// here.
func TestResumedLogContinuesWhatTheQueueHas(t *testing.T) {
	const before = "Started by timer\nhalf of the output\nand the oth"
	const after = "\nResumed after a restart of the server\ngoes on from handle\nFinished: SUCCESS\n"
	for name, left := range map[string]string{
		"all is left": before, "the end is gone": before[:20], "the file is empty": "", "there is more here": before + "er half",
	} {
		t.Run(name, func(t *testing.T) {
			dir, kept := t.TempDir(), &keeper{text: []byte(before), build: 5}
			folder := filepath.Join(dir, "logs", job.PathElement("app"))
			if err := os.MkdirAll(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, "1.log"), []byte(left), 0o600); err != nil {
				t.Fatal(err)
			}
			core, logged := observer.New(zap.InfoLevel)
			h := openHost(t, build.Options{Dir: dir, Logs: kept, Log: func() *zap.Logger { return zap.New(core) }})
			app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: follows{}}
			b := queue.Build{Item: queue.Item{ID: 5, Job: "app"}, Number: 1, Handle: []byte("handle")}
			if result, reason := h.Run(t.Context(), app, b); result != queue.Success {
				t.Fatalf("Run = %s, %s", result, reason)
			}
			if logged.FilterMessage("build resumed").Len() != 1 || logged.FilterMessage("build started").Len() != 0 {
				t.Errorf("logged %v, want that the build was resumed", logged.All())
			}
			if err := h.CompleteLog(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			want := before + after
			if len(left) > len(before) {
				want = left + after
			}
			if string(kept.text) != want || !kept.complete {
				t.Errorf("the queue has %q, complete %v; want %q", kept.text, kept.complete, want)
			}
		})
	}
}

// TestResumedBuildIsLeftIfTheServerStopsBeforeItRuns stops the server between the adoption of a build and the start of its
// runner. The build must not end, because its work goes on elsewhere.
func TestResumedBuildIsLeftIfTheServerStopsBeforeItRuns(t *testing.T) {
	stopped := errors.New("the server was shut down")
	app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: follows{}}
	b := queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1, Handle: []byte("handle")}
	for name, tt := range map[string]struct {
		detach bool
		cause  error
		want   queue.Result
	}{
		"it stops":            {true, stopped, ""},
		"it is cut off":       {false, fmt.Errorf("cut off: %w", runner.ErrDetached), ""},
		"a user stops it":     {false, errors.New("stopped by alice"), queue.Aborted},
		"nothing":             {false, nil, queue.Success},
		"it stops, and waits": {true, nil, ""},
	} {
		t.Run(name+", without a keeper", func(t *testing.T) {
			h := openHost(t, build.Options{})
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if tt.detach {
				h.Detach()
			}
			cancel(tt.cause)
			if result, reason := h.Run(ctx, app, b); tt.cause != nil && result != tt.want {
				t.Errorf("Run = %q, %s; want %q", result, reason, tt.want)
			}
		})
		t.Run(name, func(t *testing.T) {
			core, logged := observer.New(zap.WarnLevel)
			kept := &keeper{}
			h := openHost(t, build.Options{Logs: kept, Log: func() *zap.Logger { return zap.New(core) }})
			if tt.detach {
				h.Detach()
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if tt.cause != nil {
				cancel(tt.cause)
			}
			if result, reason := h.Run(ctx, app, b); result != tt.want {
				t.Errorf("Run = %q, %s; want %q", result, reason, tt.want)
			}
			if (len(kept.text) == 0) != tt.detach || kept.complete != (tt.want != "") || logged.Len() > 0 {
				t.Errorf("the queue has %q, complete %v; logged %v", kept.text, kept.complete, logged.All())
			}
		})
	}
}

// stays is a remote runner whose builds write a line as they are left.
type stays struct{ follows }

func (stays) Run(ctx context.Context, b runner.Build, log io.Writer) runner.Result {
	_, _ = io.WriteString(log, "begun\n")
	if err := b.Save([]byte("handle")); err != nil {
		return runner.Result{Outcome: runner.Failure, Reason: err.Error()}
	}
	<-ctx.Done()
	_, _ = io.WriteString(log, "left\n")
	return runner.Result{Outcome: runner.Aborted, Reason: context.Cause(ctx).Error()}
}

// The server that resumes a build may be another one: it finds all of the log in the queue, which
// does not look complete, and the server that stops does not wait for anything.
func TestLogOfABuildThatIsLeftIsInTheQueue(t *testing.T) {
	for name, away := range map[string]bool{"the queue takes it": false, "the queue is away": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logged := observer.New(zap.WarnLevel)
				kept := &slow{}
				var handle string
				h := openHost(t, build.Options{
					Logs: kept, Log: func() *zap.Logger { return zap.New(core) },
					SetHandle: func(_ context.Context, _ string, _ int64, saved []byte) error { handle = string(saved); return nil },
				})
				app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: stays{}}
				ended := make(chan queue.Result)
				go func() {
					result, _ := h.Run(t.Context(), app, queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1})
					ended <- result
				}()
				time.Sleep(time.Minute)
				kept.mu.Lock()
				if away {
					for range 10 + kept.calls {
						kept.refuse = append(kept.refuse, queue.ErrStorage)
					}
				}
				kept.mu.Unlock()
				begin := time.Now()
				h.Detach()
				result := <-ended
				if took := time.Since(begin); result != "" || handle != "handle" || took > 3*time.Second {
					t.Errorf("Run = %q after %v with the handle %q", result, took, handle)
				}
				want, warnings := "begun\nleft\n", 0
				if away {
					want, warnings = "begun\n", 1
				}
				if string(kept.text) != want || kept.complete || logged.Len() != warnings {
					t.Errorf("the queue has %q, complete %v; want %q; logged %v, want %d warnings", kept.text, kept.complete, want, logged.All(), warnings)
				}
			})
		})
	}
}

// A runner that goes on although nothing remembers its work would start it a second time.
func TestRunnerIsToldThatItsHandleIsNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which notices a runner that goes on
		h := openHost(t, build.Options{SetHandle: func(context.Context, string, int64, []byte) error { return queue.ErrNotRunning }})
		app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: stays{}}
		result, reason := h.Run(t.Context(), app, queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1})
		if result != queue.Failure || reason != "save the handle of a build: "+queue.ErrNotRunning.Error() {
			t.Errorf("Run = %s, %s", result, reason)
		}
	})
}

// The time before a restart counts.
func TestResumedBuildHasTheRestOfItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		timeout := time.Minute
		app := &build.Job{Job: &job.Job{FullName: "app", Settings: job.Settings{Timeout: &timeout}}, Runner: waits{}}
		b := queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1, Started: time.Now().Add(-40 * time.Second), Handle: []byte("handle")}
		begin := time.Now()
		result, reason := openHost(t, build.Options{}).Run(t.Context(), app, b)
		if took := time.Since(begin); result != queue.Aborted || reason != "timed out after 1m0s" || took != 20*time.Second {
			t.Errorf("Run = %s, %s after %v, want 20s", result, reason, took)
		}
	})
}

// waits is a remote runner whose builds last until they are ended.
type waits struct{ follows }

func (waits) Run(ctx context.Context, _ runner.Build, _ io.Writer) runner.Result {
	<-ctx.Done()
	return runner.Result{Outcome: runner.Aborted, Reason: context.Cause(ctx).Error()}
}

// asleep is a keeper that is away for a while.
type asleep struct {
	keeper

	until time.Time
}

func (a *asleep) LogState(ctx context.Context, job string, number int64) (console.State, error) {
	if time.Now().Before(a.until) {
		return console.State{}, queue.ErrStorage
	}
	return a.keeper.LogState(ctx, job, number)
}

// ReadLog fails a while longer, after the first bytes.
func (a *asleep) ReadLog(ctx context.Context, job string, number, build, offset int64, p []byte) (int, error) {
	if time.Now().Before(a.until.Add(time.Minute)) {
		if offset > 0 {
			return 0, queue.ErrStorage
		}
		p = p[:3]
	}
	return a.keeper.ReadLog(ctx, job, number, build, offset, p)
}

func TestResumedBuildWaitsForItsLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := &asleep{until: time.Now().Add(time.Minute)}
		kept.text = []byte("before\n")
		app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: follows{}}
		b := queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1, Handle: []byte("handle")}
		result, reason := openHost(t, build.Options{Logs: kept}).Run(t.Context(), app, b)
		if want := "before\nResumed after a restart of the server\ngoes on from handle\nFinished: SUCCESS\n"; result != queue.Success || string(kept.text) != want {
			t.Errorf("Run = %s, %s with the log %q, want %q", result, reason, kept.text, want)
		}
	})
}

// TestLogThatCannotBeFetched resumes a build on a server with a shorter log that cannot be replaced.
func TestLogThatCannotBeFetched(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "logs", job.PathElement("app"), "1.log", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	kept := &keeper{text: bytes.Repeat([]byte("a line\n"), 100_000)}
	app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: follows{}}
	b := queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1, Handle: []byte("handle")}
	result, reason := openHost(t, build.Options{Dir: dir, Logs: kept}).Run(t.Context(), app, b)
	if result != queue.NotBuilt || !strings.Contains(reason, "the console log cannot be written: ") {
		t.Errorf("Run = %s, %s; want that the log cannot be written", result, reason)
	}
}
