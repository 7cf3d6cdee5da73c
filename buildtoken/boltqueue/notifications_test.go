package boltqueue_test

import (
	"encoding/json"
	"errors"
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
