package buildtoken

import (
	"context"
	"fmt"
)

// OldestBuild is the lowest number among the builds of a job that are on
// record, queue.ErrNotFound if there are none.
func (c *Controller) OldestBuild(ctx context.Context, full string) (int64, error) {
	number, err := c.queue.Oldest(ctx, full)
	if err != nil {
		return 0, fmt.Errorf("buildtoken: oldest build: %w", err)
	}
	return number, nil
}
