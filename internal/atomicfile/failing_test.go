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

var errDisk = errors.New("input/output error")

// failing is a disk of which one operation fails.
type failing struct {
	atomicfile.Disk
	left *int // operations before that
	err  error
}

// next returns the error if it is the turn of the operation that fails.
func (f failing) next() error {
	if *f.left--; *f.left == -1 {
		return f.err
	}
	return nil
}

func (f failing) Mkdir(path string, mode fs.FileMode) error {
	if err := f.next(); err != nil {
		return err
	}
	return f.Disk.Mkdir(path, mode)
}

func (f failing) CreateTemp(dir, pattern string) (atomicfile.File, error) {
	if err := f.next(); err != nil {
		return nil, err
	}
	file, err := f.Disk.CreateTemp(dir, pattern)
	return failingFile{file, f}, err
}

func (f failing) Rename(from, to string) error {
	if err := f.next(); err != nil {
		return err
	}
	return f.Disk.Rename(from, to)
}

func (f failing) SyncDir(dir string) error {
	if err := f.next(); err != nil {
		return err
	}
	return f.Disk.SyncDir(dir)
}

type failingFile struct {
	atomicfile.File
	disk failing
}

func (f failingFile) Sync() error { return errors.Join(f.disk.next(), f.File.Sync()) }

func (f failingFile) Close() error { return errors.Join(f.disk.next(), f.File.Close()) }

// TestErrorsOfTheDisk has each operation of the disk fail in turn. Nothing that failed may look durable.
func TestErrorsOfTheDisk(t *testing.T) {
	for name, do := range map[string]func(files atomicfile.Files, dir string) error{
		"Write": func(files atomicfile.Files, dir string) error {
			return files.Write(filepath.Join(dir, "file"), func(w io.Writer) error {
				_, err := io.WriteString(w, "text")
				return err
			})
		},
		"MkdirAll": func(files atomicfile.Files, dir string) error {
			return files.MkdirAll(filepath.Join(dir, "a", "b"), 0o700)
		},
		"SyncTree": func(files atomicfile.Files, dir string) error {
			if err := os.MkdirAll(filepath.Join(dir, "x", "y"), 0o700); err != nil {
				return err
			}
			return files.SyncTree(dir)
		},
	} {
		failed := 0
		for ; ; failed++ {
			disk, left := crashdisk.New(t), failed
			err := do(atomicfile.Files{Disk: failing{disk, &left, errDisk}}, disk.Root)
			if left >= 0 { // it has fewer operations
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				break
			}
			if !errors.Is(err, errDisk) {
				t.Errorf("%s when operation %d fails: %v, want %v", name, failed, err, errDisk)
			}
		}
		if failed < 3 {
			t.Errorf("%s has %d operations, want more", name, failed)
		}
	}
}

// TestDirectoriesThatCannotBeSynced is about systems that do not let a program sync a directory.
func TestDirectoriesThatCannotBeSynced(t *testing.T) {
	for err, want := range map[error]error{errors.ErrUnsupported: nil, fs.ErrPermission: nil, errDisk: errDisk} {
		disk, left := crashdisk.New(t), 0
		if got := (atomicfile.Files{Disk: failing{disk, &left, err}}).SyncDir(disk.Root); !errors.Is(got, want) {
			t.Errorf("SyncDir when the system returns %v: %v, want %v", err, got, want)
		}
	}
	missing := filepath.Join(t.TempDir(), "missing")
	if err := atomicfile.SyncDir(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("SyncDir of no directory: %v, want %v", err, fs.ErrNotExist)
	}
	if err := atomicfile.SyncTree(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("SyncTree of no directory: %v, want %v", err, fs.ErrNotExist)
	}
}
