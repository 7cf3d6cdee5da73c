package pgqueue_test

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// collecting is held while the garbage collector is off.
var collecting sync.Mutex

// noConnection waits until a program of some name has no connection, because the database notices
// the end of one a moment later.
func noConnection(t *testing.T, conn *pgx.Conn, program, after string) {
	t.Helper()
	collecting.Lock()
	defer collecting.Unlock()
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it closes connections that were forgotten
	for late := time.Now().Add(patience); ; {
		var left int
		if err := conn.QueryRow(t.Context(), "select count(*) from pg_stat_activity where application_name = $1", program).Scan(&left); err != nil {
			t.Fatal(err)
		}
		if left == 0 {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("%d connections are left after %s", left, after)
		}
		time.Sleep(10 * time.Millisecond) // the end of a connection is no event that another one could wait for
	}
}

// TestNoConnectionIsLeft opens and closes a queue, and fails to open it.
func TestNoConnectionIsLeft(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	conn := pgtest.Connect(t, s.url)
	as := func(program string) pgqueue.Options {
		return pgqueue.Options{URL: with(s.url, "application_name="+program), Schema: s.schema, Server: "ci-1", LockTimeout: time.Millisecond}
	}
	q := open(t, as(s.schema))
	program := s.schema + "_fails"
	fails := func(what string, err, want error) {
		t.Helper()
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		noConnection(t, conn, program, what)
	}
	_, err := pgqueue.Open(t.Context(), as(program))
	fails("Open beside a server of the same name", err, pgqueue.ErrLocked)
	_, err = pgqueue.Import(t.Context(), as(program), queue.Records{}, pgqueue.Contents{})
	fails("Import beside a server", err, pgqueue.ErrInUse)
	lossy := as(program)
	lossy.URL = with(lossy.URL, "synchronous_commit=off")
	_, err = pgqueue.Open(t.Context(), lossy)
	fails("Open of a database that loses answers", err, pgqueue.ErrForeign)
	long := as(program)
	long.Timeout = 1000 * time.Hour // more than the database can count
	_, err = pgqueue.Open(t.Context(), long)
	fails("Open with settings that the database refuses", err, nil)
	if id, err := pgqueue.Identify(t.Context(), as(program)); id != q.Identity() || err != nil {
		t.Errorf("Identify = %q, %v", id, err)
	}
	noConnection(t, conn, program, "Identify")
	schedule(t, q, request("j", "k"))
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	var locks int
	if err := conn.QueryRow(t.Context(), `select count(*) from pg_locks where locktype = 'advisory' and granted
		and classid::bigint << 32 | objid::bigint = hashtextextended($1, 0)`, fmt.Sprintf("buildtoken server %q %q", s.schema, "ci-1")).Scan(&locks); err != nil || locks != 0 {
		t.Errorf("the name of the server is held by %d connections after Close, %v", locks, err)
	}
	noConnection(t, conn, s.schema, "Close")
}

// TestPoolHasItsSize has more readers wait than there are connections.
func TestPoolHasItsSize(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]int{"pool_max_conns=2": 2, "sslmode=prefer": 8} {
		t.Run(setting, func(t *testing.T) {
			s := newStore(t)
			q := open(t, pgqueue.Options{URL: with(with(s.url, "application_name="+s.schema), setting), Schema: s.schema})
			warm(t, s, q, want)
			var made int
			err := pgtest.Connect(t, s.url).QueryRow(t.Context(), "select count(*) from pg_stat_activity where application_name = $1", s.schema).Scan(&made)
			if err != nil || made != want+1 {
				t.Errorf("there are %d connections, %v; want %d, and one that listens", made, err, want)
			}
		})
	}
}

// warm makes a queue use all connections that its pool may have.
func warm(t *testing.T, s store, q *pgqueue.DB, connections int) {
	t.Helper()
	conn := pgtest.Connect(t, s.url)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "lock table "+s.schema+".items in access exclusive mode"); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	for range connections + 2 {
		reading.Go(func() {
			if _, err := q.Items(t.Context(), start, "j", 10); err != nil {
				t.Errorf("Items = %v", err)
			}
		})
	}
	untilBlocked(t, s, conn, connections, "%")
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	reading.Wait()
}

// TestAllConnectionsAreCut cuts all connections of a pool, more than a verb has tries. The next verb
// must not try each of them.
func TestAllConnectionsAreCut(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	s := store{server.URL(), "ci"}
	q, w := behind(t, server, s.schema, "ci-1", time.Hour)
	it := schedule(t, q, request("j", "k"))
	for name, do := range map[string]func() error{
		"Schedule": func() error { _, _, err := q.Schedule(t.Context(), start, request("j", "k")); return err },
		"Entry":    func() error { _, err := q.Entry(t.Context(), start, it.ID); return err },
	} {
		warm(t, s, q, pgqueue.DefaultConnections)
		w.set(nil, true)
		w.set(nil, false)
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLogsNeedOneConnection transfers logs and files over a pool of one connection.
func TestLogsNeedOneConnection(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: with(s.url, "pool_max_conns=1"), Schema: s.schema})
	add(t, q, running(t, q, "j"), 0, "text\n", false, 5)
	if err := q.PutFile(t.Context(), "ref", strings.NewReader("content")); err != nil {
		t.Error(err)
	}
}
