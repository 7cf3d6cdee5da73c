package pgqueue_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// older makes the tables as a program left them that knew all steps but the
// last ones, and enters a server that was heard of just now.
func (s store) older(t *testing.T, version int) {
	t.Helper()
	steps, err := filepath.Glob("migrations/*.sql") // sorted
	if err != nil || len(steps) <= version {
		t.Fatalf("there are %d steps, %v", len(steps), err)
	}
	conn := pgtest.Connect(t, s.url)
	text := fmt.Sprintf("create schema %[1]s; set search_path = %[1]s; create table migrations (version integer primary key, applied timestamptz not null default now());", s.schema)
	for n, step := range steps[:version] {
		sql, err := os.ReadFile(step)
		if err != nil {
			t.Fatal(err)
		}
		text += string(sql) + fmt.Sprintf(";insert into migrations (version) values (%d);", n+1)
	}
	text += "insert into servers (server, epoch, beat, ttl, released) values ('ci-1', 1, clock_timestamp(), 3600, false)"
	if _, err := conn.Exec(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

// A server of an older version goes on with tables that it does not know, and
// what it writes is misunderstood by the newer ones.
func TestTablesAreNotChangedUnderAServer(t *testing.T) {
	steps, err := filepath.Glob("migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for version := 2; version < 5; version++ { // to 6 is a step that servers go on beside
		for _, gone := range []string{"released = true", "beat = beat - interval '2 hours'"} {
			t.Run(fmt.Sprintf("from version %d/%s", version, gone), func(t *testing.T) {
				s := newStore(t)
				s.older(t, version)
				conn := pgtest.Connect(t, s.url)
				known := func() (n int) {
					if err := conn.QueryRow(t.Context(), "select max(version) from "+s.schema+".migrations").Scan(&n); err != nil {
						t.Fatal(err)
					}
					return n
				}
				opts := pgqueue.Options{URL: s.url, Schema: s.schema, Server: "ci-2"}
				_, err := pgqueue.Open(t.Context(), opts)
				if !errors.Is(err, pgqueue.ErrInUse) || !strings.Contains(err.Error(), "ci-1 was heard of") || !strings.Contains(err.Error(), "is given up after 3600 s") {
					t.Errorf("Open beside a server: %v, want %v that names it", err, pgqueue.ErrInUse)
				}
				if got := known(); got != version {
					t.Errorf("the tables have version %d, want %d", got, version)
				}
				if _, err := conn.Exec(t.Context(), "update "+s.schema+".servers set "+gone); err != nil {
					t.Fatal(err)
				}
				schedule(t, open(t, opts), request("j", "k"))
				if got := known(); got != len(steps) {
					t.Errorf("the tables have version %d, want %d", got, len(steps))
				}
			})
		}
	}
}

// TestServersAreUpdatedOneAfterTheOther opens the queue beside a server of the
// version before, whose tables get what they lack.
func TestServersAreUpdatedOneAfterTheOther(t *testing.T) {
	s := newStore(t)
	s.older(t, 5)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "ci-2"})
	schedule(t, q, request("j", "k"))
	var live int
	sql := "select count(*) from " + s.schema + ".servers where not released"
	if err := pgtest.Connect(t, s.url).QueryRow(t.Context(), sql).Scan(&live); err != nil || live != 2 {
		t.Errorf("%d servers live, %v; want 2", live, err)
	}
}

// What ran when a server of before there were several was lost, is what that one
// looks for when it comes back.
func TestOlderBuildsAreThoseOfTheLastServer(t *testing.T) {
	s := newStore(t)
	s.older(t, 3)
	conn := pgtest.Connect(t, s.url)
	for _, sql := range []string{
		"update servers set beat = beat - interval '2 hours'",
		"insert into servers (server, epoch, beat, ttl, released) values ('ci-0', 1, clock_timestamp() - interval '3 hours', 30, true)",
		`insert into lanes (job, label, head) values ('j', '', '{"job": "j", "running": [1], "last_number": 1}')`,
		`insert into builds (job, number, item, node, running, wished, files, body)
			values ('j', 1, 1, 'built-in', true, false, false, '{"item": {"id": 1, "job": "j", "digest": "AAAAAAAAAAAAAAAAAAAAAA"}, "number": 1, "node": "built-in"}')`,
	} {
		if _, err := conn.Exec(t.Context(), "set search_path = "+s.schema+";"+sql); err != nil {
			t.Fatal(err)
		}
	}
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "ci-1"})
	if lost, err := q.Lost(t.Context()); err != nil || len(lost) != 1 || lost[0].Number != 1 {
		t.Errorf("Lost = %+v, %v, want build 1", lost, err)
	}
	if ended, err := q.Reclaim(t.Context(), start, "lost"); err != nil || len(ended) != 1 {
		t.Errorf("Reclaim = %+v, %v, want build 1", ended, err)
	}
}
