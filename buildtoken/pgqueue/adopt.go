package pgqueue

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// adoptSQL takes over a build that runs on record if its server is gone, or if this one
// has started it in an earlier life.
const adoptSQL = `update queue.builds b set server = $3, epoch = $4 where job = $1 and number = $2 and running
	and (server = $3 and epoch <= $4 or not exists (select from queue.servers s where s.server = b.server and not s.released))`

// Adopt hands a running build to this server, which goes on with it on one of the executors
// or slots of node, and returns the build. It returns queue.ErrNotRunning if the build has
// ended, or if another server that lives runs it. See [DB.Reclaim] and [DB.ReclaimLost].
func (q *DB) Adopt(ctx context.Context, job string, number int64, node queue.Node, executor int) (queue.Build, error) {
	epoch, err := q.mayClaim()
	if err != nil {
		return queue.Build{}, err
	}
	var adopted queue.Build
	runs := map[buildKey]int64{}
	err = q.decide(ctx, func(ctx context.Context, t *tx) error {
		l := newLocked()
		l.server, l.epoch = q.opts.Server, epoch
		var found []queue.Build
		var held, ours bool
		b := t.batch()
		l.lock(t, b, []string{job})
		b.Queue(fenceSQL, q.opts.Server, epoch).Query(func(rows pgx.Rows) error {
			held = rows.Next()
			rows.Close()
			return rows.Err()
		})
		b.Queue("select body::text, run from queue.builds where job = $1 and number = $2", job, number).Query(func(rows pgx.Rows) (err error) {
			found, err = readRuns(rows, runs)
			return err
		})
		b.Queue(adoptSQL+" returning true", job, number, q.opts.Server, epoch).Query(func(rows pgx.Rows) error {
			ours = rows.Next()
			rows.Close()
			return rows.Err()
		})
		if err := t.send(ctx, b); err != nil {
			return err
		}
		switch {
		case !held:
			return errTaken
		case len(found) == 0 || l.lanes[job] == nil:
			return fmt.Errorf("%w: %s #%d", queue.ErrNotFound, job, number)
		case !ours:
			return fmt.Errorf("%w: %s #%d, or another server runs it", queue.ErrNotRunning, job, number)
		}
		change, err := queue.Adopt(l.lanes[job].head, found[0], node, executor)
		if err != nil {
			return err
		}
		l.apply(change, nil)
		adopted = *change.Build
		return l.write(t)
	})
	if err != nil {
		return queue.Build{}, err
	}
	return adopted, q.handOut([]queue.Build{adopted}, runs, epoch)
}
