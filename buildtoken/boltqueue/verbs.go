package boltqueue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// SetRules applies a configuration to every lane ([queue.Lane.Configure]). The caller must
// not modify its map afterwards. It works even while the file cannot be written. Rules are
// not made durable by themselves: set them again after [Open].
func (q *DB) SetRules(ctx context.Context, now time.Time, c queue.Config) error {
	var changed []*lane
	err := q.ask(ctx, request{set: func(m *memory) {
		q.limit = c.Limit
		changed = m.configure(instant(now), c)
	}})
	if err != nil || len(changed) == 0 {
		return err
	}
	// For how long a job has been gone is kept over a restart. If it cannot be written, its
	// items wait longer; the failure is logged.
	_ = q.ask(ctx, request{decide: func(b *batch) error {
		for _, l := range changed {
			if b.mem.lanes[l.head.Job] == l {
				b.touch(l)
			}
		}
		return nil
	}})
	return nil
}

// Schedule queues a build or joins an equal item, and reports whether the item is new. now
// is the instant of the trigger; Schedule sets Request.ID. It returns queue.ErrFull if there
// is no room. For a key that was used before, it returns a queue.RepeatedError or
// queue.ErrKeyReused. The job's name must not be empty, longer than 32,759 bytes (with a key
// 32,743) or contain a zero byte.
func (q *DB) Schedule(ctx context.Context, now time.Time, r queue.Request) (queue.Item, bool, error) {
	if err := checkKeyed(r); err != nil {
		return queue.Item{}, false, err
	}
	c := &call{now: now, Request: r}
	if err := q.ask(ctx, request{decide: c.decide}); err != nil {
		return queue.Item{}, false, err
	}
	return *c.item, c.created, nil
}

// call is one call of Schedule.
type call struct {
	queue.Request
	now     time.Time
	item    *queue.Item
	created bool
}

// decide decides what the trigger does.
func (c *call) decide(b *batch) error {
	l := b.mem.lane(c.Job)
	var equal *queue.Item
	if e := b.mem.byDigest[identity{l, c.Digest}]; e != nil && !c.Solo {
		equal = b.loadOr(e)
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
	c.item, c.created = change.Item, change.Created
	b.apply(l, change)
	return nil
}

// Cancel removes a queued item of a job from the queue; by names the caller. It returns
// queue.ErrNotFound for an item of another job, and queue.ErrLeft for one that was started
// or cancelled.
func (q *DB) Cancel(ctx context.Context, now time.Time, job string, id int64, by string) error {
	err := q.ask(ctx, request{decide: func(b *batch) error {
		e, ok := b.mem.byID[id]
		if !ok || e.lane.head.Job != job {
			return queue.ErrNotFound
		}
		it := b.loadOr(e)
		if it == nil {
			it = e.stub()
		}
		b.apply(e.lane, queue.Cancel(instant(now), e.lane.head, *it, by))
		return nil
	}})
	if !errors.Is(err, queue.ErrNotFound) {
		return err
	}
	switch owner, _, err := q.left(id); {
	case err != nil && !isGone(err):
		return err
	case err == nil && owner == job:
		return fmt.Errorf("%w: %d", queue.ErrLeft, id)
	}
	return fmt.Errorf("%w: item %d of %s", queue.ErrNotFound, id, job)
}

// Claim starts what is due and what the node may run, one build for each of the free
// executors, and returns when it should be called next: zero means after [DB.Changed] only.
// The builds that it returns are durable, so a crash cannot run one that is not on record.
func (q *DB) Claim(ctx context.Context, now time.Time, node queue.Node, executors []int) ([]queue.Build, time.Time, error) {
	var builds []queue.Build
	var next time.Time
	err := q.ask(ctx, request{decide: func(b *batch) error {
		at, places := instant(now), node.Places()
		for len(builds) < len(executors) && b.broken == nil {
			l := b.mem.first(places)
			if l == nil || l.next > at.UnixNano() {
				break
			}
			first := b.loadOr(l.items[0])
			if first == nil {
				continue // set aside
			}
			change, ok := queue.Claim(at, l.head, first, node, executors[len(builds)])
			if !ok {
				break
			}
			b.apply(l, change)
			builds = append(builds, *change.Build)
		}
		next = b.mem.next(places...)
		return nil
	}})
	if err != nil {
		return nil, time.Time{}, err
	}
	return builds, next, nil
}

// Finish records how a running build ended, and returns the build. It returns
// queue.ErrNotFound if there is no such build, and queue.ErrNotRunning if it has ended.
func (q *DB) Finish(ctx context.Context, now time.Time, job string, number int64, r queue.Result, reason string) (queue.Build, error) {
	return q.onBuild(ctx, job, number, func(b *batch, l queue.Lane, build queue.Build) (queue.Change, error) {
		return queue.Finish(instant(now), l, b.mem.lanes[job].summary, build, r, reason)
	})
}

// Abort records the request to stop a running build; by names the caller.
// Errors are as for [DB.Finish].
func (q *DB) Abort(ctx context.Context, job string, number int64, by string) error {
	_, err := q.onBuild(ctx, job, number, func(_ *batch, l queue.Lane, b queue.Build) (queue.Change, error) {
		return queue.Abort(l, b, by)
	})
	return err
}

// SetHandle stores the handle of a running build. See [queue.Build.Handle]. Errors are as
// for [DB.Finish].
func (q *DB) SetHandle(ctx context.Context, job string, number int64, handle []byte) error {
	_, err := q.onBuild(ctx, job, number, func(_ *batch, l queue.Lane, b queue.Build) (queue.Change, error) {
		return queue.SetHandle(l, b, handle)
	})
	return err
}

// Adopt hands running builds of an earlier process to a node that goes on with them, each on
// the executor at its place in executors, and returns them. executors must be at least as
// long as builds. Adopt looks only at their jobs and numbers, and leaves out those that have
// ended. See [DB.Reclaim].
func (q *DB) Adopt(ctx context.Context, builds []queue.Build, node queue.Node, executors []int) ([]queue.Build, error) {
	var adopted []queue.Build
	err := q.ask(ctx, request{decide: func(b *batch) error {
		var changes []queue.Change
		for i, one := range builds {
			l, ok := b.mem.lanes[one.Item.Job]
			if !ok || !slices.Contains(l.head.Running, one.Number) {
				continue
			}
			build, err := b.build(one.Item.Job, one.Number)
			if err != nil {
				return err
			}
			change, err := queue.Adopt(l.head, *build, node, executors[i])
			if err != nil {
				return err
			}
			changes = append(changes, change)
		}
		for _, c := range changes { // none of them changes the lane
			b.apply(b.mem.lanes[c.Lane.Job], c)
			adopted = append(adopted, *c.Build)
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return adopted, nil
}

// onBuild decides something about a build that is on record.
func (q *DB) onBuild(ctx context.Context, job string, number int64, decide func(*batch, queue.Lane, queue.Build) (queue.Change, error)) (queue.Build, error) {
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
		change, err := decide(b, l.head, *build)
		if err != nil {
			return err
		}
		result = *change.Build
		b.apply(l, change)
		return nil
	}})
	if err != nil {
		return queue.Build{}, err
	}
	return result, nil
}

// Lost returns the running builds of an earlier process, by job and number.
func (q *DB) Lost(ctx context.Context) ([]queue.Build, error) {
	var lost []queue.Build
	// It writes nothing, but running reads the file through a batch.
	err := q.ask(ctx, request{decide: func(b *batch) error {
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

// Reclaim ends the running builds of an earlier process, and returns them. A file has one
// node only, so every build that is recorded as running belongs to an earlier process:
// Reclaim must not be called while builds run. Called again, it finds none.
//
// Builds for which keep returns true stay running; the caller goes on with them after
// [DB.Adopt]. A nil keep ends all builds.
func (q *DB) Reclaim(ctx context.Context, now time.Time, reason string, keep func(queue.Build) bool) ([]queue.Build, error) {
	var lost []queue.Build
	err := q.ask(ctx, request{decide: func(b *batch) error {
		running, err := b.running()
		if err != nil {
			return err
		}
		for _, build := range running {
			if keep != nil && keep(*build) {
				continue
			}
			l := b.mem.lanes[build.Item.Job]
			change, err := queue.Finish(instant(now), l.head, l.summary, *build, queue.Aborted, reason)
			if err != nil {
				b.note(err) // the ends before this one are not committed either
				return err
			}
			b.apply(l, change)
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

// running returns all running builds, by job and number.
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

// Aborts returns the running builds that were asked to stop, in no order. Each of several
// nodes picks its own by queue.Build.Node.
func (q *DB) Aborts(ctx context.Context) ([]queue.Build, error) {
	return look(ctx, q, func(m *memory) []queue.Build { return slices.Collect(maps.Values(m.aborts)) })
}
