package pgqueue_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// TestTransientFailureIsTriedAgain has the first two attempts of a trigger fail.
func TestTransientFailureIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	core, logged := observer.New(zap.DebugLevel)
	opts := s.options()
	opts.Log = zap.New(core)
	q := open(t, opts)
	exec := executor(t, s)
	exec("create sequence attempts")
	exec(`create function fails() returns trigger language plpgsql as $$ begin
		if nextval('` + s.schema + `.attempts') <= tg_argv[1]::int then raise exception using errcode = tg_argv[0]; end if;
		return new; end $$`)
	for _, tt := range []struct {
		name, code string
		fail       int
		want       error
		most       int // attempts
	}{
		{"a deadlock", "40P01", 2, nil, 3},
		{"a failure of serialization", "40001", 2, nil, 3},
		{"any other failure", "22000", 2, queue.ErrStorage, 1},
		{"a deadlock that lasts", "40P01", 1000, queue.ErrStorage, 10},
	} {
		exec("alter sequence attempts restart")
		exec("create trigger fails before insert on items for each row execute function fails(" + fmt.Sprintf("'%s', '%d'", tt.code, tt.fail) + ")")
		if _, _, err := q.Schedule(t.Context(), start, request("j", tt.name)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		var attempts int
		if err := pgtest.Connect(t, s.url).QueryRow(t.Context(), "select last_value from "+s.schema+".attempts").Scan(&attempts); err != nil || attempts > tt.most || tt.want == nil && attempts != tt.most {
			t.Errorf("%s: %d attempts, %v; want %d", tt.name, attempts, err, tt.most)
		}
		exec("drop trigger fails on items")
	}
	if lines := logged.FilterMessage("trying a transaction again").Len(); lines < 4 {
		t.Errorf("%d repetitions are logged, want all", lines)
	}
	if items, err := q.Items(t.Context(), start, "j", 10); err != nil || len(items) != 2 {
		t.Errorf("%d items, %v; want one of each trigger that was accepted", len(items), err)
	}
}

// TestTriggersOfOneTransaction holds a lane until many triggers wait. The database refuses one of them,
// and another server must be told the earliest due instant, or with new rules between the triggers
// that it is to look at once.
func TestTriggersOfOneTransaction(t *testing.T) {
	t.Parallel()
	t.Run("2", func(t *testing.T) { triggersOfOneTransaction(t, 1, false) })
	t.Run("21", func(t *testing.T) { triggersOfOneTransaction(t, 20, false) })
	t.Run("21 and new rules", func(t *testing.T) { triggersOfOneTransaction(t, 20, true) })
}

func triggersOfOneTransaction(t *testing.T, others int, withRules bool) {
	t.Helper()
	s := newStore(t)
	q := open(t, s.options())
	schedule(t, q, request("first", "k"))
	executor(t, s)(`create function fails() returns trigger language plpgsql as $$ begin
			if new.job = 'bad' then raise exception 'no'; end if;
			return new; end $$;
		create trigger fails before insert on items for each row execute function fails()`)
	other := pgtest.Connect(t, s.url)
	if _, err := other.Exec(t.Context(), fmt.Sprintf("listen %q", "buildtoken "+s.schema)); err != nil {
		t.Fatal(err)
	}
	conn := pgtest.Connect(t, s.url)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "select from "+s.schema+".lanes for update"); err != nil {
		t.Fatal(err)
	}
	var calls sync.WaitGroup
	trigger := func(job string, delay time.Duration, want error) {
		calls.Go(func() {
			r := request(job, "k")
			r.Delay = delay
			if _, _, err := q.Schedule(t.Context(), start, r); !errors.Is(err, want) {
				t.Errorf("Schedule(%s) = %v, want %v", job, err, want)
			}
		})
	}
	trigger("first", time.Hour, nil)
	untilBlocked(t, s, conn, 1, "%")
	trigger("bad", time.Hour, queue.ErrStorage)
	rules := queue.Rules{Concurrent: true}
	for n := range others {
		if withRules && n == others/2 {
			calls.Go(func() { setRules(t, q, map[string]queue.Rules{"first": rules}) })
		}
		trigger(fmt.Sprint("good", n), time.Duration(1+n)*time.Minute, nil)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	calls.Wait()
	if items, err := q.Items(t.Context(), start, "", 100); err != nil || len(items) != others+1 {
		t.Errorf("%d items, %v; want %d", len(items), err, others+1)
	}
	if l, err := laneOf(t.Context(), q, "first"); err != nil || l.Rules.Concurrent != withRules {
		t.Errorf("the lane is %+v, %v; want the rules that were set", l, err)
	}
	want := fmt.Sprintf(`"due":%d`, start.Add(time.Minute).UnixNano())
	if withRules {
		want = `"servers":true`
	}
	for told := ""; !strings.Contains(told, want); {
		n, err := other.WaitForNotification(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		told = n.Payload
	}
}

// TestReceiptsOfOneTransaction has triggers of one transaction forget receipts that have expired. Each is
// forgotten, and counted, once.
func TestReceiptsOfOneTransaction(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := open(t, s.options())
	trigger := func(now time.Time, key string) error {
		r := request("j", key)
		r.Key = &queue.Digest{key[0]}
		_, _, err := q.Schedule(t.Context(), now, r)
		return err
	}
	for _, key := range []string{"a", "b", "c"} {
		if err := trigger(start, key); err != nil {
			t.Fatal(err)
		}
	}
	conn := pgtest.Connect(t, with(s.url, "search_path="+s.schema))
	if _, err := conn.Exec(t.Context(), "begin; select from lanes for update"); err != nil {
		t.Fatal(err)
	}
	var calls sync.WaitGroup
	for n, key := range []string{"d", "e", "f", "g", "h", "i"} {
		calls.Go(func() {
			if err := trigger(start.Add(queue.KeepReceipts+time.Hour), key); err != nil {
				t.Error(err)
			}
		})
		if n == 0 {
			untilBlocked(t, s, conn, 1, "%") // the others wait, and share the next transaction
		}
	}
	if _, err := conn.Exec(t.Context(), "commit"); err != nil {
		t.Fatal(err)
	}
	calls.Wait()
	var left int
	if err := conn.QueryRow(t.Context(), "select count(*) from receipts").Scan(&left); err != nil {
		t.Fatal(err)
	}
	if l, err := laneOf(t.Context(), q, "j"); err != nil || left != 6 || l.Receipts != left {
		t.Errorf("there are %d receipts, and the lane counts %d, %v; want 6", left, l.Receipts, err)
	}
}

// connections returns the processes of the database that serve the connections of a program.
func connections(t *testing.T, conn *pgx.Conn, program string) (all []int32) {
	t.Helper()
	rows, err := conn.Query(t.Context(), "select pid from pg_stat_activity where application_name = $1 order by pid", program)
	if err == nil {
		all, err = pgx.CollectRows(rows, pgx.RowTo[int32])
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestFailedVerbKeepsConnections is [TestRefusedVerbKeepsConnections] for verbs that cannot be done, or
// only after a second attempt.
func TestFailedVerbKeepsConnections(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := open(t, pgqueue.Options{
		URL: with(with(s.url, "pool_max_conns=1"), "application_name="+s.schema), Schema: s.schema, Server: "ci-1", TTL: time.Hour, Log: zap.NewNop(),
	})
	exec := executor(t, s)
	conn := pgtest.Connect(t, s.url)
	schedule(t, q, request("j", "k"))
	trigger := func() error { _, _, err := q.Schedule(t.Context(), start, request("j", "other")); return err }
	claim := func() error {
		_, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0})
		return err
	}
	before := connections(t, conn, s.schema)
	for _, tt := range []struct {
		name, damage, mend string
		do                 func() error
		want               error
	}{
		{"a record that cannot be read", "create table saved as select * from lanes; update lanes set head = '[]'", "update lanes set head = saved.head from saved", trigger, queue.ErrStorage},
		{"a table that is missing", "alter table queue_key rename to away", "alter table away rename to queue_key", func() error { return q.UseKey(t.Context(), nil) }, queue.ErrStorage},
		{"a row of a job that is gone", "delete from items; delete from lanes", "select", trigger, nil},
		{"a lease that another server has taken", "update servers set epoch = epoch + 1", "select", claim, queue.ErrStorage},
	} {
		exec(tt.damage)
		if err := tt.do(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		exec(tt.mend)
		if diff := cmp.Diff(before, connections(t, conn, s.schema)); diff != "" {
			t.Errorf("%s: connections (-before +after):\n%s", tt.name, diff)
			before = connections(t, conn, s.schema)
		}
	}
}

// TestNoticeOutlivesALostConnection sends a notice while the database cannot be reached.
func TestNoticeOutlivesALostConnection(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	one, w := behind(t, server, "ci", "ci-1", time.Hour)
	two := open(t, pgqueue.Options{URL: server.URL(), Schema: "ci", Server: "ci-2", TTL: time.Hour, Log: zap.NewNop()})
	w.set(nil, true)
	one.Tell(queue.Notice{Items: []int64{7}})
	for w.hasMissed() < 6 {
		<-time.After(time.Millisecond)
	}
	w.set(nil, false)
	for late := time.After(patience); ; {
		select {
		case n := <-two.Notices():
			if cmp.Equal(n.Items, []int64{7}) {
				return
			}
		case <-late:
			t.Fatalf("the notice did not arrive in %v", patience)
		}
	}
}
