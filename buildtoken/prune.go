package buildtoken

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/build"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Leftover is what is kept of a job that no server's configuration has.
type Leftover struct {
	// Job is the full name; "" if only files are there, whose job is not on record.
	Job string
	// Element names the job's directories.
	Element string
	// Gone is when the job's queued items ended or end at the latest; see
	// [Config.OrphanTimeout]. It is zero if the job is not on record.
	Gone time.Time
	// Builds is the number of its builds on record, Queued and Running those that it
	// still has. With these, nothing is removed.
	Builds, Queued, Running int
	build.Usage
}

// InUse reports whether the job still has something to do.
func (l *Leftover) InUse() bool { return l.Queued > 0 || l.Running > 0 }

// Leftovers returns what is kept of jobs that no server's configuration has, by name:
// records, and the files of this server.
func (c *Controller) Leftovers(ctx context.Context) ([]Leftover, error) {
	lanes, err := c.queue.History(ctx)
	if err != nil {
		return nil, fmt.Errorf("buildtoken: leftovers: %w", err)
	}
	inForce := map[string]bool{}
	for full := range c.effective.Load().jobs {
		inForce[job.PathElement(full)] = true
	}
	gone := map[string]*Leftover{}
	for _, l := range lanes {
		element := job.PathElement(l.Job)
		if l.GoneUntil.IsZero() {
			inForce[element] = true // maybe of another server
			continue
		}
		gone[element] = &Leftover{Job: l.Job, Element: element, Gone: l.GoneUntil, Builds: l.Kept, Queued: l.Queued, Running: len(l.Running)}
		if !l.HasRecords() && !gone[element].InUse() {
			gone[element].Builds = -1 // only if there are files
		}
	}
	usages, err := c.host.Usages(ctx, func(element string) bool { return inForce[element] })
	if err != nil {
		return nil, fmt.Errorf("buildtoken: leftovers: %w", err)
	}
	for element, usage := range usages {
		if gone[element] == nil {
			gone[element] = &Leftover{Element: element}
		}
		gone[element].Builds = max(gone[element].Builds, 0)
		gone[element].Usage = usage
	}
	var all []Leftover
	for _, element := range slices.Sorted(maps.Keys(gone)) {
		if l := gone[element]; l.Builds >= 0 && !inForce[element] {
			all = append(all, *l)
		}
	}
	return all, nil
}

// Prune removes leftovers and returns those that it removed: the records of jobs that were
// gone before an instant, and what this server has of their logs and workspaces; with a zero
// instant all leftovers. It leaves jobs that have queued items or running builds. Build
// numbers stay used.
func (c *Controller) Prune(ctx context.Context, before time.Time) (removed []Leftover, err error) {
	all, err := c.Leftovers(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, l := range all {
		if l.InUse() || !before.IsZero() && !l.Gone.Before(before) || !before.IsZero() && l.Gone.IsZero() {
			continue
		}
		err := c.prune(ctx, l)
		if errors.Is(err, queue.ErrInUse) {
			continue // it came back meanwhile
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, l)
		c.logger().Info("removed what was left of a job", zap.String("job", l.Job), zap.String("files", l.Element),
			zap.Int("builds", l.Builds), zap.Int64("bytes", l.Bytes))
	}
	return removed, errors.Join(errs...)
}

func (c *Controller) prune(ctx context.Context, l Leftover) error {
	remove, err := c.takeAway(ctx, l)
	if remove != nil {
		err = errors.Join(err, remove())
	}
	if err != nil {
		return fmt.Errorf("buildtoken: prune %s: %w", l.Element, err)
	}
	return nil
}

// takeAway drops the records of a job and moves its files out of the way. No configuration
// comes into force meanwhile that may have the job.
func (c *Controller) takeAway(ctx context.Context, l Leftover) (remove func() error, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for full := range c.effective.Load().jobs {
		if job.PathElement(full) == l.Element {
			return nil, queue.ErrInUse
		}
	}
	if l.Job != "" {
		if err := c.queue.Forget(ctx, l.Job); err != nil {
			return nil, err
		}
	}
	return c.host.TakeAway(l.Usage)
}

// longestPruneSleep bounds how long the retention of removed jobs relies on what it read:
// another server may have removed a job since.
const longestPruneSleep = 24 * time.Hour

// pruneRemoved removes what is left of jobs once they have been gone for
// [Config.KeepRemoved]. Close ends it.
func (c *Controller) pruneRemoved() {
	timer := time.NewTimer(longestPruneSleep)
	defer timer.Stop()
	for {
		select {
		case <-c.stopped:
			return
		case <-c.pruneSoon:
		case <-timer.C:
		}
		timer.Reset(c.pruneDue(context.Background(), time.Now()))
	}
}

// pruneDue removes what is due, and returns after how long to look again.
func (c *Controller) pruneDue(ctx context.Context, now time.Time) (wait time.Duration) {
	e := c.effective.Load()
	if e.KeepRemoved <= 0 || e.detached {
		return longestPruneSleep
	}
	if _, err := c.Prune(ctx, now.Add(-e.KeepRemoved)); err != nil {
		e.Log.Warn("what is left of removed jobs could not be removed", zap.Error(err))
		return time.Hour
	}
	lanes, err := c.queue.History(ctx)
	if err != nil {
		return time.Hour
	}
	wait = longestPruneSleep
	for _, l := range lanes {
		if !l.GoneUntil.IsZero() && l.HasRecords() {
			wait = min(wait, max(l.GoneUntil.Add(e.KeepRemoved).Sub(now)+time.Second, time.Minute))
		}
	}
	return wait
}
