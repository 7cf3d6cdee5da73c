package buildtoken

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// cluster is a queue that several servers have open at once. One that isn't is
// that of this server alone.
type cluster interface {
	// CutOff has a value when the builds of this server must be stopped, because
	// others may take them for lost.
	CutOff() <-chan struct{}
	// Notices say what other servers have changed.
	Notices() <-chan queue.Notice
	// Announce tells the others what this server can run, and Nodes are those
	// that have told it and live.
	Announce(ctx context.Context, node queue.Node, executors int) error
	Nodes() []queue.Node
	// ReclaimLost ends the builds of servers that are gone.
	ReclaimLost(ctx context.Context, now time.Time) ([]queue.Build, error)
}

// hearCuts stops the builds of this server when others may take them for lost. It
// ends with Close, and waits for nothing else.
func (c *Controller) hearCuts() {
	for {
		select {
		case <-c.others.CutOff():
			c.logger().Error("builds are stopped: the server is cut off from its queue")
			c.pool.CutOff()
		case <-c.stopped:
			return
		}
	}
}

// hearOthers tells those who watch what other servers have changed, and ends the
// builds of those that are gone. It ends with Close.
func (c *Controller) hearOthers() {
	for {
		select {
		case n := <-c.others.Notices():
			if n.Lost {
				c.reclaimLost()
			}
			c.logs.hear(n)
			if !n.OnlyLogs() {
				c.queue.hear(n)
			}
		case <-c.stopped:
			return
		}
	}
}

// reclaimLost ends the builds of servers that are gone. If that does not work, the queue
// says soon that there still are some.
func (c *Controller) reclaimLost() {
	lost, err := c.others.ReclaimLost(context.Background(), time.Now())
	if err != nil {
		c.logger().Error("builds of servers that are gone could not be ended", zap.Error(err))
	}
	var n queue.Notice
	for _, b := range lost {
		c.closeLost(c.logger(), b)
		n.Items, n.Jobs = append(n.Items, b.Item.ID), append(n.Jobs, b.Item.Job)
	}
	c.queue.hear(n)
}

// announce tells other servers what this one can run.
func (c *Controller) announce(ctx context.Context, e *effective) {
	if c.others == nil {
		return
	}
	if err := c.others.Announce(ctx, queue.Node{Name: c.opts.Node, Labels: e.Labels}, e.Executors); err != nil {
		e.Log.Warn("other servers could not be told what this one can run", zap.Error(err))
	}
}

// node is this server, as the newest configuration has it.
func (c *Controller) node() queue.Node {
	return queue.Node{Name: c.opts.Node, Labels: c.effective.Load().Labels}
}

// nodes are all that may run builds of the queue.
func (c *Controller) nodes() []queue.Node {
	own := c.node()
	nodes := []queue.Node{own}
	if c.others != nil {
		for _, n := range c.others.Nodes() {
			if n.Name != own.Name { // of its own labels it knows best
				nodes = append(nodes, n)
			}
		}
	}
	return nodes
}
