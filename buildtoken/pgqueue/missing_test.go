package pgqueue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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

// TestStatementThatFails lets the statements of each verb fail that use one of the tables, or only
// those that write to it. A verb that fails has no effect: repeated, it does what it should do
// once. One that succeeds has done all of it.
func TestStatementThatFails(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := open(t, s.options())
	spoils := map[string]func(table string) (mend func()){"without the table": hider(t, s), "without writing to the table": protector(t, s)}
	jobs := 0
	for _, op := range append(operations(), moreOperations()...) {
		t.Run(op.name, func(t *testing.T) {
			for how, spoil := range spoils {
				failed := 0
				for _, table := range tables(t, s) {
					jobs++
					job := fmt.Sprint("job-", jobs)
					op.prepare(t, q, job)
					mend := spoil(table)
					err := op.do(t.Context(), q, job)
					mend()
					if err != nil {
						failed++
						if !errors.Is(err, queue.ErrStorage) && !errors.Is(err, errNoItem) {
							t.Errorf("%s %s: %v, want %v", how, table, err, queue.ErrStorage)
						}
						if !strings.Contains(err.Error(), table) {
							t.Errorf("%s %s: %v; the error does not name the table", how, table, err)
						}
						if err := op.do(t.Context(), q, job); err != nil {
							t.Errorf("repeated after a failure %s %s: %v", how, table, err)
						}
					}
					if diff := op.done(t, q, job); diff != "" {
						t.Errorf("after %v %s %s (-want +got):\n%s", err, how, table, diff)
					}
					empty(t, q, job) // queued items must not start in another round
				}
				if failed == 0 {
					t.Errorf("it does not fail %s", how)
				}
			}
		})
	}
}

// TestRequestThatIsRefused has the database refuse each request of a verb, one at a time. The verb must
// return that error, change nothing, and work when it is repeated.
func TestRequestThatIsRefused(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	for _, op := range append(operations(), moreOperations()...) {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			q, w := wired(t, server, 0)
			for n := 0; ; n++ {
				job := fmt.Sprint("job-", n)
				op.prepare(t, q, job)
				plan := cut{after: n, refuse: true}
				w.set(&plan, false)
				err := op.do(t.Context(), q, job)
				w.set(nil, false)
				if !plan.happened && n > 0 {
					break
				}
				if err == nil || !strings.Contains(err.Error(), refusal) {
					t.Errorf("request %d was refused: %v, want an error with %q", n, err, refusal)
				}
				if err := op.do(t.Context(), q, job); err != nil {
					t.Errorf("repeated after request %d was refused: %v", n, err)
				}
				if diff := op.done(t, q, job); diff != "" {
					t.Errorf("after request %d was refused (-want +got):\n%s", n, diff)
				}
				empty(t, q, job) // queued items must not start in another round
			}
		})
	}
}

// TestConnectionThatIsRefused is the same for what makes its own connections.
func TestConnectionThatIsRefused(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	w := newWire(t, host(t, server))
	opts := pgqueue.Options{URL: "postgres:///postgres?user=buildtoken&host=" + w.dir, Schema: "ci", Log: zap.NewNop()}
	q := open(t, opts)
	contents := pgqueue.Contents{
		Fingerprint: []byte("key"),
		Log:         func(string, int64) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("line\n")), nil },
		File:        func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("content")), nil },
	}
	opens := func(opts pgqueue.Options) error {
		q, err := pgqueue.Open(t.Context(), opts)
		if err != nil {
			return err
		}
		return q.Close()
	}
	opts.Schema = ""
	if err := opens(opts); err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func(opts pgqueue.Options) error{
		"Open": func(opts pgqueue.Options) error {
			opts.Schema = "ci"
			return opens(opts)
		},
		"Open of a new schema": opens,
		"Import": func(opts pgqueue.Options) error {
			opts.Schema = "" // the default one
			_, err := pgqueue.Import(t.Context(), opts, allRecords(), contents)
			return err
		},
		"Identify": func(opts pgqueue.Options) error {
			opts.Schema = ""
			_, err := pgqueue.Identify(t.Context(), opts)
			return err
		},
		"Reconnect": func(opts pgqueue.Options) error {
			return q.Reconnect(t.Context(), func() (string, error) { return opts.URL, nil }, "ci")
		},
	} {
		t.Run(name, func(t *testing.T) {
			for n := 0; ; n++ {
				opts.Server, opts.Schema = fmt.Sprint("ci-", n), name
				plan := cut{after: n, refuse: true}
				w.set(&plan, false)
				err := do(opts)
				w.set(nil, false)
				if !plan.happened && n > 0 {
					if err != nil {
						t.Errorf("after each request was refused once: %v", err)
					}
					break
				}
				if err == nil || !strings.Contains(err.Error(), refusal) {
					t.Errorf("request %d was refused: %v, want an error with %q", n, err, refusal)
				}
			}
		})
	}
}

// TestReadThatFails is the same for what only reads. An answer of which a part was lost is requested
// again.
func TestReadThatFails(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	s := store{server.URL(), pgtest.Schema(t, server.URL())}
	q, w := behind(t, server, s.schema, "ci-1", time.Hour)
	hide := hider(t, s)
	ctx := t.Context()
	left := request("left", "k") // of a job that is gone
	left.Delay = time.Hour
	schedule(t, q, left)
	setRules(t, q, map[string]queue.Rules{"j": {Concurrent: true, Notify: []queue.Target{{Name: "chat", On: queue.Conditions()}}}})
	for n := range 3 {
		r := request("j", fmt.Sprint(n))
		r.Values = []queue.Value{{Name: "FILE", Kind: "file", Text: "f", Ref: fmt.Sprint("ref", n)}}
		schedule(t, q, r)
		if n < 2 {
			claim(t, q, queue.Node{Name: "node"})
		}
	}
	gone := schedule(t, q, request("j", "gone"))
	_, ended := q.Finish(ctx, start, "j", 1, queue.Success, "")
	_, logged := q.AppendLog(ctx, "j", 2, 0, []byte("line\n"), false)
	err := errors.Join(ended, logged, q.Cancel(ctx, start, "j", gone.ID, "alice"), q.Abort(ctx, "j", 2, "alice"),
		q.SaveTokenUses(ctx, start, []queue.TokenUse{{Place: "j", Name: "ci", Uses: 1, First: start, Last: start}}),
		q.PutFile(ctx, "ref", strings.NewReader("content")))
	if err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() (any, error){
		"Lanes":         func() (any, error) { return q.Lanes(ctx, []string{"j"}) },
		"AllLanes":      func() (any, error) { return q.AllLanes(ctx) },
		"Overviews":     func() (any, error) { return q.Overviews(ctx, []string{"j"}) },
		"Gone":          func() (any, error) { return q.Gone(ctx) },
		"Entry":         func() (any, error) { return q.Entry(ctx, start, gone.ID-1) },
		"Items":         func() (any, error) { return q.Items(ctx, start, "", 10) },
		"Build":         func() (any, error) { return q.Build(ctx, "j", 1) },
		"Builds":        func() (any, error) { return q.Builds(ctx, "j", 0, 10) },
		"Oldest":        func() (any, error) { return q.Oldest(ctx, "j") },
		"Refs":          func() (any, error) { return q.Refs(ctx) },
		"Lost":          func() (any, error) { return q.Lost(ctx) },
		"Aborts":        func() (any, error) { return q.Aborts(ctx) },
		"TokenUses":     func() (any, error) { return q.TokenUses(ctx) },
		"Notifications": func() (any, error) { return q.Notifications(ctx, queue.NotificationFilter{}) },
		"Backlogs":      func() (any, error) { return q.Backlogs(ctx) },
		"LogState":      func() (any, error) { return q.LogState(ctx, "j", 2) },
		"LogTimes":      func() (any, error) { return q.LogTimes(ctx, "j", 2, 0, 10) },
		"ReadLog": func() (any, error) {
			p := make([]byte, 10)
			n, err := q.ReadLog(ctx, "j", 2, 0, 0, p)
			return string(p[:n]), err
		},
		"GetFile": func() (any, error) {
			var b strings.Builder
			err := q.GetFile(ctx, "ref", &b)
			return b.String(), err
		},
		"next due instant": func() (any, error) {
			_, next, err := q.Claim(ctx, start, queue.Node{Name: "node"}, nil)
			return next, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := do()
			if err != nil {
				t.Fatal(err)
			}
			cuts := 0
			for again := true; again; cuts++ { // until no request is left to be cut
				plan := cut{after: cuts, half: true}
				w.set(&plan, false)
				got, err := do()
				again = w.hasHappened(&plan)
				w.set(nil, false)
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					t.Errorf("when its answer is cut: %v (-want +got):\n%s", err, diff)
				}
			}
			if cuts < 2 {
				t.Error("it sends no request")
			}
			failed := 0
			for _, table := range tables(t, s) {
				show := hide(table)
				got, err := do()
				show()
				switch {
				case errors.Is(err, queue.ErrStorage) && strings.Contains(err.Error(), table):
					failed++
				case err != nil:
					t.Errorf("without the table %s: %v, want %v with its name", table, err, queue.ErrStorage)
				default:
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("without the table %s, the answer is another one (-want +got):\n%s", table, diff)
					}
				}
			}
			if failed == 0 {
				t.Error("it needs no table")
			}
		})
	}
}

// tables returns the tables of a store, except those that heartbeats and new connections need.
func tables(t *testing.T, s store) []string {
	t.Helper()
	conn := pgtest.Connect(t, s.url)
	rows, err := conn.Query(t.Context(), "select table_name::text from information_schema.tables where table_schema = $1 order by 1", s.schema)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(name string) bool {
		return slices.Contains([]string{"identity", "incarnations", "migrations", "servers"}, name)
	})
}

// hider returns a function that gives a table another name, until the returned function is called.
func hider(t *testing.T, s store) func(table string) (show func()) {
	t.Helper()
	exec := executor(t, s)
	return func(table string) func() {
		exec("alter table %[1]s rename to %[1]s_away", table)
		return func() { exec("alter table %[1]s_away rename to %[1]s", table) }
	}
}

// protector returns a function that makes all statements fail that write to a table, until the
// returned function is called.
func protector(t *testing.T, s store) func(table string) (release func()) {
	t.Helper()
	exec := executor(t, s)
	exec("create function refuse() returns trigger language plpgsql as $$begin raise 'not now: %%', tg_table_name; end$$")
	return func(table string) func() {
		exec("create trigger refuse before insert or update or delete on %s execute function refuse()", table)
		return func() { exec("drop trigger refuse on %s", table) }
	}
}

// executor returns a function that executes a statement with the names of tables.
func executor(t *testing.T, s store) func(sql string, tables ...any) {
	t.Helper()
	conn := pgtest.Connect(t, with(with(s.url, "search_path="+s.schema), "synchronous_commit=off"))
	return func(sql string, tables ...any) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), fmt.Sprintf(sql, tables...)); err != nil {
			t.Fatal(err)
		}
	}
}

// moreOperations are verbs beside those of [operations].
func moreOperations() []operation {
	claims := func(t *testing.T, q *pgqueue.DB, job string) {
		schedule(t, q, request(job, "k"))
		if builds := claim(t, q, queue.Node{Name: "node"}); len(builds) != 1 || builds[0].Item.Job != job {
			t.Fatalf("claimed %v, want a build of %s", builds, job)
		}
	}
	ends := func(t *testing.T, q *pgqueue.DB, job string) {
		t.Helper()
		if _, err := q.Finish(t.Context(), start, job, 1, queue.Success, ""); err != nil {
			t.Error(err)
		}
	}
	notified := func(t *testing.T, q *pgqueue.DB, job string) queue.Notification {
		t.Helper()
		all, err := q.Notifications(t.Context(), queue.NotificationFilter{Job: job})
		if err != nil || len(all) != 1 {
			t.Fatalf("notifications of %s: %v, %v; want one", job, all, err)
		}
		return all[0]
	}
	notifies := func(t *testing.T, q *pgqueue.DB, job string) {
		setRules(t, q, map[string]queue.Rules{job: {Notify: []queue.Target{{Name: "chat", On: []queue.Condition{queue.OnQueued}}}}})
		schedule(t, q, request(job, "k"))
	}
	nothing := func(*testing.T, *pgqueue.DB, string) {}
	return []operation{
		{
			"Schedule with a key",
			nothing,
			func(ctx context.Context, q *pgqueue.DB, job string) error {
				r := request(job, "k")
				r.Key = &queue.Digest{'k'}
				_, _, err := q.Schedule(ctx, start, r)
				return err
			},
			func(t *testing.T, q *pgqueue.DB, job string) string {
				r := request(job, "k")
				r.Key = &queue.Digest{'k'}
				_, _, err := q.Schedule(t.Context(), start, r)
				if repeated, ok := errors.AsType[*queue.RepeatedError](err); !ok || repeated.Receipt.Item == 0 {
					return fmt.Sprintf("repeated with the same key: %v", err)
				}
				return ""
			},
		},
		{
			"SetHandle",
			claims,
			func(ctx context.Context, q *pgqueue.DB, job string) error {
				return q.SetHandle(ctx, job, 1, []byte("handle"))
			},
			func(t *testing.T, q *pgqueue.DB, job string) string {
				defer ends(t, q, job)
				b, err := q.Build(t.Context(), job, 1)
				return cmp.Diff("handle", string(b.Handle)) + cmp.Diff(nil, err)
			},
		},
		{
			"Adopt",
			claims,
			func(ctx context.Context, q *pgqueue.DB, job string) error {
				adopted, err := q.Adopt(ctx, []queue.Build{{Item: queue.Item{Job: job}, Number: 1}}, queue.Node{Name: "other"}, []int{3})
				if err == nil && len(adopted) != 1 {
					return fmt.Errorf("adopted %d builds", len(adopted))
				}
				return err
			},
			func(t *testing.T, q *pgqueue.DB, job string) string {
				defer ends(t, q, job)
				b, err := q.Build(t.Context(), job, 1)
				if err != nil {
					t.Fatal(err)
				}
				// A verb that failed has left it where it was.
				return cmp.Diff(b.Executor == 3, b.Node == "other")
			},
		},
		{
			"Reclaim",
			claims,
			func(ctx context.Context, q *pgqueue.DB, _ string) error {
				lost, err := q.Reclaim(ctx, start, "gone", nil)
				if err == nil && len(lost) > 1 {
					return fmt.Errorf("%d builds were lost", len(lost))
				}
				return err
			},
			func(t *testing.T, q *pgqueue.DB, job string) string {
				b, err := q.Build(t.Context(), job, 1)
				return cmp.Diff("gone", b.Reason) + cmp.Diff(nil, err)
			},
		},
		{
			"Forget",
			func(t *testing.T, q *pgqueue.DB, job string) {
				claims(t, q, job)
				ends(t, q, job)
				setRules(t, q, map[string]queue.Rules{})
			},
			func(ctx context.Context, q *pgqueue.DB, job string) error { return q.Forget(ctx, job) },
			func(t *testing.T, q *pgqueue.DB, job string) string {
				builds, err := q.Builds(t.Context(), job, 0, 10)
				return cmp.Diff(0, len(builds)) + cmp.Diff(nil, err)
			},
		},
		{
			"SetRules",
			func(t *testing.T, q *pgqueue.DB, job string) { schedule(t, q, request(job, "k")) },
			func(ctx context.Context, q *pgqueue.DB, job string) error {
				return q.SetRules(ctx, start, queue.Config{Rules: map[string]queue.Rules{job: {KeepBuilds: 7}}})
			},
			func(t *testing.T, q *pgqueue.DB, job string) string {
				l, err := laneOf(t.Context(), q, job)
				return cmp.Diff(7, l.Rules.KeepBuilds) + cmp.Diff(nil, err)
			},
		},
		{
			"TakeNotifications and SettleNotification",
			notifies,
			func(ctx context.Context, q *pgqueue.DB, job string) error {
				if _, _, err := q.TakeNotifications(ctx, start, []string{"chat"}, 10); err != nil {
					return err
				}
				due, err := q.Notifications(ctx, queue.NotificationFilter{Job: job, State: queue.DeliveryWaiting}) // also taken before a failure
				for _, n := range due {
					_, settled := q.SettleNotification(ctx, start, n.ID, queue.Attempt{})
					err = errors.Join(err, settled)
				}
				return err
			},
			func(t *testing.T, q *pgqueue.DB, job string) string {
				return cmp.Diff(queue.DeliverySent, notified(t, q, job).State)
			},
		},
		{
			"RetryNotification",
			func(t *testing.T, q *pgqueue.DB, job string) {
				notifies(t, q, job)
				if _, err := q.SettleNotification(t.Context(), start, notified(t, q, job).ID, queue.Attempt{Error: "500", GiveUp: true}); err != nil {
					t.Fatal(err)
				}
			},
			func(ctx context.Context, q *pgqueue.DB, job string) error {
				all, err := q.Notifications(ctx, queue.NotificationFilter{Job: job})
				if err != nil {
					return err
				}
				return q.RetryNotification(ctx, start, all[0].ID)
			},
			func(t *testing.T, q *pgqueue.DB, job string) string {
				n := notified(t, q, job)
				if _, err := q.SettleNotification(t.Context(), start, n.ID, queue.Attempt{}); err != nil {
					t.Error(err)
				}
				return cmp.Diff(queue.DeliveryWaiting, n.State)
			},
		},
		{
			"SaveTokenUses",
			nothing,
			func(ctx context.Context, q *pgqueue.DB, job string) error {
				return q.SaveTokenUses(ctx, start, []queue.TokenUse{{Place: job, Name: "ci", Uses: 1, First: start, Last: start}})
			},
			func(t *testing.T, q *pgqueue.DB, job string) string {
				uses, err := q.TokenUses(t.Context())
				return cmp.Diff(true, slices.ContainsFunc(uses, func(u queue.TokenUse) bool { return u.Place == job })) + cmp.Diff(nil, err)
			},
		},
		{
			"AppendLog",
			claims,
			func(ctx context.Context, q *pgqueue.DB, job string) error {
				size, err := q.AppendLog(ctx, job, 1, 0, []byte("line\n"), false)
				if err == nil && size != 5 {
					return fmt.Errorf("the log has %d bytes", size)
				}
				return err
			},
			func(t *testing.T, q *pgqueue.DB, job string) string {
				defer ends(t, q, job)
				p := make([]byte, 10)
				n, err := q.ReadLog(t.Context(), job, 1, 0, 0, p)
				return cmp.Diff("line\n", string(p[:n])) + cmp.Diff(nil, err)
			},
		},
		{
			"PutFile",
			nothing,
			func(ctx context.Context, q *pgqueue.DB, job string) error {
				return q.PutFile(ctx, job, strings.NewReader("content"))
			},
			func(t *testing.T, q *pgqueue.DB, job string) string {
				var b strings.Builder
				err := q.GetFile(t.Context(), job, &b)
				return cmp.Diff("content", b.String()) + cmp.Diff(nil, err)
			},
		},
		{
			"DropFiles and SweepFiles",
			func(t *testing.T, q *pgqueue.DB, job string) {
				if err := q.PutFile(t.Context(), job, strings.NewReader("content")); err != nil {
					t.Fatal(err)
				}
			},
			func(ctx context.Context, q *pgqueue.DB, job string) error {
				return errors.Join(q.DropFiles(ctx, job), q.SweepFiles(ctx, nil))
			},
			func(t *testing.T, q *pgqueue.DB, job string) string {
				if err := q.GetFile(t.Context(), job, &strings.Builder{}); !errors.Is(err, queue.ErrNotFound) {
					return fmt.Sprintf("GetFile: %v", err)
				}
				return ""
			},
		},
		{
			"UseKey",
			nothing,
			func(ctx context.Context, q *pgqueue.DB, job string) error { return q.UseKey(ctx, []byte(job)) },
			func(t *testing.T, q *pgqueue.DB, job string) string {
				later := request(job, "k")
				later.Delay = time.Hour
				schedule(t, q, later)
				if err := q.UseKey(t.Context(), []byte("another")); !errors.Is(err, pgqueue.ErrKey) {
					return fmt.Sprintf("UseKey with another key while something is queued: %v", err)
				}
				return cmp.Diff(nil, q.UseKey(t.Context(), []byte(job)))
			},
		},
	}
}
