package pgqueue_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// shared opens one queue as several servers.
func shared(t testing.TB, s store, names ...string) []*pgqueue.DB {
	t.Helper()
	var all []*pgqueue.DB
	for _, name := range names {
		all = append(all, open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: name, Log: zap.NewNop()}))
	}
	return all
}

func claim(t testing.TB, q *pgqueue.DB, node queue.Node) []queue.Build {
	t.Helper()
	builds, _, err := q.Claim(t.Context(), start, node, []int{0, 1, 2, 3})
	if err != nil {
		t.Fatalf("Claim on %s: %v", node.Name, err)
	}
	return builds
}

func setRules(t testing.TB, q *pgqueue.DB, rules map[string]queue.Rules) {
	t.Helper()
	if err := q.SetRules(t.Context(), start, queue.Config{Rules: rules}); err != nil {
		t.Fatal(err)
	}
}

func TestBuildsRunWhereTheLabelIs(t *testing.T) {
	dbs := shared(t, newStore(t), "a", "b")
	rules := map[string]queue.Rules{"j": {Label: "gpu"}}
	setRules(t, dbs[0], rules)
	setRules(t, dbs[1], rules)
	it := schedule(t, dbs[0], request("j", "k"))
	if builds := claim(t, dbs[0], queue.Node{Name: "a"}); len(builds) != 0 {
		t.Errorf("started without the label: %v", builds)
	}
	builds := claim(t, dbs[1], queue.Node{Name: "b", Labels: []string{"gpu"}})
	if len(builds) != 1 || builds[0].Item.ID != it.ID || builds[0].Node != "b" {
		t.Fatalf("started %v, want item %d on b", builds, it.ID)
	}
	if err := dbs[0].Abort(t.Context(), "j", 1, "alice"); err != nil {
		t.Fatal(err)
	}
	for {
		<-dbs[1].Changed()
		wished, err := dbs[1].Aborts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(wished) == 1 && wished[0].Abort == "alice" {
			break
		}
	}
	next := schedule(t, dbs[1], request("j", "next"))
	if err := dbs[0].Cancel(t.Context(), start, "j", next.ID, "alice"); err != nil {
		t.Errorf("Cancel of an item of another server: %v", err)
	}
	if _, err := dbs[0].Finish(t.Context(), start, "j", 1, queue.Aborted, ""); err != nil {
		t.Errorf("Finish of a build of another server: %v", err)
	}
}

func TestServersKnowEachOther(t *testing.T) {
	s := newStore(t)
	dbs := shared(t, s, "a", "b")
	knows := func(q *pgqueue.DB, want ...queue.Node) {
		t.Helper()
		for !slices.EqualFunc(q.Nodes(), want, func(a, b queue.Node) bool { return cmp.Equal(a, b) }) {
			<-q.Notices() // until the test is over
		}
	}
	a, b := queue.Node{Name: "a", Labels: []string{"gpu", "linux"}}, queue.Node{Name: "b", Labels: []string{}}
	if err := dbs[0].Announce(t.Context(), a, 2); err != nil {
		t.Fatal(err)
	}
	knows(dbs[1], a)
	if err := dbs[1].Announce(t.Context(), b, 1); err != nil {
		t.Fatal(err)
	}
	knows(dbs[0], a, b)
	if err := dbs[0].Close(); err != nil {
		t.Fatal(err)
	}
	knows(dbs[1], b)
	knows(shared(t, s, "c")[0], b) // from the beginning
}

// TestHeartbeatAloneIsNoNews waits for heartbeats of a server that has nothing to do. Each notice
// makes all open pages be read again.
func TestHeartbeatAloneIsNoNews(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := shared(t, s, "a")[0]
	conn := pgtest.Connect(t, s.url)
	beats := func() (n int64) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), "select pulse from "+s.schema+".servers").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for first := beats(); beats() < first+2; { // the second one begins after the first has ended
		select {
		case n := <-q.Notices():
			t.Fatalf("notice %+v, although nothing has changed", n)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestJobsOfOthersAreLeftToThem reloads two servers, one after the other, with a configuration
// that adds a job and removes one.
func TestJobsOfOthersAreLeftToThem(t *testing.T) {
	dbs := shared(t, newStore(t), "a", "b")
	a, b := dbs[0], dbs[1]
	held := queue.Rules{Label: "gone"}
	rulesOf := func(job string) queue.Rules {
		t.Helper()
		l, err := laneOf(t.Context(), a, job)
		if err != nil {
			t.Fatal(err)
		}
		return l.Rules
	}
	before := map[string]queue.Rules{"old": held, "stays": {}}
	after := map[string]queue.Rules{"new": {}, "stays": {}}
	setRules(t, a, before)
	setRules(t, b, before)
	schedule(t, a, request("old", "k"))
	setRules(t, b, after)
	schedule(t, b, request("new", "k"))
	if got := rulesOf("old"); !got.Equal(held) {
		t.Errorf("rules of a job that one server has: %+v, want %+v", got, held)
	}
	for range 2 {
		builds, next, err := a.Claim(t.Context(), start, queue.Node{Name: "a"}, []int{0})
		if err != nil || len(builds) != 0 || !next.IsZero() {
			t.Fatalf("Claim by the server that does not have the job yet: %v, next %v, %v; want nothing until a notice", builds, next, err)
		}
	}
	if builds := claim(t, b, queue.Node{Name: "b"}); len(builds) != 1 || builds[0].Item.Job != "new" {
		t.Fatalf("Claim where the job is known: %v", builds)
	}
	schedule(t, a, request("stays", "k"))
	if builds := claim(t, a, queue.Node{Name: "a"}); len(builds) != 1 || builds[0].Item.Job != "stays" {
		t.Errorf("Claim of a job that both have: %v", builds)
	}
	setRules(t, a, after) // now all have the same jobs
	if gone, err := a.Gone(t.Context()); err != nil || len(gone) != 1 || gone[0].Job != "old" || !gone[0].Rules.Equal(held) || !gone[0].GoneUntil.Equal(start) {
		t.Errorf("jobs that are gone: %+v, %v; want the old one with its rules", gone, err)
	}
	if builds := claim(t, a, queue.Node{Name: "a"}); len(builds) != 1 || builds[0].Item.Job != "old" {
		t.Errorf("Claim of a job that is gone: %v, want its item, so that it ends", builds)
	}
	if gone, err := a.Gone(t.Context()); err != nil || len(gone) != 0 {
		t.Errorf("jobs that are gone: %+v, %v; want none without items", gone, err)
	}
}

// TestJobMovesToAnotherServer removes a job from the only server that has it, at the instant when another server gets it.
func TestJobMovesToAnotherServer(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	dbs := shared(t, s, "a", "b")
	a, b := dbs[0], dbs[1]
	with, without := map[string]queue.Rules{"moves": {Label: "gpu"}, "stays": {}}, map[string]queue.Rules{"stays": {}}
	setRules(t, a, with)
	setRules(t, b, without)
	schedule(t, a, request("moves", "k"))

	conn, look := pgtest.Connect(t, s.url), pgtest.Connect(t, s.url)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "select from "+s.schema+".lanes where job = 'moves' for update"); err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup
	both.Go(func() { setRules(t, a, without) })
	untilBlocked(t, s, conn, 1, "%lanes%") // now a has seen that b does not have the job
	changed := make(chan struct{})
	both.Go(func() {
		defer close(changed)
		setRules(t, b, with)
	})
	for waits := false; !waits; { // for a
		if err := look.QueryRow(t.Context(), `select exists (select from pg_stat_activity b where exists (
				select from unnest(pg_blocking_pids(b.pid)) a where $1::int = any(pg_blocking_pids(a))))`, conn.PgConn().PID()).Scan(&waits); err != nil {
			t.Fatal(err)
		}
		select {
		case <-changed:
			waits = true
		default:
		}
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	both.Wait()
	if l, err := laneOf(t.Context(), b, "moves"); err != nil || !l.GoneUntil.IsZero() || !l.Rules.Equal(with["moves"]) {
		t.Errorf("lane of the job: %+v, %v; want it with its rules, since b has it", l, err)
	}
}

// TestJobsOfAServerThatLeftAreGone stops a server that has jobs which no other server has.
// Their items wait, and are built when a server has the job again.
func TestJobsOfAServerThatLeftAreGone(t *testing.T) {
	dbs := shared(t, newStore(t), "a", "b")
	a, b := dbs[0], dbs[1]
	set := func(q *pgqueue.DB, rules map[string]queue.Rules) {
		t.Helper()
		if err := q.SetRules(t.Context(), time.Now(), queue.Config{Rules: rules, Grace: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	set(a, map[string]queue.Rules{"both": {}})
	set(b, map[string]queue.Rules{"both": {}, "here": {}, "there": {Label: "b"}})
	schedule(t, b, request("here", "k"))
	schedule(t, b, request("there", "k"))
	if builds := claim(t, a, queue.Node{Name: "a"}); len(builds) != 0 {
		t.Fatalf("started what only another server has: %v", builds)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	gone := func() (jobs []string) {
		lanes, err := a.Gone(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lanes {
			if left := time.Until(l.GoneUntil); left < 59*time.Minute || left > time.Hour {
				t.Errorf("items of %s wait for another %v, want an hour", l.Job, left)
			}
			jobs = append(jobs, l.Job)
		}
		return jobs
	}
	for len(gone()) < 2 {
		<-a.Changed()
		if builds, next, err := a.Claim(t.Context(), time.Now(), queue.Node{Name: "a"}, []int{0}); err != nil || len(builds) != 0 {
			t.Fatalf("Claim while no server has the jobs: %v, next %v, %v", builds, next, err)
		}
	}
	if diff := cmp.Diff([]string{"here", "there"}, gone()); diff != "" {
		t.Errorf("jobs that no server has (-want +got):\n%s", diff)
	}
	if e, err := a.Entry(t.Context(), time.Now(), 1); err != nil || e.Blockage.Reason != queue.NoServer {
		t.Errorf("Entry of an item that no server can build: %+v, %v", e, err)
	}
	set(a, map[string]queue.Rules{"both": {}, "here": {}})
	if builds := claim(t, a, queue.Node{Name: "a"}); len(builds) != 1 || builds[0].Item.Job != "here" {
		t.Errorf("Claim when a server has the job again: %v, want its item", builds)
	}
	if builds, _, err := a.Claim(t.Context(), time.Now().Add(2*time.Hour), queue.Node{Name: "a"}, []int{0}); err != nil || len(builds) != 1 || builds[0].Item.Job != "there" {
		t.Errorf("Claim after the orphan timeout: %v, %v; want the item of the job that did not come back, so that it ends", builds, err)
	}
}

// TestJobsOfAServerThatLeftAreNoticed is the same for jobs that the other server has never tried to start.
func TestJobsOfAServerThatLeftAreNoticed(t *testing.T) {
	t.Parallel()
	dbs := shared(t, newStore(t), "a", "b")
	a, b := dbs[0], dbs[1]
	setRules(t, a, map[string]queue.Rules{"both": {}})
	setRules(t, b, map[string]queue.Rules{"both": {}, "there": {}})
	later := request("there", "k")
	later.Delay = time.Hour
	schedule(t, b, later)
	if err := b.Announce(t.Context(), queue.Node{Name: "b", Labels: []string{}}, 1); err != nil {
		t.Fatal(err)
	}
	for len(a.Nodes()) == 0 { // a heartbeat of a has found b, with its jobs
		<-a.Notices()
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	untilGone(t, a, "there")
}

// untilGone waits until a server notices that no server has a job.
func untilGone(t *testing.T, q *pgqueue.DB, job string) {
	t.Helper()
	for late := time.After(patience); ; changes(t, q, late) {
		gone, err := q.Gone(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(gone) == 1 && gone[0].Job == job {
			return
		}
	}
}

// TestOwnBuildsAreLostOnlyWhenReclaimed looks for lost builds while this server still has builds of an
// earlier life, and then of an earlier lease, that are not lost.
func TestOwnBuildsAreLostOnlyWhenReclaimed(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	opts := s.options()
	opts.Log = zap.NewNop()
	first := open(t, opts)
	running(t, first, "j")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	q := open(t, opts)
	none := func(when string) {
		t.Helper()
		if lost, err := q.ReclaimLost(t.Context(), start, nil); err != nil || len(lost) != 0 {
			t.Errorf("ReclaimLost %s: %v, %v; want none", when, lost, err)
		}
	}
	none("before Reclaim, which may let the build go on")
	if lost, err := q.Reclaim(t.Context(), start, "lost", nil); err != nil || len(lost) != 1 {
		t.Fatalf("Reclaim: %v, %v", lost, err)
	}
	b := running(t, q, "j")
	executor(t, s)("update servers set epoch = epoch + 1, released = true")
	sendHeartbeats(t, s)
	<-q.CutOff()
	for late := time.After(patience); ; changes(t, q, late) { // until it has a lease again
		if _, _, err := q.Claim(t.Context(), start, queue.Node{Name: "n"}, []int{1}); err == nil {
			break
		}
	}
	none("while a build of the lease before is being stopped")
	if _, err := q.Finish(t.Context(), start, "j", b.Number, queue.Aborted, ""); err != nil {
		t.Errorf("Finish of that build: %v", err)
	}
}

// TestItemsOfAJobThatNoServerHas finds an item whose job was that of a server which came and went unseen.
func TestItemsOfAJobThatNoServerHas(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	core, logged := observer.New(zap.InfoLevel)
	opts := s.options()
	opts.Log = zap.New(core)
	q := open(t, opts)
	setRules(t, q, map[string]queue.Rules{"j": {}})
	schedule(t, q, request("j", "k"))
	exec := executor(t, s)
	exec(`update lanes set job = 'other', head = (head::jsonb || '{"job":"other"}')::json`)
	exec(`update items set job = 'other', body = (body::jsonb || '{"job":"other"}')::json`)
	if builds := claim(t, q, queue.Node{Name: "ci-1"}); len(builds) != 0 {
		t.Fatalf("started what this server does not have: %v", builds)
	}
	sendHeartbeats(t, s)
	untilGone(t, q, "other")
	if lines := logged.FilterMessageSnippet("rules of jobs"); lines.Len() != 0 {
		t.Errorf("logged %v", lines.All())
	}
}

// hang lets a server hang in a verb that locks a table, until its builds must be stopped. Then the
// verb continues.
func hang(t *testing.T, s store, q *pgqueue.DB, table string, verb func() ([]queue.Build, error)) (builds []queue.Build, err error) {
	t.Helper()
	ctx := t.Context()
	tx, err := pgtest.Connect(t, s.url).Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	exec := func(sql string) {
		t.Helper()
		if _, err := tx.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	exec("set search_path to " + s.schema)
	exec("select from servers for no key update") // blocks heartbeats
	exec("savepoint verb")
	exec("select from " + table + " for update") // blocks the verb
	done := make(chan struct{})
	go func() {
		defer close(done)
		builds, err = verb()
	}()
	<-q.CutOff()
	exec("rollback to verb")
	<-done
	if l, err := laneOf(ctx, q, "j"); err != nil || len(l.Running) != 1 {
		t.Fatalf("lane afterwards: %+v, %v; want a build recorded as running", l, err)
	}
	exec("commit")
	return builds, err
}

// hangInClaim lets a server hang in a claim.
func hangInClaim(t *testing.T, s store, q *pgqueue.DB) (builds []queue.Build, err error) {
	t.Helper()
	return hang(t, s, q, "counts", func() ([]queue.Build, error) {
		builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "a"}, []int{0, 1})
		return builds, err
	})
}

func TestServerThatHangsInAnAdoptionHandsNothingOut(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "a", TTL: 3 * time.Second, Log: zap.NewNop()})
	b := running(t, q, "j")
	_, err := hang(t, s, q, "lanes", func() ([]queue.Build, error) {
		return q.Adopt(t.Context(), []queue.Build{b}, queue.Node{Name: "a"}, []int{1})
	})
	if !errors.Is(err, queue.ErrStorage) {
		t.Errorf("Adopt that took too long: %v, want %v", err, queue.ErrStorage)
	}
}

func TestServerThatHangsInAClaimHandsNothingOut(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "a", TTL: 3 * time.Second, Log: zap.NewNop()})
	if _, err := q.Reclaim(t.Context(), start, "", nil); err != nil {
		t.Fatal(err)
	}
	schedule(t, q, request("j", "k"))
	schedule(t, q, request("k", "k"))
	if builds, err := hangInClaim(t, s, q); !errors.Is(err, queue.ErrStorage) || len(builds) != 0 {
		t.Fatalf("Claim that took too long: %v, %v; want nothing", builds, err)
	}
	for { // until a heartbeat gets through
		builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "a"}, []int{1, 2})
		if err != nil {
			if !errors.Is(err, queue.ErrStorage) {
				t.Fatal(err)
			}
			continue
		}
		if len(builds) != 1 || builds[0].Item.Job != "k" || builds[0].Executor != 1 {
			t.Errorf("Claim when the server has its lease again: %v, want what was started on a free executor", builds)
		}
		break
	}
	schedule(t, q, request("new", "k"))
	if builds := claim(t, q, queue.Node{Name: "another"}); len(builds) != 1 || builds[0].Item.Job != "new" {
		t.Errorf("Claim as another node: %v, want what was not started", builds)
	}
	schedule(t, q, request("new", "waits"))
	late := time.After(patience)
	for found := false; !found; {
		builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "a"}, []int{0, 2})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range builds {
			if found = b.Item.Job == "j"; !found || b.Executor != 0 {
				t.Fatalf("Claim with the other executor: %v, want the other build that was started", builds)
			}
		}
		select {
		case <-late:
			t.Fatal("the other build that was started is not handed out")
		default:
		}
	}
	if builds := claim(t, q, queue.Node{Name: "a"}); len(builds) != 0 {
		t.Errorf("handed out again: %v", builds)
	}
}

// TestBuildThatIsNotRunIsEnded gives up a server right after such a claim, by a server that
// ends nothing itself. That the database was set back before is not the reason.
func TestBuildThatIsNotRunIsEnded(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "a", TTL: 3 * time.Second, Log: zap.NewNop()})
	if _, err := q.Reclaim(t.Context(), start, "", nil); err != nil {
		t.Fatal(err)
	}
	conn := pgtest.Connect(t, with(s.url, "search_path="+s.schema))
	if _, err := conn.Exec(t.Context(), "update servers set pulse = 0"); err != nil {
		t.Fatal(err)
	}
	for epoch := 1; epoch == 1; { // until the server has compared its builds with the database
		<-q.Changed()
		if err := conn.QueryRow(t.Context(), "select epoch from servers").Scan(&epoch); err != nil {
			t.Fatal(err)
		}
	}
	schedule(t, q, request("j", "k"))
	if builds, err := hangInClaim(t, s, q); err == nil || len(builds) != 0 {
		t.Fatalf("Claim that took too long: %v, %v; want nothing", builds, err)
	}
	if _, err := conn.Exec(t.Context(), "update servers set epoch = epoch + 1, released = true"); err != nil {
		t.Fatal(err)
	}
	for !(<-q.Notices()).Lost {
	}
	lost, err := q.ReclaimLost(t.Context(), start, nil)
	if err != nil || len(lost) != 1 || lost[0].Reason != "lost: the server was given up when it started the build" {
		t.Errorf("ReclaimLost: %+v, %v", lost, err)
	}
}

// TestBuildsThatAreKept keeps some builds of a server that has left, for another one that continues with
// them. Others are ended, and those whose record is gone are left alone.
func TestBuildsThatAreKept(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	exec := executor(t, s)
	dbs := shared(t, s, "a", "b")
	for _, job := range []string{"ends", "gone", "kept"} {
		schedule(t, dbs[0], request(job, "k"))
	}
	claim(t, dbs[0], queue.Node{Name: "a"})
	if err := dbs[0].Close(); err != nil {
		t.Fatal(err)
	}
	show := func() {}
	keep := func(b queue.Build) bool {
		if b.Item.Job == "ends" {
			exec("delete from builds where job = 'gone'")
		}
		return b.Item.Job == "kept"
	}
	hide := hider(t, s)
	ended, err := dbs[1].ReclaimLost(t.Context(), start, func(queue.Build) bool { show = hide("builds"); return true })
	show()
	if !errors.Is(err, queue.ErrStorage) || len(ended) != 0 {
		t.Errorf("ReclaimLost without the table of builds = %v, %v; want %v", ended, err, queue.ErrStorage)
	}
	for round := range 2 {
		ended, err := dbs[1].ReclaimLost(t.Context(), start, keep)
		if err != nil || len(ended) != 1-round || round == 0 && ended[0].Item.Job != "ends" {
			t.Errorf("ReclaimLost = %v, %v; want the build that is not kept, once", ended, err)
		}
	}
	ended, err = dbs[1].ReclaimLost(t.Context(), start, func(queue.Build) bool { show = hide("summaries"); return false })
	show()
	if !errors.Is(err, queue.ErrStorage) || len(ended) != 0 {
		t.Errorf("ReclaimLost without the table of summaries = %v, %v; want %v", ended, err, queue.ErrStorage)
	}
	kept, err := dbs[1].Build(t.Context(), "kept", 1)
	if err != nil || !kept.Running() {
		t.Fatalf("the build that is kept: %+v, %v", kept, err)
	}
	adopted, err := dbs[1].Adopt(t.Context(), []queue.Build{{Item: queue.Item{Job: "ends"}, Number: 1}, kept}, queue.Node{Name: "b"}, []int{3, 4})
	if err != nil || len(adopted) != 1 || adopted[0].Item.Job != "kept" || adopted[0].Executor != 4 || adopted[0].Node != "b" {
		t.Errorf("Adopt = %+v, %v; want the build that runs, on executor 4", adopted, err)
	}
	if again, err := shared(t, s, "c")[0].Adopt(t.Context(), adopted, queue.Node{Name: "c"}, []int{0}); err != nil || len(again) != 0 {
		t.Errorf("Adopt of a build that another server runs = %+v, %v; want none", again, err)
	}
	if ended, err := dbs[1].ReclaimLost(t.Context(), start, nil); err != nil || len(ended) != 0 {
		t.Errorf("ReclaimLost after Adopt = %v, %v; want nothing", ended, err)
	}
	if b, err := dbs[1].Finish(t.Context(), start, "kept", 1, queue.Success, ""); err != nil || b.Result != queue.Success {
		t.Errorf("Finish = %+v, %v", b, err)
	}
}

// TestLeftProcessesAreListedOnce kills a server, lets another one end its builds, and starts
// the first one again.
func TestLeftProcessesAreListedOnce(t *testing.T) {
	s := newStore(t)
	opts := pgqueue.Options{URL: s.url, Schema: s.schema, Server: "a", TTL: 3 * time.Second, Log: zap.NewNop()}
	first := open(t, opts)
	schedule(t, first, request("j", "k"))
	claim(t, first, queue.Node{Name: "a"})
	if err := first.Close(); err != nil { // as after a crash: the end is not on record
		t.Fatal(err)
	}
	other := shared(t, s, "b")[0]
	lost, err := other.ReclaimLost(t.Context(), start, nil)
	if err != nil || len(lost) != 1 || lost[0].Reason != "lost: the server a has stopped and did not record how the build ended" {
		t.Fatalf("ReclaimLost: %+v, %v", lost, err)
	}
	if left, err := other.Lost(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("Lost on another server: %+v, %v", left, err)
	}
	again := open(t, opts)
	if left, err := again.Lost(t.Context()); err != nil || len(left) != 1 || left[0].Running() {
		t.Errorf("Lost on the server that comes back: %+v, %v; want the build that was ended", left, err)
	}
	release := protector(t, s)("builds")
	if _, err := again.Reclaim(t.Context(), start, "again", nil); !errors.Is(err, queue.ErrStorage) {
		t.Errorf("Reclaim that cannot write: %v, want %v", err, queue.ErrStorage)
	}
	release()
	if ended, err := again.Reclaim(t.Context(), start, "again", nil); err != nil || len(ended) != 0 {
		t.Errorf("Reclaim: %+v, %v; want no build ended twice", ended, err)
	}
	if left, err := again.Lost(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("Lost after Reclaim: %+v, %v", left, err)
	}
}

func TestNoticesReachOthersOnly(t *testing.T) {
	dbs := shared(t, newStore(t), "a", "b")
	var items []int64
	for n := range 900 {
		items = append(items, 1e12+int64(n))
	}
	for _, tt := range []struct {
		name       string
		told, want queue.Notice
	}{
		{"a few items", queue.Notice{Items: []int64{3, 5}, Jobs: []string{"j"}}, queue.Notice{Items: []int64{3, 5}, Jobs: []string{"j"}}},
		{"more than a notice of the database holds", queue.Notice{Items: items}, queue.Notice{All: true}},
	} {
		dbs[0].Tell(tt.told)
		if diff := cmp.Diff(tt.want, <-dbs[1].Notices()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	gone, built := schedule(t, dbs[0], request("j", "gone")), schedule(t, dbs[0], request("j", "built"))
	if err := dbs[0].Cancel(t.Context(), start, "j", gone.ID, "alice"); err != nil {
		t.Fatal(err)
	}
	claim(t, dbs[0], queue.Node{Name: "a"})
	for got := (queue.Notice{}); !slices.Contains(got.Items, gone.ID) || !slices.Contains(got.Items, built.ID) || !slices.Contains(got.Jobs, "j"); {
		got = got.Merge(<-dbs[1].Notices())
	}
	dbs[1].Tell(queue.Notice{All: true})
	<-dbs[0].Notices() // the notices of b have arrived
	select {
	case n := <-dbs[1].Notices():
		t.Errorf("a server received its own notice: %+v", n)
	default:
	}
}

// TestServersAtOnce runs all operations on a few jobs from three servers at once. No deadlock
// may last, no build may start twice, and none may get lost.
func TestServersAtOnce(t *testing.T) {
	t.Parallel()
	const rounds, jobs = 40, 3
	s := newStore(t)
	dbs := shared(t, s, "a", "b", "c")
	var mu sync.Mutex
	started := map[int64]int{}
	var wait sync.WaitGroup
	for at, q := range dbs {
		node := queue.Node{Name: string(rune('a' + at))}
		random := rand.New(rand.NewPCG(1, uint64(at)))
		wait.Go(func() {
			for n := range rounds {
				job := fmt.Sprint("job", random.IntN(jobs))
				it, _, err := q.Schedule(t.Context(), start, request(job, fmt.Sprint(at, n)))
				if err != nil {
					t.Errorf("Schedule: %v", err)
					return
				}
				if random.IntN(3) == 0 {
					if err := q.Cancel(t.Context(), start, job, it.ID, "alice"); err != nil && !errors.Is(err, queue.ErrLeft) {
						t.Errorf("Cancel: %v", err)
					}
				}
			}
		})
		wait.Go(func() {
			for range rounds {
				builds, _, err := q.Claim(t.Context(), start, node, []int{0, 1})
				if err != nil {
					t.Errorf("Claim: %v", err)
					return
				}
				for _, b := range builds {
					mu.Lock()
					started[b.Item.ID]++
					mu.Unlock()
					if _, err := q.Finish(t.Context(), start, b.Item.Job, b.Number, queue.Success, ""); err != nil {
						t.Errorf("Finish: %v", err)
					}
				}
			}
		})
		wait.Go(func() {
			for n := range 5 {
				rules := map[string]queue.Rules{}
				for job := range jobs {
					rules[fmt.Sprint("job", job)] = queue.Rules{Concurrent: (n+job)%2 == 0}
				}
				if err := q.SetRules(t.Context(), start, queue.Config{Rules: rules}); err != nil {
					t.Errorf("SetRules: %v", err)
				}
			}
		})
	}
	wait.Wait()
	for id, n := range started {
		if n != 1 {
			t.Errorf("item %d was started %d times", id, n)
		}
	}
	const sql = `select (select sum(queued) from counts) = (select count(*) from items)
		and (select count(*) from builds) + (select count(*) from cancelled) + (select count(*) from items) = $1
		and not exists (select from builds where running)
		and not exists (select from lanes l where (head->>'queued')::int is distinct from nullif((select count(*) from items i where i.job = l.job), 0))`
	var right bool
	if err := pgtest.Connect(t, with(s.url, "search_path="+s.schema)).QueryRow(t.Context(), sql, rounds*len(dbs)).Scan(&right); err != nil || !right {
		t.Errorf("the tables do not agree with each other: %v", err)
	}
}
