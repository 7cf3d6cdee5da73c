package pgqueue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

const (
	// pollEvery is the interval between checks without a notification, which may be lost
	// with the server that should have sent it.
	pollEvery = 15 * time.Second
	// pingEvery is the longest interval between heartbeats, and how long a server waits at
	// its end for the release of its lease.
	pingEvery = 3 * time.Second
	// retryEvery is the interval between attempts to restore a lost connection.
	retryEvery = 500 * time.Millisecond
)

// guard makes conn the connection that listens and holds the lock of the server's name.
// It returns [ErrLocked] if another server holds the lock.
func (q *DB) guard(ctx context.Context, conn *pgx.Conn) error {
	if err := q.admit(ctx, conn); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, listenerSettings)
	if err == nil {
		// The lock of a server that has just ended may still be there for a moment.
		_, err = conn.Exec(ctx, "select set_config('lock_timeout', $1, false)", fmt.Sprint(q.opts.LockTimeout.Milliseconds()))
	}
	if err == nil {
		_, err = conn.Exec(ctx, "select pg_advisory_lock(hashtextextended($1, 0))", fmt.Sprintf("buildtoken server %q %q", q.opts.Schema, q.opts.Server))
		if isLocked(err) {
			return fmt.Errorf("%w: %q in schema %q", ErrLocked, q.opts.Server, q.opts.Schema)
		}
	}
	if err == nil {
		_, err = conn.Exec(ctx, "select set_config('lock_timeout', $1, false)", q.beatTimeout())
	}
	if err == nil {
		_, err = conn.Exec(ctx, "listen "+pgx.Identifier{q.hub.channel}.Sanitize())
	}
	if err == nil {
		err = q.renew(ctx, conn)
	}
	if err != nil {
		return fmt.Errorf("pgqueue: lock: %w", err)
	}
	return nil
}

// reconnect restores the connection that listens.
func (q *DB) reconnect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := q.opts.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := q.guard(ctx, conn); err != nil {
		_ = conn.Close(ctx) // the error that counts is err
		return nil, err
	}
	return conn, nil
}

// listen receives notifications, restores a lost connection, and checks for changes
// without a notification now and then. It ends with Close.
func (q *DB) listen(conn *pgx.Conn) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { // ends with this function, or earlier
		select {
		case <-q.stop:
			stop()
		case <-ctx.Done():
		}
	}()
	for {
		err := q.hear(ctx, conn)
		if ctx.Err() != nil {
			q.guarding = conn
			return
		}
		_ = conn.Close(ctx) // it is lost
		q.opts.Log.Error("connection that listens to the database was lost", zap.Error(err))
		if conn = q.regain(ctx); conn == nil {
			return
		}
		q.opts.Log.Info("connection to the database is back")
		q.change() // notifications may have been missed
		q.hub.pass(queue.Notice{All: true})
	}
}

// heed handles a notification of another server, and reports whether the servers have
// changed.
func (q *DB) heed(payload string) (servers bool) {
	var m message
	if err := json.Unmarshal([]byte(payload), &m); err != nil {
		m = message{Due: atOnce, Servers: true, Notice: queue.Notice{All: true}} // of another version
	}
	if m.From == q.hub.self {
		return false
	}
	if m.Due != 0 {
		q.change()
		m.Queued = true
	}
	q.hub.pass(m.Notice)
	return m.Servers
}

// leave releases the lease and closes the connection, the last of all. If the connection
// still works, the lock is free when leave returns.
func (q *DB) leave(conn *pgx.Conn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), pingEvery)
	defer cancel()
	if conn.IsClosed() { // Close has interrupted a heartbeat, and the lock went with it
		var err error
		if conn, err = q.opts.connect(ctx); err != nil {
			return // the lease expires
		}
	}
	q.release(ctx, conn)
	q.hub.tell(message{Servers: true})
	q.send(conn, pingEvery)
	_, _ = conn.Exec(ctx, "select pg_advisory_unlock_all()") // if it is lost, so is the lock
	_ = conn.Close(ctx)                                      // nothing of it is needed any more
}

// regain restores the connection that listens. It returns nil if ctx has ended.
func (q *DB) regain(ctx context.Context) *pgx.Conn {
	said, taken := "", false
	for {
		// The pool may still have connections, and the lease must be renewed.
		try, cancel := context.WithTimeout(ctx, q.opts.TTL/4)
		err := q.pool.AcquireFunc(try, func(conn *pgxpool.Conn) error { return q.beat(try, conn.Conn()) })
		cancel()
		switch {
		case err == nil:
			q.change() // no notifications are received meanwhile
		case errors.Is(err, errTaken) && !taken:
			taken = true
			q.cutOff()
		}
		try, cancel = context.WithTimeout(ctx, q.opts.Timeout)
		conn, err := q.reconnect(try)
		cancel()
		if err == nil {
			return conn
		}
		if text := err.Error(); text != said && ctx.Err() == nil {
			q.opts.Log.Error("cannot connect to the database again; trying again", zap.Error(err))
			said = text
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return nil
		}
	}
}

// hear receives notifications and renews the lease, until the connection or the lease is
// lost or ctx ends.
func (q *DB) hear(ctx context.Context, conn *pgx.Conn) error {
	poll, beat := time.Now().Add(pollEvery), time.Now().Add(q.beatEvery())
	for {
		var servers bool // whether the servers have changed
		wait, cancel := context.WithDeadline(ctx, beat)
		notice, err := conn.WaitForNotification(wait)
		timedOut := wait.Err() != nil
		cancel()
		switch {
		case err == nil:
			servers = q.heed(notice.Payload)
			if !servers && time.Now().Before(beat) {
				continue
			}
		case ctx.Err() != nil:
			return ctx.Err()
		case !timedOut || conn.IsClosed():
			return err
		}
		try, cancel := context.WithTimeout(ctx, q.opts.TTL/4)
		err = q.beat(try, conn)
		cancel()
		if isLocked(err) && q.stillLeased(ctx, conn) {
			continue
		}
		if err != nil {
			return err
		}
		beat = time.Now().Add(q.beatEvery())
		if servers {
			q.hub.pass(queue.Notice{All: true})
		}
		if time.Now().After(poll) {
			q.change()
			poll = time.Now().Add(pollEvery)
		}
	}
}
