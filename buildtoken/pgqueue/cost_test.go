package pgqueue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// fill puts n items of a job in front of all others, while the queue is closed.
func fill(t testing.TB, s store, job string, n int) {
	t.Helper()
	conn := pgtest.Connect(t, s.url)
	for _, sql := range []string{
		fmt.Sprintf(`insert into %[1]s.items (id, job, due, digest, solo, files, body)
			select nextval('%[1]s.item_ids'), '%[2]s', 0, decode(lpad(to_hex(n), 32, '0'), 'hex'), false, false,
				json_build_object('id', 0, 'job', '%[2]s', 'since', '1970-01-01T00:00:00Z', 'due', '1970-01-01T00:00:00Z', 'digest', 'AAAAAAAAAAAAAAAAAAAAAA')
			from generate_series(1, %[3]d) n`, s.schema, job, n),
		fmt.Sprintf("update %s.counts set queued = queued + %d where part = 0", s.schema, n),
		// A lane whose build never ends: its items are due and precede those of all other
		// lanes.
		fmt.Sprintf(`insert into %s.lanes (job, label, head) values ('%s', '', '{"job":"%[2]s","queued":%d,"running":[1],"last_number":1}')`, s.schema, job, n),
		fmt.Sprintf("analyze %s.items", s.schema),
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTriggersShareTransactions sends triggers at once, until some of them were stored by one transaction.
func TestTriggersShareTransactions(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := open(t, s.options())
	look := pgtest.Connect(t, s.url)
	var items, transactions int
	for late := time.Now().Add(patience); transactions == items; {
		var triggers sync.WaitGroup
		for n := range 20 {
			triggers.Go(func() { schedule(t, q, request("j", fmt.Sprint(items+n))) })
		}
		triggers.Wait()
		if err := look.QueryRow(t.Context(), "select count(*), count(distinct xmin::text) from "+s.schema+".items").Scan(&items, &transactions); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(late) {
			t.Fatalf("%d items were stored by as many transactions", items)
		}
	}
}

// TestDecisionsReadFewRows counts the rows that are read while there is a long queue. Unlike
// time, this number does not depend on the machine.
func TestDecisionsReadFewRows(t *testing.T) {
	const queued, rounds = 20_000, 10
	s := newStore(t)
	opts := pgqueue.Options{URL: s.url, Schema: s.schema, Limit: 2 * queued}
	if err := open(t, opts).Close(); err != nil {
		t.Fatal(err)
	}
	fill(t, s, "blocked", queued)
	before := rowsRead(t, s)
	q := open(t, opts)
	ctx := t.Context()
	for n := range rounds {
		r := request("j", fmt.Sprint(n))
		schedule(t, q, r)
		schedule(t, q, r)
		schedule(t, q, request("blocked", fmt.Sprint("new", n)))
		if builds, _, err := q.Claim(ctx, start, queue.Node{Name: "node"}, []int{0}); err != nil || len(builds) != 1 {
			t.Fatalf("Claim: %v, %v", builds, err)
		}
		if err := q.Abort(ctx, "j", int64(n+1), "alice"); err != nil {
			t.Fatal(err)
		}
		if _, err := q.Aborts(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := q.Finish(ctx, start, "j", int64(n+1), queue.Success, ""); err != nil {
			t.Fatal(err)
		}
		if e, err := q.Entry(ctx, start, int64(2*n+1)); err != nil || e.Position != n {
			t.Fatalf("Entry: %+v, %v", e, err)
		}
		for _, job := range []string{"", "blocked", "j"} {
			if _, err := q.Items(ctx, start, job, 5); err != nil {
				t.Fatal(err)
			}
		}
		if err := q.Cancel(ctx, start, "blocked", int64(2*n+2), "alice"); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.SetRules(ctx, start, queue.Config{}); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil { // completes the counts of its connections
		t.Fatal(err)
	}
	const most = 500 // per round, of all tables and indexes together
	if got := rowsRead(t, s) - before; got > rounds*most {
		t.Errorf("%d rounds beside %d queued items read %d rows, want at most %d", rounds, queued, got, rounds*most)
	}
}

// TestHistoryCostsNothing counts the rows that are read besides a long history of builds,
// triggers with keys and files, and a log of many pieces.
func TestHistoryCostsNothing(t *testing.T) {
	const old, rounds, piece = 20_000, 10, 32 << 10
	s := newStore(t)
	m := moving{lanes: []queue.Lane{{Job: "j", Queued: old / 10, LastNumber: old}}}
	for n := range int64(old) {
		it := queue.Item{ID: n + 1, Job: "j", Since: start, Due: start.Add(time.Hour), Solo: true}
		m.builds = append(m.builds, queue.Build{Item: it, Number: n + 1, Started: start, Ended: start, Result: queue.Success})
		m.receipts = append(m.receipts, queue.JobReceipt{Job: "j", Receipt: queue.Receipt{Key: queue.Digest{byte(n), byte(n >> 8)}, Item: n + 1, Until: start.Add(time.Hour)}})
		if n%10 == 0 {
			it.ID += old
			it.Values = []queue.Value{{Name: "FILE", Kind: "file", Ref: fmt.Sprint("ref", n)}}
			m.items = append(m.items, it)
		}
	}
	m.contents = pgqueue.Contents{
		Log: func(_ string, number int64) (io.ReadCloser, error) {
			if number == 1 {
				return io.NopCloser(strings.NewReader(strings.Repeat("x", 1000*piece))), nil
			}
			return io.NopCloser(strings.NewReader("hello")), nil
		},
		File: func(ref string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(ref)), nil },
	}
	if moved, err := importInto(t, s, m); err != nil || moved.Logs != old || moved.Files != old/10 {
		t.Fatalf("Import = %+v, %v", moved, err)
	}
	before := rowsRead(t, s)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "new"})
	ctx := t.Context()
	buf := make([]byte, 2*piece)
	for n := range rounds {
		r := request("j", fmt.Sprint(n))
		r.Key = &queue.Digest{'n', 'e', 'w', byte(n)}
		schedule(t, q, r)
		number := int64(old + n + 1)
		if builds, _, err := q.Claim(ctx, start, queue.Node{Name: "new"}, []int{0}); err != nil || len(builds) != 1 || builds[0].Number != number {
			t.Fatalf("Claim: %v, %v", builds, err)
		}
		_, lost := q.Lost(ctx)
		_, appended := q.AppendLog(ctx, "j", number, 0, []byte("hello"), true)
		_, finished := q.Finish(ctx, start, "j", number, queue.Success, "")
		_, builds := q.Builds(ctx, "j", 0, 5)
		_, oldest := q.Oldest(ctx, "j")
		_, lanes := q.Lanes(ctx, []string{"j", "k"})
		_, entry := q.Entry(ctx, start, 7)
		_, state := q.LogState(ctx, "j", 1)
		_, read := q.ReadLog(ctx, "j", 1, 0, 500*piece+1, buf)
		if err := errors.Join(lost, appended, finished, builds, oldest, lanes, entry, state, read, q.GetFile(ctx, "ref500", io.Discard), q.DropFiles(ctx, fmt.Sprint("ref", 10*n))); err != nil {
			t.Fatal(err)
		}
		r.Key = &queue.Digest{byte(n), 1}
		var repeated *queue.RepeatedError
		if _, _, err := q.Schedule(ctx, start, r); !errors.As(err, &repeated) && !errors.Is(err, queue.ErrKeyReused) {
			t.Fatalf("Schedule with an earlier key: %v", err)
		}
	}
	if _, err := q.Reclaim(ctx, start, "lost", nil); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	const most = 500
	if got := rowsRead(t, s) - before; got > rounds*most {
		t.Errorf("%d rounds beside %d old builds read %d rows, want at most %d", rounds, old, got, rounds*most)
	} else {
		t.Logf("%d rows a round", got/rounds)
	}
}

func rowsRead(t *testing.T, s store) (rows int64) {
	t.Helper()
	const sql = `select (select sum(seq_tup_read) + sum(coalesce(idx_tup_fetch, 0)) from pg_stat_user_tables where schemaname = $1)
		+ (select sum(idx_tup_read) from pg_stat_user_indexes where schemaname = $1)`
	if err := pgtest.Connect(t, s.url).QueryRow(t.Context(), sql, s.schema).Scan(&rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

// each calls do from that many goroutines until the benchmark has enough.
func each(b *testing.B, callers int, do func(n int64) error) {
	b.Helper()
	var begun atomic.Int64
	var calling sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range callers {
		calling.Go(func() {
			for n := begun.Add(1); n <= int64(b.N); n = begun.Add(1) {
				if err := do(n); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	calling.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "triggers/s")
}

// BenchmarkScheduleNew creates items, also with a long queue.
func BenchmarkScheduleNew(b *testing.B) {
	for _, queued := range []int{0, 100_000} {
		for _, callers := range []int{2, 16, 64} {
			b.Run(fmt.Sprintf("queued=%d/callers=%d", queued, callers), func(b *testing.B) {
				s := newStore(b)
				opts := pgqueue.Options{URL: s.url, Schema: s.schema, Log: zap.NewNop()}
				if err := open(b, opts).Close(); err != nil {
					b.Fatal(err)
				}
				if queued > 0 {
					fill(b, s, "blocked", queued)
				}
				q := open(b, opts)
				each(b, callers, func(n int64) error {
					r := request(fmt.Sprint("job", n%100), fmt.Sprint(n))
					_, _, err := q.Schedule(context.Background(), start, r)
					return err
				})
			})
		}
	}
}

func BenchmarkScheduleJoined(b *testing.B) {
	for _, callers := range []int{2, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := newStore(b)
			q := open(b, pgqueue.Options{URL: s.url, Schema: s.schema, Log: zap.NewNop()})
			each(b, callers, func(int64) error {
				_, _, err := q.Schedule(context.Background(), start, request("j", "k"))
				return err
			})
		})
	}
}

// BenchmarkBuild schedules, starts and ends a build.
func BenchmarkBuild(b *testing.B) {
	s := newStore(b)
	q := open(b, pgqueue.Options{URL: s.url, Schema: s.schema, Log: zap.NewNop()})
	if err := q.SetRules(b.Context(), start, queue.Config{Rules: map[string]queue.Rules{"j": {KeepBuilds: 10}}}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		schedule(b, q, request("j", "k"))
		builds, _, err := q.Claim(b.Context(), start.Add(time.Second), queue.Node{Name: "node"}, []int{0})
		if err != nil || len(builds) != 1 {
			b.Fatalf("Claim: %v, %v", builds, err)
		}
		if _, err := q.Finish(b.Context(), start, "j", builds[0].Number, queue.Success, ""); err != nil {
			b.Fatal(err)
		}
	}
}
