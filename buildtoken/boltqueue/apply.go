package boltqueue

import (
	"bytes"
	"container/heap"
	"slices"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// apply records a change in memory and, unless it is lazy, in the transaction. If that fails, the
// batch is broken.
func (b *batch) apply(l *lane, c queue.Change) {
	l.head = c.Lane
	b.mem.lanes[l.head.Job] = l
	if c.Lazy {
		b.mem.unsaved[c.Item.ID] = c.Item
		l.hot = c.Item
		return
	}
	next := b.mem.next(l.head.Place())
	if c.Item != nil {
		b.applyItem(l, c)
	}
	if c.Left != 0 {
		b.drop(c.Left)
	}
	if c.Build != nil {
		b.applyBuild(c)
	}
	if c.Cancelled != nil {
		id := c.Cancelled.Item.ID
		b.putJSON(bucketCancelled(), jobKey(l.head.Job, id), c.Cancelled)
		b.put(bucketLeft(), idKey(id), jobKey(l.head.Job, 0))
	}
	b.trim(l, c)
	b.applyReceipt(l, c)
	b.applySummary(l, c)
	b.applyNotifications(c)
	b.touch(l)
	b.reposition(l, next)
}

// reposition moves the lane to where it belongs in memory.ready. It wakes the executors if, among
// the lanes of the same place, something may now start before next.
func (b *batch) reposition(l *lane, next time.Time) {
	b.mem.reposition(l)
	if now := b.mem.next(l.head.Place()); !now.IsZero() && (next.IsZero() || now.Before(next)) {
		b.wake = true
	}
}

func (b *batch) applyItem(l *lane, c queue.Change) {
	it := c.Item
	if c.Created {
		b.newIDs = true
		b.mem.add(l, it.ID, it.Due.UnixNano(), it.Digest, queue.KiB(it.Values), flagsOf(it))
	} else if e := b.mem.byID[it.ID]; e.due != it.Due.UnixNano() {
		e.due = it.Due.UnixNano()
		heap.Fix(&l.items, int(e.pos))
	}
	l.hot = it
	delete(b.mem.unsaved, it.ID) // this record has the count too
	b.keep(it)
}

// keep schedules the item to be written at the end of the batch.
func (b *batch) keep(it *queue.Item) {
	if at, ok := b.itemAt[it.ID]; ok {
		b.items[at] = it
		return
	}
	if b.itemAt == nil {
		b.itemAt = map[int64]int{}
	}
	b.itemAt[it.ID] = len(b.items)
	b.items = append(b.items, it)
}

// drop removes an item from the queue, even if this batch created it.
func (b *batch) drop(id int64) {
	b.mem.remove(b.mem.byID[id])
	if at, ok := b.itemAt[id]; ok {
		b.items[at] = nil
	}
	b.put(bucketItems(), idKey(id), nil)
}

func (b *batch) applyBuild(c queue.Change) {
	build := c.Build
	key := jobKey(build.Item.Job, build.Number)
	b.putJSON(bucketBuilds(), key, build)
	if c.Left != 0 {
		b.put(bucketLeft(), idKey(c.Left), key)
	}
	b.wake = b.wake || !build.Running() || build.Abort != ""
	at := buildKey{build.Item.Job, build.Number}
	switch {
	case build.Running() && build.Abort != "":
		b.mem.aborts[at] = *build
	default:
		delete(b.mem.aborts, at)
	}
}

// trim drops the oldest records of a job together with the entries that lead from an
// item's ID to them. The age of a record that cannot be read follows from its key.
func (b *batch) trim(l *lane, c queue.Change) {
	if c.Trim > 0 {
		b.trimBucket(bucketBuilds(), l, c.Trim, func(_ int64, raw []byte) (int64, error) {
			build, err := decodeJSON[queue.Build](raw, "build")
			if err != nil {
				return 0, err
			}
			return build.Item.ID, nil
		})
	}
	if c.TrimCancelled > 0 {
		b.trimBucket(bucketCancelled(), l, c.TrimCancelled, func(id int64, _ []byte) (int64, error) { return id, nil })
	}
}

// trimBucket drops the n oldest records of a job. item returns the ID of the item that a record
// with a number in its key is about.
func (b *batch) trimBucket(bucket []byte, l *lane, n int, item func(number int64, raw []byte) (int64, error)) {
	var keys, left [][]byte
	_ = b.access(func() error { // a damaged page breaks the batch
		for k, raw := range prefixed(b.bucket(bucket).Cursor(), jobPrefix(l.head.Job)) {
			if len(keys) == n {
				break
			}
			_, number, err := splitJobKey(k)
			if err == nil && bytes.Equal(bucket, bucketBuilds()) && slices.Contains(l.head.Running, number) {
				continue
			}
			keys = append(keys, bytes.Clone(k))
			if id, err := item(number, raw); err == nil {
				left = append(left, idKey(id))
			}
		}
		return nil
	})
	for _, key := range keys {
		b.put(bucket, key, nil)
	}
	for _, key := range left {
		b.put(bucketLeft(), key, nil)
	}
}
