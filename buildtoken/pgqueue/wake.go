package pgqueue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"
)

const (
	// tellEvery is how often others are told at most.
	tellEvery = 2 * time.Millisecond
	// pollEvery is how often is looked without being told: a notice is lost
	// with the server that should have sent it.
	pollEvery = 15 * time.Second
	// pingEvery is how often a server says at least that it is there, and how
	// long it waits at its end to have said that it goes.
	pingEvery = 3 * time.Second
	// retryEvery is how often a lost connection is tried to make again.
	retryEvery = 500 * time.Millisecond
)

// errNoLock says that the connection which holds the lock of the queue is lost.
var errNoLock = errors.New("the lock of the queue is lost")

// hub gathers what others have to be told.
type hub struct {
	channel string
	self    string // who sends
	signal  chan struct{}

	mu sync.Mutex
	// mu guards the following.
	due int64 // the earliest instant; 0: nothing to tell
}

func newHub(schema string) hub {
	return hub{
		channel: "buildtoken " + schema,
		self:    strconv.FormatUint(rand.Uint64(), 36), //nolint:gosec // tells servers apart, and protects nothing
		signal:  make(chan struct{}, 1),
	}
}

// tell notes that others may have something to do at an instant.
func (h *hub) tell(due int64) {
	h.mu.Lock()
	if h.due == 0 || due < h.due {
		h.due = due
	}
	h.mu.Unlock()
	select {
	case h.signal <- struct{}{}:
	default:
	}
}

func (h *hub) take() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	due := h.due
	h.due = 0
	return due
}

// tell sends notices until Close. One that can't be sent is lost: the others
// look by themselves now and then.
func (q *DB) tell() {
	for {
		select {
		case <-q.hub.signal:
		case <-q.stop:
			return
		}
		if due := q.hub.take(); due != 0 {
			ctx, cancel := context.WithTimeout(context.Background(), q.opts.Timeout)
			_, err := q.pool.Exec(ctx, "select pg_notify($1, $2)", q.hub.channel, fmt.Sprint(q.hub.self, " ", due))
			cancel()
			if err != nil {
				q.opts.Log.Debug("other servers could not be told", zap.Error(err))
			}
		}
		select {
		case <-time.After(tellEvery):
		case <-q.stop:
			return
		}
	}
}

// guard makes the connection that listens, and that holds the lock of the
// queue. [ErrLocked] says that another server holds it.
func (q *DB) guard(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	config = config.Copy()
	// The database notices within 20 s that this server is gone.
	for name, value := range map[string]string{"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"} {
		config.RuntimeParams[name] = value
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("pgqueue: connect: %w", err)
	}
	// Of a server that has just ended the lock may still be there for a moment.
	_, err = conn.Exec(ctx, "select set_config('lock_timeout', $1, false)", fmt.Sprint(q.opts.LockTimeout.Milliseconds()))
	if err == nil {
		_, err = conn.Exec(ctx, "select pg_advisory_lock(hashtextextended($1, 0))", "buildtoken queue "+q.opts.Schema)
	}
	if err == nil {
		_, err = conn.Exec(ctx, "listen "+pgx.Identifier{q.hub.channel}.Sanitize())
	}
	if err == nil {
		err = q.renew(ctx, conn)
	}
	var refused *pgconn.PgError
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, ErrLocked):
	case errors.As(err, &refused) && refused.Code == "55P03": // lock_not_available
		err = fmt.Errorf("%w: schema %q", ErrLocked, q.opts.Schema)
	default:
		err = fmt.Errorf("pgqueue: lock: %w", err)
	}
	_ = conn.Close(ctx) // the error that counts is err
	return nil, err
}

// listen hears what others have to tell, makes a lost connection again, and
// looks without being told now and then. It ends with Close.
func (q *DB) listen(config *pgx.ConnConfig, conn *pgx.Conn) {
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
		q.owner.Store(false)
		_ = conn.Close(ctx) // it is lost
		q.opts.Log.Error("connection to the database was lost; nothing is accepted until it is back", zap.Error(err))
		if conn = q.regain(ctx, config); conn == nil {
			return
		}
		q.opts.Log.Info("connection to the database is back")
		q.owner.Store(true)
		q.change() // whatever was not heard
	}
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
		_, _ = conn.Exec(ctx, "select pg_advisory_unlock_all()") // if it is lost, so is the lock
	}
	_ = conn.Close(ctx) // nothing of it is needed any more
}

// regain makes the connection again. Nil means that ctx has ended.
func (q *DB) regain(ctx context.Context, config *pgx.ConnConfig) *pgx.Conn {
	said := ""
	for {
		try, cancel := context.WithTimeout(ctx, q.opts.Timeout)
		conn, err := q.guard(try, config)
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
		wait, cancel := context.WithDeadline(ctx, beat)
		notice, err := conn.WaitForNotification(wait)
		timedOut := wait.Err() != nil
		cancel()
		switch {
		case err == nil:
			if sender, _, ok := strings.Cut(notice.Payload, " "); ok && sender != q.hub.self {
				q.change()
			}
			if time.Now().Before(beat) {
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
		if err != nil {
			return err
		}
		beat = time.Now().Add(q.beatEvery())
		if time.Now().After(poll) {
			q.change()
			poll = time.Now().Add(pollEvery)
		}
	}
}
