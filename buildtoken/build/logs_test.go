package build_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

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

func (k *keeper) LogState(context.Context, string, int64) (int64, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return int64(len(k.text)), k.complete, nil
}

func (k *keeper) ReadLog(_ context.Context, _ string, _, offset int64, p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
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
		for number := int64(1); number <= 3 && opts.Logs == nil; number++ {
			r, err := h.OpenLog(t.Context(), "app", number, true)
			if err == nil {
				err = r.Close()
			}
			if kept := number == 3; kept != (err == nil) {
				t.Errorf("OpenLog of build %d after all below 3 were dropped = %v", number, err)
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
