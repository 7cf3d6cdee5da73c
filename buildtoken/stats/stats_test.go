package stats_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/stats"
)

// at is a build of a job that waited and ran.
func at(job string, waited, took time.Duration, r queue.Result) queue.Build {
	due := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	return queue.Build{Item: queue.Item{Job: job, Due: due}, Started: due.Add(waited), Ended: due.Add(waited + took), Result: r}
}

// Operators read zero where nothing has happened, for what the configuration has.
func TestNothingHasHappened(t *testing.T) {
	var c stats.Counter
	none := map[queue.Result]uint64{"SUCCESS": 0, "UNSTABLE": 0, "FAILURE": 0, "ABORTED": 0, "NOT_BUILT": 0}
	want := stats.Stats{
		Jobs: []stats.Job{
			{Name: "a", Results: none}, {Name: "b", Results: none, Polls: map[string]uint64{"changes": 0, "none": 0, "failed": 0}}, {Name: "c", Results: none},
		},
		Refused: map[stats.Reason]uint64{"unknown": 0, "throttled": 0, "token": 0, "policy": 0, "full": 0, "storage": 0, "other": 0},
	}
	if diff := cmp.Diff(want, c.Stats(map[string]bool{"b": true, "c": false, "a": false})); diff != "" {
		t.Errorf("Stats (-want +got):\n%s", diff)
	}
}

func TestEverythingIsCounted(t *testing.T) {
	var c stats.Counter
	for range 3 {
		c.Queued("app", true)
	}
	c.Queued("app", false)
	c.Queued("app", false)
	c.Repeated("app")
	c.Refused("app", stats.Policy)
	c.Refused("app", stats.Policy)
	c.Refused("", stats.Unknown)
	c.Started([]queue.Build{at("app", time.Second, 0, ""), at("gone", 2*time.Second, 0, "")})
	c.Ended(at("app", 0, 4*time.Second, queue.Success))
	c.Ended(at("app", 0, 5*time.Second+1, queue.Failure))
	c.Lost(at("app", 0, 5*time.Hour, queue.Aborted))
	c.Ended(at("gone", 0, -time.Second, queue.NotBuilt)) // the clock was set
	c.Polled("app", "none")
	c.Polled("app", "changes")
	c.Polled("app", "changes")
	for _, state := range []queue.Delivery{
		queue.DeliveryWaiting, queue.DeliveryWaiting, queue.DeliveryReplaced, queue.DeliverySent, queue.DeliveryGivenUp, queue.DeliverySkipped,
	} {
		c.Notified(queue.Notification{Target: "ops", State: state})
	}
	c.Notified(queue.Notification{Target: "dev", State: queue.DeliverySent})
	want := stats.Stats{
		Jobs: []stats.Job{
			{
				Name: "app", Created: 3, Joined: 2, Repeated: 1, Refused: 2,
				Results: map[queue.Result]uint64{"SUCCESS": 1, "UNSTABLE": 0, "FAILURE": 1, "ABORTED": 1, "NOT_BUILT": 0},
				Took:    stats.Durations{Counts: [9]uint64{0, 1, 2, 2, 2, 2, 2, 2, 2}, N: 3, Sum: 18009.000000001},
				Polls:   map[string]uint64{"changes": 2, "none": 1, "failed": 0},
			},
			{
				Name: "gone", Results: map[queue.Result]uint64{"SUCCESS": 0, "UNSTABLE": 0, "FAILURE": 0, "ABORTED": 0, "NOT_BUILT": 1},
				Took: stats.Durations{Counts: [9]uint64{1, 1, 1, 1, 1, 1, 1, 1, 1}, N: 1},
			},
		},
		Waited:  stats.Durations{Counts: [9]uint64{1, 2, 2, 2, 2, 2, 2, 2, 2}, N: 2, Sum: 3},
		Lost:    1,
		Refused: map[stats.Reason]uint64{"unknown": 1, "throttled": 0, "token": 0, "policy": 2, "full": 0, "storage": 0, "other": 0},
		Notifications: []stats.Notification{
			{Target: "dev", Outcome: "sent", N: 1},
			{Target: "ops", Outcome: "failed", N: 3},
			{Target: "ops", Outcome: "given up", N: 1},
			{Target: "ops", Outcome: "sent", N: 1},
			{Target: "ops", Outcome: "skipped", N: 1},
		},
	}
	if diff := cmp.Diff(want, c.Stats(map[string]bool{"app": false})); diff != "" {
		t.Errorf("Stats (-want +got):\n%s", diff)
	}
}

// A duration counts for each bound that it does not exceed.
func TestBoundsOfDurations(t *testing.T) {
	bounds := [9]float64{1, 5, 15, 60, 300, 900, 1800, 3600, 14400}
	if stats.DurationBounds() != bounds {
		t.Errorf("DurationBounds = %v, want %v: dashboards refer to them", stats.DurationBounds(), bounds)
	}
	for i, bound := range bounds {
		var c stats.Counter
		c.Started([]queue.Build{at("app", time.Duration(bound)*time.Second, 0, "")})
		for k, n := range c.Stats(nil).Waited.Counts {
			if want := k >= i; want != (n == 1) {
				t.Errorf("%v s counted %d times for %v s, want it counted: %v", bound, n, bounds[k], want)
			}
		}
	}
}
