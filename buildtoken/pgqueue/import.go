package pgqueue

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// ErrNotEmpty is returned for a schema that already holds a queue.
var ErrNotEmpty = errors.New("pgqueue: schema is not empty")

// Imported counts what [Import] has copied.
type Imported struct {
	Jobs, Items, Builds, Cancelled, Receipts int
	// Running counts the builds that were running on record. The first server that
	// opens the queue ends them as lost.
	Running int
	// Identity is the identity of the queue ([DB.Identity]).
	Identity string
	// Logs and Files are counts, LogBytes is the size of all logs.
	Logs, Files int
	LogBytes    int64
}

// Import writes the records of another queue, its logs and its files into a schema that
// holds no queue. It creates or updates the tables as [Open] does. All of it is one
// transaction, so after an error nothing has changed. Servers that open the queue
// meanwhile wait until their timeout; if a server has it open, Import returns
// [ErrInUse]. Memory grows with the number of jobs and builds, not with the size of
// the contents. ctx bounds the import; Options.Timeout does not.
//
// Builds that run on record are assigned to Options.Server, which ends them when it starts.
func Import(ctx context.Context, opts Options, from queue.Records, beside Contents) (Imported, error) {
	opts.setDefaults()
	names := newNames(opts.Schema)
	conn, err := opts.connect(ctx)
	if err != nil {
		return Imported{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // committed or not, it is not needed any more
	if _, err := conn.Exec(ctx, listenerSettings); err != nil {
		return Imported{}, fmt.Errorf("pgqueue: connect: %w", err)
	}
	if err := usable(ctx, conn); err != nil {
		return Imported{}, err
	}
	i := importer{names: names, schema: opts.Schema, server: opts.Server, lanes: map[string]*imported{}, nextID: from.NextID, lastNotification: from.LastNotification}
	done := false
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := update(ctx, tx, names, opts.Schema, migrations); err != nil {
			return err
		}
		i.tx = tx
		err := i.all(ctx, from, beside)
		if err == nil {
			err = tx.QueryRow(ctx, names.in("select id::text from queue.identity")).Scan(&i.sum.Identity)
		}
		done = err == nil
		return err
	})
	switch {
	case err == nil:
		return i.sum, nil
	case done:
		// Another attempt shows the outcome: it is refused if this one succeeded.
		return Imported{}, fmt.Errorf("pgqueue: import into schema %q: %w: commit: %w", opts.Schema, errUnknown, err)
	}
	return Imported{}, fmt.Errorf("pgqueue: import into schema %q: %w", opts.Schema, err)
}

// importer is one import.
type importer struct {
	tx     pgx.Tx
	names  *names
	schema string
	server string
	lanes  map[string]*imported
	nextID int64
	// lastNotification is the highest ID of a notification.
	lastNotification int64
	kib              int
	sum              Imported
	// refs are the references of the imported items, logs the logs of all builds.
	refs []string
	logs []log
}

// imported is a lane, with the records of it that were read so far.
type imported struct {
	head             queue.Lane
	queued           int
	first            queue.Item // the one that is due first; only ID and Due
	running          []int64
	highest          int64 // of all builds
	ended, cancelled int
	receipts         int
}

func (i *importer) all(ctx context.Context, from queue.Records, beside Contents) error {
	if err := i.reserve(ctx); err != nil {
		return err
	}
	for head, err := range from.Lanes {
		if err != nil {
			return err
		}
		if err := checkJob(head.Job); err != nil {
			return fmt.Errorf("lane of %q: %w", head.Job, err)
		}
		i.lanes[head.Job] = &imported{head: head}
	}
	i.sum.Jobs = len(i.lanes)
	_, err := i.tx.Exec(ctx, "set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0")
	if err != nil {
		return err
	}
	err = cp(ctx, i, "items", []string{"id", "job", "due", "digest", "solo", "files", "kib", "body"}, from.Items, i.item)
	if err != nil {
		return err
	}
	err = cp(ctx, i, "builds", []string{"job", "number", "item", "node", "server", "running", "wished", "files", "body"}, from.Builds, i.build)
	if err != nil {
		return err
	}
	if err := cp(ctx, i, "cancelled", []string{"item", "job", "body"}, from.Cancelled, i.gone); err != nil {
		return err
	}
	if err := cp(ctx, i, "receipts", []string{"job", "key", "until", "body"}, from.Receipts, i.receipt); err != nil {
		return err
	}
	if err := cp(ctx, i, "lanes", []string{"job", "head", "next", "next_id", "label"}, whole(maps.Values(i.lanes)), i.lane); err != nil {
		return err
	}
	if err := cp(ctx, i, "token_uses", []string{"server", "place", "name", "last", "body"}, from.TokenUses, tokenUseRow(i.server)); err != nil {
		return err
	}
	if err := cp(ctx, i, "summaries", []string{"job", "body"}, from.Summaries, summaryRow); err != nil {
		return err
	}
	if err := cp(ctx, i, "notifications", columns(notificationColumns), from.Notifications, notificationRow); err != nil {
		return err
	}
	if err := i.contents(ctx, beside); err != nil {
		return err
	}
	return i.finish(ctx)
}

// reserve makes sure that the schema is empty and that no server uses it, until the end
// of the transaction.
func (i *importer) reserve(ctx context.Context) error {
	if err := idle(ctx, i.tx, i.names); err != nil {
		return err
	}
	// A server that only hung and comes back finds that it has lost its lease.
	if _, err := i.tx.Exec(ctx, i.names.in("update queue.servers set epoch = epoch + 1, released = true where not released")); err != nil {
		return err
	}
	var full []string
	for _, table := range []string{"items", "builds", "cancelled", "receipts", "summaries", "notifications", "token_uses", "lanes"} {
		var some bool
		if err := i.tx.QueryRow(ctx, i.names.in("select exists (select from queue."+table+")")).Scan(&some); err != nil {
			return err
		}
		if some {
			full = append(full, table)
		}
	}
	if len(full) > 0 {
		return fmt.Errorf("%w: there is something in its tables %s", ErrNotEmpty, strings.Join(full, ", "))
	}
	return nil
}

// of returns the lane that a record belongs to.
func (i *importer) of(job, what string, id int64) (*imported, error) {
	if l := i.lanes[job]; l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("%w: %s %d of %q, which has no lane", errRecord, what, id, job)
}

func (i *importer) item(it queue.Item) ([]any, error) {
	l, err := i.of(it.Job, "item", it.ID)
	if err != nil {
		return nil, err
	}
	if l.queued++; l.queued == 1 || compareItems(it, l.first) < 0 {
		l.first = queue.Item{ID: it.ID, Due: it.Due}
	}
	files, kib := hasFiles(it), queue.KiB(it.Values)
	i.remember(it)
	i.kib += kib
	i.sum.Items++
	i.nextID = max(i.nextID, it.ID+1)
	body, err := encode(it)
	return []any{it.ID, it.Job, it.Due.UnixNano(), it.Digest[:], it.Solo, files, kib, body}, err
}

func (i *importer) build(b queue.Build) ([]any, error) {
	l, err := i.of(b.Item.Job, "build", b.Number)
	if err != nil {
		return nil, err
	}
	server := "" // it has ended
	if b.Running() {
		server = i.server
		l.running = append(l.running, b.Number)
		i.sum.Running++
		b.Node = i.server
	} else {
		l.ended++
	}
	l.highest = max(l.highest, b.Number)
	i.logs = append(i.logs, log{job: b.Item.Job, number: b.Number, complete: !b.Running()})
	i.sum.Builds++
	i.nextID = max(i.nextID, b.Item.ID+1)
	body, err := encode(b)
	return []any{b.Item.Job, b.Number, b.Item.ID, b.Node, server, b.Running(), b.Abort != "", hasFiles(b.Item), body}, err
}

func (i *importer) gone(c queue.Cancelled) ([]any, error) {
	l, err := i.of(c.Item.Job, "cancelled item", c.Item.ID)
	if err != nil {
		return nil, err
	}
	l.cancelled++
	i.sum.Cancelled++
	i.nextID = max(i.nextID, c.Item.ID+1)
	body, err := encode(c)
	return []any{c.Item.ID, c.Item.Job, body}, err
}

func (i *importer) receipt(r queue.JobReceipt) ([]any, error) {
	l, err := i.of(r.Job, "receipt for item", r.Item)
	if err != nil {
		return nil, err
	}
	l.receipts++
	i.sum.Receipts++
	i.nextID = max(i.nextID, r.Item+1)
	body, err := encode(r.Receipt)
	return []any{r.Job, r.Key[:], r.Until.UnixNano(), body}, err
}

// whole yields records without an error.
func whole[T any](records iter.Seq[T]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		records(func(r T) bool { return yield(r, nil) })
	}
}

func (i *importer) lane(l *imported) ([]any, error) {
	slices.Sort(l.running)
	switch {
	case l.head.Queued != l.queued:
		return nil, fmt.Errorf("%w: lane of %q counts %d items, there are %d", errRecord, l.head.Job, l.head.Queued, l.queued)
	case !slices.Equal(l.head.Running, l.running):
		return nil, fmt.Errorf("%w: lane of %q says that builds %v run, their records say %v", errRecord, l.head.Job, l.head.Running, l.running)
	}
	// A damaged record that is gone may still be counted.
	l.head.Kept, l.head.KeptCancelled, l.head.Receipts = l.ended, l.cancelled, l.receipts
	l.head.LastNumber = max(l.head.LastNumber, l.highest)
	var next, nextID *int64
	if l.queued > 0 {
		next, nextID = ns(queue.Next(l.head, l.first.Due)), &l.first.ID
	}
	head, err := encode(l.head)
	return []any{l.head.Job, head, next, nextID, l.head.Place()}, err
}

// finish writes the counts and sets the sequences of IDs.
func (i *importer) finish(ctx context.Context) error {
	b := new(pgx.Batch)
	b.Queue("update queue.counts set queued = $1, kib = $2 where part = 0", i.sum.Items, i.kib)
	if i.nextID > 1 {
		// A server that used the schema before may have taken some.
		b.Queue("select setval('queue.item_ids', greatest(last_value, $1)) from queue.item_ids", i.nextID-1)
	}
	b.Queue("select setval('queue.notification_ids', greatest($1, 1), $1 > 0)", i.lastNotification)
	b.Queue("analyze queue.items, queue.builds, queue.cancelled, queue.receipts, queue.summaries, queue.notifications, queue.token_uses, queue.lanes, queue.logs, queue.pieces, queue.uploads")
	return i.tx.SendBatch(ctx, i.names.inAll(b)).Close()
}

// cp copies records into a table, one at a time.
func cp[T any](ctx context.Context, i *importer, table string, columns []string, from iter.Seq2[T, error], row func(T) ([]any, error)) error {
	if from == nil {
		return nil
	}
	next, stop := iter.Pull2(from)
	defer stop()
	var stopped error
	_, err := i.tx.CopyFrom(ctx, pgx.Identifier{i.schema, table}, columns, pgx.CopyFromFunc(func() (values []any, err error) {
		record, err, more := next()
		if err == nil && more {
			values, err = row(record)
		}
		stopped = err
		return values, err
	}))
	if stopped != nil {
		err = stopped // the database only repeats it
	}
	var refused *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && refused.Detail != "": // which names the record
		return fmt.Errorf("%s: %w: %s", table, err, refused.Detail)
	}
	return fmt.Errorf("%s: %w", table, err)
}
