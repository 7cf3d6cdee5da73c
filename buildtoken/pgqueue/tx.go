package pgqueue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// maxTries is how often a transaction is tried that has failed before its commit
// because of a deadlock or a lost connection.
const maxTries = 4

// keepPlansFor is how long a connection uses the plans of statements for triggers.
const keepPlansFor = time.Second

// tx is one transaction. It consists of batches, whose statements share a round trip.
type tx struct {
	conn  *pgx.Conn
	names *names
	begun bool
	// id is that of the transaction, once [tx.identify] was sent.
	id txID
	// last is sent with the commit, in one round trip. It may be nil.
	last *pgx.Batch
	// tell is sent to other servers after the commit.
	tell message
	// notifies reports that the transaction adds notifications.
	notifies bool
}

// txID is the identity of a transaction. After a crash, or when a standby takes over, the
// database may use the number of a lost transaction again. The mark is different then.
type txID struct{ number, mark string }

// atOnce is before every due instant, and not 0.
const atOnce = math.MinInt64

// wakeAt records that a server may have something to start at an instant.
func (t *tx) wakeAt(at int64) {
	t.tell = t.tell.and(message{Due: at})
}

// batch returns an empty batch. The first one begins the transaction.
func (t *tx) batch() *pgx.Batch {
	b := new(pgx.Batch)
	if !t.begun {
		b.Queue("begin")
	}
	return b
}

// identify queues the statement that reads the identity of the transaction. With it, the
// outcome can be looked up even if the connection is lost.
func (t *tx) identify(b *pgx.Batch) {
	b.Queue("select pg_current_xact_id()::text, " + markSQL).QueryRow(func(row pgx.Row) error {
		return row.Scan(&t.id.number, &t.id.mark)
	})
}

// keepPlans makes the transaction use generic plans. By default the database plans our
// statements again each time, since a plan for one trigger looks cheaper than a generic
// one; but planning takes longer than the statements. A plan that was made while a table
// was empty must not be used for long.
func (t *tx) keepPlans(b *pgx.Batch) {
	of := t.conn.PgConn().CustomData()
	if made, ok := of["plans"].(time.Time); !ok || time.Since(made) > keepPlansFor {
		b.Queue("discard plans")
		of["plans"] = time.Now()
	}
	b.Queue("set local plan_cache_mode = force_generic_plan")
}

// send executes the statements of a batch, and then the functions that read their rows.
func (t *tx) send(ctx context.Context, b *pgx.Batch) error {
	t.begun = true
	return t.conn.SendBatch(ctx, t.names.inAll(b)).Close()
}

// commitError is returned when it is unknown whether a transaction is committed. It wraps
// the cause.
type commitError struct {
	id  txID
	err error
}

func (e *commitError) Error() string { return "commit: " + e.err.Error() }
func (e *commitError) Unwrap() error { return e.err }

// commit sends the last batch and commits the transaction, in one round trip: if a
// statement fails, the later ones, including the commit, are not executed. It returns a
// [commitError] if the transaction may be committed.
func (t *tx) commit(ctx context.Context) error {
	b := t.last
	if b == nil {
		b = t.batch()
	}
	var tag string
	b.Queue("commit").Exec(func(got pgconn.CommandTag) error {
		tag = got.String()
		return nil
	})
	err := t.send(ctx, b)
	var answer *pgconn.PgError
	switch {
	case err == nil && tag == "COMMIT":
		return nil
	case err == nil:
		return fmt.Errorf("commit: the answer is %s", tag) // a statement had failed, so it was rolled back
	case errors.As(err, &answer) && answer.SeverityUnlocalized == "ERROR":
		return err // it could have committed, and did not
	case !t.conn.IsClosed() && t.conn.PgConn().TxStatus() != 'I':
		return err // the transaction is still open
	case t.id == txID{}:
		return err // whatever was written may be written twice
	default:
		return &commitError{t.id, err}
	}
}

// decide runs a transaction, repeats it after transient failures, and returns when its
// outcome is known or cannot be looked up. The end of ctx does not interrupt it, since
// the outcome would be unknown.
func (q *DB) decide(ctx context.Context, what func(context.Context, *tx) error) error {
	if err := q.ask(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), q.opts.Timeout)
	defer cancel()
	for try := 1; ; try++ {
		err := q.once(ctx, what)
		switch {
		case err == nil || isAnswer(err):
			return err
		case again(err) && try < maxTries && ctx.Err() == nil:
			q.opts.Log.Debug("trying a transaction again", zap.Error(err))
		default:
			return fmt.Errorf("%w: %w", queue.ErrStorage, err)
		}
	}
}

// ask returns an error if ctx has ended or the queue is closed.
func (q *DB) ask(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("pgqueue: %w", context.Cause(ctx))
	}
	select {
	case <-q.stop:
		return queue.ErrClosed
	default:
		return nil
	}
}

// once runs a transaction once.
func (q *DB) once(ctx context.Context, what func(context.Context, *tx) error) error {
	conn, err := q.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Release() // closes a connection that is not as it should be
	t := &tx{conn: conn.Conn(), names: q.names}
	if err = what(ctx, t); err == nil {
		err = t.commit(ctx)
	}
	var unknown *commitError
	switch {
	case errors.As(err, &unknown):
		q.pool.Reset() // the others are as old as this one
		conn.Release() // the look-up needs a connection, and the pool may be full
		err = q.resolve(ctx, unknown)
	case err != nil && isLost(err):
		q.pool.Reset()
	case err != nil && t.begun:
		_, _ = t.conn.Exec(ctx, "rollback") // the error that counts is err
	}
	if err != nil {
		return err
	}
	if t.tell.Due != 0 {
		q.change()
	}
	if t.notifies {
		q.notify()
	}
	if t.tell.Servers || t.last != nil && t.id != (txID{}) {
		q.hub.tell(t.tell)
	}
	return nil
}

// errUnknown is returned when the outcome of a transaction could not be looked up.
var errUnknown = errors.New("it is not known whether the change was made")

// resolve looks up the outcome of a transaction whose commit was not answered. It returns
// nil if the transaction is committed.
func (q *DB) resolve(ctx context.Context, lost *commitError) error {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, retryEvery) {
		status, err := q.status(ctx, lost.id)
		switch {
		case err == nil && status == "committed":
			q.opts.Log.Info("connection was lost during a commit, which has succeeded", zap.Error(lost.err))
			return nil
		case err == nil && status == "aborted":
			return fmt.Errorf("commit was not made: %w", lost.err)
		case err == nil && status != "in progress":
			return fmt.Errorf("%w: %w", errUnknown, lost)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", errUnknown, errors.Join(lost, err))
		}
	}
}

// status returns the outcome of a transaction, as the database has recorded it.
func (q *DB) status(ctx context.Context, id txID) (string, error) {
	conn, err := q.pool.Acquire(ctx)
	if err != nil {
		return "", fmt.Errorf("connect: %w", err)
	}
	defer conn.Release()
	var status *string
	var mark string
	err = conn.QueryRow(ctx, "select pg_xact_status($1::text::xid8), "+q.names.in(markSQL), id.number).Scan(&status, &mark)
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused) && refused.Code == "22023": // the number is not in use: our transaction was lost
		return "aborted", nil
	case err != nil:
		return "", fmt.Errorf("status of transaction: %w", err)
	case status == nil, *status != "aborted" && (mark == "" || mark != id.mark):
		return "unknown", nil // the number may belong to another transaction now
	}
	return *status, nil
}

const (
	// markSQL reads the mark, which changes whenever the database may have lost a
	// transaction.
	markSQL = "coalesce((select mark::text from queue.incarnations), '')"
	// makeMark creates the mark if there is none, and changes it if the database was started
	// since: an older copy of its files may have been put back. Every connection does it first.
	// It also renews all leases, because the last heartbeats may be lost.
	makeMark = `with made as (insert into queue.incarnations default values on conflict do nothing returning one),
			changed as (update queue.incarnations set mark = gen_random_uuid(), started = pg_postmaster_start_time()
				where started <> pg_postmaster_start_time() returning one)
		update queue.servers set beat = clock_timestamp() where not released and exists (select from made union all select from changed)`
)

// isAnswer reports whether an error is an answer of the queue's rules, and not a failure
// of the database.
func isAnswer(err error) bool {
	return slices.ContainsFunc([]error{queue.ErrFull, queue.ErrNotFound, queue.ErrLeft, queue.ErrNotRunning, queue.ErrInUse, queue.ErrClosed, ErrKey}, func(known error) bool {
		return errors.Is(err, known)
	})
}

// again reports whether to repeat a transaction that is not committed.
func again(err error) bool {
	if errors.Is(err, errUnknown) {
		return false
	}
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return answer.Code == "40P01" || answer.Code == "40001" || answer.SeverityUnlocalized != "ERROR"
	}
	return isLost(err)
}

// isLost reports whether a connection was lost.
func isLost(err error) bool {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return answer.SeverityUnlocalized != "ERROR"
	}
	var refused *pgconn.ConnectError
	return !isAnswer(err) && !errors.As(err, &refused) && !errors.Is(err, errRecord) && !errors.Is(err, errTaken) && !errors.Is(err, errNoLane) && !errors.Is(err, errUnheard)
}
