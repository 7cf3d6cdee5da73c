package notify

import (
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Sample returns an event such as a failed build causes, to try a receiver.
func Sample() Event {
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	return Event{
		ID: "sample", Sequence: 1, Target: "sample", At: at, Kind: queue.EventEnded, Job: "site/deploy", JobURL: "https://ci.example.com/job/site/job/deploy/",
		Item: 7, ItemURL: "https://ci.example.com/queue/item/7/", Number: 12, BuildURL: "https://ci.example.com/job/site/job/deploy/12/",
		Node: "built-in", Result: queue.Failure, Reason: "exit status 1", Turn: queue.OnRegressed,
		Queued: at.Add(-10 * time.Second), Started: at.Add(-5 * time.Second), Ended: at,
		Causes: []string{"Started by user alice"}, Params: []Param{{Name: "BRANCH", Value: "main"}},
		Log: "+ make test\nFAIL\nexit status 1\nFinished: FAILURE\n",
	}
}
