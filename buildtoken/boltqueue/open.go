package boltqueue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"runtime/debug"
	"slices"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// open opens the file and reads into memory what the loop must know.
func open(opts Options) (*bolt.DB, *memory, error) {
	return openFile(opts, func(*bolt.Tx) error { return nil })
}

// reopen opens the file after batch number failed, and takes back what of it
// is visible: a failed fsync does not tell.
func reopen(opts Options, number uint64, revert []write) (*bolt.DB, *memory, error) {
	return openFile(opts, func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta())
		if number == 0 || readUint(meta.Get([]byte("batch"))) != number {
			return nil
		}
		for _, w := range slices.Backward(revert) {
			records := tx.Bucket(w.bucket)
			var err error
			if w.value == nil {
				err = records.Delete(w.key)
			} else {
				err = records.Put(w.key, w.value)
			}
			if err != nil {
				return fmt.Errorf("take back a failed batch: %w", err)
			}
		}
		// The number itself stays used, so that no later batch can be taken for this one.
		return meta.Put([]byte("batch"), binary.BigEndian.AppendUint64(nil, number))
	})
}

func openFile(opts Options, repair func(*bolt.Tx) error) (db *bolt.DB, mem *memory, err error) {
	isNew := false
	switch info, err := os.Stat(opts.Path); {
	case errors.Is(err, os.ErrNotExist):
		isNew = true
	case err != nil:
		return nil, nil, fmt.Errorf("boltqueue: %w", err)
	case !info.Mode().IsRegular():
		return nil, nil, fmt.Errorf("%w: %s is not a regular file", ErrForeign, opts.Path)
	case info.Size() == 0:
		return nil, nil, fmt.Errorf("%w: %s is empty; if it is not a queue that was damaged, remove it", ErrForeign, opts.Path)
	}
	// A damaged page makes bbolt panic, or point outside of the file.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			if db != nil {
				_ = db.Close() // the panic is the error
			}
			db, mem, err = nil, nil, fmt.Errorf("%w: %s is damaged: %v", ErrForeign, opts.Path, r)
		}
	}()
	db, err = bolt.Open(opts.Path, 0o600, &bolt.Options{
		Timeout:      opts.LockTimeout,
		FreelistType: bolt.FreelistMapType,
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, nil, fmt.Errorf("%w: %s", ErrLocked, opts.Path)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, bolterrors.ErrChecksum):
		return nil, nil, fmt.Errorf("%w: %s: %w", ErrForeign, opts.Path, err)
	case err != nil:
		return nil, nil, fmt.Errorf("boltqueue: open: %w", err)
	}
	if mem, err = prepare(db, isNew, repair); err != nil {
		_ = db.Close() // the error that counts is err
		return nil, nil, fmt.Errorf("boltqueue: %s: %w", opts.Path, err)
	}
	return db, mem, nil
}

// prepare makes the buckets of a new file, checks those of an old one, and
// reads it.
func prepare(db *bolt.DB, isNew bool, repair func(*bolt.Tx) error) (*memory, error) {
	if isNew {
		if err := db.Update(create); err != nil {
			return nil, fmt.Errorf("make the file: %w", err)
		}
	}
	err := db.View(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta())
		if meta == nil {
			return fmt.Errorf("%w: a bbolt file, but not of this program", ErrForeign)
		}
		if v := readUint(meta.Get([]byte("format"))); v != format {
			return fmt.Errorf("%w: format %d, this program knows %d", ErrForeign, v, format)
		}
		for _, name := range buckets() {
			if tx.Bucket(name) == nil {
				return fmt.Errorf("%w: no bucket %s", ErrForeign, name)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := db.Update(repair); err != nil {
		return nil, err
	}
	mem := newMemory()
	return mem, db.View(mem.read)
}

func create(tx *bolt.Tx) error {
	for _, name := range buckets() {
		if _, err := tx.CreateBucket(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return tx.Bucket(bucketMeta()).Put([]byte("format"), binary.BigEndian.AppendUint64(nil, format))
}

// read indexes what is queued and running. Records of items are not decoded
// beyond their header.
func (m *memory) read(tx *bolt.Tx) error {
	m.nextID = max(1, int64(readUint(tx.Bucket(bucketMeta()).Get([]byte("next_id"))))) //nolint:gosec // written from an int64
	err := tx.Bucket(bucketLanes()).ForEach(func(job, raw []byte) error {
		head, err := decodeJSON[queue.Lane](raw, "lane")
		if err != nil {
			return err
		}
		if head.Job != string(job) {
			return fmt.Errorf("%w: lane of %q holds %q", errRecord, job, head.Job)
		}
		m.lanes[head.Job] = &lane{head: *head, pos: -1}
		return m.readAborts(tx, head)
	})
	if err != nil {
		return foreign(err)
	}
	queued := make(map[*lane]int, len(m.lanes))
	err = tx.Bucket(bucketItems()).ForEach(func(k, raw []byte) error {
		id, err := keyID(k)
		if err != nil {
			return err
		}
		h, _, err := decodeHeader(raw)
		if err != nil {
			return fmt.Errorf("item %d: %w", id, err)
		}
		l, ok := m.lanes[string(h.job)]
		if !ok {
			return fmt.Errorf("%w: item %d of %q, which has no lane", errRecord, id, h.job)
		}
		m.add(l, id, h.due, h.digest, h.flags)
		queued[l]++
		m.nextID = max(m.nextID, id+1)
		return nil
	})
	if err != nil {
		return foreign(err)
	}
	for job, l := range m.lanes {
		if l.head.Queued != queued[l] {
			return foreign(fmt.Errorf("%w: lane of %q counts %d items, there are %d", errRecord, job, l.head.Queued, queued[l]))
		}
		m.settle(l)
	}
	return nil
}

// readAborts restores the wishes to stop a build of the lane.
func (m *memory) readAborts(tx *bolt.Tx, head *queue.Lane) error {
	for _, number := range head.Running {
		raw := tx.Bucket(bucketBuilds()).Get(jobKey(head.Job, number))
		if raw == nil {
			return fmt.Errorf("%w: running build %s #%d has no record", errRecord, head.Job, number)
		}
		build, err := decodeJSON[queue.Build](raw, "build")
		if err != nil {
			return err
		}
		if build.Abort != "" {
			m.aborts[buildKey{head.Job, number}] = *build
		}
	}
	return nil
}

func foreign(err error) error {
	return fmt.Errorf("%w: %w", ErrForeign, err)
}

func readUint(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// prefixed walks the records whose keys start with prefix, in order.
func prefixed(c *bolt.Cursor, prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
			if len(k) == len(prefix)+8 && !yield(k, v) {
				return
			}
		}
	}
}
