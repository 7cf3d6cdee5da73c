package pgqueue

import (
	"context"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// AllLanes returns the lanes of all jobs that were ever triggered, by job.
func (q *DB) AllLanes(ctx context.Context) ([]queue.Lane, error) {
	var all []queue.Lane
	err := q.query(ctx, "select head::text from queue.lanes order by job", nil, func(rows pgx.Rows) error {
		all = nil
		var head string
		return forEach(rows, []any{&head}, func() error {
			l, err := decode[queue.Lane](head, "lane")
			all = append(all, l)
			return err
		})
	})
	return all, err
}

// Forget drops the builds, cancelled items, summary and receipts of a job that no configuration
// has, as [queue.Forget] decides, and the logs of its builds. The lane stays, for its numbers, and
// so do notifications and the uses of tokens.
func (q *DB) Forget(ctx context.Context, job string) error {
	if checkJob(job) != nil {
		return fmt.Errorf("%w: job %q", queue.ErrNotFound, job)
	}
	err := q.decide(ctx, func(ctx context.Context, t *tx) error {
		l := newLocked()
		b := t.batch()
		l.lock(t, b, []string{job})
		if err := t.send(ctx, b); err != nil {
			return err
		}
		found := l.lanes[job]
		if found == nil {
			return fmt.Errorf("%w: job %q", queue.ErrNotFound, job)
		}
		change, err := queue.Forget(found.head)
		if err != nil {
			return err
		}
		l.apply(change, nil)
		return l.write(t, func(b *pgx.Batch) {
			b.Queue("delete from queue.receipts where job = $1", job)
		})
	})
	if err != nil {
		return err
	}
	return q.DropLogs(ctx, job, math.MaxInt64)
}
