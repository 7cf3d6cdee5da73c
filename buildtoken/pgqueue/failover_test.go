package pgqueue_test

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// TestFailoverForgetsNothing triggers builds at two servers while their database is killed and
// its standby takes over. Callers that get no answer repeat the trigger, as clients do. The
// servers are not restarted.
func TestFailoverForgetsNothing(t *testing.T) {
	t.Parallel()
	const callers, before, after = 8, 15, 15 // triggers of each caller
	primary := pgtest.Start(t)
	standby, either := pgtest.Standby(t, primary)
	var servers []*pgqueue.DB
	for _, name := range []string{"a", "b"} {
		servers = append(servers, open(t, pgqueue.Options{URL: either, Schema: "ci", Server: name, Log: zap.NewNop()}))
	}
	a, b := servers[0], servers[1]
	if _, err := pgqueue.Open(t.Context(), pgqueue.Options{URL: standby.URL(), Schema: "ci", Server: "c"}); !errors.Is(err, pgqueue.ErrForeign) || !strings.Contains(err.Error(), "standby") {
		t.Errorf("Open of the standby: %v, want %v that says so", err, pgqueue.ErrForeign)
	}
	schedule(t, a, request("builds", "1"))
	if builds := claim(t, a, queue.Node{Name: "a"}); len(builds) != 1 {
		t.Fatalf("Claim: %v", builds)
	}

	var mu sync.Mutex
	items := map[string]int64{} // item of each key that was answered
	unanswered := 0
	var some, all sync.WaitGroup
	some.Add(callers)
	for caller := range callers {
		q := servers[caller%2]
		all.Go(func() {
			reached := sync.OnceFunc(some.Done)
			defer reached()
			for n := range before + after {
				if n == before {
					reached() // the failover happens in the middle
				}
				key := fmt.Sprintf("%d-%d", caller, n)
				var it queue.Item
				for {
					var err error
					if it, _, err = q.Schedule(t.Context(), start, request(fmt.Sprint("job", n%4), key)); err == nil {
						break
					}
					if !errors.Is(err, queue.ErrStorage) {
						t.Errorf("Schedule(%s) = %v, want %v or nil", key, err, queue.ErrStorage)
						return
					}
					mu.Lock()
					unanswered++
					mu.Unlock()
					<-time.After(10 * time.Millisecond) // as clients do
				}
				mu.Lock()
				items[key] = it.ID
				mu.Unlock()
			}
		})
	}
	some.Wait()
	if err := errors.Join(primary.Kill(), standby.Promote()); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	t.Logf("%d triggers were answered, %d tries were not", len(items), unanswered)
	if len(items) != callers*(before+after) {
		t.Errorf("%d triggers were answered, want %d", len(items), callers*(before+after))
	}
	given := map[int64]string{}
	for key, id := range items {
		if other, again := given[id]; again {
			t.Errorf("item %d was given to %s and to %s", id, key, other)
		}
		given[id] = key
	}
	found, err := b.Items(t.Context(), start, "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	queued := map[int64]string{}
	for _, e := range found {
		queued[e.Item.ID] = e.Item.Causes[0].Note
	}
	if diff := cmp.Diff(given, queued); diff != "" {
		t.Errorf("items and their keys (-answered +found):\n%s", diff)
	}

	for _, q := range servers {
		select {
		case <-q.CutOff():
			t.Error("builds were to be stopped, in a failover that was short")
		default:
		}
	}
	if ended, err := a.Finish(t.Context(), start, "builds", 1, queue.Success, ""); err != nil || ended.Result != queue.Success {
		t.Errorf("end of a build that ran all the time: %+v, %v", ended, err)
	}
	schedule(t, a, request("builds", "2"))
	built, last := map[int64]int{}, map[string]int64{"builds": 1}
	for n := 0; len(built) <= len(items); n++ {
		at := n % 2
		builds := claim(t, servers[at], queue.Node{Name: string(rune('a' + at))})
		for len(built) == 0 && len(builds) == 0 { // until both servers have checked which builds they run
			<-servers[at].Changed()
			builds = claim(t, servers[at], queue.Node{Name: string(rune('a' + at))})
		}
		if len(builds) == 0 {
			t.Fatalf("nothing is due after %d builds", len(built))
		}
		for _, b := range builds {
			built[b.Item.ID]++
			if last[b.Item.Job]++; b.Number != last[b.Item.Job] || built[b.Item.ID] != 1 {
				t.Errorf("item %d of %s is build %d, and was built %d times; want build %d, once", b.Item.ID, b.Item.Job, b.Number, built[b.Item.ID], last[b.Item.Job])
			}
			if _, err := servers[1-at].Finish(t.Context(), start, b.Item.Job, b.Number, queue.Success, ""); err != nil {
				t.Error(err)
			}
		}
	}
}

// host returns the directory of a server's socket.
func host(t *testing.T, of *pgtest.Server) string {
	t.Helper()
	parsed, err := url.Parse(of.URL())
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Query().Get("host")
}

// TestHostThatDoesNotAnswerIsPassedOver starts a server while the first of two machines is gone without a
// word. A start makes two connections.
func TestHostThatDoesNotAnswerIsPassedOver(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	dir, err := os.MkdirTemp("", "silent") //nolint:usetesting // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	q := open(t, pgqueue.Options{URL: "postgres:///postgres?user=buildtoken&host=" + dir + "," + host(t, server), Schema: "ci", Timeout: 2 * time.Second})
	schedule(t, q, request("j", "k"))
}

// TestFailoverFromAMachineThatIsGone suspends the primary without closing its connections, so
// that requests on them hang.
func TestFailoverFromAMachineThatIsGone(t *testing.T) {
	t.Parallel()
	const connections = 4
	primary := pgtest.Start(t)
	standby, either := pgtest.Standby(t, primary)
	w := newWire(t, host(t, primary))
	either = with(strings.Replace(either, host(t, primary), w.dir, 1), fmt.Sprint("pool_max_conns=", connections))
	q := open(t, pgqueue.Options{URL: either, Schema: "ci", Timeout: 5 * time.Second, TTL: 9 * time.Second, Log: zap.NewNop()})
	t.Cleanup(func() { w.set(nil, true) })
	schedule(t, q, request("j", "before"))
	conn := pgtest.Connect(t, with(primary.URL(), "search_path=ci"))
	for made := 0; made < connections+1; { // and one that listens
		var reading sync.WaitGroup
		for range 2 * connections {
			reading.Go(func() {
				if _, err := q.Items(t.Context(), start, "j", 10); err != nil {
					t.Errorf("Items = %v", err)
				}
			})
		}
		reading.Wait()
		if err := conn.QueryRow(t.Context(), "select count(*) from pg_stat_activity where application_name = 'buildtoken'").Scan(&made); err != nil {
			t.Fatal(err)
		}
	}
	// Connections that have just been used are used again without a check.
	for idle := false; !idle; {
		if err := conn.QueryRow(t.Context(), `select min(clock_timestamp() - state_change) > interval '1.2s' from pg_stat_activity
			where application_name = 'buildtoken' and query not like '%servers%'`).Scan(&idle); err != nil {
			t.Fatal(err)
		}
	}
	w.silence()
	if err := errors.Join(primary.Kill(), standby.Promote()); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for ; ; refused++ {
		_, _, err := q.Schedule(t.Context(), start, request("j", "after"))
		if err == nil {
			break
		}
		if !errors.Is(err, queue.ErrStorage) {
			t.Fatalf("Schedule = %v, want %v or nil", err, queue.ErrStorage)
		}
	}
	if refused > 1 {
		t.Errorf("%d triggers were refused, want one at most: not one for each connection that hangs", refused)
	}
	for !(<-q.Notices()).All { // it listens again
	}
	if builds := claim(t, q, queue.Node{Name: "node"}); len(builds) != 1 || builds[0].Item.ID != 1 {
		t.Errorf("Claim: %v, want the build of the item that was queued before", builds)
	}
}

// TestFailoverInACommit kills the database during a commit, with and without the transaction on
// its standby. Later transactions then get the numbers of the lost ones.
func TestFailoverInACommit(t *testing.T) {
	all := operations()
	for _, op := range []operation{oneMore(all[0]), all[3], all[5]} {
		for _, arrived := range []bool{true, false} {
			name := op.name + ", lost"
			if arrived {
				name = op.name + ", on the standby"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				failOverIn(t, op, arrived)
			})
		}
	}
}

// oneMore is the operation that adds an item to a job that has one already. The first item of a
// job takes one more transaction.
func oneMore(op operation) operation {
	op.name = "Schedule of one more item"
	op.prepare = func(t *testing.T, q *pgqueue.DB, job string) { schedule(t, q, request(job, "first")) }
	op.done = func(t *testing.T, q *pgqueue.DB, job string) string {
		items, err := q.Items(t.Context(), start, job, 10)
		if err != nil {
			t.Fatal(err)
		}
		return cmp.Diff(2, len(items))
	}
	return op
}

func failOverIn(t *testing.T, op operation, arrived bool) {
	t.Helper()
	primary := pgtest.Start(t)
	standby, either := pgtest.Standby(t, primary)
	first, second := newWire(t, host(t, primary)), newWire(t, host(t, standby))
	wires := strings.NewReplacer(host(t, primary), first.dir, host(t, standby), second.dir)
	q := open(t, pgqueue.Options{URL: wires.Replace(either), Schema: "ci", Timeout: 20 * time.Second, Log: zap.NewNop()})
	op.prepare(t, q, "j")
	second.set(nil, true)
	conn := pgtest.Connect(t, primary.URL())
	until := func(query string) {
		t.Helper()
		for so := false; !so; {
			if err := conn.QueryRow(t.Context(), query).Scan(&so); err != nil {
				t.Fatal(err)
			}
		}
	}
	plan := cut{commits: true, loseAnswer: true, thenDown: true}
	if arrived {
		first.set(&plan, false)
	} else {
		other := pgtest.Connect(t, standby.URL())
		for _, statement := range []string{"alter system set primary_conninfo = ''", "select pg_reload_conf()"} {
			if _, err := other.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		until("select not exists (select from pg_stat_replication)")
	}
	answer := make(chan error, 1)
	go func() { answer <- op.do(t.Context(), q, "j") }()
	if arrived {
		for !first.hasAnswered(&plan) {
			<-time.After(time.Millisecond)
		}
	} else {
		until("select exists (select from pg_stat_activity where wait_event = 'SyncRep' and query = 'commit')")
	}
	if err := errors.Join(primary.Kill(), standby.Promote()); err != nil {
		t.Fatal(err)
	}
	conn = pgtest.Connect(t, standby.URL())
	for range 50 {
		if _, err := conn.Exec(t.Context(), "select pg_current_xact_id()"); err != nil {
			t.Fatal(err)
		}
	}
	second.set(nil, false)
	err := <-answer
	t.Log("the answer: ", err)
	if err != nil && !errors.Is(err, queue.ErrStorage) {
		t.Errorf("got %v, want %v or nil", err, queue.ErrStorage)
	}
	if err != nil && !arrived {
		// The item was lost, so repeating the trigger must create it.
		if err := op.do(t.Context(), q, "j"); err != nil {
			t.Fatalf("repeated: %v", err)
		}
	}
	if diff := op.done(t, q, "j"); diff != "" {
		t.Errorf("on record (-want +got):\n%s", diff)
	}
}
