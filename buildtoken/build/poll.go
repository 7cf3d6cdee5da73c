package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/internal/atomicfile"
)

const (
	// maxPolls is how many jobs are polled at the same time.
	maxPolls = 10
	// maxPollTime bounds a poll of a job without a timeout: builds of the job
	// wait for it.
	maxPollTime = 10 * time.Minute
)

// Polls looks for changes in the background. At most one poll of a job runs and
// one waits: any number of requests during a poll cause one more. All methods
// are safe for concurrent use.
type Polls struct {
	host  *Host
	jobOf func(full string) *Job
	found func(ctx context.Context, full, root string) error
	ended func(full, outcome string)

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
	root  string // the URL under which the latest request came
}

// NewPolls returns a Polls that polls on this host. jobOf returns the job with a
// full name; nil if it cannot be polled now. found is called when a poll found
// changes, with the URL under which the poll was requested; ended is called after each
// poll, when its log is there, with its outcome: changes, none or failed. The caller must call Close.
func (h *Host) NewPolls(jobOf func(full string) *Job, found func(ctx context.Context, full, root string) error, ended func(full, outcome string)) *Polls {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &Polls{
		host: h, jobOf: jobOf, found: found, ended: ended, ctx: ctx, cancel: cancel,
		slots: make(chan struct{}, maxPolls), running: map[string]*poll{},
	}
}

// Request has a job polled and returns at once. It reports false after Close.
func (p *Polls) Request(full, root string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	if running := p.running[full]; running != nil {
		running.again, running.root = true, root
		return true
	}
	p.running[full] = &poll{root: root}
	p.wait.Go(func() { p.loop(full) }) // Close waits for it
	return true
}

// Close stops running polls with a cause and waits for them.
func (p *Polls) Close(cause error) {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel(cause)
	p.wait.Wait()
}

// loop polls a job until there was no request during the last poll.
func (p *Polls) loop(full string) {
	for {
		p.mu.Lock()
		p.running[full].again = false
		root := p.running[full].root
		p.mu.Unlock()
		p.poll(p.ctx, full, root)
		p.mu.Lock()
		if !p.running[full].again || p.closed {
			delete(p.running, full)
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
	}
}

// poll looks for changes once, and calls found if there are some.
func (p *Polls) poll(ctx context.Context, full, root string) {
	log := func() *zap.Logger { return p.host.opts.Log().With(zap.String("job", full)) }
	workspace, leave, err := p.host.spaces.enterPoll(ctx, full)
	if err != nil {
		if ctx.Err() == nil { // else the server is shutting down
			log().Error("poll failed", zap.Error(err))
		}
		return
	}
	defer leave()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return
	}
	j := p.jobOf(full) // as configured now: the wait may have been long
	if j == nil || j.Poller == nil {
		log().Info("poll dropped: the job is gone, disabled, or is not polled any more")
		return
	}
	started := time.Now()
	out := &pollLog{}
	out.line(pollStarted+"%s", started.UTC().Format(time.RFC3339))
	changed, err := p.look(ctx, j, root, workspace, out)
	out.line(pollDone+"%v", time.Since(started).Round(time.Millisecond))
	outcome := "none"
	switch {
	case err != nil:
		outcome = "failed"
		out.line(pollFailed+"%v", err)
		log().Error("poll failed", zap.Error(err))
	case changed:
		outcome = "changes"
		out.line(pollFound)
	default:
		out.line("No changes")
	}
	if err := out.save(p.host.pollLogPath(full)); err != nil {
		log().Error("polling log could not be written", zap.Error(err))
	}
	p.ended(full, outcome)
	if err != nil || !changed {
		return
	}
	// Not given up with ctx: the poller may not find the same changes again.
	if err := p.found(context.WithoutCancel(ctx), full, root); err != nil {
		log().Error("changes were found, but no build could be queued", zap.Error(err))
	}
}

// look calls the poller with the parameters that a build would get.
func (p *Polls) look(ctx context.Context, j *Job, root, workspace string, out *pollLog) (changed bool, err error) {
	limit := maxPollTime
	if timeout := j.Settings.Timeout; timeout != nil && *timeout > 0 {
		limit = *timeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("timed out after %v", limit))
	defer cancel()
	values, err := j.Values(nil, nil)
	if err != nil {
		return false, fmt.Errorf("default parameters: %w", err)
	}
	if s, ok := j.Poller.(runner.Separate); ok && s.Separate() {
		if workspace, err = p.host.spaces.separate(workspace); err != nil {
			return false, err
		}
	}
	b := queue.Build{Item: queue.Item{Job: j.FullName, Root: root}}
	log := p.host.opts.Log().With(zap.String("job", j.FullName))
	if err := guard(log, "poller", func() {
		changed, err = j.Poller.Poll(ctx, p.host.describe(j, b, values, workspace), out)
	}); err != nil {
		return false, err
	}
	if err != nil {
		return false, fmt.Errorf("poll: %w", err)
	}
	return changed, nil
}

func (h *Host) pollLogPath(full string) string {
	return filepath.Join(h.opts.Dir, "polling", job.PathElement(full)+".log")
}

// PollLog returns the log of the job's last poll, [queue.ErrNotFound] if there
// was none.
func (h *Host) PollLog(full string) ([]byte, error) {
	log, err := os.ReadFile(h.pollLogPath(full))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: polling log of %s", queue.ErrNotFound, full)
	}
	if err != nil {
		return nil, fmt.Errorf("build: polling log: %w", err)
	}
	return log, nil
}

// Poll is the last poll of a job, as its log records it.
type Poll struct {
	Started time.Time
	// Found reports whether there were changes.
	Found bool
	// Problem is why it failed; empty if it did not.
	Problem string
}

// The lines of a polling log that are not the poller's.
const (
	pollStarted = "Started on "
	pollDone    = "Done. Took "
	pollFound   = "Changes found"
	pollFailed  = "Failed: "
)

// LastPoll returns the last poll of the job on this host, [queue.ErrNotFound] if there was
// none.
func (h *Host) LastPoll(full string) (Poll, error) {
	log, err := h.PollLog(full)
	if err != nil {
		return Poll{}, err
	}
	text := string(log)
	first, _, _ := strings.Cut(text, "\n")
	started, err := time.Parse(time.RFC3339, strings.TrimPrefix(first, pollStarted))
	if err != nil {
		return Poll{}, fmt.Errorf("build: polling log of %s: %w", full, err)
	}
	_, outcome, _ := strings.Cut(text[strings.LastIndex(text, "\n"+pollDone)+1:], "\n")
	outcome, _, _ = strings.Cut(outcome, "\n")
	p := Poll{Started: started, Found: outcome == pollFound}
	if problem, failed := strings.CutPrefix(outcome, pollFailed); failed {
		p.Problem = problem
	}
	return p, nil
}

// maxPollLog bounds the log of one poll, in bytes.
const maxPollLog = 1 << 20

// pollLog holds the output of a poll, up to its limit.
type pollLog struct{ text []byte }

// Write never fails; output above the limit is dropped.
func (l *pollLog) Write(p []byte) (int, error) {
	l.text = append(l.text, p[:min(len(p), max(0, maxPollLog-len(l.text)))]...)
	return len(p), nil
}

// line adds a line of ours, also above the limit.
func (l *pollLog) line(format string, args ...any) {
	if n := len(l.text); n > 0 && l.text[n-1] != '\n' {
		l.text = append(l.text, '\n')
	}
	l.text = append(fmt.Appendf(l.text, format, args...), '\n')
}

// save replaces the file at path.
func (l *pollLog) save(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(path, func(w io.Writer) error {
		_, err := w.Write(l.text)
		return err
	})
}
