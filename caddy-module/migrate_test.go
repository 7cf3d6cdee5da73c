package caddymodule_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	bolt "go.etcd.io/bbolt"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// server is the node of all builds, before and after the move.
const server = "ci-1"

// store is a queue in a file or in a database.
type store interface {
	SetRules(ctx context.Context, now time.Time, c queue.Config) error
	Schedule(ctx context.Context, now time.Time, r queue.Request) (queue.Item, bool, error)
	Cancel(ctx context.Context, now time.Time, job string, id int64, by string) error
	Claim(ctx context.Context, now time.Time, node queue.Node, executors []int) ([]queue.Build, time.Time, error)
	Finish(ctx context.Context, now time.Time, job string, number int64, r queue.Result, reason string) (queue.Build, error)
	Abort(ctx context.Context, job string, number int64, by string) error
	Aborts(ctx context.Context) ([]queue.Build, error)
	Lost(ctx context.Context) ([]queue.Build, error)
	Reclaim(ctx context.Context, now time.Time, reason string, keep func(queue.Build) bool) ([]queue.Build, error)
	Lanes(ctx context.Context, jobs []string) ([]queue.Lane, error)
	Entry(ctx context.Context, now time.Time, id int64) (queue.Entry, error)
	Items(ctx context.Context, now time.Time, job string, limit int) ([]queue.Entry, error)
	Builds(ctx context.Context, job string, before int64, limit int) ([]queue.Build, error)
	Oldest(ctx context.Context, job string) (int64, error)
	Refs(ctx context.Context) ([]string, error)
	Overviews(ctx context.Context, jobs []string) ([]queue.Overview, error)
	Notifications(ctx context.Context, f queue.NotificationFilter) ([]queue.Notification, error)
	Backlogs(ctx context.Context) ([]queue.Backlog, error)
}

// life is a queue to which random operations are applied.
type life struct {
	t     *testing.T
	q     store
	rand  *rand.Rand
	now   time.Time
	rules map[string]queue.Rules
	jobs  []string
	keys  []queue.Request
	free  []int // executors
	last  int64 // the highest ID
}

func newLife(t *testing.T, q store, seed uint64) *life {
	l := &life{
		t: t, q: q, rand: rand.New(rand.NewPCG(seed, 0)), now: time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC),
		rules: map[string]queue.Rules{}, free: []int{0, 1, 2, 3, 4, 5},
	}
	for n := range 30 {
		job := fmt.Sprintf("team/ä%d", n)
		l.jobs = append(l.jobs, job)
		l.rules[job] = queue.Rules{Concurrent: n%3 == 0, Disabled: n == 7, KeepBuilds: n % 5, Label: []string{"", "", "gpu"}[n%3]}
		if n%4 == 0 {
			r := l.rules[job]
			r.Notify = []queue.Target{{Name: "status", On: queue.Conditions()}, {Name: "ops", On: []queue.Condition{queue.OnFixed, queue.OnFailure}}}
			l.rules[job] = r
		}
	}
	l.setRules(q)
	return l
}

func (l *life) setRules(q store) {
	l.t.Helper()
	if err := q.SetRules(l.t.Context(), l.now, queue.Config{Rules: l.rules}); err != nil {
		l.t.Fatal(err)
	}
}

// request returns one of many requests; some are equal.
func (l *life) request() queue.Request {
	r := queue.Request{
		Job: l.jobs[l.rand.IntN(len(l.jobs))], Delay: time.Duration(l.rand.IntN(3)) * time.Duration(l.rand.IntN(1e12)), Solo: l.rand.IntN(20) == 0,
		Cause: queue.Cause{Kind: queue.CauseRemote, Addr: "192.0.2.7", Note: fmt.Sprint("push ", l.rand.IntN(90)), Noted: true, Token: "ci"},
		Root:  "https://ci.example.com",
	}
	for i := range r.Digest {
		r.Digest[i] = byte(l.rand.IntN(256))
	}
	if l.rand.IntN(4) == 0 {
		r.Digest = queue.Digest{1}
		r.Cause.Kind, r.Cause.User = queue.CauseUser, "alice"
	}
	r.Values = []queue.Value{{Name: "REF", Kind: "string", Text: fmt.Sprintf("<%d>\u2028\x00🚀", l.rand.IntN(100))}, {Name: "PIN", Kind: "password", Sealed: []byte{0, 0xff, 7}}}
	switch l.rand.IntN(50) {
	case 0:
		r.Solo = true
		r.Values = append(r.Values, queue.Value{Name: "FILE", Kind: "file", Text: "a b", Ref: fmt.Sprint("ref", l.rand.Uint64())})
	case 1:
		r.Values = append(r.Values, queue.Value{Name: "LONG", Kind: "text", Text: string(make([]byte, 3<<10))})
	case 2, 3:
		r.Key = &queue.Digest{byte(l.rand.IntN(256)), byte(l.rand.IntN(256)), 1}
		l.keys = append(l.keys, r)
	}
	return r
}

// step applies one random operation.
func (l *life) step() {
	l.t.Helper()
	ctx := l.t.Context()
	l.now = l.now.Add(time.Duration(l.rand.IntN(1e9)))
	var err error
	switch l.rand.IntN(40) {
	case 0:
		err = l.q.Cancel(ctx, l.now, l.jobs[l.rand.IntN(len(l.jobs))], 1+l.rand.Int64N(l.last+1), "alice")
	case 1, 2:
		var builds []queue.Build
		builds, _, err = l.q.Claim(ctx, l.now, queue.Node{Name: server, Labels: []string{"gpu"}}, l.free)
		for _, b := range builds {
			l.free = slices.DeleteFunc(l.free, func(n int) bool { return n == b.Executor })
		}
	case 3, 4, 5:
		l.end()
	default:
		var it queue.Item
		it, _, err = l.q.Schedule(ctx, l.now, l.request())
		l.last = max(l.last, it.ID)
	}
	var repeated *queue.RepeatedError
	if err != nil && !errors.Is(err, queue.ErrNotFound) && !errors.Is(err, queue.ErrLeft) && !errors.As(err, &repeated) && !errors.Is(err, queue.ErrKeyReused) {
		l.t.Fatal(err)
	}
}

// end ends a build, or requests that it is stopped.
func (l *life) end() {
	l.t.Helper()
	running, err := l.q.Lost(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	if len(running) == 0 {
		return
	}
	b := running[l.rand.IntN(len(running))]
	if l.rand.IntN(4) == 0 {
		err = l.q.Abort(l.t.Context(), b.Item.Job, b.Number, "bob")
	} else {
		result := []queue.Result{queue.Success, queue.Failure, queue.Aborted}[l.rand.IntN(3)]
		_, err = l.q.Finish(l.t.Context(), l.now, b.Item.Job, b.Number, result, "exit status 3")
		l.free = append(l.free, b.Executor)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// compare compares everything that two queues report.
func (l *life) compare(a, b store) {
	l.t.Helper()
	ctx := l.t.Context()
	same(l, "Lanes", a, b, func(q store) (any, error) { return q.Lanes(ctx, l.jobs) })
	same(l, "Items", a, b, func(q store) (any, error) { return q.Items(ctx, l.now, "", 200) })
	same(l, "Aborts", a, b, func(q store) (any, error) {
		builds, err := q.Aborts(ctx) // in no order
		slices.SortFunc(builds, func(a, b queue.Build) int { return cmp.Compare(a.Item.ID, b.Item.ID) })
		return builds, err
	})
	same(l, "Lost", a, b, func(q store) (any, error) {
		lost, err := q.Lost(ctx)
		slices.SortFunc(lost, func(a, b queue.Build) int { return cmp.Compare(a.Item.ID, b.Item.ID) })
		return lost, err
	})
	same(l, "Overviews", a, b, func(q store) (any, error) { return q.Overviews(ctx, l.jobs) })
	same(l, "Notifications", a, b, func(q store) (any, error) { return q.Notifications(ctx, queue.NotificationFilter{}) })
	same(l, "Backlogs", a, b, func(q store) (any, error) { return q.Backlogs(ctx) })
	same(l, "Refs", a, b, func(q store) (any, error) { return q.Refs(ctx) })
	for _, job := range l.jobs {
		same(l, "Items of "+job, a, b, func(q store) (any, error) { return q.Items(ctx, l.now, job, 1e6) })
		same(l, "Builds of "+job, a, b, func(q store) (any, error) { return q.Builds(ctx, job, 0, 1e6) })
		same(l, "Oldest of "+job, a, b, func(q store) (any, error) { return q.Oldest(ctx, job) })
	}
	for id := int64(1); id <= l.last+1; id += 1 + l.rand.Int64N(1+l.last/150) {
		same(l, fmt.Sprint("Entry ", id), a, b, func(q store) (any, error) { return q.Entry(ctx, l.now, id) })
	}
}

func same(l *life, what string, a, b store, ask func(store) (any, error)) {
	l.t.Helper()
	want, errA := ask(a)
	got, errB := ask(b)
	if (errA == nil) != (errB == nil) || errors.Is(errA, queue.ErrNotFound) != errors.Is(errB, queue.ErrNotFound) {
		l.t.Fatalf("%s: %v, then %v", what, errA, errB)
	}
	if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		l.t.Fatalf("%s (-file +database):\n%.4000s", what, diff)
	}
}

// TestMovedQueueGoesOnAsTheFileWould moves a queue with 10 000 items and records of every kind,
// and applies the same operations to both afterwards.
func TestMovedQueueGoesOnAsTheFileWould(t *testing.T) {
	const queued, seed = 3_000, 20261125
	path := filepath.Join(t.TempDir(), "queue.db")
	opts := boltqueue.Options{Path: path, Commit: func(tx *bolt.Tx) error {
		tx.DB().NoSync = true // it is only read again
		return tx.Commit()
	}}
	file, err := boltqueue.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	l := newLife(t, file, seed)
	for l.last < 100 || l.count() < queued {
		l.step()
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	to := pgqueue.Options{URL: pgtest.Start(t).URL(), Server: server}
	var moved pgqueue.Imported
	err = boltqueue.Export(path, 0, func(records queue.Records) (err error) {
		moved, err = pgqueue.Import(t.Context(), to, records, pgqueue.Contents{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d: moved %+v, next item %d", seed, moved, l.last+1)
	if moved.Items < queued || moved.Builds == moved.Running || min(moved.Running, moved.Cancelled, moved.Receipts) == 0 {
		t.Errorf("moved %+v: something is missing", moved)
	}
	if file, err = boltqueue.Open(opts); err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	base, err := pgqueue.Open(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	l.setRules(file)
	l.setRules(base)
	l.compare(file, base)
	l.goOn(file, base)
	l.compare(file, base)
}

// count returns the number of queued items.
func (l *life) count() (n int) {
	l.t.Helper()
	if l.last%500 != 0 {
		return 0 // the caller tries again
	}
	lanes, err := l.q.Lanes(l.t.Context(), l.jobs)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, lane := range lanes {
		n += lane.Queued
	}
	return n
}

// goOn applies the same operations to two queues.
func (l *life) goOn(a, b store) {
	l.t.Helper()
	ctx := l.t.Context()
	same(l, "Reclaim", a, b, func(q store) (any, error) {
		lost, err := q.Reclaim(ctx, l.now, "lost", nil)
		slices.SortFunc(lost, func(a, b queue.Build) int { return cmp.Compare(a.Item.ID, b.Item.ID) })
		return lost, err
	})
	for range 20 {
		l.now = l.now.Add(time.Minute)
		var started []queue.Build
		same(l, "Claim", a, b, func(q store) (any, error) {
			builds, _, err := q.Claim(ctx, l.now, queue.Node{Name: server, Labels: []string{"gpu"}}, []int{0, 1, 2})
			started = builds
			return builds, err
		})
		for _, build := range started {
			same(l, "Finish", a, b, func(q store) (any, error) {
				return q.Finish(ctx, l.now, build.Item.Job, build.Number, queue.Success, "")
			})
		}
		r := l.request()
		same(l, "Schedule", a, b, func(q store) (any, error) {
			it, created, err := q.Schedule(ctx, l.now, r)
			l.last = max(l.last, it.ID)
			return []any{it, created}, err
		})
	}
	for i, r := range l.keys[:min(50, len(l.keys))] {
		same(l, fmt.Sprint("Schedule with key ", i), a, b, func(q store) (any, error) {
			_, _, err := q.Schedule(ctx, l.now, r)
			var repeated *queue.RepeatedError
			if errors.As(err, &repeated) || errors.Is(err, queue.ErrKeyReused) {
				return err.Error(), nil
			}
			return nil, fmt.Errorf("not known any more: %w", err)
		})
	}
}
