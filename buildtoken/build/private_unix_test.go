//go:build !windows

package build_test

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/buildtoken/buildtoken/buildtoken/build"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// TestFilesArePrivate checks the modes of everything that a build and its upload leave. Other
// users of the machine can pass through the directory of the workspaces, because their builds
// may run there, but cannot access anything else.
func TestFilesArePrivate(t *testing.T) { synctest.Test(t, filesArePrivate) }

func filesArePrivate(t *testing.T) {
	dir := t.TempDir()
	h := openHost(t, build.Options{Dir: dir})
	values := []job.Value{{Name: "FILE", Kind: job.KindFile}}
	content := func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil }
	if _, err := h.StoreFiles(t.Context(), values, content, false); err != nil {
		t.Fatal(err)
	}
	app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: ends{Outcome: runner.Success}}
	if result, reason := h.Run(t.Context(), app, queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1}); result != queue.Success {
		t.Fatalf("Run = %s, %s", result, reason)
	}
	looks := looks(func(context.Context, runner.Build, io.Writer) (bool, error) { return false, nil })
	for _, poller := range []runner.Poller{looks, apart{looks}} {
		polls(t, h, &build.Job{Job: app.Job, Poller: poller}).Request("app", "http://x/")
		synctest.Wait()
	}
	element, seen := job.PathElement("app"), 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		seen++
		relative, _ := filepath.Rel(dir, path)
		want := fs.FileMode(0o600)
		switch {
		case relative == "workspaces":
			want = 0o711
		case d.IsDir():
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("mode of %s = %04o, want %04o", relative, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"workspaces/" + element, "workspaces/" + element + "@poll", "logs/" + element + "/1.log", "uploads/" + values[0].Ref, "polling/" + element + ".log"} {
		if _, err := os.Stat(filepath.Join(dir, path)); err != nil {
			t.Error(err)
		}
	}
	if seen < 10 {
		t.Errorf("%d files and directories, want at least 10", seen)
	}
}
