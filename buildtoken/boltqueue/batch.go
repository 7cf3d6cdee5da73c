package boltqueue

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// batch is one transaction with the decisions that share it. Decisions change
// memory at once: only the holder of the turn sees it, and no caller is answered
// before the commit. If the commit fails, memory is discarded and read again.
type batch struct {
	mem   *memory
	db    *bolt.DB
	path  string // of the file, for errors
	limit int
	// maxKiB limits the size of the parameters of all items.
	maxKiB int
	enc    *encoder

	tx     *bolt.Tx // nil until it is needed
	number uint64   // of this batch, set when something is written
	undo   []write
	wake   bool // something may start, or a build is to be stopped
	notify bool // a notification may be sent
	log    *zap.Logger
	// lanes and items are written once, when the batch ends.
	lanes   []*lane
	touched map[*lane]bool
	items   []*queue.Item
	itemAt  map[int64]int // index in items
	// released are the notifications whose leases end when the batch is committed.
	released []int64
	newIDs   bool
	// firstID is the lowest ID that this batch may hand out.
	firstID int64
	flush   bool // counts are written even if nothing else is
	probe   bool // something is written even if nothing has changed
	broken  error
}

// write is a value for a key: a new one or, in undo, the one from before the batch. A nil
// value means that there is no record.
type write struct{ bucket, key, value []byte }

// decide runs one decision. After the batch is broken, it decides nothing.
func (b *batch) decide(f func(*batch) error) error {
	if b.broken != nil {
		return fmt.Errorf("%w: %w", queue.ErrStorage, b.broken)
	}
	return f(b)
}

// note breaks the batch if err is not nil.
func (b *batch) note(err error) {
	if b.broken == nil {
		b.broken = err
	}
}

// access runs f, which reads or writes the file, in the transaction of the batch. It begins
// the transaction if there is none yet. If that fails, or a page is damaged, the batch is broken.
func (b *batch) access(f func() error) error {
	err := guard(b.path, func() (err error) {
		if b.tx == nil {
			b.tx, err = b.db.Begin(true)
		}
		if err == nil {
			err = f()
		}
		return err
	})
	if b.tx == nil || errors.Is(err, ErrForeign) {
		err = fmt.Errorf("%w: %w", queue.ErrStorage, err)
		b.note(err)
	}
	return err
}

// bucket returns a bucket of the transaction. Only functions that [batch.access] runs may call it.
func (b *batch) bucket(name []byte) *bolt.Bucket {
	found := b.tx.Bucket(name) // bbolt keeps it for the next call
	if bytes.Equal(name, bucketItems()) {
		found.FillPercent = 1 // IDs only grow, so nothing is inserted into a full page later
	}
	return found
}

// put writes a record; a nil value deletes it. The previous value is kept for undo.
func (b *batch) put(bucket, key, value []byte) {
	if b.broken != nil {
		return
	}
	_ = b.access(func() error { // a damaged page breaks the batch
		if b.number == 0 {
			b.number = readUint(b.bucket(bucketMeta()).Get(keyBatch())) + 1
			b.record(write{bucketMeta(), keyBatch(), binary.BigEndian.AppendUint64(nil, b.number)})
		}
		b.record(write{bucket, key, value})
		return nil
	})
}

// putJSON is put for a record in JSON.
func (b *batch) putJSON(bucket, key []byte, record any) {
	value, err := json.Marshal(record)
	b.note(err)
	b.put(bucket, key, value)
}

func (b *batch) record(w write) {
	old := write{bucket: w.bucket, key: w.key}
	if !b.isNew(w) {
		if found := b.bucket(w.bucket).Get(w.key); found != nil {
			old.value = append([]byte{}, found...)
		}
	}
	b.undo = append(b.undo, old)
	b.note(w.put(b.bucket(w.bucket)))
}

// isNew reports whether the batch itself assigned the ID, so that there cannot be a
// record yet. This saves the lookup for most writes of a busy queue.
func (b *batch) isNew(w write) bool {
	return w.value != nil && bytes.Equal(w.bucket, bucketItems()) && bytes.Compare(w.key, idKey(b.firstID)) >= 0
}

func (w write) put(records *bolt.Bucket) error {
	var err error
	if w.value == nil {
		err = records.Delete(w.key)
	} else {
		err = records.Put(w.key, w.value)
	}
	if err != nil {
		return fmt.Errorf("boltqueue: write to %s: %w", w.bucket, err)
	}
	return nil
}

// load returns the item of an entry as the batch sees it. The caller must not modify
// the item. The error wraps errRecord if the record is damaged.
func (b *batch) load(e *entry) (*queue.Item, error) {
	if e.pos < 0 {
		return nil, fmt.Errorf("%w: item %d", errRecord, e.id)
	}
	if it, ok := b.mem.unsaved[e.id]; ok {
		return it, nil // newer than what this batch writes so far
	}
	if at, ok := b.itemAt[e.id]; ok {
		return b.items[at], nil
	}
	if hot := e.lane.hot; hot != nil && hot.ID == e.id {
		return hot, nil
	}
	var it *queue.Item
	err := b.access(func() (err error) {
		raw := b.bucket(bucketItems()).Get(idKey(e.id))
		if raw == nil {
			return fmt.Errorf("%w: item %d has no record", errRecord, e.id)
		}
		it, err = decodeItem(raw, e.id)
		if err == nil && it.Job != e.lane.head.Job {
			err = fmt.Errorf("%w: item %d belongs to %q", errRecord, e.id, it.Job)
		}
		return err
	})
	return it, err
}

// loadOr is like load, but sets an item with a damaged record aside, so that it blocks nothing
// else, and returns nil for it. It also returns nil if a page is damaged, which breaks the batch.
func (b *batch) loadOr(e *entry) *queue.Item {
	it, err := b.load(e)
	if errors.Is(err, errRecord) && e.pos >= 0 {
		b.log.Error("cannot read queued item; it will not be built: cancel it",
			zap.Int64("id", e.id), zap.String("job", e.lane.head.Job), zap.Error(err))
		b.mem.setAside(e)
	}
	if err != nil {
		return nil
	}
	return it
}

// build reads a build's record as the batch sees it.
func (b *batch) build(job string, number int64) (*queue.Build, error) {
	var build *queue.Build
	err := b.access(func() (err error) {
		raw := b.bucket(bucketBuilds()).Get(jobKey(job, number))
		if raw == nil {
			return fmt.Errorf("%w: %s #%d", queue.ErrNotFound, job, number)
		}
		build, err = decodeJSON[queue.Build](raw, "build")
		return err
	})
	return build, err
}

// touch schedules the lane to be written at the end of the batch.
func (b *batch) touch(l *lane) {
	if b.touched[l] {
		return
	}
	if b.touched == nil {
		b.touched = map[*lane]bool{}
	}
	b.touched[l] = true
	b.lanes = append(b.lanes, l)
}

// writes reports whether the batch has anything to make durable. It may have begun a
// transaction only to read.
func (b *batch) writes() bool {
	return b.number != 0 || len(b.lanes) > 0 // with each item, its lane
}

// finish writes what is written once per batch: items, counts that waited, lanes,
// and the next ID.
func (b *batch) finish() error {
	if b.broken != nil {
		return b.broken
	}
	if b.flush || b.writes() {
		for _, it := range b.mem.unsaved {
			b.keep(it)
		}
	}
	for _, it := range b.items {
		if it == nil {
			continue
		}
		value, err := b.enc.item(it)
		b.note(err)
		b.put(bucketItems(), idKey(it.ID), value)
	}
	for _, l := range b.lanes {
		b.putJSON(bucketLanes(), []byte(l.head.Job), &l.head)
	}
	if b.probe && !b.writes() {
		b.newIDs = true // what it is already
	}
	if b.newIDs {
		b.put(bucketMeta(), keyNextID(), idKey(b.mem.nextID))
	}
	return b.broken
}
