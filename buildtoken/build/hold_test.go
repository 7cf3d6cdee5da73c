package build_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/build"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// TestHoldKeepsFiles drops a log and an upload during two holds. Both are there until the
// last one is released.
func TestHoldKeepsFiles(t *testing.T) {
	dir := t.TempDir()
	h := openHost(t, build.Options{Dir: dir})
	values := []job.Value{{Name: "FILE", Kind: job.KindFile, Ref: job.PendingRef}}
	open := func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("content")), nil }
	if _, err := h.StoreFiles(t.Context(), values, open, false); err != nil {
		t.Fatal(err)
	}
	b := queue.Build{Item: queue.Item{ID: 1, Job: "app", Values: []queue.Value{{Name: "FILE", Kind: "file", Ref: values[0].Ref}}}, Number: 1}
	app := &build.Job{Job: &job.Job{FullName: "app", Params: []job.Param{{Name: "FILE", Kind: job.KindFile}}}, Runner: ends{Outcome: runner.Success}}
	if result, reason := h.Run(t.Context(), app, b); result != queue.Success {
		t.Fatalf("Run = %s, %s", result, reason)
	}
	files := func() int {
		logs, err := filepath.Glob(filepath.Join(dir, "logs", "*", "1.log"))
		if err != nil {
			t.Fatal(err)
		}
		uploads, err := os.ReadDir(filepath.Join(dir, "uploads"))
		if err != nil {
			t.Fatal(err)
		}
		return len(logs) + len(uploads)
	}
	if got := files(); got != 2 {
		t.Fatalf("%d files, want a log and an upload", got)
	}
	first, second := h.Hold(), h.Hold()
	if err := h.Cleanup(t.Context(), b, 2); err != nil {
		t.Fatal(err)
	}
	first()
	if got := files(); got != 2 {
		t.Errorf("%d files during a hold, want a log and an upload", got)
	}
	second()
	if got := files(); got != 0 {
		t.Errorf("%d files after the last hold, want none", got)
	}
}
