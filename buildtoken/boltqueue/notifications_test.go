package boltqueue_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// If too many notifications wait for a target, the log has which one is given up.
func TestNotificationThatIsGivenUpIsLogged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	if err := open(t, boltqueue.Options{Path: path}).Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(tx *bolt.Tx) error {
		notifications := tx.Bucket([]byte("notifications"))
		for id := range int64(queue.MaxWaiting) {
			raw, err := json.Marshal(queue.Notification{ID: id + 1, Job: "b", Target: "chat", State: queue.DeliveryWaiting, At: start, Next: start})
			if err := errors.Join(err, notifications.Put(uint64Key(id+1), raw)); err != nil {
				return err
			}
		}
		return notifications.SetSequence(queue.MaxWaiting)
	})
	core, logged := observer.New(zap.WarnLevel)
	q := open(t, boltqueue.Options{Path: path, Log: zap.New(core)})
	rules := queue.Rules{Notify: []queue.Target{{Name: "chat", On: []queue.Condition{queue.OnQueued}}}}
	if err := q.SetRules(t.Context(), start, queue.Config{Rules: map[string]queue.Rules{"a": rules}}); err != nil {
		t.Fatal(err)
	}
	schedule(t, q, request("a", "one more"))
	if lines := logged.FilterField(zap.String("target", "chat")).FilterField(zap.Int64("id", 1)); lines.Len() != 1 || logged.Len() != 1 {
		t.Errorf("logged %v, want a line about the first one", logged.All())
	}
}

// A notification that is being sent when a commit fails is not sent again.
func TestLeaseOutlivesAFailedCommit(t *testing.T) {
	d := &disk{}
	q := open(t, boltqueue.Options{Path: filepath.Join(t.TempDir(), "queue.db"), Commit: d.commit(nil)})
	rules := queue.Config{Rules: map[string]queue.Rules{"a": {Notify: []queue.Target{{Name: "t", On: []queue.Condition{queue.OnQueued}}}}}}
	if err := q.SetRules(t.Context(), start, rules); err != nil {
		t.Fatal(err)
	}
	schedule(t, q, request("a", "1"))
	for want := range 2 {
		if due, _, err := q.TakeNotifications(t.Context(), start, []string{"t"}, 10); err != nil || len(due) != 1-want {
			t.Errorf("TakeNotifications = %v, %v; want %d", due, err, 1-want)
		}
		d.next(full)
		if _, _, err := q.Schedule(t.Context(), start, request("a", "2")); !errors.Is(err, queue.ErrStorage) {
			t.Fatalf("Schedule on a full disk: %v", err)
		}
		schedule(t, q, request("a", fmt.Sprint("works ", want)))
	}
}
