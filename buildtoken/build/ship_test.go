package build_test

import (
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

// slow is a keeper that takes a second for each piece, and refuses the first ones.
type slow struct {
	keeper

	refuse []error
	calls  int
}

func (s *slow) AppendLog(ctx context.Context, job string, number, offset int64, p []byte, last bool) (int64, error) {
	time.Sleep(time.Second)
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if s.calls++; s.calls <= len(s.refuse) {
		return 0, s.refuse[s.calls-1]
	}
	return s.keeper.AppendLog(ctx, job, number, offset, p, last)
}

// The log of a build is copied while it runs, and Run returns when all of it is. A copy that
// fails is tried again, unless the build is not on record or the queue is closed.
func TestLogsAreShippedWhileTheirBuildsRun(t *testing.T) {
	for _, tt := range []struct {
		name    string
		refuse  []error
		shipped bool
		told    int
	}{
		{"nothing fails", nil, true, 0},
		{"the database is away for a while", []error{queue.ErrStorage, queue.ErrStorage, queue.ErrStorage}, true, 1},
		{"the build is not on record", []error{queue.ErrNotRunning}, false, 0},
		{"the queue is closed", []error{queue.ErrClosed}, false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logged := observer.New(zap.WarnLevel)
				kept := &slow{refuse: tt.refuse}
				h := openHost(t, build.Options{Logs: kept, Log: func() *zap.Logger { return zap.New(core) }})
				app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: runs(func(_ context.Context, _ runner.Build, log io.Writer) runner.Result {
					for range 3 {
						fmt.Fprintln(log, "output")
						time.Sleep(10 * time.Second)
					}
					kept.mu.Lock()
					defer kept.mu.Unlock()
					if shipped := strings.Count(string(kept.text), "output\n") == 3; shipped != tt.shipped {
						t.Errorf("while the build runs, the keeper has %q", kept.text)
					}
					return runner.Result{Outcome: runner.Success}
				})}
				h.Run(t.Context(), app, queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1})
				if kept.complete != tt.shipped || strings.HasSuffix(string(kept.text), "Finished: SUCCESS\n") != tt.shipped {
					t.Errorf("the keeper has %q, complete %v", kept.text, kept.complete)
				}
				if !tt.shipped && kept.calls != 1 {
					t.Errorf("%d pieces were offered, want 1", kept.calls)
				}
				if logged.Len() != tt.told {
					t.Errorf("logged %v, want %d warnings", logged.All(), tt.told)
				}
			})
		})
	}
}

// The end of a build is recorded only if its log is complete, but no log prevents the end for ever.
func TestCompleteLog(t *testing.T) {
	const missing = "\n[the rest is missing: the file of the log can't be read]\nso it was\nFinished: FAILURE\n"
	for _, tt := range []struct {
		name   string
		number int64
		has    string // what the keeper has
		refuse []error
		want   error
		end    string // of the keeper's log; empty if it is not complete
		told   int
	}{
		{"the rest is copied", 1, "", nil, nil, "so it was\nFinished: FAILURE\n", 0},
		{"nothing was written", 2, "", nil, nil, "", 0},
		{"the database is away", 1, "", []error{queue.ErrStorage}, queue.ErrStorage, "", 0},
		{"the queue is closed", 1, "", []error{queue.ErrClosed}, queue.ErrClosed, "", 0},
		{"another server has ended the build", 1, "", []error{queue.ErrNotRunning}, nil, "", 0},
		{"the build is not on record", 1, "", []error{queue.ErrNotFound}, nil, "", 0},
		{"the file was cut", 1, strings.Repeat("more than the file has\n", 10), nil, nil, missing, 1},
		{"a piece is refused", 1, "", []error{queue.ErrFull}, nil, missing, 1},
		{"the last lines are refused too", 1, "", []error{queue.ErrFull, queue.ErrFull}, queue.ErrFull, "", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logged := observer.New(zap.DebugLevel)
				opts := build.Options{Dir: t.TempDir()}
				b := queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1}
				own := openHost(t, opts)
				own.Run(t.Context(), &build.Job{Job: &job.Job{FullName: "app"}, Runner: ends{Outcome: runner.Failure, Reason: "so it was"}}, b)
				if err := own.CompleteLog(t.Context(), b); err != nil {
					t.Errorf("CompleteLog without a keeper = %v", err)
				}
				own.ShipLost(t.Context(), zap.NewNop(), []queue.Build{b})
				if own.RemoveLogFile(b); !hasLog(t, own, 1) {
					t.Fatal("RemoveLogFile without a keeper removed the log")
				}
				kept := &slow{}
				kept.text = []byte(tt.has)
				kept.refuse = tt.refuse
				opts.Logs, opts.Log = kept, func() *zap.Logger { return zap.New(core) }
				b.Number, b.Result, b.Reason = tt.number, queue.Failure, "so it was"
				h := openHost(t, opts)
				if err := h.CompleteLog(t.Context(), b); !errors.Is(err, tt.want) {
					t.Errorf("CompleteLog = %v, want %v", err, tt.want)
				}
				h.RemoveLogFile(b)
				if kept.complete != (tt.end != "") || !strings.HasSuffix(string(kept.text), tt.end) {
					t.Errorf("the keeper has %q, complete %v; want the end %q", kept.text, kept.complete, tt.end)
				}
				if logged.FilterLevelExact(zap.ErrorLevel).Len() != tt.told || logged.Len() != tt.told {
					t.Errorf("logged %v, want %d errors", logged.All(), tt.told)
				}
			})
		})
	}
}

// hanging is a keeper that does not answer.
type hanging struct{ keeper }

func (*hanging) LogState(ctx context.Context, _ string, _ int64) (console.State, error) {
	<-ctx.Done()
	return console.State{}, ctx.Err()
}

func (*hanging) AppendLog(ctx context.Context, _ string, _, _ int64, _ []byte, _ bool) (int64, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// The end of a build waits ten seconds for a queue that does not answer, and is tried again then.
func TestCompleteLogEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, b := t.TempDir(), queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1}
		openHost(t, build.Options{Dir: dir}).Run(t.Context(), &build.Job{Job: &job.Job{FullName: "app"}, Runner: ends{Outcome: runner.Success}}, b)
		h, begin := openHost(t, build.Options{Dir: dir, Logs: &hanging{}}), time.Now()
		if err := h.CompleteLog(t.Context(), b); err == nil || time.Since(begin) != 10*time.Second {
			t.Errorf("CompleteLog = %v after %v, want an error after 10s", err, time.Since(begin))
		}
	})
}

// A reader of another server's log receives what is announced at once.
func TestNoticesWakeReadersOfLogs(t *testing.T) {
	for name, notice := range map[string]queue.Notice{"its log grew": {Logs: []string{"app"}}, "its build was lost": {Jobs: []string{"app"}}, "anything": {All: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kept := &keeper{text: []byte("a")}
				h := openHost(t, build.Options{Logs: kept})
				r, err := h.OpenLog(t.Context(), "app", 1, false)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				go func() {
					time.Sleep(time.Millisecond)
					_, _ = kept.AppendLog(t.Context(), "app", 1, 1, []byte("b"), false)
					h.NotifyLogs(notice)
				}()
				begin := time.Now()
				if size, _, err := r.Wait(t.Context(), 1); size != 2 || err != nil || time.Since(begin) != time.Millisecond {
					t.Errorf("Wait = %d, %v after %v", size, err, time.Since(begin))
				}
			})
		})
	}
}

func TestLogFileThatStaysIsAWarning(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "logs", job.PathElement("app"), "1.log", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	core, logged := observer.New(zap.WarnLevel)
	h := openHost(t, build.Options{Dir: dir, Logs: &keeper{}, Log: func() *zap.Logger { return zap.New(core) }})
	h.RemoveLogFile(queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1})
	if logged.FilterMessage("file of a log could not be removed").Len() != 1 {
		t.Errorf("logged %v, want one warning", logged.All())
	}
}
