package pgqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Statements that lock the lanes of which a node with labels may start an item at an
// instant, except those of some jobs, in the order in which they are due. The first one
// skips lanes that another transaction holds, the second one waits for the first lane.
const (
	// elsewhere selects the jobs of which a server still stops a build that is not on record.
	elsewhere = "array(select unnest(stopping) from queue.servers where not released)"

	freeLanes = `select l.job, l.head::text from unnest($1::text[]) k(label) cross join lateral
		(select * from queue.lanes where label = k.label and next <= $3 and not job = any($2) and not job = any(` + elsewhere + `)
			order by next, next_id limit $4 for update skip locked) l
		order by l.next, l.next_id limit $4`
	firstLane = `select job, head::text from queue.lanes where label = any($1) and next <= $3 and not job = any($2) and not job = any(` + elsewhere + `)
		order by next, next_id limit $4 for update`
	nextSQL = `select l.next from unnest($1::text[]) k(label) cross join lateral
		(select next from queue.lanes where label = k.label and next is not null and not job = any($2) and not job = any(` + elsewhere + `) order by next limit 1) l
		order by l.next limit 1`
)

// fenceSQL returns no row if the server has lost its lease, which keeps it from starting
// anything. Otherwise it holds the lease until the end of the transaction, and returns
// whether all servers have compared their builds with the database.
const fenceSQL = `select not exists (select from queue.servers o
		where not o.released and o.mark is distinct from (select mark from queue.incarnations))
	from queue.servers where server = $1 and epoch = $2 and not released for key share`

// fence queues fenceSQL, which sets held to whether this server still holds the lease of an epoch, and
// sure to whether all servers have compared their builds.
func (q *DB) fence(b *pgx.Batch, epoch int64, held, sure *bool) {
	b.Queue(fenceSQL, q.opts.Server, epoch).Query(func(rows pgx.Rows) error {
		found, err := column[bool](rows)
		*held = len(found) > 0
		*sure = *held && found[0]
		return err
	})
}

// unsureFor is how long a claim waits for other servers to make sure of their builds.
const unsureFor = 200 * time.Millisecond

// Claim starts what is due and what the node may run, one build for each of the
// free executors. It also returns when to call it again: zero means after
// [DB.Changed] only.
// What it returns is durable, so a crash can't run a build that is not on record.
//
// If the outcome of a Claim is not known, the next one returns the builds that it has
// started, provided that their executors are still free.
func (q *DB) Claim(ctx context.Context, now time.Time, node queue.Node, executors []int) ([]queue.Build, time.Time, error) {
	if len(executors) == 0 {
		next, err := q.next(ctx, node)
		return nil, next, err
	}
	builds, next, err := q.tryClaim(ctx, now, node, executors)
	if errors.Is(err, errUnheard) {
		if err = q.hearUs(ctx); err == nil {
			builds, next, err = q.tryClaim(ctx, now, node, executors)
		}
	}
	return builds, next, err
}

// tryClaim returns [errUnheard] if the database was started after the last heartbeat.
func (q *DB) tryClaim(ctx context.Context, now time.Time, node queue.Node, executors []int) ([]queue.Build, time.Time, error) {
	q.starting.Lock()
	defer q.starting.Unlock()
	epoch, err := q.mayClaim()
	if err != nil {
		return nil, time.Time{}, errors.Join(err, q.ask(ctx))
	}
	if builds, err := q.found(ctx, node.Name, epoch, executors); err != nil || len(builds) > 0 {
		return builds, instant(now), err
	}
	c := claim{now: instant(now), node: node, executors: executors, lanes: freeLanes, epoch: epoch}
	err = q.decide(ctx, func(ctx context.Context, t *tx) error { return q.claim(ctx, t, &c) })
	if err == nil && !c.sure {
		return nil, c.now.Add(unsureFor), nil
	}
	if err == nil && len(c.builds) == 0 && !c.next.IsZero() && !c.next.After(c.now) {
		// Other transactions hold all lanes that are due, and may not start anything, or those lanes
		// are of other servers. Waiting for the lock of one lane, the first, does no harm.
		c.executors, c.lanes = executors[:1], firstLane
		err = q.decide(ctx, func(ctx context.Context, t *tx) error { return q.claim(ctx, t, &c) })
	}
	if err != nil {
		if errors.Is(err, errUnknown) {
			q.known.notStarted(c.runs)
		}
		return nil, time.Time{}, err
	}
	if err := q.handOut(c.builds, c.runs, epoch); err != nil {
		return nil, time.Time{}, err
	}
	return c.builds, c.next, nil
}

// handOut registers builds as running. If the lease may have expired meanwhile, it
// returns an error, and the builds are found by the next Claim or end as lost.
func (q *DB) handOut(builds []queue.Build, runs map[buildKey]int64, epoch int64) error {
	q.known.add(builds, runs, epoch)
	if q.stillHolds(epoch) {
		return nil
	}
	unstarted := map[buildKey]int64{}
	for _, b := range builds {
		q.known.remove(b.Item.Job, b.Number)
		unstarted[keyOf(b)] = runs[keyOf(b)]
	}
	q.known.notStarted(unstarted)
	return fmt.Errorf("%w: %w", queue.ErrStorage, errSilent)
}

// claim is one call of Claim, with its result.
type claim struct {
	now       time.Time
	node      queue.Node
	executors []int
	lanes     string // the statement that locks them
	epoch     int64
	// sure reports that no server has builds that the database may not know.
	sure   bool
	builds []queue.Build
	// runs are the identities of the builds.
	runs map[buildKey]int64
	next time.Time
}

// claim runs the transaction of Claim.
func (q *DB) claim(ctx context.Context, t *tx, c *claim) error {
	c.builds, c.runs = nil, map[buildKey]int64{}
	// After the database was restarted, the first thing is to find out whether it has lost
	// anything.
	if !q.lease.heardBy(startOf(t.conn)) {
		return errUnheard
	}
	l := newLocked()
	l.runs = c.runs
	var jobs []string
	l.server, l.epoch = q.opts.Server, c.epoch
	var held bool
	ours := q.rules.newest()
	b := t.batch()
	b.Queue(c.lanes, c.node.Places(), q.foreign.list(), c.now.UnixNano(), len(c.executors)).Query(func(rows pgx.Rows) error {
		var job, head string
		return forEach(rows, []any{&job, &head}, func() error {
			h, err := decode[queue.Lane](head, "lane "+job)
			if err != nil {
				return err
			}
			l.lanes[job] = &lane{head: h}
			jobs = append(jobs, job)
			return nil
		})
	})
	q.fence(b, c.epoch, &held, &c.sure)
	b.Queue(nextSQL, c.node.Places(), q.foreign.list()).Query(c.readNext)
	if err := t.send(ctx, b); err != nil {
		return err
	}
	if !held {
		return errTaken
	}
	if !c.sure {
		return nil
	}
	if jobs = q.setForeign(jobs, ours, l); len(jobs) == 0 {
		return nil
	}
	items, err := q.firstItems(ctx, t, l, jobs, c)
	if err != nil {
		return err
	}
	c.start(l, items)
	for _, job := range jobs {
		// Also a lane that starts nothing after all, because its row predicted otherwise.
		l.touched[job] = true
	}
	return l.write(t, func(b *pgx.Batch) {
		b.Queue(nextSQL, c.node.Places(), q.foreign.list()).Query(c.readNext)
	})
}

// setForeign excludes jobs that only other servers have from later claims, and returns the
// rest. Any server may claim the items of a job that is recorded as gone.
func (q *DB) setForeign(jobs []string, ours *newRules, l *locked) (rest []string) {
	if ours.digest == nil {
		return jobs // there are no rules yet
	}
	var others []string
	for _, job := range jobs {
		if _, ok := ours.Rules[job]; ok || !l.lanes[job].head.GoneUntil.IsZero() {
			rest = append(rest, job)
		} else {
			others = append(others, job)
		}
	}
	if len(others) > 0 {
		q.foreign.add(others)
		q.rules.differ()
	}
	return rest
}

func (c *claim) readNext(rows pgx.Rows) error {
	next, err := column[int64](rows)
	c.next = time.Time{}
	if len(next) > 0 {
		c.next = at(next[0])
	}
	return err
}

// start decides which item starts on which executor, in the order in which they are
// due over all lanes.
func (c *claim) start(l *locked, items map[string][]queue.Item) {
	for len(c.builds) < len(c.executors) {
		var first *queue.Item
		for job, waiting := range items {
			head := l.lanes[job].head
			if len(waiting) == 0 || queue.Next(head, waiting[0].Due).IsZero() {
				continue
			}
			if first == nil || compareItems(waiting[0], *first) < 0 {
				first = &waiting[0]
			}
		}
		if first == nil {
			break
		}
		change, ok := queue.Claim(c.now, l.lanes[first.Job].head, first, c.node, c.executors[len(c.builds)])
		if !ok {
			break // what is due later can't start either
		}
		l.apply(change, nil)
		c.builds = append(c.builds, *change.Build)
		c.runs[keyOf(*change.Build)] = newRun()
		items[first.Job] = items[first.Job][1:]
	}
	for job, waiting := range items {
		if len(waiting) > 0 {
			l.lanes[job].first = waiting[0].Due
		}
	}
}

// firstItems reads the items of locked lanes that may start now, and one more of each
// lane, which comes first afterwards.
func (q *DB) firstItems(ctx context.Context, t *tx, l *locked, jobs []string, c *claim) (map[string][]queue.Item, error) {
	limits := make([]int, len(jobs))
	for i, job := range jobs {
		limits[i] = 2
		// Whether the lane may start a second item while the first is running.
		probe := queue.Item{Due: time.Unix(0, 1)}
		if change, ok := queue.Claim(probe.Due, l.lanes[job].head, &probe, c.node, 0); ok && !queue.Next(change.Lane, probe.Due).IsZero() {
			limits[i] = len(c.executors) + 1
		}
	}
	for {
		items := make(map[string][]queue.Item, len(jobs))
		damaged := len(l.damaged)
		b := t.batch()
		t.identify(b)
		if damaged > 0 {
			b.Queue(setDamaged, l.damaged)
		}
		b.Queue(`select i.id, i.job, i.body::text from unnest($1::text[], $2::int[]) k(job, most) cross join lateral
			(select id, job, due, body from queue.items where job = k.job and not damaged order by due, id limit k.most) i
			order by i.due, i.id`, jobs, limits).Query(func(rows pgx.Rows) error {
			var id int64
			var job, body string
			return forEach(rows, []any{&id, &job, &body}, func() error {
				it, err := decodeItem(id, job, body)
				if err != nil {
					q.setAside(l, id, job, err)
					return nil
				}
				items[job] = append(items[job], it)
				return nil
			})
		})
		if err := t.send(ctx, b); err != nil {
			return nil, err
		}
		for _, job := range jobs {
			if _, ok := items[job]; !ok {
				items[job] = nil
			}
		}
		if len(l.damaged) == damaged {
			return items, nil
		}
	}
}

// next returns when the first lane may start an item on a node; zero if no item waits
// for its due time.
func (q *DB) next(ctx context.Context, node queue.Node) (time.Time, error) {
	var c claim
	err := q.query(ctx, nextSQL, []any{node.Places(), q.foreign.list()}, c.readNext)
	return c.next, err
}

// found hands out the builds that an earlier Claim of the same epoch has started
// without receiving the answer.
func (q *DB) found(ctx context.Context, node string, epoch int64, executors []int) ([]queue.Build, error) {
	q.known.mu.Lock()
	missing := q.known.missing
	q.known.missing = false
	q.known.mu.Unlock()
	if !missing {
		return nil, nil
	}
	var running []queue.Build
	runs := map[buildKey]int64{}
	const sql = "select body::text, run from queue.builds where running and server = $1 and epoch = $2 order by job, number"
	err := q.query(ctx, sql, []any{q.opts.Server, epoch}, into(&running, readRuns(runs)))
	if err != nil {
		q.known.lookAgain()
		return nil, fmt.Errorf("look for what was started: %w", err)
	}
	free := slices.Clone(executors)
	var builds []queue.Build
	for _, b := range running {
		at := slices.Index(free, b.Executor)
		switch {
		case q.known.run(keyOf(b)) != 0: // it was handed out
		case b.Node != node || at < 0:
			q.known.lookAgain() // later
		default:
			free = slices.Delete(free, at, at+1)
			builds = append(builds, b)
		}
	}
	return builds, q.handOut(builds, runs, epoch)
}
