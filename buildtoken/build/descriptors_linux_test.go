package build_test

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/build"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/filetest"
)

// The log of a lost build is closed after it was copied.
func TestLogsOfLostBuildsAreClosed(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it would close what was forgotten
	dir := t.TempDir()
	logs := filepath.Join(dir, "logs", job.PathElement("app"))
	if err := os.MkdirAll(logs, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(logs, "1.log"), []byte("output\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	kept := new(keeper)
	openHost(t, build.Options{Dir: dir, Logs: kept}).ShipLost(t.Context(), zap.NewNop(), []queue.Build{{Item: queue.Item{ID: 1, Job: "app"}, Number: 1}})
	if open := filetest.Open(t, logs); string(kept.text) != "output\n" || len(open) > 0 {
		t.Errorf("the keeper has %q, and %v are open; want all of the log, and none", kept.text, open)
	}
}
