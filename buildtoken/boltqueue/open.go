package boltqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"syscall"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"go.uber.org/zap"
)

// opened is an open file. info identifies it if another file takes its place. file is open as long
// as the DB.
type opened struct {
	*bolt.DB

	file *os.File
	info os.FileInfo
}

// torn completes the message about a file that cannot be read as a whole. A plain copy of a
// file in use mixes pages of several commits.
const torn = "is damaged, or a copy that was made while it was written"

// errMoved is returned when the path no longer leads to the open file.
var errMoved = errors.New("boltqueue: file was removed or replaced while in use")

// inPlace returns an error unless the path still leads to the open file: what is
// written to a removed or replaced file is lost.
func (o *opened) inPlace(path string) error {
	switch there, err := os.Stat(path); {
	case err != nil:
		return fmt.Errorf("%w: %w", errMoved, err)
	case !os.SameFile(o.info, there):
		return fmt.Errorf("%w: %s is another file", errMoved, path)
	}
	return nil
}

// open opens or creates the file and reads the indexes into memory.
func open(opts Options) (*opened, *memory, error) {
	switch err := isFile(opts.Path); {
	case errors.Is(err, os.ErrNotExist):
		return makeFile(opts)
	case err != nil:
		return nil, nil, err
	}
	isNew, err := check(opts)
	if err != nil {
		return nil, nil, err
	}
	if err := compact(opts); err != nil {
		if errors.Is(err, ErrLocked) || errors.Is(err, errReplaced) {
			return nil, nil, err
		}
		opts.Log.Warn("queue file could not be compacted; it is used as it is", zap.String("path", opts.Path), zap.Error(err))
	}
	return openFile(opts, bolt.Options{}, func(db *bolt.DB) error {
		if isNew {
			return db.Update(create)
		}
		return nil
	})
}

// isFile returns an error unless there is a regular, non-empty file.
func isFile(path string) error {
	switch info, err := os.Stat(path); {
	case err != nil:
		return fmt.Errorf("boltqueue: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: %s is not a regular file", ErrForeign, path)
	case info.Size() == 0:
		return fmt.Errorf("%w: %s is empty; remove it unless it is the remains of a damaged queue", ErrForeign, path)
	}
	return nil
}

// reopen opens the file after the batch with a number failed, and reverts what of it
// is visible: after a failed fsync, anything may have reached the disk.
func reopen(opts Options, number uint64, revert []write) (*opened, *memory, error) {
	if _, err := check(opts); err != nil {
		return nil, nil, err
	}
	return openFile(opts, bolt.Options{}, func(db *bolt.DB) error {
		err := update(db, opts.Commit, func(tx *bolt.Tx) error {
			meta := tx.Bucket(bucketMeta())
			if number == 0 || readUint(meta.Get(keyBatch())) != number {
				return errUnchanged
			}
			var err error
			for _, w := range slices.Backward(revert) {
				err = errors.Join(err, w.put(tx.Bucket(w.bucket)))
			}
			// The number stays, so that this is repeated until a commit has succeeded.
			return errors.Join(err, meta.Put(keyBatch(), binary.BigEndian.AppendUint64(nil, number)))
		})
		if err != nil {
			return fmt.Errorf("revert a failed batch: %w", err)
		}
		return nil
	})
}

// errUnchanged is returned by a change that has nothing to write.
var errUnchanged = errors.New("boltqueue: nothing to write")

// update makes a change in a transaction that commit ends.
func update(db *bolt.DB, commit, change func(*bolt.Tx) error) error {
	tx, err := db.Begin(true)
	if err == nil {
		defer tx.Rollback() //nolint:errcheck // after Commit it does nothing; otherwise nothing was to be written, or another error counts
		err = change(tx)
	}
	if err == nil {
		err = commit(tx)
	}
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// makeFile creates a new queue. If that fails, it removes the file, which would
// otherwise be mistaken for a damaged queue.
func makeFile(opts Options) (*opened, *memory, error) {
	made := false
	exclusive := func(path string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(path, flag|os.O_EXCL, mode) //nolint:gosec // the path comes from the operator
		made = made || err == nil
		return f, err
	}
	db, mem, err := openFile(opts, bolt.Options{OpenFile: exclusive}, func(db *bolt.DB) error {
		if err := db.Update(create); err != nil {
			return fmt.Errorf("create the file: %w", err)
		}
		return opts.SyncDir(filepath.Dir(opts.Path))
	})
	if err != nil && made {
		err = errors.Join(err, os.Remove(opts.Path))
	}
	return db, mem, err
}

// check inspects a file read-only, because bbolt may write as soon as it opens a file
// for writing. isNew reports that the file holds nothing: the process that created it
// died before it could fill it.
func check(opts Options) (isNew bool, err error) {
	db, err := openBolt(opts, bolt.Options{ReadOnly: true})
	if err != nil {
		return false, err
	}
	err = guard(opts.Path, func() error {
		return db.View(func(tx *bolt.Tx) error {
			isNew, err = db.examine(tx, opts.Path)
			return err
		})
	})
	_ = db.Close() // it was only read
	return isNew, err
}

// examine returns an error unless the file is complete and a queue of this program.
func (o *opened) examine(tx *bolt.Tx, path string) (isNew bool, err error) {
	if size := o.info.Size(); tx.Size() > size {
		return false, fmt.Errorf("%w: %s %s: it has %d bytes instead of %d", ErrForeign, path, torn, size, tx.Size())
	}
	if err := checkPages(tx, o.file, path); err != nil {
		return false, err
	}
	if first, _ := tx.Cursor().First(); first == nil {
		return true, nil
	}
	return false, checkBuckets(tx, path)
}

func checkBuckets(tx *bolt.Tx, path string) error {
	meta := tx.Bucket(bucketMeta())
	if meta == nil {
		return fmt.Errorf("%w: %s %s, or of another program", ErrForeign, path, torn)
	}
	switch v := readUint(meta.Get(keyFormat())); {
	case v < 1 || v > format:
		return fmt.Errorf("%w: %s has format %d, this program supports formats up to %d", ErrForeign, path, v, format)
	case v < format:
		return nil // upgrade completes it
	}
	for _, name := range buckets() {
		if tx.Bucket(name) == nil {
			return fmt.Errorf("%w: %s %s: it has no bucket %s", ErrForeign, path, torn, name)
		}
	}
	return nil
}

// upgrade brings a file of an older format up to date, one step after the other, in
// one transaction that commit ends. steps[0] leads from format 1 to format 2. A file
// of the current format is not written. upgrade returns the format that the file had.
func upgrade(db *bolt.DB, steps []func(*bolt.Tx) error, commit func(*bolt.Tx) error) (from uint64, err error) {
	err = update(db, commit, func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta())
		from = readUint(meta.Get(keyFormat()))
		if from > uint64(len(steps)) {
			return errUnchanged
		}
		for i, step := range steps[from-1:] {
			if err := step(tx); err != nil {
				return fmt.Errorf("from format %d: %w", from+uint64(i), err)
			}
		}
		return meta.Put(keyFormat(), binary.BigEndian.AppendUint64(nil, uint64(len(steps))+1))
	})
	if err != nil {
		return from, fmt.Errorf("upgrade: %w", err)
	}
	return from, nil
}

// openFile opens the file for writing, prepares, upgrades and reads it. Neither
// prepare nor upgrade writes without a reason.
func openFile(opts Options, how bolt.Options, prepare func(*bolt.DB) error) (*opened, *memory, error) {
	db, err := openBolt(opts, how)
	if err != nil {
		return nil, nil, err
	}
	mem := newMemory()
	err = guard(opts.Path, func() error {
		if err := prepare(db.DB); err != nil {
			return fmt.Errorf("boltqueue: %s: %w", opts.Path, err)
		}
		from, err := upgrade(db.DB, upgrades(), opts.Commit)
		if err != nil {
			return fmt.Errorf("boltqueue: %s: %w", opts.Path, err)
		}
		if from < format {
			opts.Log.Info("queue file was converted to a new format; an older version cannot open it any more",
				zap.String("path", opts.Path), zap.Uint64("from", from), zap.Int("format", format))
		}
		return db.View(func(tx *bolt.Tx) error {
			if err := mem.read(tx, opts.Log); err != nil {
				return fmt.Errorf("%w: %s %s: %w", ErrForeign, opts.Path, torn, err)
			}
			return nil
		})
	})
	if err != nil {
		_ = db.Close() // the error that counts is err
		return nil, nil, err
	}
	return db, mem, nil
}

// openBolt is bolt.Open with the errors of this package. If bbolt panics over the file,
// openBolt closes it, because its lock would otherwise last as long as the process.
func openBolt(opts Options, how bolt.Options) (_ *opened, err error) {
	openAs := how.OpenFile
	if openAs == nil {
		openAs = os.OpenFile
	}
	var file *os.File
	var info os.FileInfo
	how.OpenFile = func(path string, flag int, mode os.FileMode) (_ *os.File, err error) {
		if file, err = openAs(path, flag, mode); err != nil {
			return nil, err
		}
		info, err = file.Stat()
		return file, err
	}
	how.Timeout, how.FreelistType = opts.LockTimeout, bolt.FreelistMapType
	var db *bolt.DB
	panicked := true
	err = guard(opts.Path, func() (err error) {
		db, err = bolt.Open(opts.Path, 0o600, &how)
		panicked = false
		return err
	})
	if panicked && file != nil {
		_ = unlock(file) // the error that counts is err
		_ = file.Close()
	}
	var system syscall.Errno
	switch {
	case err == nil:
		return &opened{db, file, info}, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s", ErrLocked, opts.Path)
	case errors.Is(err, ErrForeign):
		return nil, err
	case errors.As(err, &system):
		return nil, fmt.Errorf("boltqueue: open: %w", err)
	default: // bbolt rejects what it read
		return nil, fmt.Errorf("%w: %s %s, or of another program: %w", ErrForeign, opts.Path, torn, err)
	}
}

// guard turns a damaged page into an error: bbolt panics over one, or returns memory
// outside of the file. read must do nothing but access the file, or a bug of ours is
// reported as damage.
func guard(path string, read func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %s %s: %v", ErrForeign, path, torn, r)
		}
	}()
	return read()
}

// create fills a new file.
func create(tx *bolt.Tx) error {
	for _, name := range buckets() {
		if _, err := tx.CreateBucket(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return tx.Bucket(bucketMeta()).Put(keyFormat(), binary.BigEndian.AppendUint64(nil, format))
}
