package buildtoken

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// logs are the console logs. If the queue keeps them for all servers, the files
// of this server are those of builds that run here, until all of a log is in
// the queue.
type logs struct {
	*console.Store
	keeper console.Keeper // nil: logs are files of this server
	shared *console.Shared
}

func newLogs(dir string, q Queue) logs {
	l := logs{Store: console.New(dir)}
	if keeper, ok := q.(console.Keeper); ok {
		l.keeper, l.shared = keeper, console.NewShared(keeper)
	}
	return l
}

// create starts the log of a build that was claimed here.
func (l logs) create(full string, number, limit int64) (*console.Writer, error) {
	element := job.PathElement(full)
	w, err := l.Create(element, number, limit)
	if errors.Is(err, fs.ErrExist) && l.keeper != nil {
		// No number is given twice, except after a restore: the file is that of a
		// build which is not on record any more.
		if err = l.Remove(element, number); err == nil {
			w, err = l.Create(element, number, limit)
		}
	}
	return w, err
}

// hear has those look who follow logs that have grown on another server.
func (l logs) hear(n queue.Notice) {
	switch {
	case l.shared == nil:
	case n.All:
		l.shared.WakeAll()
	default:
		l.shared.Wake(n.Logs...)
		l.shared.Wake(n.Jobs...) // a build that is lost has its log ended
	}
}

// Log opens the console log of a build, whichever server runs or ran it;
// queue.ErrNotFound if there is none. Offsets are the same on every server. The
// caller closes it.
func (c *Controller) Log(ctx context.Context, full string, number int64) (*console.Reader, error) {
	var r *console.Reader
	err := console.ErrNotFound
	if c.logs.keeper != nil && !c.queue.runsHere(full, number) {
		r, err = c.logs.shared.Open(ctx, full, number)
	}
	if errors.Is(err, console.ErrNotFound) { // it may be older than the queue's way to keep logs
		r, err = c.logs.Open(job.PathElement(full), number)
	}
	if errors.Is(err, console.ErrNotFound) {
		return nil, fmt.Errorf("%w: log of %s #%d", queue.ErrNotFound, full, number)
	}
	if err != nil {
		return nil, fmt.Errorf("buildtoken: log: %w", err)
	}
	return r, nil
}

// shipTime is how long one try to bring the rest of a log into the queue may
// take. Each goes on where the last one stopped.
const shipTime = 10 * time.Second

// ship brings the log of a build into the queue while it grows. shipped is
// called when it is complete, and waits until all of it is there, or that can't
// be done now: then it is done before the end of the build is recorded.
func (c *Controller) ship(ctx context.Context, b queue.Build) (shipped func()) {
	if c.logs.keeper == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // a build that is stopped has a log too
	var shipper sync.WaitGroup
	shipper.Go(func() { // shipped waits for it
		log := c.logger().With(zap.String("job", b.Item.Job), zap.Int64("number", b.Number))
		r, err := c.logs.Open(job.PathElement(b.Item.Job), b.Number)
		if err != nil {
			log.Warn("console log can't be read", zap.Error(err))
			return
		}
		defer func() { _ = r.Close() }() // only read
		for said := false; ; {
			err := console.Ship(ctx, c.logs.keeper, r, b.Item.Job, b.Number, true)
			if err == nil || errors.Is(err, queue.ErrNotRunning) || errors.Is(err, queue.ErrClosed) {
				return
			}
			if !said {
				log.Warn("console log can't be brought into the queue now; trying on", zap.Error(err))
				said = true
			}
			if !r.Settle(ctx) || r.Complete() {
				return
			}
		}
	})
	return func() {
		limit := time.AfterFunc(shipTime, cancel)
		shipper.Wait()
		limit.Stop()
		cancel()
	}
}

// shipRest brings what is missing of a log of this server into the queue. A log
// that can't be read ends with lines which say so, because a build must end.
func (c *Controller) shipRest(ctx context.Context, b queue.Build) error {
	full, number := b.Item.Job, b.Number
	ctx, cancel := context.WithTimeout(ctx, shipTime)
	defer cancel()
	r, err := c.logs.Open(job.PathElement(full), number)
	if err == nil {
		err = console.Ship(ctx, c.logs.keeper, r, full, number, true)
		_ = r.Close() // only read
	}
	switch {
	case err == nil, errors.Is(err, console.ErrNotFound), errors.Is(err, queue.ErrNotRunning), errors.Is(err, queue.ErrNotFound):
		return nil
	case ctx.Err() != nil, errors.Is(err, queue.ErrStorage), errors.Is(err, queue.ErrClosed):
		return fmt.Errorf("buildtoken: log of %s #%d: %w", full, number, err)
	}
	c.logger().Error("console log is not complete", zap.String("job", full), zap.Int64("number", number), zap.Error(err))
	size, _, err := c.logs.keeper.LogState(ctx, full, number)
	if err == nil {
		text := "\n[the rest is missing: the file of the log can't be read]\n"
		for _, line := range b.LastLines() {
			text += line + "\n"
		}
		_, err = c.logs.keeper.AppendLog(ctx, full, number, size, []byte(text), true)
	}
	return err
}

// shipLost brings into the queue what earlier processes of this server have left
// of the logs of lost builds. Without it, a log ends a moment early.
func (c *Controller) shipLost(ctx context.Context, log *zap.Logger, lost []queue.Build) {
	if c.logs.keeper == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, shipTime)
	defer cancel()
	for _, b := range lost {
		r, err := c.logs.Open(job.PathElement(b.Item.Job), b.Number)
		if errors.Is(err, console.ErrNotFound) {
			continue // nothing was written, or another server's
		}
		if err == nil {
			err = console.Ship(ctx, c.logs.keeper, r, b.Item.Job, b.Number, false) // why it ends comes behind
			_ = r.Close()                                                          // only read
		}
		if err == nil || errors.Is(err, queue.ErrNotRunning) { // else another one has ended it
			err = c.logs.Remove(job.PathElement(b.Item.Job), b.Number)
		}
		if err != nil {
			log.Warn("log of a lost build ends early", zap.String("job", b.Item.Job), zap.Int64("number", b.Number), zap.Error(err))
		}
	}
}

// shipping is the queue as the executors see it: when the end of a build is on
// record, its log is where every server can read it. So both are tried again
// together while the database is away.
type shipping struct {
	*observed
	c *Controller
}

// Finish implements [executor.Queue].
func (s shipping) Finish(ctx context.Context, now time.Time, full string, number int64, r queue.Result, reason string) (queue.Build, error) {
	if s.c.logs.keeper == nil {
		return s.observed.Finish(ctx, now, full, number, r, reason)
	}
	if err := s.c.shipRest(ctx, queue.Build{Item: queue.Item{Job: full}, Number: number, Result: r, Reason: reason}); err != nil {
		return queue.Build{}, err
	}
	b, err := s.observed.Finish(ctx, now, full, number, r, reason)
	if err == nil || errors.Is(err, queue.ErrNotRunning) || errors.Is(err, queue.ErrNotFound) {
		if err := s.c.logs.Remove(job.PathElement(full), number); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.c.logger().Warn("file of a log could not be removed", zap.Error(err))
		}
	}
	return b, err
}
