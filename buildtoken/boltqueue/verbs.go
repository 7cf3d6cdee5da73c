package boltqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// SetRules makes rules those of the newest configuration: every lane gets
// its own, and a job that is not named gets the zero value. The map must not
// change afterwards. limit is how many items may be queued; 0 means no limit.
func (q *DB) SetRules(ctx context.Context, rules map[string]queue.Rules, limit int) error {
	return q.ask(ctx, request{decide: func(b *batch) error {
		q.limit, b.limit = limit, limit
		b.mem.rules = rules
		for job, l := range b.mem.lanes {
			l.head.Rules = rules[job]
			b.mem.settle(l)
		}
		b.wake = true
		return nil
	}})
}

// Schedule queues a build or joins an equal item, and says which. now is the
// instant of the trigger; Request.ID is set here.
func (q *DB) Schedule(ctx context.Context, now time.Time, r queue.Request) (queue.Item, bool, error) {
	// The loop may still write to these when ctx ended; then nobody reads them.
	var it queue.Item
	var created bool
	err := q.ask(ctx, request{decide: func(b *batch) error {
		l := b.mem.lane(r.Job)
		var equal *queue.Item
		if e := b.mem.byKey[identity{l, r.Digest}]; e != nil && !r.Solo {
			found, err := b.load(e)
			if err != nil {
				return err
			}
			equal = found
		}
		r.ID = b.mem.nextID
		change, err := queue.Schedule(instant(now), l.head, equal, r, queue.Room{Queued: len(b.mem.byID), Limit: b.limit})
		if err != nil {
			return err
		}
		if change.Created {
			b.mem.nextID++
		}
		it, created = *change.Item, change.Created
		return b.apply(l, change)
	}})
	if err != nil {
		return queue.Item{}, false, err
	}
	return it, created, nil
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
		it, err := b.load(e)
		if err != nil {
			return err
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

// Claim starts what is due, one build for each of the free executors, and
// says when it should be asked next: zero means after [DB.Changed] only.
// What it returns is durable, so a crash can't run a build that is not on record.
func (q *DB) Claim(ctx context.Context, now time.Time, node string, executors []int) ([]queue.Build, time.Time, error) {
	var builds []queue.Build
	var next time.Time
	err := q.ask(ctx, request{decide: func(b *batch) error {
		builds = nil
		at := instant(now)
		for len(b.mem.ready) > 0 && len(builds) < len(executors) && !b.mem.next().After(at) {
			l := b.mem.ready[0]
			first, err := b.load(l.items[0])
			if err != nil {
				return err
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
		next = b.mem.next()
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

// build reads a build's record as the batch sees it.
func (b *batch) build(job string, number int64) (*queue.Build, error) {
	if err := b.begin(); err != nil {
		return nil, err
	}
	raw := b.tx.Bucket(bucketBuilds()).Get(jobKey(job, number))
	if raw == nil {
		return nil, fmt.Errorf("%w: %s #%d", queue.ErrNotFound, job, number)
	}
	return decodeJSON[queue.Build](raw, "build")
}

// Reclaim ends what was running on a node that is gone, and returns those
// builds. A file has one node only, so whatever runs on record is lost:
// Reclaim must not be called while builds run.
func (q *DB) Reclaim(ctx context.Context, now time.Time, reason string) ([]queue.Build, error) {
	var lost []queue.Build
	err := q.ask(ctx, request{decide: func(b *batch) error {
		lost = nil
		for _, job := range b.mem.running() {
			l := b.mem.lanes[job]
			for _, number := range slices.Clone(l.head.Running) {
				build, err := b.build(job, number)
				if err != nil {
					return err
				}
				change, err := queue.Finish(instant(now), l.head, *build, queue.Aborted, reason)
				if err != nil {
					return err
				}
				if err := b.apply(l, change); err != nil {
					return err
				}
				lost = append(lost, *change.Build)
			}
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

// running are the jobs with running builds, sorted.
func (m *memory) running() []string {
	var jobs []string
	for job, l := range m.lanes {
		if len(l.head.Running) > 0 {
			jobs = append(jobs, job)
		}
	}
	slices.Sort(jobs)
	return jobs
}

// Aborts are the running builds that somebody asked to stop, in no order.
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
