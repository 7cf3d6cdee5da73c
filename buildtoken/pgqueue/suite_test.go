package pgqueue_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap/zaptest"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
	"github.com/buildtoken/buildtoken/internal/queuetest"
)

func TestQueue(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Store { return newStore(t) })
}

// store is a schema that contains a queue.
type store struct{ url, schema string }

func newStore(t testing.TB) store {
	t.Helper()
	url := pgtest.URL(t)
	return store{url, pgtest.Schema(t, url)}
}

// untilBlocked waits until n statements like a pattern wait for a lock of conn.
func untilBlocked(t *testing.T, s store, conn *pgx.Conn, n int, pattern string) {
	t.Helper()
	look := pgtest.Connect(t, s.url)
	for late, blocked := time.Now().Add(patience), 0; blocked < n; {
		if err := look.QueryRow(t.Context(), "select count(*) from pg_stat_activity where $1::int = any(pg_blocking_pids(pid)) and query like $2",
			conn.PgConn().PID(), pattern).Scan(&blocked); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(late) {
			t.Fatalf("%d statements like %s wait for the lock, want %d", blocked, pattern, n)
		}
	}
}

// sendHeartbeats tells all servers of a store that one of them has changed. Each then sends a heartbeat.
func sendHeartbeats(t *testing.T, s store) {
	t.Helper()
	_, err := pgtest.Connect(t, s.url).Exec(t.Context(), "select pg_notify($1, $2)", "buildtoken "+s.schema, `{"from":"other","servers":true}`)
	if err != nil {
		t.Fatal(err)
	}
}

// untilLogged waits until a message was logged with an error in which a text stands.
func untilLogged(t *testing.T, logged *observer.ObservedLogs, message, text string) {
	t.Helper()
	for late := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // a log is no event that it could wait for
		for _, line := range logged.FilterMessage(message).All() {
			if strings.Contains(fmt.Sprint(line.ContextMap()["error"]), text) {
				return
			}
		}
		if time.Now().After(late) {
			t.Fatalf("%q with %q was not logged: %v", message, text, logged.All())
		}
	}
}

func (s store) Open(t *testing.T) queuetest.Queue {
	return open(t, s.options())
}

func (s store) options() pgqueue.Options {
	return pgqueue.Options{URL: s.url, Schema: s.schema, Server: "ci-1", MaxKiB: queuetest.MaxKiB}
}

// Copy copies what is committed. That is what a power failure leaves, if the database keeps its
// promise.
func (s store) Copy(t *testing.T) queuetest.Store {
	t.Helper()
	to := newStore(t)
	if err := open(t, pgqueue.Options{URL: to.url, Schema: to.schema}).Close(); err != nil {
		t.Fatal(err)
	}
	pgtest.Copy(t, s.url, s.schema, to.schema)
	return to
}

func open(t testing.TB, opts pgqueue.Options) *pgqueue.DB {
	t.Helper()
	if opts.Log == nil {
		opts.Log = zaptest.NewLogger(t)
	}
	q, err := pgqueue.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() }) // closing twice is allowed
	return q
}

// laneOf returns the lane of one job.
func laneOf(ctx context.Context, q interface {
	Lanes(ctx context.Context, jobs []string) ([]queue.Lane, error)
}, job string,
) (queue.Lane, error) {
	lanes, err := q.Lanes(ctx, []string{job})
	if err != nil {
		return queue.Lane{}, err
	}
	return lanes[0], nil
}
