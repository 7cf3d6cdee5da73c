package boltqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// opened is an open file. info tells it from any other that may take its place.
type opened struct {
	*bolt.DB

	info os.FileInfo
}

// errMoved says that whoever opens the path does not find the file that is open.
var errMoved = errors.New("boltqueue: file was removed or replaced while in use")

// inPlace looks whether the path still names the file: what is written to one
// that was removed or replaced is durable for nobody.
func (o *opened) inPlace(path string) error {
	switch there, err := os.Stat(path); {
	case err != nil:
		return fmt.Errorf("%w: %w", errMoved, err)
	case !os.SameFile(o.info, there):
		return fmt.Errorf("%w: %s is another file", errMoved, path)
	}
	return nil
}

// open opens the file, or makes it, and reads into memory what must be known.
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
	return openFile(opts, bolt.Options{}, func(db *bolt.DB) error {
		if isNew {
			return db.Update(create)
		}
		return nil
	})
}

// isFile looks whether there is a file that may hold something.
func isFile(path string) error {
	switch info, err := os.Stat(path); {
	case err != nil:
		return fmt.Errorf("boltqueue: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: %s is not a regular file", ErrForeign, path)
	case info.Size() == 0:
		return fmt.Errorf("%w: %s is empty; if it is not a queue that was damaged, remove it", ErrForeign, path)
	}
	return nil
}

// reopen opens the file after batch number failed, and takes back what of it
// is visible: a failed fsync does not tell.
func reopen(opts Options, number uint64, revert []write) (*opened, *memory, error) {
	if _, err := check(opts); err != nil {
		return nil, nil, err
	}
	return openFile(opts, bolt.Options{}, func(db *bolt.DB) error {
		tx, err := db.Begin(true)
		if err != nil {
			return fmt.Errorf("take back a failed batch: %w", err)
		}
		defer tx.Rollback() //nolint:errcheck // after Commit it does nothing; else nothing was to be written, or another error counts
		meta := tx.Bucket(bucketMeta())
		if number == 0 || readUint(meta.Get(keyBatch())) != number {
			return nil
		}
		for _, w := range slices.Backward(revert) {
			if err := w.put(tx.Bucket(w.bucket)); err != nil {
				return fmt.Errorf("take back a failed batch: %w", err)
			}
		}
		// The number itself stays used, so that no later batch can be taken for this one.
		err = meta.Put(keyBatch(), binary.BigEndian.AppendUint64(nil, number))
		if err == nil {
			err = opts.Commit(tx)
		}
		if err != nil {
			return fmt.Errorf("take back a failed batch: %w", err)
		}
		return nil
	})
}

// makeFile makes a new queue. A file that could not be made is removed, so
// that nobody takes it for a damaged queue.
func makeFile(opts Options) (*opened, *memory, error) {
	made := false
	exclusive := func(path string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(path, flag|os.O_EXCL, mode) //nolint:gosec // the path comes from the operator
		made = made || err == nil
		return f, err
	}
	db, mem, err := openFile(opts, bolt.Options{OpenFile: exclusive}, func(db *bolt.DB) error {
		if err := db.Update(create); err != nil {
			return fmt.Errorf("make the file: %w", err)
		}
		return syncFolder(filepath.Dir(opts.Path))
	})
	if err != nil && made {
		err = errors.Join(err, os.Remove(opts.Path))
	}
	return db, mem, err
}

// syncFolder makes the name of a new file durable. Windows has no such call.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	folder, err := os.Open(path) //nolint:gosec // the path comes from the operator
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	err = folder.Sync()
	if closed := folder.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

// check looks at a file without any right to write, because bbolt may write
// as soon as it opens. isNew says that there is nothing in it yet: its maker
// died in the middle.
func check(opts Options) (isNew bool, err error) {
	db, err := openBolt(opts, bolt.Options{ReadOnly: true})
	if err != nil {
		return false, err
	}
	err = guard(opts.Path, func() error {
		return db.View(func(tx *bolt.Tx) error {
			isNew, err = examine(tx, opts.Path)
			return err
		})
	})
	if closed := db.Close(); err == nil && closed != nil {
		err = fmt.Errorf("boltqueue: %w", closed)
	}
	return isNew, err
}

// examine looks whether the file is whole and a queue of this program.
func examine(tx *bolt.Tx, path string) (isNew bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, fmt.Errorf("boltqueue: %w", err)
	}
	if tx.Size() > info.Size() {
		return false, fmt.Errorf("%w: %s has %d bytes, there were %d", ErrForeign, path, info.Size(), tx.Size())
	}
	if first, _ := tx.Cursor().First(); first == nil {
		return true, nil
	}
	return false, checkBuckets(tx, path)
}

func checkBuckets(tx *bolt.Tx, path string) error {
	meta := tx.Bucket(bucketMeta())
	if meta == nil {
		return fmt.Errorf("%w: %s is a bbolt file, but not of this program", ErrForeign, path)
	}
	if v := readUint(meta.Get(keyFormat())); v != format {
		return fmt.Errorf("%w: %s has format %d, this program knows %d", ErrForeign, path, v, format)
	}
	all := buckets()
	for _, name := range all[:always] {
		if tx.Bucket(name) == nil {
			return fmt.Errorf("%w: %s has no bucket %s", ErrForeign, path, name)
		}
	}
	return nil
}

// openFile opens the file for writing, prepares it and reads it. Reading comes
// after prepare and addBuckets, which write nothing unless there is a reason to.
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
		if err := addBuckets(db.DB, opts); err != nil {
			return fmt.Errorf("boltqueue: %s: %w", opts.Path, err)
		}
		return db.View(func(tx *bolt.Tx) error {
			if err := mem.read(tx); err != nil {
				return fmt.Errorf("%w: %s: %w", ErrForeign, opts.Path, err)
			}
			return walk(tx)
		})
	})
	if err != nil {
		_ = db.Close() // the error that counts is err
		return nil, nil, err
	}
	return db, mem, nil
}

// openBolt is bolt.Open with our errors. If bbolt panics over the file, it is
// closed, or its lock would stay as long as the process.
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
		return &opened{db, info}, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s", ErrLocked, opts.Path)
	case errors.Is(err, ErrForeign):
		return nil, err
	case errors.As(err, &system):
		return nil, fmt.Errorf("boltqueue: open: %w", err)
	default: // bbolt does not like what it read
		return nil, fmt.Errorf("%w: %s: %w", ErrForeign, opts.Path, err)
	}
}

// guard turns a damaged page into an error: bbolt panics at one, or points
// outside of the file.
func guard(path string, read func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %s is damaged: %v", ErrForeign, path, r)
		}
	}()
	return read()
}

// walk visits the pages that reading into memory did not.
func walk(tx *bolt.Tx) error {
	for _, name := range buckets() {
		err := tx.Bucket(name).ForEach(func(_, _ []byte) error { return nil })
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrForeign, name, err)
		}
	}
	return nil
}

// addBuckets gives the file of an older program the buckets that it lacks.
func addBuckets(db *bolt.DB, opts Options) error {
	missing := false
	err := db.View(func(tx *bolt.Tx) error {
		for _, name := range buckets() {
			missing = missing || tx.Bucket(name) == nil
		}
		return nil
	})
	if err != nil || !missing {
		return err
	}
	tx, err := db.Begin(true)
	if err != nil {
		return fmt.Errorf("add buckets: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing; else another error counts
	for _, name := range buckets() {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return fmt.Errorf("add bucket %s: %w", name, err)
		}
	}
	if err := opts.Commit(tx); err != nil {
		return fmt.Errorf("add buckets: %w", err)
	}
	return nil
}

func create(tx *bolt.Tx) error {
	for _, name := range buckets() {
		if _, err := tx.CreateBucket(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return tx.Bucket(bucketMeta()).Put(keyFormat(), binary.BigEndian.AppendUint64(nil, format))
}
