// Package buildtoken starts builds for callers with the right token.
//
// A [definition.Site] is a compiled job tree: names, tokens, rules, runners. A
// [Controller] takes triggers, checks them, stores accepted ones durably, runs
// them when they are due, and keeps their logs. It lives longer than a
// configuration: [Controller.Attach] puts a new one into force without touching
// what is queued or running.
//
// [Controller.Trigger] defines the order in which a trigger is checked and what
// its caller learns. The packages below web turn that into HTTP.
//
// What to watch out for:
//
//   - Builds run as the user of this process, with its rights, unless their
//     runner is configured otherwise.
//   - A build that runs while the process is killed is recorded as ABORTED at
//     the next start. It is never run again.
//   - The SealKey of [Options] opens password parameters of queued builds. If
//     it is lost, those builds end NOT_BUILT.
package buildtoken

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/buildtoken/buildtoken/buildtoken/audit"
	"github.com/buildtoken/buildtoken/buildtoken/build"
	"github.com/buildtoken/buildtoken/buildtoken/deliveries"
	"github.com/buildtoken/buildtoken/buildtoken/executor"
	"github.com/buildtoken/buildtoken/buildtoken/leftover"
	"github.com/buildtoken/buildtoken/buildtoken/outbox"
	"github.com/buildtoken/buildtoken/buildtoken/stats"
	"github.com/buildtoken/buildtoken/buildtoken/throttle"
	"github.com/buildtoken/buildtoken/buildtoken/timer"
	"github.com/buildtoken/buildtoken/buildtoken/usage"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

// Options configure a [Controller] for its whole life.
type Options struct {
	// Queue is required. The controller closes it. If it is a [Shared], several
	// servers have it open.
	Queue Queue
	// Dir holds logs, workspaces and uploads, in directories of these names. It
	// is required, absolute, and used by one controller at a time.
	Dir string
	// SealKey protects password parameters.
	SealKey vault.Key
	// Node is the name of this server; empty means [DefaultNode].
	Node string
	// LogLimit is how many bytes a build can write to its log; 0 means
	// [DefaultLogLimit], a negative value means no limit.
	LogLimit int64
	// Log is used until the first [Controller.Attach], which sets the logger for
	// everything after it. Nil discards.
	Log *zap.Logger
}

// Defaults of [Options].
const (
	DefaultLogLimit = 64 << 20 // bytes
	DefaultNode     = "built-in"
)

// ErrShuttingDown is returned when the controller takes no more triggers.
var ErrShuttingDown = errors.New("buildtoken: shutting down")

// Controller decides about triggers, and runs the accepted builds of one
// process. Its methods are safe for concurrent use.
type Controller struct {
	opts     Options
	queue    Queue
	shared   Shared // nil if the queue belongs to this server alone
	vault    *vault.Vault
	host     *build.Host
	guesses  *throttle.Limiter
	pool     *executor.Pool
	polls    *build.Polls
	timer    *timer.Timer
	outbox   *outbox.Outbox
	changes  changes
	stats    stats.Counter
	usage    *usage.Counter
	waiting  waiting
	received deliveries.Log
	history  audit.History
	pruner   *leftover.Pruner
	// unstored limits the lines about triggers that could not be stored: a full disk would fill up with
	// them.
	unstored rate.Sometimes

	// effective is the newest attached configuration; never nil.
	effective atomic.Pointer[effective]

	// listeners are the goroutines of the controller. Close waits for them.
	listeners    sync.WaitGroup
	drain, close sync.Once
	// draining is set when no more builds start.
	draining atomic.Bool
	// stopped is closed when no build runs any more.
	stopped chan struct{}
	// closeErr is set by close.
	closeErr error

	// mu guards the following.
	mu       sync.Mutex
	attached []*effective // newest last
	closed   bool         // no more is attached
	// reclaimed is set once no build of an earlier process is recorded as running.
	reclaimed bool
}

// Open takes over the queue and starts the executors. No build starts before
// the first [Controller.Attach]. That also ends the builds that ran when the
// queue was last used, and records them as ABORTED: only a configuration knows
// how they were run. If Open fails, it closes the queue.
func Open(ctx context.Context, opts Options) (*Controller, error) {
	c, err := open(ctx, opts)
	if err != nil {
		return nil, errors.Join(err, opts.Queue.Close())
	}
	return c, nil
}

func open(ctx context.Context, opts Options) (*Controller, error) {
	if opts.Node == "" {
		opts.Node = DefaultNode
	}
	if opts.LogLimit == 0 {
		opts.LogLimit = DefaultLogLimit
	}
	if !filepath.IsAbs(opts.Dir) {
		return nil, fmt.Errorf("buildtoken: directory %q is not absolute", opts.Dir)
	}
	v, err := vault.New(opts.SealKey)
	if err != nil {
		return nil, fmt.Errorf("buildtoken: seal key: %w", err)
	}
	c := &Controller{
		opts: opts, queue: opts.Queue, vault: v, guesses: throttle.New(),
		stopped: make(chan struct{}), unstored: rate.Sometimes{Interval: time.Second},
	}
	c.effective.Store(&effective{Config: Config{Log: opts.Log}.withDefaults(), detached: true})
	host := build.Options{
		Dir: opts.Dir, Node: opts.Node, LogLimit: max(opts.LogLimit, 0), Vault: v, Log: c.logger, LogBegun: c.logBegun, SetHandle: c.queue.SetHandle,
	}
	if shared, ok := opts.Queue.(Shared); ok {
		c.shared, host.Logs, host.Files = shared, shared, shared
		if err := shared.UseKey(ctx, opts.SealKey.Fingerprint()); err != nil {
			return nil, fmt.Errorf("buildtoken: %w", err)
		}
	}
	saved, err := c.queue.TokenUses(ctx)
	if err != nil {
		return nil, fmt.Errorf("buildtoken: uses of tokens: %w", err)
	}
	c.usage = usage.New(saved)
	c.host = build.NewHost(host)
	refs, err := c.queue.Refs(ctx)
	if err != nil {
		return nil, fmt.Errorf("buildtoken: list uploads: %w", err)
	}
	if err := c.host.SweepUploads(ctx, refs); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUpload, err)
	}
	c.polls = c.host.NewPolls(c.pollable, c.scheduleChange, c.looked)
	c.timer = timer.Start() //nolint:contextcheck // it outlives the opening; Close ends it
	//nolint:contextcheck // builds outlive the opening; Close ends them
	c.pool = executor.Start(executorQueue{c}, c.prepare, executor.Options{Node: c.node, Log: c.logger})
	//nolint:contextcheck // it outlives the opening; Close ends it
	c.outbox = outbox.Start(c.queue, outbox.Options{Event: c.event, Settled: c.settled, Log: c.logger})
	c.pruner = leftover.New(leftover.Options{Queue: c.queue, Dir: opts.Dir, Jobs: c.jobNames, Lock: &c.mu, Keep: c.keepRemoved, Log: c.logger})
	//nolint:contextcheck // it outlives the opening; Close waits for all four
	c.listeners.Go(func() { c.pruner.Run(c.stopped) })
	c.listeners.Go(c.keepUses)
	if c.shared != nil {
		c.listeners.Go(c.listenCutOff)
		c.listeners.Go(c.listenNotices)
	}
	return c, nil
}

// Drain ends all builds: it starts no more of them, stops polls, waits for running
// builds for the shutdown timeout, and stops those that still run. Remote builds that
// can be resumed after a restart are left at once. Triggers are still taken: their
// builds start on another server, or when this one is back. Every call returns when no
// build runs any more.
func (c *Controller) Drain() {
	c.drain.Do(func() {
		c.draining.Store(true)
		c.mu.Lock()
		c.closed = true
		grace := c.effective.Load().ShutdownTimeout
		c.mu.Unlock()
		c.pool.Resize(0, 0) // polls can take a while to stop, and no build may start meanwhile
		c.timer.Close()
		c.polls.Close(ErrShuttingDown)
		c.host.Detach()
		if n := len(c.Running()); n > 0 && grace > 0 {
			c.logger().Info("waiting for running builds", zap.Int("builds", n), zap.Duration("shutdown_timeout", grace))
		}
		c.pool.Stop(grace)
		close(c.stopped)
	})
}

// Close drains the controller and closes the queue. Every call returns when all
// that is done, with the same error.
func (c *Controller) Close() error {
	c.Drain()
	c.close.Do(func() {
		c.listeners.Wait()
		c.outbox.Close()
		c.saveUses()
		err := c.queue.Close()
		c.changes.items.NotifyAll() // a closed queue changes no more
		if err != nil {
			c.closeErr = fmt.Errorf("buildtoken: %w", err)
		}
	})
	return c.closeErr
}

// logger returns the logger of the newest configuration. Do not keep it: that
// of an earlier configuration writes to a file that is closed by then.
func (c *Controller) logger() *zap.Logger {
	return c.effective.Load().Log
}

// Name returns the name of this server, as in the records of its builds.
func (c *Controller) Name() string { return c.opts.Node }

// Executors returns how many builds run at once on this server.
func (c *Controller) Executors() int { return c.effective.Load().Executors }

// RemoteBuilds returns how many remote builds run at once on this server, 0 if no job of
// the configuration has such builds.
func (c *Controller) RemoteBuilds() int { return c.effective.Load().remoteBuilds() }

// ShuttingDown reports whether the controller takes no more triggers.
func (c *Controller) ShuttingDown() bool {
	return c.draining.Load() || c.effective.Load().detached
}

// buildJob returns what builds need of a job; nil if the configuration does
// not have it.
func (e *effective) buildJob(full string) *build.Job {
	j := e.jobs[full]
	if j == nil {
		return nil
	}
	return &build.Job{Job: j.Job, Runner: j.Runner, Poller: j.Poller}
}

// pollable returns the job if it can be polled now.
func (c *Controller) pollable(full string) *build.Job {
	j := c.effective.Load().buildJob(full)
	if j == nil || j.Poller == nil || j.Disabled {
		return nil
	}
	return j
}

// jobNames returns the names of the jobs of the newest configuration.
func (c *Controller) jobNames() iter.Seq[string] { return maps.Keys(c.effective.Load().jobs) }

// keepRemoved returns how long the records, logs and workspaces of removed jobs are kept; 0
// means forever.
func (c *Controller) keepRemoved() time.Duration {
	if e := c.effective.Load(); !e.detached {
		return e.KeepRemoved
	}
	return 0
}

// Leftovers returns the pruner of records, logs and workspaces of jobs that no server's
// configuration has any more.
func (c *Controller) Leftovers() *leftover.Pruner { return c.pruner }

// Deliveries returns the log of webhook deliveries.
func (c *Controller) Deliveries() *deliveries.Log { return &c.received }
