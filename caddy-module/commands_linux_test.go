package caddymodule_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

// TestRestoreNoticesFilesThatCannotBeRead restores a backup with a log that fails at the first
// read, as on a damaged disk: the memory of a process has nothing at address 0.
func TestRestoreNoticesFilesThatCannotBeRead(t *testing.T) {
	dir := newBackup(t, map[string]string{"logs/a/1.log": "hello\n"})
	log := filepath.Join(dir, "logs/a/1.log")
	if err := errors.Join(os.Remove(log), os.Symlink("/proc/self/mem", log)); err != nil {
		t.Fatal(err)
	}
	err := caddymodule.Restore(dir, filepath.Join(t.TempDir(), "queue.db"))
	if err == nil || !strings.Contains(err.Error(), "not a complete backup: read "+log) {
		t.Errorf("restore: %v, want the log that cannot be read", err)
	}
}
