package pgqueue_test

import (
	"errors"
	"fmt"
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

// TestNoticesOfOthers listens and sends notices as another server would.
func TestNoticesOfOthers(t *testing.T) {
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema})
	other := pgtest.Connect(t, s.url)
	if _, err := other.Exec(t.Context(), fmt.Sprintf("listen %q", "buildtoken "+s.schema)); err != nil {
		t.Fatal(err)
	}
	r := request("j", "k")
	r.Delay = time.Minute
	schedule(t, q, r)
	notice, err := other.WaitForNotification(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf(`"due":%d`, start.Add(time.Minute).UnixNano()); !strings.Contains(notice.Payload, want) {
		t.Errorf("notice %q, want the due instant of the item, %q", notice.Payload, want)
	}
	<-q.Changed() // for its own trigger
	for len(q.NotificationsChanged()) > 0 {
		<-q.NotificationsChanged() // what an earlier process has left
	}
	schedule(t, q, r) // its job has no notifications
	if len(q.NotificationsChanged()) > 0 {
		t.Error("a trigger without notifications makes the server look for some")
	}
	for _, tt := range []struct {
		name, payload string
		changed       bool
		want          queue.Notice
	}{
		{"something is due", `{"from":"other","due":1}`, true, queue.Notice{Queued: true}},
		{"a build has changed", `{"from":"other","items":[7],"jobs":["j"]}`, false, queue.Notice{Items: []int64{7}, Jobs: []string{"j"}}},
		{"a log has grown", `{"from":"other","logs":["j"]}`, false, queue.Notice{Logs: []string{"j"}}},
		{"an unknown notice", "of a later version", true, queue.Notice{All: true, Queued: true}},
	} {
		if _, err := other.Exec(t.Context(), "select pg_notify($1, $2)", "buildtoken "+s.schema, tt.payload); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, <-q.Notices()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		select {
		case <-q.Changed():
			if !tt.changed {
				t.Errorf("%s: the executors were woken", tt.name)
			}
		default:
			if tt.changed {
				t.Errorf("%s: the executors were not woken", tt.name)
			}
		}
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(notice.Payload, `"servers":true`) {
		if notice, err = other.WaitForNotification(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestServerThatListensAgainLooks takes a server's listening connection while its other one is busy.
// When it listens again, it looks for what it was not told.
func TestServerThatListensAgainLooks(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	core, logged := observer.New(zap.InfoLevel)
	q := open(t, pgqueue.Options{URL: with(s.url, "pool_max_conns=1"), Schema: s.schema, Server: "ci-1", TTL: 2 * time.Second, Log: zap.New(core)})
	conn := pgtest.Connect(t, s.url)
	tx, err := conn.Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), "lock table "+s.schema+".items in access exclusive mode")
	}
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := q.Items(t.Context(), start, "", 10)
		read <- err
	}()
	untilBlocked(t, s, conn, 1, "%")
	for len(q.Changed()) > 0 {
		<-q.Changed()
	}
	const end = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and classid::bigint << 32 | objid::bigint = hashtextextended($1, 0)"
	if tag, err := pgtest.Connect(t, s.url).Exec(t.Context(), end, fmt.Sprintf("buildtoken server %q %q", s.schema, "ci-1")); err != nil || tag.RowsAffected() != 1 {
		t.Fatal(tag, err)
	}
	select {
	case <-q.Changed():
	case <-time.After(patience):
		t.Error("the server does not look for what it was not told")
	}
	if logged.FilterMessage("connection to the database is back").Len() == 0 {
		t.Error("it looks before it listens again")
	}
	if err := errors.Join(tx.Rollback(t.Context()), <-read); err != nil {
		t.Error(err)
	}
}

// TestHeartbeatThatCannotLookForLostBuilds keeps a heartbeat from reading the builds on record.
func TestHeartbeatThatCannotLookForLostBuilds(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	core, logged := observer.New(zap.InfoLevel)
	opts := s.options()
	opts.Log = zap.New(core)
	open(t, opts)
	show := hider(t, s)("builds")
	sendHeartbeats(t, s)
	untilLogged(t, logged, "connection that listens to the database was lost", "look for lost builds")
	show()
	untilLogged(t, logged, "connection to the database is back", "")
}

// TestGrowingLogIsNotified appends to a log as it is written line by line, and in large pieces, as one
// that grows faster than it is stored.
func TestGrowingLogIsNotified(t *testing.T) {
	t.Parallel()
	dbs := shared(t, newStore(t), "a", "b")
	b := running(t, dbs[0], "j")
	var size int64
	for _, tt := range []struct {
		bytes int
		told  bool
	}{{5, true}, {32<<10 - 1, true}, {32 << 10, false}} {
		dbs[0].Tell(queue.Notice{Items: []int64{size + 1}}) // what was sent before has arrived
		for n := (queue.Notice{}); !slices.Contains(n.Items, size+1); {
			n = <-dbs[1].Notices()
		}
		text := strings.Repeat("x", tt.bytes)
		size += int64(tt.bytes)
		add(t, dbs[0], b, size-int64(tt.bytes), text, false, size)
		dbs[0].Tell(queue.Notice{Items: []int64{size}})
		var logs []string
		for n := (queue.Notice{}); !slices.Contains(n.Items, size); {
			n = <-dbs[1].Notices()
			logs = append(logs, n.Logs...)
		}
		if told := slices.Contains(logs, "j"); told != tt.told {
			t.Errorf("after %d bytes, the other server is notified of logs %v; want %v", tt.bytes, logs, tt.told)
		}
	}
}

// TestHeartbeatsOfAnIdleQueue sends heartbeats while nothing changes. They wake no executor and log nothing.
func TestHeartbeatsOfAnIdleQueue(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	core, logged := observer.New(zap.InfoLevel)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "ci-1", TTL: time.Hour, Log: zap.New(core)})
	setRules(t, q, map[string]queue.Rules{"j": {}})
	b := running(t, q, "j")
	if _, err := q.Finish(t.Context(), start, "j", b.Number, queue.Success, ""); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		sendHeartbeats(t, s)
		for n := (queue.Notice{}); !n.All; { // it comes after the heartbeat
			if n = <-q.Notices(); round > 0 && (n.Lost || n.Queued) {
				t.Errorf("the notice of an idle queue is %+v", n)
			}
		}
		for name, woken := range map[string]<-chan struct{}{"Changed": q.Changed(), "NotificationsChanged": q.NotificationsChanged(), "CutOff": q.CutOff()} {
			select {
			case <-woken:
				if round > 0 { // before the first round there were changes
					t.Errorf("%s has a value after a heartbeat", name)
				}
			default:
			}
		}
		if lines := logged.TakeAll(); round > 0 && len(lines) > 0 {
			t.Errorf("heartbeats log %v", lines)
		}
	}
	if left := q.LeaseRemaining(); left <= 59*time.Minute || left > time.Hour {
		t.Errorf("the lease lasts another %v, want an hour", left)
	}
}
