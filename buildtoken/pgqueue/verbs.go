package pgqueue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// SetRules applies the rules of the newest configuration to the lanes. The lanes of jobs
// that are not in the map get the zero value as soon as the configurations of all living
// servers have the same jobs. The map must not change afterwards. limit is how many items
// may be queued; 0 means no limit. Call SetRules again after [Open]: only lanes keep
// their rules.
func (q *DB) SetRules(ctx context.Context, now time.Time, c queue.Config) error {
	_, err := q.submit(ctx, &request{set: &newRules{c, instant(now), digestOf(c.Rules)}})
	return err
}

// applyRules must be called by the loop only, so that no lane is created meanwhile.
func (q *DB) applyRules(ctx context.Context, set *newRules) error {
	var agreed bool
	err := q.decide(ctx, func(ctx context.Context, t *tx) error {
		all := newLocked()
		b := t.batch()
		// One server after the other: a job must not be recorded as gone while another server gets it.
		b.Queue("select pg_advisory_xact_lock(hashtextextended($1, 0))", "buildtoken rules "+q.opts.Schema)
		b.Queue(agreedSQL, q.opts.Server, set.digest).QueryRow(scan(&agreed))
		b.Queue("select job, head::text from queue.lanes").Query(all.read)
		if err := t.send(ctx, b); err != nil {
			return err
		}
		var differ []string
		for job, l := range all.lanes {
			if set.changes(l.head, agreed) {
				differ = append(differ, job)
			}
		}
		l := newLocked()
		locks := t.batch()
		l.lock(t, locks, differ)
		if err := t.send(ctx, locks); err != nil {
			return err
		}
		for _, job := range differ {
			if found := l.lanes[job]; found != nil {
				found.head = found.head.Configure(set.at, set.Config)
				l.touched[job] = true
			}
		}
		t.tell = message{Due: atOnce, Servers: true, Notice: queue.Notice{All: true}}
		// Last of all, so that no heartbeat waits for a lane.
		return l.write(t, func(b *pgx.Batch) {
			b.Queue("update queue.servers set jobs = $2 where server = $1", q.opts.Server, set.digest)
		})
	})
	if err != nil {
		return err
	}
	q.rules.set(set, agreed)
	q.foreign.clear()
	q.change() // a receiver that the commit has woken may have been too early
	return nil
}

// Cancel removes a queued item of a job; by names the user who requested it. It returns
// queue.ErrNotFound for an item of another job, and queue.ErrLeft for an item that was
// started or cancelled.
func (q *DB) Cancel(ctx context.Context, now time.Time, job string, id int64, by string) error {
	missing := fmt.Errorf("%w: item %d of %s", queue.ErrNotFound, id, job)
	if checkJob(job) != nil {
		return missing
	}
	return q.decide(ctx, func(ctx context.Context, t *tx) error {
		l := newLocked()
		var it *queue.Item
		var left bool
		b := t.batch()
		l.lock(t, b, []string{job})
		b.Queue("select id, job, body::text, due, solo from queue.items where id = $1 and job = $2", id, job).Query(into(&it, readItem))
		b.Queue(`select exists (select from queue.builds where item = $1 and job = $2) or
			exists (select from queue.cancelled where item = $1 and job = $2)`, id, job).QueryRow(scan(&left))
		b.Queue("select due from queue.items where job = $1 and id <> $2 and not damaged order by due, id limit 1", job, id).Query(func(rows pgx.Rows) error {
			return l.readFirst(job, rows)
		})
		if err := t.send(ctx, b); err != nil {
			return err
		}
		switch {
		case it != nil && l.lanes[job] != nil:
			l.apply(queue.Cancel(instant(now), l.lanes[job].head, *it, by), nil)
			return l.write(t)
		case left:
			return fmt.Errorf("%w: %d", queue.ErrLeft, id)
		default:
			return missing
		}
	})
}

// readFirst reads when the first item of a lane is due.
func (l *locked) readFirst(job string, rows pgx.Rows) error {
	first, err := column[int64](rows)
	if found := l.lanes[job]; found != nil && err == nil {
		found.first = time.Time{}
		if len(first) > 0 {
			found.first = at(first[0])
		}
	}
	return err
}

// readItem reads at most one item; if its record cannot be read, only its columns. It
// returns nil if there is none.
func readItem(rows pgx.Rows) (*queue.Item, error) {
	var found *queue.Item
	var id, due int64
	var job, body string
	var solo bool
	err := forEach(rows, []any{&id, &job, &body, &due, &solo}, func() error {
		it, err := decodeItem(id, job, body)
		if err != nil {
			it = stub(id, job, due, solo)
		}
		found = &it
		return nil
	})
	return found, err
}

// Finish records the end of a running build, and returns the build. It returns
// queue.ErrNotRunning if the build has already ended, or if the database has lost its
// start.
func (q *DB) Finish(ctx context.Context, now time.Time, job string, number int64, r queue.Result, reason string) (queue.Build, error) {
	run := q.known.run(buildKey{job, number})
	ended, err := q.finish(ctx, now, job, number, r, reason, ending{run: run})
	if run != 0 && errors.Is(err, queue.ErrNotFound) { // the database has lost its start
		err = fmt.Errorf("%w: %w", queue.ErrNotRunning, err)
	}
	if errors.Is(err, queue.ErrNotRunning) {
		q.known.remove(job, number)
		_ = q.hearUs(ctx) // the job may be started again; if this fails, the next heartbeat tells all servers
		// The server that has ended it could not know that nothing of it is left.
		err = errors.Join(err, q.adopt(ctx, job, number))
	}
	return ended, err
}

// ending describes the end of a build.
type ending struct {
	run    int64 // only the build with this identity is meant; 0: any
	lost   bool  // its log has no end
	orphan bool  // something of it may be left on its server
}

// finish ends a build.
func (q *DB) finish(ctx context.Context, now time.Time, job string, number int64, r queue.Result, reason string, how ending) (queue.Build, error) {
	return q.onBuild(ctx, job, number, func(l queue.Lane, s queue.Summary, b queue.Build) (queue.Change, error) {
		return queue.Finish(instant(now), l, s, b, r, reason)
	}, how)
}

// adopt records that nothing is left of a build of this server, or of any of its builds
// if the number is 0.
func (q *DB) adopt(ctx context.Context, job string, number int64) error {
	return q.decide(ctx, func(_ context.Context, t *tx) error {
		b := t.batch()
		b.Queue("update queue.builds set orphan = false where orphan and server = $1 and ($3 = 0 or job = $2 and number = $3)", q.opts.Server, job, number)
		t.last = b
		return nil
	})
}

// Abort requests that a running build be stopped; by names the user who requested it.
func (q *DB) Abort(ctx context.Context, job string, number int64, by string) error {
	_, err := q.onBuild(ctx, job, number, func(l queue.Lane, _ queue.Summary, b queue.Build) (queue.Change, error) {
		return queue.Abort(l, b, by)
	}, ending{})
	return err
}

// SetHandle stores the handle of a running build. See [queue.Build.Handle].
func (q *DB) SetHandle(ctx context.Context, job string, number int64, handle []byte) error {
	_, err := q.onBuild(ctx, job, number, func(l queue.Lane, _ queue.Summary, b queue.Build) (queue.Change, error) {
		return queue.SetHandle(l, b, handle)
	}, ending{})
	return err
}

// onBuild applies a rule to a build that is on record.
func (q *DB) onBuild(ctx context.Context, job string, number int64, rule func(queue.Lane, queue.Summary, queue.Build) (queue.Change, error), how ending) (queue.Build, error) {
	missing := fmt.Errorf("%w: %s #%d", queue.ErrNotFound, job, number)
	if checkJob(job) != nil {
		return queue.Build{}, missing
	}
	var result queue.Build
	err := q.decide(ctx, func(ctx context.Context, t *tx) error {
		l := newLocked()
		l.ending = how
		var builds []queue.Build
		var summary queue.Summary
		runs := map[buildKey]int64{}
		b := t.batch()
		l.lock(t, b, []string{job})
		b.Queue("select body::text from queue.summaries where job = $1", job).Query(q.readSummary(job, &summary))
		b.Queue("select body::text, run from queue.builds where job = $1 and number = $2", job, number).Query(into(&builds, readRuns(runs)))
		if err := t.send(ctx, b); err != nil {
			return err
		}
		if len(builds) == 0 || l.lanes[job] == nil {
			return missing
		}
		if run := runs[buildKey{job, number}]; how.run != 0 && how.run != run {
			return fmt.Errorf("%w: %s #%d is another build in the database, which was set back or replaced", queue.ErrNotRunning, job, number)
		}
		change, err := rule(l.lanes[job].head, summary, builds[0])
		if err != nil {
			return err
		}
		l.apply(change, nil)
		result = *change.Build
		t.wakeAt(atOnce)
		return l.write(t)
	})
	if err != nil {
		return queue.Build{}, err
	}
	if !result.Running() {
		q.known.remove(job, number)
	}
	return result, nil
}

// Lost returns the builds of which something may be left on this server, by job and
// number: those that [DB.Reclaim] would end, and those that another server has ended
// because the lease of this one had expired.
func (q *DB) Lost(ctx context.Context) ([]queue.Build, error) {
	return q.readBuilds(ctx, `select body::text from (select * from queue.builds where running and server = $1
		union all select * from queue.builds where orphan and server = $1) lost order by job, number`, q.opts.Server)
}

// Reclaim ends the builds that were running when this server was last open, and returns
// them. It must not be called while builds run. [DB.ReclaimLost] ends the builds of other
// servers.
//
// Builds for which keep returns true stay running; the caller goes on with them after
// [DB.Adopt]. A nil keep ends all builds.
func (q *DB) Reclaim(ctx context.Context, now time.Time, reason string, keep func(queue.Build) bool) ([]queue.Build, error) {
	found, err := q.Lost(ctx)
	if err != nil {
		return nil, err
	}
	var lost []queue.Build
	kept := 0
	for _, b := range found {
		if !b.Running() {
			continue
		}
		if keep != nil && keep(b) {
			kept++
			continue
		}
		ended, err := q.finish(ctx, now, b.Item.Job, b.Number, queue.Aborted, reason, ending{lost: true})
		if errors.Is(err, queue.ErrNotRunning) {
			continue
		}
		if err != nil {
			return lost, err
		}
		lost = append(lost, ended)
	}
	if len(lost) > 0 {
		q.opts.Log.Warn("builds were lost with the process that ran them", zap.Int("builds", len(lost)))
	}
	if len(found) > len(lost)+kept {
		err = q.adopt(ctx, "", 0)
	}
	q.reclaimed.Store(err == nil)
	return lost, err
}

// Aborts returns, in no order, the running builds of all servers that are to be stopped:
// on request, or because the database has lost the start of a build of this server.
func (q *DB) Aborts(ctx context.Context) ([]queue.Build, error) {
	wished, err := q.readBuilds(ctx, "select body::text from queue.builds where running and wished")
	if err != nil {
		return nil, err
	}
	return append(wished, q.known.forgotten()...), nil
}
