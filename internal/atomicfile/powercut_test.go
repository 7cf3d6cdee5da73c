package atomicfile_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/buildtoken/buildtoken/internal/atomicfile"
	"github.com/buildtoken/buildtoken/internal/crashdisk"
)

// TestPowerCut creates a directory, writes a file in it and replaces it, and checks what a
// power failure can leave after each step.
func TestPowerCut(t *testing.T) {
	disk := crashdisk.New(t)
	files := atomicfile.Files{Disk: disk}
	dir := filepath.Join(disk.Root, "a", "b")
	if err := files.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	made := disk.Mark()
	var marks []int
	for _, text := range []string{"one", "two, in two parts"} {
		err := files.Write(filepath.Join(dir, "file"), func(w io.Writer) error {
			_, err := io.WriteString(w, text[:2])
			_, also := io.WriteString(w, text[2:])
			return errors.Join(err, also)
		})
		if err != nil {
			t.Fatal(err)
		}
		marks = append(marks, disk.Mark())
	}
	cuts := 0
	disk.Cuts(t, func(after int, left, what string) {
		cuts++
		if _, err := os.Stat(filepath.Join(left, "a", "b")); err != nil && after >= made {
			t.Errorf("%s: the directory is gone", what)
		}
		text, err := os.ReadFile(filepath.Join(left, "a", "b", "file"))
		switch {
		case errors.Is(err, fs.ErrNotExist) && after < marks[0]:
		case err == nil && string(text) == "one" && after < marks[1]:
		case err == nil && string(text) == "two, in two parts" && after > marks[0]:
		default:
			t.Errorf("%s: the file holds %q, %v", what, text, err)
		}
	})
	if cuts < 20 {
		t.Errorf("only %d cuts were looked at", cuts)
	}
}

func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	if err := atomicfile.MkdirAll(filepath.Join(dir, "a", "b", "c"), 0o700); err != nil {
		t.Error(err)
	}
	if err := atomicfile.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Errorf("MkdirAll of a directory that exists = %v", err)
	}
	info, err := os.Stat(filepath.Join(dir, "a", "b", "c"))
	if err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
		t.Errorf("MkdirAll made %v, %v; want a directory with mode 0700", info, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"file", "file/below"} {
		if err := atomicfile.MkdirAll(filepath.Join(dir, path), 0o700); err == nil {
			t.Errorf("MkdirAll(%s) = nil, want an error", path)
		}
	}
}

// TestPowerCutAfterSyncTree unpacks files into directories, each synced, and syncs the directories
// at the end.
func TestPowerCutAfterSyncTree(t *testing.T) {
	disk := crashdisk.New(t)
	for _, path := range []string{"a/b/one", "a/two", "three"} {
		to := filepath.Join(disk.Root, "all", path)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, []byte(path), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := (atomicfile.Files{Disk: disk}).SyncTree(disk.Root); err != nil {
		t.Fatal(err)
	}
	synced := disk.Mark()
	disk.Cuts(t, func(after int, left, what string) {
		for _, path := range []string{"a/b/one", "a/two", "three"} {
			if text, err := os.ReadFile(filepath.Join(left, "all", path)); after >= synced && (err != nil || string(text) != path) {
				t.Errorf("%s: %s holds %q, %v", what, path, text, err)
			}
		}
	})
}
