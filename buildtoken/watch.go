package buildtoken

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/watch"
)

// Watch returns a channel that is closed at the next change of what readers
// see: an item was queued, joined or cancelled, a build was started, stopped or
// ended, or a configuration came into force. Take the channel before you read;
// then no change is missed. An item that becomes due is not a change; its due
// instant is known in advance.
func (c *Controller) Watch() (changed <-chan struct{}) { return c.queue.changed.Next() }

// WatchBuilds is [Controller.Watch] for builds of one job: the channel is
// closed when a build of the job was started, stopped or ended, or a
// configuration came into force, whatever is queued meanwhile.
func (c *Controller) WatchBuilds(full string) (changed <-chan struct{}) {
	return c.queue.builds.Next(full)
}

// Running are the builds that run now on this server, by executor. Those of
// other sites are among them.
func (c *Controller) Running() []queue.Build { return c.queue.runningHere() }

// observed is a queue that tells who watches of every change. It stands
// between the queue and all who write to it, so that no change gets past it.
type observed struct {
	Queue
	changed watch.Signal
	items   watch.Topics[int64]  // started, cancelled, their log begun, their build ended
	builds  watch.Topics[string] // of a job: started, stopped, ended

	// mu guards the following.
	mu      sync.Mutex
	running map[buildID]queue.Build
}

type buildID struct {
	job    string
	number int64
}

func observe(q Queue) *observed { return &observed{Queue: q, running: map[buildID]queue.Build{}} }

func (o *observed) runningHere() []queue.Build {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.SortedFunc(maps.Values(o.running), func(a, b queue.Build) int {
		return cmp.Or(cmp.Compare(a.Executor, b.Executor), cmp.Compare(a.Item.ID, b.Item.ID))
	})
}

// runsHere says whether a build runs on this server.
func (o *observed) runsHere(job string, number int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, here := o.running[buildID{job, number}]
	return here
}

// change says that something has changed; note, if not nil, is done before
// anybody hears of it.
func (o *observed) change(note func()) {
	if note != nil {
		o.mu.Lock()
		note()
		o.mu.Unlock()
	}
	o.changed.Notify()
}

// hear tells those who watch what another server has changed.
func (o *observed) hear(n queue.Notice) {
	o.change(nil)
	if n.All {
		o.items.NotifyAll()
		o.builds.NotifyAll()
		return
	}
	o.items.Notify(n.Items...)
	o.builds.Notify(n.Jobs...)
}

// logBegun says that the log of an item's build has begun.
func (o *observed) logBegun(item int64) {
	o.items.Notify(item)
	if q, ok := o.Queue.(interface{ Tell(n queue.Notice) }); ok {
		q.Tell(queue.Notice{Items: []int64{item}})
	}
}

// SetRules implements [Queue].
func (o *observed) SetRules(ctx context.Context, rules map[string]queue.Rules, limit int) error {
	err := o.Queue.SetRules(ctx, rules, limit)
	o.change(nil)
	o.builds.NotifyAll()
	return err
}

// Schedule implements [Queue].
func (o *observed) Schedule(ctx context.Context, now time.Time, r queue.Request) (queue.Item, bool, error) {
	it, created, err := o.Queue.Schedule(ctx, now, r)
	if err == nil {
		o.change(nil)
	}
	return it, created, err
}

// Cancel implements [Queue]. It is not given up with ctx: those who wait for
// the item must hear of it even if who cancels is gone.
func (o *observed) Cancel(ctx context.Context, now time.Time, job string, id int64, by string) error {
	err := o.Queue.Cancel(context.WithoutCancel(ctx), now, job, id, by)
	if err == nil {
		o.change(nil)
		o.items.Notify(id)
	}
	return err
}

// Abort implements [Queue].
func (o *observed) Abort(ctx context.Context, job string, number int64, by string) error {
	err := o.Queue.Abort(ctx, job, number, by)
	if err == nil {
		o.change(nil)
		o.builds.Notify(job)
	}
	return err
}

// Claim implements [Queue].
func (o *observed) Claim(ctx context.Context, now time.Time, node queue.Node, executors []int) ([]queue.Build, time.Time, error) {
	builds, next, err := o.Queue.Claim(ctx, now, node, executors)
	if len(builds) > 0 {
		o.change(func() {
			for _, b := range builds {
				o.running[buildID{b.Item.Job, b.Number}] = b
			}
		})
		o.items.Notify(itemsOf(builds)...)
		for _, b := range builds {
			o.builds.Notify(b.Item.Job)
		}
	}
	return builds, next, err
}

// Finish implements [Queue].
func (o *observed) Finish(ctx context.Context, now time.Time, job string, number int64, r queue.Result, reason string) (queue.Build, error) {
	b, err := o.Queue.Finish(ctx, now, job, number, r, reason)
	if err == nil || errors.Is(err, queue.ErrNotRunning) || errors.Is(err, queue.ErrNotFound) {
		// In the latter cases somebody else has ended it, who took this server for dead.
		var item int64
		o.change(func() {
			at := buildID{job, number}
			item = o.running[at].Item.ID
			delete(o.running, at)
		})
		o.items.Notify(item)
		o.builds.Notify(job)
	}
	return b, err
}

// Reclaim implements [Queue].
func (o *observed) Reclaim(ctx context.Context, now time.Time, reason string) ([]queue.Build, error) {
	lost, err := o.Queue.Reclaim(ctx, now, reason)
	if len(lost) > 0 {
		o.change(func() {
			for _, b := range lost {
				delete(o.running, buildID{b.Item.Job, b.Number})
			}
		})
		o.items.Notify(itemsOf(lost)...)
		for _, b := range lost {
			o.builds.Notify(b.Item.Job)
		}
	}
	return lost, err
}

// Close implements [Queue]. Nobody waits for a queue that is closed.
func (o *observed) Close() error {
	err := o.Queue.Close()
	o.items.NotifyAll()
	return err
}

func itemsOf(builds []queue.Build) []int64 {
	ids := make([]int64, len(builds))
	for i, b := range builds {
		ids[i] = b.Item.ID
	}
	return ids
}

var _ Queue = (*observed)(nil)
