package pgqueue_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// running starts a build of a job and returns it.
func running(t *testing.T, q *pgqueue.DB, job string) queue.Build {
	t.Helper()
	schedule(t, q, request(job, "k"))
	builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "n"}, []int{0})
	if err != nil || len(builds) != 1 {
		t.Fatalf("Claim: %v, %v", builds, err)
	}
	return builds[0]
}

// add appends to a log, which must end at this offset afterwards.
func add(t *testing.T, q *pgqueue.DB, b queue.Build, offset int64, text string, last bool, want int64) {
	t.Helper()
	size, err := q.AppendLog(t.Context(), b.Item.Job, b.Number, offset, []byte(text), last)
	if err != nil || size != want {
		t.Errorf("AppendLog(%d, %q) = %d, %v; want %d", offset, text, size, err, want)
	}
}

// wantLog requires that a log has this text.
func wantLog(t *testing.T, q *pgqueue.DB, b queue.Build, text string, complete bool) {
	t.Helper()
	s, err := q.LogState(t.Context(), b.Item.Job, b.Number)
	if err != nil || s.Size != int64(len(text)) || s.Complete != complete || s.Build == 0 {
		t.Errorf("LogState = %+v, %v; want %d, %v and an identity", s, err, len(text), complete)
	}
	for from := range len(text) {
		p := make([]byte, 7)
		n, err := q.ReadLog(t.Context(), b.Item.Job, b.Number, s.Build, int64(from), p)
		if want := text[from:min(from+7, len(text))]; err != nil || string(p[:n]) != want {
			t.Errorf("ReadLog(%d) = %q, %v; want %q", from, p[:n], err, want)
		}
	}
}

func TestLogGrowsInPieces(t *testing.T) {
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema})
	b := running(t, q, "j")
	wantLog(t, q, b, "", false)
	add(t, q, b, 5, "beyond the end", false, 0)
	add(t, q, b, 0, "one\n", false, 4)
	add(t, q, b, 0, "one\n", false, 4) // the answer was lost
	add(t, q, b, 4, "two\nthree\n", false, 14)
	wantLog(t, q, b, "one\ntwo\nthree\n", false)
	add(t, q, b, 4, "", true, 14) // not at its end, so it is not complete
	if size, err := q.AppendLog(t.Context(), "j", b.Number, 14, nil, true); err != nil || size != 14 {
		t.Errorf("AppendLog of nothing = %d, %v; want 14", size, err)
	}
	wantLog(t, q, b, "one\ntwo\nthree\n", true)
	if _, err := q.AppendLog(t.Context(), "j", b.Number, 14, []byte("more"), false); !errors.Is(err, queue.ErrNotRunning) {
		t.Errorf("AppendLog to a complete log: %v, want %v", err, queue.ErrNotRunning)
	}
	for _, tt := range []struct {
		from, to int64
		want     []int64
	}{{0, 14, []int64{0, 4}}, {0, 4, []int64{0}}, {3, 5, []int64{0, 4}}, {9, 14, []int64{4}}, {4, 4, nil}} {
		stamps, err := q.LogTimes(t.Context(), "j", b.Number, tt.from, tt.to)
		var got []int64
		for _, s := range stamps {
			got = append(got, s.Offset)
			if since := time.Since(s.At); since < -time.Minute || since > time.Hour {
				t.Errorf("LogTimes(%d, %d): %d was written at %v", tt.from, tt.to, s.Offset, s.At)
			}
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("LogTimes(%d, %d) = %v, %v; want stamps at %v", tt.from, tt.to, got, err, tt.want)
		}
	}
	if _, err := q.LogState(t.Context(), "j", 2); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("LogState of no build: %v, want %v", err, queue.ErrNotFound)
	}
}

// A reader gets what comes before a piece that is missing, and nothing from behind it.
func TestLogWithAMissingPiece(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := open(t, s.options())
	b := running(t, q, "j")
	for i, text := range []string{"one\n", "two\n", "six\n"} {
		add(t, q, b, int64(4*i), text, false, int64(4*i+4))
	}
	executor(t, s)("delete from pieces where off = 4")
	for offset, want := range map[int64]string{0: "one\n", 2: "e\n", 8: "six\n", 10: "x\n"} {
		p := make([]byte, 12)
		if n, err := q.ReadLog(t.Context(), "j", b.Number, 0, offset, p); err != nil || string(p[:n]) != want {
			t.Errorf("ReadLog from %d = %q, %v; want %q", offset, p[:n], err, want)
		}
	}
}

// TestCompleteLogSurvivesACrash crashes the database after the last piece of a log is stored, and
// before the end of the build is recorded. The log must stay complete.
func TestCompleteLogSurvivesACrash(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	conn := pgtest.Connect(t, server.URL())
	for _, sql := range []string{"alter system set wal_writer_delay = '10s'", "select pg_reload_conf()"} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	q := open(t, pgqueue.Options{URL: server.URL(), Schema: "crash", Log: zap.NewNop()})
	b := running(t, q, "j")
	add(t, q, b, 0, "one\n", false, 4)
	add(t, q, b, 4, "Finished: SUCCESS\n", true, 22)
	if err := errors.Join(server.Crash(), server.Run()); err != nil {
		t.Fatal(err)
	}
	var size int64
	var complete bool
	const sql = "select coalesce(sum(size), 0)::bigint, coalesce(bool_and(complete), false) from crash.logs"
	if err := pgtest.Connect(t, server.URL()).QueryRow(t.Context(), sql).Scan(&size, &complete); err != nil || size != 22 || !complete {
		t.Errorf("the log is %d bytes, complete %v, %v; want 22, true", size, complete, err)
	}
}

// TestLogOfLostBuildEnds loses a build in several states of its log. Later appends of the
// server that was given up are refused.
func TestLogOfLostBuildEnds(t *testing.T) {
	t.Parallel()
	const ending = "lost: it was cut off\nFinished: ABORTED\n"
	for _, tt := range []struct {
		name, text string
		last       bool
		want       string
	}{
		{"before anything was written", "", false, ending},
		{"at the end of a line", "line\n", false, "line\n" + ending},
		{"within a line", "lin", false, "lin\n" + ending},
		{"between its last line and its record", "Finished: SUCCESS\n", true, "Finished: SUCCESS\n" + ending},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore(t)
			q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Log: zap.NewNop()})
			b := running(t, q, "j")
			if tt.text != "" {
				add(t, q, b, 0, tt.text, tt.last, int64(len(tt.text)))
			}
			if lost, err := q.Reclaim(t.Context(), start, "lost: it was cut off", nil); err != nil || len(lost) != 1 {
				t.Fatalf("Reclaim: %v, %v", lost, err)
			}
			wantLog(t, q, b, tt.want, true)
			for _, last := range []bool{false, true} {
				if _, err := q.AppendLog(t.Context(), "j", b.Number, int64(len(tt.want)), []byte("late"), last); !errors.Is(err, queue.ErrNotRunning) {
					t.Errorf("AppendLog by a server that was given up: %v, want %v", err, queue.ErrNotRunning)
				}
			}
			wantLog(t, q, b, tt.want, true)
		})
	}
}

// TestLogOfLostBuildEndsAfterItsLastPiece ends the log of a lost build while its server adds a piece.
func TestLogOfLostBuildEndsAfterItsLastPiece(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Log: zap.NewNop()})
	b := running(t, q, "j")
	add(t, q, b, 0, "one\n", false, 4)
	conn := pgtest.Connect(t, with(s.url, "search_path="+s.schema))
	for _, sql := range []string{"begin", "update logs set size = 8", "insert into pieces (job, number, off, body) select job, number, 4, E'two\\n' from logs"} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan error, 1)
	go func() {
		_, err := q.Reclaim(t.Context(), start, "lost: it was cut off", nil)
		ended <- err
	}()
	untilBlocked(t, s, conn, 1, "%")
	_, err := conn.Exec(t.Context(), "commit")
	if err := errors.Join(err, <-ended); err != nil {
		t.Fatal(err)
	}
	wantLog(t, q, b, "one\ntwo\nlost: it was cut off\nFinished: ABORTED\n", true)
}

func TestLogGoesWithItsBuild(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema})
	if err := q.SetRules(t.Context(), start, queue.Config{Rules: map[string]queue.Rules{"j": {KeepBuilds: 2}}}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		b := running(t, q, "j")
		add(t, q, b, 0, "text\n", false, 5)
		for at := int64(5); at < 1000; at++ {
			add(t, q, b, at, "x", at == 999, at+1)
		}
		if _, err := q.Finish(t.Context(), start, "j", b.Number, queue.Success, ""); err != nil {
			t.Fatal(err)
		}
	}
	oldest, err := q.Oldest(t.Context(), "j")
	if err != nil {
		t.Fatal(err)
	}
	if err := q.DropLogs(t.Context(), "j", oldest); err != nil {
		t.Fatal(err)
	}
	conn := pgtest.Connect(t, s.url)
	var logs, pieces, first int64
	err = conn.QueryRow(t.Context(), "select (select count(*) from "+s.schema+".logs), (select count(*) from "+s.schema+".pieces), (select min(number) from "+s.schema+".logs)").Scan(&logs, &pieces, &first)
	if err != nil || logs != 2 || pieces != 2*996 || first != 4 {
		t.Errorf("%d logs from #%d on with %d pieces, %v; want those of the last two builds", logs, first, pieces, err)
	}
}

// TestLogsLeaveConnections starts more readers of logs than there are connections, which all
// wait for the database, and then sends a trigger.
func TestLogsLeaveConnections(t *testing.T) {
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: with(s.url, "pool_max_conns=2"), Schema: s.schema})
	b := running(t, q, "j")
	add(t, q, b, 0, "text\n", false, 5)
	conn := pgtest.Connect(t, s.url)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "lock table "+s.schema+".pieces in access exclusive mode"); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 5)
	for range cap(read) {
		go func() {
			_, err := q.ReadLog(t.Context(), "j", b.Number, 0, 0, make([]byte, 5))
			read <- err
		}()
	}
	schedule(t, q, request("other", "k"))
	if len(read) != 0 {
		t.Error("a log was read while its table was locked")
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range cap(read) {
		if err := <-read; err != nil {
			t.Error(err)
		}
	}
}
