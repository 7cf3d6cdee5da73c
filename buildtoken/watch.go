package buildtoken

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/watch"
)

// Watch returns a channel that is closed at the next change of what readers
// see: an item was queued, joined or cancelled, a build was started, stopped or
// ended, a job was polled, or a configuration came into force. Take the channel
// before you read; then no change is missed. An item that becomes due is not a
// change; its due instant is known in advance.
func (c *Controller) Watch() (changed <-chan struct{}) { return c.changes.any.Next() }

// WatchBuilds is [Controller.Watch] for builds of one job: the channel is
// closed when a build of the job was started, stopped or ended, or a
// configuration came into force, whatever is queued meanwhile.
func (c *Controller) WatchBuilds(full string) (changed <-chan struct{}) {
	return c.changes.builds.Next(full)
}

// Running returns the builds that run now on the executors of this server, by
// executor, those of other sites included.
func (c *Controller) Running() []queue.Build { return c.changes.runningHere(false) }

// RunningRemote returns the builds that this server follows on other systems. They
// take no executor.
func (c *Controller) RunningRemote() []queue.Build { return c.changes.runningHere(true) }

// Await returns the state of an item as soon as enough reports true for it.
// It calls enough at once, and again when the item was started or cancelled,
// its log has begun, or its build has ended; changes of other items cost
// nothing. If ctx ends first, Await returns what was known last, and the cause.
// An item of a job that the site does not have is [queue.ErrNotFound].
func (c *Controller) Await(ctx context.Context, d *definition.Site, id int64, enough func(queue.Entry) bool) (queue.Entry, error) {
	for {
		changed := c.changes.items.Next(id)
		entry, err := c.Entry(ctx, d, id)
		if err != nil || enough(entry) {
			if err != nil || entry.Ended() {
				c.changes.items.Notify(id) // no other change of the item will come to forget its waiters
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

// Callers that trigger and then wait for the end are bounded: each holds a
// connection with less than 50 KB for minutes (BenchmarkWaiting). A thousand are
// 50 MB, and no job can take the places of all others.
const (
	maxWaiting    = 1000
	maxWaitingJob = 250 // of one job
)

// AwaitEnd is [Controller.Await] for the end of an item of a job: it was
// cancelled, or its build has ended. The number of callers that wait this way
// is limited; if the limit is reached, AwaitEnd returns false at once.
func (c *Controller) AwaitEnd(ctx context.Context, d *definition.Site, full string, id int64) (queue.Entry, bool, error) {
	if !c.waiting.enter(full) {
		return queue.Entry{}, false, nil
	}
	defer c.waiting.leave(full)
	entry, err := c.Await(ctx, d, id, queue.Entry.Ended)
	return entry, true, err
}

// waiting counts the callers that wait for an end. The zero value is ready to use.
type waiting struct {
	// mu guards the following.
	mu    sync.Mutex
	all   int
	byJob map[string]int
}

// enter takes a place and reports whether there was one.
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

// changes notifies waiters of changes, and records which builds run on this
// server. Every write to the queue is followed by a call of one of its methods.
// The zero value is ready to use.
type changes struct {
	any    watch.Signal
	items  watch.Topics[int64]  // started, cancelled, their log begun, their build ended
	builds watch.Topics[string] // of a job: started, stopped, ended

	// mu guards the following.
	mu      sync.Mutex
	running map[buildID]*queue.Build
	// remote has those of the running builds that take no executor.
	remote map[buildID]bool
}

type buildID struct {
	job    string
	number int64
}

// runningHere returns the running builds by executor, or the remote ones by slot.
func (w *changes) runningHere(remote bool) []queue.Build {
	w.mu.Lock()
	defer w.mu.Unlock()
	var builds []queue.Build
	for id, b := range w.running {
		if w.remote[id] == remote {
			builds = append(builds, *b)
		}
	}
	slices.SortFunc(builds, func(a, b queue.Build) int {
		return cmp.Or(cmp.Compare(a.Executor, b.Executor), cmp.Compare(a.Item.ID, b.Item.ID))
	})
	return builds
}

// freeSlots returns the n lowest numbers of slots in which no remote build runs.
func (w *changes) freeSlots(n int) []int {
	taken := map[int]bool{}
	for _, b := range w.runningHere(true) {
		taken[b.Executor] = true
	}
	slots := make([]int, 0, n)
	for slot := 0; len(slots) < n; slot++ {
		if !taken[slot] {
			slots = append(slots, slot)
		}
	}
	return slots
}

// here returns the build that runs on this server under a number; nil if there is none.
// A shared queue that was set back may know another build with this number.
func (w *changes) here(job string, number int64) *queue.Build {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.running[buildID{job, number}]
}

// elsewhere notifies of a change on another server.
func (w *changes) elsewhere(n queue.Notice) {
	w.any.Notify()
	if n.All {
		w.items.NotifyAll()
		w.builds.NotifyAll()
	}
	w.items.Notify(n.Items...)
	w.builds.Notify(n.Jobs...)
}

// configured notifies of a new configuration.
func (w *changes) configured() {
	w.any.Notify()
	w.builds.NotifyAll()
}

// started notifies of builds that were claimed on this server.
func (w *changes) started(builds []queue.Build, remote bool) {
	w.mu.Lock()
	if w.running == nil {
		w.running, w.remote = map[buildID]*queue.Build{}, map[buildID]bool{}
	}
	for _, b := range builds {
		w.running[buildID{b.Item.Job, b.Number}] = &b
		if remote {
			w.remote[buildID{b.Item.Job, b.Number}] = true
		}
	}
	w.mu.Unlock()
	w.any.Notify()
	for _, b := range builds {
		w.items.Notify(b.Item.ID)
		w.builds.Notify(b.Item.Job)
	}
}

// ended notifies of the end of a build, which [changes.here] has returned before; nil if it
// did not run on this server. It calls clean, unless another build with the same number runs
// here by now, whose files would be removed. It holds the lock meanwhile, so that no such build
// starts.
func (w *changes) ended(job string, number int64, was *queue.Build, clean func()) {
	w.mu.Lock()
	id := buildID{job, number}
	if w.running[id] == was {
		delete(w.running, id)
		delete(w.remote, id)
		clean()
	}
	w.mu.Unlock()
	w.any.Notify()
	if was != nil {
		w.items.Notify(was.Item.ID)
	}
	w.builds.Notify(job)
}
