package boltqueue

import (
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// batch is one transaction with the decisions that share it. Decisions change
// memory at once, since only the loop sees it and nobody is answered before
// the commit; if the commit fails, memory is thrown away and read again.
type batch struct {
	mem   *memory
	db    *bolt.DB
	limit int

	tx     *bolt.Tx // begun by the first need
	number uint64   // of this batch, set when something is written
	undo   []write
	wake   bool
	// lanes and items are written once, when the batch ends.
	lanes []*lane
	inLan map[*lane]bool
	items []*queue.Item
	atIt  map[int64]int // place in items
	// saved are counts that this batch writes; cleared when it is committed.
	saved  map[int64]*queue.Item
	newIDs bool
	flush  bool // counts are written even if nothing else is
	broken error
}

// write is what a key held before the batch; a nil value means nothing.
type write struct{ bucket, key, value []byte }

// errBroken marks an error after which memory and transaction may differ.
var errBroken = errors.New("boltqueue: batch is broken")

// decide runs one decision. Nothing is decided after a decision broke.
func (b *batch) decide(f func(*batch) error) error {
	if b.broken != nil {
		return fmt.Errorf("%w: %w", queue.ErrStorage, b.broken)
	}
	return f(b)
}

func (b *batch) begin() error {
	if b.tx != nil {
		return nil
	}
	tx, err := b.db.Begin(true)
	if err != nil {
		return fmt.Errorf("%w: begin: %w", queue.ErrStorage, err)
	}
	b.tx = tx
	return nil
}

// put writes a record; a nil value deletes it. What was there is remembered.
func (b *batch) put(bucket, key, value []byte) {
	if b.broken != nil {
		return
	}
	if b.number == 0 {
		meta := b.tx.Bucket(bucketMeta())
		b.number = readUint(meta.Get([]byte("batch"))) + 1
		b.record(bucketMeta(), []byte("batch"), binary.BigEndian.AppendUint64(nil, b.number))
	}
	b.record(bucket, key, value)
}

func (b *batch) record(bucket, key, value []byte) {
	records := b.tx.Bucket(bucket)
	var old []byte
	if found := records.Get(key); found != nil {
		old = append([]byte{}, found...)
	}
	b.undo = append(b.undo, write{bucket, key, old})
	var err error
	if value == nil {
		err = records.Delete(key)
	} else {
		err = records.Put(key, value)
	}
	if err != nil {
		b.broken = fmt.Errorf("%w: write to %s: %w", errBroken, bucket, err)
	}
}

// load reads the item of an entry as the batch sees it. The item must not be
// changed in place.
func (b *batch) load(e *entry) (*queue.Item, error) {
	if at, ok := b.atIt[e.id]; ok {
		return b.items[at], nil
	}
	if it, ok := b.mem.unsaved[e.id]; ok {
		return it, nil
	}
	if hot := e.lane.hot; hot != nil && hot.ID == e.id {
		return hot, nil
	}
	if err := b.begin(); err != nil {
		return nil, err
	}
	raw := b.tx.Bucket(bucketItems()).Get(idKey(e.id))
	if raw == nil {
		return nil, fmt.Errorf("%w: item %d has no record", errRecord, e.id)
	}
	return decodeItem(raw)
}

// apply takes a change into memory and the transaction.
func (b *batch) apply(l *lane, c queue.Change) error {
	l.head = c.Lane
	if c.Lazy {
		b.mem.unsaved[c.Item.ID] = c.Item
		l.hot = c.Item
		return nil
	}
	if err := b.begin(); err != nil {
		// Memory has the change already; it is read again.
		b.broken = err
		return err
	}
	if c.Item != nil {
		b.applyItem(l, c)
	}
	if c.Left != 0 {
		b.drop(l, c.Left)
	}
	if c.Build != nil {
		b.applyBuild(c)
	}
	if c.Cancelled != nil {
		id := c.Cancelled.Item.ID
		value, err := encodeJSON(c.Cancelled, "cancelled item")
		b.note(err)
		b.put(bucketCancelled(), jobKey(l.head.Job, id), value)
		b.put(bucketLeft(), idKey(id), jobKey(l.head.Job, 0))
	}
	b.trim(l.head.Job, c)
	b.touch(l)
	b.mem.settle(l)
	b.wake = true
	if b.broken != nil {
		return fmt.Errorf("%w: %w", queue.ErrStorage, b.broken)
	}
	return nil
}

func (b *batch) note(err error) {
	if err != nil && b.broken == nil {
		b.broken = err
	}
}

func (b *batch) applyItem(l *lane, c queue.Change) {
	it := c.Item
	if c.Created {
		b.newIDs = true
		b.mem.add(l, it.ID, it.Due.UnixNano(), it.Digest, flagsOf(it))
	} else if e := b.mem.byID[it.ID]; e.due != it.Due.UnixNano() {
		e.due = it.Due.UnixNano()
		l.items.fix(e)
	}
	l.hot = it
	delete(b.mem.unsaved, it.ID) // this record has the count too
	b.keep(it)
}

// keep has the item written when the batch ends.
func (b *batch) keep(it *queue.Item) {
	if at, ok := b.atIt[it.ID]; ok {
		b.items[at] = it
		return
	}
	if b.atIt == nil {
		b.atIt = map[int64]int{}
	}
	b.atIt[it.ID] = len(b.items)
	b.items = append(b.items, it)
}

// drop takes an item out of the queue, also if this very batch created it.
func (b *batch) drop(l *lane, id int64) {
	if e, ok := b.mem.byID[id]; ok && e.lane == l {
		b.mem.remove(e)
	}
	if at, ok := b.atIt[id]; ok {
		b.items[at] = nil
		delete(b.atIt, id)
	}
	b.put(bucketItems(), idKey(id), nil)
}

func (b *batch) applyBuild(c queue.Change) {
	build := c.Build
	value, err := encodeJSON(build, "build")
	b.note(err)
	key := jobKey(build.Item.Job, build.Number)
	b.put(bucketBuilds(), key, value)
	if c.Left != 0 {
		b.put(bucketLeft(), idKey(c.Left), key)
	}
	at := buildKey{build.Item.Job, build.Number}
	switch {
	case build.Running() && build.Abort != "":
		b.mem.aborts[at] = *build
	default:
		delete(b.mem.aborts, at)
	}
}

// trim drops the oldest records of a job, and with them what its items' URLs
// lead to.
func (b *batch) trim(job string, c queue.Change) {
	if c.Trim > 0 {
		b.trimBucket(bucketBuilds(), job, c.Trim, func(raw []byte) (int64, bool) {
			build, err := decodeJSON[queue.Build](raw, "build")
			b.note(err)
			return buildItem(build), err == nil && !build.Running()
		})
	}
	if c.TrimCancelled > 0 {
		b.trimBucket(bucketCancelled(), job, c.TrimCancelled, func(raw []byte) (int64, bool) {
			left, err := decodeJSON[queue.Cancelled](raw, "cancelled item")
			b.note(err)
			return cancelledItem(left), err == nil
		})
	}
}

func buildItem(b *queue.Build) int64 {
	if b == nil {
		return 0
	}
	return b.Item.ID
}

func cancelledItem(c *queue.Cancelled) int64 {
	if c == nil {
		return 0
	}
	return c.Item.ID
}

func (b *batch) trimBucket(bucket []byte, job string, n int, item func([]byte) (id int64, may bool)) {
	prefix := jobPrefix(job)
	var keys [][]byte
	var ids []int64
	for k, raw := range prefixed(b.tx.Bucket(bucket).Cursor(), prefix) {
		if len(keys) == n {
			break
		}
		if id, may := item(raw); may {
			keys, ids = append(keys, append([]byte{}, k...)), append(ids, id)
		}
	}
	for i, key := range keys {
		b.put(bucket, key, nil)
		b.put(bucketLeft(), idKey(ids[i]), nil)
	}
}

// touch has the head of the lane written when the batch ends.
func (b *batch) touch(l *lane) {
	if b.inLan[l] {
		return
	}
	if b.inLan == nil {
		b.inLan = map[*lane]bool{}
	}
	b.inLan[l] = true
	b.lanes = append(b.lanes, l)
}

// writes says whether the batch has anything to make durable. A transaction
// alone says nothing: it may only have been read.
func (b *batch) writes() bool {
	return b.number != 0 || len(b.items) > 0 || len(b.lanes) > 0
}

// finish writes what is written once in a batch: items, counts that waited,
// heads of lanes, the next ID.
func (b *batch) finish() error {
	if b.broken != nil {
		return b.broken
	}
	if len(b.mem.unsaved) > 0 && (b.flush || b.writes()) {
		if err := b.begin(); err != nil {
			return err
		}
		for _, it := range b.mem.unsaved {
			b.keep(it)
		}
		b.saved = b.mem.unsaved
	}
	for _, it := range b.items {
		if it == nil {
			continue
		}
		value, err := encodeItem(it)
		b.note(err)
		b.put(bucketItems(), idKey(it.ID), value)
	}
	for _, l := range b.lanes {
		value, err := encodeJSON(&l.head, "lane")
		b.note(err)
		b.put(bucketLanes(), []byte(l.head.Job), value)
	}
	if b.newIDs {
		b.put(bucketMeta(), []byte("next_id"), idKey(b.mem.nextID))
	}
	return b.broken
}
