package queuetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

func contextEnds(t *testing.T, _ Store, q Queue) {
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(enough)
	for name, do := range verbs(ctx, q) {
		if err := do(); !errors.Is(err, enough) && !errors.Is(err, context.Canceled) {
			t.Errorf("%s with an ended context: %v, want %v", name, err, enough)
		}
	}
	// The outcome is unknown, so repeating must be safe: one item, whatever happened.
	schedule(t, q, request("j", "k"))
	if l := lane(t, q, "j"); l.Queued != 1 {
		t.Errorf("%d items queued after asking again, want 1", l.Queued)
	}
}

func changedFires(t *testing.T, _ Store, q Queue) {
	drain := func() bool {
		select {
		case <-q.Changed():
			return true
		default:
			return false
		}
	}
	later := request("j", "k")
	later.Delay = time.Hour
	sooner := later
	sooner.Delay = time.Minute
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"a new item", func() error { schedule(t, q, later); return nil }},
		{"an earlier due instant", func() error { schedule(t, q, sooner); return nil }},
		{"new rules", func() error { setRules(t, q, map[string]queue.Rules{"j": {Concurrent: true}}, 0); return nil }},
		{"a wish to stop a build", func() error {
			schedule(t, q, request("other", "k"))
			claim(t, q, 0)
			drain()
			return q.Abort(t.Context(), "other", 1, "alice")
		}},
		{"the end of a build", func() error { finish(t, q, queue.Build{Item: queue.Item{Job: "other"}, Number: 1}); return nil }},
		{"many new items", func() error {
			for i := range 10 {
				schedule(t, q, request("j", fmt.Sprint(i)))
			}
			return nil
		}},
	} {
		drain()
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if !drain() {
			t.Errorf("no value after %s", step.name)
		}
		if drain() {
			t.Errorf("more than one value after %s", step.name)
		}
	}
}

func closedSaysSo(t *testing.T, _ Store, q Queue) {
	schedule(t, q, request("j", "k"))
	for range 2 {
		if err := q.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	ctx := t.Context()
	for name, do := range verbs(ctx, q) {
		if err := do(); !errors.Is(err, queue.ErrClosed) {
			t.Errorf("%s on a closed queue: %v, want %v", name, err, queue.ErrClosed)
		}
	}
	for name, do := range map[string]func() error{
		"Notifications": func() error { _, err := q.Notifications(ctx, queue.NotificationFilter{}); return err },
		"Entry":         func() error { _, err := q.Entry(ctx, start, 1); return err },
		"Build":         func() error { _, err := q.Build(ctx, "j", 1); return err },
		"Builds":        func() error { _, err := q.Builds(ctx, "j", 0, all); return err },
		"Oldest":        func() error { _, err := q.Oldest(ctx, "j"); return err },
		"Refs":          func() error { _, err := q.Refs(ctx); return err },
	} {
		if err := do(); !errors.Is(err, queue.ErrClosed) {
			t.Errorf("%s on a closed queue: %v, want %v", name, err, queue.ErrClosed)
		}
	}
}

// verbs are the methods of a queue, without those that may read what is stored without waiting.
func verbs(ctx context.Context, q Queue) map[string]func() error {
	return map[string]func() error{
		"SetRules":  func() error { return q.SetRules(ctx, start, queue.Config{}) },
		"Schedule":  func() error { _, _, err := q.Schedule(ctx, start, request("j", "k")); return err },
		"Cancel":    func() error { return q.Cancel(ctx, start, "j", 1, "alice") },
		"Claim":     func() error { _, _, err := q.Claim(ctx, start, queue.Node{Name: "node"}, []int{0}); return err },
		"Finish":    func() error { _, err := q.Finish(ctx, start, "j", 1, queue.Success, ""); return err },
		"Abort":     func() error { return q.Abort(ctx, "j", 1, "alice") },
		"Aborts":    func() error { _, err := q.Aborts(ctx); return err },
		"Lost":      func() error { _, err := q.Lost(ctx); return err },
		"Reclaim":   func() error { _, err := q.Reclaim(ctx, start, "lost", nil); return err },
		"Lanes":     func() error { _, err := q.Lanes(ctx, []string{"j"}); return err },
		"SetHandle": func() error { return q.SetHandle(ctx, "j", 1, nil) },
		"Adopt": func() error {
			_, err := q.Adopt(ctx, []queue.Build{{Item: queue.Item{Job: "j"}, Number: 1}}, queue.Node{}, []int{0})
			return err
		},
		"Overviews":          func() error { _, err := q.Overviews(ctx, []string{"j"}); return err },
		"Gone":               func() error { _, err := q.Gone(ctx); return err },
		"TakeNotifications":  func() error { _, _, err := q.TakeNotifications(ctx, start, nil, 1); return err },
		"SettleNotification": func() error { _, err := q.SettleNotification(ctx, start, 1, queue.Attempt{}); return err },
		"RetryNotification":  func() error { return q.RetryNotification(ctx, start, 1) },
		"SaveTokenUses":      func() error { return q.SaveTokenUses(ctx, start, []queue.TokenUse{{Name: "ci", Last: start}}) },
		"TokenUses":          func() error { _, err := q.TokenUses(ctx); return err },
		"Backlogs":           func() error { _, err := q.Backlogs(ctx); return err },
		"AllLanes":           func() error { _, err := q.AllLanes(ctx); return err },
		"Forget":             func() error { return q.Forget(ctx, "j") },
		"Items":              func() error { _, err := q.Items(ctx, start, "", all); return err },
		"Items of no job":    func() error { _, err := q.Items(ctx, start, "", 0); return err },
	}
}
