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
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/share"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/usage"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

// Entry returns the state of an item. An item of a job that the site does not
// have is [queue.ErrNotFound].
func (c *Controller) Entry(ctx context.Context, d *definition.Site, id int64) (queue.Entry, error) {
	entry, err := c.queue.Entry(ctx, time.Now(), id)
	if err != nil {
		return queue.Entry{}, fmt.Errorf("buildtoken: item: %w", err)
	}
	if !visible(d, entry) {
		return queue.Entry{}, fmt.Errorf("%w: item %d", queue.ErrNotFound, id)
	}
	entry.Blockage = entry.Blockage.Among(c.nodes())
	return entry, nil
}

// Items returns at most limit queued items of a job, earliest due first; of all
// jobs of the site if full is empty.
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
		own := slices.DeleteFunc(entries, func(e queue.Entry) bool { return !visible(d, e) })
		if all || len(own) >= limit {
			return own[:min(len(own), limit)], nil
		}
	}
}

// visible reports whether a site shows an item. It shows those of its jobs, and those that
// wait although no server has their job: no other site can show them.
func visible(d *definition.Site, e queue.Entry) bool {
	return d.Has(e.Item.Job) || e.Blockage.Reason == queue.NoServer
}

// Gone returns the lanes with queued items whose jobs no server has any more, by job. The
// items can be listed and cancelled like others until they end.
func (c *Controller) Gone(ctx context.Context) ([]queue.Lane, error) {
	lanes, err := c.queue.Gone(ctx)
	if err != nil {
		return nil, fmt.Errorf("buildtoken: jobs that are gone: %w", err)
	}
	return lanes, nil
}

// QueuedLanes returns the lanes with queued items of all jobs, those of other sites and of no
// server included, by job.
func (c *Controller) QueuedLanes(ctx context.Context) ([]queue.Lane, error) {
	lanes, err := c.queue.AllLanes(ctx)
	if err != nil {
		return nil, fmt.Errorf("buildtoken: queued lanes: %w", err)
	}
	return slices.DeleteFunc(lanes, func(l queue.Lane) bool { return l.Queued == 0 }), nil
}

// oldestItems is among how many items OldestDue looks for one that could start.
const oldestItems = 1000

// OldestDue returns when the queued item was due that has been waiting longest to start, the
// zero time if none is due. Items of disabled jobs, and of jobs that no server has, do not
// count: they wait until the configuration is changed.
func (c *Controller) OldestDue(ctx context.Context) (time.Time, error) {
	now := time.Now()
	for limit := 20; ; limit = oldestItems {
		entries, err := c.queue.Items(ctx, now, "", limit) // earliest due first
		if err != nil {
			return time.Time{}, fmt.Errorf("buildtoken: oldest item: %w", err)
		}
		for _, e := range entries {
			switch {
			case e.Item.Due.After(now):
				return time.Time{}, nil
			case e.Blockage.Reason != queue.JobDisabled && e.Blockage.Reason != queue.NoServer:
				return e.Item.Due, nil
			}
		}
		if len(entries) < limit || limit == oldestItems {
			return time.Time{}, nil
		}
	}
}

// Overviews returns the overviews of jobs, in the order of the arguments, with one read of the
// queue.
func (c *Controller) Overviews(ctx context.Context, full ...string) ([]queue.Overview, error) {
	all, err := c.queue.Overviews(ctx, full)
	if err != nil {
		return nil, fmt.Errorf("buildtoken: overviews: %w", err)
	}
	return all, nil
}

// Lanes returns the lanes of jobs, in the order of the arguments.
func (c *Controller) Lanes(ctx context.Context, full ...string) ([]queue.Lane, error) {
	lanes, err := c.queue.Lanes(ctx, full)
	if err != nil {
		return nil, fmt.Errorf("buildtoken: lanes: %w", err)
	}
	return lanes, nil
}

// Build returns a build, [queue.ErrNotFound] if it is not on record.
func (c *Controller) Build(ctx context.Context, full string, number int64) (queue.Build, error) {
	b, err := c.queue.Build(ctx, full, number)
	if err != nil {
		return queue.Build{}, fmt.Errorf("buildtoken: build: %w", err)
	}
	return b, nil
}

// TypedPassword reports whether a stored password is neither empty nor the default of its
// parameter, so that a build with the same password needs it from the caller. A password
// that cannot be opened is one.
func (c *Controller) TypedPassword(j *job.Job, stored queue.Value) bool {
	if vault.IsEmpty(stored) {
		return false
	}
	opened, err := c.vault.Open(j.FullName, []queue.Value{stored})
	if err != nil {
		return true
	}
	return !slices.ContainsFunc(j.Params, func(p job.Param) bool {
		return p.Name == stored.Name && p.Default == opened[0].Text
	})
}

// Builds returns at most limit builds of a job with numbers below before,
// highest first. before 0 means all builds.
func (c *Controller) Builds(ctx context.Context, full string, before int64, limit int) ([]queue.Build, error) {
	builds, err := c.queue.Builds(ctx, full, before, limit)
	if err != nil {
		return nil, fmt.Errorf("buildtoken: builds: %w", err)
	}
	return builds, nil
}

// NeverRuns reports why no server that is there runs the builds of a lane. The reason is
// "" if one does.
func (c *Controller) NeverRuns(l queue.Lane) queue.Blockage {
	_, b := l.Explain(time.Now(), queue.Item{})
	if b = b.Among(c.nodes()); b.Reason == queue.NoNode || b.Reason == queue.NoServer {
		return b
	}
	return queue.Blockage{}
}

// Cancel takes a queued item out of the queue. by names the person or token
// that cancels it, as "user alice"; it is kept with the item. A started or
// cancelled item is [queue.ErrLeft].
func (c *Controller) Cancel(ctx context.Context, full string, id int64, by string) error {
	entry, err := c.queue.Entry(ctx, time.Now(), id)
	if err != nil {
		return fmt.Errorf("buildtoken: cancel: %w", err)
	}
	// Not given up with ctx: waiters must be notified, and uploads removed, even
	// if the caller is gone.
	now := time.Now()
	if err := c.queue.Cancel(context.WithoutCancel(ctx), now, full, id, by); err != nil {
		return fmt.Errorf("buildtoken: cancel: %w", err)
	}
	c.effective.Load().Spans.Cancelled(ctx, entry.Item, now)
	c.changes.any.Notify()
	c.changes.items.Notify(id)
	c.host.RemoveUploads(entry.Item.Values)
	return nil
}

// StopBuild requests that a running build be stopped, and returns once the
// request is on record; the build ends soon after. A build that has ended is
// [queue.ErrNotRunning].
func (c *Controller) StopBuild(ctx context.Context, full string, number int64, by string) error {
	if err := c.queue.Abort(ctx, full, number, by); err != nil {
		return fmt.Errorf("buildtoken: stop: %w", err)
	}
	c.changes.any.Notify()
	c.changes.builds.Notify(full)
	return nil
}

// OldestBuild returns the lowest number among the builds of a job that are on
// record, [queue.ErrNotFound] if there are none.
func (c *Controller) OldestBuild(ctx context.Context, full string) (int64, error) {
	number, err := c.queue.Oldest(ctx, full)
	if err != nil {
		return 0, fmt.Errorf("buildtoken: oldest build: %w", err)
	}
	return number, nil
}

// Log opens the console log of a build, whichever server runs or ran it;
// [queue.ErrNotFound] if there is none. Offsets are the same on every server.
// The caller must close the reader.
func (c *Controller) Log(ctx context.Context, full string, number int64) (*console.Reader, error) {
	here := c.changes.here(full, number)
	if here != nil {
		b, err := c.queue.Build(ctx, full, number)
		switch {
		case errors.Is(err, queue.ErrNotFound):
			return nil, fmt.Errorf("buildtoken: log: %w", err)
		case err == nil && (b.Item.ID != here.Item.ID || b.Node != here.Node):
			here = nil // a shared queue was set back, and the number is that of another build
		}
	}
	r, err := c.host.OpenLog(ctx, full, number, here != nil)
	if errors.Is(err, console.ErrNotFound) && here == nil {
		// A shared queue has the log of each build that has ended in it. Those of earlier builds are files of this server.
		b, buildErr := c.queue.Build(ctx, full, number)
		switch {
		case buildErr != nil:
			err = buildErr
		case !b.Running():
			r, err = c.host.OpenLog(ctx, full, number, true)
		}
	}
	if errors.Is(err, console.ErrNotFound) || errors.Is(err, queue.ErrNotFound) {
		return nil, fmt.Errorf("%w: log of %s #%d", queue.ErrNotFound, full, number)
	}
	if err != nil {
		return nil, fmt.Errorf("buildtoken: log: %w", err)
	}
	return r, nil
}

// HoldFiles keeps the logs and uploads that exist until release is called, for a backup: a
// copy of the queue that is made meanwhile refers only to files that are there.
func (c *Controller) HoldFiles() (release func()) { return c.host.Hold() }

// LastPoll returns when this server last polled the job and what it found,
// [queue.ErrNotFound] if it has not.
func (c *Controller) LastPoll(full string) (build.Poll, error) {
	p, err := c.host.LastPoll(full)
	if err != nil {
		return build.Poll{}, fmt.Errorf("buildtoken: %w", err)
	}
	return p, nil
}

// PollLog returns the log of the job's last poll, [queue.ErrNotFound] if there
// was none.
func (c *Controller) PollLog(full string) ([]byte, error) {
	log, err := c.host.PollLog(full)
	if err != nil {
		return nil, fmt.Errorf("buildtoken: %w", err)
	}
	return log, nil
}

// SharedItem returns the item that a share link shows. A link that is malformed, forged or
// expired, or whose token is gone, changed, expired or without the grant, is
// [queue.ErrNotFound], as is one to an item that is no longer kept. The queue is read
// only for valid links.
func (c *Controller) SharedItem(ctx context.Context, d *definition.Site, id string) (queue.Entry, error) {
	notFound := fmt.Errorf("%w: share link", queue.ErrNotFound)
	link, ok := share.Read(id)
	if !ok {
		return queue.Entry{}, notFound
	}
	tokens := token.Set{}
	if j, ok := d.Jobs()[link.Job]; ok {
		tokens = j.Tokens
	}
	if !link.Valid(time.Now(), c.vault, tokens) {
		return queue.Entry{}, notFound
	}
	entry, err := c.Entry(ctx, d, link.Item)
	if err == nil && entry.Item.Job != link.Job {
		err = notFound
	}
	if err != nil {
		return queue.Entry{}, err
	}
	return entry, nil
}

// TokenUse is a token of the configuration, or one that was used under an earlier one, and
// how it was used on all servers.
type TokenUse struct {
	usage.Use
	// Removed reports whether the configuration does not have the token any more.
	Removed bool
}

// Tokens returns the tokens of the newest configuration, and those of earlier ones that were
// used within [queue.KeepTokenUses], by place and name.
func (c *Controller) Tokens(ctx context.Context) ([]TokenUse, error) {
	type key struct{ place, name string }
	all := map[key]*TokenUse{}
	for _, j := range c.effective.Load().jobs {
		for t := range j.Tokens.All() {
			place := j.Place(t)
			t.Digest, t.Level = token.Digest{}, 0
			all[key{place, t.Name}] = &TokenUse{Use: usage.Use{TokenUse: queue.TokenUse{Place: place, Name: t.Name}, Token: t}}
		}
	}
	used := c.usage.All()
	if c.shared != nil {
		saved, err := c.queue.TokenUses(ctx)
		if err != nil {
			return nil, fmt.Errorf("buildtoken: uses of tokens: %w", err)
		}
		for _, u := range saved {
			if u.Elsewhere {
				used = append(used, usage.Use{TokenUse: u, Token: token.Token{Name: u.Name}})
			}
		}
	}
	for _, u := range used {
		at := key{u.Place, u.Name}
		one := all[at]
		if one == nil {
			one = &TokenUse{Use: usage.Use{TokenUse: queue.TokenUse{Place: u.Place, Name: u.Name}, Token: u.Token}, Removed: true}
			all[at] = one
		}
		one.Add(u.TokenUse)
	}
	var sorted []TokenUse
	for _, one := range all {
		sorted = append(sorted, *one)
	}
	slices.SortFunc(sorted, func(a, b TokenUse) int { return queue.CompareTokenUses(a.TokenUse, b.TokenUse) })
	return sorted, nil
}

// TokenUses returns how tokens were used on this server, in no order.
func (c *Controller) TokenUses() []usage.Use { return c.usage.All() }

// saveUsesEvery is the shortest time between two saves of the uses of tokens.
const saveUsesEvery = time.Minute

// keepUses saves the uses of tokens. It ends with Close, which saves the last ones.
func (c *Controller) keepUses() {
	for {
		select {
		case <-c.usage.Changed():
		case <-c.stopped:
			return
		}
		c.saveUses()
		select {
		case <-time.After(saveUsesEvery):
		case <-c.stopped: // the loop ends above
		}
	}
}

func (c *Controller) saveUses() {
	err := c.usage.Save(func(uses []queue.TokenUse) error {
		return c.queue.SaveTokenUses(context.Background(), time.Now(), uses)
	})
	if err != nil {
		c.logger().Warn("uses of tokens could not be saved; trying again", zap.Error(err))
	}
}
