package console_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/internal/filetest"
)

// Nothing of a log stays open once its reader and its writer are closed.
func TestLogsAreClosed(t *testing.T) {
	dir := t.TempDir()
	s := console.New(dir)
	steps := []struct {
		name string
		do   func() error
	}{
		{"written", func() error {
			w := create(t, s, 1, 0)
			write(t, w, "one\n")
			return w.Close()
		}},
		{"appended to", func() error { return s.Append("app", 1, "two") }},
		{"resumed", func() error {
			w, err := s.Resume("app", 1, 0)
			if err != nil {
				return err
			}
			write(t, w, "three\n")
			return w.Close()
		}},
		{"read with its times", func() error {
			r, err := s.Open("app", 1)
			if err != nil {
				return err
			}
			if all, err := r.Times(t.Context(), 0, 99); err != nil || len(all) != 3 {
				t.Errorf("Times = %v, %v, want three", all, err)
			}
			return r.Close()
		}},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if open := filetest.Open(t, dir); len(open) > 0 {
			t.Errorf("after the log was %s, %s is open", step.name, open)
		}
	}
}

// Lines that cannot be written, or not durably, are an error.
func TestAppendThatFails(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "app"), 0o700); err != nil {
		t.Fatal(err)
	}
	for number, device := range map[int]string{1: "/dev/full", 3: "/dev/null"} { // which cannot be synced
		if err := os.Symlink(device, filepath.Join(dir, "app", fmt.Sprint(number, ".log"))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "app", "2.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	for number, what := range map[int64]string{1: "a full disk", 2: "a directory", 3: "what cannot be synced"} {
		if err := console.New(dir).Append("app", number, "lost"); err == nil {
			t.Errorf("Append to %s = nil, want an error", what)
		}
	}
	if _, err := console.New(dir).Resume("app", 2, 0); err == nil {
		t.Error("Resume of a directory = nil, want an error")
	}
}
