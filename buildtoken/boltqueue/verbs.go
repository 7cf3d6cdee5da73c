package boltqueue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// SetRules makes rules those of the newest configuration: every lane gets
// its own, and a job that is not named gets the zero value. The map must not
// change afterwards. limit is how many items may be queued; 0 means no limit.
// Rules are not made durable by themselves: set them again after [Open].
func (q *DB) SetRules(ctx context.Context, rules map[string]queue.Rules, limit int) error {
	return q.ask(ctx, request{set: func(m *memory) {
		q.limit = limit
		m.rule(rules)
	}})
}

// Schedule queues a build or joins an equal item, and says which. now is the
// instant of the trigger; Request.ID is set here. It answers queue.ErrFull, or
// an error about the job's name if that is empty, longer than 32,759 bytes (with
// a key 32,743) or holds a zero byte. A key that was given before is a
// queue.RepeatedError or queue.ErrKeyReused.
func (q *DB) Schedule(ctx context.Context, now time.Time, r queue.Request) (queue.Item, bool, error) {
	if err := checkKeyed(r); err != nil {
		return queue.Item{}, false, err
	}
	c := q.calls.Get().(*call) //nolint:forcetypeassert // there is nothing else in it
	defer c.release()
	c.now, c.Request = now, r
	if err := q.ask(ctx, c.request); err != nil {
		return queue.Item{}, false, err
	}
	return c.item, c.created, nil
}

// call is one call of Schedule. Calls are used again: of all that is asked of
// the queue, this is what comes ten thousand times a second. Nobody writes to
// one any more when ask has returned.
type call struct {
	queue.Request
	now     time.Time
	item    queue.Item
	created bool
	// What stays.
	of      *sync.Pool
	request request
}

func newCall(of *sync.Pool) *call {
	c := &call{of: of}
	c.request = request{decide: c.decide, done: make(chan error, 1)}
	return c
}

func (c *call) release() {
	c.Request, c.item = queue.Request{}, queue.Item{}
	c.of.Put(c)
}

// decide decides what the trigger does.
func (c *call) decide(b *batch) error {
	l := b.mem.lane(c.Job)
	var equal *queue.Item
	if e := b.mem.byKey[identity{l, c.Digest}]; e != nil && !c.Solo {
		found, err := b.loadOr(e)
		if err != nil {
			return err
		}
		equal = found
	}
	c.ID = b.mem.nextID
	change, err := b.schedule(instant(c.now), l, equal, c.Request, queue.Room{
		Queued: len(b.mem.byID), Limit: b.limit, KiB: b.mem.kib, MaxKiB: b.maxKiB,
	})
	if err != nil {
		return err
	}
	if change.Created {
		b.mem.nextID++
	}
	c.item, c.created = *change.Item, change.Created
	return b.apply(l, change)
}

// Cancel takes a queued item of a job out of the queue; by says who asked.
// An item of another job is queue.ErrNotFound; one that was started or
// cancelled is queue.ErrLeft.
func (q *DB) Cancel(ctx context.Context, now time.Time, job string, id int64, by string) error {
	err := q.ask(ctx, request{decide: func(b *batch) error {
		e, ok := b.mem.byID[id]
		if !ok || e.lane.head.Job != job {
			return queue.ErrNotFound
		}
		it, err := b.loadOr(e)
		if err != nil {
			return err
		}
		if it == nil {
			it = e.stub()
		}
		return b.apply(e.lane, queue.Cancel(instant(now), e.lane.head, *it, by))
	}})
	if !errors.Is(err, queue.ErrNotFound) {
		return err
	}
	if owner, _, err := q.left(id); err == nil && owner == job {
		return fmt.Errorf("%w: %d", queue.ErrLeft, id)
	}
	return fmt.Errorf("%w: item %d of %s", queue.ErrNotFound, id, job)
}

// Claim starts what is due and what the node may run, one build for each of the
// free executors, and says when it should be asked next: zero means after
// [DB.Changed] only.
// What it returns is durable, so a crash can't run a build that is not on record.
func (q *DB) Claim(ctx context.Context, now time.Time, node queue.Node, executors []int) ([]queue.Build, time.Time, error) {
	var builds []queue.Build
	var next time.Time
	err := q.ask(ctx, request{decide: func(b *batch) error {
		builds = nil
		at := instant(now)
		for len(builds) < len(executors) {
			l := b.mem.first(node.Has)
			if l == nil || l.items[0].at().After(at) {
				break
			}
			first, err := b.loadOr(l.items[0])
			if err != nil {
				return err
			}
			if first == nil {
				continue // set aside
			}
			change, ok := queue.Claim(at, l.head, first, node, executors[len(builds)])
			if !ok {
				break
			}
			if err := b.apply(l, change); err != nil {
				return err
			}
			builds = append(builds, *change.Build)
		}
		next = b.mem.next(node.Has)
		return nil
	}})
	if err != nil {
		return nil, time.Time{}, err
	}
	return builds, next, nil
}

// Finish records how a running build ended, and returns the build.
func (q *DB) Finish(ctx context.Context, now time.Time, job string, number int64, r queue.Result, reason string) (queue.Build, error) {
	return q.onBuild(ctx, job, number, func(l queue.Lane, b queue.Build) (queue.Change, error) {
		return queue.Finish(instant(now), l, b, r, reason)
	})
}

// Abort records the wish that a running build be stopped; by says whose.
func (q *DB) Abort(ctx context.Context, job string, number int64, by string) error {
	_, err := q.onBuild(ctx, job, number, func(l queue.Lane, b queue.Build) (queue.Change, error) {
		return queue.Abort(l, b, by)
	})
	return err
}

// onBuild decides something about a build that is on record.
func (q *DB) onBuild(ctx context.Context, job string, number int64, decide func(queue.Lane, queue.Build) (queue.Change, error)) (queue.Build, error) {
	var result queue.Build
	err := q.ask(ctx, request{decide: func(b *batch) error {
		l, ok := b.mem.lanes[job]
		if !ok {
			return fmt.Errorf("%w: %s #%d", queue.ErrNotFound, job, number)
		}
		build, err := b.build(job, number)
		if err != nil {
			return err
		}
		change, err := decide(l.head, *build)
		if err != nil {
			return err
		}
		result = *change.Build
		return b.apply(l, change)
	}})
	if err != nil {
		return queue.Build{}, err
	}
	return result, nil
}

// Lost are the builds that [DB.Reclaim] would end, by job and number.
func (q *DB) Lost(ctx context.Context) ([]queue.Build, error) {
	var lost []queue.Build
	err := q.ask(ctx, request{decide: func(b *batch) error {
		lost = nil
		running, err := b.running()
		if err != nil {
			return err
		}
		for _, build := range running {
			lost = append(lost, *build)
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return lost, nil
}

// Reclaim ends what was running on a node that is gone, and returns those
// builds. A file has one node only, so whatever runs on record is lost:
// Reclaim must not be called while builds run. Called again, it finds none.
func (q *DB) Reclaim(ctx context.Context, now time.Time, reason string) ([]queue.Build, error) {
	var lost []queue.Build
	err := q.ask(ctx, request{decide: func(b *batch) error {
		lost = nil
		running, err := b.running()
		if err != nil {
			return err
		}
		for _, build := range running {
			l := b.mem.lanes[build.Item.Job]
			change, err := queue.Finish(instant(now), l.head, *build, queue.Aborted, reason)
			if err != nil {
				return err
			}
			if err := b.apply(l, change); err != nil {
				return err
			}
			lost = append(lost, *change.Build)
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	if len(lost) > 0 {
		q.opts.Log.Warn("builds were lost with the process that ran them", zap.Int("builds", len(lost)))
	}
	return lost, nil
}

// running reads all running builds, by job and number.
func (b *batch) running() ([]*queue.Build, error) {
	var builds []*queue.Build
	for _, job := range b.mem.running() {
		for _, number := range b.mem.lanes[job].head.Running {
			build, err := b.build(job, number)
			if err != nil {
				return nil, err
			}
			builds = append(builds, build)
		}
	}
	return builds, nil
}

// Aborts are the running builds that somebody asked to stop, in no order. Of
// several nodes, each looks for its own by queue.Build.Node.
func (q *DB) Aborts(ctx context.Context) ([]queue.Build, error) {
	var wished []queue.Build
	err := q.ask(ctx, request{look: func(m *memory) error {
		for _, b := range m.aborts {
			wished = append(wished, b)
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return wished, nil
}
