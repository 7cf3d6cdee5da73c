package boltqueue_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// However many notifications are added, there is one value.
func TestNotificationsChangedHoldsOneValue(t *testing.T) {
	q := open(t, boltqueue.Options{Path: filepath.Join(t.TempDir(), "queue.db")})
	rules := queue.Rules{Notify: []queue.Target{{Name: "t", On: []queue.Condition{queue.OnQueued}}}}
	if err := q.SetRules(t.Context(), start, queue.Config{Rules: map[string]queue.Rules{"a": rules}}); err != nil {
		t.Fatal(err)
	}
	schedule(t, q, request("a", "1"))
	schedule(t, q, request("a", "2"))
	values := 0
	for range 2 {
		select {
		case <-q.NotificationsChanged():
			values++
		default:
		}
	}
	if values != 1 {
		t.Errorf("%d values after two notifications, want one", values)
	}
}

// A commit after which nothing can start earlier, and no build is to be stopped, wakes nothing.
func TestChangedOnlyIfSomethingMayStart(t *testing.T) {
	q := open(t, boltqueue.Options{Path: filepath.Join(t.TempDir(), "queue.db")})
	ctx := t.Context()
	select {
	case <-q.NotificationsChanged():
		t.Error("there is a value about notifications of a queue that has none")
	default:
	}
	wakes := func() bool {
		select {
		case <-q.Changed():
			return true
		default:
			return false
		}
	}
	due := func(job string, after time.Duration) func() error {
		return func() error {
			r := request(job, "k")
			r.Delay = after
			_, _, err := q.Schedule(ctx, start, r)
			return err
		}
	}
	for _, step := range []struct {
		name string
		do   func() error
		want bool
	}{
		{"the first item", due("a", time.Hour), true},
		{"an item that is due later", due("b", 2*time.Hour), false},
		{"an item that is due at the same time", due("c", time.Hour), false},
		{"an item that is due earlier", due("d", time.Minute), true},
		{"a claim", func() error {
			_, _, err := q.Claim(ctx, start.Add(time.Minute), queue.Node{Name: "node"}, []int{0})
			return err
		}, false},
		{"a handle", func() error { return q.SetHandle(ctx, "d", 1, []byte("handle")) }, false},
		{"an item of a lane that is busy", due("d", 0), false},
		{"the end of its build", func() error {
			_, err := q.Finish(ctx, start, "d", 1, queue.Success, "")
			return err
		}, true},
		{"a cancelled item", func() error { return q.Cancel(ctx, start, "b", 2, "alice") }, false},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := wakes(); got != step.want {
			t.Errorf("after %s there is a value: %v, want %v", step.name, got, step.want)
		}
	}
	for range 2 {
		if err := q.SetRules(ctx, start, queue.Config{}); err != nil {
			t.Fatal(err)
		}
	}
	if !wakes() || wakes() {
		t.Error("after two changes of the rules there is not one value")
	}
}
