package pgqueue_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// patience bounds how long a test of this file waits for one event. Without it, the timeout of
// the whole package ends the test without naming the event.
const patience = 40 * time.Second

// changes waits for a change of a queue, at most until late.
func changes(t *testing.T, q *pgqueue.DB, late <-chan time.Time) {
	t.Helper()
	select {
	case <-q.Changed():
	case <-late:
		t.Fatalf("not so after %v", patience)
	}
}

// claimSoon claims builds until there is one. After a restart of the database, servers first
// verify which builds they run.
func claimSoon(t *testing.T, q *pgqueue.DB, node string) queue.Build {
	t.Helper()
	late := time.After(patience)
	for {
		builds, _, err := q.Claim(t.Context(), time.Now(), queue.Node{Name: node}, []int{0})
		switch {
		case len(builds) == 1:
			return builds[0]
		case err != nil && !errors.Is(err, queue.ErrStorage):
			t.Fatal(err)
		default:
			changes(t, q, late) // also when the connection is back, and when a server has verified its builds
		}
	}
}

// claimNothing verifies that a server starts nothing.
func claimNothing(t *testing.T, q *pgqueue.DB, node string) {
	t.Helper()
	if builds, _, err := q.Claim(t.Context(), time.Now(), queue.Node{Name: node}, []int{0, 1}); err != nil && !errors.Is(err, queue.ErrStorage) || len(builds) != 0 {
		t.Fatalf("Claim on %s = %v, %v; want nothing yet", node, builds, err)
	}
}

// stopped waits until a server is requested to stop a build that the database has lost.
func stopped(t *testing.T, q *pgqueue.DB, b queue.Build) {
	t.Helper()
	late := time.After(patience)
	for {
		changes(t, q, late)
		wished, err := q.Aborts(t.Context())
		if err != nil && !errors.Is(err, queue.ErrStorage) {
			t.Fatal(err)
		}
		for _, w := range wished {
			if w.Item.Job != b.Item.Job || w.Number != b.Number || !strings.Contains(w.Abort, "has lost the start of the build") {
				t.Fatalf("requested to stop %+v", w)
			}
			return
		}
	}
}

// record records the end of a build as soon as the database is reachable.
func record(t *testing.T, q *pgqueue.DB, b queue.Build, r queue.Result) error {
	t.Helper()
	late := time.After(patience)
	for {
		_, err := q.Finish(t.Context(), time.Now(), b.Item.Job, b.Number, r, "")
		if !errors.Is(err, queue.ErrStorage) {
			return err
		}
		changes(t, q, late)
	}
}

// logOf returns the log of a build.
func logOf(t *testing.T, q *pgqueue.DB, b queue.Build) string {
	t.Helper()
	buf := make([]byte, 1000)
	n, err := q.ReadLog(t.Context(), b.Item.Job, b.Number, 0, 0, buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// TestFailoverThatLosesTheStartOfABuild promotes an asynchronous standby that has one item but
// not its start, and does not have another item at all.
func TestFailoverThatLosesTheStartOfABuild(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t)
	follower, either := pgtest.Follower(t, primary)
	servers := map[string]*pgqueue.DB{}
	for _, name := range []string{"ci-1", "ci-2"} {
		servers[name] = open(t, pgqueue.Options{URL: either, Schema: "ci", Server: name, TTL: 20 * time.Second})
	}
	one, two := servers["ci-1"], servers["ci-2"]
	deploy := schedule(t, one, request("deploy", "k"))
	schedule(t, one, request("kept", "k"))
	if err := follower.Detach(primary); err != nil {
		t.Fatal(err)
	}
	// The standby does not get what follows: the start of an item, and an item with its build.
	started := claimSoon(t, one, "ci-1")
	if started.Item.ID != deploy.ID {
		t.Fatalf("started item %d, want %d", started.Item.ID, deploy.ID)
	}
	kept := claimSoon(t, two, "ci-2")
	schedule(t, one, request("mark", "15"))
	lost := claimSoon(t, one, "ci-1")
	if _, err := one.AppendLog(t.Context(), "mark", lost.Number, 0, []byte("mine is 15\n"), false); err != nil {
		t.Fatal(err)
	}
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := follower.Promote(); err != nil {
		t.Fatal(err)
	}

	// Each server is requested to stop builds that the database does not have.
	stopped(t, two, kept)
	if err := record(t, two, kept, queue.Success); !errors.Is(err, queue.ErrNotRunning) {
		t.Errorf("end of a build whose start was lost: %v, want %v", err, queue.ErrNotRunning)
	}
	late := time.After(patience)
	for len(mustAborts(t, one)) != 2 {
		changes(t, one, late)
	}
	mark := schedule(t, two, request("mark", "32"))
	// The first server still runs builds of both jobs.
	again := claimSoon(t, two, "ci-2")
	if again.Item.Job != "kept" {
		t.Fatalf("started %s; want the job that has no running build", again.Item.Job)
	}
	claimNothing(t, two, "ci-2")
	claimNothing(t, one, "ci-1")

	// The log and the end of the lost build must not become those of the build that gets its
	// number.
	if _, err := one.AppendLog(t.Context(), "mark", lost.Number, 11, []byte("and more\n"), false); !errors.Is(err, queue.ErrNotRunning) {
		t.Errorf("log of a build whose start was lost: %v, want %v", err, queue.ErrNotRunning)
	}
	if err := record(t, one, lost, queue.Failure); !errors.Is(err, queue.ErrNotRunning) {
		t.Errorf("end of a build whose start was lost: %v, want %v", err, queue.ErrNotRunning)
	}
	second := claimSoon(t, two, "ci-2")
	if second.Item.ID != mark.ID || second.Number != lost.Number {
		t.Fatalf("started item %d as #%d; want item %d as #%d", second.Item.ID, second.Number, mark.ID, lost.Number)
	}
	if _, err := two.AppendLog(t.Context(), "mark", second.Number, 0, []byte("mine is 32\n"), true); err != nil {
		t.Error(err)
	}
	if _, err := one.AppendLog(t.Context(), "mark", lost.Number, 11, []byte("and more\n"), false); !errors.Is(err, queue.ErrNotRunning) {
		t.Errorf("log beside the build of that number: %v, want %v", err, queue.ErrNotRunning)
	}
	if err := record(t, two, second, queue.Success); err != nil {
		t.Error(err)
	}
	if e, err := one.Entry(t.Context(), time.Now(), mark.ID); err != nil || e.Build == nil || e.Build.Result != queue.Success {
		t.Errorf("item %d = %+v, %v; want its own result", mark.ID, e.Build, err)
	}
	if text := logOf(t, one, second); text != "mine is 32\n" {
		t.Errorf("log of the build: %q, want its own", text)
	}

	// The item whose start was lost is started again, but not before its first build has ended.
	claimNothing(t, two, "ci-2")
	if err := record(t, one, started, queue.Success); !errors.Is(err, queue.ErrNotRunning) {
		t.Errorf("end of a build whose start was lost: %v, want %v", err, queue.ErrNotRunning)
	}
	if b := claimSoon(t, two, "ci-2"); b.Item.ID != deploy.ID {
		t.Errorf("started item %d, want %d again", b.Item.ID, deploy.ID)
	}
}

func mustAborts(t *testing.T, q *pgqueue.DB) []queue.Build {
	t.Helper()
	wished, err := q.Aborts(t.Context())
	if err != nil && !errors.Is(err, queue.ErrStorage) {
		t.Fatal(err)
	}
	return wished
}

// TestOlderDataDirectoryIsPutBack replaces the database by an older copy of its files while a
// server is running. The copy was made after a clean shutdown, so it contains no hint that data
// is missing.
func TestOlderDataDirectoryIsPutBack(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	q := open(t, pgqueue.Options{URL: server.URL(), Schema: "ci", Server: "ci-1"})
	if _, err := q.Reclaim(t.Context(), time.Now(), "lost", nil); err != nil { // as a controller does first
		t.Fatal(err)
	}
	setRules(t, q, map[string]queue.Rules{"goes-on": {Concurrent: true}, "has-ended": {}, "waits": {}, "next": {}})
	for _, job := range []string{"goes-on", "has-ended"} {
		schedule(t, q, request(job, "k"))
	}
	goesOn, hasEnded := claimSoon(t, q, "ci-1"), claimSoon(t, q, "ci-1")
	schedule(t, q, request("goes-on", "too"))
	left := claimSoon(t, q, "ci-1")
	once := request("waits", "k")
	once.Key = &queue.Digest{'k'}
	waits, _, err := q.Schedule(t.Context(), start, once)
	if err == nil {
		err = server.Save()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := record(t, q, hasEnded, queue.Success); err != nil {
		t.Fatal(err)
	}
	started := claimSoon(t, q, "ci-1")
	if started.Item.ID != waits.ID {
		t.Fatalf("started item %d, want %d", started.Item.ID, waits.ID)
	}
	// A trigger that is repeated takes an identifier that nothing gets. The database will give it again:
	// it records in advance that it gives the next 32.
	executor(t, store{server.URL(), "ci"})("select nextval('item_ids') from generate_series(1, 40)")
	if _, _, err := q.Schedule(t.Context(), start, once); err == nil {
		t.Error("a trigger with the same key was not recognized")
	}
	if err := server.PutBack(); err != nil {
		t.Fatal(err)
	}
	stopped(t, q, started)
	claimNothing(t, q, "ci-1") // the item that is queued again is still running
	if err := record(t, q, started, queue.Success); !errors.Is(err, queue.ErrNotRunning) {
		t.Errorf("end of a build whose start was lost: %v, want %v", err, queue.ErrNotRunning)
	}
	if b := claimSoon(t, q, "ci-1"); b.Item.ID != waits.ID {
		t.Errorf("started item %d, want %d again", b.Item.ID, waits.ID)
	}
	// Builds that run and are on record continue. A build that has ended, and is on record as
	// running again, is ended.
	beside := schedule(t, q, request("goes-on", "beside"))
	if b := claimSoon(t, q, "ci-1"); b.Item.ID != beside.ID {
		t.Errorf("started item %d beside a build that goes on, want %d", b.Item.ID, beside.ID)
	}
	for !(<-q.Notices()).Lost {
	}
	lost, err := q.ReclaimLost(t.Context(), time.Now(), nil)
	if err != nil || len(lost) != 1 || lost[0].Item.Job != "has-ended" || !strings.Contains(lost[0].Reason, "the database was set back") {
		t.Errorf("ReclaimLost = %+v, %v; want the build that had ended, with the reason", lost, err)
	}
	if err := record(t, q, goesOn, queue.Success); err != nil {
		t.Errorf("end of a build that ran all the time: %v", err)
	}
	// Identifiers that were assigned since the copy are not used, because other clients may get
	// them again.
	last := beside.ID
	for _, key := range []string{"1", "2"} {
		next := schedule(t, q, request("next", key))
		if next.ID <= last {
			t.Errorf("the next item has the ID %d, though %d was given", next.ID, last)
		}
		last = next.ID
	}
	// If this server stops now, others must see that its builds are those of its last life.
	rows, err := pgtest.Connect(t, server.URL()).Query(t.Context(), "select item from ci.builds join ci.servers using (server, epoch) where running order by item")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if want := []int64{waits.ID, left.Item.ID, beside.ID}; err != nil || !slices.Equal(ids, slices.Sorted(slices.Values(want))) {
		t.Errorf("items that run in the epoch of their server: %v, %v, want %v", ids, err, want)
	}
}

// TestEndOfABuildWhoseNumberWasGivenAgain resets the records of a job so quickly that no
// heartbeat notices, and starts another build with the same number on another server. The log
// and the end of the first build must not become those of the second.
func TestEndOfABuildWhoseNumberWasGivenAgain(t *testing.T) {
	t.Parallel()
	database := pgtest.Start(t)
	one := open(t, pgqueue.Options{URL: database.URL(), Schema: "ci", Server: "ci-1"})
	two := open(t, pgqueue.Options{URL: database.URL(), Schema: "ci", Server: "ci-2"})
	conn := pgtest.Connect(t, database.URL())
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	schedule(t, one, request("mark", "1"))
	if err := record(t, one, claimSoon(t, one, "ci-1"), queue.Success); err != nil {
		t.Fatal(err)
	}
	exec("create table saved as select * from ci.lanes")
	schedule(t, one, request("mark", "15"))
	lost := claimSoon(t, one, "ci-1")
	if _, err := one.AppendLog(t.Context(), "mark", lost.Number, 0, []byte("mine is 15\n"), false); err != nil {
		t.Fatal(err)
	}
	before, err := two.LogState(t.Context(), "mark", lost.Number)
	if err != nil || before.Size != 11 {
		t.Errorf("LogState of the first build = %+v, %v", before, err)
	}
	exec("delete from ci.pieces; delete from ci.builds where number = 2; " +
		"update ci.lanes set head = saved.head, next = saved.next, next_id = saved.next_id from saved where lanes.job = saved.job")
	item := schedule(t, two, request("mark", "32"))
	second := claimSoon(t, two, "ci-2")
	if second.Item.ID != item.ID || second.Number != lost.Number {
		t.Fatalf("started item %d as #%d; want item %d as #%d", second.Item.ID, second.Number, item.ID, lost.Number)
	}

	for _, offset := range []int64{0, 11} {
		if _, err := one.AppendLog(t.Context(), "mark", lost.Number, offset, []byte("mine is 15\n"), false); !errors.Is(err, queue.ErrNotRunning) {
			t.Errorf("log of the first build at %d: %v, want %v", offset, err, queue.ErrNotRunning)
		}
	}
	if err := record(t, one, lost, queue.Failure); !errors.Is(err, queue.ErrNotRunning) {
		t.Errorf("end of the first build: %v, want %v", err, queue.ErrNotRunning)
	}
	if b, err := two.Build(t.Context(), "mark", second.Number); err != nil || !b.Running() || b.Item.ID != item.ID {
		t.Errorf("the second build is %+v, %v; want it running", b, err)
	}
	if _, err := two.AppendLog(t.Context(), "mark", second.Number, 0, []byte("mine is 32\n"), true); err != nil {
		t.Fatal(err)
	}
	if got := logOf(t, two, second); got != "mine is 32\n" {
		t.Errorf("log of the second build: %q", got)
	}
	// A reader of the first build's log must not receive that of the second.
	if after, err := two.LogState(t.Context(), "mark", second.Number); err != nil || after.Build == before.Build || after.Size != 11 {
		t.Errorf("LogState of the second build = %+v, %v; want another identity than in %+v", after, err, before)
	}
	if n, err := two.ReadLog(t.Context(), "mark", lost.Number, before.Build, 0, make([]byte, 11)); n != 0 || !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("ReadLog of the first build = %d bytes, %v; want %v", n, err, queue.ErrNotFound)
	}
	if err := record(t, two, second, queue.Success); err != nil {
		t.Errorf("end of the second build: %v", err)
	}
}

// TestOlderDataDirectoryWaitsForAllServers sets the database back while one server cannot
// reach it. Nothing in the older state tells that this server runs a build whose start is
// lost, so the other server must not start the item before the first one was heard.
func TestOlderDataDirectoryWaitsForAllServers(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	one, wire := behind(t, server, "ci", "ci-1", time.Hour)
	two := open(t, pgqueue.Options{URL: server.URL(), Schema: "ci", Server: "ci-2", TTL: time.Hour})
	item := schedule(t, one, request("deploy", "k"))
	if err := server.Save(); err != nil {
		t.Fatal(err)
	}
	lost := claimSoon(t, one, "ci-1")
	wire.set(nil, true)
	if err := server.PutBack(); err != nil {
		t.Fatal(err)
	}
	for late := time.After(patience); ; { // until the database answers the second server
		builds, _, err := two.Claim(t.Context(), time.Now(), queue.Node{Name: "ci-2"}, []int{0})
		if len(builds) != 0 {
			t.Fatalf("started %v, which another server still runs", builds)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, queue.ErrStorage) {
			t.Fatal(err)
		}
		changes(t, two, late)
	}
	wire.set(nil, false)
	stopped(t, one, lost)
	claimNothing(t, two, "ci-2")
	if err := record(t, one, lost, queue.Success); !errors.Is(err, queue.ErrNotRunning) {
		t.Errorf("end of a build whose start was lost: %v, want %v", err, queue.ErrNotRunning)
	}
	if b := claimSoon(t, two, "ci-2"); b.Item.ID != item.ID {
		t.Errorf("started item %d, want %d again", b.Item.ID, item.ID)
	}
}

// TestCrashInACommitIsNotASetBack has the database crash when it has committed the start or
// the end of a build, and before the server has received the answer. Nothing is lost.
func TestCrashInACommitIsNotASetBack(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	// crash returns what do returns, whose answer is lost in the crash.
	crash := func(t *testing.T, w *wire, do func() error) {
		t.Helper()
		plan := cut{commits: true, loseAnswer: true, thenDown: true}
		w.set(&plan, false)
		answer := make(chan error, 1)
		go func() { answer <- do() }()
		for !w.hasAnswered(&plan) {
			<-time.After(time.Millisecond)
		}
		if err := errors.Join(server.Crash(), server.Run()); err != nil {
			t.Fatal(err)
		}
		w.set(nil, false)
		if err := <-answer; !errors.Is(err, queue.ErrStorage) {
			t.Fatalf("the answer was lost: %v, want %v", err, queue.ErrStorage)
		}
	}
	begin := func(t *testing.T) (*pgqueue.DB, *wire, *observer.ObservedLogs) {
		t.Helper()
		schema := pgtest.Schema(t, server.URL())
		w := newWire(t, host(t, server))
		core, logs := observer.New(zap.InfoLevel)
		q := open(t, pgqueue.Options{URL: "postgres:///postgres?user=buildtoken&host=" + w.dir, Schema: schema, Server: "ci-1", TTL: time.Hour, Log: zap.New(core)})
		if _, err := q.Reclaim(t.Context(), time.Now(), "lost", nil); err != nil { // as a controller does first
			t.Fatal(err)
		}
		schedule(t, q, request("j", "k"))
		return q, w, logs
	}
	// sure waits until the server has compared its builds with the database.
	sure := func(t *testing.T, q *pgqueue.DB, logs *observer.ObservedLogs) {
		t.Helper()
		late := time.After(patience)
		for logs.FilterMessageSnippet("knows all builds of this server").Len() == 0 {
			changes(t, q, late)
			if said := logs.FilterMessageSnippet("set back"); said.Len() > 0 {
				t.Fatalf("it reports %v", said.All())
			}
		}
	}

	t.Run("start", func(t *testing.T) {
		q, w, logs := begin(t)
		crash(t, w, func() error {
			_, _, err := q.Claim(t.Context(), time.Now(), queue.Node{Name: "ci-1"}, []int{0})
			return err
		})
		sure(t, q, logs)
		for !(<-q.Notices()).Lost {
		}
		lost, err := q.ReclaimLost(t.Context(), time.Now(), nil)
		if err != nil || len(lost) != 1 || !strings.Contains(lost[0].Reason, "so nothing was run") {
			t.Errorf("ReclaimLost = %+v, %v; want the build that was never run, and why", lost, err)
		}
	})
	t.Run("end", func(t *testing.T) {
		q, w, logs := begin(t)
		b := claimSoon(t, q, "ci-1")
		crash(t, w, func() error {
			_, err := q.Finish(t.Context(), time.Now(), b.Item.Job, b.Number, queue.Success, "")
			return err
		})
		sure(t, q, logs)
		if wished := mustAborts(t, q); len(wished) > 0 {
			t.Errorf("asked to stop %+v, which has ended", wished)
		}
		if err := record(t, q, b, queue.Success); !errors.Is(err, queue.ErrNotRunning) {
			t.Errorf("the end that is on record: %v, want %v", err, queue.ErrNotRunning)
		}
		if b, err := q.Build(t.Context(), b.Item.Job, b.Number); err != nil || b.Result != queue.Success {
			t.Errorf("on record is %+v, %v", b, err)
		}
	})
}

// TestDatabaseThatGoesBackWithoutARestart sets the records back as a virtual machine does that
// is reverted with its memory: the database does not know that it was ever away.
func TestDatabaseThatGoesBackWithoutARestart(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	q := open(t, pgqueue.Options{URL: server.URL(), Schema: "ci", Server: "ci-1"})
	conn := pgtest.Connect(t, server.URL())
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	schedule(t, q, request("deploy", "k"))
	exec("create table saved_items as select * from ci.items; create table saved_lanes as select * from ci.lanes; create table saved_servers as select * from ci.servers")
	lost := claimSoon(t, q, "ci-1")
	for later := false; !later; { // until a heartbeat was answered after what was saved, and another one was sent
		exec(`notify "buildtoken ci", '{"from":"other","servers":true}'`)
		if err := conn.QueryRow(t.Context(), "select s.pulse > saved.pulse + 1 from ci.servers s, saved_servers saved").Scan(&later); err != nil {
			t.Fatal(err)
		}
	}
	exec(`delete from ci.builds; insert into ci.items select * from saved_items;
		update ci.lanes set head = saved.head, next = saved.next, next_id = saved.next_id from saved_lanes saved where lanes.job = saved.job;
		update ci.servers set pulse = saved.pulse from saved_servers saved`)
	stopped(t, q, lost)
	if err := record(t, q, lost, queue.Success); !errors.Is(err, queue.ErrNotRunning) {
		t.Errorf("end of a build whose start was lost: %v, want %v", err, queue.ErrNotRunning)
	}
	if again := claimSoon(t, q, "ci-1"); again.Item.ID != lost.Item.ID {
		t.Errorf("started item %d, want %d again", again.Item.ID, lost.Item.ID)
	}
}

// TestRecordThatCannotBeComparedIsNotLost has the database go back while the record of a running
// build cannot be read. The builds continue until it can be read again.
func TestRecordThatCannotBeComparedIsNotLost(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	core, logs := observer.New(zap.InfoLevel)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "ci-1", TTL: time.Hour, Log: zap.New(core)})
	exec := executor(t, s)
	setRules(t, q, map[string]queue.Rules{"j": {Concurrent: true}})
	schedule(t, q, request("j", "k"))
	b := claimSoon(t, q, "ci-1")
	exec("create table saved as select body from builds; update builds set body = '[]'; update servers set pulse = 0")
	until := func(message string) {
		t.Helper()
		for late := time.After(patience); logs.FilterMessageSnippet(message).Len() == 0; {
			select {
			case <-time.After(time.Millisecond):
			case <-late:
				t.Fatalf("nothing like %q is logged after %v: %v", message, patience, logs.All())
			}
		}
	}
	until("connection that listens to the database was lost")
	exec("update builds set body = saved.body from saved")
	until("knows all builds of this server")
	if wished := mustAborts(t, q); len(wished) > 0 {
		t.Errorf("asked to stop %+v", wished)
	}
	schedule(t, q, request("j", "beside it"))
	if beside := claimSoon(t, q, "ci-1"); beside.Number != 2 {
		t.Errorf("started #%d beside the first build, want #2", beside.Number)
	}
	if err := record(t, q, b, queue.Success); err != nil {
		t.Errorf("end of the build: %v", err)
	}
}

// TestLostStartsAreListed has the database lose the start of several builds, but not of all.
func TestLostStartsAreListed(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	core, logs := observer.New(zap.ErrorLevel)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "ci-1", TTL: time.Hour, Log: zap.New(core)})
	for _, job := range []string{"d", "kept", "b", "a"} {
		schedule(t, q, request(job, "k"))
	}
	builds := claim(t, q, queue.Node{Name: "ci-1"})
	exec := executor(t, s)
	exec("delete from builds where job <> 'kept'; update servers set pulse = 0")
	exec("notify \"buildtoken " + s.schema + "\", '{\"from\":\"other\",\"servers\":true}'") // asks for a heartbeat
	late := time.After(patience)
	for logs.FilterMessageSnippet("has lost the start of builds").Len() == 0 {
		changes(t, q, late)
	}
	if diff := cmp.Diff([]any{"a #1", "b #1", "d #1"}, logs.All()[0].ContextMap()["builds"]); diff != "" {
		t.Errorf("builds in the log (-want +got):\n%s", diff)
	}
	for left := 3; len(builds) > 0; builds = builds[1:] {
		if wished := mustAborts(t, q); len(wished) != left {
			t.Errorf("%d builds are to be stopped, want %d", len(wished), left)
		}
		b := builds[0]
		_, err := q.Finish(t.Context(), start, b.Item.Job, b.Number, queue.Success, "")
		if lost := b.Item.Job != "kept"; lost != errors.Is(err, queue.ErrNotRunning) || !lost && err != nil {
			t.Errorf("end of a build of %s: %v; lost: %v", b.Item.Job, err, lost)
		} else if lost {
			left--
		}
	}
}
