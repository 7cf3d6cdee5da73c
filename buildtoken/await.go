package buildtoken

import (
	"context"
	"fmt"
	"sync"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Await returns what is known of an item as soon as that is enough, or ctx
// ends; then it returns what was known last, and the cause. enough is asked
// about what is known now, and again when the item was started or cancelled,
// its log has begun, or its build has ended. In between nothing is looked at,
// so waiting costs little, however much happens to other items. An item of a
// job that the site does not have is queue.ErrNotFound.
func (c *Controller) Await(ctx context.Context, d *definition.Site, id int64, enough func(queue.Entry) bool) (queue.Entry, error) {
	for {
		changed := c.queue.items.Next(id)
		entry, err := c.Entry(ctx, d, id)
		if err != nil || enough(entry) {
			if err != nil || entry.Ended() {
				c.queue.items.Notify(id) // no other change of the item will come to forget its waiters
			}
			return entry, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return entry, fmt.Errorf("buildtoken: await item %d: %w", id, context.Cause(ctx))
		}
	}
}

// Those who trigger and then wait for the end are bounded: each holds a
// connection with less than 50 KB for minutes (BenchmarkWaiting). A thousand are 50 MB,
// and no job can take the places of all others.
const (
	maxWaiting    = 1000
	maxWaitingJob = 250 // of one job
)

// AwaitEnd is [Controller.Await] for the end of an item of a job: it was
// cancelled, or its build has ended. There are only so many places for those who
// wait this way; it says false at once if there is none.
func (c *Controller) AwaitEnd(ctx context.Context, d *definition.Site, full string, id int64) (queue.Entry, bool, error) {
	if !c.waiting.enter(full) {
		return queue.Entry{}, false, nil
	}
	defer c.waiting.leave(full)
	entry, err := c.Await(ctx, d, id, queue.Entry.Ended)
	return entry, true, err
}

// waiting counts those who wait for an end. Its zero value is nobody.
type waiting struct {
	// mu guards the following.
	mu    sync.Mutex
	all   int
	byJob map[string]int
}

// enter takes a place, if there is one.
func (w *waiting) enter(full string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all >= maxWaiting || w.byJob[full] >= maxWaitingJob {
		return false
	}
	if w.byJob == nil {
		w.byJob = map[string]int{}
	}
	w.all++
	w.byJob[full]++
	return true
}

func (w *waiting) leave(full string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all--
	if w.byJob[full]--; w.byJob[full] == 0 {
		delete(w.byJob, full)
	}
}
