package pgqueue_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// behind opens the queue of a store as a server, through a wire.
func behind(t *testing.T, server *pgtest.Server, schema, name string, ttl time.Duration) (*pgqueue.DB, *wire) {
	t.Helper()
	parsed, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(t, parsed.Query().Get("host"))
	return open(t, pgqueue.Options{
		URL: "postgres:///postgres?user=buildtoken&host=" + w.dir, Schema: schema, Server: name, TTL: ttl, Log: zap.NewNop(),
	}), w
}

// TestServerIsGivenUpAfterItHasStoppedItsBuilds cuts a server off, lets another one give it up,
// and lets the first one come back.
func TestServerIsGivenUpAfterItHasStoppedItsBuilds(t *testing.T) {
	t.Parallel()
	const ttl = 3 * time.Second
	server := pgtest.Start(t)
	schema := pgtest.Schema(t, server.URL())
	first, w := behind(t, server, schema, "first", ttl)
	core, logged := observer.New(zap.WarnLevel)
	second := open(t, pgqueue.Options{URL: server.URL(), Schema: schema, Server: "second", TTL: ttl, Log: zap.New(core)})
	node := queue.Node{Name: "first"}
	schedule(t, first, request("j", "k"))
	if builds, _, err := first.Claim(t.Context(), start, node, []int{0}); err != nil || len(builds) != 1 {
		t.Fatalf("Claim: %v, %v", builds, err)
	}
	next := schedule(t, second, request("j", "next"))
	if lost, err := second.ReclaimLost(t.Context(), start, nil); err != nil || len(lost) != 0 {
		t.Fatalf("ReclaimLost while all is well: %v, %v", lost, err)
	}
	select {
	case <-first.CutOff():
		t.Fatal("builds were stopped while all was well")
	default:
	}
	third := pgtest.Connect(t, server.URL())
	if _, err := third.Exec(t.Context(), fmt.Sprintf("listen %q", "buildtoken "+schema)); err != nil {
		t.Fatal(err)
	}
	w.set(nil, true)
	for told := ""; !strings.Contains(told, `"servers":true`); { // others know at once what is stuck
		n, err := third.WaitForNotification(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		told = n.Payload
	}
	for !(<-second.Notices()).Lost {
	}
	if lines := logged.FilterMessage("leases of servers have expired: their builds are taken for lost"); lines.Len() != 1 || fmt.Sprint(lines.All()[0].ContextMap()["servers"]) != "[first]" {
		t.Errorf("logged %v, want one line about the server", logged.All())
	}
	select {
	case <-first.CutOff():
	default:
		t.Fatal("the first server was given up before it had to stop its builds")
	}
	if builds, _, err := second.Claim(t.Context(), start, queue.Node{Name: "second"}, []int{0}); err != nil || len(builds) != 0 {
		t.Errorf("Claim beside a build that was not ended: %v, %v", builds, err)
	}
	lost, err := second.ReclaimLost(t.Context(), start, nil)
	const reason = "lost: the server first was not heard of for 3s"
	if err != nil || len(lost) != 1 || lost[0].Result != queue.Aborted || lost[0].Reason != reason {
		t.Fatalf("ReclaimLost: %+v, %v; want one that was ABORTED, %q", lost, err, reason)
	}
	if again, err := second.ReclaimLost(t.Context(), start, nil); err != nil || len(again) != 0 {
		t.Errorf("ReclaimLost again: %v, %v", again, err)
	}
	if lines := logged.FilterMessage("builds were lost with the server that ran them"); lines.Len() != 1 || lines.FilterField(zap.Int("builds", 1)).Len() != 1 {
		t.Errorf("logged %v, want one line with one lost build", logged.All())
	}
	builds, _, err := second.Claim(t.Context(), start, queue.Node{Name: "second"}, []int{0})
	if err != nil || len(builds) != 1 || builds[0].Item.ID != next.ID {
		t.Errorf("Claim: %v, %v; want the next build of the lane", builds, err)
	}

	w.set(nil, false)
	<-first.CutOff() // reports that its builds were given up
	if lost, err := first.Lost(t.Context()); err != nil || len(lost) != 1 || lost[0].Number != 1 {
		t.Errorf("Lost on the server that comes back: %v, %v; want the build that the other server ended", lost, err)
	}
	if _, err := second.Finish(t.Context(), start, "j", 2, queue.Success, ""); err != nil {
		t.Fatal(err)
	}
	last := schedule(t, second, request("j", "last"))
	claimed := func() []queue.Build {
		t.Helper()
		for {
			builds, _, err := first.Claim(t.Context(), start, node, []int{0})
			if err == nil {
				return builds // it has a new epoch
			}
			if !errors.Is(err, queue.ErrStorage) {
				t.Fatalf("Claim of the server that came back: %v", err)
			}
		}
	}
	if builds := claimed(); len(builds) != 0 {
		t.Errorf("Claim while it still stops a build of the job: %v", builds)
	}
	for len(first.Changed()) > 0 {
		<-first.Changed()
	}
	if _, err := first.Finish(t.Context(), start, "j", 1, queue.Success, ""); !errors.Is(err, queue.ErrNotRunning) {
		t.Errorf("late verdict: %v, want %v", err, queue.ErrNotRunning)
	}
	if lost, err := first.Lost(t.Context()); err != nil || len(lost) != 0 {
		t.Errorf("Lost after the end of what was given up: %v, %v", lost, err)
	}
	<-first.Changed()
	if builds := claimed(); len(builds) != 1 || builds[0].Item.ID != last.ID {
		t.Errorf("Claim when the build is gone: %v", builds)
	}
}

func TestRestartTakesOverAtOnce(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	schema := pgtest.Schema(t, server.URL())
	first, w := behind(t, server, schema, "ci-1", time.Hour)
	schedule(t, first, request("j", "k"))
	if builds, _, err := first.Claim(t.Context(), start, queue.Node{Name: "ci-1"}, []int{0}); err != nil || len(builds) != 1 {
		t.Fatalf("Claim: %v, %v", builds, err)
	}
	other := open(t, pgqueue.Options{URL: server.URL(), Schema: schema, Server: "ci-2", TTL: time.Hour})
	if lost, err := other.Lost(t.Context()); err != nil || len(lost) != 0 {
		t.Errorf("Lost on another server: %v, %v", lost, err)
	}
	w.set(nil, true) // it is dead
	core, logged := observer.New(zap.WarnLevel)
	again := open(t, pgqueue.Options{URL: server.URL(), Schema: schema, Server: "ci-1", TTL: time.Hour, Log: zap.New(core)})
	lost, err := again.Reclaim(t.Context(), start, "lost", nil)
	if err != nil || len(lost) != 1 || lost[0].Reason != "lost" {
		t.Errorf("Reclaim after a restart: %v, %v; want its own build", lost, err)
	}
	if found, err := again.Reclaim(t.Context(), start, "lost", nil); err != nil || len(found) != 0 {
		t.Errorf("Reclaim again: %v, %v", found, err)
	}
	if lines := logged.FilterMessage("builds were lost with the process that ran them"); lines.Len() != 1 || lines.FilterField(zap.Int("builds", 1)).Len() != 1 {
		t.Errorf("logged %v, want one line with one lost build", logged.All())
	}
}

// TestSilentServerStartsNothing blocks only the heartbeats of a server.
func TestSilentServerStartsNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	core, logged := observer.New(zap.ErrorLevel)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "first", TTL: 3 * time.Second, Log: zap.New(core)})
	conn := pgtest.Connect(t, s.url)
	silence := func() pgx.Tx {
		t.Helper()
		tx, err := conn.Begin(t.Context())
		if err == nil {
			_, err = tx.Exec(t.Context(), "select from "+s.schema+".servers for no key update")
		}
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	tx := silence()
	claim := func() ([]queue.Build, error) {
		builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "first"}, []int{0})
		return builds, err
	}
	const ttl = 3 * time.Second
	var err error
	for err == nil {
		left := q.LeaseRemaining()
		if _, err = claim(); err == nil && left < ttl*2/3 {
			t.Errorf("it claimed when its lease was to last another %v, want nothing after a third of it", left)
		}
	}
	if left := q.LeaseRemaining(); !errors.Is(err, queue.ErrStorage) || left > ttl*2/3 {
		t.Errorf("Claim: %v with %v of the lease left; want %v after a third of it", err, left, queue.ErrStorage)
	}
	select {
	case <-q.CutOff():
		t.Error("the server still claimed when its builds had to be stopped")
	default:
	}
	schedule(t, q, request("j", "k")) // a trigger needs no lease
	<-q.CutOff()
	if left := q.LeaseRemaining(); left > ttl/3 {
		t.Errorf("builds are stopped when the lease lasts another %v, want it after two thirds", left)
	}
	if builds, err := claim(); !errors.Is(err, queue.ErrStorage) {
		t.Errorf("Claim: %v, %v; want %v", builds, err, queue.ErrStorage)
	}
	if due, _, err := q.TakeNotifications(t.Context(), start, nil, 10); !errors.Is(err, queue.ErrStorage) || len(due) != 0 {
		t.Errorf("TakeNotifications: %v, %v; want %v", due, err, queue.ErrStorage)
	}
	if adopted, err := q.Adopt(t.Context(), nil, queue.Node{Name: "first"}, nil); !errors.Is(err, queue.ErrStorage) || len(adopted) != 0 {
		t.Errorf("Adopt: %v, %v; want %v", adopted, err, queue.ErrStorage)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	for {
		if builds, err := claim(); err == nil && len(builds) == 1 {
			break // a heartbeat got through
		}
	}
	// That heartbeat may have been sent before the builds were stopped. They must be stopped again.
	tx = silence()
	select {
	case <-q.CutOff():
	case <-time.After(patience):
		t.Error("builds that were started in between are not stopped")
	}
	if lines := logged.FilterMessageSnippet("builds are stopped before other servers take them for lost"); lines.Len() != 2 {
		t.Errorf("logged %v, want that builds are stopped, twice", logged.All())
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestServerThatWasGivenUpStartsNothing gives up a server that has not noticed it. It neither starts
// a build nor takes a notification.
func TestServerThatWasGivenUpStartsNothing(t *testing.T) {
	s := newStore(t)
	core, logged := observer.New(zap.ErrorLevel)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "first", TTL: time.Hour, Log: zap.New(core)})
	setRules(t, q, map[string]queue.Rules{"j": {Notify: []queue.Target{{Name: "chat", On: []queue.Condition{queue.OnQueued}}}}})
	schedule(t, q, request("j", "k"))
	other := pgtest.Connect(t, s.url)
	if _, err := other.Exec(t.Context(), "update "+s.schema+".servers set epoch = epoch + 1"); err != nil {
		t.Fatal(err)
	}
	builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "first"}, []int{0})
	if !errors.Is(err, queue.ErrStorage) || len(builds) != 0 {
		t.Errorf("Claim: %v, %v; want %v", builds, err, queue.ErrStorage)
	}
	if due, _, err := q.TakeNotifications(t.Context(), start, []string{"chat"}, 10); !errors.Is(err, queue.ErrStorage) || len(due) != 0 {
		t.Errorf("TakeNotifications: %v, %v; want %v", due, err, queue.ErrStorage)
	}
	if adopted, err := q.Adopt(t.Context(), []queue.Build{{Item: queue.Item{Job: "j"}, Number: 1}}, queue.Node{Name: "first"}, []int{0}); !errors.Is(err, queue.ErrStorage) || len(adopted) != 0 {
		t.Errorf("Adopt: %v, %v; want %v", adopted, err, queue.ErrStorage)
	}
	if l, err := laneOf(t.Context(), q, "j"); err != nil || len(l.Running) != 0 || l.Queued != 1 {
		t.Errorf("lane %+v, %v; want nothing started", l, err)
	}
	// A heartbeat notices it.
	sendHeartbeats(t, s)
	<-q.CutOff()
	if text := fmt.Sprint(logged.All()[0].ContextMap()["error"]); !strings.Contains(text, "has taken the lease") {
		t.Errorf("logged the error %q, want that another server has taken the lease", text)
	}
}

// TestLeaseThatWasReleased releases the lease of a server that is still there. The server stops its
// builds and takes another lease.
func TestLeaseThatWasReleased(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "first", TTL: time.Hour, Log: zap.NewNop()})
	exec := executor(t, s)
	exec("update servers set released = true")
	exec("notify \"buildtoken " + s.schema + "\", '{\"from\":\"other\",\"servers\":true}'") // asks for a heartbeat
	select {
	case <-q.CutOff():
	case <-time.After(patience):
		t.Fatal("the server does not stop its builds")
	}
	schedule(t, q, request("j", "k"))
	claimSoon(t, q, "first")
	var epoch int
	if err := pgtest.Connect(t, s.url).QueryRow(t.Context(), "select epoch from "+s.schema+".servers where not released").Scan(&epoch); err != nil || epoch != 2 {
		t.Errorf("the server has epoch %d, %v; want a new one", epoch, err)
	}
}

// TestCloseInAHeartbeatReleasesTheLease closes the queue while the database is busy with a
// heartbeat.
func TestCloseInAHeartbeatReleasesTheLease(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "first", TTL: time.Hour, Log: zap.NewNop()})
	conn, look := pgtest.Connect(t, s.url), pgtest.Connect(t, s.url)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "select from "+s.schema+".servers for no key update"); err != nil {
		t.Fatal(err)
	}
	untilBlocked(t, s, conn, 1, "select epoch%")
	closed := make(chan error)
	go func() { closed <- q.Close() }() // ends when the lease is released, or with its time limit
	untilBlocked(t, s, conn, 1, "%released = true%")
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	var released bool
	if err := look.QueryRow(t.Context(), "select released from "+s.schema+".servers").Scan(&released); err != nil || !released {
		t.Errorf("released = %v, %v; other servers wait until the lease expires", released, err)
	}
}

// TestLostConnectionIsLoggedOnce interrupts all connections for several attempts to connect again.
func TestLostConnectionIsLoggedOnce(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	w := newWire(t, host(t, server))
	core, logged := observer.New(zap.InfoLevel)
	q := open(t, pgqueue.Options{URL: "postgres:///postgres?user=buildtoken&host=" + w.dir, Schema: "ci", TTL: time.Hour, Log: zap.New(core)})
	w.set(nil, true)
	for w.hasMissed() < 12 {
		<-time.After(time.Millisecond)
	}
	w.set(nil, false)
	for logged.FilterMessage("connection to the database is back").Len() == 0 {
		<-q.Changed()
	}
	if lines := logged.FilterMessage("connection that listens to the database was lost"); lines.Len() != 1 {
		t.Errorf("logged %v, want one lost connection", lines.All())
	}
	before := ""
	for _, line := range logged.FilterMessage("cannot connect to the database again; trying again").All() {
		text := fmt.Sprint(line.ContextMap()["error"])
		if text == before || text == "" {
			t.Errorf("logged %q after %q, want each error once as long as it stays the same", text, before)
		}
		before = text
	}
	if before == "" {
		t.Error("the attempts that failed are not logged")
	}
}

// TestLostConnectionWhoseNameIsTaken ends the connection that listens, and keeps the server's name
// for a moment. The server must go on trying until it has the name again.
func TestLostConnectionWhoseNameIsTaken(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	core, logged := observer.New(zap.InfoLevel)
	opts := s.options()
	opts.Log, opts.LockTimeout = zap.New(core), time.Millisecond
	q := open(t, opts)
	admin, thief := pgtest.Connect(t, s.url), pgtest.Connect(t, s.url)
	name := fmt.Sprintf("buildtoken server %q %q", s.schema, "ci-1")
	taken := make(chan error, 1)
	go func() { // ends when the name is free
		_, err := thief.Exec(t.Context(), "select pg_advisory_lock(hashtextextended($1, 0))", name)
		taken <- err
	}()
	var listener int
	for listener == 0 { // the thief waits for it
		if err := admin.QueryRow(t.Context(), "select coalesce((pg_blocking_pids($1::int))[1], 0)", thief.PgConn().PID()).Scan(&listener); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := admin.Exec(t.Context(), "select pg_terminate_backend($1::int)", listener); err != nil {
		t.Fatal(err)
	}
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	untilLogged(t, logged, "cannot connect to the database again; trying again", "")
	schedule(t, q, request("j", "k")) // needs no name
	if builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0}); err != nil || len(builds) != 1 {
		t.Fatalf("Claim: %v, %v", builds, err)
	}
	for len(q.Changed()) > 0 {
		<-q.Changed()
	}
	select {
	case <-q.Changed(): // it hears nothing of other servers, so it must look by itself
	case <-time.After(patience):
		t.Error("the server does not look for what other servers have queued")
	}
	if _, err := admin.Exec(t.Context(), "update "+s.schema+".servers set epoch = epoch + 1, released = true"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-q.CutOff():
	case <-time.After(patience):
		t.Error("the server does not stop its builds when another one has released its lease")
	}
	if _, err := thief.Exec(t.Context(), "select pg_advisory_unlock_all()"); err != nil {
		t.Fatal(err)
	}
	untilLogged(t, logged, "connection to the database is back", "")
}
