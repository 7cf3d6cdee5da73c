package build_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/build"
	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// keeper keeps one log in memory.
type keeper struct {
	// mu guards the following.
	mu       sync.Mutex
	text     []byte
	complete bool
	build    int64  // 0: unknown
	dropped  string // the job and number of the last DropLogs
}

func (k *keeper) AppendLog(_ context.Context, _ string, _, offset int64, p []byte, last bool) (int64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if offset != int64(len(k.text)) {
		return int64(len(k.text)), nil
	}
	k.text, k.complete = append(k.text, p...), last
	return int64(len(k.text)), nil
}

func (k *keeper) LogState(context.Context, string, int64) (console.State, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return console.State{Size: int64(len(k.text)), Complete: k.complete}, nil
}

func (k *keeper) ReadLog(_ context.Context, _ string, _, build, offset int64, p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if build != 0 && k.build != 0 && build != k.build {
		return 0, queue.ErrNotFound
	}
	return copy(p, k.text[offset:]), nil
}

func (*keeper) LogTimes(context.Context, string, int64, int64, int64) ([]console.Stamp, error) {
	return nil, nil
}

func (k *keeper) DropLogs(_ context.Context, job string, below int64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dropped = fmt.Sprintf("%s below %d", job, below)
	return nil
}

func hasLog(t *testing.T, h *build.Host, number int64) bool {
	t.Helper()
	r, err := h.OpenLog(t.Context(), "app", number, true)
	if err == nil {
		err = r.Close()
	}
	return err == nil
}

// TestCleanupDropsLogsOfDroppedBuilds covers both places of a log: the files of this server and
// the store that all servers share.
func TestCleanupDropsLogsOfDroppedBuilds(t *testing.T) {
	app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: ends{Outcome: runner.Success}}
	shared := new(keeper)
	for _, opts := range []build.Options{{}, {Logs: shared}} {
		opts.Dir = t.TempDir()
		h := openHost(t, opts)
		var last queue.Build
		for number := int64(1); number <= 3; number++ {
			last = queue.Build{Item: queue.Item{ID: number, Job: "app"}, Number: number}
			h.Run(t.Context(), app, last)
		}
		if err := h.Cleanup(t.Context(), last, 3); err != nil {
			t.Fatal(err)
		}
		if opts.Logs != nil {
			continue
		}
		for number := int64(1); number <= 3; number++ {
			if kept := number == 3; kept != hasLog(t, h, number) {
				t.Errorf("the log of build %d after all below 3 were dropped: %v", number, !kept)
			}
		}
		for number := int64(4); number <= 6; number++ { // the next time goes on from there
			last = queue.Build{Item: queue.Item{ID: number, Job: "app"}, Number: number}
			h.Run(t.Context(), app, last)
		}
		for _, oldest := range []int64{5, 4} {
			if err := h.Cleanup(t.Context(), last, oldest); err != nil {
				t.Fatal(err)
			}
			for number := int64(3); number <= 6; number++ {
				if kept := number >= 5; kept != hasLog(t, h, number) {
					t.Errorf("the log of build %d after all below 5 were dropped: %v", number, !kept)
				}
			}
		}
	}
	if shared.dropped != "app below 3" {
		t.Errorf("DropLogs was called for %q, want app below 3", shared.dropped)
	}
}

// A reader that took a build for a running one still finds its log when the end
// of the build comes before it opens the file.
func TestLogIsFoundWhileItsBuildEnds(t *testing.T) {
	h := openHost(t, build.Options{Logs: new(keeper)})
	b := queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1}
	app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: ends{Outcome: runner.Success}}
	if result, reason := h.Run(t.Context(), app, b); result != queue.Success {
		t.Fatalf("Run = %s, %s", result, reason)
	}
	if err := h.CompleteLog(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for _, removed := range []bool{false, true} {
		if removed {
			h.RemoveLogFile(b)
		}
		for _, here := range []bool{false, true} {
			r, err := h.OpenLog(t.Context(), "app", 1, here)
			if err != nil {
				t.Errorf("OpenLog(here=%v) with its file removed=%v = %v", here, removed, err)
				continue
			}
			text, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if err != nil || !strings.HasSuffix(string(text), "Finished: SUCCESS\n") {
				t.Errorf("log (here=%v, removed=%v) = %q, %v, want all of it", here, removed, text, err)
			}
		}
	}
}

// The log of a build that runs here is its file. One that cannot be read is not replaced by what
// the keeper has.
func TestLogFileThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "logs", job.PathElement("app"), "1.log")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.Symlink("1.log", file)); err != nil {
		t.Fatal(err)
	}
	h := openHost(t, build.Options{Dir: dir, Logs: &keeper{text: []byte("a")}})
	if r, err := h.OpenLog(t.Context(), "app", 1, true); err == nil || r != nil {
		t.Errorf("OpenLog of a file that cannot be read = %v, %v, want an error", r, err)
	}
	r, err := h.OpenLog(t.Context(), "app", 1, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// What an earlier process left of the log of a lost build is copied to where all servers find it. The
// file is removed then, and kept if that fails.
func TestLogsOfLostBuildsAreShipped(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail error
		told int
	}{
		{"it can be copied", nil, 0},
		{"another server has ended it", queue.ErrNotRunning, 0},
		{"the database is broken", queue.ErrFull, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			core, logs := observer.New(zap.DebugLevel)
			opts := build.Options{Dir: t.TempDir()}
			lost := queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1}
			openHost(t, opts).Run(t.Context(), &build.Job{Job: &job.Job{FullName: "app"}, Runner: ends{Outcome: runner.Failure, Reason: "so it was"}}, lost)
			unwritten := lost
			unwritten.Number = 2
			kept := &failing{fail: tt.fail}
			opts.Logs = kept
			openHost(t, opts).ShipLost(t.Context(), zap.New(core), []queue.Build{unwritten, lost})
			if shipped := strings.Contains(string(kept.text), "so it was"); shipped != (tt.fail == nil) || kept.complete {
				t.Errorf("the keeper has %q, complete %v", kept.text, kept.complete)
			}
			left, err := filepath.Glob(filepath.Join(opts.Dir, "logs", "*", "1*"))
			if err != nil || (len(left) > 0) != (tt.told > 0) || logs.Len() != tt.told {
				t.Errorf("left %q, %v; logged %v", left, err, logs.All())
			}
		})
	}
}

// failing is a keeper that may refuse.
type failing struct {
	keeper

	fail error
}

func (f *failing) AppendLog(ctx context.Context, job string, number, offset int64, p []byte, last bool) (int64, error) {
	if f.fail != nil {
		return 0, f.fail
	}
	return f.keeper.AppendLog(ctx, job, number, offset, p, last)
}

// Uploads that nothing refers to are removed at the start.
func TestSweepRemovesUploadsWithoutABuild(t *testing.T) {
	h, _ := watched(t)
	if err := h.SweepUploads(t.Context(), nil); err != nil {
		t.Fatalf("SweepUploads without any = %v", err)
	}
	values := make([]job.Value, 2)
	for i := range values {
		values[i] = job.Value{Name: fmt.Sprint("F", i), Kind: job.KindFile, Ref: job.PendingRef}
	}
	open := func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("content")), nil }
	if _, err := h.StoreFiles(t.Context(), values, open, false); err != nil {
		t.Fatal(err)
	}
	if err := h.SweepUploads(t.Context(), []string{values[1].Ref}); err != nil {
		t.Fatal(err)
	}
	app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: copies{}}
	for i, want := range []queue.Result{queue.Failure, queue.Success} {
		it := queue.Item{ID: 1, Job: "app", Values: []queue.Value{{Name: values[i].Name, Kind: "file", Ref: values[i].Ref}}}
		if result, reason := h.Run(t.Context(), app, queue.Build{Item: it, Number: int64(i + 1)}); result != want {
			t.Errorf("a build with file %d ended %s, %s, want %s", i, result, reason, want)
		}
	}
}

// undropped is a keeper that cannot drop logs.
type undropped struct{ keeper }

func (*undropped) DropLogs(context.Context, string, int64) error { return queue.ErrStorage }

func TestCleanupThatFails(t *testing.T) {
	h := openHost(t, build.Options{Logs: &undropped{}})
	if err := h.Cleanup(t.Context(), queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 3}, 3); !errors.Is(err, queue.ErrStorage) {
		t.Errorf("Cleanup = %v, want the keeper's error", err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "logs", job.PathElement("app"), "1.log", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := openHost(t, build.Options{Dir: dir}).Cleanup(t.Context(), queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 3}, 3); err == nil {
		t.Error("Cleanup of a log that cannot be removed returned no error")
	}
}
