package pgqueue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// notificationColumns are read by readNotifications.
const notificationColumns = "id, target, job, item, build, event, result, turn, at, state, tries, next, until, settled, error"

func readNotifications(rows pgx.Rows) ([]queue.Notification, error) {
	var all []queue.Notification
	var n queue.Notification
	var happened, next, until, settled int64
	err := forEach(rows, []any{
		&n.ID, &n.Target, &n.Job, &n.Item, &n.Build, &n.Event, &n.Result, &n.Turn, &happened, &n.State, &n.Tries, &next, &until, &settled, &n.Error,
	}, func() error {
		n.At, n.Next, n.Until, n.Settled = at(happened), at(next), at(until), time.Time{}
		if settled != 0 {
			n.Settled = at(settled)
		}
		all = append(all, n)
		return nil
	})
	return all, err
}

func columns(list string) []string { return strings.Split(list, ", ") }

// notificationRow has the values of notificationColumns.
func notificationRow(n queue.Notification) ([]any, error) {
	var settled int64
	if !n.Settled.IsZero() {
		settled = n.Settled.UnixNano()
	}
	return []any{
		n.ID, n.Target, n.Job, n.Item, n.Build, string(n.Event), string(n.Result), string(n.Turn), n.At.UnixNano(), string(n.State), n.Tries,
		n.Next.UnixNano(), n.Until.UnixNano(), settled, n.Error,
	}, nil
}

// leasedSQL is true for a row n that is leased to a live server. It counts, because a
// "not exists" becomes an anti-join: if another server leases the row meanwhile, Postgres
// checks the new row against the servers that it had joined before, which were none, and
// the row seems free.
const leasedSQL = "(select count(*) from queue.servers s where s.server = n.lease_server and s.epoch = n.lease_epoch and not s.released) > 0"

// giveUpOldestSQL makes room for one more notification that waits for a target, and drops
// the oldest of those in the same channel that were settled before.
const giveUpOldestSQL = `with given as (
		update queue.notifications n set state = 'given up', settled = $2, error = 'too many notifications were waiting for this target' where id in
			(select id from queue.notifications n where target = $1 and state = 'waiting' and not ` + leasedSQL + ` order by id
				limit (select greatest(count(*) - $3 + 1, 0) from queue.notifications where target = $1 and state = 'waiting'))
			and n.state = 'waiting' and not ` + leasedSQL + `
		returning job
	)
	delete from queue.notifications where id in (select old.id from (select distinct job from given) g cross join lateral
		(select id from queue.notifications where target = $1 and job = g.job and state <> 'waiting' order by settled desc, id desc offset $4 - 1) old)`

// writeNotifications adds notifications. Each replaces those about an earlier state of the
// same item, and the oldest one of a target for which too many wait is given up. One that
// is being sent is left alone: it may have arrived already.
func (l *locked) writeNotifications(b *pgx.Batch) {
	for _, n := range l.notify {
		b.Queue("delete from queue.notifications n where target = $1 and job = $2 and item = $3 and state = 'waiting' and not ("+leasedSQL+")",
			n.Target, n.Job, n.Item)
		b.Queue(giveUpOldestSQL, n.Target, n.At.UnixNano(), queue.MaxWaiting, queue.KeepSettled)
		b.Queue(`insert into queue.notifications (target, job, item, build, event, result, turn, at, state, next, until)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			n.Target, n.Job, n.Item, n.Build, n.Event, n.Result, n.Turn, n.At.UnixNano(), n.State, n.Next.UnixNano(), n.Until.UnixNano())
	}
}

// NotificationsChanged receives a value after a commit of this server that added a
// notification, and when there may be notifications of a server that is gone. It holds one
// value, which may stand for several changes.
func (q *DB) NotificationsChanged() <-chan struct{} { return q.notified }

func (q *DB) notify() {
	select {
	case q.notified <- struct{}{}:
	default:
	}
}

const (
	// headSQL is true for a row n that waits and is the first of its channel.
	headSQL = `n.state = 'waiting'
		and not exists (select from queue.notifications e where e.target = n.target and e.job = n.job and e.state = 'waiting' and e.id < n.id)`
	// dueSQL is when a row n is due. $1 are the targets that are wanted.
	dueSQL = "case when n.target = any($1::text[]) then n.next else n.until end"
	// heldSQL is true for a row n that is being sent. $2 is this server, and $3 are those that
	// it is sending. One that was leased to it by a call whose answer was lost is not held.
	// See leasedSQL for why it counts.
	heldSQL = `(select count(*) from queue.servers s where s.server = n.lease_server and s.epoch = n.lease_epoch and not s.released
		and (s.server <> $2 or n.id = any($3))) > 0`
	// takeSQL leases notifications that are due at $4: at most $5, and $6 of a target together
	// with those that are held. A retry can put one before the one of its channel that is held.
	takeSQL = `with held as materialized (select target, job from queue.notifications n
			where n.state = 'waiting' and n.lease_server is not null and ` + heldSQL + `),
		head as materialized (select id, target from queue.notifications n
			where ` + dueSQL + ` <= $4 and (n.target, n.job) not in (select target, job from held) and ` + headSQL + `),
		ranked as (select id, row_number() over (partition by target order by id) + (select count(*) from held h where h.target = head.target) as place from head),
		due(taken) as (select id from queue.notifications n where id in (select id from ranked where place <= $6 order by id limit $5)
			and n.state = 'waiting' and not ` + heldSQL + ` order by id for update skip locked)
		update queue.notifications set lease_server = $2, lease_epoch = $7 from due where id = taken returning ` + notificationColumns
	nextNotificationSQL = "select min(" + dueSQL + ") from queue.notifications n where " + headSQL + " and not " + leasedSQL + " and " + dueSQL + " > $2"
)

// sending are the notifications that this server sends, each with the epoch in which it was
// leased. The zero value has none.
type sending struct {
	mu sync.Mutex
	// mu guards the following.
	epochs map[int64]int64
}

// list is never nil, because null differs from an empty list in SQL.
func (s *sending) list() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]int64{}, slices.Sorted(maps.Keys(s.epochs))...)
}

func (s *sending) add(epoch int64, notifications []queue.Notification) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epochs == nil {
		s.epochs = map[int64]int64{}
	}
	for _, n := range notifications {
		s.epochs[n.ID] = epoch
	}
}

func (s *sending) remove(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.epochs, id)
}

func (s *sending) epoch(id int64) (epoch int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	epoch, ok = s.epochs[id]
	return epoch, ok
}

// TakeNotifications returns the notifications that are due, at most limit, and when to ask
// again (zero: after [DB.NotificationsChanged] only). They are leased to this server, which
// must report the outcome of each with [DB.SettleNotification]; until it does, the later
// ones of the same channel wait. If the server is given up, or restarts, they are due
// again. Only those for some targets are returned, and those that expired; see
// [queue.Deliverable]. Calls must not overlap.
func (q *DB) TakeNotifications(ctx context.Context, now time.Time, targets []string, limit int) ([]queue.Notification, time.Time, error) {
	epoch, err := q.mayClaim()
	if err != nil {
		return nil, time.Time{}, errors.Join(err, q.ask(ctx))
	}
	wanted := append([]string{}, targets...) // null differs from an empty list
	var due []queue.Notification
	var next time.Time
	err = q.decide(ctx, func(ctx context.Context, t *tx) error {
		var held, sure bool
		ours := q.sending.list()
		b := t.batch()
		q.fence(b, epoch, &held, &sure)
		b.Queue(takeSQL, wanted, q.opts.Server, ours, now.UnixNano(), limit, queue.MaxSending, epoch).Query(into(&due, readNotifications))
		b.Queue(nextNotificationSQL, wanted, now.UnixNano()).QueryRow(func(row pgx.Row) error {
			var ns *int64
			err := row.Scan(&ns)
			if next = (time.Time{}); ns != nil {
				next = at(*ns)
			}
			return err
		})
		if err := t.send(ctx, b); err != nil {
			return err
		}
		if !held {
			return errTaken
		}
		return nil
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	slices.SortFunc(due, func(a, b queue.Notification) int { return cmp.Compare(a.ID, b.ID) })
	q.sending.add(epoch, due)
	return due, next, nil
}

// MaySend reports whether this server still holds a notification that it has taken, and may
// send it. If it was suspended or cut off, another one may be sending it already.
func (q *DB) MaySend(id int64) bool {
	epoch, ok := q.sending.epoch(id)
	return ok && q.stillHolds(epoch)
}

// SettleNotification records the outcome of an attempt to send a notification, and returns
// the notification. One that is to be tried again is dropped instead if there is one about a
// later state of the same item, even if that was sent.
func (q *DB) SettleNotification(ctx context.Context, now time.Time, id int64, a queue.Attempt) (queue.Notification, error) {
	after, err := q.onNotification(ctx, id, func(n queue.Notification, s standing) (queue.Notification, error) {
		if n.State != queue.DeliveryWaiting || s.holder != "" && s.holder != q.opts.Server {
			return n, fmt.Errorf("%w: notification %d is not waiting for this server", queue.ErrNotFound, id)
		}
		return n.Settle(instant(now), a), nil
	})
	if err == nil || errors.Is(err, queue.ErrNotFound) {
		q.sending.remove(id)
		q.notify() // the next one of the channel
	}
	return after, err
}

// RetryNotification makes a notification due that waits, was skipped or was given up. One about
// an earlier state of an item than another notification is not sent again.
func (q *DB) RetryNotification(ctx context.Context, now time.Time, id int64) error {
	_, err := q.onNotification(ctx, id, func(n queue.Notification, s standing) (queue.Notification, error) {
		if s.holder != "" {
			return n, errBeingSent
		}
		if n.State == queue.DeliverySent || s.superseded {
			return n, fmt.Errorf("%w: notification %d was delivered, or there is one about a later state of its item", queue.ErrNotFound, id)
		}
		return n.Retry(instant(now)), nil
	})
	if errors.Is(err, errBeingSent) {
		return nil
	}
	if err == nil {
		q.notify()
	}
	return err
}

// errBeingSent means that a server is sending the notification.
var errBeingSent = errors.New("pgqueue: the notification is being sent")

// standing is what, besides its record, decides about a notification.
type standing struct {
	// superseded reports whether there is a notification about a later state of the same item.
	superseded bool
	// holder is the live server that sends it, or "".
	holder string
}

// onNotification decides something about a notification.
func (q *DB) onNotification(ctx context.Context, id int64, rule func(queue.Notification, standing) (queue.Notification, error)) (queue.Notification, error) {
	var after queue.Notification
	err := q.decide(ctx, func(ctx context.Context, t *tx) error {
		var found []queue.Notification
		var s standing
		b := t.batch()
		b.Queue("select "+notificationColumns+" from queue.notifications where id = $1 for update", id).Query(into(&found, readNotifications))
		b.Queue(`select exists (select from queue.notifications e join queue.notifications n using (target, job, item)
			where n.id = $1 and e.id > n.id)`, id).QueryRow(scan(&s.superseded))
		b.Queue(`select coalesce((select s.server from queue.servers s join queue.notifications n on s.server = n.lease_server and s.epoch = n.lease_epoch
			where n.id = $1 and n.state = 'waiting' and not s.released), '')`, id).QueryRow(scan(&s.holder))
		t.identify(b)
		if err := t.send(ctx, b); err != nil {
			return err
		}
		if len(found) == 0 {
			return fmt.Errorf("%w: notification %d", queue.ErrNotFound, id)
		}
		var err error
		if after, err = rule(found[0], s); err != nil {
			return err
		}
		writes := t.batch()
		if s.superseded && after.State == queue.DeliveryWaiting {
			after.State = queue.DeliveryReplaced
			writes.Queue("delete from queue.notifications where id = $1", id)
		} else {
			writeNotification(writes, after)
		}
		t.last = writes
		return nil
	})
	if err != nil {
		return queue.Notification{}, err
	}
	return after, nil
}

// writeNotification writes the state of a notification, and drops the oldest settled ones
// of its channel if there are too many.
func writeNotification(b *pgx.Batch, n queue.Notification) {
	var settled int64
	if !n.Settled.IsZero() {
		settled = n.Settled.UnixNano()
	}
	b.Queue(`update queue.notifications set state = $2, tries = $3, next = $4, until = $5, settled = $6, error = $7, lease_server = null, lease_epoch = null
		where id = $1`, n.ID, n.State, n.Tries, n.Next.UnixNano(), n.Until.UnixNano(), settled, n.Error)
	b.Queue(`delete from queue.notifications where id in
		(select id from queue.notifications where target = $1 and job = $2 and state <> 'waiting' order by settled desc, id desc offset $3)`,
		n.Target, n.Job, queue.KeepSettled)
}

// Notifications lists the notifications that a filter selects, newest first.
func (q *DB) Notifications(ctx context.Context, f queue.NotificationFilter) ([]queue.Notification, error) {
	sql := "select " + notificationColumns + ` from queue.notifications
		where ($1 = '' or job = $1) and ($2 = 0 or item = $2) and ($3 = '' or state = $3) order by id desc limit nullif($4, 0)`
	var found []queue.Notification
	err := q.query(ctx, sql, []any{f.Job, f.Item, f.State, max(f.Limit, 0)}, into(&found, readNotifications))
	return found, err
}

// Backlogs returns how much waits for each target that something waits for or was given up
// for, by target.
func (q *DB) Backlogs(ctx context.Context) ([]queue.Backlog, error) {
	const sql = `select target, count(*) filter (where state = 'waiting'), coalesce(min(at) filter (where state = 'waiting'), 0),
			count(*) filter (where state = 'given up')
		from queue.notifications where state in ('waiting', 'given up') group by target order by target`
	var all []queue.Backlog
	err := q.query(ctx, sql, nil, func(rows pgx.Rows) error {
		all = nil
		var l queue.Backlog
		var oldest int64
		return forEach(rows, []any{&l.Target, &l.Waiting, &oldest, &l.GivenUp}, func() error {
			l.Oldest = time.Time{}
			if oldest != 0 {
				l.Oldest = at(oldest)
			}
			all = append(all, l)
			return nil
		})
	})
	return all, err
}
