package queue_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// TestConditions ends a build with each result after each verdict, and checks which of the
// targets, with one condition each, are notified.
func TestConditions(t *testing.T) {
	l := queue.Lane{Job: "j"}
	for _, c := range queue.Conditions() {
		l.Rules.Notify = append(l.Rules.Notify, queue.Target{Name: string(c), On: []queue.Condition{c}})
	}
	for _, tt := range []struct {
		before []queue.Result
		result queue.Result
		want   string
	}{
		{nil, queue.Success, "success always"},
		{nil, queue.Failure, "failure always"},
		{[]queue.Result{queue.Success}, queue.Success, "success always"},
		{[]queue.Result{queue.Success}, queue.Failure, "failure regressed always"},
		{[]queue.Result{queue.Success}, queue.Unstable, "unstable regressed always"},
		{[]queue.Result{queue.Success}, queue.Aborted, "aborted always"},
		{[]queue.Result{queue.Failure}, queue.Success, "success fixed always"},
		{[]queue.Result{queue.Unstable}, queue.Success, "success fixed always"},
		{[]queue.Result{queue.Failure}, queue.Failure, "failure always"},
		{[]queue.Result{queue.Failure}, queue.Unstable, "unstable always"},
		{[]queue.Result{queue.Failure}, queue.NotBuilt, "not_built always"},
		{[]queue.Result{queue.Failure, queue.Aborted, queue.NotBuilt}, queue.Success, "success fixed always"},
		{[]queue.Result{queue.Success, queue.Aborted}, queue.Failure, "failure regressed always"},
		{[]queue.Result{queue.Aborted}, queue.Success, "success always"},
	} {
		s := history(t, queue.Lane{Job: "j"}, tt.before...)
		l := l
		l.Running = []int64{9}
		change, err := queue.Finish(start, l, s, queue.Build{Item: queue.Item{ID: 9, Job: "j"}, Number: 9, Started: start}, tt.result, "")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range change.Notifications {
			got = append(got, n.Target)
			if n.Job != "j" || n.Item != 9 || n.Build != 9 || n.Event != queue.EventEnded || n.Result != tt.result || n.State != queue.DeliveryWaiting {
				t.Errorf("notification %+v", n)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s after %v notifies %v, want %s", tt.result, tt.before, got, tt.want)
		}
	}
}

// A build that ends after one with a higher number does not change the verdict.
func TestLateEndTurnsNothing(t *testing.T) {
	l := queue.Lane{Job: "j", Running: []int64{1}, Rules: queue.Rules{Notify: []queue.Target{{Name: "t", On: []queue.Condition{queue.OnFixed, queue.OnRegressed}}}}}
	b := queue.Build{Item: queue.Item{ID: 1, Job: "j"}, Number: 3, Started: start}
	first, err := queue.Finish(start, queue.Lane{Job: "j", Running: []int64{3}}, queue.Summary{}, b, queue.Success, "")
	if err != nil {
		t.Fatal(err)
	}
	b.Number = 1
	late, err := queue.Finish(start, l, *first.Summary, b, queue.Failure, "")
	if err != nil || len(late.Notifications) != 0 {
		t.Errorf("late end: %+v, %v; want no notification", late.Notifications, err)
	}
	if since, failing := late.Summary.FailingSince(); failing {
		t.Errorf("failing since #%d after a late end", since.Number)
	}
}

// TestSettle fails again and again: the pauses grow, and after three days the notification is
// given up.
func TestSettle(t *testing.T) {
	for _, jitter := range []float64{0, 0.5, 1} {
		now := start
		n := queue.Notification{ID: 1, At: start, State: queue.DeliveryWaiting, Next: start, Until: start.Add(queue.KeepTrying)}
		var pauses []time.Duration
		for n.State == queue.DeliveryWaiting {
			if len(pauses) > 100 {
				t.Fatal("it is never given up")
			}
			now = n.Next
			if n = n.Settle(now, queue.Attempt{Error: "503", Jitter: jitter}); n.State == queue.DeliveryWaiting {
				pauses = append(pauses, n.Next.Sub(now))
			}
		}
		want := []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour}
		for i := range want {
			want[i] = time.Duration(float64(want[i]) * (0.8 + 0.4*jitter))
		}
		if diff := cmp.Diff(want[:min(len(want), len(pauses))], pauses); diff != "" {
			t.Errorf("pauses with jitter %v (-want +got):\n%s", jitter, diff)
		}
		if n.State != queue.DeliveryGivenUp || n.Error != "503" || now.Sub(start) > queue.KeepTrying {
			t.Errorf("jitter %v: %+v, %v after it happened; want it given up within %v", jitter, n, now.Sub(start), queue.KeepTrying)
		}
	}
}

func TestSettleDetails(t *testing.T) {
	n := queue.Notification{ID: 1, At: start, State: queue.DeliveryWaiting, Next: start, Until: start.Add(queue.KeepTrying)}
	for _, tt := range []struct {
		name  string
		in    queue.Attempt
		state queue.Delivery
		next  time.Duration
	}{
		{"delivered", queue.Attempt{}, queue.DeliverySent, 0},
		{"nothing to send", queue.Attempt{Error: "no commit", Skip: true}, queue.DeliverySkipped, 0},
		{"nothing to send, without a reason", queue.Attempt{Skip: true}, queue.DeliverySkipped, 0},
		{"the receiver asks for a longer pause", queue.Attempt{Error: "429", After: time.Hour, Jitter: 0.5}, queue.DeliveryWaiting, time.Hour},
		{"for a shorter one", queue.Attempt{Error: "429", After: time.Second, Jitter: 0.5}, queue.DeliveryWaiting, 5 * time.Second},
		{"for a year", queue.Attempt{Error: "429", After: 8760 * time.Hour, Jitter: 0.5}, queue.DeliveryWaiting, 24 * time.Hour},
		{"no other attempt makes sense", queue.Attempt{Error: "410", GiveUp: true}, queue.DeliveryGivenUp, 4 * time.Second},
		{"jitter out of range", queue.Attempt{Error: "503", Jitter: 7}, queue.DeliveryWaiting, 6 * time.Second},
	} {
		if got := n.Settle(start, tt.in); got.State != tt.state || got.Next.Sub(start) != tt.next || got.Tries != 1 || got.Error != tt.in.Error {
			t.Errorf("%s: %+v, want it %s, next after %v", tt.name, got, tt.state, tt.next)
		}
	}
	if got := n.Settle(start, queue.Attempt{Error: "x" + strings.Repeat("ü", 500)}).Error; len(got) != 199 || !strings.HasPrefix("x"+strings.Repeat("ü", 500), got) {
		t.Errorf("an error of %d bytes is kept as %q", 1000, got)
	}
	again := n.Settle(start, queue.Attempt{Error: "410", GiveUp: true}).Retry(start.Add(time.Hour))
	if again.State != queue.DeliveryWaiting || again.Tries != 0 || !again.Next.Equal(start.Add(time.Hour)) || !again.Until.Equal(start.Add(time.Hour+queue.KeepTrying)) || !again.Settled.IsZero() {
		t.Errorf("after Retry: %+v", again)
	}
}

func TestFilterFits(t *testing.T) {
	n := queue.Notification{Job: "a", Item: 1, State: queue.DeliverySent}
	for _, tt := range []struct {
		filter queue.NotificationFilter
		want   bool
	}{
		{queue.NotificationFilter{}, true},
		{queue.NotificationFilter{Job: "a"}, true},
		{queue.NotificationFilter{Job: "b"}, false},
		{queue.NotificationFilter{Item: 1}, true},
		{queue.NotificationFilter{Item: 2}, false},
		{queue.NotificationFilter{State: queue.DeliverySent}, true},
		{queue.NotificationFilter{State: queue.DeliveryGivenUp}, false},
		{queue.NotificationFilter{Job: "a", Item: 1, State: queue.DeliverySent}, true},
		{queue.NotificationFilter{Job: "b", Item: 1, State: queue.DeliverySent}, false},
		{queue.NotificationFilter{Job: "a", Item: 2, State: queue.DeliverySent}, false},
		{queue.NotificationFilter{Job: "a", Item: 1, State: queue.DeliveryGivenUp}, false},
	} {
		if got := tt.filter.Fits(n); got != tt.want {
			t.Errorf("%+v fits = %v, want %v", tt.filter, got, tt.want)
		}
	}
}

// TestSlowTargetLeavesPlaces has more due notifications of one target than can be sent at once,
// some of which are being sent, before one of another target.
func TestSlowTargetLeavesPlaces(t *testing.T) {
	var heads []*queue.Notification
	for id := int64(1); id <= 6; id++ {
		heads = append(heads, &queue.Notification{ID: id, Target: "slow", Next: start})
	}
	heads = append(heads, &queue.Notification{ID: 7, Target: "fast", Next: start}, &queue.Notification{ID: 8, Target: "fast", Next: start.Add(1)})
	all := func(string) bool { return true }
	for _, tt := range []struct {
		name   string
		leased int64 // those with this ID or a lower one
		limit  int
		want   string
	}{
		{"four of one target", 0, 10, "[1 2 3 4 7]"},
		{"those that are being sent count", 3, 10, "[4 7]"},
		{"no more than the limit", 0, 2, "[1 2]"},
		{"the limit reaches the other target", 2, 3, "[3 4 7]"},
		{"no place", 0, 0, "[]"},
	} {
		for range 2 {
			slices.Reverse(heads) // which come in any order
			due, next := queue.Deliverable(start, slices.Values(heads), func(id int64) bool { return id <= tt.leased }, all, tt.limit)
			ids := []int64{}
			for _, n := range due {
				ids = append(ids, n.ID)
			}
			if got := fmt.Sprint(ids); got != tt.want || !next.Equal(start.Add(1)) {
				t.Errorf("%s: %s are due, the next at %v; want %s, and the next an instant later", tt.name, got, next, tt.want)
			}
		}
	}
}

// A notification with nothing to send is skipped at once, and the reason is kept.
func TestSettleSkips(t *testing.T) {
	n := queue.Notification{ID: 1, State: queue.DeliveryWaiting, Until: start.Add(time.Hour)}
	got := n.Settle(start, queue.Attempt{Skip: true, Error: "no commit"})
	if got.State != queue.DeliverySkipped || !got.Settled.Equal(start) || got.Error != "no commit" || got.Tries != 1 {
		t.Errorf("Settle = %+v, want it skipped", got)
	}
}

// Notifications of a target that no configuration has are only looked at when they expire.
func TestUnwantedTargetsExpire(t *testing.T) {
	waiting := func(target string, next, until time.Duration) *queue.Notification {
		return &queue.Notification{ID: int64(len(target)), Target: target, Next: start.Add(next), Until: start.Add(until)}
	}
	heads := slices.Values([]*queue.Notification{waiting("gone", -time.Hour, 2*time.Hour), waiting("here", time.Hour, 3*time.Hour)})
	none := func(int64) bool { return false }
	here := func(target string) bool { return target == "here" }
	for _, tt := range []struct {
		after time.Duration
		due   int
		next  time.Duration // 0: only after an event
	}{
		{0, 0, time.Hour}, {time.Hour, 1, 2 * time.Hour}, {2*time.Hour - 1, 1, 2 * time.Hour}, {2 * time.Hour, 2, 0},
	} {
		due, next := queue.Deliverable(start.Add(tt.after), heads, none, here, 10)
		if len(due) != tt.due || next.IsZero() != (tt.next == 0) || tt.next != 0 && !next.Equal(start.Add(tt.next)) {
			t.Errorf("after %v: %d due, next %v, want %d and %v", tt.after, len(due), next, tt.due, start.Add(tt.next))
		}
	}
}

func TestReplaces(t *testing.T) {
	n := queue.Notification{ID: 5, Target: "t", Job: "j", Item: 1}
	for name, tt := range map[string]struct {
		earlier queue.Notification
		want    bool
	}{
		"an earlier one of the item":     {queue.Notification{ID: 4, Target: "t", Job: "j", Item: 1}, true},
		"itself":                         {n, false},
		"a later one":                    {queue.Notification{ID: 6, Target: "t", Job: "j", Item: 1}, false},
		"an earlier one of another item": {queue.Notification{ID: 4, Target: "t", Job: "j", Item: 2}, false},
		"one of another target":          {queue.Notification{ID: 4, Target: "u", Job: "j", Item: 1}, false},
		"one of another job":             {queue.Notification{ID: 4, Target: "t", Job: "k", Item: 1}, false},
	} {
		if got := n.Replaces(tt.earlier); got != tt.want {
			t.Errorf("Replaces %s = %v, want %v", name, got, tt.want)
		}
	}
}
