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
	// pollEvery is how often is looked without being told: a notice is lost
	// with the server that should have sent it.
	pollEvery = 15 * time.Second
	// pingEvery is how often a server says at least that it is there, and how
	// long it waits at its end to have said that it goes.
	pingEvery = 3 * time.Second
	// retryEvery is how often a lost connection is tried to make again.
	retryEvery = 500 * time.Millisecond
)

// guard makes conn the connection that listens, and that holds the lock of the
// server's name. [ErrLocked] is returned when another server holds it.
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

// reconnect makes the connection that listens again.
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

// listen hears what others have to tell, makes a lost connection again, and
// looks without being told now and then. It ends with Close.
func (q *DB) listen(conn *pgx.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // ends with this function, or earlier
		select {
		case <-q.stop:
			cancel()
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
		q.opts.Log.Error("connection to the database that listens was lost", zap.Error(err))
		if conn = q.regain(ctx); conn == nil {
			return
		}
		q.opts.Log.Info("connection to the database is back")
		q.change() // whatever was not heard
		q.hub.pass(queue.Notice{All: true})
	}
}

// heed does what another server's message asks for, and says whether the servers
// are to be looked at.
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

// leave closes the connection, the last of all. If it can still be asked, the
// lock is free when leave returns, and not some time later.
func (q *DB) leave(conn *pgx.Conn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), pingEvery)
	defer cancel()
	if !conn.IsClosed() {
		q.release(ctx, conn)
		q.hub.tell(message{Servers: true})
		q.send(conn, pingEvery)
		_, _ = conn.Exec(ctx, "select pg_advisory_unlock_all()") // if it is lost, so is the lock
	}
	_ = conn.Close(ctx) // nothing of it is needed any more
}

// regain makes the connection again. Nil means that ctx has ended.
func (q *DB) regain(ctx context.Context) *pgx.Conn {
	said, taken := "", false
	for {
		// There may still be other connections, and the time runs.
		try, cancel := context.WithTimeout(ctx, q.opts.TTL/4)
		err := q.pool.AcquireFunc(try, func(conn *pgxpool.Conn) error { return q.beat(try, conn.Conn()) })
		cancel()
		switch {
		case err == nil:
			q.change() // nothing is heard meanwhile
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
			q.opts.Log.Error("connection to the database could not be made again; trying on", zap.Error(err))
			said = text
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return nil
		}
	}
}

// hear waits for notices, and says that this server is there, until the
// connection or the lease is lost or ctx ends.
func (q *DB) hear(ctx context.Context, conn *pgx.Conn) error {
	poll, beat := time.Now().Add(pollEvery), time.Now().Add(q.beatEvery())
	for {
		servers := false // whether others have said that the servers are not the same
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
