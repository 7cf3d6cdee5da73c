package buildtoken

import (
	"context"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Fire does what the timer does when the first schedule of a job is due.
func Fire(ctx context.Context, c *Controller, full string, minute time.Time) error {
	j := c.effective.Load().jobs[full]
	return c.fire(ctx, j, j.Schedules[0], minute, false)
}

// Nodes returns the servers that this one can see.
func Nodes(c *Controller) []queue.Node { return c.nodes() }
