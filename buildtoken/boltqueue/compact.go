package boltqueue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
)

const (
	// minCompact is the size in bytes from which a file is worth compacting.
	minCompact = 16 << 20
	// compactStep bounds how many bytes one transaction of the copy holds in memory.
	compactStep = 4 << 20
)

// errReplaced is returned by compact if the file was replaced, but a power failure could bring
// the old one back, without what is written from now on.
var errReplaced = errors.New("boltqueue: compact: the new file may not survive a power failure")

// compact replaces a file of which more than half is free by a copy without free pages. It
// is called before the file is opened. If it fails, the file stays as it was, unless the error
// is errReplaced.
func compact(opts Options) error {
	path, err := filepath.EvalSymlinks(opts.Path) // a rename would replace a link
	if err != nil {
		return fmt.Errorf("boltqueue: compact: %w", err)
	}
	copied := path + ".compact"
	if err := os.Remove(copied); err != nil && !errors.Is(err, fs.ErrNotExist) { // left by a crash
		return fmt.Errorf("boltqueue: compact: %w", err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() < minCompact {
		return err
	}
	// Open for writing, so that no other process has the file open meanwhile.
	db, err := openBolt(opts, bolt.Options{})
	if err != nil {
		return err
	}
	// It was only read. It stays open until the copy has taken its place, because its lock keeps
	// other processes away, and what they wrote to it would be lost. Windows does not replace an
	// open file: there, the file is used as it is.
	defer func() { _ = db.Close() }()
	before, after := db.info.Size(), int64(0)
	err = guard(path, func() (err error) {
		if free := int64(db.Stats().FreePageN) * int64(db.Info().PageSize); free > before/2 {
			after, err = copyTo(db, copied, opts)
		}
		return err
	})
	if err == nil && after > 0 {
		if err = os.Rename(copied, path); err == nil {
			if err := opts.SyncDir(filepath.Dir(path)); err != nil {
				return fmt.Errorf("%w: %w", errReplaced, err)
			}
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("boltqueue: compact: %w", err), os.RemoveAll(copied))
	}
	if after > 0 {
		opts.Log.Info("queue file was compacted", zap.String("path", opts.Path), zap.Int64("bytes_before", before), zap.Int64("bytes_after", after))
	}
	return nil
}

// copyTo copies a queue to a new file without its free pages, durably, and returns its size.
func copyTo(from *opened, path string, opts Options) (size int64, err error) {
	to, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: opts.LockTimeout, FreelistType: bolt.FreelistMapType, NoSync: true})
	if err == nil {
		defer func() { _ = to.Close() }() // the error of a copy that is complete is returned below
		err = bolt.Compact(to, from.DB, compactStep)
	}
	if err == nil {
		err = errors.Join(to.Sync(), to.Close())
	}
	if err == nil {
		err = os.Chmod(path, from.info.Mode().Perm())
	}
	var info os.FileInfo
	if err == nil {
		info, err = os.Stat(path)
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
