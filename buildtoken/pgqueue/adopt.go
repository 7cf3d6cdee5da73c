package pgqueue

import (
	"context"
	"fmt"
	"slices"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// adoptSQL takes over those of some builds that run on record and whose server is gone, or
// that this server has started in an earlier life.
const adoptSQL = `update queue.builds b set server = $3, epoch = $4
	from unnest($1::text[], $2::bigint[]) k(job, number) where b.job = k.job and b.number = k.number and b.running
	and (b.server = $3 and b.epoch <= $4 or not exists (select from queue.servers s where s.server = b.server and not s.released))
	returning b.body::text, b.run`

// Adopt hands running builds to this server, which goes on with them, each on the executor or
// slot of node at its place in executors, and returns them. It looks only at their jobs and
// numbers, and leaves out those that have ended, and those that another server runs that
// lives. See [DB.Reclaim] and [DB.ReclaimLost].
func (q *DB) Adopt(ctx context.Context, builds []queue.Build, node queue.Node, executors []int) ([]queue.Build, error) {
	epoch, err := q.mayClaim()
	if err != nil {
		return nil, err
	}
	var jobs []string
	var numbers []int64
	for _, b := range builds {
		jobs, numbers = append(jobs, b.Item.Job), append(numbers, b.Number)
	}
	var adopted []queue.Build
	var runs map[buildKey]int64
	err = q.decide(ctx, func(ctx context.Context, t *tx) error {
		adopted, runs = nil, map[buildKey]int64{}
		l := newLocked()
		var found []queue.Build
		var held, sure bool
		b := t.batch()
		l.lock(t, b, jobs)
		q.fence(b, epoch, &held, &sure)
		b.Queue(adoptSQL, jobs, numbers, q.opts.Server, epoch).Query(into(&found, readRuns(runs)))
		if err := t.send(ctx, b); err != nil {
			return err
		}
		if !held {
			return errTaken
		}
		for i, one := range builds {
			at := slices.IndexFunc(found, func(b queue.Build) bool { return keyOf(b) == keyOf(one) })
			if at < 0 {
				continue
			}
			lane := l.lanes[one.Item.Job]
			if lane == nil {
				return fmt.Errorf("%w: %s", queue.ErrNotFound, one.Item.Job)
			}
			change, err := queue.Adopt(lane.head, found[at], node, executors[i])
			if err != nil {
				return err
			}
			l.apply(change, nil)
			adopted = append(adopted, *change.Build)
		}
		return l.write(t)
	})
	if err != nil {
		return nil, err
	}
	return adopted, q.handOut(adopted, runs, epoch)
}
