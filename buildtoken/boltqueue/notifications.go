package boltqueue

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// applyNotifications adds the notifications of a change.
func (b *batch) applyNotifications(c queue.Change) {
	for _, n := range c.Notifications {
		b.note(b.access(func() error {
			id, err := b.bucket(bucketNotifications()).NextSequence()
			n.ID = int64(id) //nolint:gosec // far below 2^63
			return err
		}))
		o := &b.mem.outbox
		for _, earlier := range slices.Clone(o.waiting[n.Channel()]) {
			if n.Replaces(earlier) && !o.leased[earlier.ID] { // a leased one may have arrived already
				b.dropNotification(earlier)
			}
		}
		if o.waits[n.Target] >= queue.MaxWaiting {
			b.giveUpOldest(n)
		}
		b.setNotification(n)
		b.notify = true
	}
}

// giveUpOldest makes room for a notification of a target for which too many wait.
func (b *batch) giveUpOldest(n queue.Notification) {
	oldest := b.mem.outbox.oldest(n.Target)
	b.log.Warn("too many notifications wait for a target; the oldest is given up", zap.String("target", n.Target), zap.Int64("id", oldest.ID))
	b.replaceNotification(oldest, oldest.GiveUp(n.At, "too many notifications were waiting for this target"))
}

// replaceNotification puts a notification into the place of its earlier state.
func (b *batch) replaceNotification(before, after queue.Notification) {
	b.mem.outbox.remove(before)
	b.setNotification(after)
}

// setNotification writes a notification, and drops the oldest settled one of its channel if
// there are too many.
func (b *batch) setNotification(n queue.Notification) {
	o := &b.mem.outbox
	o.set(n)
	b.putJSON(bucketNotifications(), idKey(n.ID), &n)
	if settled := o.settled[n.Channel()]; len(settled) > queue.KeepSettled {
		if old, err := b.notification(settled[0]); err == nil {
			b.dropNotification(old)
		} else {
			o.settled[n.Channel()] = settled[1:] // damaged
		}
	}
}

func (b *batch) dropNotification(n queue.Notification) {
	b.mem.outbox.remove(n)
	b.put(bucketNotifications(), idKey(n.ID), nil)
}

// notification reads a notification as the batch sees it.
func (b *batch) notification(id int64) (n queue.Notification, err error) {
	if n, ok := b.mem.outbox.find(id); ok {
		return n, nil
	}
	err = b.access(func() (err error) {
		raw := b.bucket(bucketNotifications()).Get(idKey(id))
		if raw == nil {
			return fmt.Errorf("%w: notification %d", queue.ErrNotFound, id)
		}
		n, err = decodeNotification(idKey(id), raw)
		return err
	})
	return n, err
}

// NotificationsChanged receives a value after a commit that added a notification which
// may be sent at once. It holds one value, which may stand for several changes.
func (q *DB) NotificationsChanged() <-chan struct{} { return q.notified }

// TakeNotifications returns the notifications that are due, at most limit, and when to call it
// again (zero: after [DB.NotificationsChanged] only). They are leased to the caller, which
// must report the outcome of each with [DB.SettleNotification]; until it does, the later
// ones of the same channel wait. If the process dies, they are due again. Only those for
// some targets are returned, and those that expired; see [queue.Deliverable].
func (q *DB) TakeNotifications(ctx context.Context, now time.Time, targets []string, limit int) ([]queue.Notification, time.Time, error) {
	if ctx.Err() != nil {
		return nil, time.Time{}, fmt.Errorf("boltqueue: %w", context.Cause(ctx))
	}
	wanted := make(map[string]bool, len(targets))
	for _, target := range targets {
		wanted[target] = true
	}
	var due []queue.Notification
	var next time.Time
	// If the caller gave up meanwhile, its leases would never end.
	err := q.ask(context.WithoutCancel(ctx), request{look: func(m *memory) {
		o := &m.outbox
		due, next = queue.Deliverable(instant(now), o.heads, func(id int64) bool { return o.leased[id] }, func(target string) bool { return wanted[target] }, limit)
		for _, n := range due {
			o.leased[n.ID] = true
		}
	}})
	if err != nil {
		return nil, time.Time{}, err
	}
	return due, next, nil
}

// MaySend returns true: no other process has the file open.
func (*DB) MaySend(int64) bool { return true }

// SettleNotification records the outcome of an attempt to send a notification, and returns
// the notification. One that is to be tried again is dropped instead if there is one about a
// later state of the same item, even if that was sent.
func (q *DB) SettleNotification(ctx context.Context, now time.Time, id int64, a queue.Attempt) (queue.Notification, error) {
	var after queue.Notification
	err := q.ask(ctx, request{decide: func(b *batch) error {
		o := &b.mem.outbox
		n, ok := o.find(id)
		if !ok {
			return fmt.Errorf("%w: notification %d is not waiting", queue.ErrNotFound, id)
		}
		after = n.Settle(instant(now), a)
		b.released = append(b.released, id)
		if after.State == queue.DeliveryWaiting && b.superseded(n) {
			after.State = queue.DeliveryReplaced
			b.dropNotification(n)
		} else {
			b.replaceNotification(n, after)
		}
		b.notify = true // the next one of the channel
		return nil
	}})
	if err != nil {
		return queue.Notification{}, err
	}
	return after, nil
}

// RetryNotification makes a notification due that waits, was skipped or was given up. It
// returns queue.ErrNotFound if the notification was delivered, or if there is one about a
// later state of the same item.
func (q *DB) RetryNotification(ctx context.Context, now time.Time, id int64) error {
	return q.ask(ctx, request{decide: func(b *batch) error {
		n, err := b.notification(id)
		if err != nil {
			return err
		}
		if n.State == queue.DeliverySent || b.superseded(n) {
			return fmt.Errorf("%w: notification %d was delivered, or there is one about a later state of its item", queue.ErrNotFound, id)
		}
		b.replaceNotification(n, n.Retry(instant(now)))
		b.notify = true
		return nil
	}})
}

// superseded reports whether there is a notification about a later state of the same item.
func (b *batch) superseded(n queue.Notification) bool {
	o := &b.mem.outbox
	return slices.ContainsFunc(o.waiting[n.Channel()], func(later queue.Notification) bool { return later.Replaces(n) }) ||
		slices.ContainsFunc(o.settled[n.Channel()], func(id int64) bool {
			later, err := b.notification(id)
			return err == nil && later.Replaces(n)
		})
}

// Notifications lists the notifications that a filter selects, newest first.
func (q *DB) Notifications(ctx context.Context, f queue.NotificationFilter) ([]queue.Notification, error) {
	var ids []int64 // of the job, if the filter has one
	if f.Job != "" {
		var err error
		ids, err = look(ctx, q, func(m *memory) []int64 { return m.outbox.of(f.Job) })
		if err != nil {
			return nil, err
		}
	}
	var found []queue.Notification
	err := q.view(func(tx *bolt.Tx) error {
		records := newestNotifications(tx)
		if f.Job != "" {
			records = notificationsByID(tx, ids)
		}
		for k, raw := range records {
			if f.Limit > 0 && len(found) == f.Limit {
				break
			}
			n, err := decodeNotification(k, raw)
			if err != nil {
				q.opts.Log.Error("cannot read a notification", zap.Binary("key", k), zap.Error(err))
				continue
			}
			if f.Fits(n) {
				found = append(found, n)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// newestNotifications walks the records of all notifications, newest first.
func newestNotifications(tx *bolt.Tx) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, raw []byte) bool) {
		c := tx.Bucket(bucketNotifications()).Cursor()
		for k, raw := c.Last(); k != nil && yield(k, raw); k, raw = c.Prev() {
		}
	}
}

// notificationsByID walks the records of some notifications, the last ID first. Those that
// were dropped meanwhile are left out.
func notificationsByID(tx *bolt.Tx, ids []int64) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, raw []byte) bool) {
		for _, id := range slices.Backward(ids) {
			k := idKey(id)
			if raw := tx.Bucket(bucketNotifications()).Get(k); raw != nil && !yield(k, raw) {
				return
			}
		}
	}
}

// Backlogs returns how much waits for each target that something waits for or was given up
// for, by target.
func (q *DB) Backlogs(ctx context.Context) ([]queue.Backlog, error) {
	return look(ctx, q, func(m *memory) []queue.Backlog { return m.outbox.backlogs() })
}
