package buildtoken

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// polls looks for changes, asynchronously: of each job at most one poll runs
// and one waits, and any number of requests during a poll make one more.
type polls struct {
	c      *Controller
	ctx    context.Context //nolint:containedctx // the life of the polls, which outlive the requests that ask for them
	cancel context.CancelCauseFunc
	slots  chan struct{} // bounds how many poll at once
	wait   sync.WaitGroup

	// mu guards the following.
	mu      sync.Mutex
	closed  bool
	running map[string]*poll
}

// poll is the running poll of a job.
type poll struct {
	again bool
	root  string // under which the latest request came
}

// maxPolls is how many jobs are polled at once; the others wait their turn.
const maxPolls = 10

// maxPollTime bounds a poll of a job that says no timeout: builds of the job
// wait for it.
const maxPollTime = 10 * time.Minute

// maxPollLog bounds the log of one poll, in bytes.
const maxPollLog = 1 << 20

func newPolls(c *Controller) *polls {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &polls{c: c, ctx: ctx, cancel: cancel, slots: make(chan struct{}, maxPolls), running: map[string]*poll{}}
}

// ask has the job polled and returns at once.
func (p *polls) ask(full, root string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrShuttingDown
	}
	if running := p.running[full]; running != nil {
		running.again, running.root = true, root
		return nil
	}
	p.running[full] = &poll{root: root}
	p.wait.Go(func() { p.loop(full) }) // close waits for it
	return nil
}

// close stops running polls and waits for them.
func (p *polls) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel(ErrShuttingDown)
	p.wait.Wait()
}

// loop polls a job until nobody asked again meanwhile.
func (p *polls) loop(full string) {
	for {
		p.mu.Lock()
		p.running[full].again = false
		root := p.running[full].root
		p.mu.Unlock()
		p.c.poll(p.ctx, full, root)
		p.mu.Lock()
		if !p.running[full].again || p.closed {
			delete(p.running, full)
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
	}
}

// poll looks for changes once, and queues a build if there are some.
func (c *Controller) poll(ctx context.Context, full, root string) {
	workspace, leave, err := c.spaces.enterPoll(ctx, full)
	if err != nil {
		if ctx.Err() == nil { // else the server stops, and nobody waits for the poll
			c.logger().Error("poll failed", zap.String("job", full), zap.Error(err))
		}
		return
	}
	defer leave()
	select {
	case c.polls.slots <- struct{}{}:
		defer func() { <-c.polls.slots }()
	case <-ctx.Done():
		return
	}
	log := func() *zap.Logger { return c.logger().With(zap.String("job", full)) }
	j, ok := c.effective.Load().jobs[full] // as it is now: the wait may have been long
	if !ok || j.Poller == nil || j.Disabled {
		log().Info("poll dropped: the job is gone, disabled, or is not polled any more")
		return
	}
	started := time.Now()
	out := &pollLog{}
	out.line("Started on %s", started.UTC().Format(time.RFC3339))
	changed, err := c.look(ctx, j, root, workspace, out)
	out.line("Done. Took %v", time.Since(started).Round(time.Millisecond))
	switch {
	case err != nil:
		out.line("Failed: %v", err)
		log().Error("poll failed", zap.Error(err))
	case changed:
		out.line("Changes found")
	default:
		out.line("No changes")
	}
	if err := out.save(c.pollLogPath(full)); err != nil {
		log().Error("polling log could not be written", zap.Error(err))
	}
	if err != nil || !changed {
		return
	}
	// Also if the server is about to stop: the poller may not find them again.
	if err := c.scheduleChange(context.WithoutCancel(ctx), j, root); err != nil {
		log().Error("changes were found, but no build could be queued", zap.Error(err))
	}
}

// look asks the poller. It sees the parameters that a build would get.
func (c *Controller) look(ctx context.Context, j *definition.Compiled, root, workspace string, out *pollLog) (bool, error) {
	limit := maxPollTime
	if timeout := j.Settings.Timeout; timeout != nil && *timeout > 0 {
		limit = *timeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("timed out after %v", limit))
	defer cancel()
	values, err := j.Values(nil, nil)
	if err != nil {
		return false, fmt.Errorf("buildtoken: defaults: %w", err)
	}
	b := queue.Build{Item: queue.Item{Job: j.FullName, Root: root}}
	changed, err := j.Poller.Poll(ctx, c.describe(j, b, values, workspace), out)
	if err != nil {
		return false, fmt.Errorf("poll: %w", err)
	}
	return changed, nil
}

// scheduleChange queues a build as polling does it: default parameters, the
// job's quiet period, one cause for all changes.
func (c *Controller) scheduleChange(ctx context.Context, j *definition.Compiled, root string) error {
	values, err := j.Values(nil, nil)
	if err != nil {
		return fmt.Errorf("buildtoken: defaults: %w", err)
	}
	_, created, err := c.queue.Schedule(ctx, time.Now(), queue.Request{
		Job: j.FullName, Digest: c.vault.Digest(values), Values: c.vault.Seal(j.FullName, values),
		Delay: *j.Settings.QuietPeriod, Cause: queue.Cause{Kind: queue.CauseSCM}, Root: root,
		Solo: j.Coalesce == job.Never,
	})
	if err != nil {
		return fmt.Errorf("buildtoken: schedule: %w", err)
	}
	c.stats.polled(j.FullName, created)
	return nil
}

func (c *Controller) pollLogPath(full string) string {
	return filepath.Join(c.opts.Dir, "polling", job.PathElement(full)+".log")
}

// PollLog is the log of the job's last poll. It answers queue.ErrNotFound if
// there was none.
func (c *Controller) PollLog(full string) ([]byte, error) {
	log, err := os.ReadFile(c.pollLogPath(full))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: polling log of %s", queue.ErrNotFound, full)
	}
	if err != nil {
		return nil, fmt.Errorf("buildtoken: polling log: %w", err)
	}
	return log, nil
}

// pollLog keeps what a poll says, as far as it has room.
type pollLog struct{ text []byte }

// Write never fails; what has no room is dropped.
func (l *pollLog) Write(p []byte) (int, error) {
	l.text = append(l.text, p[:min(len(p), max(0, maxPollLog-len(l.text)))]...)
	return len(p), nil
}

// line adds a line of ours, also if the poller has used up the room.
func (l *pollLog) line(format string, args ...any) {
	if n := len(l.text); n > 0 && l.text[n-1] != '\n' {
		l.text = append(l.text, '\n')
	}
	l.text = append(fmt.Appendf(l.text, format, args...), '\n')
}

// save writes the log beside the place and puts it there at once.
func (l *pollLog) save(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("buildtoken: %w", err)
	}
	if err := os.WriteFile(path+".new", l.text, 0o600); err != nil {
		return fmt.Errorf("buildtoken: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("buildtoken: %w", err)
	}
	return nil
}
