package queue_test

import (
	"fmt"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// A backend stores the lane and its records, and decides what each event changes.
func Example() {
	now := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	lane := queue.Lane{Job: "app/deploy"}

	push := queue.Request{ID: 1, Delay: 10 * time.Second, Cause: queue.Cause{Kind: queue.CauseRemote, Addr: "192.0.2.7"}}
	created, _ := queue.Schedule(now, lane, nil, push, queue.Room{})

	// Three seconds later the same build is triggered without a delay.
	now = now.Add(3 * time.Second)
	hurry := queue.Request{ID: 2, Delay: 2 * time.Second, Cause: queue.Cause{Kind: queue.CauseUser, User: "alice"}}
	joined, _ := queue.Schedule(now, created.Lane, created.Item, hurry, queue.Room{})
	fmt.Println("item", joined.Item.ID, "is due", joined.Item.Due.Format(time.TimeOnly))
	for _, cause := range joined.Item.Causes {
		fmt.Println(cause)
	}

	state, why := joined.Lane.Explain(now, *joined.Item)
	fmt.Println(state+":", why.Reason)

	now = queue.Next(joined.Lane, joined.Item.Due)
	started, ok := queue.Claim(now, joined.Lane, joined.Item, queue.Node{Name: "ci-1"}, 0)
	fmt.Println("build", started.Build.Number, ok)

	ended, _ := queue.Finish(now.Add(time.Minute), started.Lane, queue.Summary{}, *started.Build, queue.Success, "")
	fmt.Println(ended.Build.Result, "running:", len(ended.Lane.Running))
	// Output:
	// item 1 is due 10:00:05
	// Started by remote host 192.0.2.7
	// Started by user alice
	// waiting: quiet period
	// build 1 true
	// SUCCESS running: 0
}
