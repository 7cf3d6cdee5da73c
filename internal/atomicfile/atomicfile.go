// Package atomicfile replaces files as a whole: after a crash at any moment, a file has
// its old content or its new one, and once Write has returned, it has the new one.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// Files are the files of a [Disk]. The zero value uses the operating system.
type Files struct{ Disk Disk }

func (f Files) disk() Disk {
	if f.Disk == nil {
		return system{}
	}
	return f.Disk
}

// Write is [Files.Write] of the operating system.
func Write(path string, write func(io.Writer) error) error { return Files{}.Write(path, write) }

// MkdirAll is [Files.MkdirAll] of the operating system.
func MkdirAll(path string, mode fs.FileMode) error { return Files{}.MkdirAll(path, mode) }

// SyncDir is [Files.SyncDir] of the operating system.
func SyncDir(dir string) error { return Files{}.SyncDir(dir) }

// Write replaces the file at path, or creates it, with what write writes, and returns when
// that is durable. Only the owner may read and write the file. If write or anything else
// fails, the old file stays as it was; an error of write is returned as it is. The content
// is first written to a file beside it, whose name begins with that of the file and ends
// in ".new"; a crash may leave that behind.
func (f Files) Write(path string, write func(io.Writer) error) (err error) {
	disk, dir := f.disk(), filepath.Dir(path)
	fresh, err := disk.CreateTemp(dir, filepath.Base(path)+".*.new") // mode 0600
	if err != nil {
		return fmt.Errorf("replace file: %w", err)
	}
	defer func() {
		if err != nil {
			_ = disk.Remove(fresh.Name()) // the error that counts is err
		}
	}()
	if err := write(fresh); err != nil {
		return errors.Join(err, fresh.Close())
	}
	if err := errors.Join(fresh.Sync(), fresh.Close()); err != nil {
		return fmt.Errorf("replace file: %w", err)
	}
	if err := disk.Rename(fresh.Name(), path); err != nil {
		return fmt.Errorf("replace file: %w", err)
	}
	return f.SyncDir(dir)
}

// MkdirAll makes a directory and those above it that are missing, and returns when they are
// durable. A directory that exists already counts as durable.
func (f Files) MkdirAll(path string, mode fs.FileMode) error {
	if f.disk().IsDir(path) {
		return nil
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := f.MkdirAll(parent, mode); err != nil {
			return err
		}
	}
	if err := f.disk().Mkdir(path, mode); err != nil && (!errors.Is(err, fs.ErrExist) || !f.disk().IsDir(path)) {
		return fmt.Errorf("make directory: %w", err)
	}
	return f.SyncDir(parent) // even if another goroutine has just made it
}

// SyncTree is [Files.SyncTree] of the operating system.
func SyncTree(dir string) error { return Files{}.SyncTree(dir) }

// SyncTree is [Files.SyncDir] of a directory and of all those below it.
func (f Files) SyncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return f.SyncDir(path)
	})
}

// SyncDir makes the names of new, renamed and removed files in a directory durable. On
// systems that cannot sync a directory, it does nothing.
func (f Files) SyncDir(dir string) error {
	if err := f.disk().SyncDir(dir); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
