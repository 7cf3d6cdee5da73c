package pgqueue_test

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// TestLeaseThatIsCommittedMeanwhile leases a notification in a transaction that commits while
// another server records a later state of the same item, or retries the notification. That waits
// for the row, and must then see the lease.
func TestLeaseThatIsCommittedMeanwhile(t *testing.T) {
	for name, act := range map[string]func(t *testing.T, q *pgqueue.DB, b queue.Build){
		"a later state": func(t *testing.T, q *pgqueue.DB, b queue.Build) {
			if _, err := q.Finish(t.Context(), start, "j", b.Number, queue.Success, ""); err != nil {
				t.Error(err)
			}
		},
		"a retry": func(t *testing.T, q *pgqueue.DB, _ queue.Build) {
			if err := q.RetryNotification(t.Context(), start, 1); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			a := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "ci-1"})
			other := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "ci-2"})
			rules := queue.Rules{Notify: []queue.Target{{Name: "t", On: []queue.Condition{queue.OnStarted, queue.OnAlways}}}}
			if err := a.SetRules(t.Context(), start, queue.Config{Rules: map[string]queue.Rules{"j": rules}}); err != nil {
				t.Fatal(err)
			}
			schedule(t, a, request("j", "k"))
			b := claimSoon(t, a, "ci-1")

			conn := pgtest.Connect(t, with(s.url, "search_path="+s.schema))
			tx, err := conn.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(t.Context(), `update notifications set lease_server = 'ci-2',
				lease_epoch = (select epoch from servers where server = 'ci-2') where id = 1`); err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				act(t, a, b)
			}()
			look := pgtest.Connect(t, s.url)
			for waits := false; !waits; {
				if err := look.QueryRow(t.Context(), "select exists (select from pg_stat_activity where $1::int = any(pg_blocking_pids(pid)))",
					conn.PgConn().PID()).Scan(&waits); err != nil {
					t.Fatal(err)
				}
				select {
				case <-done:
					t.Fatal("it did not wait for the row")
				default:
				}
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			<-done
			due, _, err := a.TakeNotifications(t.Context(), start.Add(time.Hour), []string{"t"}, 10)
			if err != nil || len(due) != 0 {
				t.Errorf("TakeNotifications = %v, %v; want none while another server sends the first of the channel", due, err)
			}
			if n, err := a.SettleNotification(t.Context(), start, 1, queue.Attempt{}); !errors.Is(err, queue.ErrNotFound) {
				t.Errorf("SettleNotification of what another server sends = %+v, %v; want %v", n, err, queue.ErrNotFound)
			}
			if n, err := other.SettleNotification(t.Context(), start, 1, queue.Attempt{}); err != nil || n.State != queue.DeliverySent {
				t.Errorf("SettleNotification of the server that sends it = %+v, %v", n, err)
			}
		})
	}
}

// TestLeaseOfAServerThatIsGone restarts a server that was sending a notification. It must be
// sent again, and not be given to a server whose configuration does not have its target, as
// one that starts does not have yet.
func TestLeaseOfAServerThatIsGone(t *testing.T) {
	s := newStore(t)
	opts := pgqueue.Options{URL: s.url, Schema: s.schema, Server: "ci-1"}
	a := open(t, opts)
	rules := queue.Rules{Notify: []queue.Target{{Name: "t", On: []queue.Condition{queue.OnQueued}}}}
	if err := a.SetRules(t.Context(), start, queue.Config{Rules: map[string]queue.Rules{"j": rules}}); err != nil {
		t.Fatal(err)
	}
	schedule(t, a, request("j", "k"))
	take := func(q *pgqueue.DB, targets ...string) []queue.Notification {
		t.Helper()
		due, _, err := q.TakeNotifications(t.Context(), start.Add(time.Hour), targets, 10)
		if err != nil {
			t.Fatal(err)
		}
		return due
	}
	if due := take(a, "t"); len(due) != 1 {
		t.Fatalf("took %+v, want one", due)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, opts)
	for _, targets := range [][]string{nil, {"other"}} {
		if due := take(again, targets...); len(due) != 0 {
			t.Errorf("took %+v for the targets %q, want none", due, targets)
		}
	}
	if due := take(again, "t"); len(due) != 1 {
		t.Errorf("took %+v after the restart, want one", due)
	}
}

// TestOtherServersSendWhatAServerLeaves closes a server that was sending a notification. The other
// one must look for it, which has nothing else to do.
func TestOtherServersSendWhatAServerLeaves(t *testing.T) {
	t.Parallel()
	dbs := shared(t, newStore(t), "a", "b")
	a, b := dbs[0], dbs[1]
	rules := map[string]queue.Rules{"j": {Notify: []queue.Target{{Name: "t", On: []queue.Condition{queue.OnQueued}}}}}
	setRules(t, a, rules)
	setRules(t, b, rules)
	schedule(t, a, request("j", "k"))
	take := func(q *pgqueue.DB) []queue.Notification {
		t.Helper()
		due, _, err := q.TakeNotifications(t.Context(), start.Add(time.Hour), []string{"t"}, 10)
		if err != nil {
			t.Fatal(err)
		}
		return due
	}
	if due := take(a); len(due) != 1 {
		t.Fatalf("took %+v, want one", due)
	}
	if err := a.Announce(t.Context(), queue.Node{Name: "a"}, 1); err != nil {
		t.Fatal(err)
	}
	for len(b.Nodes()) == 0 { // then it has heard of all before
		<-b.Notices()
	}
	for len(b.NotificationsChanged()) > 0 {
		<-b.NotificationsChanged()
	}
	if due := take(b); len(due) != 0 {
		t.Fatalf("took %+v, which the other server is sending", due)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-b.NotificationsChanged():
	case <-time.After(patience):
		t.Fatal("the other server did not look for what is left to send")
	}
	if due := take(b); len(due) != 1 {
		t.Errorf("took %+v, want the one that was not sent", due)
	}
}

// TestServerThatMayBeGivenUpSendsNothing blocks the heartbeats of a server until another one could
// send what it has taken, and lets them go on.
func TestServerThatMayBeGivenUpSendsNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "ci-1", TTL: 3 * time.Second, Log: zap.NewNop()})
	rules := queue.Rules{Notify: []queue.Target{{Name: "t", On: []queue.Condition{queue.OnQueued}}}}
	if err := q.SetRules(t.Context(), start, queue.Config{Rules: map[string]queue.Rules{"j": rules}}); err != nil {
		t.Fatal(err)
	}
	schedule(t, q, request("j", "k"))
	due, _, err := q.TakeNotifications(t.Context(), start.Add(time.Hour), []string{"t"}, 10)
	if err != nil || len(due) != 1 || !q.MaySend(due[0].ID) {
		t.Fatalf("TakeNotifications = %+v, %v; want one, which may be sent", due, err)
	}
	tx, err := pgtest.Connect(t, s.url).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "select from "+s.schema+".servers for no key update"); err != nil {
		t.Fatal(err)
	}
	<-q.CutOff()
	if q.MaySend(due[0].ID) {
		t.Error("a server that other servers may give up may send what it has taken")
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); !q.MaySend(due[0].ID); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it may not send again after its heartbeats, although no other server gave it up")
		}
	}
	if n, err := q.SettleNotification(t.Context(), start, due[0].ID, queue.Attempt{}); err != nil || n.State != queue.DeliverySent {
		t.Errorf("SettleNotification = %+v, %v", n, err)
	}
	if q.MaySend(due[0].ID) {
		t.Error("what was sent may be sent again")
	}
}
