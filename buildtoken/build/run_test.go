package build_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/build"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

// ends is a runner whose builds end at once.
type ends runner.Result

func (e ends) Run(context.Context, runner.Build, io.Writer) runner.Result { return runner.Result(e) }

// openHost returns a Host with a new key. Without Dir it works in a temporary directory, and
// without Log it discards its messages.
func openHost(t *testing.T, opts build.Options) *build.Host {
	t.Helper()
	v, err := vault.New(vault.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	opts.Vault = v
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	if opts.Log == nil {
		opts.Log = zap.NewNop
	}
	return build.NewHost(opts)
}

func TestBuildThatCannotStartIsAWarning(t *testing.T) {
	for _, tt := range []struct {
		outcome runner.Outcome
		want    zapcore.Level
	}{
		{runner.Success, zap.InfoLevel},
		{runner.Failure, zap.InfoLevel},
		{runner.NotBuilt, zap.WarnLevel},
	} {
		t.Run(string(tt.outcome), func(t *testing.T) {
			core, logged := observer.New(zap.DebugLevel)
			h := openHost(t, build.Options{Log: func() *zap.Logger { return zap.New(core) }})
			app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: ends{Outcome: tt.outcome, Reason: "because"}}
			result, _ := h.Run(t.Context(), app, queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1})
			if string(result) != string(tt.outcome) {
				t.Errorf("Run = %s, want %s", result, tt.outcome)
			}
			if started := logged.FilterMessage("build started").Len(); started != 1 {
				t.Errorf("%d entries about the start, want 1", started)
			}
			entries := logged.FilterMessage("build ended").All()
			if len(entries) != 1 || entries[0].Level != tt.want {
				t.Errorf("logged %+v, want one entry of level %s", entries, tt.want)
			}
		})
	}
}

// A log begins with why the build was started, and ends with how it ended.
func TestLogsBeginAndEndWithOurLines(t *testing.T) {
	minute := time.Minute
	cause := func(user string, count int) queue.Cause {
		return queue.Cause{Kind: queue.CauseUser, User: user, Count: count}
	}
	prints := runs(func(_ context.Context, _ runner.Build, log io.Writer) runner.Result {
		fmt.Fprint(log, "output")
		return runner.Result{Outcome: runner.Success, Reason: "none"}
	})
	for _, tt := range []struct {
		name   string
		runner runner.Runner // nil: the job is gone
		item   queue.Item
		want   []string
		result queue.Result
	}{
		{
			"causes", prints,
			queue.Item{Causes: []queue.Cause{cause("a", 1), cause("b", 5), cause("c", 6)}, MoreCauses: 7},
			slices.Concat([]string{"Started by user a"}, slices.Repeat([]string{"Started by user b"}, 5), slices.Repeat([]string{"Started by user c"}, 5),
				[]string{"Started by user c (6 times in all)", "Started by 7 more triggers", "output", "Finished: SUCCESS"}), queue.Success,
		},
		{"no cause", prints, queue.Item{}, []string{"output", "Finished: SUCCESS"}, queue.Success},
		{"the job is gone", nil, queue.Item{}, []string{"the job is not in the configuration any more", "Finished: NOT_BUILT"}, queue.NotBuilt},
		{"unstable", ends{Outcome: runner.Unstable, Reason: "3 tests\nfailed"}, queue.Item{}, []string{"3 tests failed", "Finished: UNSTABLE"}, queue.Unstable},
		{"a long reason", ends{Outcome: runner.Failure, Reason: strings.Repeat("x", 1001)}, queue.Item{}, []string{strings.Repeat("x", 1000), "Finished: FAILURE"}, queue.Failure},
		{"an unknown result", ends{Outcome: "GREAT"}, queue.Item{}, []string{`the runner gave an unknown result "GREAT"`, "Finished: FAILURE"}, queue.Failure},
		{
			"longer than its timeout", runs(func(ctx context.Context, _ runner.Build, _ io.Writer) runner.Result {
				return runner.AbortedBy(endOf(ctx))
			}),
			queue.Item{},
			[]string{"timed out after 1m0s", "Finished: ABORTED"},
			queue.Aborted,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, _ := watched(t)
				var app *build.Job
				if tt.runner != nil {
					app = &build.Job{Job: &job.Job{FullName: "app", Settings: job.Settings{Timeout: &minute}}, Runner: tt.runner}
				}
				b := queue.Build{Item: tt.item, Number: 1, Started: time.Now()}
				b.Item.Job = "app"
				result, reason := h.Run(t.Context(), app, b)
				got := strings.Split(strings.TrimSuffix(readLog(t, h, b), "\n"), "\n")
				if diff := cmp.Diff(tt.want, got); diff != "" || result != tt.result {
					t.Errorf("Run = %s, %q, want %s; log (-want +got):\n%s", result, reason, tt.result, diff)
				}
				if last := tt.want[len(tt.want)-2]; result != queue.Success && reason != last {
					t.Errorf("Run = %s, %q, want the reason of the log, %q", result, reason, last)
				}
			})
		})
	}
}

// A build that was stopped before it came to run is not run.
func TestStoppedBuildIsNotRun(t *testing.T) {
	h, _ := watched(t)
	ran := false
	app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: runs(func(context.Context, runner.Build, io.Writer) runner.Result {
		ran = true
		return runner.Result{Outcome: runner.Success}
	})}
	ctx, stop := context.WithCancelCause(t.Context())
	stop(errors.New("stopped by user alice"))
	b := queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1}
	if result, reason := h.Run(ctx, app, b); result != queue.Aborted || reason != "stopped by user alice" || ran {
		t.Errorf("Run = %s, %q, ran %v", result, reason, ran)
	}
	// Its workspace is free again.
	var workspace string
	app.Runner = runs(func(_ context.Context, b runner.Build, _ io.Writer) runner.Result {
		workspace = filepath.Base(b.Workspace)
		return runner.Result{Outcome: runner.Success}
	})
	b.Number = 2
	if result, _ := h.Run(t.Context(), app, b); result != queue.Success || workspace != job.PathElement("app") {
		t.Errorf("the next build ran in %s and ended %s", workspace, result)
	}
}

// A build without a place to run in is NOT_BUILT, and the reason names the directory.
func TestBuildWithoutAWorkspaceIsNotBuilt(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "workspaces"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := openHost(t, build.Options{Dir: dir})
	app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: runs(func(context.Context, runner.Build, io.Writer) runner.Result {
		t.Error("the build was run")
		return runner.Result{Outcome: runner.Success}
	})}
	result, reason := h.Run(t.Context(), app, queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1})
	if result != queue.NotBuilt || !strings.Contains(reason, filepath.Join(dir, "workspaces")) {
		t.Errorf("Run = %s, %q, want NOT_BUILT and the directory", result, reason)
	}
}

// A log that may not survive a power failure is an error for the operator.
func TestLogWithoutItsDirectoryIsAnError(t *testing.T) {
	dir := t.TempDir()
	core, logged := observer.New(zap.ErrorLevel)
	h := openHost(t, build.Options{Dir: dir, Log: func() *zap.Logger { return zap.New(core) }})
	app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: runs(func(context.Context, runner.Build, io.Writer) runner.Result {
		if err := os.RemoveAll(filepath.Join(dir, "logs")); err != nil {
			t.Error(err)
		}
		return runner.Result{Outcome: runner.Success}
	})}
	h.Run(t.Context(), app, queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1})
	if logged.FilterMessage("console log is not complete").Len() != 1 {
		t.Errorf("logged %v, want one error", logged.All())
	}
}

// A build whose output would be lost is not started, and the operator is told.
func TestBuildWithoutALogIsNotStarted(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "logs"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	core, logged := observer.New(zap.ErrorLevel)
	h := openHost(t, build.Options{Dir: dir, Log: func() *zap.Logger { return zap.New(core) }})
	app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: ends{Outcome: runner.Success}}
	result, reason := h.Run(t.Context(), app, queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1})
	if result != queue.NotBuilt || !strings.HasPrefix(reason, "the console log cannot be written: ") || logged.FilterMessage("build not started: no log").Len() != 1 {
		t.Errorf("Run = %s, %s; logged %v", result, reason, logged.All())
	}
}

// An older queue gives a number again whose log is there. That log is kept under another name.
func TestLogOfAnEarlierBuildIsPutAside(t *testing.T) {
	h, logs := watched(t)
	b := queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1}
	for _, text := range []string{"first", "second"} {
		app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: runs(func(_ context.Context, _ runner.Build, log io.Writer) runner.Result {
			fmt.Fprint(log, text)
			return runner.Result{Outcome: runner.Success}
		})}
		if result, reason := h.Run(t.Context(), app, b); result != queue.Success {
			t.Fatalf("Run = %s, %s", result, reason)
		}
	}
	told := logs.FilterMessageSnippet("put aside").All()
	if len(told) != 1 || told[0].Level != zap.WarnLevel {
		t.Fatalf("logged %v, want one warning", told)
	}
	aside, err := os.ReadFile(told[0].ContextMap()["file"].(string)) //nolint:forcetypeassert // a panic is a failure too
	if err != nil || !strings.HasPrefix(string(aside), "first\n") || !strings.HasPrefix(readLog(t, h, b), "second\n") {
		t.Errorf("put aside %q, %v; the log is %q", aside, err, readLog(t, h, b))
	}
}

// With a keeper, the log of a number that is given again was copied before. It is removed, and
// nothing runs while it cannot be.
func TestLogOfAnEarlierBuildIsRemovedIfItIsKept(t *testing.T) {
	b := queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1}
	app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: ends{Outcome: runner.Success}}
	for file, want := range map[string]queue.Result{"1.log": queue.Success, "1.log/file": queue.NotBuilt} {
		dir := t.TempDir()
		file = filepath.Join(dir, "logs", job.PathElement("app"), file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("before\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
		kept := new(keeper)
		h := openHost(t, build.Options{Dir: dir, Logs: kept})
		if result, reason := h.Run(t.Context(), app, b); result != want {
			t.Errorf("Run over %s = %s, %s, want %s", file, result, reason, want)
		}
		if want == queue.Success && !strings.HasPrefix(string(kept.text), "Finished") {
			t.Errorf("the keeper has %q, want only the log of the new build", kept.text)
		}
	}
}

// reaps is a runner that finds processes of lost builds.
type reaps struct {
	ends
	found int
	err   error
	seen  *[]string
}

func (r reaps) Reap(_ context.Context, b runner.Build) (int, error) {
	*r.seen = append(*r.seen, "app"+strings.TrimPrefix(filepath.Base(b.Workspace), job.PathElement("app")))
	return r.found, r.err
}

// What is left of a lost build is looked for in each workspace of its job, and the operator reads
// what was found.
func TestLostBuildsAreReaped(t *testing.T) {
	h, _ := watched(t)
	core, logs := observer.New(zap.DebugLevel)
	log := zap.New(core)
	var seen []string
	app := func(found int, err error) func(string) *build.Job {
		return func(full string) *build.Job {
			if full != "app" {
				return nil
			}
			return &build.Job{Job: &job.Job{FullName: "app"}, Runner: reaps{ends{Outcome: runner.Success}, found, err, &seen}}
		}
	}
	lost := []queue.Build{{Item: queue.Item{ID: 1, Job: "app"}, Number: 1}, {Item: queue.Item{ID: 2, Job: "gone"}, Number: 1}}
	h.Reap(t.Context(), log, lost, app(1, nil))
	if len(seen) > 0 || logs.Len() > 0 {
		t.Errorf("before any build, %q were searched, and %v logged", seen, logs.All())
	}
	both := &build.Job{Job: &job.Job{FullName: "app"}, Runner: runs(func(ctx context.Context, b runner.Build, _ io.Writer) runner.Result {
		if b.Number == 1 { // while this one runs, another one does
			h.Run(ctx, &build.Job{Job: &job.Job{FullName: "app"}, Runner: ends{Outcome: runner.Success}}, queue.Build{Item: queue.Item{ID: 2, Job: "app"}, Number: 2})
		}
		return runner.Result{Outcome: runner.Success}
	})}
	h.Run(t.Context(), both, queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1})
	for _, tt := range []struct {
		found int
		err   error
		want  string
	}{
		{1, nil, "ended processes of a lost build"}, {0, nil, ""}, {0, errors.New("not permitted"), "processes of a lost build could not be ended"},
	} {
		seen = nil
		logs.TakeAll()
		h.Reap(t.Context(), log, lost, app(tt.found, tt.err))
		if want := []string{"app", "app@2"}; !slices.Equal(seen, want) {
			t.Errorf("searched %q, want %q", seen, want)
		}
		entries := logs.All()
		if (len(entries) == 2) != (tt.want != "") || tt.want != "" && entries[0].Message != tt.want {
			t.Errorf("logged %v, want %q twice", entries, tt.want)
		}
	}
}

// clings is a runner whose lost builds cannot be ended.
type clings struct{ ends }

func (clings) Reap(ctx context.Context, _ runner.Build) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

func TestReapEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHost(t, build.Options{})
		app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: clings{ends{Outcome: runner.Success}}}
		b := queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1}
		h.Run(t.Context(), app, b)
		begin := time.Now()
		h.Reap(t.Context(), zap.NewNop(), []queue.Build{b}, func(string) *build.Job { return app })
		if took := time.Since(begin); took != 15*time.Second {
			t.Errorf("Reap took %v, want 15s", took)
		}
	})
}

// The log of a lost build ends with its result, as every other one, and its end is logged.
func TestLostBuildsAreEnded(t *testing.T) {
	dir := t.TempDir()
	h := openHost(t, build.Options{Dir: dir})
	core, logs := observer.New(zap.DebugLevel)
	file := []job.Value{{Name: "FILE", Kind: job.KindFile}}
	if _, err := h.StoreFiles(t.Context(), file, func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil }, false); err != nil {
		t.Fatal(err)
	}
	b := queue.Build{Item: queue.Item{ID: 1, Job: "app", Values: []queue.Value{{Name: "FILE", Kind: "file", Ref: file[0].Ref}}}, Number: 1}
	h.Run(t.Context(), &build.Job{Job: &job.Job{FullName: "app"}, Runner: ends{Outcome: runner.Success}}, b)
	b.Result, b.Reason = queue.Aborted, "the server was killed"
	unwritten, broken := b, b
	unwritten.Number, broken.Number = 7, 8
	if err := os.Mkdir(filepath.Join(dir, "logs", job.PathElement("app"), "8.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, b := range []queue.Build{b, unwritten, broken} {
		h.EndLost(zap.New(core), b)
	}
	if log := readLog(t, h, b); !strings.HasSuffix(log, "the server was killed\nFinished: ABORTED\n") {
		t.Errorf("the log is %q", log)
	}
	if ended := logs.FilterMessage("build ended").Len(); ended != 3 || logs.Len() != 4 || logs.FilterMessage("log of a lost build could not be ended").Len() != 1 {
		t.Errorf("logged %v, want the ends of three builds, and a warning", logs.All())
	}
	if left, err := os.ReadDir(filepath.Join(dir, "uploads")); err != nil || len(left) > 0 {
		t.Errorf("the uploads %v, %v are left, want none", left, err)
	}
}
