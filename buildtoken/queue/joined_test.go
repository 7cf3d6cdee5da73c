package queue_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// An item keeps the traces of the first triggers that join it, each once.
func TestItemKeepsTheTracesOfTriggersThatJoin(t *testing.T) {
	now := time.Now()
	schedule := func(equal *queue.Item, trace string) queue.Item {
		t.Helper()
		c, err := queue.Schedule(now, queue.Lane{Job: "app"}, equal, queue.Request{ID: 1, Job: "app", Trace: trace, Cause: queue.Cause{Kind: queue.CauseTimer}}, queue.Room{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		return *c.Item
	}
	it := schedule(nil, "first")
	var want []string
	for n := range 20 {
		before := it
		it = schedule(&it, fmt.Sprint("t", n))
		if len(want) < queue.MaxJoined {
			want = append(want, fmt.Sprint("t", n))
		}
		if len(before.Joined) == len(it.Joined) && n < queue.MaxJoined {
			t.Errorf("the trace of trigger %d is missing", n)
		}
		for _, again := range []string{"", "first", "t0", fmt.Sprint("t", n)} {
			it = schedule(&it, again)
		}
	}
	if diff := cmp.Diff(want, it.Joined); diff != "" || it.Trace != "first" {
		t.Errorf("Trace = %s, Joined (-want +got):\n%s", it.Trace, diff)
	}
}
