//go:build !windows

package console_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/console"
)

// Windows has no permission bits.
func TestLogsArePrivate(t *testing.T) {
	dir := t.TempDir()
	logs := console.New(filepath.Join(dir, "logs"))
	write(t, create(t, logs, 1, 0), "output")
	w, err := logs.Resume("resumed", 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), logs.Append("appended", 1, "line")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{
		"logs": 0o700 | fs.ModeDir, "logs/app": 0o700 | fs.ModeDir, "logs/app/1.log": 0o600, "logs/app/1.log.times": 0o600,
		"logs/resumed": 0o700 | fs.ModeDir, "logs/resumed/1.log": 0o600,
		"logs/appended": 0o700 | fs.ModeDir, "logs/appended/1.log": 0o600, "logs/appended/1.log.times": 0o600,
	} {
		st, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode() != want {
			t.Errorf("mode of %s = %v, want %v", path, st.Mode(), want)
		}
	}
}

// A log that cannot be opened is not one that is missing.
func TestLogThatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	s := console.New(dir)
	if err := s.Append("app", 1, "one"); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "app", "1.log")
	if err := errors.Join(os.Remove(name), os.Symlink(name, name)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open("app", 1); err == nil || errors.Is(err, console.ErrNotFound) {
		t.Errorf("Open = %v, want the error of the system", err)
	}
}

// Times that cannot be opened are an error, unlike those that are missing.
func TestTimesThatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	s := console.New(dir)
	if err := s.Append("app", 1, "one"); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "app", "1.log.times")
	if err := errors.Join(os.Remove(name), os.Symlink(name, name)); err != nil {
		t.Fatal(err)
	}
	if all, err := open(t, s, 1).Times(t.Context(), 0, 4); err == nil {
		t.Errorf("Times = %v, want an error", all)
	}
}
