package buildtoken

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/timer"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// schedule queues the build of a trigger, unless an earlier trigger with the
// same idempotency key has queued it, and completes out.
func (c *Controller) schedule(ctx context.Context, now time.Time, t *Trigger, a *definition.Admission, out *Outcome) error {
	j, values := a.Job, a.Values
	r := queue.Request{Job: j.FullName, Digest: c.vault.Digest(values), Delay: a.Delay, Cause: a.Cause, Root: t.Root, Trace: t.Trace, Solo: j.Coalesce == job.Never}
	if t.IdempotencyKey != nil {
		once := c.vault.DigestIdempotencyKey(*t.IdempotencyKey, clientOf(t, a.Token)...)
		r.Key, r.AnyValues = &once, t.Webhook != ""
	}
	if hasFiles(values) {
		r.Solo = true // contents are not compared, so an item with files is never joined
		open := func(parameter string) (io.ReadCloser, error) { return t.Files[parameter].Open() }
		sums, err := c.host.StoreFiles(ctx, values, open, r.Key != nil)
		if err != nil {
			c.host.DropFiles(ctx, values, nil) // no item refers to them yet
			return fmt.Errorf("%w: %w", ErrUpload, err)
		}
		if r.Key != nil {
			r.Digest = c.vault.DigestWithFiles(r.Digest, sums) // a repeated trigger must bring the same files
		}
		// If the caller gives up, it stays unknown whether there is an item, which needs its files.
		ctx = context.WithoutCancel(ctx)
	}
	r.Values = c.vault.Seal(j.FullName, values)
	it, created, err := c.enqueue(ctx, now, r)
	if errors.Is(err, queue.ErrClosed) {
		err = fmt.Errorf("%w: %w", ErrShuttingDown, err)
	}
	if err != nil {
		c.host.DropFiles(ctx, values, err)
		var repeated *queue.RepeatedError
		if errors.As(err, &repeated) {
			first := repeated.Receipt
			out.Item, out.Created, out.Repeated = queue.Item{ID: first.Item, Job: j.FullName}, first.Created, true
			return nil
		}
		return fmt.Errorf("buildtoken: schedule %s: %w", j.FullName, err)
	}
	out.Item, out.Created = it, created
	return nil
}

// clientOf identifies the owner of an idempotency key: the webhook, the token
// that was shown, or else the user.
func clientOf(t *Trigger, opened token.Token) []string {
	if t.Webhook != "" {
		return []string{"webhook", t.Webhook}
	}
	if t.Presented {
		return []string{"token", strconv.Itoa(opened.Level), opened.Name}
	}
	return []string{"user", t.User}
}

// enqueue queues a build and notifies waiters.
func (c *Controller) enqueue(ctx context.Context, now time.Time, r queue.Request) (queue.Item, bool, error) {
	it, created, err := c.queue.Schedule(ctx, now, r)
	if err == nil {
		c.changes.any.Notify()
	}
	return it, created, err
}

// hasFiles reports whether some value is a file.
func hasFiles(values []job.Value) bool {
	return slices.ContainsFunc(values, func(v job.Value) bool { return v.Kind == job.KindFile })
}

// looked counts a poll, and notifies the pages that show it.
func (c *Controller) looked(full, outcome string) {
	c.stats.Polled(full, outcome)
	c.changes.any.Notify()
}

// scheduleChange queues a build because a poll found changes: with default
// parameters, the job's quiet period, and one cause for all changes.
func (c *Controller) scheduleChange(ctx context.Context, full, root string) error {
	j := c.pollable(full)
	if j == nil {
		return fmt.Errorf("%w: %s", definition.ErrUnknownJob, full)
	}
	values, err := j.Values(nil, nil)
	if err != nil {
		return fmt.Errorf("buildtoken: default parameters: %w", err)
	}
	it, created, err := c.enqueue(ctx, time.Now(), queue.Request{
		Job: full, Digest: c.vault.Digest(values), Values: c.vault.Seal(full, values),
		Delay: *j.Settings.QuietPeriod, Cause: queue.Cause{Kind: queue.CauseSCM}, Root: root,
		Solo: j.Coalesce == job.Never,
	})
	c.auditQueued("change", "poll", full, it.ID, created, err)
	if err != nil {
		return fmt.Errorf("buildtoken: schedule: %w", err)
	}
	c.stats.Queued(full, created)
	return nil
}

// timed returns the schedules of a configuration as entries of the timer.
func (c *Controller) timed(e *effective) []timer.Entry {
	var all []timer.Entry
	for full, j := range e.jobs {
		for _, s := range j.Schedules {
			id := strings.Join(append(identity(s.Spec), full, strconv.FormatBool(s.Spec.Poll)), "\x00")
			all = append(all, timer.Entry{
				ID: id, Schedule: s.Schedule, CatchUp: s.Spec.CatchUp,
				Fire: func(ctx context.Context, minute time.Time, missed bool) error {
					err := c.fire(ctx, j, s, minute, missed)
					if err != nil {
						c.logger().Error("schedule could not start a build", zap.String("job", full), zap.String("schedule", s.Spec.Spec),
							zap.Time("due", minute), zap.Error(err))
					}
					return err
				},
			})
		}
	}
	return all
}

// identity returns what distinguishes the builds of a schedule from those of the other
// schedules of the job: its times, and the parameters that it sets.
func identity(s definition.ScheduleSpec) []string {
	parts := []string{s.Spec, s.Zone}
	for _, name := range slices.Sorted(maps.Keys(s.Params)) {
		parts = append(parts, name, s.Params[name])
	}
	return parts
}

// fire starts a build or a poll because a schedule is due. The receipt of the schedule
// and the minute keeps several servers, and restarts, from starting it twice.
func (c *Controller) fire(ctx context.Context, j *definition.Compiled, s definition.Schedule, minute time.Time, missed bool) error {
	if j.Disabled || c.effective.Load().detached {
		return nil
	}
	if missed {
		if ran, err := c.ranByTimer(ctx, j.FullName); err != nil || !ran {
			return err
		}
	}
	if s.Spec.Poll {
		here, err := c.pollsHere(ctx, j)
		if here {
			c.polls.Request(j.FullName, j.URL) // which refuses only while the server shuts down
		}
		return err
	}
	once := c.vault.DigestIdempotencyKey(strconv.FormatInt(minute.Unix(), 10), append([]string{"schedule"}, identity(s.Spec)...)...)
	it, created, err := c.enqueue(ctx, time.Now(), queue.Request{
		Job: j.FullName, Digest: c.vault.Digest(s.Values), Values: c.vault.Seal(j.FullName, s.Values),
		Cause: queue.Cause{Kind: queue.CauseTimer}, Root: j.URL, Solo: j.Coalesce == job.Never,
		Key: &once, AnyValues: true,
	})
	if _, repeated := errors.AsType[*queue.RepeatedError](err); repeated {
		return nil
	}
	c.auditQueued("schedule", "timer", j.FullName, it.ID, created, err)
	if err != nil {
		return fmt.Errorf("buildtoken: schedule %s: %w", j.FullName, err)
	}
	c.logger().Debug("schedule is due", zap.String("job", j.FullName), zap.Time("due", minute), zap.Int64("item", it.ID), zap.Bool("created", created))
	return nil
}

// pollsHere reports whether this server is the one that polls a job by its schedules. That
// is the one that ran the last build, because a poll looks at the workspace that a build
// has left; if that server is gone, the first by name that can run the job's builds.
func (c *Controller) pollsHere(ctx context.Context, j *definition.Compiled) (bool, error) {
	if c.shared == nil {
		return true, nil
	}
	label := ""
	if j.Settings.Label != nil {
		label = *j.Settings.Label
	}
	var able []string
	for _, n := range c.nodes() {
		if n.Has(label) {
			able = append(able, n.Name)
		}
	}
	builds, err := c.queue.Builds(ctx, j.FullName, 0, 1)
	switch {
	case err != nil:
		return false, fmt.Errorf("buildtoken: last build of %s: %w", j.FullName, err)
	case len(builds) > 0 && slices.Contains(able, builds[0].Node):
		return builds[0].Node == c.opts.Node, nil
	}
	return len(able) > 0 && slices.Min(able) == c.opts.Node, nil
}

// ranByTimer reports whether a schedule has started a build of the job before, as far as
// builds are kept. A schedule that is new has not missed anything.
func (c *Controller) ranByTimer(ctx context.Context, full string) (bool, error) {
	const recent = 100
	builds, err := c.queue.Builds(ctx, full, 0, recent)
	if err != nil {
		return false, fmt.Errorf("buildtoken: builds of %s: %w", full, err)
	}
	return slices.ContainsFunc(builds, func(b queue.Build) bool {
		return slices.ContainsFunc(b.Item.Causes, func(c queue.Cause) bool { return c.Kind == queue.CauseTimer })
	}), nil
}

// SpoolFile creates an empty file in the data directory for a part of a request that is
// too large to stay in memory. The caller closes and removes it; what a crash leaves is
// removed by [Open]. It is safe for concurrent use.
func (c *Controller) SpoolFile() (*os.File, error) { return c.host.SpoolFile() }
