package pgqueue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// lease is the right of this server to run builds. The lock of the queue alone
// is not enough: it is gone as soon as the connection is, and the builds of a
// server that was cut off still run then.
type lease struct {
	// cut has a value when builds must be stopped.
	cut chan struct{}

	mu sync.Mutex
	// mu guards the following.
	epoch int64
	heard time.Time // when the last heartbeat that got through was sent
}

func (l *lease) get() (epoch int64, heard time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch, l.heard
}

func (l *lease) set(epoch int64, heard time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch, l.heard = epoch, heard
}

// CutOff has a value when this server must stop its builds, because another one
// may take over: the database was not reached for too long, or another server has
// the queue. What has ended is recorded when the database is back, if nobody else
// has recorded it as lost by then.
func (q *DB) CutOff() <-chan struct{} { return q.lease.cut }

func (q *DB) cutOff() {
	select {
	case q.lease.cut <- struct{}{}:
	default:
	}
}

// beatEvery is how often a server says that it is there.
func (q *DB) beatEvery() time.Duration { return min(q.opts.TTL/6, pingEvery) }

// beat says that this server is there. [errTaken] says that another one has
// taken over.
func (q *DB) beat(ctx context.Context, conn *pgx.Conn) error {
	epoch, _ := q.lease.get()
	sent := time.Now()
	tag, err := conn.Exec(ctx, "update servers set beat = clock_timestamp() where server = $1 and epoch = $2", q.opts.Server, epoch)
	if err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return errTaken
	}
	q.lease.set(epoch, sent)
	return nil
}

// errTaken says that another server has taken over in the meantime.
var errTaken = errors.New("another server has taken the queue over")

// renew makes sure, with the lock of the queue at hand, that the lease is this
// server's. [ErrLocked] says that another server may still run builds.
func (q *DB) renew(ctx context.Context, conn *pgx.Conn) error {
	if epoch, _ := q.lease.get(); epoch != 0 {
		if err := q.beat(ctx, conn); !errors.Is(err, errTaken) {
			return err
		}
		q.cutOff() // whoever it was has recorded our builds as lost
	}
	sent := time.Now()
	var epoch int64
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// A claim holds its own server's row, so none is half done after this.
		rows, err := tx.Query(ctx, `select server, released, ttl, extract(epoch from clock_timestamp() - beat)::float8
			from servers order by server for update`)
		if err != nil {
			return err
		}
		var server string
		var released bool
		var ttl, silent float64 // seconds
		_, err = pgx.ForEachRow(rows, []any{&server, &released, &ttl, &silent}, func() error {
			if server == q.opts.Server || released || silent > ttl {
				return nil
			}
			return fmt.Errorf("%w: %s was heard of %.0f s ago and may still run builds; it is given up after %.0f s",
				ErrLocked, server, silent, ttl)
		})
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "update servers set epoch = epoch + 1, released = true where server <> $1 and not released", q.opts.Server); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `insert into servers (server, epoch, beat, ttl, released) values ($1, 1, clock_timestamp(), $2, false)
			on conflict (server) do update set epoch = servers.epoch + 1, beat = excluded.beat, ttl = excluded.ttl, released = false
			returning epoch`, q.opts.Server, q.opts.TTL.Seconds()).Scan(&epoch)
	})
	if err != nil {
		return fmt.Errorf("take the lease: %w", err)
	}
	q.lease.set(epoch, sent)
	return nil
}

// release says that this server runs no builds any more.
func (q *DB) release(ctx context.Context, conn *pgx.Conn) {
	epoch, _ := q.lease.get()
	// If it does not get through, the others have to wait.
	_, _ = conn.Exec(ctx, "update servers set released = true where server = $1 and epoch = $2", q.opts.Server, epoch)
}

// fence queues the statement that keeps a server which was given up from
// starting anything. held says afterwards whether it was not.
func (q *DB) fence(b *pgx.Batch, held *bool) {
	epoch, _ := q.lease.get()
	b.Queue("select from servers where server = $1 and epoch = $2 for key share", q.opts.Server, epoch).Query(func(rows pgx.Rows) error {
		*held = rows.Next()
		rows.Close()
		return rows.Err()
	})
}

// watch has builds stopped in time when the database can't be reached. It ends
// with Close.
func (q *DB) watch() {
	limit := q.opts.TTL * 2 / 3 // the rest is for the builds to end
	said := false
	for {
		_, heard := q.lease.get()
		left := limit - time.Since(heard)
		switch {
		case left > 0:
			said = false
		case !said:
			q.opts.Log.Error("the database was not reached for too long: builds are stopped, because another server may take over")
			q.cutOff()
			said = true
			fallthrough
		default:
			left = limit
		}
		select {
		case <-time.After(left):
		case <-q.stop:
			return
		}
	}
}
