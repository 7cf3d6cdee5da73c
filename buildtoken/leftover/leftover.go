// Package leftover removes what is kept of jobs that no server's configuration has any more:
// their records in the queue, and their logs and workspaces on this server.
package leftover

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Queue is what a [Pruner] needs of a queue. Its contract is that of package queuetest.
type Queue interface {
	AllLanes(ctx context.Context) ([]queue.Lane, error)
	Forget(ctx context.Context, job string) error
}

// Options configure a [Pruner]. All are required.
type Options struct {
	// Queue has the records, Dir the files.
	Queue Queue
	Dir   string
	// Jobs returns the full names of the jobs of the configuration in force. While Lock is
	// held, no other configuration comes into force.
	Jobs func() iter.Seq[string]
	Lock sync.Locker
	// Keep returns how long [Pruner.Run] keeps leftovers; 0 means forever.
	Keep func() time.Duration
	// Log returns the logger to use now. It is called for each message, because a Pruner
	// lives longer than a configuration.
	Log func() *zap.Logger
}

// Pruner finds and removes leftovers. Its methods are safe for concurrent use.
type Pruner struct {
	opts Options
	// soon has room for one notice that a configuration came into force.
	soon chan struct{}
}

// New returns a Pruner. It deletes the files that an earlier process was about to delete.
func New(opts Options) *Pruner {
	sweep(opts.Dir)
	return &Pruner{opts: opts, soon: make(chan struct{}, 1)}
}

// Leftover is what is kept of a job that no server's configuration has.
type Leftover struct {
	// Job is the full name; "" if only files are there, whose job is not on record.
	Job string
	// Element names the job's directories; see [job.PathElement].
	Element string
	// Gone is the latest time at which the job's queued items end. It is zero if the job is
	// not on record.
	Gone time.Time
	// Builds is the number of its builds on record, Queued and Running those that it
	// still has. With these, nothing is removed.
	Builds, Queued, Running int
	// Paths are the directories and files of the job below the data directory.
	Paths []string
	// Files and Bytes count what is in them.
	Files int
	Bytes int64
}

// InUse reports whether the job still has something to do.
func (l *Leftover) InUse() bool { return l.Queued > 0 || l.Running > 0 }

// All returns what is kept of jobs that no server's configuration has, by name: records, and
// the files of this server.
func (p *Pruner) All(ctx context.Context) ([]Leftover, error) {
	lanes, err := p.opts.Queue.AllLanes(ctx)
	if err != nil {
		return nil, fmt.Errorf("leftover: %w", err)
	}
	inForce := map[string]bool{}
	for full := range p.opts.Jobs() {
		inForce[job.PathElement(full)] = true
	}
	gone, bare := map[string]*Leftover{}, map[string]bool{}
	for _, l := range lanes {
		element := job.PathElement(l.Job)
		if l.GoneUntil.IsZero() {
			inForce[element] = true // maybe of another server
			continue
		}
		gone[element] = &Leftover{Job: l.Job, Element: element, Gone: l.GoneUntil, Builds: l.Kept, Queued: l.Queued, Running: len(l.Running)}
		bare[element] = !l.HasRecords() && !gone[element].InUse()
	}
	if err := addFiles(ctx, p.opts.Dir, inForce, gone); err != nil {
		return nil, err
	}
	var all []Leftover
	for _, element := range slices.Sorted(maps.Keys(gone)) {
		l := gone[element]
		if nothing := bare[element] && len(l.Paths) == 0; !nothing && !inForce[element] {
			all = append(all, *l)
		}
	}
	return all, nil
}

// Prune removes leftovers and returns those that it removed: the records of jobs that were
// gone before an instant, and what this server has of their logs and workspaces; with a zero
// instant all leftovers. It leaves jobs that have queued items or running builds. Build
// numbers stay used.
func (p *Pruner) Prune(ctx context.Context, before time.Time) (removed []Leftover, err error) {
	all, err := p.All(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, l := range all {
		if l.InUse() || !before.IsZero() && (l.Gone.IsZero() || !l.Gone.Before(before)) {
			continue
		}
		err := p.prune(ctx, l)
		if errors.Is(err, queue.ErrInUse) {
			continue // it came back meanwhile
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, l)
		p.opts.Log().Info("removed what was left of a job", zap.String("job", l.Job), zap.String("files", l.Element),
			zap.Int("builds", l.Builds), zap.Int64("bytes", l.Bytes))
	}
	return removed, errors.Join(errs...)
}

func (p *Pruner) prune(ctx context.Context, l Leftover) error {
	remove, err := p.takeAway(ctx, l)
	if remove != nil {
		err = errors.Join(err, remove())
	}
	if err != nil {
		return fmt.Errorf("leftover: prune %s: %w", l.Element, err)
	}
	return nil
}

// takeAway drops the records of a job and moves its files out of the way, so that a build of
// the job that starts now has new ones. It returns a function that deletes them.
func (p *Pruner) takeAway(ctx context.Context, l Leftover) (remove func() error, err error) {
	p.opts.Lock.Lock()
	defer p.opts.Lock.Unlock()
	for full := range p.opts.Jobs() {
		if job.PathElement(full) == l.Element {
			return nil, queue.ErrInUse
		}
	}
	if l.Job != "" {
		if err := p.opts.Queue.Forget(ctx, l.Job); err != nil {
			return nil, err
		}
	}
	return moveAway(p.opts.Dir, l.Paths)
}

// longestSleep bounds how long Run relies on what it read: another server may have removed a
// job since.
const longestSleep = 24 * time.Hour

// Configured notifies [Pruner.Run] of a new configuration.
func (p *Pruner) Configured() {
	select {
	case p.soon <- struct{}{}:
	default: // it is about to look
	}
}

// Run removes leftovers once they have been kept for long enough. It returns when stop is
// closed.
func (p *Pruner) Run(stop <-chan struct{}) {
	timer := time.NewTimer(longestSleep)
	defer timer.Stop()
	for {
		select {
		case <-stop:
			return
		case <-p.soon:
		case <-timer.C:
		}
		timer.Reset(p.pruneDue(context.Background(), time.Now()))
	}
}

// pruneDue removes what is due, and returns after how long to look again.
func (p *Pruner) pruneDue(ctx context.Context, now time.Time) (wait time.Duration) {
	keep := p.opts.Keep()
	if keep <= 0 {
		return longestSleep
	}
	if _, err := p.Prune(ctx, now.Add(-keep)); err != nil {
		p.opts.Log().Warn("what is left of removed jobs could not be removed", zap.Error(err))
		return time.Hour
	}
	lanes, err := p.opts.Queue.AllLanes(ctx)
	if err != nil {
		return time.Hour
	}
	wait = longestSleep
	for _, l := range lanes {
		if !l.GoneUntil.IsZero() && l.HasRecords() {
			wait = min(wait, max(l.GoneUntil.Add(keep).Sub(now)+time.Second, time.Minute))
		}
	}
	return wait
}
