// Package atomicfile replaces files as a whole: after a crash at any moment, a file has
// its old content or its new one, and once Write has returned, it has the new one.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Write replaces the file at path, or creates it, with what write writes, and returns when
// that is durable. Only the owner may read and write the file. If write or anything else
// fails, the old file stays as it was; an error of write is returned as it is. The content
// is first written to a file beside it, whose name begins with that of the file and ends
// in ".new"; a crash may leave that behind.
func Write(path string, write func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*.new") // mode 0600
	if err != nil {
		return fmt.Errorf("replace file: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the error that counts is err
		}
	}()
	if err := write(f); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("replace file: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("replace file: %w", err)
	}
	return SyncDir(dir)
}

// SyncDir makes the names of new, renamed and removed files in a directory durable. On
// systems that cannot sync a directory, it does nothing.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	defer func() { _ = d.Close() }() // only synced
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
