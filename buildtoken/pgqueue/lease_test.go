package pgqueue_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/pgqueue/pgtest"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// behind opens the queue of a store as a server, through a wire.
func behind(t *testing.T, server *pgtest.Server, schema, name string, ttl time.Duration) (*pgqueue.DB, *wire) {
	t.Helper()
	parsed, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(t, parsed.Query().Get("host"))
	return open(t, pgqueue.Options{
		URL: "postgres:///postgres?user=buildtoken&host=" + w.dir, Schema: schema, Server: name, TTL: ttl, Log: zap.NewNop(),
	}), w
}

// TestServerIsGivenUpAfterItHasStoppedItsBuilds cuts a server off, lets another
// one try to take over, and lets the first one come back.
func TestServerIsGivenUpAfterItHasStoppedItsBuilds(t *testing.T) {
	const ttl = 3 * time.Second
	server := pgtest.Start(t)
	schema := pgtest.Schema(t, server.URL())
	first, w := behind(t, server, schema, "first", ttl)
	schedule(t, first, request("j", "k"))
	if builds, _, err := first.Claim(t.Context(), start, queue.Node{Name: "first"}, []int{0}); err != nil || len(builds) != 1 {
		t.Fatalf("Claim: %v, %v", builds, err)
	}
	select {
	case <-first.CutOff():
		t.Fatal("builds were stopped while all was well")
	default:
	}
	w.set(nil, true)
	opts := pgqueue.Options{URL: server.URL(), Schema: schema, Server: "second", TTL: ttl, LockTimeout: 100 * time.Millisecond, Log: zap.NewNop()}
	var second *pgqueue.DB
	for second == nil {
		q, err := pgqueue.Open(t.Context(), opts)
		switch {
		case err == nil:
			second = q
			defer q.Close()
		case !errors.Is(err, pgqueue.ErrLocked) || !strings.Contains(err.Error(), "first was heard of"):
			t.Fatalf("Open: %v, want that the first server may still run builds", err)
		}
	}
	select {
	case <-first.CutOff():
	default:
		t.Fatal("the second server took over before the first one had to stop its builds")
	}
	lost, err := second.Reclaim(t.Context(), start, "lost")
	if err != nil || len(lost) != 1 {
		t.Fatalf("Reclaim: %v, %v", lost, err)
	}

	w.set(nil, false)
	if _, _, err := first.Schedule(t.Context(), start, request("j", "k")); !errors.Is(err, queue.ErrStorage) {
		t.Errorf("Schedule on a server that was given up: %v, want %v", err, queue.ErrStorage)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	<-first.CutOff() // it learns that its builds were given up
	if _, err := first.Finish(t.Context(), start, "j", 1, queue.Success, ""); err == nil {
		t.Error("a late verdict was accepted")
	}
}

func TestRestartTakesOverAtOnce(t *testing.T) {
	server := pgtest.Start(t)
	schema := pgtest.Schema(t, server.URL())
	_, w := behind(t, server, schema, "ci-1", time.Hour)
	w.set(nil, true) // it is dead
	again := open(t, pgqueue.Options{URL: server.URL(), Schema: schema, Server: "ci-1", TTL: time.Hour})
	schedule(t, again, request("j", "k"))
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	// An orderly end leaves nothing to wait for.
	schedule(t, open(t, pgqueue.Options{URL: server.URL(), Schema: schema, Server: "ci-2", TTL: time.Hour}), request("j", "k"))
}

// TestServerThatWasGivenUpStartsNothing takes the lease away while the lock,
// as far as the server knows, is its own.
func TestServerThatWasGivenUpStartsNothing(t *testing.T) {
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "first", TTL: time.Hour, Log: zap.NewNop()})
	schedule(t, q, request("j", "k"))
	if _, err := pgtest.Connect(t, s.url).Exec(t.Context(), "update "+s.schema+".servers set epoch = epoch + 1"); err != nil {
		t.Fatal(err)
	}
	builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "first"}, []int{0})
	if !errors.Is(err, queue.ErrStorage) || len(builds) != 0 {
		t.Errorf("Claim: %v, %v; want %v", builds, err, queue.ErrStorage)
	}
	if l, err := q.Lane(t.Context(), "j"); err != nil || len(l.Running) != 0 || l.Queued != 1 {
		t.Errorf("lane %+v, %v; want nothing started", l, err)
	}
}
