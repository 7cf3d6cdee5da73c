package buildtoken

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/spans"
	"github.com/buildtoken/buildtoken/buildtoken/throttle"
)

// Config is a configuration that [Controller.Attach] puts into force. The zero
// value has no jobs.
type Config struct {
	// Sites are the compiled configurations of all sites. A job that several
	// sites define must be the same in each; the first counts.
	Sites []*definition.Site
	// Executors is how many builds run at once; 0 means [DefaultExecutors].
	Executors int
	// Labels are those of this server. It runs builds of jobs without a label,
	// with one of these labels, or with the server's name as their label.
	Labels []string
	// RemoteBuilds is how many builds that only follow another system run at once; 0
	// means [DefaultRemoteBuilds]. They take no executor.
	RemoteBuilds int
	// QueueLimit is how many items can be queued; 0 means [DefaultQueueLimit].
	QueueLimit int
	// OrphanTimeout is how long the queued items of a job that no server's configuration has
	// any more wait for it to come back, before they end NOT_BUILT; 0 means
	// [DefaultOrphanTimeout], a negative value means no time.
	OrphanTimeout time.Duration
	// KeepRemoved is how long after [Config.OrphanTimeout] the records, logs and workspaces
	// of a job that no server's configuration has are kept; 0 keeps them until [leftover.Pruner.Prune].
	KeepRemoved time.Duration
	// KeepBuilds is how many ended builds are kept per job, unless the job sets
	// its own number; 0 means [DefaultKeepBuilds].
	KeepBuilds int
	// ShutdownTimeout is how long Close waits for running builds; 0 means
	// [DefaultShutdownTimeout], a negative value means no time.
	ShutdownTimeout time.Duration
	// WrongTokens limits guessing.
	WrongTokens throttle.Limit
	// Log is the controller's logger under this configuration. Nil discards.
	Log *zap.Logger
	// Spans records the spans of builds whose triggers have a trace. Nil records nothing.
	Spans *spans.Recorder
	// Audit receives one line for each decision; see [audit.Decision]. Nil means none.
	Audit *zap.Logger
}

// Defaults of [Config].
const (
	DefaultExecutors       = 2
	DefaultRemoteBuilds    = 100
	DefaultQueueLimit      = 10_000
	DefaultKeepBuilds      = 100
	DefaultShutdownTimeout = 30 * time.Second
	DefaultOrphanTimeout   = 24 * time.Hour
)

func (c Config) withDefaults() Config {
	c.Executors = cmp.Or(c.Executors, DefaultExecutors)
	c.RemoteBuilds = cmp.Or(c.RemoteBuilds, DefaultRemoteBuilds)
	c.QueueLimit = cmp.Or(c.QueueLimit, DefaultQueueLimit)
	c.KeepBuilds = cmp.Or(c.KeepBuilds, DefaultKeepBuilds)
	c.ShutdownTimeout = cmp.Or(c.ShutdownTimeout, DefaultShutdownTimeout)
	c.OrphanTimeout = max(cmp.Or(c.OrphanTimeout, DefaultOrphanTimeout), 0)
	c.WrongTokens = c.WrongTokens.WithDefaults()
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return c
}

// effective is a configuration in force.
type effective struct {
	Config
	jobs map[string]*definition.Compiled
	// before are the jobs of the configuration before, whose tokens are recognized.
	before map[string]*definition.Compiled
	// receivers are those of notifications, by their targets.
	receivers map[string]notify.Receiver
	// detached is set once no configuration is attached any more.
	detached bool
}

// Attach puts a configuration into force: it decides which builds start from
// now on and how many. Running builds go on as they began. The returned
// function takes the configuration out of force again, in favour of the newest
// one that is still attached; it can be called more than once. If the queue
// cannot store the new rules, the old configuration stays in force. The first
// Attach blocks until the processes of lost builds are gone, for at most 15 s.
//
// While no configuration is attached, no build starts, and triggers return
// [ErrShuttingDown]. After Close, Attach returns it too.
//
// ctx is checked before anything is changed; a change that has begun is always
// completed.
func (c *Controller) Attach(ctx context.Context, cfg Config) (detach func(), err error) {
	cfg = cfg.withDefaults()
	e := &effective{Config: cfg, jobs: map[string]*definition.Compiled{}}
	for _, d := range cfg.Sites {
		for full, j := range d.Jobs() {
			if e.jobs[full] == nil {
				e.jobs[full] = j
			}
		}
	}
	e.receivers = receivers(cfg.Sites)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrShuttingDown
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("buildtoken: attach: %w", context.Cause(ctx))
	}
	ctx = context.WithoutCancel(ctx)
	// No build may start between two configurations: the old one may not have
	// its job.
	c.pool.Resize(0, 0)
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
	e.before = c.effective.Load().jobs
	c.effective.Store(e)
	c.timer.Set(c.timed(e))
	c.outbox.Set(e.receivers)
	c.attached = append(c.attached, e)
	c.announce(ctx, e)
	c.resume()
	c.pruner.Configured()
	return func() { c.detach(ctx, e) }, nil
}

// resume lets builds start under the effective configuration. The caller must hold mu.
func (c *Controller) resume() {
	if e := c.effective.Load(); !e.detached {
		c.pool.Resize(e.Executors, e.remoteBuilds())
	}
}

// remoteBuilds returns how many remote builds run at once; 0 without such jobs, because
// looking for their builds would cost something.
func (e *effective) remoteBuilds() int {
	for full := range e.jobs {
		if e.buildJob(full).Remote() {
			return e.RemoteBuilds
		}
	}
	return 0
}

// setRules stores the rules of each job in the queue.
func (c *Controller) setRules(ctx context.Context, e *effective) error {
	rules := make(map[string]queue.Rules, len(e.jobs))
	for full, j := range e.jobs {
		keep := e.KeepBuilds
		if j.Settings.KeepBuilds != nil {
			keep = *j.Settings.KeepBuilds
		}
		r := queue.Rules{Remote: e.buildJob(full).Remote(), Concurrent: j.Concurrent, Disabled: j.Disabled, KeepBuilds: keep}
		if j.Settings.Label != nil {
			r.Label = *j.Settings.Label
		}
		for _, n := range j.Notify {
			r.Notify = append(r.Notify, queue.Target{Name: n.Target, On: n.On})
		}
		rules[full] = r
	}
	err := c.queue.SetRules(ctx, time.Now(), queue.Config{Rules: rules, Limit: e.QueueLimit, Grace: e.OrphanTimeout})
	c.changes.configured() // also after an error: some rules can be in force
	if err != nil {
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
	c.pool.Resize(0, 0)
	if len(c.attached) == 0 {
		last := *e
		last.detached = true
		c.effective.Store(&last)
		c.timer.Set(nil)
		c.outbox.Set(nil)
		return
	}
	earlier := c.attached[len(c.attached)-1]
	if err := c.setRules(ctx, earlier); err != nil {
		earlier.Log.Error("rules of the earlier configuration could not be put back into the queue", zap.Error(err))
	}
	c.effective.Store(earlier)
	c.timer.Set(c.timed(earlier))
	c.outbox.Set(earlier.receivers)
	c.announce(ctx, earlier)
	c.resume()
}
