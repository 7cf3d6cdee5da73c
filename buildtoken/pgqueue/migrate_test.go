package pgqueue_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// withStep returns the steps of this program and one more, as in the next version.
func withStep(t *testing.T, sql string) fstest.MapFS {
	t.Helper()
	steps := fstest.MapFS{}
	files, err := fs.Glob(pgqueue.Migrations(), "migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := fs.ReadFile(pgqueue.Migrations(), file)
		if err != nil {
			t.Fatal(err)
		}
		steps[file] = &fstest.MapFile{Data: text}
	}
	steps["migrations/9999_next.sql"] = &fstest.MapFile{Data: []byte(sql)}
	return steps
}

// newColumn is a step that adds a column to the table of servers.
const newColumn = "alter table queue.servers add column next integer;\n"

// hasColumn reports whether that step was applied.
func (s store) hasColumn(t *testing.T, conn *pgx.Conn) (has bool) {
	t.Helper()
	const sql = "select exists (select from information_schema.columns where table_schema = $1 and table_name = 'servers' and column_name = 'next')"
	if err := conn.QueryRow(t.Context(), sql, s.schema).Scan(&has); err != nil {
		t.Fatal(err)
	}
	return has
}

// A server of an older version must not use tables of a newer one: the newer servers would
// misinterpret what it writes.
func TestTablesAreNotChangedUnderAServer(t *testing.T) {
	for _, gone := range []string{"released = true", "beat = beat - interval '2 hours'"} {
		t.Run(gone, func(t *testing.T) {
			s := newStore(t)
			q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "ci-1"})
			conn := pgtest.Connect(t, s.url)
			steps := withStep(t, newColumn)
			err := pgqueue.Migrate(t.Context(), conn, s.schema, steps)
			if !errors.Is(err, pgqueue.ErrInUse) || !strings.Contains(err.Error(), "ci-1 was heard of") || !strings.Contains(err.Error(), "is given up after 30 s") {
				t.Errorf("Migrate beside a server: %v, want %v that names it", err, pgqueue.ErrInUse)
			}
			if s.hasColumn(t, conn) {
				t.Error("the tables were changed")
			}
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Exec(t.Context(), "update "+s.schema+".servers set released = false, beat = clock_timestamp(); update "+s.schema+".servers set "+gone); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time there is nothing to do
				if err := pgqueue.Migrate(t.Context(), conn, s.schema, steps); err != nil || !s.hasColumn(t, conn) {
					t.Errorf("Migrate: %v, and the step was made: %v", err, s.hasColumn(t, conn))
				}
			}
			if _, err := pgqueue.Open(t.Context(), s.options()); !errors.Is(err, pgqueue.ErrForeign) {
				t.Errorf("Open with tables of a newer version: %v, want %v", err, pgqueue.ErrForeign)
			}
		})
	}
}

// TestServersAreUpdatedOneAfterTheOther applies a step while a server of the version before is
// running.
func TestServersAreUpdatedOneAfterTheOther(t *testing.T) {
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "ci-1"})
	conn := pgtest.Connect(t, s.url)
	err := pgqueue.Migrate(t.Context(), conn, s.schema, withStep(t, "-- Beside servers of the version before.\n"+newColumn))
	if err != nil || !s.hasColumn(t, conn) {
		t.Errorf("Migrate: %v, and the step was made: %v", err, s.hasColumn(t, conn))
	}
	schedule(t, q, request("j", "k"))
}

// A step that fails changes nothing.
func TestFailedStepChangesNothing(t *testing.T) {
	s := newStore(t)
	conn := pgtest.Connect(t, s.url)
	if err := pgqueue.Migrate(t.Context(), conn, s.schema, withStep(t, newColumn+"select 1/0;")); err == nil || !strings.Contains(err.Error(), "9999_next.sql") {
		t.Errorf("Migrate with a step that fails: %v, want an error that names it", err)
	}
	unreadable := withStep(t, newColumn)
	unreadable["migrations/9999_next.sql"].Mode = fs.ModeDir
	if err := pgqueue.Migrate(t.Context(), conn, s.schema, unreadable); err == nil {
		t.Error("Migrate with a step that cannot be read: no error")
	}
	var exists bool
	if err := conn.QueryRow(t.Context(), "select exists (select from pg_namespace where nspname = $1)", s.schema).Scan(&exists); err != nil || exists {
		t.Errorf("the schema exists: %v, %v", exists, err)
	}
}
