package pgqueue

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// MaxPosition is the highest position that [DB.Entry] counts. Items further behind have
// the position -1.
const MaxPosition = 20_000

// query runs a statement that changes nothing.
func (q *DB) query(ctx context.Context, sql string, args []any, read func(pgx.Rows) error) error {
	if err := q.ask(ctx); err != nil {
		return err
	}
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, q.opts.Timeout)
	defer cancel()
	for try := 1; ; try++ {
		err := q.queryOnce(ctx, sql, args, read)
		switch {
		case err == nil:
			return nil
		case caller.Err() != nil:
			return fmt.Errorf("pgqueue: %w", context.Cause(caller))
		case again(err) && try < maxTries && ctx.Err() == nil:
			q.pool.Reset()
		default:
			return fmt.Errorf("%w: %w", queue.ErrStorage, err)
		}
	}
}

func (q *DB) queryOnce(ctx context.Context, sql string, args []any, read func(pgx.Rows) error) error {
	conn, err := q.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Release()
	rows, err := conn.Query(ctx, q.names.in(sql), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	if err := read(rows); err != nil {
		return err
	}
	return rows.Err()
}

// Lanes returns the heads of several jobs at one instant, in the order of jobs.
func (q *DB) Lanes(ctx context.Context, jobs []string) ([]queue.Lane, error) {
	var valid []string
	for _, job := range jobs {
		if checkJob(job) == nil {
			valid = append(valid, job)
		}
	}
	found := newLocked() // not locked: only read
	if err := q.query(ctx, "select job, head::text from queue.lanes where job = any($1)", []any{valid}, found.read); err != nil {
		return nil, err
	}
	heads := make([]queue.Lane, len(jobs))
	for i, job := range jobs {
		heads[i] = q.rules.newest().lane(job)
		if l := found.lanes[job]; l != nil {
			heads[i] = l.head
		}
	}
	return heads, nil
}

// Entry returns the state of an item. It returns queue.ErrNotFound after the record of
// its build or cancellation was dropped.
func (q *DB) Entry(ctx context.Context, now time.Time, id int64) (queue.Entry, error) {
	const sql = `select i.id, i.job, i.due, i.solo, i.damaged, i.body::text, l.head::text,
			(select count(*) from (select from queue.items o where (o.due + 0, o.id) < (i.due, i.id) limit $2) before)::int,
			null, null
		from queue.items i join queue.lanes l using (job) where i.id = $1
		union all select $1, '', 0, false, false, '', '', 0, body::text, null from queue.builds where item = $1
		union all select $1, '', 0, false, false, '', '', 0, null, body::text from queue.cancelled where item = $1`
	var found []queue.Entry
	err := q.query(ctx, sql, []any{id, MaxPosition + 1}, into(&found, readEntries(now)))
	switch {
	case err != nil:
		return queue.Entry{}, err
	case len(found) == 0:
		return queue.Entry{}, fmt.Errorf("%w: item %d", queue.ErrNotFound, id)
	}
	e := found[0]
	if e.Position > MaxPosition {
		e.Position = -1
	}
	return e, nil
}

// Items returns at most limit queued items in the order in which they are due; a limit of 0
// means none. job restricts the list and the positions to one job; "" means all.
func (q *DB) Items(ctx context.Context, now time.Time, job string, limit int) ([]queue.Entry, error) {
	const columns = `select i.id, i.job, i.due, i.solo, i.damaged, i.body::text, l.head::text, 0, null, null
		from (select * from queue.items %s limit $1) i join queue.lanes l using (job) order by i.due, i.id`
	if limit <= 0 || job != "" && checkJob(job) != nil {
		return nil, q.ask(ctx)
	}
	sql, args := fmt.Sprintf(columns, "order by due + 0, id"), []any{limit}
	if job != "" {
		sql, args = fmt.Sprintf(columns, "where job = $2 order by due, id"), append(args, job)
	}
	var found []queue.Entry
	err := q.query(ctx, sql, args, into(&found, readEntries(now)))
	if err != nil {
		return nil, err
	}
	for i := range found {
		found[i].Position = i
	}
	return found, nil
}

// readEntries reads rows of items with the heads of their lanes, or of the builds and
// cancellations that they became.
func readEntries(now time.Time) func(pgx.Rows) ([]queue.Entry, error) {
	return func(rows pgx.Rows) ([]queue.Entry, error) {
		var entries []queue.Entry
		var id, due int64
		var job, body, head string
		var solo, damaged bool
		var position int
		var built, gone *string
		err := forEach(rows, []any{&id, &job, &due, &solo, &damaged, &body, &head, &position, &built, &gone}, func() error {
			e := queue.Entry{State: queue.Left, Position: position}
			switch {
			case built != nil:
				b, err := decode[queue.Build](*built, "build")
				if err != nil {
					return err
				}
				e.Item, e.Build = b.Item, &b
			case gone != nil:
				c, err := decode[queue.Cancelled](*gone, "cancelled item")
				if err != nil {
					return err
				}
				e.Item, e.Cancelled = c.Item, &c
			default:
				l, err := decode[queue.Lane](head, "lane "+job)
				if err != nil {
					return err
				}
				it, err := decodeItem(id, job, body)
				if damaged || err != nil {
					e.Item, e.State, e.Blockage = stub(id, job, due, solo), queue.Blocked, queue.Blockage{Reason: queue.RecordDamaged}
					break
				}
				e.Item = it
				e.State, e.Blockage = l.Explain(now, it)
			}
			entries = append(entries, e)
			return nil
		})
		return entries, err
	}
}

// Build returns a build, or queue.ErrNotFound if it is not on record.
func (q *DB) Build(ctx context.Context, job string, number int64) (queue.Build, error) {
	var builds []queue.Build
	if checkJob(job) == nil {
		var err error
		if builds, err = q.readBuilds(ctx, "select body::text from queue.builds where job = $1 and number = $2", job, number); err != nil {
			return queue.Build{}, err
		}
	}
	if len(builds) == 0 {
		return queue.Build{}, fmt.Errorf("%w: %s #%d", queue.ErrNotFound, job, number)
	}
	return builds[0], nil
}

// Builds returns at most limit builds of a job with numbers below before (0: all),
// highest first; a limit of 0 means none. A record that cannot be read is left out.
func (q *DB) Builds(ctx context.Context, job string, before int64, limit int) ([]queue.Build, error) {
	if limit <= 0 || checkJob(job) != nil {
		return nil, q.ask(ctx)
	}
	var builds []queue.Build
	const sql = `select number, body::text from queue.builds where job = $1 and ($2 <= 0 or number < $2) order by number desc limit $3`
	err := q.query(ctx, sql, []any{job, before, limit}, func(rows pgx.Rows) error {
		builds = nil
		var number int64
		var body string
		return forEach(rows, []any{&number, &body}, func() error {
			b, err := decode[queue.Build](body, "build")
			if err != nil {
				q.opts.Log.Error("build can't be read", zap.String("job", job), zap.Int64("number", number), zap.Error(err))
				return nil
			}
			builds = append(builds, b)
			return nil
		})
	})
	return builds, err
}

// Oldest returns the lowest number among the builds of a job that are on record; logs of
// lower numbers can be removed. It returns queue.ErrNotFound if there is no build.
func (q *DB) Oldest(ctx context.Context, job string) (int64, error) {
	var numbers []int64
	if checkJob(job) == nil {
		err := q.query(ctx, "select number from queue.builds where job = $1 order by number limit 1", []any{job}, into(&numbers, column[int64]))
		if err != nil {
			return 0, err
		}
	}
	if len(numbers) == 0 {
		return 0, fmt.Errorf("%w: builds of %s", queue.ErrNotFound, job)
	}
	return numbers[0], nil
}

// Refs returns the sorted references to stored files of all queued and running items.
// Other stored files can be removed, unless a trigger is being scheduled.
func (q *DB) Refs(ctx context.Context) ([]string, error) {
	const sql = `select id, body::text, null from queue.items where files
		union all select item, null, body::text from queue.builds where running and files`
	found := map[string]bool{}
	err := q.query(ctx, sql, nil, func(rows pgx.Rows) error {
		var id int64
		var queued, built *string
		return forEach(rows, []any{&id, &queued, &built}, func() error {
			var it queue.Item
			var err error
			if queued != nil {
				it, err = decode[queue.Item](*queued, "item")
			} else {
				var b queue.Build
				b, err = decode[queue.Build](*built, "build")
				it = b.Item
			}
			if err != nil {
				q.opts.Log.Error("item can't be read; its files may be dropped", zap.Int64("id", id), zap.Error(err))
				return nil
			}
			for _, v := range it.Values {
				if v.Ref != "" {
					found[v.Ref] = true
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(found)), nil
}

func (q *DB) readBuilds(ctx context.Context, sql string, args ...any) ([]queue.Build, error) {
	var builds []queue.Build
	err := q.query(ctx, sql, args, into(&builds, readBuilds))
	return builds, err
}

func readBuilds(rows pgx.Rows) ([]queue.Build, error) {
	var builds []queue.Build
	var body string
	err := forEach(rows, []any{&body}, func() error {
		b, err := decode[queue.Build](body, "build")
		if err != nil {
			return err
		}
		builds = append(builds, b)
		return nil
	})
	return builds, err
}
