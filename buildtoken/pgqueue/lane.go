package pgqueue

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// lane is a lane whose row is locked by this transaction.
type lane struct {
	head queue.Lane
	// first is when its first item is due; zero: there is none.
	first time.Time
}

// locked holds the lanes that a transaction has locked, by job, and its changes.
type locked struct {
	lanes map[string]*lane
	// Pending changes.
	touched   map[string]bool
	created   []*item
	changed   []*item
	left      []int64
	builds    []queue.Build
	cancelled []queue.Cancelled
	trims     []trim
	damaged   []int64
	summaries []queue.Summary
	notify    []queue.Notification
	// broken is the first record that could not be encoded.
	broken error

	// Columns of the records of builds.
	server string
	epoch  int64
	runs   map[buildKey]int64
	ending
}

// item is a queued item of a locked lane.
type item struct {
	queue.Item
	// isNew and isChanged report in which list it already is.
	isNew, isChanged bool
}

// trim is how many of the oldest records of a job are dropped.
type trim struct {
	job               string
	builds, cancelled int
}

func newLocked() *locked {
	return &locked{lanes: map[string]*lane{}, touched: map[string]bool{}}
}

// lock queues the statements that lock the lanes of some jobs and read them.
// Jobs without a row are not among the lanes then.
func (l *locked) lock(t *tx, b *pgx.Batch, jobs []string) {
	// All transactions lock lanes in the order of their names.
	b.Queue("select job, head::text from queue.lanes where job = any($1) order by job for update", jobs).Query(func(rows pgx.Rows) error {
		return l.read(rows)
	})
	b.Queue(`select k.job, i.due from unnest($1::text[]) k(job) cross join lateral
		(select due from queue.items where job = k.job and not damaged order by due, id limit 1) i`, jobs).Query(func(rows pgx.Rows) error {
		var job string
		var due int64
		return forEach(rows, []any{&job, &due}, func() error {
			if found := l.lanes[job]; found != nil {
				found.first = at(due)
			}
			return nil
		})
	})
	t.identify(b)
}

func (l *locked) read(rows pgx.Rows) error {
	var job, head string
	return forEach(rows, []any{&job, &head}, func() error {
		h, err := decode[queue.Lane](head, "lane "+job)
		if err != nil {
			return err
		}
		l.lanes[job] = &lane{head: h}
		return nil
	})
}

// apply adds a change of one of the lanes to the pending changes. it is the item that
// the change is about, if it is queued after the change.
func (l *locked) apply(c queue.Change, it *item) {
	job := c.Lane.Job
	l.lanes[job].head = c.Lane
	l.touched[job] = true
	if c.Item != nil {
		l.applyItem(c, it)
	}
	if c.Left != 0 {
		l.left = append(l.left, c.Left)
	}
	if c.Build != nil {
		l.builds = append(l.builds, *c.Build)
	}
	if c.Cancelled != nil {
		l.cancelled = append(l.cancelled, *c.Cancelled)
	}
	if c.Summary != nil {
		l.summaries = append(l.summaries, *c.Summary)
	}
	l.notify = append(l.notify, c.Notifications...)
	if c.Trim > 0 || c.TrimCancelled > 0 {
		l.trims = append(l.trims, trim{job, c.Trim, c.TrimCancelled})
	}
}

func (l *locked) applyItem(c queue.Change, it *item) {
	it.Item = *c.Item
	switch {
	case c.Created:
		it.isNew = true
		l.created = append(l.created, it)
	case !it.isNew && !it.isChanged:
		it.isChanged = true
		l.changed = append(l.changed, it)
	}
	if first := &l.lanes[c.Lane.Job].first; first.IsZero() || it.Due.Before(*first) {
		*first = it.Due
	}
}

// errNobody reports a bug: without an identity, the outcome of a commit that is not
// answered could not be looked up.
var errNobody = errors.New("pgqueue: a transaction does not know who it is")

// write adds the pending changes to the batch of the commit, and then the statements of
// more. The transaction must have been identified ([tx.identify]).
func (l *locked) write(t *tx, more ...func(*pgx.Batch)) error {
	b := t.batch()
	steps := []func(*pgx.Batch){
		l.writeCreated, l.writeChanged, l.writeLeft, l.writeBuilds, l.writeLogs, l.writeCancelled, l.writeFiles,
		l.writeTrims, l.writeSummaries, l.writeNotifications, l.writeLanes,
	}
	for _, step := range append(steps, more...) {
		step(b)
	}
	if l.broken != nil {
		return l.broken
	}
	if b.Len() == 0 {
		return nil
	}
	if t.id == (txID{}) {
		return errNobody
	}
	t.tell.Notice = t.tell.Merge(l.notice())
	t.notifies = len(l.notify) > 0
	t.last = b
	return nil
}

// encode returns the text of a record, for the steps of write.
func (l *locked) encode(record any) string {
	body, err := encode(record)
	if l.broken == nil {
		l.broken = err
	}
	return body
}

// notice returns the notification of other servers about the changes.
func (l *locked) notice() (n queue.Notice) {
	for _, build := range l.builds {
		n.Items, n.Jobs = append(n.Items, build.Item.ID), append(n.Jobs, build.Item.Job)
	}
	for _, gone := range l.cancelled {
		n.Items = append(n.Items, gone.Item.ID)
	}
	return n
}

// countSQL adds to the count of queued items and to the size of their parameters. It
// comes after the locks of all lanes, so it is never held while waiting for a lane.
const countSQL = "update queue.counts set queued = queued + $1, kib = kib + $2 where part = pg_backend_pid() % 16"

func (l *locked) writeCreated(b *pgx.Batch) {
	if len(l.created) == 0 {
		return
	}
	var jobs, bodies []string
	var ids, dues []int64
	var digests [][]byte
	var solos, files []bool
	var kibs []int
	kib := 0
	for _, it := range l.created {
		kibs = append(kibs, queue.KiB(it.Values))
		kib += queue.KiB(it.Values)
		ids, jobs, bodies, dues = append(ids, it.ID), append(jobs, it.Job), append(bodies, l.encode(it.Item)), append(dues, it.Due.UnixNano())
		digests, solos, files = append(digests, it.Digest[:]), append(solos, it.Solo), append(files, hasFiles(it.Item))
	}
	b.Queue(`insert into queue.items (id, job, due, digest, solo, files, kib, body)
		select id, job, due, digest, solo, files, kib, body::json
		from unnest($1::bigint[], $2::text[], $3::bigint[], $4::bytea[], $5::boolean[], $6::boolean[], $7::int[], $8::text[])
			k(id, job, due, digest, solo, files, kib, body)`, ids, jobs, dues, digests, solos, files, kibs, bodies)
	b.Queue(countSQL, len(ids), kib)
}

func (l *locked) writeChanged(b *pgx.Batch) {
	var ids, dues []int64
	var bodies []string
	for _, it := range l.changed {
		ids, dues, bodies = append(ids, it.ID), append(dues, it.Due.UnixNano()), append(bodies, l.encode(it.Item))
	}
	if len(ids) > 0 {
		b.Queue(`update queue.items set due = k.due, body = k.body::json
			from unnest($1::bigint[], $2::bigint[], $3::text[]) k(id, due, body) where items.id = k.id`, ids, dues, bodies)
	}
}

func (l *locked) writeLeft(b *pgx.Batch) {
	if len(l.left) > 0 {
		b.Queue(`with gone as (delete from queue.items where id = any($1) returning kib),
			sum as (select count(*) as items, coalesce(sum(kib), 0) as kib from gone)
			update queue.counts set queued = queued - sum.items, kib = counts.kib - sum.kib from sum where part = pg_backend_pid() % 16`, l.left)
	}
}

func (l *locked) writeBuilds(b *pgx.Batch) {
	for _, build := range l.builds {
		b.Queue(`insert into queue.builds (job, number, item, node, running, wished, files, server, epoch, run, orphan, body)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::text::json)
			on conflict (job, number) do update set node = excluded.node, running = excluded.running, wished = excluded.wished, orphan = excluded.orphan, body = excluded.body`,
			build.Item.Job, build.Number, build.Item.ID, build.Node, build.Running(), build.Abort != "", hasFiles(build.Item), l.server, l.epoch, l.runs[keyOf(build)], l.orphan, l.encode(build))
	}
}

func (l *locked) writeCancelled(b *pgx.Batch) {
	for _, gone := range l.cancelled {
		b.Queue("insert into queue.cancelled (item, job, body) values ($1, $2, $3::text::json)", gone.Item.ID, gone.Item.Job, l.encode(gone))
	}
}

// writeTrims drops the oldest records of jobs. The URLs of their items stop working.
func (l *locked) writeTrims(b *pgx.Batch) {
	for _, drop := range l.trims {
		if drop.builds > 0 {
			b.Queue(`delete from queue.builds where job = $1 and number in
				(select number from queue.builds where job = $1 and not running order by number limit $2)`, drop.job, drop.builds)
		}
		if drop.cancelled > 0 {
			b.Queue(`delete from queue.cancelled where item in
				(select item from queue.cancelled where job = $1 order by item limit $2)`, drop.job, drop.cancelled)
		}
	}
}

// writeLanes comes after the items, since it reads them.
func (l *locked) writeLanes(b *pgx.Batch) {
	var heads, labels []string
	var nexts []*int64
	jobs := slices.Sorted(maps.Keys(l.touched))
	for _, job := range jobs {
		heads, labels = append(heads, l.encode(l.lanes[job].head)), append(labels, l.lanes[job].head.Place())
		nexts = append(nexts, ns(queue.Next(l.lanes[job].head, l.lanes[job].first)))
	}
	if len(jobs) > 0 {
		b.Queue(`update queue.lanes set head = k.head::json, label = k.label, next = k.next, next_id =
				(select id from queue.items where job = k.job and not damaged order by due, id limit 1)
			from unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) k(job, head, label, next) where lanes.job = k.job`,
			jobs, heads, labels, nexts)
	}
}

// compareItems orders items by their due time, then by their ID.
func compareItems(a, b queue.Item) int {
	return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.ID, b.ID))
}
