package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/buildtoken/buildtoken/internal/pgserver"
)

// Variable names the environment variable for a server that tests use instead of starting one.
const Variable = "BUILDTOKEN_TEST_POSTGRES"

// shared is the server of this process.
var shared struct {
	once   sync.Once
	server *Server
	url    string
	err    error
}

// skips names the environment variable for a file. Each skipped test adds a line with the
// package that it needs, so that `make test` can report them at its end. go test itself shows
// no output of a package that passes.
const skips = "BUILDTOKEN_TEST_SKIPS"

// require skips the test if a program is not installed, and fails it after any other error. If
// CI or [Variable] is set, a missing program fails the test too.
func require(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var missing *pgserver.NotInstalledError
	if !errors.As(err, &missing) || os.Getenv("CI") != "" || os.Getenv(Variable) != "" {
		t.Fatalf("PostgreSQL for tests: %v; see CONTRIBUTING.md for the packages that tests need", err)
	}
	if file := os.Getenv(skips); file != "" {
		if err := note(file, missing.Package+" "+t.Name()); err != nil {
			t.Fatal(err)
		}
	}
	t.Skip("needs " + missing.Package + " (Debian: apt-get install " + missing.Package + ")")
}

// note appends a line to a file to which other processes append too.
func note(file, line string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Close())
}

// Main runs the tests and stops the server if one was started. It is for
// TestMain, which passes the code to os.Exit.
func Main(m *testing.M) int {
	code := m.Run()
	if shared.server != nil {
		if err := shared.server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// URL returns the connection string of the server that the tests of this process share.
func URL(t testing.TB) string {
	t.Helper()
	shared.once.Do(func() {
		if shared.url = os.Getenv(Variable); shared.url != "" {
			return
		}
		if shared.server, shared.err = pgserver.Start(); shared.err == nil {
			shared.url = shared.server.URL()
		}
	})
	require(t, shared.err)
	return shared.url
}

// Server is a PostgreSQL server of this process.
type Server = pgserver.Server

// Start starts a server that is stopped when the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := pgserver.Start()
	require(t, err)
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Pooler starts PgBouncer before a server, and stops it when the test ends.
func Pooler(t testing.TB, before *Server, settings ...string) *Server {
	t.Helper()
	pooler, err := before.Pooler(settings...)
	require(t, err)
	t.Cleanup(func() {
		if err := pooler.Stop(); err != nil {
			t.Error(err)
		}
	})
	return pooler
}

// Standby starts a synchronous standby of a server and stops it when the test ends. either
// leads to the one of the two that accepts writes.
func Standby(t testing.TB, of *Server) (standby *Server, either string) {
	t.Helper()
	return beside(t, of, of.Standby)
}

// Follower starts an asynchronous standby of a server and stops it when the test ends. either
// leads to the one of the two that accepts writes.
func Follower(t testing.TB, of *Server) (follower *Server, either string) {
	t.Helper()
	return beside(t, of, of.Follower)
}

func beside(t testing.TB, of *Server, start func() (*Server, error)) (standby *Server, either string) {
	t.Helper()
	standby, err := start()
	if err != nil {
		t.Fatalf("PostgreSQL for tests: %v", err)
	}
	t.Cleanup(func() {
		if err := standby.Stop(); err != nil {
			t.Error(err)
		}
	})
	_, host, _ := strings.Cut(standby.URL(), "host=")
	return standby, of.URL() + "," + host + "&target_session_attrs=read-write"
}

// Schema returns the name of an unused schema in the database of url. It is dropped when the
// test ends.
func Schema(t testing.TB, url string) string {
	t.Helper()
	var random uint64
	conn := Connect(t, url)
	if err := conn.QueryRow(t.Context(), "select (random() * 1e15)::bigint").Scan(&random); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), random)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return // the server has stopped, and the schema with it
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, "drop schema if exists "+name+" cascade"); err != nil {
			t.Errorf("drop schema %s: %v", name, err)
		}
	})
	return name
}

// Connect returns a connection that is closed when the test ends.
func Connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // the test is over
	return conn
}

// Copy replaces the content of schema to by that of schema from, as a power failure at this
// moment would leave it. Tables and sequences must have the same names.
func Copy(t testing.TB, url, from, to string) {
	t.Helper()
	ctx := t.Context()
	tx, err := Connect(t, url).BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	tables := names(t, tx, "select table_name::text from information_schema.tables where table_schema = $1", from)
	sequences := names(t, tx, "select sequence_name::text from information_schema.sequences where sequence_schema = $1", from)
	var b strings.Builder
	for _, table := range tables {
		fmt.Fprintf(&b, "delete from %[2]s.%[3]s; insert into %[2]s.%[3]s select * from %[1]s.%[3]s;\n", from, to, table)
	}
	for _, sequence := range sequences {
		fmt.Fprintf(&b, "select setval('%[2]s.%[3]s', last_value, is_called) from %[1]s.%[3]s;\n", from, to, sequence)
	}
	if _, err := tx.Exec(ctx, b.String()); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
}

func names(t testing.TB, tx pgx.Tx, query, schema string) []string {
	t.Helper()
	rows, err := tx.Query(t.Context(), query, schema)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatalf("schema %s is empty", schema)
	}
	return found
}
