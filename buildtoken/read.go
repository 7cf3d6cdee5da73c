package buildtoken

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// Opens checks a token for something else than a trigger: status, log or
// cancel. It answers what [Controller.Trigger] answers to a wrong token, and
// [ErrNotGranted] if the token does not open this.
func (c *Controller) Opens(ctx context.Context, d *definition.Site, given string, by definition.Caller, need token.Grant) (full string, t token.Token, err error) {
	now := time.Now()
	j, err := d.Find(given)
	if err != nil || j.Tokens.Len() == 0 {
		_, _ = token.Set{}.Check(now, by.Secret) // the same work as for a job that exists
		if err == nil {
			err = fmt.Errorf("%w: no token opens %s", definition.ErrUnknownJob, j.FullName)
		}
		return "", token.Token{}, err
	}
	t, _, err = c.authorize(ctx, now, d, j, by, need)
	if err != nil {
		return "", token.Token{}, err
	}
	return j.FullName, t, nil
}

// Name is that of this server, as records of its builds have it.
func (c *Controller) Name() string { return c.opts.Node }

// Executors is how many builds run at once on this server.
func (c *Controller) Executors() int { return c.effective.Load().Executors }

// ShuttingDown says that no triggers are taken any more.
func (c *Controller) ShuttingDown() bool { return c.effective.Load().detached }

// Entry says where an item is. An item of a job that the site does not have
// is queue.ErrNotFound.
func (c *Controller) Entry(ctx context.Context, d *definition.Site, id int64) (queue.Entry, error) {
	entry, err := c.queue.Entry(ctx, time.Now(), id)
	if err != nil {
		return queue.Entry{}, fmt.Errorf("buildtoken: item: %w", err)
	}
	if !d.Has(entry.Item.Job) {
		return queue.Entry{}, fmt.Errorf("%w: item %d", queue.ErrNotFound, id)
	}
	entry.Blockage = entry.Blockage.Among(c.nodes())
	return entry, nil
}

// Items lists queued items, due first, at most limit; full restricts them to
// one job, "" means all jobs of the site.
func (c *Controller) Items(ctx context.Context, d *definition.Site, full string, limit int) ([]queue.Entry, error) {
	limit = max(limit, 0)
	now := time.Now()
	for ask := limit; ; ask *= 4 {
		entries, err := c.queue.Items(ctx, now, full, ask)
		if err != nil {
			return nil, fmt.Errorf("buildtoken: queue: %w", err)
		}
		// Other sites may have filled the front of the queue.
		all := len(entries) < ask
		for i := range entries {
			entries[i].Blockage = entries[i].Blockage.Among(c.nodes())
		}
		own := slices.DeleteFunc(entries, func(e queue.Entry) bool { return !d.Has(e.Item.Job) })
		if all || len(own) >= limit {
			return own[:min(len(own), limit)], nil
		}
	}
}

// Lanes are the heads of the queues of jobs, in the order asked for.
func (c *Controller) Lanes(ctx context.Context, full ...string) ([]queue.Lane, error) {
	lanes, err := c.queue.Lanes(ctx, full)
	if err != nil {
		return nil, fmt.Errorf("buildtoken: lanes: %w", err)
	}
	return lanes, nil
}

// Build returns a build, queue.ErrNotFound if it is not on record.
func (c *Controller) Build(ctx context.Context, full string, number int64) (queue.Build, error) {
	b, err := c.queue.Build(ctx, full, number)
	if err != nil {
		return queue.Build{}, fmt.Errorf("buildtoken: build: %w", err)
	}
	return b, nil
}

// Builds lists the builds of a job with numbers below before (0: all),
// highest first, at most limit.
func (c *Controller) Builds(ctx context.Context, full string, before int64, limit int) ([]queue.Build, error) {
	builds, err := c.queue.Builds(ctx, full, before, limit)
	if err != nil {
		return nil, fmt.Errorf("buildtoken: builds: %w", err)
	}
	return builds, nil
}

// Cancel takes a queued item out of the queue. by says who asked, as "user
// alice"; it is kept with the item. A started or cancelled one is queue.ErrLeft.
func (c *Controller) Cancel(ctx context.Context, full string, id int64, by string) error {
	entry, err := c.queue.Entry(ctx, time.Now(), id)
	if err != nil {
		return fmt.Errorf("buildtoken: cancel: %w", err)
	}
	if hasFiles(entry.Item.Values) {
		ctx = context.WithoutCancel(ctx) // who gives up does not learn whether the files are still needed
	}
	if err := c.queue.Cancel(ctx, time.Now(), full, id, by); err != nil {
		return fmt.Errorf("buildtoken: cancel: %w", err)
	}
	for _, v := range entry.Item.Values {
		if v.Ref != "" {
			c.uploads.removeRef(v.Ref)
		}
	}
	return nil
}

// StopBuild asks for a running build to be stopped, and returns once the wish
// is on record; the build ends soon after. One that has ended is queue.ErrNotRunning.
func (c *Controller) StopBuild(ctx context.Context, full string, number int64, by string) error {
	if err := c.queue.Abort(ctx, full, number, by); err != nil {
		return fmt.Errorf("buildtoken: stop: %w", err)
	}
	return nil
}
