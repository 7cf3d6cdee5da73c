package boltqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Lane returns the head of a job's queue. A job that was never triggered has
// a lane without history.
func (q *DB) Lane(ctx context.Context, job string) (queue.Lane, error) {
	lanes, err := q.Lanes(ctx, []string{job})
	if err != nil {
		return queue.Lane{}, err
	}
	return lanes[0], nil
}

// Lanes returns the heads of several jobs at one instant, in the order asked for.
func (q *DB) Lanes(ctx context.Context, jobs []string) ([]queue.Lane, error) {
	var heads []queue.Lane
	err := q.ask(ctx, request{look: func(m *memory) error {
		heads = make([]queue.Lane, len(jobs))
		for i, job := range jobs {
			if l, ok := m.lanes[job]; ok {
				heads[i] = l.head
			} else {
				heads[i] = queue.Lane{Job: job, Rules: m.rules[job]}
			}
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return heads, nil
}

// MaxPosition is the longest queue in which [DB.Entry] counts an item's
// position; in a longer one the position is -1. Counting looks at every item.
const MaxPosition = 20_000

// Entry says where an item is and what became of it. It answers
// queue.ErrNotFound once the record of its build or cancellation is dropped.
func (q *DB) Entry(ctx context.Context, now time.Time, id int64) (queue.Entry, error) {
	// The loop may still write to it when ctx ended; then nobody reads it.
	var found *placed
	err := q.ask(ctx, request{look: func(m *memory) error {
		if e, ok := m.byID[id]; ok {
			found = m.place(e)
			found.position = m.position(e)
		}
		return nil
	}})
	if err != nil {
		return queue.Entry{}, err
	}
	if found != nil {
		entry, err := q.entry(now, found)
		if err == nil || !isGone(err) {
			return entry, err
		}
		// It left between the two looks.
	}
	return q.leftEntry(id)
}

// placed is what the loop knows of a queued item.
type placed struct {
	id       int64
	head     queue.Lane
	item     *queue.Item // nil: in the file
	position int
}

func (m *memory) place(e *entry) *placed {
	p := &placed{id: e.id, head: e.lane.head, item: m.unsaved[e.id]}
	if hot := e.lane.hot; p.item == nil && hot != nil && hot.ID == e.id {
		p.item = hot
	}
	return p
}

func (m *memory) position(e *entry) int {
	if len(m.byID) > MaxPosition {
		return -1
	}
	n := 0
	for _, other := range m.byID {
		if earlier(other, e) {
			n++
		}
	}
	return n
}

func (q *DB) entry(now time.Time, p *placed) (queue.Entry, error) {
	it := p.item
	if it == nil {
		err := q.view(func(tx *bolt.Tx) (err error) {
			raw := tx.Bucket(bucketItems()).Get(idKey(p.id))
			if raw == nil {
				return fmt.Errorf("%w: item %d", queue.ErrNotFound, p.id)
			}
			it, err = decodeItem(raw)
			return err
		})
		if err != nil {
			return queue.Entry{}, err
		}
	}
	state, blockage := p.head.Explain(now, *it)
	return queue.Entry{Item: *it, State: state, Blockage: blockage, Position: p.position}, nil
}

// left says which job an item belonged to that left the queue, and which
// build it became; number 0 means that it was cancelled.
func (q *DB) left(id int64) (job string, number int64, err error) {
	err = q.view(func(tx *bolt.Tx) error {
		key := tx.Bucket(bucketLeft()).Get(idKey(id))
		if key == nil {
			return fmt.Errorf("%w: item %d", queue.ErrNotFound, id)
		}
		job, number, err = splitJobKey(key)
		return err
	})
	return job, number, err
}

func (q *DB) leftEntry(id int64) (queue.Entry, error) {
	job, number, err := q.left(id)
	if err != nil {
		return queue.Entry{}, err
	}
	if number > 0 {
		build, err := q.Build(context.Background(), job, number)
		if err != nil {
			return queue.Entry{}, err
		}
		return queue.Entry{Item: build.Item, State: queue.Left, Build: &build}, nil
	}
	var gone *queue.Cancelled
	err = q.view(func(tx *bolt.Tx) (err error) {
		raw := tx.Bucket(bucketCancelled()).Get(jobKey(job, id))
		if raw == nil {
			return fmt.Errorf("%w: item %d", queue.ErrNotFound, id)
		}
		gone, err = decodeJSON[queue.Cancelled](raw, "cancelled item")
		return err
	})
	if err != nil {
		return queue.Entry{}, err
	}
	return queue.Entry{Item: gone.Item, State: queue.Left, Cancelled: gone}, nil
}

// Items lists queued items, due first, at most limit of them. job restricts
// the list to one job; "" means all.
func (q *DB) Items(ctx context.Context, now time.Time, job string, limit int) ([]queue.Entry, error) {
	var places []*placed
	err := q.ask(ctx, request{look: func(m *memory) error {
		var entries []*entry
		switch l, ok := m.lanes[job]; {
		case job == "":
			for _, e := range m.byID {
				entries = append(entries, e)
			}
		case ok:
			entries = slices.Clone(l.items)
		}
		slices.SortFunc(entries, func(a, b *entry) int {
			if earlier(a, b) {
				return -1
			}
			return 1
		})
		places = make([]*placed, 0, min(limit, len(entries)))
		for i, e := range entries[:min(limit, len(entries))] {
			p := m.place(e)
			p.position = i
			places = append(places, p)
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	found := make([]queue.Entry, 0, len(places))
	for _, p := range places {
		entry, err := q.entry(now, p)
		if isGone(err) {
			continue // it left between the two looks
		}
		if err != nil {
			return nil, err
		}
		found = append(found, entry)
	}
	return found, nil
}

// Build returns a build of a job. The context is not used: the answer is at hand.
func (q *DB) Build(_ context.Context, job string, number int64) (queue.Build, error) {
	var build *queue.Build
	err := q.view(func(tx *bolt.Tx) (err error) {
		raw := tx.Bucket(bucketBuilds()).Get(jobKey(job, number))
		if raw == nil {
			return fmt.Errorf("%w: %s #%d", queue.ErrNotFound, job, number)
		}
		build, err = decodeJSON[queue.Build](raw, "build")
		return err
	})
	if err != nil {
		return queue.Build{}, err
	}
	return *build, nil
}

// Builds lists the builds of a job with numbers below before (0: all),
// highest first, at most limit of them.
func (q *DB) Builds(_ context.Context, job string, before int64, limit int) ([]queue.Build, error) {
	var builds []queue.Build
	err := q.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketBuilds()).Cursor()
		prefix := jobPrefix(job)
		end := jobKey(job, before)
		if before <= 0 {
			end = append(slices.Clone(prefix), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
		}
		k, raw := c.Seek(end)
		if k == nil {
			k, raw = c.Last()
		} else {
			k, raw = c.Prev()
		}
		for ; len(k) == len(prefix)+8 && string(k[:len(prefix)]) == string(prefix) && len(builds) < limit; k, raw = c.Prev() {
			build, err := decodeJSON[queue.Build](raw, "build")
			if err != nil {
				return err
			}
			builds = append(builds, *build)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return builds, nil
}

// Refs are the references to stored files of all queued and running items,
// in no order. What is stored and not among them belongs to nobody.
func (q *DB) Refs(ctx context.Context) ([]string, error) {
	var places []*placed
	running := map[string][]int64{}
	err := q.ask(ctx, request{look: func(m *memory) error {
		for _, e := range m.byID {
			if e.flags&flagFiles != 0 {
				places = append(places, m.place(e))
			}
		}
		for _, job := range m.running() {
			running[job] = m.lanes[job].head.Running
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	var refs []string
	add := func(it queue.Item) {
		for _, v := range it.Values {
			if v.Ref != "" {
				refs = append(refs, v.Ref)
			}
		}
	}
	for _, p := range places {
		entry, err := q.entry(time.Time{}, p)
		if err != nil && !isGone(err) {
			return nil, err
		}
		add(entry.Item)
	}
	for job, numbers := range running {
		for _, n := range numbers {
			build, err := q.Build(ctx, job, n)
			if err != nil && !isGone(err) {
				return nil, err
			}
			add(build.Item)
		}
	}
	return refs, nil
}

func isGone(err error) bool { return errors.Is(err, queue.ErrNotFound) }
