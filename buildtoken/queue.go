package buildtoken

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/build"
	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/executor"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Queue is what the controller needs of a queue. Its contract is that of
// package queuetest; boltqueue implements it in a file.
type Queue interface {
	executor.Queue
	SetRules(ctx context.Context, now time.Time, c queue.Config) error
	Schedule(ctx context.Context, now time.Time, r queue.Request) (queue.Item, bool, error)
	Cancel(ctx context.Context, now time.Time, job string, id int64, by string) error
	Abort(ctx context.Context, job string, number int64, by string) error
	Lost(ctx context.Context) ([]queue.Build, error)
	Reclaim(ctx context.Context, now time.Time, reason string, keep func(queue.Build) bool) ([]queue.Build, error)
	SetHandle(ctx context.Context, job string, number int64, handle []byte) error
	Adopt(ctx context.Context, builds []queue.Build, node queue.Node, executors []int) (adopted []queue.Build, err error)
	Lanes(ctx context.Context, jobs []string) ([]queue.Lane, error)
	Overviews(ctx context.Context, jobs []string) ([]queue.Overview, error)
	Gone(ctx context.Context) ([]queue.Lane, error)
	AllLanes(ctx context.Context) ([]queue.Lane, error)
	Forget(ctx context.Context, job string) error
	TakeNotifications(ctx context.Context, now time.Time, targets []string, limit int) ([]queue.Notification, time.Time, error)
	MaySend(id int64) bool
	SettleNotification(ctx context.Context, now time.Time, id int64, a queue.Attempt) (queue.Notification, error)
	RetryNotification(ctx context.Context, now time.Time, id int64) error
	Notifications(ctx context.Context, f queue.NotificationFilter) ([]queue.Notification, error)
	Backlogs(ctx context.Context) ([]queue.Backlog, error)
	NotificationsChanged() <-chan struct{}
	SaveTokenUses(ctx context.Context, now time.Time, uses []queue.TokenUse) error
	TokenUses(ctx context.Context) ([]queue.TokenUse, error)
	Entry(ctx context.Context, now time.Time, id int64) (queue.Entry, error)
	Items(ctx context.Context, now time.Time, job string, limit int) ([]queue.Entry, error)
	Build(ctx context.Context, job string, number int64) (queue.Build, error)
	Builds(ctx context.Context, job string, before int64, limit int) ([]queue.Build, error)
	Oldest(ctx context.Context, job string) (int64, error)
	Refs(ctx context.Context) ([]string, error)
	Close() error
}

// Shared is a [Queue] that several servers have open at once, such as that of
// pgqueue. [Open] asserts it once. A Shared keeps console logs and uploads for
// all servers, notifies each server of what the others changed, and ends builds of
// servers that are gone.
type Shared interface {
	Queue
	console.Keeper
	build.FileKeeper
	// UseKey returns an error if the queue is used with another seal key, whose
	// fingerprint differs.
	UseKey(ctx context.Context, fingerprint []byte) error
	// CutOff receives a value when the builds of this server must be stopped,
	// because other servers can regard them as lost.
	CutOff() <-chan struct{}
	// Notices receives what other servers changed.
	Notices() <-chan queue.Notice
	// Tell sends a notice to the other servers.
	Tell(n queue.Notice)
	// Announce publishes what this server can run.
	Announce(ctx context.Context, node queue.Node, executors int) error
	// Nodes returns what the live servers have announced.
	Nodes() []queue.Node
	// ReclaimLost ends the builds of servers that are gone, except those for which keep
	// returns true.
	ReclaimLost(ctx context.Context, now time.Time, keep func(queue.Build) bool) ([]queue.Build, error)
}

// executorQueue is the queue as the executors use it.
type executorQueue struct{ *Controller }

// Claim implements [executor.Queue].
func (c executorQueue) Claim(ctx context.Context, now time.Time, node queue.Node, executors []int) ([]queue.Build, time.Time, error) {
	builds, next, err := c.queue.Claim(ctx, now, node, executors)
	if len(builds) > 0 {
		c.changes.started(builds, node.Remote)
		c.stats.Started(builds)
		for _, b := range builds {
			c.effective.Load().Spans.Started(ctx, b)
		}
	}
	return builds, next, err
}

// Finish implements [executor.Queue]. Its steps must happen in this order: when
// the end of a build is recorded, its log is complete on every server, and when
// waiters are notified, they find both. After an error of the first two steps
// the executor calls Finish again, so these are retried together.
func (c executorQueue) Finish(ctx context.Context, now time.Time, job string, number int64, r queue.Result, reason string) (queue.Build, error) {
	b := queue.Build{Item: queue.Item{Job: job}, Number: number, Result: r, Reason: reason}
	was := c.changes.here(job, number) // once the queue has the end, the number may be another build's
	if err := c.host.CompleteLog(ctx, b); err != nil {
		return queue.Build{}, err
	}
	b, err := c.queue.Finish(ctx, now, job, number, r, reason)
	elsewhere := errors.Is(err, queue.ErrNotRunning) || errors.Is(err, queue.ErrNotFound) // another server ended it
	if err != nil && !elsewhere {
		return b, err
	}
	c.changes.ended(job, number, was, func() {
		c.host.RemoveLogFile(queue.Build{Item: queue.Item{Job: job}, Number: number})
	})
	if err == nil {
		c.stats.Ended(b)
		c.effective.Load().Spans.Ended(ctx, b)
		c.cleanup(ctx, b)
	}
	return b, err
}

// Aborts implements [executor.Queue].
func (c executorQueue) Aborts(ctx context.Context) ([]queue.Build, error) { return c.queue.Aborts(ctx) }

// Changed implements [executor.Queue].
func (c executorQueue) Changed() <-chan struct{} { return c.queue.Changed() }

// cleanup removes the uploads of a build that has ended, and the logs of
// builds that are not kept any more.
func (c *Controller) cleanup(ctx context.Context, b queue.Build) {
	oldest, err := c.queue.Oldest(ctx, b.Item.Job)
	if err != nil {
		c.host.RemoveUploads(b.Item.Values)
	} else {
		err = c.host.Cleanup(ctx, b, oldest)
	}
	if err != nil {
		c.logger().Warn("logs of dropped builds could not be removed", zap.String("job", b.Item.Job), zap.Error(err))
	}
}

// prepare implements [executor.Prepare]: a build runs as the configuration
// defines it that is in force when the build leaves the queue.
func (c *Controller) prepare(b queue.Build) executor.Run {
	return c.runBuild(c.effective.Load().buildJob(b.Item.Job), b)
}

func (c *Controller) runBuild(j *build.Job, b queue.Build) executor.Run {
	return func(ctx context.Context) (queue.Result, string) {
		b.Item.Trace = c.effective.Load().Spans.Context(b)
		result, reason := c.host.Run(ctx, j, b)
		if result == "" { // it goes on, and will be resumed
			c.changes.ended(b.Item.Job, b.Number, c.changes.here(b.Item.Job, b.Number), func() {})
		}
		return result, reason
	}
}

// resumable reports whether a build that an earlier process or another server
// started can go on here: its runner saved a handle.
func (e *effective) resumable(b queue.Build) bool {
	j := e.buildJob(b.Item.Job)
	return b.Handle != nil && j != nil && j.Remote()
}

// adoptAtOnce is how many builds are adopted by one commit.
const adoptAtOnce = 100

// adopt goes on with builds that are resumable.
func (c *Controller) adopt(ctx context.Context, e *effective, builds []queue.Build) {
	for some := range slices.Chunk(builds, adoptAtOnce) {
		if c.adoptTogether(ctx, e, some) == nil {
			continue
		}
		for i, b := range some { // one record that cannot be read does not stop the others
			if err := c.adoptTogether(ctx, e, some[i:i+1]); err != nil {
				e.Log.Error("build cannot be resumed before the next start", zap.String("job", b.Item.Job), zap.Int64("number", b.Number), zap.Error(err))
			}
		}
	}
}

func (c *Controller) adoptTogether(ctx context.Context, e *effective, builds []queue.Build) error {
	adopted, err := c.queue.Adopt(ctx, builds, c.node(), c.changes.freeSlots(len(builds)))
	if err != nil {
		return err
	}
	c.changes.started(adopted, true)
	for _, b := range adopted { // others have ended, or another server was faster
		c.pool.Adopt(b, c.runBuild(e.buildJob(b.Item.Job), b))
	}
	return nil
}

// lostReason is the reason of a build whose process was killed, in its record
// and its log.
const lostReason = "lost: the server stopped while the build was running"

// reclaim ends the builds that ran when the queue was last used. It ends their
// processes before it records their ends: if the server is killed in between,
// the next one still finds the builds and looks for the processes again.
func (c *Controller) reclaim(ctx context.Context, e *effective) error {
	lost, err := c.queue.Lost(ctx)
	var kept []queue.Build
	if err == nil {
		lost = slices.DeleteFunc(lost, e.resumable)
		c.host.Reap(ctx, e.Log, lost, e.buildJob)
		c.host.ShipLost(ctx, e.Log, lost)
		lost, err = c.queue.Reclaim(ctx, time.Now(), lostReason, keep(e, &kept))
	}
	if err != nil {
		return fmt.Errorf("buildtoken: end lost builds: %w", err)
	}
	c.adopt(ctx, e, kept)
	for _, b := range lost {
		if was := c.changes.here(b.Item.Job, b.Number); was == nil || was.Item.ID == b.Item.ID {
			c.changes.ended(b.Item.Job, b.Number, was, func() {})
		}
		c.changes.items.Notify(b.Item.ID)
		c.stats.Lost(b)
		c.host.EndLost(e.Log, b)
		e.Spans.Ended(ctx, b)
	}
	return nil
}

// keep returns a function that reports whether a build can go on here, and collects
// those that can. The queue can call it again for the same build.
func keep(e *effective, kept *[]queue.Build) func(queue.Build) bool {
	return func(b queue.Build) bool {
		if !e.resumable(b) {
			return false
		}
		if !slices.ContainsFunc(*kept, func(k queue.Build) bool { return k.Item.ID == b.Item.ID }) {
			*kept = append(*kept, b)
		}
		return true
	}
}

// listenCutOff stops the builds of this server when other servers can regard
// them as lost. It ends with Close, and blocks on nothing else.
func (c *Controller) listenCutOff() {
	for {
		select {
		case <-c.shared.CutOff():
			c.logger().Error("builds are stopped: the server is cut off from its queue")
			c.pool.CutOff()
		case <-c.stopped:
			return
		}
	}
}

// listenNotices notifies waiters of what other servers changed, and ends the
// builds of servers that are gone. It ends with Close.
func (c *Controller) listenNotices() {
	for {
		select {
		case n := <-c.shared.Notices():
			if n.Lost {
				c.reclaimLost()
			}
			c.host.NotifyLogs(n)
			if !n.OnlyLogs() {
				c.changes.elsewhere(n)
			}
		case <-c.stopped:
			return
		}
	}
}

// reclaimLost ends the builds of servers that are gone, or goes on with them. Without a
// configuration it does neither, because it does not know which builds can go on: above all
// while [Controller.Attach] adopts those of the previous process. While it shuts down, it
// leaves them to a server that can follow them. Then, or if it fails, the queue soon reports
// again that there are some.
func (c *Controller) reclaimLost() {
	e := c.effective.Load()
	if c.ShuttingDown() {
		return
	}
	var kept []queue.Build
	lost, err := c.shared.ReclaimLost(context.Background(), time.Now(), keep(e, &kept))
	if err != nil {
		c.logger().Error("builds of servers that are gone could not be ended", zap.Error(err))
	}
	c.adopt(context.Background(), e, kept)
	var n queue.Notice
	for _, b := range lost {
		c.stats.Lost(b)
		c.host.EndLost(c.logger(), b)
		e.Spans.Ended(context.Background(), b)
		n.Items, n.Jobs = append(n.Items, b.Item.ID), append(n.Jobs, b.Item.Job)
	}
	c.changes.elsewhere(n)
}

// logBegun notifies all servers that the log of an item's build can be read.
func (c *Controller) logBegun(item int64) {
	c.changes.items.Notify(item)
	if c.shared != nil {
		c.shared.Tell(queue.Notice{Items: []int64{item}})
	}
}

// announce publishes what this server can run.
func (c *Controller) announce(ctx context.Context, e *effective) {
	if c.shared == nil {
		return
	}
	if err := c.shared.Announce(ctx, queue.Node{Name: c.opts.Node, Labels: e.Labels}, e.Executors); err != nil {
		e.Log.Warn("other servers could not be told what this one can run", zap.Error(err))
	}
}

// node returns this server, with the labels of the newest configuration.
func (c *Controller) node() queue.Node {
	return queue.Node{Name: c.opts.Node, Labels: c.effective.Load().Labels}
}

// nodes returns all servers that can run builds of the queue.
func (c *Controller) nodes() []queue.Node {
	own := c.node()
	nodes := []queue.Node{own}
	if c.shared != nil {
		for _, n := range c.shared.Nodes() {
			if n.Name != own.Name { // its announced labels can be older than the configuration
				nodes = append(nodes, n)
			}
		}
	}
	return nodes
}
