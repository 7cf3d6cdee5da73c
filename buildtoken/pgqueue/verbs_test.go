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
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// The methods that only this queue has fail like the others after Close, and once their context has
// ended.
func TestVerbsThatCannotRun(t *testing.T) {
	q := open(t, newStore(t).options())
	verbs := func(ctx context.Context) map[string]error {
		_, appended := q.AppendLog(ctx, "j", 1, 0, []byte("x"), false)
		_, state := q.LogState(ctx, "j", 1)
		_, read := q.ReadLog(ctx, "j", 1, 0, 0, make([]byte, 1))
		_, times := q.LogTimes(ctx, "j", 1, 0, 1)
		_, none := q.Builds(ctx, "j", 0, 0)
		return map[string]error{
			"AppendLog":  appended,
			"LogState":   state,
			"ReadLog":    read,
			"LogTimes":   times,
			"no Builds":  none,
			"DropLogs":   q.DropLogs(ctx, "j", 1),
			"PutFile":    q.PutFile(ctx, "ref", strings.NewReader("x")),
			"GetFile":    q.GetFile(ctx, "ref", &strings.Builder{}),
			"DropFiles":  q.DropFiles(ctx, "ref"),
			"SweepFiles": q.SweepFiles(ctx, nil),
			"UseKey":     q.UseKey(ctx, []byte("key")),
			"Announce":   q.Announce(ctx, queue.Node{}, 1),
			"Reconnect":  q.Reconnect(ctx, func() (string, error) { return "", nil }, ""),
		}
	}
	enough := errors.New("enough")
	ended, end := context.WithCancelCause(t.Context())
	end(enough)
	for name, err := range verbs(ended) {
		if !errors.Is(err, enough) {
			t.Errorf("%s with an ended context: %v, want %v", name, err, enough)
		}
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	for name, err := range verbs(t.Context()) {
		if !errors.Is(err, queue.ErrClosed) {
			t.Errorf("%s on a closed queue: %v, want %v", name, err, queue.ErrClosed)
		}
	}
}

// Files go with their item, and unused ones after an hour.
func TestFilesGoWithTheirItem(t *testing.T) {
	s := newStore(t)
	q := open(t, s.options())
	ctx := t.Context()
	conn := pgtest.Connect(t, s.url)
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	large := strings.Repeat("0123456789abcdef", 50_000) // several parts
	for _, ref := range []string{"cancelled", "built", "runs", "waits", "unused", "kept", "young", "dropped"} {
		do(q.PutFile(ctx, ref, strings.NewReader(large)))
		r := request(ref, "k")
		r.Values = []queue.Value{{Name: "FILE", Kind: "file", Text: "f", Ref: ref}}
		switch ref {
		case "waits", "cancelled":
			r.Delay = time.Hour
			it := schedule(t, q, r)
			if ref == "cancelled" {
				do(q.Cancel(ctx, start, ref, it.ID, "alice"))
			}
		case "built", "runs":
			schedule(t, q, r)
			claim(t, q, queue.Node{Name: "node"})
			if ref == "built" {
				_, err := q.Finish(ctx, start, ref, 1, queue.Success, "")
				do(err)
			}
		}
	}
	do(q.PutFile(ctx, "empty", strings.NewReader("")))
	do(q.DropFiles(ctx, "dropped"))
	exec := func(sql string) {
		t.Helper()
		_, err := conn.Exec(ctx, fmt.Sprintf(sql, s.schema))
		do(err)
	}
	exec("update %s.uploads set made = now() - interval '61 minutes' where ref in ('unused', 'kept')")
	exec("update %s.uploads set made = now() - interval '59 minutes' where ref = 'young'")
	do(q.SweepFiles(ctx, []string{"kept"}))
	do(q.PutFile(ctx, "swept", strings.NewReader("x")))
	exec("update %s.uploads set made = now() - interval '61 minutes' where ref = 'swept'")
	exec("update %s.uploads set made = now() where ref = 'kept'")
	do(q.SweepFiles(ctx, nil))
	for ref, want := range map[string]string{
		"cancelled": "gone", "built": "gone", "unused": "gone", "swept": "gone", "dropped": "gone", "runs": large, "waits": large, "kept": large, "young": large, "empty": "",
	} {
		var b strings.Builder
		err := q.GetFile(ctx, ref, &b)
		got := b.String()
		if errors.Is(err, queue.ErrNotFound) {
			got, err = "gone", nil
		}
		if err != nil || got != want {
			t.Errorf("the file %s has %d bytes, %v; want %.4q", ref, len(got), err, want)
		}
	}
	broken := errors.New("broken")
	if err := q.GetFile(ctx, "kept", brokenPipe{broken}); !errors.Is(err, broken) {
		t.Errorf("GetFile to a broken writer: %v, want %v", err, broken)
	}
	if err := q.PutFile(ctx, "half", io.MultiReader(strings.NewReader(large), brokenPipe{broken})); !errors.Is(err, broken) {
		t.Errorf("PutFile from a broken reader: %v, want %v", err, broken)
	}
	if err := q.GetFile(ctx, "half", &strings.Builder{}); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("GetFile of what could not be stored: %v, want %v", err, queue.ErrNotFound)
	}
}

// brokenPipe neither reads nor writes.
type brokenPipe struct{ err error }

func (b brokenPipe) Read([]byte) (int, error)  { return 0, b.err }
func (b brokenPipe) Write([]byte) (int, error) { return 0, b.err }

// Positions count the items of all jobs that are due before, up to 20,000.
func TestPositions(t *testing.T) {
	s := newStore(t)
	q := open(t, s.options())
	later := request("j", "last")
	later.Delay = time.Hour
	last := schedule(t, q, later)
	const more = `insert into %s.items (id, job, due, digest, solo, files, kib, body)
		select n + 1000, job, due - n, digest, true, files, kib, body from %[1]s.items cross join generate_series(1, %d) n where id = %d`
	conn := pgtest.Connect(t, s.url)
	for _, step := range []struct{ more, position int }{{20_000, 20_000}, {1, -1}} {
		if _, err := conn.Exec(t.Context(), fmt.Sprintf(more, s.schema, step.more, last.ID)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), fmt.Sprintf("update %s.items set id = id + 100000 where id <> %d", s.schema, last.ID)); err != nil {
			t.Fatal(err)
		}
		if e, err := q.Entry(t.Context(), start, last.ID); err != nil || e.Position != step.position {
			t.Errorf("the item is at %d, %v; want %d", e.Position, err, step.position)
		}
	}
}

// An operator sees how many builds a restart has ended.
func TestLostBuildsAreLogged(t *testing.T) {
	s := newStore(t)
	core, logged := observer.New(zap.WarnLevel)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Log: zap.New(core)})
	schedule(t, q, request("app", "k"))
	claim(t, q, queue.Node{Name: "node"})
	for want := range 2 { // builds that a second call finds
		lost, err := q.Reclaim(t.Context(), start, "gone", nil)
		if err != nil || len(lost) != 1-want || logged.FilterField(zap.Int("builds", 1)).Len() != 1 || logged.Len() != 1 {
			t.Errorf("Reclaim = %v, %v; logged %v, want one line with one build", lost, err, logged.All())
		}
	}
}

// TestNamesThatCannotBeStored uses names of jobs that no table can hold. There are no such jobs, and
// those that are named beside them are found.
func TestNamesThatCannotBeStored(t *testing.T) {
	t.Parallel()
	q := open(t, newStore(t).options())
	ctx := t.Context()
	longest := strings.Repeat("j", 2000)
	schedule(t, q, request(longest, "k"))
	for _, bad := range []string{"", longest + "j", "a\x00", "a\xff"} {
		if _, _, err := q.Schedule(ctx, start, request(bad, "k")); err == nil || errors.Is(err, queue.ErrStorage) {
			t.Errorf("Schedule(%.10q) = %v, want an error about the name", bad, err)
		}
		_, ended := q.Finish(ctx, start, bad, 1, queue.Success, "")
		_, built := q.Build(ctx, bad, 1)
		_, oldest := q.Oldest(ctx, bad)
		_, state := q.LogState(ctx, bad, 1)
		for name, err := range map[string]error{
			"Cancel": q.Cancel(ctx, start, bad, 1, "alice"), "Abort": q.Abort(ctx, bad, 1, "alice"), "Forget": q.Forget(ctx, bad),
			"Finish": ended, "Build": built, "Oldest": oldest, "LogState": state,
		} {
			if !errors.Is(err, queue.ErrNotFound) {
				t.Errorf("%s(%.10q) = %v, want %v", name, bad, err, queue.ErrNotFound)
			}
		}
		if builds, err := q.Builds(ctx, bad, 0, 10); err != nil || len(builds) != 0 {
			t.Errorf("Builds(%.10q) = %v, %v", bad, builds, err)
		}
		if items, err := q.Items(ctx, start, bad, 10); bad != "" && (err != nil || len(items) != 0) {
			t.Errorf("Items(%.10q) = %v, %v", bad, items, err)
		}
		if lanes, err := q.Lanes(ctx, []string{bad, longest}); err != nil || len(lanes) != 2 || lanes[1].Queued != 1 {
			t.Errorf("Lanes(%.10q) = %v, %v; want both", bad, lanes, err)
		}
		if all, err := q.Overviews(ctx, []string{bad, longest}); err != nil || len(all) != 2 || all[1].Lane.Queued != 1 {
			t.Errorf("Overviews(%.10q) = %v, %v; want both", bad, all, err)
		}
	}
}

// A caller that gives up while the database is busy gets its own reason.
func TestReadWhoseContextEnds(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := open(t, s.options())
	conn := pgtest.Connect(t, s.url)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "lock table "+s.schema+".items in access exclusive mode"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	answer := make(chan error)
	go func() {
		_, err := q.Items(ctx, start, "", 10)
		answer <- err
	}()
	untilBlocked(t, s, conn, 1, "%")
	enough := errors.New("enough")
	cancel(enough)
	if err := <-answer; !errors.Is(err, enough) || errors.Is(err, queue.ErrStorage) {
		t.Errorf("Items = %v, want %v", err, enough)
	}
}

// TestJobWhoseRecordIsGone triggers a job that the database does not know any more.
func TestJobWhoseRecordIsGone(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := open(t, s.options())
	first := schedule(t, q, request("j", "k"))
	if err := q.Cancel(t.Context(), start, "j", first.ID, "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := pgtest.Connect(t, s.url).Exec(t.Context(), "delete from "+s.schema+".lanes"); err != nil {
		t.Fatal(err)
	}
	again := schedule(t, q, request("j", "k"))
	if items, err := q.Items(t.Context(), start, "j", 10); err != nil || len(items) != 1 || items[0].Item.ID != again.ID {
		t.Errorf("Items: %+v, %v; want item %d", items, err, again.ID)
	}
}

// TestTokenUsesOfOthers tells what this server has counted from what others have.
func TestTokenUsesOfOthers(t *testing.T) {
	t.Parallel()
	dbs := shared(t, newStore(t), "a", "b")
	use := queue.TokenUse{Place: "j", Name: "ci", Uses: 1, First: start, Last: start}
	if err := dbs[0].SaveTokenUses(t.Context(), start, []queue.TokenUse{use}); err != nil {
		t.Fatal(err)
	}
	for i, elsewhere := range []bool{false, true} {
		use.Elsewhere = elsewhere
		all, err := dbs[i].TokenUses(t.Context())
		if diff := cmp.Diff([]queue.TokenUse{use}, all); diff != "" || err != nil {
			t.Errorf("TokenUses of server %d: %v (-want +got):\n%s", i, err, diff)
		}
	}
}

// All servers of a queue have one key, which can be changed while nothing needs it.
func TestKeyOfAllServers(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	dbs := shared(t, s, "a", "b")
	use := func(q *pgqueue.DB, key string, wants ...string) {
		t.Helper()
		err := q.UseKey(t.Context(), []byte(key))
		if (err != nil) != (len(wants) > 0) || err != nil && (!errors.Is(err, pgqueue.ErrKey) || errors.Is(err, queue.ErrStorage)) {
			t.Errorf("UseKey(%s) = %v, want reasons %q", key, err, wants)
		}
		for _, reason := range []string{"what is queued needs that", "other servers use that (a)", "other servers use that (b)"} {
			if want := slices.Contains(wants, reason); err != nil && strings.Contains(err.Error(), reason) != want {
				t.Errorf("UseKey(%s) = %v; %q in it: want %v", key, err, reason, want)
			}
		}
	}
	use(dbs[0], "one")
	use(dbs[1], "one")
	use(dbs[1], "two", "other servers use that (a)")
	it := schedule(t, dbs[1], request("j", "k"))
	use(dbs[1], "two", "what is queued needs that", "other servers use that (a)")
	if err := dbs[0].Close(); err != nil {
		t.Fatal(err)
	}
	use(dbs[1], "two", "what is queued needs that")
	use(dbs[1], "one")
	if err := dbs[1].Cancel(t.Context(), start, "j", it.ID, "alice"); err != nil {
		t.Fatal(err)
	}
	use(dbs[1], "two")
	again := shared(t, s, "a")[0]
	use(again, "one", "other servers use that (b)")
	use(again, "two")
}
