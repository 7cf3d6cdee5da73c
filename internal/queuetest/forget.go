package queuetest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// forgets removes the records of a job. While they are needed, that is refused.
func forgets(t *testing.T, store Store, q Queue) {
	ctx := t.Context()
	both := map[string]queue.Rules{"gone": {}, "stays": {}}
	setRules(t, q, both, 0)
	keyed := request("gone", "keyed")
	keyed.Key = &queue.Digest{7}
	schedule(t, q, keyed)
	other := request("stays", "keyed")
	other.Key = &queue.Digest{7}
	schedule(t, q, other)
	for _, b := range claim(t, q, 0, 1) {
		finish(t, q, b)
	}
	cancelled, _ := schedule(t, q, request("gone", "cancelled"))
	if err := q.Cancel(ctx, start, "gone", cancelled.ID, "alice"); err != nil {
		t.Fatal(err)
	}
	schedule(t, q, request("gone", "running"))
	running := claim(t, q, 0)
	waiting, _ := schedule(t, q, request("gone", "waiting"))
	refused := func(when string) {
		t.Helper()
		if err := q.Forget(ctx, "gone"); !errors.Is(err, queue.ErrInUse) {
			t.Errorf("Forget %s = %v, want %v", when, err, queue.ErrInUse)
		}
	}
	refused("of a job in the configuration")
	setRules(t, q, map[string]queue.Rules{"stays": {}}, 0)
	since := lane(t, q, "gone").GoneUntil
	if since.IsZero() {
		t.Error("the lane of the job that is gone does not have GoneUntil")
	}
	refused("with a queued item and a running build")
	if err := q.Cancel(ctx, start, "gone", waiting.ID, "alice"); err != nil {
		t.Fatal(err)
	}
	refused("with a running build")
	finish(t, q, running[0])
	before := read(t, q, "stays")
	if err := q.Forget(ctx, "gone"); err != nil {
		t.Fatalf("Forget: %v", err)
	}
	if err := q.Forget(ctx, "never"); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("Forget of a job that was never triggered = %v, want %v", err, queue.ErrNotFound)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = store.Open(t)
	t.Cleanup(func() { _ = q.Close() })
	lanes, err := q.AllLanes(ctx)
	if err != nil || len(lanes) != 2 || lanes[0].Job != "gone" || lanes[1].Job != "stays" {
		t.Fatalf("AllLanes = %+v, %v; want both lanes", lanes, err)
	}
	if l := lanes[0]; l.HasRecords() || l.LastNumber != 2 || !l.GoneUntil.Equal(since) || l.LastEnded != 0 {
		t.Errorf("lane after Forget: %+v, want only its numbers and when it was removed", l)
	}
	if !lanes[1].HasRecords() {
		t.Errorf("lane of the other job: %+v, want its records", lanes[1])
	}
	setRules(t, q, both, 0)
	if diff := same(before, read(t, q, "stays")); diff != "" {
		t.Errorf("the other job has changed (-want +got):\n%s", diff)
	}
	for _, id := range []int64{1, cancelled.ID, waiting.ID} {
		if _, err := q.Entry(ctx, start, id); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("Entry(%d) = %v, want %v", id, err, queue.ErrNotFound)
		}
		if err := q.Cancel(ctx, start, "gone", id, "alice"); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("Cancel(%d) = %v, want %v", id, err, queue.ErrNotFound)
		}
	}
	if builds, err := q.Builds(ctx, "gone", 0, 10); err != nil || len(builds) != 0 {
		t.Errorf("Builds = %v, %v; want none", builds, err)
	}
	// The key can be used again; the key of the other job is still used.
	if _, created := schedule(t, q, keyed); !created {
		t.Error("the receipt of the job that was dropped is still there")
	}
	if _, _, err := q.Schedule(ctx, start.Add(time.Minute), other); !errors.As(err, new(*queue.RepeatedError)) {
		t.Errorf("trigger with the key of the other job: %v, want it repeated", err)
	}
	if diff := cmp.Diff(int64(3), claim(t, q, 0)[0].Number); diff != "" {
		t.Errorf("number of the next build (-want +got):\n%s", diff)
	}
}
