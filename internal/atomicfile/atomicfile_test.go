package atomicfile_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/buildtoken/buildtoken/internal/atomicfile"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	text := func(s string) func(io.Writer) error {
		return func(w io.Writer) error {
			_, err := io.WriteString(w, s)
			return err
		}
	}
	enough := errors.New("enough")
	for _, step := range []struct {
		name  string
		write func(io.Writer) error
		err   error
		want  string
	}{
		{"a new file", text("one"), nil, "one"},
		{"a file in its place", text("two"), nil, "two"},
		{"a failure in the middle changes nothing", func(w io.Writer) error {
			return errors.Join(text("thr")(w), enough)
		}, enough, "two"},
		{"an empty file", text(""), nil, ""},
	} {
		if err := atomicfile.Write(path, step.write); !errors.Is(err, step.err) {
			t.Errorf("%s: %v, want %v", step.name, err, step.err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != step.want {
			t.Errorf("%s: the file is %q, %v, want %q", step.name, got, err, step.want)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v, want that only the owner may read it", step.name, info, err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("%s leaves %v, %v beside the file", step.name, entries, err)
		}
	}
	if err := atomicfile.Write(filepath.Join(dir, "missing", "file"), text("")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Write into no directory: %v, want %v", err, os.ErrNotExist)
	}
	if err := os.Mkdir(filepath.Join(dir, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(filepath.Join(dir, "full"), text("")); err == nil {
		t.Error("a directory was replaced by a file")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("a failed rename leaves %v, %v", entries, err)
	}
}
