//go:build unix

package caddymodule_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

// newBackup makes a directory that has what a backup has, with these files besides.
func newBackup(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	q, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
	if err == nil {
		err = q.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, content string) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("queue.db.key", strings.Repeat("5e", 32)+"\n")
	names := []string{"queue.db", "queue.db.key"}
	for name, content := range files {
		write(name, content)
		names = append(names, name)
	}
	var sums strings.Builder
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(content), name)
	}
	write("SHA256SUMS", sums.String())
	return dir
}

// TestRestoreWritesOnlyWhatABackupHas tries backups that others made: their sums are right.
func TestRestoreWritesOnlyWhatABackupHas(t *testing.T) {
	to := func() string { return filepath.Join(t.TempDir(), "queue.db") }
	place := to()
	if err := caddymodule.Restore(newBackup(t, map[string]string{"logs/a/1.log": "log"}), place); err != nil {
		t.Errorf("restore of a log: %v", err)
	}
	if log, err := os.ReadFile(filepath.Join(filepath.Dir(place), "queue", "logs", "a", "1.log")); string(log) != "log" {
		t.Errorf("the log that was restored is %q, %v", log, err)
	}
	if info, err := os.Stat(filepath.Join(filepath.Dir(place), "queue", "logs", "a")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder of the log that was restored has %v, %v; want the mode 0700", info, err)
	}
	for _, name := range []string{"workspaces/a/.git/hooks/post-checkout", "logs/../workspaces/a/x", "logs", "../x", "logs/./x"} {
		place := to()
		err := caddymodule.Restore(newBackup(t, map[string]string{name: "x"}), place)
		if err == nil || !strings.Contains(err.Error(), "not a complete backup") {
			t.Errorf("restore of the file %s: %v, want it refused", name, err)
		}
		if _, err := os.Lstat(place); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("restore of the file %s made the queue: %v", name, err)
		}
	}
	for _, name := range []string{"logs/a/1.log", "queue.db.key", "SHA256SUMS"} {
		dir := newBackup(t, map[string]string{"logs/a/1.log": "log"})
		path := filepath.Join(dir, name)
		if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := caddymodule.Restore(dir, to()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("restore of a backup whose %s is a pipe: %v, want it refused", name, err)
		}
	}
}

// onWrite calls a function for each text that is written to it.
type onWrite func()

func (f onWrite) Write(text []byte) (int, error) {
	f()
	return len(text), nil
}

// A folder that cannot be made fails the restore. Otherwise logs would be missing from it in silence.
func TestRestoreReportsFoldersThatItCannotMake(t *testing.T) {
	place := filepath.Join(t.TempDir(), "queue.db")
	if err := os.WriteFile(place, []byte("in the way"), 0o600); err != nil {
		t.Fatal(err)
	}
	inTheWay := filepath.Join(filepath.Dir(place), "queue", "logs")
	afterTheCheck := onWrite(func() {
		if err := errors.Join(os.MkdirAll(filepath.Dir(inTheWay), 0o700), os.WriteFile(inTheWay, nil, 0o600)); err != nil {
			t.Error(err)
		}
	})
	err := caddymodule.RestoreAside(afterTheCheck, newBackup(t, map[string]string{"logs/a/1.log": "log"}), place)
	if err == nil || !strings.Contains(err.Error(), inTheWay) {
		t.Errorf("restore with a file in place of the folder %s: %v, want an error with its path", inTheWay, err)
	}
	if _, err := os.Lstat(place); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("restore made a queue whose logs are missing: %v", err)
	}
}
