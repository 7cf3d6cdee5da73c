package boltqueue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Lanes returns the lanes of several jobs at one instant, in the order asked for. A job
// that was never triggered has a lane without history.
func (q *DB) Lanes(ctx context.Context, jobs []string) ([]queue.Lane, error) {
	return look(ctx, q, func(m *memory) []queue.Lane {
		heads := make([]queue.Lane, len(jobs))
		for i, job := range jobs {
			if l, ok := m.lanes[job]; ok {
				heads[i] = l.head
			} else {
				heads[i] = m.newLane(job)
			}
		}
		return heads
	})
}

// AllLanes returns the lanes of all jobs that were ever triggered, by job.
func (q *DB) AllLanes(ctx context.Context) ([]queue.Lane, error) {
	return q.lanes(ctx, func(*queue.Lane) bool { return true })
}

// Gone returns the lanes with queued items whose jobs no server has, by job.
func (q *DB) Gone(ctx context.Context) ([]queue.Lane, error) {
	return q.lanes(ctx, func(l *queue.Lane) bool { return !l.GoneUntil.IsZero() && l.Queued > 0 })
}

// lanes returns the lanes that fit, by job.
func (q *DB) lanes(ctx context.Context, fits func(*queue.Lane) bool) ([]queue.Lane, error) {
	all, err := look(ctx, q, func(m *memory) []queue.Lane {
		var all []queue.Lane
		for _, l := range m.lanes {
			if fits(&l.head) {
				all = append(all, l.head)
			}
		}
		return all
	})
	// Sorted without the turn, which triggers wait for.
	slices.SortFunc(all, func(a, b queue.Lane) int { return strings.Compare(a.Job, b.Job) })
	return all, err
}

// MaxPosition is the highest position that [DB.Entry] reports. For an item with a higher
// position, it reports -1.
const MaxPosition = 20_000

// Entry returns the state of an item and what became of it. It returns
// queue.ErrNotFound once the record of its build or cancellation is dropped.
func (q *DB) Entry(ctx context.Context, now time.Time, id int64) (queue.Entry, error) {
	found, err := look(ctx, q, func(m *memory) *snapshot {
		e, ok := m.byID[id]
		if !ok {
			return nil
		}
		p := m.snapshot(e)
		p.position = m.position(e)
		return p
	})
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
	return q.leftEntry(ctx, id)
}

// snapshot is what memory holds about a queued item, for readers without the turn.
type snapshot struct {
	head     queue.Lane
	item     *queue.Item // nil: in the file
	stub     queue.Item  // what is known without reading the file
	position int
}

// snapshot returns what memory holds about a queued item.
func (m *memory) snapshot(e *entry) *snapshot {
	return &snapshot{head: e.lane.head, item: m.unsaved[e.id], stub: *e.stub()}
}

// stub returns what is known about an item without its record. When it was created is not
// known, so Since is the same as Due.
func (e *entry) stub() *queue.Item {
	return &queue.Item{ID: e.id, Job: e.lane.head.Job, Since: e.at(), Due: e.at(), Digest: e.digest, Solo: e.flags&flagSolo != 0}
}

func (m *memory) position(e *entry) int {
	n := 0
	for _, l := range m.lanes {
		if n += l.items.countBefore(e, 0, MaxPosition-n); n > MaxPosition {
			return -1
		}
	}
	return n
}

func (q *DB) entry(now time.Time, p *snapshot) (queue.Entry, error) {
	it := p.item
	if it == nil {
		err := q.view(func(tx *bolt.Tx) (err error) {
			raw := tx.Bucket(bucketItems()).Get(idKey(p.stub.ID))
			if raw == nil {
				return fmt.Errorf("%w: item %d", queue.ErrNotFound, p.stub.ID)
			}
			it, err = decodeItem(raw, p.stub.ID)
			return err
		})
		if errors.Is(err, errRecord) {
			return queue.Entry{Item: p.stub, State: queue.Blocked, Blockage: queue.Blockage{Reason: queue.RecordDamaged}, Position: p.position}, nil
		}
		if err != nil {
			return queue.Entry{}, err
		}
	}
	state, blockage := p.head.Explain(now, *it)
	return queue.Entry{Item: *it, State: state, Blockage: blockage, Position: p.position}, nil
}

// left returns the job of an item that left the queue, and the number of the build that
// it became; 0 means that it was cancelled.
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

func (q *DB) leftEntry(ctx context.Context, id int64) (queue.Entry, error) {
	job, number, err := q.left(id)
	if err != nil {
		return queue.Entry{}, err
	}
	if number > 0 {
		build, err := q.Build(ctx, job, number)
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

// Items lists at most limit queued items, due first; a limit of 0 means none. With a job, only
// its items are listed, and positions count within the job; "" means all jobs.
func (q *DB) Items(ctx context.Context, now time.Time, job string, limit int) ([]queue.Entry, error) {
	snapshots, err := look(ctx, q, func(m *memory) []*snapshot {
		var lanes []*lane
		if job == "" {
			lanes = slices.Collect(maps.Values(m.lanes))
		} else if l, ok := m.lanes[job]; ok {
			lanes = []*lane{l}
		}
		var all []*snapshot
		for i, e := range firstOf(lanes, limit) {
			p := m.snapshot(e)
			p.position = i
			all = append(all, p)
		}
		return all
	})
	if err != nil {
		return nil, err
	}
	found := make([]queue.Entry, 0, len(snapshots))
	for _, p := range snapshots {
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

// Build returns a build of a job. It does not use the context: it waits only while the file is
// read again after a failed commit.
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

// Builds lists at most limit builds of a job with numbers below before (0: all), highest
// first; a limit of 0 means none. Damaged records are skipped.
// Builds does not use the context, like [DB.Build].
func (q *DB) Builds(_ context.Context, job string, before int64, limit int) ([]queue.Build, error) {
	var builds []queue.Build
	err := q.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketBuilds()).Cursor()
		prefix := jobPrefix(job)
		if before <= 0 {
			before = math.MaxInt64
		}
		step := c.Prev
		if k, _ := c.Seek(jobKey(job, before)); k == nil {
			step = c.Last
		}
		k, raw := step()
		for ; bytes.HasPrefix(k, prefix) && len(builds) < limit; k, raw = c.Prev() {
			build, err := decodeJSON[queue.Build](raw, "build")
			if err != nil {
				q.opts.Log.Error("cannot read a build", zap.String("job", job), zap.Binary("key", k), zap.Error(err))
				continue
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

// Oldest returns the lowest number among the builds of a job that are on record. Logs of
// lower numbers are unused. It returns queue.ErrNotFound if there is no build. It does not
// use the context, like [DB.Build].
func (q *DB) Oldest(_ context.Context, job string) (number int64, err error) {
	err = q.view(func(tx *bolt.Tx) error {
		if number = oldest(tx.Bucket(bucketBuilds()).Cursor(), job); number == 0 {
			return fmt.Errorf("%w: builds of %s", queue.ErrNotFound, job)
		}
		return nil
	})
	return number, err
}

// oldest returns the lowest number of the builds of a job, or 0.
func oldest(builds *bolt.Cursor, job string) int64 {
	prefix := jobPrefix(job)
	for k := range prefixed(builds, prefix) {
		return int64(readUint(k[len(prefix):])) //nolint:gosec // written from an int64
	}
	return 0
}

// Refs returns the references to stored files of all queued and running items, sorted and
// without duplicates. Any other stored file is unused, unless it belongs to a trigger that
// is being scheduled. It does not use the context, like [DB.Build].
func (q *DB) Refs(context.Context) ([]string, error) {
	found := map[string]bool{}
	add := func(it queue.Item) {
		for _, v := range it.Values {
			if v.Ref != "" {
				found[v.Ref] = true
			}
		}
	}
	// One transaction sees one instant, so an item that is started meanwhile is in it once.
	err := q.view(func(tx *bolt.Tx) error {
		err := tx.Bucket(bucketItems()).ForEach(func(k, raw []byte) error {
			id, err := keyID(k)
			if err != nil {
				return err
			}
			// No queue has an item without a header: Open refuses it.
			if h, _, _ := decodeHeader(raw); h.flags&flagFiles == 0 {
				return nil
			}
			it, err := decodeItem(raw, id)
			if err != nil {
				q.opts.Log.Error("cannot read a queued item; its files may be dropped", zap.Int64("id", id), zap.Error(err))
				return nil
			}
			add(*it)
			return nil
		})
		if err != nil {
			return err
		}
		return tx.Bucket(bucketLanes()).ForEach(func(job, raw []byte) error {
			head, err := decodeJSON[queue.Lane](raw, "lane")
			if err != nil {
				return err
			}
			for _, number := range head.Running {
				build, err := decodeJSON[queue.Build](tx.Bucket(bucketBuilds()).Get(jobKey(string(job), number)), "build")
				if err != nil {
					return err
				}
				add(build.Item)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(found)), nil
}

func isGone(err error) bool { return errors.Is(err, queue.ErrNotFound) }
