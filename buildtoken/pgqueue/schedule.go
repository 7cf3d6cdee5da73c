package pgqueue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// maxBatch is how many triggers share one transaction.
const maxBatch = 256

// request is a trigger or new rules for the loop.
type request struct {
	queue.Request
	now    time.Time
	set    *newRules
	answer answer
	done   chan struct{}
}

type answer struct {
	item    queue.Item
	created bool
	err     error
}

// Schedule queues a build or joins an equal item, and reports whether the item is new.
// now is the instant of the trigger; Request.ID is ignored. Schedule returns
// queue.ErrFull, or an error about the job's name if that is empty, longer than 2,000
// bytes or not text. For a repeated key it returns a queue.RepeatedError or
// queue.ErrKeyReused.
//
// The limit holds for all servers together, but each server sees only what the others
// have committed: together they may exceed it by what they accept at the same time.
func (q *DB) Schedule(ctx context.Context, now time.Time, r queue.Request) (queue.Item, bool, error) {
	if err := checkJob(r.Job); err != nil {
		return queue.Item{}, false, err
	}
	a, err := q.submit(ctx, &request{Request: r, now: instant(now)})
	if err != nil {
		return queue.Item{}, false, err
	}
	return a.item, a.created, nil
}

// submit passes a request to the loop and waits for its answer. After the loop has
// accepted it, ctx has no effect, and the outcome is always returned.
func (q *DB) submit(ctx context.Context, r *request) (answer, error) {
	if err := q.ask(ctx); err != nil {
		return answer{}, err
	}
	r.done = make(chan struct{})
	select {
	case q.requests <- r:
	case <-q.stop:
		return answer{}, queue.ErrClosed
	case <-ctx.Done():
		return answer{}, fmt.Errorf("pgqueue: %w", context.Cause(ctx))
	}
	<-r.done // the time of each transaction is limited
	return r.answer, r.answer.err
}

// loop decides triggers and applies rules to lanes. It ends with Close.
func (q *DB) loop() {
	for {
		select {
		case r := <-q.requests:
			q.serve(q.take(r))
		case <-q.settle:
			// All servers have the same jobs now, so those that this one doesn't have are gone.
			settled := *q.rules.newest()
			settled.at = instant(time.Now())
			if err := q.applyRules(context.Background(), &settled); err != nil {
				q.opts.Log.Error("rules of jobs that are gone could not be changed; trying again", zap.Error(err))
			}
		case <-q.stop:
			return
		}
	}
}

// take collects the waiting requests, without waiting for more. New rules form a
// separate batch.
func (q *DB) take(first *request) [][]*request {
	batches := [][]*request{{first}}
	for n := 1; n < maxBatch; n++ {
		select {
		case r := <-q.requests:
			last := len(batches) - 1
			if r.set != nil || batches[last][0].set != nil {
				batches = append(batches, []*request{r})
			} else {
				batches[last] = append(batches[last], r)
			}
		default:
			return batches
		}
	}
	return batches
}

func (q *DB) serve(batches [][]*request) {
	ctx := context.Background() // each transaction has its own limit
	for _, batch := range batches {
		if set := batch[0].set; set != nil {
			batch[0].answer.err = q.applyRules(ctx, set)
		} else {
			q.scheduleBatch(ctx, batch)
		}
		for _, r := range batch {
			close(r.done)
		}
	}
}

// scheduleBatch decides triggers in one transaction, and stores the answers in them.
func (q *DB) scheduleBatch(ctx context.Context, batch []*request) {
	err := q.tryBatch(ctx, batch)
	if errors.Is(err, errNoLane) {
		err = q.tryBatch(ctx, batch) // the database was set back, and has fewer jobs
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.SeverityUnlocalized == "ERROR" && len(batch) > 1 {
		// One of them may be the cause.
		q.opts.Log.Warn("triggers could not be queued together; trying one by one", zap.Int("triggers", len(batch)), zap.Error(err))
		for _, r := range batch {
			q.scheduleBatch(ctx, []*request{r})
		}
		return
	}
	for _, r := range batch {
		if err != nil {
			r.answer = answer{err: err}
		}
	}
}

func (q *DB) tryBatch(ctx context.Context, batch []*request) error {
	var rest []int64
	err := q.ensure(ctx, batch)
	if err == nil {
		err = q.decide(ctx, func(ctx context.Context, t *tx) (err error) {
			rest, err = q.schedule(ctx, t, batch)
			return err
		})
	}
	if err == nil {
		q.ids = rest
	}
	switch {
	case err == nil:
		q.refusal.Store(nil)
	case readOnly(err):
		q.refusal.Store(&err)
	}
	return err
}

// readOnly reports whether an error is of a database that can be read but not written: its
// disk is full, or it is a standby.
func readOnly(err error) bool {
	answer, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (answer.Code == "53100" || answer.Code == "25006")
}

// Refuses returns why triggers are refused although the database can be read, such as a
// full disk, or nil. After such a refusal it returns nil only once a trigger was accepted.
func (q *DB) Refuses() error {
	if why := q.refusal.Load(); why != nil {
		return *why
	}
	return nil
}

// ensure creates the missing rows of lanes. A lane without history is the same with a
// row and without.
func (q *DB) ensure(ctx context.Context, batch []*request) error {
	missing := map[string]bool{}
	for _, r := range batch {
		if !q.lanes[r.Job] {
			missing[r.Job] = true
		}
	}
	if len(missing) == 0 {
		return nil
	}
	jobs := slices.Sorted(maps.Keys(missing))
	var heads, labels []string
	for _, job := range jobs {
		newest := q.rules.newest()
		l := newest.lane(job)
		if newest.digest != nil {
			l = l.Configure(newest.at, newest.Config)
		}
		head, err := encode(l)
		if err != nil {
			return err
		}
		heads, labels = append(heads, head), append(labels, l.Place())
	}
	err := q.decide(ctx, func(_ context.Context, t *tx) error {
		b := t.batch()
		b.Queue(`insert into queue.lanes (job, head, label) select job, head::json, label from unnest($1::text[], $2::text[], $3::text[]) k(job, head, label)
			on conflict do nothing`, jobs, heads, labels)
		t.last = b
		return nil
	})
	if err != nil {
		return err
	}
	for _, job := range jobs {
		q.lanes[job] = true
	}
	return nil
}

// equality is what equal items have in common.
type equality struct {
	job    string
	digest queue.Digest
}

// errNoLane is returned when the row of a lane is gone, although rows are never removed.
var errNoLane = errors.New("lane has no row any more")

// decision is the state from which triggers are decided.
type decision struct {
	*locked
	equal    map[equality]*item
	receipts *receipts
	room     queue.Room
	ids      []int64
}

// schedule runs the transaction of triggers. It uses the reserved item IDs, and takes more
// if necessary. rest are the IDs that are left: after the commit they are reserved for this
// server. Without the commit, the database may give them again after a crash.
func (q *DB) schedule(ctx context.Context, t *tx, batch []*request) (rest []int64, err error) {
	d := decision{locked: newLocked(), equal: map[equality]*item{}, receipts: newReceipts(), ids: q.ids, room: queue.Room{Limit: q.rules.newest().Limit, MaxKiB: q.opts.MaxKiB}}
	q.ids = nil
	from := startOf(t.conn)
	if from != q.idsFrom {
		d.ids = nil // a database that was restarted since then may give them to other servers
	}
	q.idsFrom = from
	jobs := map[string]bool{}
	solo := 0
	for _, r := range batch {
		jobs[r.Job] = true
		if r.Solo {
			solo++
		} else {
			d.equal[equality{r.Job, r.Digest}] = nil
		}
	}
	b := t.batch()
	t.keepPlans(b)
	d.lock(t, b, slices.Sorted(maps.Keys(jobs)))
	q.findEqual(b, &d)
	d.takeIDs(b, solo)
	d.receipts.find(b, batch, q.opts.Log)
	b.Queue("select sum(queued)::bigint, sum(kib)::bigint from queue.counts").QueryRow(func(row pgx.Row) error {
		return row.Scan(&d.room.Queued, &d.room.KiB)
	})
	if err := t.send(ctx, b); err != nil {
		return nil, err
	}
	if len(d.damaged) > 0 { // triggers that equal these make new items, which need IDs
		b := t.batch()
		b.Queue(setDamaged, d.damaged)
		d.takeIDs(b, solo)
		if err := t.send(ctx, b); err != nil {
			return nil, err
		}
	}
	for _, r := range batch {
		if d.lanes[r.Job] == nil {
			delete(q.lanes, r.Job)
			return nil, fmt.Errorf("%w: %s", errNoLane, r.Job)
		}
		r.answer = d.decide(t, r)
	}
	return d.ids, d.write(t, func(b *pgx.Batch) { d.receipts.write(b, d.locked) })
}

// findEqual queues the statement that looks for items with the same parameters.
func (q *DB) findEqual(b *pgx.Batch, d *decision) {
	jobs, digests := identities(d.equal)
	b.Queue(`select i.id, i.job, i.digest, i.body::text from unnest($1::text[], $2::bytea[]) k(job, digest) cross join lateral
		(select id, job, digest, body from queue.items
			where job = k.job and digest = k.digest and not solo and not damaged limit 1) i`, jobs, digests).Query(func(rows pgx.Rows) error {
		var id int64
		var job, body string
		var digest []byte
		return forEach(rows, []any{&id, &job, &digest, &body}, func() error {
			it, err := decodeItem(id, job, body)
			if err != nil {
				q.setAside(d.locked, id, job, err)
				return nil
			}
			d.equal[equality{job, it.Digest}] = &item{Item: it}
			return nil
		})
	})
}

func identities(of map[equality]*item) (jobs []string, digests [][]byte) {
	for key := range of {
		jobs, digests = append(jobs, key.job), append(digests, key.digest[:])
	}
	return jobs, digests
}

// takeIDs queues the statement that takes one ID for each item that may be new.
func (d *decision) takeIDs(b *pgx.Batch, solo int) {
	jobs, digests := identities(d.equal)
	b.Queue(`select nextval('queue.item_ids') from (
			select from unnest($1::text[], $2::bytea[]) k(job, digest)
				where not exists (select from queue.items where job = k.job and digest = k.digest and not solo and not damaged)
			union all select from generate_series(1, $3)
			offset $4
		) missing`, jobs, digests, solo, len(d.ids)).Query(func(rows pgx.Rows) error {
		ids, err := column[int64](rows)
		d.ids = append(d.ids, ids...)
		return err
	})
}

// setDamaged marks items whose records cannot be read, so that they do not block others.
const setDamaged = "update queue.items set damaged = true where id = any($1)"

// setAside notes an item whose record cannot be read. The caller must send [setDamaged].
func (q *DB) setAside(l *locked, id int64, job string, err error) {
	q.opts.Log.Error("cannot read a queued item, which will not be built; cancel it",
		zap.Int64("id", id), zap.String("job", job), zap.Error(err))
	l.damaged = append(l.damaged, id)
}

// decide decides one trigger.
func (d *decision) decide(t *tx, r *request) answer {
	key := equality{r.Job, r.Digest}
	var found *queue.Item
	it := d.equal[key]
	if it != nil && !r.Solo {
		found = &it.Item
	}
	if len(d.ids) > 0 { // there is one for each item that may be new
		r.ID = d.ids[0]
	}
	change, err := d.receipts.schedule(r, d.lanes[r.Job].head, found, d.room)
	if err != nil {
		return answer{err: err}
	}
	if change.Created {
		d.ids = d.ids[1:]
		d.room.Queued++
		d.room.KiB += queue.KiB(change.Item.Values)
		it = &item{}
		if !r.Solo {
			d.equal[key] = it
		}
	}
	if change.Created || change.Item.Due.Before(found.Due) {
		t.wakeAt(change.Item.Due.UnixNano())
	}
	d.apply(change, it)
	return answer{item: *change.Item, created: change.Created}
}
