package pgqueue_test

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

func TestSecondServerOfTheSameNameIsRefused(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	opts := pgqueue.Options{URL: s.url, Schema: s.schema, Server: "ci-1"}
	var mu sync.Mutex
	var opened []*pgqueue.DB
	var wait sync.WaitGroup
	for range 4 { // at once, on a schema that does not exist yet
		wait.Go(func() {
			q, err := pgqueue.Open(t.Context(), opts)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				opened = append(opened, q)
			case !errors.Is(err, pgqueue.ErrLocked):
				t.Errorf("Open: %v, want %v", err, pgqueue.ErrLocked)
			}
		})
	}
	wait.Wait()
	if len(opened) != 1 {
		t.Fatalf("%d servers have the queue open, want 1", len(opened))
	}
	other := opts
	other.Server = "ci-2"
	schedule(t, open(t, other), request("j", "k"))
	if err := opened[0].Close(); err != nil {
		t.Fatal(err)
	}
	schedule(t, open(t, opts), request("j", "k"))
}

// TestLossOfTheListeningConnectionRefusesNothing ends that connection and takes the lock of the
// server's name, so that the server cannot listen again.
func TestLossOfTheListeningConnectionRefusesNothing(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it closes connections that were forgotten
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: with(s.url, "application_name="+s.schema), Schema: s.schema, Server: "ci-1", LockTimeout: 10 * time.Millisecond, Log: zap.NewNop()})
	other := pgtest.Connect(t, s.url)
	const take = `select pg_terminate_backend(pid), pg_advisory_lock(classid::bigint << 32 | objid::bigint)
		from pg_locks where locktype = 'advisory' and classid::bigint << 32 | objid::bigint = hashtextextended($1, 0)`
	if tag, err := other.Exec(t.Context(), take, fmt.Sprintf("buildtoken server %q %q", s.schema, "ci-1")); err != nil || tag.RowsAffected() != 1 {
		t.Fatal(tag, err)
	}
	schedule(t, q, request("j", "k"))
	if builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "ci-1"}, []int{0}); err != nil || len(builds) != 1 {
		t.Errorf("Claim: %v, %v; want the item that was scheduled", builds, err)
	}
	if err := other.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for !(<-q.Notices()).All { // the connection is back, and notices may have been missed
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	noConnection(t, pgtest.Connect(t, s.url), s.schema, "attempts to connect again")
}

func TestCrashOfTheDatabaseLosesNothing(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	q := open(t, pgqueue.Options{URL: server.URL(), Schema: "crash", Log: zap.NewNop()})
	r := request("j", "k")
	r.Delay = time.Hour
	schedule(t, q, r)
	schedule(t, q, request("runs", "k"))
	if builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0}); err != nil || len(builds) != 1 {
		t.Fatalf("Claim: %v, %v", builds, err)
	}
	facts := func() (all struct {
		Lanes  []queue.Lane
		Items  []queue.Entry
		Builds []queue.Build
	},
	) {
		t.Helper()
		var errs [3]error
		all.Lanes, errs[0] = q.Lanes(t.Context(), []string{"j", "runs"})
		all.Items, errs[1] = q.Items(t.Context(), start, "", 10)
		all.Builds, errs[2] = q.Builds(t.Context(), "runs", 0, 10)
		if err := errors.Join(errs[:]...); err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := facts()
	if err := server.Crash(); err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"Schedule": func() error { _, _, err := q.Schedule(t.Context(), start, r); return err },
		"Cancel":   func() error { return q.Cancel(t.Context(), start, "j", 1, "alice") },
		"Claim":    func() error { _, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{1}); return err },
		"Finish":   func() error { _, err := q.Finish(t.Context(), start, "runs", 1, queue.Success, ""); return err },
		"Abort":    func() error { return q.Abort(t.Context(), "runs", 1, "alice") },
		"Aborts":   func() error { _, err := q.Aborts(t.Context()); return err },
		"Entry":    func() error { _, err := q.Entry(t.Context(), start, 1); return err },
		"SetRules": func() error { return q.SetRules(t.Context(), start, queue.Config{}) },
	} {
		if err := do(); !errors.Is(err, queue.ErrStorage) {
			t.Errorf("%s without a database: %v, want %v", name, err, queue.ErrStorage)
		}
	}
	select {
	case <-q.Changed():
	default:
	}
	if err := server.Run(); err != nil {
		t.Fatal(err)
	}
	<-q.Changed() // the connection is back
	if diff := cmp.Diff(before, facts()); diff != "" {
		t.Errorf("what was answered (-before the crash +after):\n%s", diff)
	}
	if it := schedule(t, q, r); it.ID != 1 {
		t.Errorf("the trigger made item %d, want a join of item 1", it.ID)
	}
}

func TestPasswordIsNotShown(t *testing.T) {
	const secret = "TacoTuesday"
	for _, url := range []string{
		"postgres://ci:" + secret + "@127.0.0.1:notaport/db",
		"postgres://ci:" + secret + "@127.0.0.1:1/db?connect_timeout=1",
		"postgres://ci:" + secret + "%zz@127.0.0.1/db",
		"host=127.0.0.1 port=1 password=" + secret + " user=ci sslmode=disable",
		"host=127.0.0.1 port=1 password='" + secret + " user=ci",
		"host=127.0.0.1 sslmode=" + secret,
		// If delimiters in a password are not escaped, the rest is parsed as a database, a host
		// or a setting.
		"postgres://ci:pw@" + secret + "/x@127.0.0.1/db?connect_timeout=1",
		"postgres://ci:1/" + secret + "@127.0.0.1:1/db?connect_timeout=1",
		"postgres://ci:1?" + secret + "@127.0.0.1:1/db?connect_timeout=1",
		"postgres://ci:1?a=" + secret + "@127.0.0.1:1/db?connect_timeout=1",
		"postgres://127.0.0.1:1#" + secret + "@127.0.0.1:1/db?connect_timeout=1",
		secret,
	} {
		_, err := pgqueue.Open(t.Context(), pgqueue.Options{URL: url})
		if err == nil {
			t.Fatalf("Open(%q) worked", url)
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows the password: %v", err)
		}
		if place, err := pgqueue.Place(url, ""); strings.Contains(place, secret) || err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("the place of the queue shows the password: %q, %v", place, err)
		}
	}
}

func TestErrorsOfAConnectionStringNameTheSetting(t *testing.T) {
	for _, tt := range []struct{ name, url, want string }{
		{"a file that is missing", "host=db sslmode=verify-full sslrootcert=/nope.crt", "sslrootcert, sslcert or sslkey names: open /nope.crt: no such file"},
		{"a mode that is none", "postgres://db/ci?sslmode=nonsense", "sslmode, sslrootcert, sslcert or sslkey: sslmode is invalid"},
		{"a password with a delimiter, and no host", "postgres:///ci:pass@word", "in a password, write @ as %40, / as %2F"},
		{"a setting with an @", "postgres://db/ci?application_name=a@b", "in a password, write @ as %40, / as %2F"},
		{"an @ in the name of a setting", "postgres://ci:1?x@db/ci", "in a password, write @ as %40, / as %2F"},
		{"a # in a password", "postgres://ci:1#x@db/ci", "in a password, write @ as %40, / as %2F"},
		{"a password with a delimiter", "postgres://ci:pass@word/1@db/ci", "in a password, write @ as %40, / as %2F"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := pgqueue.Open(t.Context(), pgqueue.Options{URL: tt.url}); !errors.Is(err, pgqueue.ErrURL) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open: %v, want %q in it", err, tt.want)
			}
		})
	}
	for _, url := range []string{"postgres://ci%40corp:pass%2Fword@db/ci", "postgres://ci:p@ss@db/ci", "postgres://db/ci?user=ci@corp&password=p@ss", "host=db password=p@ss/w"} {
		if _, err := pgqueue.Place(url, ""); err != nil {
			t.Errorf("Place(%q) = %v", url, err)
		}
	}
}

// TestRoleThatMayNotCreate starts a server whose role can only read and write the tables.
// Another role has created them.
func TestRoleThatMayNotCreate(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	admin := pgtest.Connect(t, server.URL())
	if _, err := admin.Exec(t.Context(), "create role worker login; create role other login"); err != nil {
		t.Fatal(err)
	}
	as := func(role string) pgqueue.Options {
		return pgqueue.Options{URL: strings.Replace(server.URL(), "user=buildtoken", "user="+role, 1), Schema: "ci"}
	}
	if _, err := pgqueue.Open(t.Context(), as("worker")); err == nil || !strings.Contains(err.Error(), "permission denied") || !strings.Contains(err.Error(), "start once with a role that may create them") {
		t.Errorf("Open without tables: %v, want what is missing and what to do", err)
	}
	if _, err := pgqueue.Import(t.Context(), as("worker"), queue.Records{}, pgqueue.Contents{}); err == nil || strings.Contains(err.Error(), "not known") {
		t.Errorf("Import without tables: %v, want an error, and that nothing was imported", err)
	}
	if err := open(t, pgqueue.Options{URL: server.URL(), Schema: "ci"}).Close(); err != nil {
		t.Fatal(err)
	}
	const grants = `grant usage on schema ci to worker; grant select, insert, update, delete on all tables in schema ci to worker;
		grant usage, select, update on all sequences in schema ci to worker`
	if _, err := admin.Exec(t.Context(), grants); err != nil {
		t.Fatal(err)
	}
	q := open(t, as("worker"))
	schedule(t, q, request("j", "k"))
	if builds, _, err := q.Claim(t.Context(), start, queue.Node{}, []int{0}); err != nil || len(builds) != 1 {
		t.Fatalf("Claim: %v, %v", builds, err)
	}
	if _, err := q.Finish(t.Context(), start, "j", 1, queue.Success, ""); err != nil {
		t.Error(err)
	}
}

// TestConnectionFollowsItsString changes the password while the queue is open, and ends all
// connections. Then the connection string leads to another queue.
func TestConnectionFollowsItsString(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	admin := pgtest.Connect(t, server.URL())
	if _, err := admin.Exec(t.Context(), "create role first superuser login; create role second superuser login"); err != nil {
		t.Fatal(err)
	}
	var url atomic.Pointer[string]
	to := func(role, database string) {
		text := strings.Replace(strings.Replace(server.URL(), "user=buildtoken", "user="+role, 1), "/postgres?", "/"+database+"?", 1)
		url.Store(&text)
	}
	to("first", "postgres")
	lines, observed := observer.New(zap.InfoLevel)
	errNoString := errors.New("the file with the connection string is missing")
	current := func() (string, error) {
		if text := url.Load(); text != nil {
			return *text, nil
		}
		return "", errNoString
	}
	q := open(t, pgqueue.Options{CurrentURL: current, Schema: "ci", Log: zap.New(lines)})
	schedule(t, q, request("j", "k"))
	to("second", "postgres")
	// Two transactions: in one, a new connection could still be made with the first role while
	// the others are ended.
	for _, statement := range []string{
		"alter role first nologin", "select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = 'first'",
	} {
		if _, err := admin.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	schedule(t, q, request("j", "other"))
	for !(<-q.Notices()).All { // the listening connection is back too
	}
	var users []string
	if err := admin.QueryRow(t.Context(), "select array_agg(distinct usename::text) from pg_stat_activity where application_name = 'buildtoken'").Scan(&users); err != nil || len(users) != 1 || users[0] != "second" {
		t.Errorf("connections of the roles %v, %v; want second", users, err)
	}
	if _, err := admin.Exec(t.Context(), "create database another"); err != nil {
		t.Fatal(err)
	}
	if err := open(t, pgqueue.Options{URL: strings.Replace(server.URL(), "/postgres?", "/another?", 1), Schema: "ci"}).Close(); err != nil {
		t.Fatal(err)
	}
	to("second", "another")
	if _, err := admin.Exec(t.Context(), "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'second'"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := q.Schedule(t.Context(), start, request("j", "third")); !errors.Is(err, queue.ErrStorage) || !errors.Is(err, pgqueue.ErrOther) {
		t.Errorf("Schedule on a connection to another queue: %v, want %v", err, pgqueue.ErrOther)
	}
	url.Store(nil)
	if _, _, err := q.Schedule(t.Context(), start, request("j", "third")); !errors.Is(err, queue.ErrStorage) || !errors.Is(err, errNoString) {
		t.Errorf("Schedule without a connection string: %v, want %v", err, errNoString)
	}
	if _, err := pgqueue.Open(t.Context(), pgqueue.Options{CurrentURL: func() (string, error) { return "", errNoString }}); !errors.Is(err, pgqueue.ErrURL) || !errors.Is(err, errNoString) {
		t.Errorf("Open without a connection string: %v, want %v", err, errNoString)
	}
	to("second", "postgres")
	schedule(t, q, request("j", "third"))
	if opened := observed.FilterMessage("queue opened").All(); len(opened) != 1 || !strings.HasSuffix(fmt.Sprint(opened[0].ContextMap()["queue"]), ":5432/postgres/ci") {
		t.Errorf("logged %v, want one line that names the queue", opened)
	}
}

// TestIdentify identifies a queue without opening it. Only tables that are missing mean that there
// is none.
func TestIdentify(t *testing.T) {
	s := newStore(t)
	if id, err := pgqueue.Identify(t.Context(), s.options()); id != "" || err != nil {
		t.Errorf("Identify of no queue = %q, %v", id, err)
	}
	q := open(t, s.options())
	if id, err := pgqueue.Identify(t.Context(), s.options()); id != q.Identity() || id == "" || err != nil {
		t.Errorf("Identify = %q, %v, want %q", id, err, q.Identity())
	}
	executor(t, s)("alter table identity rename column id to another")
	if id, err := pgqueue.Identify(t.Context(), s.options()); id != "" || err == nil {
		t.Errorf("Identify of what cannot be read = %q, %v, want an error", id, err)
	}
}

// TestReconnectToACopy lets a queue connect to a copy of its database, which has the same tables.
func TestReconnectToACopy(t *testing.T) {
	server := pgtest.Start(t)
	to := func(database string) string { return strings.Replace(server.URL(), "/postgres?", "/"+database+"?", 1) }
	if err := open(t, pgqueue.Options{URL: server.URL(), Schema: "ci"}).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := pgtest.Connect(t, to("template1")).Exec(t.Context(), "create database copy template postgres"); err != nil {
		t.Fatal(err)
	}
	q := open(t, pgqueue.Options{URL: server.URL(), Schema: "ci"})
	admin := pgtest.Connect(t, server.URL())
	cutAll := func() {
		t.Helper()
		if _, err := admin.Exec(t.Context(), "select pg_terminate_backend(pid, 10000) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'"); err != nil {
			t.Fatal(err)
		}
	}
	for database, want := range map[string]error{"copy": pgqueue.ErrOther, "template1": pgqueue.ErrOther, "missing": nil, "postgres": nil} {
		err := q.Reconnect(t.Context(), func() (string, error) { return with(to(database), "application_name="+database), nil }, "ci")
		if (err != nil) != (database != "postgres") || want != nil && !errors.Is(err, want) {
			t.Errorf("Reconnect to %s: %v, want %v", database, err, want)
		}
		noConnection(t, admin, database, "Reconnect to "+database)
		cutAll()
		schedule(t, q, request("j", database)) // over a new connection to where the queue is
	}
	if err := q.Reconnect(t.Context(), func() (string, error) { return with(server.URL(), "application_name=last"), nil }, "ci"); err != nil {
		t.Error(err)
	}
	cutAll()
	schedule(t, q, request("j", "last"))
	if moved := connections(t, admin, "last"); len(moved) == 0 {
		t.Error("new connections do not use the string of Reconnect")
	}
	if err := q.Reconnect(t.Context(), func() (string, error) { return server.URL(), nil }, ""); !errors.Is(err, pgqueue.ErrOther) {
		t.Errorf("Reconnect to another schema: %v, want %v", err, pgqueue.ErrOther)
	}
	if _, err := admin.Exec(t.Context(), "alter table ci.identity rename column id to another"); err != nil {
		t.Fatal(err)
	}
	if err := q.Reconnect(t.Context(), func() (string, error) { return server.URL(), nil }, "ci"); err == nil || errors.Is(err, pgqueue.ErrOther) {
		t.Errorf("Reconnect to what cannot be read: %v, want an error", err)
	}
}

// TestDatabaseThatCannotHoldAQueue opens databases that would lose or change what they are given.
func TestDatabaseThatCannotHoldAQueue(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	admin := pgtest.Connect(t, server.URL())
	for _, sql := range []string{"create database ascii encoding 'SQL_ASCII' template template0", "create role limited login connection limit 0", "create role never nologin"} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, from, to       string
		foreign, unreachable bool
	}{
		{"another encoding", "/postgres?", "/ascii?", true, false},
		{"no room for another connection", "user=buildtoken", "user=limited", false, true},
		{"no server", "host=", "host=/nowhere", false, true},
		{"a role that may not connect", "user=buildtoken", "user=never", false, false},
		{"no such database", "/postgres?", "/missing?", false, false},
	} {
		_, err := pgqueue.Open(t.Context(), pgqueue.Options{URL: strings.Replace(server.URL(), tt.from, tt.to, 1), Schema: "ci"})
		if err == nil || errors.Is(err, pgqueue.ErrForeign) != tt.foreign || errors.Is(err, pgqueue.ErrUnreachable) != tt.unreachable {
			t.Errorf("%s: %v, want that the database is foreign: %v, unreachable: %v", tt.name, err, tt.foreign, tt.unreachable)
		}
	}
	if id, err := pgqueue.Identify(t.Context(), pgqueue.Options{URL: server.URL()}); id != "" || err != nil {
		t.Errorf("Identify without a queue in the default schema = %q, %v", id, err)
	}
	q := open(t, pgqueue.Options{URL: server.URL()})
	if id, err := pgqueue.Identify(t.Context(), pgqueue.Options{URL: server.URL()}); id != q.Identity() || err != nil {
		t.Errorf("Identify of the default schema = %q, %v; want %q", id, err, q.Identity())
	}
	if err := q.Reconnect(t.Context(), func() (string, error) { return server.URL(), nil }, ""); err != nil {
		t.Errorf("Reconnect to the default schema: %v", err)
	}
	if _, err := pgqueue.Import(t.Context(), pgqueue.Options{URL: server.URL()}, queue.Records{}, pgqueue.Contents{}); !errors.Is(err, pgqueue.ErrInUse) {
		t.Errorf("Import into the default schema, which is in use: %v, want %v", err, pgqueue.ErrInUse)
	}
}

// TestIdleSessionTimeoutOfTheDatabase waits until the database has ended an idle connection.
// The one that listens must survive.
func TestIdleSessionTimeoutOfTheDatabase(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	admin := pgtest.Connect(t, server.URL())
	if _, err := admin.Exec(t.Context(), "alter database postgres set idle_session_timeout = '50ms'"); err != nil {
		t.Fatal(err)
	}
	open(t, pgqueue.Options{URL: server.URL(), Schema: "ci"})
	listener := func() (pid int) {
		t.Helper()
		if err := admin.QueryRow(t.Context(), "select pid from pg_locks where locktype = 'advisory'").Scan(&pid); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	before := listener()
	if _, err := pgtest.Connect(t, server.URL()).WaitForNotification(t.Context()); err == nil {
		t.Fatal("the database has not ended the idle connection")
	}
	if after := listener(); after != before {
		t.Errorf("the connection that listens was %d, and is %d", before, after)
	}
}

func TestPlaceNamesTheDatabaseOnly(t *testing.T) {
	for _, tt := range []struct{ name, url, schema, want string }{
		{"a URL", "postgres://ci:TacoTuesday@db.example.com/builds?sslmode=disable", "", "postgres:db.example.com:5432/builds/buildtoken"},
		{"with TLS if there is", "postgres://ci:TacoTuesday@db.example.com:6432/builds", "ci", "postgres:db.example.com:6432/builds/ci"},
		{"keywords and values", "host=db.example.com user=ci password=TacoTuesday dbname=builds", "", "postgres:db.example.com:5432/builds/buildtoken"},
		{"several servers", "postgres://ci@a,b:5433/builds", "", "postgres:a:5432,b:5433/builds/buildtoken"},
		{"a socket", "postgres:///builds?host=/run/postgresql", "", "postgres:/run/postgresql:5432/builds/buildtoken"},
		{"an address", "postgres://ci@[::1]/builds", "", "postgres:[::1]:5432/builds/buildtoken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := pgqueue.Place(tt.url, tt.schema); got != tt.want || err != nil {
				t.Errorf("Place = %q, %v; want %q", got, err, tt.want)
			}
		})
	}
	if _, err := pgqueue.Place("postgres://ci:TacoTuesday@db:notaport/", ""); !errors.Is(err, pgqueue.ErrURL) {
		t.Errorf("Place: %v, want %v", err, pgqueue.ErrURL)
	}
}

func TestNewerTablesAreLeftAlone(t *testing.T) {
	s := newStore(t)
	opts := pgqueue.Options{URL: s.url, Schema: s.schema}
	if err := open(t, opts).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := pgtest.Connect(t, s.url).Exec(t.Context(), "insert into "+s.schema+".migrations (version) values (9999)"); err != nil {
		t.Fatal(err)
	}
	if _, err := pgqueue.Open(t.Context(), opts); !errors.Is(err, pgqueue.ErrForeign) {
		t.Errorf("Open: %v, want %v", err, pgqueue.ErrForeign)
	}
}

// TestVersionsOfTheDatabase has the database report other versions than its own.
func TestVersionsOfTheDatabase(t *testing.T) {
	t.Parallel()
	s, other := newStore(t), newStore(t)
	admin := pgtest.Connect(t, s.url)
	exec := func(sql string) {
		t.Helper()
		if _, err := admin.Exec(t.Context(), fmt.Sprintf(sql, other.schema)); err != nil {
			t.Fatal(err)
		}
	}
	exec("create schema %s")
	for version, want := range map[string]error{"120023": pgqueue.ErrForeign, "129999": pgqueue.ErrForeign, "130000": nil} {
		exec("create or replace function %s.current_setting(name text) returns text language sql as $$select case name when 'server_version_num' then '" +
			version + "' when 'server_version' then 'twelve' else pg_catalog.current_setting(name) end$$")
		opts := s.options()
		opts.URL = with(s.url, "search_path="+other.schema+",pg_catalog")
		q, err := pgqueue.Open(t.Context(), opts)
		if err == nil {
			err = q.Close()
		}
		if !errors.Is(err, want) || want != nil && !strings.Contains(err.Error(), "version twelve, want 13 or newer") {
			t.Errorf("Open of version %s: %v, want %v", version, err, want)
		}
	}
}

func TestDatabaseThatWouldLoseAnswersIsRefused(t *testing.T) {
	url := with(pgtest.URL(t), "synchronous_commit=off")
	if _, err := pgqueue.Open(t.Context(), pgqueue.Options{URL: url}); !errors.Is(err, pgqueue.ErrForeign) {
		t.Errorf("Open with synchronous_commit=off: %v, want %v", err, pgqueue.ErrForeign)
	}
}

// with adds a setting to a connection string.
func with(url, setting string) string {
	switch {
	case !strings.Contains(url, "://"):
		return url + " " + setting
	case strings.Contains(url, "?"):
		return url + "&" + setting
	default:
		return url + "?" + setting
	}
}

func TestDamagedItemHoldsUpNothing(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"no object":       `[]`,
		"another item":    `{"id": 2, "job": "a"}`,
		"of another job":  `{"id": 1, "job": "b"}`,
		"without content": `{}`,
	} {
		t.Run(name, func(t *testing.T) { damagedItem(t, body) })
	}
}

func damagedItem(t *testing.T, body string) {
	t.Helper()
	s := newStore(t)
	core, logged := observer.New(zap.InfoLevel)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Log: zap.New(core)})
	bad := schedule(t, q, request("a", "bad"))
	good := schedule(t, q, request("a", "good"))
	if _, err := pgtest.Connect(t, s.url).Exec(t.Context(), "update "+s.schema+".items set body = $2::text::json where id = $1", bad.ID, body); err != nil {
		t.Fatal(err)
	}
	builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0, 1})
	if err != nil || len(builds) != 1 || builds[0].Item.ID != good.ID {
		t.Fatalf("Claim: %v, %v; want item %d", builds, err, good.ID)
	}
	if lines := logged.FilterMessageSnippet("cannot read a queued item"); lines.Len() != 1 {
		t.Errorf("logged %v, want one line about the item", logged.All())
	}
	e, err := q.Entry(t.Context(), start, bad.ID)
	if err != nil || e.State != queue.Blocked || e.Blockage.Reason != queue.RecordDamaged {
		t.Errorf("Entry: %+v, %v", e, err)
	}
	if again := schedule(t, q, request("a", "bad")); again.ID <= good.ID {
		t.Error("a trigger joined an item whose record is damaged")
	}
	if err := q.Cancel(t.Context(), start, "a", bad.ID, "alice"); err != nil {
		t.Errorf("Cancel: %v", err)
	}
	if l, err := laneOf(t.Context(), q, "a"); err != nil || l.Queued != 1 {
		t.Errorf("lane %+v, %v; want one queued", l, err)
	}
}

// A trigger that equals a damaged item detects the damage, as a claim does.
func TestTriggerEqualToDamagedItemMakesNewOne(t *testing.T) {
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Log: zap.NewNop()})
	bad := schedule(t, q, request("a", "bad"))
	executor(t, s)("update items set body = '[]'")
	if builds, next, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0}); err != nil || len(builds) != 0 || !next.IsZero() {
		t.Errorf("Claim of a damaged item = %v, next %v, %v; want nothing until something changes", builds, next, err)
	}
	made := schedule(t, q, request("a", "bad"))
	if again := schedule(t, q, request("a", "bad")); made.ID == bad.ID || again.ID != made.ID {
		t.Errorf("triggers made the items %d and %d beside the damaged item %d, want a new one and a join", made.ID, again.ID, bad.ID)
	}
	// Nothing has met this one before the trigger.
	bad = schedule(t, q, request("b", "bad"))
	executor(t, s)("update items set body = '[]' where job = 'b'")
	if made := schedule(t, q, request("b", "bad")); made.ID <= bad.ID {
		t.Errorf("a trigger made the item %d beside the damaged item %d", made.ID, bad.ID)
	}
}

// TestClaimWaitsForALaneThatIsBeingDecided locks the lane of the due item.
func TestClaimWaitsForALaneThatIsBeingDecided(t *testing.T) {
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema})
	schedule(t, q, request("a", "k"))
	schedule(t, q, request("b", "k"))
	other, err := pgtest.Connect(t, s.url).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(t.Context(), "select from "+s.schema+".lanes where job = 'a' for update"); err != nil {
		t.Fatal(err)
	}
	builds, next, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0, 1})
	if err != nil || len(builds) != 1 || builds[0].Item.Job != "b" || !next.Equal(start) {
		t.Fatalf("Claim beside a locked lane: %v, next %v, %v; want b, and another claim soon", builds, next, err)
	}
	claimed := make(chan []queue.Build)
	go func() {
		builds, _, err := q.Claim(context.WithoutCancel(t.Context()), start, queue.Node{Name: "node"}, []int{1})
		if err != nil {
			t.Error(err)
		}
		claimed <- builds
	}()
	if err := other.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if builds := <-claimed; len(builds) != 1 || builds[0].Item.Job != "a" {
		t.Errorf("Claim when the lane is free: %v, want a", builds)
	}
}

// TestDatabaseThatStopsWhileItIsOpened cuts the connections at each question that Open asks.
// A server that starts at that moment can try again later.
func TestDatabaseThatStopsWhileItIsOpened(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	w := newWire(t, host(t, server))
	opts := pgqueue.Options{URL: "postgres:///postgres?user=buildtoken&host=" + w.dir, Schema: "ci", Server: "ci-1", Log: zap.NewNop()}
	if err := open(t, opts).Close(); err != nil { // makes the tables
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		plan := cut{after: n, thenDown: true}
		w.set(&plan, false)
		q, err := pgqueue.Open(t.Context(), opts)
		happened := w.hasHappened(&plan)
		w.set(nil, false)
		if err == nil {
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		}
		switch {
		case !happened && n < 5:
			t.Fatalf("Open asks %d questions; the connections were to be cut at one of them", n)
		case !happened:
			return
		case err != nil && !errors.Is(err, pgqueue.ErrUnreachable):
			t.Errorf("cut at question %d: %v, want %v", n, err, pgqueue.ErrUnreachable)
		}
	}
}
