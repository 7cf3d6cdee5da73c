package pgqueue

import (
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// readSummary reads at most one summary. A summary that cannot be decoded starts again, so
// that the build can end.
func (q *DB) readSummary(job string, into *queue.Summary) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		*into = queue.Summary{Job: job}
		var body string
		return forEach(rows, []any{&body}, func() error {
			*into = q.decodeSummary(job, body)
			return nil
		})
	}
}

func (q *DB) decodeSummary(job, body string) queue.Summary {
	s, err := decode[queue.Summary](body, "summary of "+job)
	if err != nil {
		q.opts.Log.Error("cannot read the summary of a job; it starts again", zap.String("job", job), zap.Error(err))
		return queue.Summary{Job: job}
	}
	return s
}

// summaryRow has the values of a row of summaries.
func summaryRow(s queue.Summary) ([]any, error) {
	body, err := encode(s)
	return []any{s.Job, body}, err
}

// writeSummaries writes the summaries of jobs of which a build has ended.
func (l *locked) writeSummaries(b *pgx.Batch) {
	for _, s := range l.summaries {
		b.Queue(`insert into queue.summaries (job, body) values ($1, $2::text::json)
			on conflict (job) do update set body = excluded.body`, s.Job, l.encode(s))
	}
}

// Overviews returns what there is to show about several jobs, in the order asked for, with
// one query. No record of a build is read.
func (q *DB) Overviews(ctx context.Context, jobs []string) ([]queue.Overview, error) {
	all := make([]queue.Overview, len(jobs))
	at := make(map[string]int, len(jobs))
	for i, job := range jobs {
		all[i] = queue.Overview{Lane: q.rules.newest().lane(job), Summary: queue.Summary{Job: job}}
		if checkJob(job) == nil {
			at[job] = i
		}
	}
	const sql = `select l.job, l.head::text, s.body::text,
			coalesce((select number from queue.builds b where b.job = l.job order by number limit 1), 0)
		from queue.lanes l left join queue.summaries s using (job) where l.job = any($1)`
	err := q.query(ctx, sql, []any{slices.Collect(maps.Keys(at))}, func(rows pgx.Rows) error {
		var job, head string
		var summary *string
		var oldest int64
		return forEach(rows, []any{&job, &head, &summary, &oldest}, func() error {
			l, err := decode[queue.Lane](head, "lane "+job)
			if err != nil {
				return err
			}
			o := queue.Overview{Lane: l, Summary: queue.Summary{Job: job}, Oldest: oldest}
			if summary != nil {
				o.Summary = q.decodeSummary(job, *summary)
			}
			all[at[job]] = o
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Gone returns the lanes with queued items whose jobs no server has, by job.
func (q *DB) Gone(ctx context.Context) ([]queue.Lane, error) {
	var gone []queue.Lane
	err := q.query(ctx, "select head::text from queue.lanes where head->>'gone_until' is not null order by job", nil, func(rows pgx.Rows) error {
		gone = nil
		var head string
		return forEach(rows, []any{&head}, func() error {
			l, err := decode[queue.Lane](head, "lane")
			if err == nil && l.Queued > 0 {
				gone = append(gone, l)
			}
			return err
		})
	})
	return gone, err
}
