package notify_test

import (
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

func TestText(t *testing.T) {
	begin := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	ended := func(took time.Duration, result queue.Result, turn queue.Condition) notify.Event {
		return notify.Event{Kind: queue.EventEnded, Job: "app", Number: 3, Result: result, Turn: turn, Started: begin, Ended: begin.Add(took)}
	}
	for want, e := range map[string]notify.Event{
		"app #3 succeeded":                           {Kind: queue.EventEnded, Job: "app", Number: 3, Result: queue.Success},
		"app #3 was not built":                       ended(0, queue.NotBuilt, ""),
		"app #3 is unstable (250ms)":                 ended(250*time.Millisecond, queue.Unstable, ""),
		"app #3 succeeded (1s)":                      ended(time.Second, queue.Success, ""),
		"app #3 is fixed: it succeeded (59s)":        ended(59*time.Second+400*time.Millisecond, queue.Success, queue.OnFixed),
		"app #3 failed, after a success (1m)":        ended(time.Minute, queue.Failure, queue.OnRegressed),
		"app #3 is unstable, after a success (1m5s)": ended(65*time.Second, queue.Unstable, queue.OnRegressed),
		"app #3 was aborted (59m59s)":                ended(time.Hour-time.Second, queue.Aborted, ""),
		"app #3 succeeded (1h0m)":                    ended(time.Hour, queue.Success, ""),
		"app #3 succeeded (26h11m)":                  ended(26*time.Hour+10*time.Minute+40*time.Second, queue.Success, ""),
		"app is queued":                              {Kind: queue.EventQueued, Job: "app"},
		"app #3 started":                             {Kind: queue.EventStarted, Job: "app", Number: 3, Started: begin},
		"app was cancelled: by user alice":           {Kind: queue.EventCancelled, Job: "app", By: "user alice"},
		"app #3 failed: exit status 1":               {Kind: queue.EventEnded, Job: "app", Number: 3, Result: queue.Failure, Reason: "exit status 1", Ended: begin},
	} {
		if got := e.Text(); got != want {
			t.Errorf("Text = %q, want %q", got, want)
		}
	}
}

func TestURLIsTheMostSpecific(t *testing.T) {
	e := notify.Event{BuildURL: "build", ItemURL: "item", JobURL: "job"}
	for _, want := range []string{"build", "item", "job", ""} {
		if got := e.URL(); got != want {
			t.Errorf("URL = %q, want %q", got, want)
		}
		switch want {
		case "build":
			e.BuildURL = ""
		case "item":
			e.ItemURL = ""
		case "job":
			e.JobURL = ""
		}
	}
}

func TestParam(t *testing.T) {
	e := notify.Event{Params: []notify.Param{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}}}
	if a, b, c := e.Param("A"), e.Param("B"), e.Param("C"); a != "1" || b != "2" || c != "" {
		t.Errorf("Param = %q, %q, %q, want 1, 2 and nothing", a, b, c)
	}
}
