package pgqueue_test

import (
	"errors"
	"io"
	"io/fs"
	"iter"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

func sequence[T any](records []T, end error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
		if end != nil {
			var none T
			yield(none, end)
		}
	}
}

// moving is a queue that is to be imported, as slices that a test can change.
type moving struct {
	lanes     []queue.Lane
	items     []queue.Item
	builds    []queue.Build
	cancelled []queue.Cancelled
	receipts  []queue.JobReceipt
	end       error // returned at the end of the receipts
	contents  pgqueue.Contents
}

func (m moving) records() queue.Records {
	return queue.Records{
		NextID: 8, Lanes: sequence(m.lanes, nil), Items: sequence(m.items, nil), Builds: sequence(m.builds, nil),
		Cancelled: sequence(m.cancelled, nil), Receipts: sequence(m.receipts, m.end),
	}
}

// everyKind returns a queue with a record of each kind.
func everyKind() moving {
	item := func(id int64) queue.Item {
		return queue.Item{ID: id, Job: "j", Since: start, Due: start.Add(time.Duration(10-id) * time.Second), Digest: queue.Digest{byte(id)}}
	}
	return moving{
		lanes:     []queue.Lane{{Job: "i"}, {Job: "j", Queued: 2, Running: []int64{4}, LastNumber: 5, Kept: 1, KeptCancelled: 1, Receipts: 1}},
		items:     []queue.Item{item(1), item(6)},
		builds:    []queue.Build{{Item: item(2), Number: 3, Node: "old", Started: start, Ended: start, Result: queue.Success}, {Item: item(3), Number: 4, Node: "old", Started: start}},
		cancelled: []queue.Cancelled{{Item: item(4), At: start, By: "alice"}},
		receipts:  []queue.JobReceipt{{Job: "j", Receipt: queue.Receipt{Key: queue.Digest{'k'}, Item: 6, Created: true, Until: start.Add(time.Hour)}}},
	}
}

func importInto(t *testing.T, s store, m moving) (pgqueue.Imported, error) {
	t.Helper()
	return pgqueue.Import(t.Context(), pgqueue.Options{URL: s.url, Schema: s.schema, Server: "new"}, m.records(), m.contents)
}

// exists reports whether the schema exists.
func (s store) exists(t *testing.T) (is bool) {
	t.Helper()
	if err := pgtest.Connect(t, s.url).QueryRow(t.Context(), "select exists (select from pg_namespace where nspname = $1)", s.schema).Scan(&is); err != nil {
		t.Fatal(err)
	}
	return is
}

func TestImport(t *testing.T) {
	s := newStore(t)
	got, err := importInto(t, s, everyKind())
	if got.Identity == "" {
		t.Error("the queue has no identity")
	}
	if want := (pgqueue.Imported{Identity: got.Identity, Jobs: 2, Items: 2, Builds: 2, Running: 1, Cancelled: 1, Receipts: 1}); err != nil || got != want {
		t.Fatalf("Import = %+v, %v, want %+v", got, err, want)
	}
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "new", Limit: 2})
	ctx := t.Context()
	if _, _, err := q.Schedule(ctx, start, request("j", "new")); !errors.Is(err, queue.ErrFull) {
		t.Errorf("Schedule beyond the limit: %v, want %v: the items are not counted", err, queue.ErrFull)
	}
	lost, err := q.Reclaim(ctx, start, "lost", nil)
	if err != nil || len(lost) != 1 || lost[0].Number != 4 || lost[0].Node != "new" || lost[0].Result != queue.Aborted {
		t.Errorf("Reclaim = %+v, %v; want build 4 of the server for which it was imported", lost, err)
	}
	if err := q.SetRules(ctx, start, queue.Config{}); err != nil {
		t.Fatal(err)
	}
	once := request("j", "")
	once.Digest, once.Key = queue.Digest{}, &queue.Digest{'k'}
	var repeated *queue.RepeatedError
	if _, _, err := q.Schedule(ctx, start, once); !errors.As(err, &repeated) || repeated.Receipt.Item != 6 {
		t.Errorf("Schedule with a key that was used: %v, want the earlier answer", err)
	}
	// Items are claimed in the order in which they are due, not in that of their creation.
	builds, _, err := q.Claim(ctx, start.Add(time.Hour), queue.Node{Name: "new"}, []int{0})
	if err != nil || len(builds) != 1 || builds[0].Item.ID != 6 || builds[0].Number != 6 {
		t.Errorf("Claim = %+v, %v, want build 6 of item 6", builds, err)
	}
	if it := schedule(t, q, request("j", "new")); it.ID != 8 {
		t.Errorf("the next item is %d, want 8", it.ID)
	}
}

// One record of any kind is enough to refuse an import.
func TestImportRefusesOneRecord(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := open(t, s.options())
	if err := q.SaveTokenUses(t.Context(), time.Now(), []queue.TokenUse{{Place: "j", Name: "ci", Last: time.Now()}}); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := importInto(t, s, everyKind()); !errors.Is(err, pgqueue.ErrNotEmpty) || !strings.HasSuffix(err.Error(), "tables token_uses") {
		t.Errorf("Import beside the uses of a token: %v, want %v that names their table", err, pgqueue.ErrNotEmpty)
	}
}

// Without the contents, an import has the references of files only.
func TestImportWithoutContents(t *testing.T) {
	s, m := newStore(t), everyKind()
	m.items[0].Values = []queue.Value{{Name: "FILE", Kind: "file", Ref: "ref"}}
	if got, err := importInto(t, s, m); err != nil || got.Items != 2 || got.Files != 0 || got.Logs != 0 {
		t.Fatalf("Import = %+v, %v, want two items and no contents", got, err)
	}
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "new"})
	if refs, err := q.Refs(t.Context()); err != nil || len(refs) != 1 || refs[0] != "ref" {
		t.Errorf("Refs = %v, %v", refs, err)
	}
}

// New items get IDs above those of all records, whatever the next ID of the other queue is.
func TestImportGivesNoIDAgain(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*moving){
		"a queued item":    func(m *moving) { m.items[1].ID = 50 },
		"a build":          func(m *moving) { m.builds[0].Item.ID = 50 },
		"a running build":  func(m *moving) { m.builds[1].Item.ID = 50 },
		"a cancelled item": func(m *moving) { m.cancelled[0].Item.ID = 50 },
		"a receipt":        func(m *moving) { m.receipts[0].Item = 50 },
	} {
		t.Run(name, func(t *testing.T) {
			s, m := newStore(t), everyKind()
			edit(&m)
			if _, err := importInto(t, s, m); err != nil {
				t.Fatal(err)
			}
			q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "new"})
			if it := schedule(t, q, request("j", "new")); it.ID != 51 {
				t.Errorf("the next item is %d, want 51", it.ID)
			}
		})
	}
	s, first := newStore(t), queue.Records{Lanes: sequence([]queue.Lane{{Job: "j", Queued: 1}}, nil), Items: sequence([]queue.Item{{ID: 1, Job: "j", Due: start}}, nil)}
	if _, err := pgqueue.Import(t.Context(), s.options(), first, pgqueue.Contents{}); err != nil {
		t.Fatal(err)
	}
	q := open(t, s.options())
	if it := schedule(t, q, request("j", "new")); it.ID != 2 {
		t.Errorf("after the very first item comes %d, want 2", it.ID)
	}
}

func TestImportRefusesSchemaThatIsInUse(t *testing.T) {
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "ci-1"})
	if _, err := importInto(t, s, everyKind()); !errors.Is(err, pgqueue.ErrInUse) || !strings.Contains(err.Error(), "ci-1") || !strings.Contains(err.Error(), s.schema) {
		t.Errorf("Import beside a server: %v, want %v that names it and the schema", err, pgqueue.ErrInUse)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := importInto(t, s, everyKind()); err != nil {
		t.Fatalf("Import when the server has gone: %v", err)
	}
	for range 2 {
		if _, err := importInto(t, s, everyKind()); !errors.Is(err, pgqueue.ErrNotEmpty) || !strings.Contains(err.Error(), s.schema) ||
			!strings.Contains(err.Error(), "items, builds, cancelled, receipts, lanes") {
			t.Errorf("Import once more: %v, want %v that names the schema and what is in it", err, pgqueue.ErrNotEmpty)
		}
	}
	q = open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "ci-1"})
	if l, err := laneOf(t.Context(), q, "j"); err != nil || l.Queued != 2 {
		t.Errorf("lane %+v, %v, want that of the first import", l, err)
	}
}

// A server that was only cut off and comes back must notice that it was given up.
func TestImportGivesUpSilentServers(t *testing.T) {
	s := newStore(t)
	if err := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "ci-1"}).Close(); err != nil {
		t.Fatal(err)
	}
	conn := pgtest.Connect(t, s.url)
	if _, err := conn.Exec(t.Context(), "update "+s.schema+".servers set released = false, beat = beat - interval '1 hour'"); err != nil {
		t.Fatal(err)
	}
	if _, err := importInto(t, s, everyKind()); err != nil {
		t.Fatal(err)
	}
	var epoch int
	var released bool
	if err := conn.QueryRow(t.Context(), "select epoch, released from "+s.schema+".servers").Scan(&epoch, &released); err != nil || epoch != 2 || !released {
		t.Errorf("the silent server has epoch %d, released %v, %v; want 2 and true", epoch, released, err)
	}
}

func TestImportOfDamagedRecordsLeavesNothing(t *testing.T) {
	t.Parallel()
	errHalf := errors.New("record 7 is damaged")
	for _, tt := range []struct {
		name string
		edit func(*moving)
		want string
	}{
		{"the last record can't be read", func(m *moving) { m.end = errHalf }, errHalf.Error()},
		{"an item of an unknown job", func(m *moving) { m.items[1].Job = "k" }, `item 6 of "k", which has no lane`},
		{"a build of an unknown job", func(m *moving) { m.builds[1].Item.Job = "k" }, `build 4 of "k", which has no lane`},
		{"a lane that counts wrong", func(m *moving) { m.lanes[1].Queued = 3 }, `lane of "j" counts 3 items, there are 2`},
		{"a running build that its lane does not have", func(m *moving) { m.lanes[1].Running = nil }, `lane of "j" says that builds [] run`},
		{"a job whose name is too long", func(m *moving) { m.lanes[0].Job = strings.Repeat("j", 2001) }, "bad job name"},
		{"two equal items", func(m *moving) { m.items[1].Digest = m.items[0].Digest }, `violates unique constraint "items_equal" (SQLSTATE 23505): Key (job, digest)=(j, `},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore(t)
			m := everyKind()
			tt.edit(&m)
			if _, err := importInto(t, s, m); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), s.schema) {
				t.Errorf("Import: %v, want %q and the name of the schema", err, tt.want)
			}
			if s.exists(t) {
				t.Error("the schema was made nevertheless")
			}
			if _, err := importInto(t, s, everyKind()); err != nil {
				t.Errorf("Import of what is whole, afterwards: %v", err)
			}
		})
	}
}

// The program is killed, or its connection lost, in the middle.
func TestImportInterrupted(t *testing.T) {
	t.Parallel()
	s := store{pgtest.Start(t).URL(), "ci"} // a separate server, because the test ends connections
	admin := pgtest.Connect(t, s.url)
	m := everyKind()
	records := m.records()
	records.Receipts = func(yield func(queue.JobReceipt, error) bool) {
		// Everything but the lanes was copied.
		var killed int
		err := admin.QueryRow(t.Context(), `select count(pg_terminate_backend(pid)) from pg_stat_activity
			where pid <> pg_backend_pid() and application_name = 'buildtoken'`).Scan(&killed)
		if err != nil || killed != 1 {
			t.Errorf("ended %d connections, %v, want 1", killed, err)
		}
		sequence(m.receipts, nil)(yield)
	}
	if _, err := pgqueue.Import(t.Context(), pgqueue.Options{URL: s.url, Schema: s.schema, Server: "new"}, records, pgqueue.Contents{}); err == nil {
		t.Error("Import over a connection that was ended: no error")
	}
	if s.exists(t) {
		t.Error("the schema was made nevertheless")
	}
	if _, err := importInto(t, s, everyKind()); err != nil {
		t.Errorf("Import afterwards: %v", err)
	}
}

// A server that starts in the middle waits or gives up. It never sees a part of the queue.
func TestOpenDuringImport(t *testing.T) {
	s := newStore(t)
	m := everyKind()
	records := m.records()
	records.Receipts = func(yield func(queue.JobReceipt, error) bool) {
		if _, err := pgqueue.Open(t.Context(), pgqueue.Options{URL: s.url, Schema: s.schema, Server: "new", Timeout: 200 * time.Millisecond}); err == nil {
			t.Error("Open in the middle of an import: no error")
		}
		sequence(m.receipts, nil)(yield)
	}
	if _, err := pgqueue.Import(t.Context(), pgqueue.Options{URL: s.url, Schema: s.schema, Server: "new"}, records, pgqueue.Contents{}); err != nil {
		t.Fatal(err)
	}
	if err := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "new"}).Close(); err != nil {
		t.Error(err)
	}
}

// TestImportOfContents imports logs and files of sizes around every limit.
func TestImportOfContents(t *testing.T) {
	s := newStore(t)
	m := everyKind()
	text := func(size int) string { return strings.Repeat("0123456789abcde\n", size/16+1)[:size] }
	logs := map[int64]string{3: text(100_000), 4: "not the whole line", 5: "", 6: text(64 << 10), 7: text(1)}
	for number := range logs {
		if number > 4 {
			m.builds = append(m.builds, queue.Build{Item: queue.Item{ID: 20 + number, Job: "j"}, Number: number, Started: start, Ended: start, Result: queue.Failure})
		}
	}
	// This build has no log.
	m.builds = append(m.builds, queue.Build{Item: queue.Item{ID: 30, Job: "j"}, Number: 9, Started: start, Ended: start, Result: queue.Failure})
	files := map[string]string{"empty": "", "one": "x", "part": text(256 << 10), "more": text(600_000)}
	for ref := range files {
		m.items[0].Values = append(m.items[0].Values, queue.Value{Name: ref, Kind: "file", Ref: ref})
	}
	m.items[0].Values = append(m.items[0].Values, queue.Value{Name: "lost", Kind: "file", Ref: "lost"})
	opened := 0
	give := func(text string, ok bool) (io.ReadCloser, error) {
		if !ok {
			return nil, fs.ErrNotExist
		}
		opened++
		return &counted{strings.NewReader(text), &opened}, nil
	}
	m.contents = pgqueue.Contents{
		Fingerprint: []byte("right"),
		Log: func(job string, number int64) (io.ReadCloser, error) {
			text, ok := logs[number]
			return give(text, ok && job == "j")
		},
		File: func(ref string) (io.ReadCloser, error) {
			text, ok := files[ref]
			return give(text, ok)
		},
	}
	moved, err := importInto(t, s, m)
	if err != nil || moved.Logs != 5 || moved.LogBytes != 100_000+18+64<<10+1 || moved.Files != 4 {
		t.Fatalf("Import = %+v, %v, want 5 logs and 4 files", moved, err)
	}
	if opened != 0 {
		t.Errorf("%d were not closed", opened)
	}
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "new"})
	ctx := t.Context()
	for number, want := range logs {
		state, err := q.LogState(ctx, "j", number)
		if err != nil || state.Size != int64(len(want)) || state.Complete != (number != 4) {
			t.Errorf("log of #%d: %+v, %v; want %d bytes", number, state, err, len(want))
		}
		for _, offset := range []int{0, 1, 32<<10 - 1, 32 << 10, 99_999} {
			if offset >= len(want) {
				break
			}
			p := make([]byte, len(want))
			if n, err := q.ReadLog(ctx, "j", number, 0, int64(offset), p); err != nil || string(p[:n]) != want[offset:] {
				t.Errorf("log of #%d from %d: %d bytes, %v; want %d", number, offset, n, err, len(want)-offset)
			}
		}
	}
	if _, err := q.LogState(ctx, "j", 9); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("log of a build without one: %v, want %v", err, queue.ErrNotFound)
	}
	for ref, want := range files {
		var got strings.Builder
		if err := q.GetFile(ctx, ref, &got); err != nil || got.String() != want {
			t.Errorf("file %s: %d bytes, %v, want %d", ref, got.Len(), err, len(want))
		}
	}
	if err := q.UseKey(ctx, []byte("wrong")); !errors.Is(err, pgqueue.ErrKey) {
		t.Errorf("UseKey with another key: %v, want %v", err, pgqueue.ErrKey)
	}
	if err := q.UseKey(ctx, []byte("right")); err != nil {
		t.Error(err)
	}
	// The running build ends, and so does its log, on a separate line.
	if lost, err := q.Reclaim(ctx, start, "lost", nil); err != nil || len(lost) != 1 {
		t.Fatalf("Reclaim = %+v, %v", lost, err)
	}
	p := make([]byte, 1000)
	n, err := q.ReadLog(ctx, "j", 4, 0, 0, p)
	if state, _ := q.LogState(ctx, "j", 4); err != nil || !strings.HasPrefix(string(p[:n]), logs[4]+"\n") || !state.Complete {
		t.Errorf("log of the lost build: %q, %+v, %v", p[:n], state, err)
	}
}

// counted counts open files.
type counted struct {
	*strings.Reader

	open *int
}

func (c *counted) Close() error {
	*c.open--
	return nil
}

func TestImportOfUnreadableContentsLeavesNothing(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk error")
	for _, tt := range []struct {
		name string
		edit func(*moving)
		want string
	}{
		{"a log can't be opened", func(m *moving) {
			m.contents.Log = func(string, int64) (io.ReadCloser, error) { return nil, broken }
		}, "log of j #3: disk error"},
		{"a log can't be read to its end", func(m *moving) {
			m.contents.Log = func(string, int64) (io.ReadCloser, error) {
				return io.NopCloser(io.MultiReader(strings.NewReader("text"), iotest.ErrReader(broken))), nil
			}
		}, "log of j #3: disk error"},
		{"a file can't be read", func(m *moving) {
			m.items[0].Values = []queue.Value{{Name: "FILE", Kind: "file", Ref: "ref"}}
			m.contents.File = func(string) (io.ReadCloser, error) { return io.NopCloser(iotest.ErrReader(broken)), nil }
		}, "file of a parameter: disk error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore(t)
			m := everyKind()
			tt.edit(&m)
			if _, err := importInto(t, s, m); !errors.Is(err, broken) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Import: %v, want %q", err, tt.want)
			}
			if s.exists(t) {
				t.Error("the schema was made nevertheless")
			}
		})
	}
}
