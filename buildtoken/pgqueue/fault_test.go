package pgqueue_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

var start = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)

// request is a trigger of a job; different keys never join.
func request(job, key string) queue.Request {
	r := queue.Request{Job: job, Cause: queue.Cause{Kind: queue.CauseRemote, Note: key, Noted: true}}
	copy(r.Digest[:], key)
	return r
}

func schedule(t testing.TB, q *pgqueue.DB, r queue.Request) queue.Item {
	t.Helper()
	it, _, err := q.Schedule(t.Context(), start, r)
	if err != nil {
		t.Fatalf("Schedule(%s): %v", r.Job, err)
	}
	return it
}

// wired opens a queue behind a wire.
func wired(t *testing.T, server *pgtest.Server, timeout time.Duration) (*pgqueue.DB, *wire) {
	t.Helper()
	parsed, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(t, parsed.Query().Get("host"))
	// One connection: a verb that checks what became of its commit must first give up the lost
	// one.
	behind := "postgres:///postgres?user=buildtoken&pool_max_conns=1&host=" + w.dir
	schema := pgtest.Schema(t, server.URL())
	if err := open(t, pgqueue.Options{URL: behind, Schema: schema, Log: zap.NewNop()}).Close(); err != nil { // creates the tables, without a short timeout
		t.Fatal(err)
	}
	return open(t, pgqueue.Options{URL: behind, Schema: schema, Timeout: timeout, Log: zap.NewNop()}), w
}

// operation is a verb whose connection is cut. prepare returns its argument; done returns what
// is wrong with the records afterwards, or "".
type operation struct {
	name    string
	prepare func(t *testing.T, q *pgqueue.DB, job string)
	do      func(ctx context.Context, q *pgqueue.DB, job string) error
	done    func(t *testing.T, q *pgqueue.DB, job string) string
}

// errNoItem is returned if there is no item to cancel.
var errNoItem = errors.New("no item")

func operations() []operation {
	queued := func(t *testing.T, q *pgqueue.DB, job string) { schedule(t, q, request(job, "k")) }
	runs := func(t *testing.T, q *pgqueue.DB, job string) {
		queued(t, q, job)
		if builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0}); err != nil || len(builds) != 1 {
			t.Fatalf("Claim: %v, %v", builds, err)
		}
	}
	ends := func(t *testing.T, q *pgqueue.DB, job string) {
		if _, err := q.Finish(t.Context(), start, job, 1, queue.Success, ""); err != nil && !errors.Is(err, queue.ErrNotRunning) {
			t.Fatal(err)
		}
	}
	lane := func(t *testing.T, q *pgqueue.DB, job string, want queue.Lane) string {
		want.Job = job
		l, err := laneOf(t.Context(), q, job)
		if err != nil {
			t.Fatal(err)
		}
		return cmp.Diff(want, l)
	}
	return []operation{
		{
			"Schedule of a new item",
			func(*testing.T, *pgqueue.DB, string) {},
			func(ctx context.Context, q *pgqueue.DB, job string) error {
				r := request(job, "k")
				r.Solo = true // so that a second one would be visible
				it, created, err := q.Schedule(ctx, start, r)
				if err == nil && (!created || it.ID == 0) {
					return fmt.Errorf("item %d, created %v", it.ID, created)
				}
				return err
			},
			func(t *testing.T, q *pgqueue.DB, job string) string {
				return lane(t, q, job, queue.Lane{Queued: 1})
			},
		},
		{
			"Schedule that joins",
			queued,
			func(ctx context.Context, q *pgqueue.DB, job string) error {
				_, created, err := q.Schedule(ctx, start, request(job, "k"))
				if created {
					return errors.New("created")
				}
				return err
			},
			func(t *testing.T, q *pgqueue.DB, job string) string {
				items, err := q.Items(t.Context(), start, job, 10)
				if err != nil || len(items) != 1 {
					t.Fatalf("%d items, %v", len(items), err)
				}
				return cmp.Diff(2, items[0].Item.Triggers())
			},
		},
		{
			"Cancel",
			queued,
			func(ctx context.Context, q *pgqueue.DB, job string) error {
				items, err := q.Items(context.WithoutCancel(ctx), start, job, 1)
				if err != nil || len(items) != 1 {
					return errors.Join(errNoItem, err)
				}
				return q.Cancel(ctx, start, job, items[0].Item.ID, "alice")
			},
			func(t *testing.T, q *pgqueue.DB, job string) string {
				return lane(t, q, job, queue.Lane{KeptCancelled: 1})
			},
		},
		{
			"Claim",
			queued,
			func(ctx context.Context, q *pgqueue.DB, job string) error {
				builds, _, err := q.Claim(ctx, start, queue.Node{Name: "node"}, []int{0})
				if err == nil && len(builds) != 1 {
					return fmt.Errorf("started %d builds", len(builds))
				}
				return err
			},
			func(t *testing.T, q *pgqueue.DB, job string) string {
				defer ends(t, q, job)
				return lane(t, q, job, queue.Lane{Running: []int64{1}, LastNumber: 1})
			},
		},
		{
			"Abort",
			runs,
			func(ctx context.Context, q *pgqueue.DB, job string) error { return q.Abort(ctx, job, 1, "alice") },
			func(t *testing.T, q *pgqueue.DB, job string) string {
				defer ends(t, q, job)
				b, err := q.Build(t.Context(), job, 1)
				if err != nil {
					t.Fatal(err)
				}
				return cmp.Diff("alice", b.Abort)
			},
		},
		{
			"Finish",
			runs,
			func(ctx context.Context, q *pgqueue.DB, job string) error {
				_, err := q.Finish(ctx, start, job, 1, queue.Success, "")
				return err
			},
			func(t *testing.T, q *pgqueue.DB, job string) string {
				return lane(t, q, job, queue.Lane{LastNumber: 1, Kept: 1, Last: queue.Success, LastEnded: 1})
			},
		},
	}
}

// TestCutConnectionCostsNothing cuts the connection at each request of a verb, both before the
// request reaches the database and before its answer arrives, without a word and with one. The verb must
// succeed, once.
func TestCutConnectionCostsNothing(t *testing.T) {
	server := pgtest.Start(t)
	for _, op := range operations() {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			q, w := wired(t, server, 0)
			jobs := 0
			try := func(plan cut) (happened bool) {
				jobs++
				job := fmt.Sprint("job-", jobs)
				op.prepare(t, q, job)
				w.set(&plan, false)
				err := op.do(t.Context(), q, job)
				w.set(nil, false)
				if err != nil {
					t.Errorf("%+v: %v", plan, err)
				}
				if diff := op.done(t, q, job); diff != "" {
					t.Errorf("%+v (-want +got):\n%s", plan, diff)
				}
				empty(t, q, job) // queued items must not start in another round
				return plan.happened
			}
			for _, how := range []cut{{}, {loseAnswer: true}, {ended: true}} {
				how.commits = true
				if !try(how) {
					t.Error("the verb did not commit")
				}
				// How many requests there are depends on what a connection has prepared.
				for how.commits = false; try(how); how.after++ {
				}
			}
		})
	}
}

func empty(t *testing.T, q *pgqueue.DB, job string) {
	t.Helper()
	items, err := q.Items(t.Context(), start, job, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range items {
		if err := q.Cancel(t.Context(), start, job, e.Item.ID, "test"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTriggerTakesTwoRoundTrips counts the requests of triggers. Some take more, because their
// connection has to prepare its statements.
func TestTriggerTakesTwoRoundTrips(t *testing.T) {
	t.Parallel()
	const many = 1000
	q, w := wired(t, pgtest.Start(t), 0)
	fewest := many
	for n := range 20 {
		plan := cut{after: many}
		w.set(&plan, false)
		schedule(t, q, request("j", fmt.Sprint(n)))
		w.set(nil, false)
		fewest = min(fewest, many-plan.after)
	}
	if fewest != 2 {
		t.Errorf("at least %d round trips, want 2", fewest)
	}
}

// TestUnknownClaimIsLookedUpOnce loses the answer of a claim. The next one returns what it has started,
// and later ones ask no more than before.
func TestUnknownClaimIsLookedUpOnce(t *testing.T) {
	t.Parallel()
	const many = 1000
	q, w := wired(t, pgtest.Start(t), 3*time.Second)
	claims := func() []queue.Build {
		t.Helper()
		builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0})
		if err != nil {
			t.Fatal(err)
		}
		return builds
	}
	requests := func() int {
		t.Helper()
		fewest := many
		for range 5 { // some prepare their statements
			plan := cut{after: many}
			w.set(&plan, false)
			claims()
			w.set(nil, false)
			fewest = min(fewest, many-plan.after)
		}
		return fewest
	}
	if n := requests(); n != 2 {
		t.Errorf("a Claim sends %d requests, want 2", n)
	}
	schedule(t, q, request("j", "k"))
	w.set(&cut{commits: true, loseAnswer: true, thenDown: true}, false)
	if _, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0}); !errors.Is(err, queue.ErrStorage) {
		t.Errorf("Claim whose answer was lost: %v, want %v", err, queue.ErrStorage)
	}
	w.set(nil, false)
	if builds := claims(); len(builds) != 1 {
		t.Errorf("the next Claim: %v, want the build that was started", builds)
	}
	if n := requests(); n != 2 {
		t.Errorf("a later Claim sends %d requests, want 2", n)
	}
}

// TestIdentifierOfAnUnknownCommitIsUsedOnce has a trigger use an identifier that was left over, and loses
// the answer of its commit. The next trigger must not use it again.
func TestIdentifierOfAnUnknownCommitIsUsedOnce(t *testing.T) {
	t.Parallel()
	q, w := wired(t, pgtest.Start(t), 3*time.Second)
	once := request("j", "once")
	once.Key = &queue.Digest{'k'}
	if _, _, err := q.Schedule(t.Context(), start, once); err != nil {
		t.Fatal(err)
	}
	claim(t, q, queue.Node{Name: "node"})
	if _, _, err := q.Schedule(t.Context(), start, once); err == nil { // takes an identifier that nothing gets
		t.Error("a trigger with the same key was not recognized")
	}
	w.set(&cut{commits: true, loseAnswer: true, thenDown: true}, false)
	if _, _, err := q.Schedule(t.Context(), start, request("j", "lost")); !errors.Is(err, queue.ErrStorage) {
		t.Errorf("Schedule whose answer was lost: %v, want %v", err, queue.ErrStorage)
	}
	w.set(nil, false)
	lost, next := schedule(t, q, request("j", "lost")), schedule(t, q, request("j", "next"))
	if lost.ID == next.ID {
		t.Errorf("two items have the ID %d", next.ID)
	}
}

// TestLookUpOfACommitIsRepeated loses the answer of a commit, and has the database refuse one of the requests after it,
// with which the server finds out what became of the trigger.
func TestLookUpOfACommitIsRepeated(t *testing.T) {
	t.Parallel()
	q, w := wired(t, pgtest.Start(t), 0)
	schedule(t, q, request("j", "first"))
	for n, again := 0, true; again; n++ {
		then := &cut{after: n, refuse: true}
		w.set(&cut{commits: true, loseAnswer: true, then: then}, false)
		it, created, err := q.Schedule(t.Context(), start, request("j", fmt.Sprint("lost", n)))
		if again = w.hasHappened(then); err != nil || !created {
			t.Errorf("Schedule = %+v, %v, %v; request %d after its commit was refused", it, created, err, n)
		}
		w.set(nil, false)
		if !again && n == 0 {
			t.Error("no request came after the commit")
		}
	}
}

// TestUnknownCommitIsNoSuccess loses the answer of a commit, and then all connections, for
// longer than a verb waits.
func TestUnknownCommitIsNoSuccess(t *testing.T) {
	server := pgtest.Start(t)
	for _, op := range operations() {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			q, w := wired(t, server, 3*time.Second)
			for n := 0; ; n++ {
				job := fmt.Sprintf("job-%d", n)
				op.prepare(t, q, job)
				plan := cut{after: n, commits: true, loseAnswer: true, thenDown: true}
				w.set(&plan, false)
				err := op.do(t.Context(), q, job)
				w.set(nil, false)
				if !plan.happened {
					if err != nil {
						t.Error(err)
					}
					if n == 0 {
						t.Error("the verb did not commit")
					}
					break
				}
				if !errors.Is(err, queue.ErrStorage) {
					t.Errorf("commit %d lost, then down: %v, want %v", n, err, queue.ErrStorage)
				}
				w.set(&cut{refuse: true}, false)
				if err := op.do(t.Context(), q, job); err == nil || !strings.Contains(err.Error(), refusal) && !errors.Is(err, errNoItem) {
					t.Errorf("repeated, and refused: %v, want an error with %q", err, refusal)
				}
				w.set(nil, false)
				// Repeating the trigger is safe, whatever happened.
				err = op.do(t.Context(), q, job)
				switch {
				case err == nil, errors.Is(err, queue.ErrNotRunning), errors.Is(err, errNoItem):
				default:
					t.Errorf("after the loss of commit %d: %v", n, err)
				}
				lost, err := q.Lost(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, b := range lost {
					if _, err := q.Finish(t.Context(), start, b.Item.Job, b.Number, queue.Success, ""); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}

// TestDatabaseThatCrashesInACommit makes the database lose a transaction whose commit was not
// answered, and give its number to another one, which is committed.
func TestDatabaseThatCrashesInACommit(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	for _, op := range operations() {
		t.Run(op.name, func(t *testing.T) {
			q, w := wired(t, server, 10*time.Second)
			op.prepare(t, q, "j")
			plan := cut{commits: true, thenDown: true, hold: make(chan struct{})}
			w.set(&plan, false)
			answer := make(chan error, 1)
			go func() { answer <- op.do(t.Context(), q, "j") }()
			for !w.hasHappened(&plan) {
				<-time.After(time.Millisecond) // soon, before the database has the number on disk
			}
			err := server.Crash()
			close(plan.hold)
			if err := errors.Join(err, server.Run()); err != nil {
				t.Fatal(err)
			}
			conn := pgtest.Connect(t, server.URL())
			for range 50 {
				if _, err := conn.Exec(t.Context(), "select pg_current_xact_id()"); err != nil {
					t.Fatal(err)
				}
			}
			w.set(nil, false)
			err = <-answer
			if err != nil && !errors.Is(err, queue.ErrStorage) {
				t.Errorf("got %v, want %v or nil", err, queue.ErrStorage)
			}
			if err == nil {
				if diff := op.done(t, q, "j"); diff != "" {
					t.Errorf("it returned nil; on record (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestIdentifiersOfALostTransactionAreNotUsed crashes the database between any two requests of
// a trigger. The database forgets that it has assigned identifiers of items, and assigns them to
// another server.
func TestIdentifiersOfALostTransactionAreNotUsed(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	schema := pgtest.Schema(t, server.URL())
	q, w := behind(t, server, schema, "first", time.Hour)
	schedule(t, q, request("j", "first"))
	for n, happened := 0, true; happened; n++ {
		// Postgres logs in advance that it assigns this many numbers, and then the next ones.
		conn := pgtest.Connect(t, with(server.URL(), "search_path="+schema))
		for left := -1; left != 0; {
			if _, err := conn.Exec(t.Context(), "select nextval('item_ids')"); err != nil {
				t.Fatal(err)
			}
			if err := conn.QueryRow(t.Context(), "select log_cnt from item_ids").Scan(&left); err != nil {
				t.Fatal(err)
			}
		}
		plan := cut{after: n, hold: make(chan struct{})}
		w.set(&plan, false)
		answer := make(chan error, 1)
		go func() {
			_, _, err := q.Schedule(t.Context(), start, request("j", fmt.Sprint("lost ", n)))
			answer <- err
		}()
		for happened = w.hasHappened(&plan); !happened && len(answer) == 0; happened = w.hasHappened(&plan) {
			<-time.After(time.Millisecond) // soon, before the database has it on disk
		}
		w.set(nil, true)
		err := server.Crash()
		close(plan.hold)
		if err := errors.Join(err, server.Run()); err != nil {
			t.Fatal(err)
		}
		other := open(t, pgqueue.Options{URL: server.URL(), Schema: schema, Server: fmt.Sprint("other ", n)})
		schedule(t, other, request("other", fmt.Sprint(n)))
		w.set(nil, false)
		if err := <-answer; err != nil && !errors.Is(err, queue.ErrStorage) {
			t.Error(err)
		}
		schedule(t, q, request("j", fmt.Sprint("after ", n)))
	}
}

// A refusal must not discard connections, because their prepared statements would be lost.
func TestRefusedVerbKeepsConnections(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	q, _ := wired(t, server, 0)
	item := schedule(t, q, request("j", "k"))
	conn := pgtest.Connect(t, server.URL())
	backends := func() (all []int32) {
		rows, err := conn.Query(t.Context(), "select pid from pg_stat_activity where application_name = 'buildtoken' order by pid")
		if err == nil {
			all, err = pgx.CollectRows(rows, pgx.RowTo[int32])
		}
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := backends()
	if err := q.Cancel(t.Context(), start, "j", item.ID+1, "alice"); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("Cancel = %v, want ErrNotFound", err)
	}
	if err := q.Cancel(t.Context(), start, "j", item.ID, "alice"); err != nil { // uses the next connection
		t.Errorf("Cancel = %v", err)
	}
	if diff := cmp.Diff(before, backends()); diff != "" {
		t.Errorf("connections (-before +after):\n%s", diff)
	}
}
