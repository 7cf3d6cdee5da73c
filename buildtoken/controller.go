package buildtoken

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/executor"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/throttle"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

// Defaults of [Config] and [Options].
const (
	DefaultExecutors       = 2
	DefaultQueueLimit      = 10_000
	DefaultKeepBuilds      = 100
	DefaultShutdownTimeout = 30 * time.Second
	DefaultLogLimit        = 64 << 20 // bytes
	DefaultNode            = "built-in"
)

// Queue is what the controller needs of a queue. boltqueue is one; the
// contract is that of queuetest.
type Queue interface {
	executor.Queue
	SetRules(ctx context.Context, rules map[string]queue.Rules, limit int) error
	Schedule(ctx context.Context, now time.Time, r queue.Request) (queue.Item, bool, error)
	Cancel(ctx context.Context, now time.Time, job string, id int64, by string) error
	Abort(ctx context.Context, job string, number int64, by string) error
	Lost(ctx context.Context) ([]queue.Build, error)
	Reclaim(ctx context.Context, now time.Time, reason string) ([]queue.Build, error)
	Lanes(ctx context.Context, jobs []string) ([]queue.Lane, error)
	Entry(ctx context.Context, now time.Time, id int64) (queue.Entry, error)
	Items(ctx context.Context, now time.Time, job string, limit int) ([]queue.Entry, error)
	Build(ctx context.Context, job string, number int64) (queue.Build, error)
	Builds(ctx context.Context, job string, before int64, limit int) ([]queue.Build, error)
	Oldest(ctx context.Context, job string) (int64, error)
	Refs(ctx context.Context) ([]string, error)
	Close() error
}

// Options say what a controller works with for all of its life.
type Options struct {
	// Queue is required. The controller closes it.
	Queue Queue
	// Dir is where logs, workspaces and uploads are kept, in folders of these
	// names. It is required, absolute, and used by one controller at a time.
	Dir string
	// SealKey protects password parameters.
	SealKey vault.Key
	// Node is the name of this server; "" is [DefaultNode].
	Node string
	// LogLimit is how many bytes a build may write to its log; 0 is
	// [DefaultLogLimit], negative is no limit.
	LogLimit int64
	// Log hears of what happens before the first [Controller.Attach], which
	// brings the logger for all the rest. Nil is silent.
	Log *zap.Logger
}

// Config is what the newest configuration says. Its zero value is usable: no jobs.
type Config struct {
	// Definitions are those of all sites. A job that several of them define
	// must be the same in each; the first counts.
	Definitions []*definition.Site
	// Executors is how many builds run at once; 0 is [DefaultExecutors].
	Executors int
	// Labels are those of this server. It runs the builds of jobs that ask for
	// one of them, or for none, or for its name.
	Labels []string
	// QueueLimit is how many items may be queued; 0 is [DefaultQueueLimit].
	QueueLimit int
	// KeepBuilds is how many ended builds are kept of a job that does not say
	// itself; 0 is [DefaultKeepBuilds].
	KeepBuilds int
	// ShutdownTimeout is what running builds get when the controller is
	// closed; 0 is [DefaultShutdownTimeout], negative is nothing.
	ShutdownTimeout time.Duration
	// WrongTokens limits guessing.
	WrongTokens throttle.Limit
	// Log is where this configuration wants the controller to log. Nil is silent.
	Log *zap.Logger
}

func (c Config) withDefaults() Config {
	orElse := func(n *int, byDefault int) {
		if *n == 0 {
			*n = byDefault
		}
	}
	orElse(&c.Executors, DefaultExecutors)
	orElse(&c.QueueLimit, DefaultQueueLimit)
	orElse(&c.KeepBuilds, DefaultKeepBuilds)
	if c.ShutdownTimeout == 0 {
		c.ShutdownTimeout = DefaultShutdownTimeout
	}
	c.WrongTokens = c.WrongTokens.WithDefaults()
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return c
}

// ErrShuttingDown says that the controller takes no triggers any more.
var ErrShuttingDown = errors.New("buildtoken: shutting down")

// Controller is all of buildtoken in one process. Its methods may be called
// concurrently.
type Controller struct {
	opts    Options
	queue   *observed
	logs    logs
	uploads uploads
	vault   *vault.Vault
	wrong   *throttle.Limiter
	pool    *executor.Pool
	polls   *polls
	others  cluster        // nil if the queue is this server's alone
	hears   sync.WaitGroup // of the goroutines that hear of others
	spaces  workspaces
	swept   sweeper
	stats   stats
	waiting waiting

	// effective is what the newest attached configuration says; never nil.
	effective atomic.Pointer[effective]

	drain, close sync.Once
	// stopped is closed when no build runs any more.
	stopped chan struct{}
	// closeErr is set by close.
	closeErr error

	// mu guards the following.
	mu       sync.Mutex
	attached []*effective // newest last
	closed   bool         // no more is attached
	// reclaimed says that no build of an earlier process is running on record.
	reclaimed bool
}

// effective is a configuration in force.
type effective struct {
	Config
	jobs map[string]*definition.Compiled
	// detached is set once nothing is attached any more.
	detached bool
}

// Open takes the queue over and starts the executors. Nothing is started before
// the first [Controller.Attach], which also ends, and records as ABORTED, what was
// running when the queue was last used: only a configuration says how builds were
// run. If Open fails, the queue is closed.
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
	opts.LogLimit = max(opts.LogLimit, 0)
	if !filepath.IsAbs(opts.Dir) {
		return nil, fmt.Errorf("buildtoken: folder %q is not absolute", opts.Dir)
	}
	v, err := vault.New(opts.SealKey)
	if err != nil {
		return nil, fmt.Errorf("buildtoken: %w", err)
	}
	if q, ok := opts.Queue.(interface {
		UseKey(ctx context.Context, fingerprint []byte) error
	}); ok {
		if err := q.UseKey(ctx, opts.SealKey.Fingerprint()); err != nil {
			return nil, fmt.Errorf("buildtoken: %w", err)
		}
	}
	c := &Controller{
		opts: opts, queue: observe(opts.Queue), vault: v,
		logs:    newLogs(filepath.Join(opts.Dir, "logs"), opts.Queue),
		uploads: newUploads(filepath.Join(opts.Dir, "uploads"), opts.Queue),
		wrong:   throttle.New(),
		stopped: make(chan struct{}),
	}
	c.effective.Store(&effective{Config: Config{Log: opts.Log}.withDefaults(), detached: true})
	c.spaces.dir = filepath.Join(opts.Dir, "workspaces")
	refs, err := c.queue.Refs(ctx)
	if err != nil {
		return nil, fmt.Errorf("buildtoken: list uploads: %w", err)
	}
	if err := c.uploads.sweep(ctx, refs); err != nil {
		return nil, err
	}
	c.polls = newPolls(c)
	//nolint:contextcheck // builds outlive the opening; Close ends them
	c.pool = executor.Start(shipping{c.queue, c}, c.prepare, executor.Options{Node: c.node, Ended: c.ended, Log: c.logger})
	if others, ok := opts.Queue.(cluster); ok {
		c.others = others
		c.hears.Go(c.hearCuts) // Close waits for both
		c.hears.Go(c.hearOthers)
	}
	return c, nil
}

// Drain ends all work: it takes no more triggers, stops polls, waits for running
// builds for the shutdown timeout, and stops those that still run. The queue can
// still be read. It returns when no build runs; every call does, however many.
func (c *Controller) Drain() {
	c.drain.Do(func() {
		c.mu.Lock()
		c.closed = true
		last := *c.effective.Load()
		last.detached = true
		c.effective.Store(&last)
		c.mu.Unlock()
		c.pool.Resize(0) // polls may take a while to stop, and no build should start meanwhile
		c.polls.close()
		c.pool.Stop(last.ShutdownTimeout)
		close(c.stopped)
	})
}

// Close drains the controller and closes the queue. Every call returns when all
// that is done, with the same error.
func (c *Controller) Close() error {
	c.Drain()
	c.close.Do(func() {
		c.hears.Wait()
		if err := c.queue.Close(); err != nil {
			c.closeErr = fmt.Errorf("buildtoken: %w", err)
		}
	})
	return c.closeErr
}

// Attach puts a configuration into force: from now on it decides what new
// builds run and how many. Running builds go on as they began. The returned
// function takes it out of force again, and the newest one that is still
// attached comes back; it may be called more than once. If the queue can't
// take the new rules, the old configuration stays in force. The first Attach
// waits until what is left of lost builds is gone, for 15 s at most.
//
// While nothing is attached, triggers are answered [ErrShuttingDown] and no
// build starts. After Close, so is Attach.
//
// ctx bounds the wait before anything is changed; what has begun is not given
// up half-way.
func (c *Controller) Attach(ctx context.Context, cfg Config) (detach func(), err error) {
	cfg = cfg.withDefaults()
	e := &effective{Config: cfg, jobs: map[string]*definition.Compiled{}}
	for _, d := range cfg.Definitions {
		for full, j := range d.Jobs() {
			if e.jobs[full] == nil {
				e.jobs[full] = j
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrShuttingDown
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("buildtoken: attach: %w", context.Cause(ctx))
	}
	ctx = context.WithoutCancel(ctx)
	// Nothing may start between two configurations: a build of a job that came
	// back would find that the job is gone.
	c.pool.Resize(0)
	if err := c.setRules(ctx, e); err != nil {
		c.resume()
		return nil, err
	}
	if !c.reclaimed {
		if err := c.reclaim(ctx, e); err != nil {
			c.resume()
			return nil, err
		}
		c.reclaimed = true
	}
	c.effective.Store(e)
	c.attached = append(c.attached, e)
	c.announce(ctx, e)
	c.resume()
	return func() { c.detach(ctx, e) }, nil
}

// resume lets builds start as the effective configuration wants it. The caller holds mu.
func (c *Controller) resume() {
	if e := c.effective.Load(); !e.detached {
		c.pool.Resize(e.Executors)
	}
}

// setRules tells the queue what a configuration says about each job.
func (c *Controller) setRules(ctx context.Context, e *effective) error {
	rules := make(map[string]queue.Rules, len(e.jobs))
	for full, j := range e.jobs {
		keep := e.KeepBuilds
		if j.Settings.KeepBuilds != nil {
			keep = *j.Settings.KeepBuilds
		}
		r := queue.Rules{Concurrent: j.Concurrent, Disabled: j.Disabled, KeepBuilds: keep}
		if j.Settings.Label != nil {
			r.Label = *j.Settings.Label
		}
		rules[full] = r
	}
	if err := c.queue.SetRules(ctx, rules, e.QueueLimit); err != nil {
		return fmt.Errorf("buildtoken: set rules: %w", err)
	}
	return nil
}

func (c *Controller) detach(ctx context.Context, e *effective) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slices.Index(c.attached, e)
	if at < 0 || c.closed {
		return
	}
	c.attached = slices.Delete(c.attached, at, at+1)
	if c.effective.Load() != e {
		return
	}
	c.pool.Resize(0)
	if len(c.attached) == 0 {
		last := *e
		last.detached = true
		c.effective.Store(&last)
		return
	}
	earlier := c.attached[len(c.attached)-1]
	if err := c.setRules(ctx, earlier); err != nil {
		earlier.Log.Error("rules of the earlier configuration could not be put back into the queue", zap.Error(err))
	}
	c.effective.Store(earlier)
	c.announce(ctx, earlier)
	c.resume()
}

// logger is where the newest configuration wants to log: one from an old
// configuration would go on writing to a file that is closed by then.
func (c *Controller) logger() *zap.Logger {
	return c.effective.Load().Log
}
