package boltqueue

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// outbox indexes the notifications on record.
type outbox struct {
	// waiting are those that wait to be sent, by channel and in the order of their IDs. No
	// list is empty.
	waiting map[queue.Channel][]queue.Notification
	// channel is that of each waiting notification; waits counts them by target.
	channel map[int64]queue.Channel
	waits   map[string]int
	// settled are the IDs of those that were sent, skipped or given up, oldest first.
	settled map[queue.Channel][]int64
	// givenUp counts those that were given up, by target.
	givenUp map[string]int
	// leased are being sent. They are forgotten when the process ends.
	leased map[int64]bool
}

func newOutbox() outbox {
	return outbox{
		waiting: map[queue.Channel][]queue.Notification{}, channel: map[int64]queue.Channel{}, waits: map[string]int{},
		settled: map[queue.Channel][]int64{}, givenUp: map[string]int{}, leased: map[int64]bool{},
	}
}

// read indexes the notifications of a file. One that cannot be read is left alone.
func (o *outbox) read(tx *bolt.Tx, log *zap.Logger) {
	var all []queue.Notification
	_ = tx.Bucket(bucketNotifications()).ForEach(func(k, raw []byte) error { // it returns no error
		n, err := decodeNotification(k, raw)
		if err != nil {
			log.Error("cannot read a notification; it is not sent", zap.Binary("key", k), zap.Error(err))
			return nil
		}
		all = append(all, n)
		return nil
	})
	slices.SortFunc(all, func(a, b queue.Notification) int {
		return cmp.Or(a.Settled.Compare(b.Settled), cmp.Compare(a.ID, b.ID))
	})
	for _, n := range all {
		o.set(n)
	}
}

func decodeNotification(k, raw []byte) (queue.Notification, error) {
	id, err := keyID(k)
	if err != nil {
		return queue.Notification{}, err
	}
	return exported(raw, fmt.Sprintf("notification %d", id), func(n *queue.Notification) bool { return n.ID == id })
}

// set adds a notification to the index, which must not have an earlier state of it.
func (o *outbox) set(n queue.Notification) {
	c := n.Channel()
	if n.State != queue.DeliveryWaiting {
		o.settled[c] = append(o.settled[c], n.ID)
		if n.State == queue.DeliveryGivenUp {
			o.givenUp[n.Target]++
		}
		return
	}
	at, _ := slices.BinarySearchFunc(o.waiting[c], n, compareNotifications)
	o.waiting[c] = slices.Insert(o.waiting[c], at, n)
	o.channel[n.ID] = c
	o.waits[n.Target]++
}

// remove takes a notification out of the index.
func (o *outbox) remove(n queue.Notification) {
	c := n.Channel()
	if n.State != queue.DeliveryWaiting {
		if o.settled[c] = slices.DeleteFunc(o.settled[c], func(id int64) bool { return id == n.ID }); len(o.settled[c]) == 0 {
			delete(o.settled, c)
		}
		if n.State == queue.DeliveryGivenUp {
			o.givenUp[n.Target]--
		}
	} else if at, found := slices.BinarySearchFunc(o.waiting[c], n, compareNotifications); found {
		if o.waiting[c] = slices.Delete(o.waiting[c], at, at+1); len(o.waiting[c]) == 0 {
			delete(o.waiting, c)
		}
		delete(o.channel, n.ID)
		o.waits[n.Target]--
	}
}

func compareNotifications(a, b queue.Notification) int { return cmp.Compare(a.ID, b.ID) }

// find returns a waiting notification.
func (o *outbox) find(id int64) (queue.Notification, bool) {
	of := o.waiting[o.channel[id]]
	at, found := slices.BinarySearchFunc(of, queue.Notification{ID: id}, compareNotifications)
	if !found {
		return queue.Notification{}, false
	}
	return of[at], true
}

// heads returns a waiting notification of each channel, in any order: the one that is being
// sent, or else the first. A retry can add one before the one that is being sent.
func (o *outbox) heads(yield func(*queue.Notification) bool) {
	sent := make(map[queue.Channel]*queue.Notification, len(o.leased))
	for id := range o.leased {
		if n, ok := o.find(id); ok {
			sent[n.Channel()] = &n
		}
	}
	for c, of := range o.waiting {
		if !yield(cmp.Or(sent[c], &of[0])) {
			return
		}
	}
}

// oldest returns the first notification that waits for a target and is not being sent. More than
// [queue.MaxSending] must wait for it.
func (o *outbox) oldest(target string) (oldest queue.Notification) {
	for c, of := range o.waiting {
		at := slices.IndexFunc(of, func(n queue.Notification) bool { return !o.leased[n.ID] })
		if c.Target == target && at >= 0 && (oldest.ID == 0 || of[at].ID < oldest.ID) {
			oldest = of[at]
		}
	}
	return oldest
}

// of returns the IDs of the notifications of a job, in order.
func (o *outbox) of(job string) []int64 {
	var ids []int64
	for c, of := range o.waiting {
		if c.Job == job {
			for _, n := range of {
				ids = append(ids, n.ID)
			}
		}
	}
	for c, of := range o.settled {
		if c.Job == job {
			ids = append(ids, of...)
		}
	}
	slices.Sort(ids)
	return ids
}

func (o *outbox) backlogs() []queue.Backlog {
	of := map[string]queue.Backlog{}
	for target, n := range o.givenUp {
		if n > 0 {
			of[target] = queue.Backlog{Target: target, GivenUp: n}
		}
	}
	for c, waiting := range o.waiting {
		l := of[c.Target]
		l.Target = c.Target
		l.Waiting += len(waiting)
		if oldest := waiting[0].At; l.Oldest.IsZero() || oldest.Before(l.Oldest) {
			l.Oldest = oldest
		}
		of[c.Target] = l
	}
	return slices.SortedFunc(maps.Values(of), func(a, b queue.Backlog) int { return cmp.Compare(a.Target, b.Target) })
}
