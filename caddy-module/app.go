package caddymodule

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/throttle"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App is the engine: it queues triggers and runs builds, for all the
// build_token handlers of a configuration. There is one in a process, and it
// is optional: without it, its defaults hold.
//
// Reloading the configuration changes what is said here without touching
// queued items or running builds. A changed queue is another queue: the old
// one is closed, and what waits in it waits until it is configured again.
type App struct {
	// Where triggers are queued. Default: `bolt`, a file in Caddy's data directory.
	QueueRaw json.RawMessage `json:"queue,omitempty" caddy:"namespace=build_token.queues inline_key=queue"`

	// What this server is called, and what it can run.
	Node *Node `json:"node,omitempty"`

	// How many builds run at once. Default: 2.
	Executors int `json:"executors,omitempty"`

	// How many builds that only follow another system run at once. They take no executor. Default: 100.
	RemoteBuilds int `json:"remote_builds,omitempty"`

	// How many items may be queued; further triggers are answered with 503. The
	// last twentieth is for jobs that have nothing queued. Default: 10000.
	QueueLimit int `json:"queue_limit,omitempty"`

	// How long the queued items of a job wait for it to come back once no server's
	// configuration has it any more. Then they end NOT_BUILT. 0 ends them at once.
	// Default: 24h.
	OrphanTimeout *caddy.Duration `json:"orphan_timeout,omitempty"`

	// How many finished builds are kept of a job that does not say itself; 0
	// keeps all. Default: 100.
	KeepBuilds *int `json:"keep_builds,omitempty"`

	// How long running builds may go on when the process stops, before they
	// are stopped. It counts from the signal, even while Caddy still waits for
	// requests of other sites. 0 stops them at once. Default: 30s.
	ShutdownTimeout *caddy.Duration `json:"shutdown_timeout,omitempty"`

	// How many wrong tokens a client may show before it has to wait.
	WrongTokens *WrongTokens `json:"wrong_tokens,omitempty"`

	// Write one line for each decision to the logger `build_token.audit`.
	Audit bool `json:"audit,omitempty"`

	ctx   caddy.Context
	log   *zap.Logger
	queue Queue
	// stopping is closed when Caddy begins to stop this configuration.
	stopping chan struct{}
	// bodies bounds what the bodies of all sites hold.
	bodies   web.InFlight
	stopOnce sync.Once

	// slot holds the controller. It is nil until Provision has taken a
	// reference, and is not set to nil again: requests read it.
	slot     *slot
	place    string
	release  sync.Once
	attached attachment

	// mu guards the following, which handlers fill while they are provisioned.
	mu    sync.Mutex
	sites []*site

	// waiting is why the queue is not open yet, while openLater tries to open it.
	waiting atomic.Pointer[error]
	opening sync.WaitGroup
}

// WrongTokens says how many wrong tokens a client (an IPv4 address or an IPv6
// /64) may show for one job before it is answered with 429.
type WrongTokens struct {
	// No limit at all.
	Off bool `json:"off,omitempty"`

	// How many. Default: 20.
	Max int `json:"max,omitempty"`

	// How long a wrong token counts. Default: 1m.
	Window caddy.Duration `json:"window,omitempty"`
}

// Node is this server, as jobs and records of builds see it.
type Node struct {
	// Its name: letters, digits and . _ + : @ / -. It is a label too. A new one
	// counts after a restart. Default: `built-in`, or, of a queue that several servers
	// share, the name of the machine.
	Name string `json:"name,omitempty"`

	// What it can run: builds of jobs that ask for one of these labels, besides
	// those that ask for none.
	Labels []string `json:"labels,omitempty"`
}

// Queue is what a module of the namespace build_token.queues does.
type Queue interface {
	// Place says where the queue is. Configurations whose queues have the same
	// place share one, so it must not depend on any other setting. It is called
	// while provisioning and must not open anything.
	Place() (string, error)
	// Open opens the queue at the place, for at most limit items. node is the name
	// that the configuration gives this server, if it gives one. log goes on to be
	// valid over reloads.
	Open(place, node string, limit int, log *zap.Logger) (buildtoken.Options, error)
}

// renewer is a [Queue] that can be found open, and take new settings such as
// credentials. Renew returns errAnotherQueue if the open one is not the queue of this
// configuration.
type renewer interface {
	Renew(open buildtoken.Queue) error
}

var errAnotherQueue = errors.New("it is another queue than the one that is open")

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "build_token",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision checks the settings and takes a reference to the slot of the
// queue. It opens nothing.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	a.log = ctx.Logger()
	a.stopping = make(chan struct{})
	if err := a.check(); err != nil {
		return err
	}
	a.queue = new(Bolt)
	if a.QueueRaw != nil {
		mod, err := ctx.LoadModule(a, "QueueRaw")
		if err != nil {
			return fmt.Errorf("build_token: load queue: %w", err)
		}
		q, ok := mod.(Queue)
		if !ok {
			return fmt.Errorf("build_token: %T is not a queue", mod)
		}
		a.queue = q
	}
	place, err := a.queue.Place()
	if err != nil {
		return fmt.Errorf("build_token: %w", err)
	}
	if err := a.watchStopping(ctx); err != nil {
		return err
	}
	a.slot, err = takeSlot(place)
	if err != nil {
		return fmt.Errorf("build_token: %w", err)
	}
	a.place = place
	// From here on the app may be asked for its counts.
	return registerMetrics(ctx.GetMetricsRegistry(), a)
}

func (a *App) check() error {
	switch {
	case a.Node.check() != nil:
		return fmt.Errorf("build_token: node: %w", a.Node.check())
	case a.Executors < 0:
		return fmt.Errorf("build_token: executors is %d, want at least 1", a.Executors)
	case a.RemoteBuilds < 0:
		return fmt.Errorf("build_token: remote_builds is %d, want at least 1", a.RemoteBuilds)
	case a.QueueLimit < 0:
		return fmt.Errorf("build_token: queue_limit is %d, want at least 1", a.QueueLimit)
	case a.OrphanTimeout != nil && *a.OrphanTimeout < 0:
		return fmt.Errorf("build_token: orphan_timeout is %v, want at least 0", time.Duration(*a.OrphanTimeout))
	case a.KeepBuilds != nil && *a.KeepBuilds < 0:
		return fmt.Errorf("build_token: keep_builds is %d, want at least 0", *a.KeepBuilds)
	case a.ShutdownTimeout != nil && *a.ShutdownTimeout < 0:
		return fmt.Errorf("build_token: shutdown_timeout is %v, want at least 0", time.Duration(*a.ShutdownTimeout))
	case a.WrongTokens != nil && (a.WrongTokens.Max < 0 || a.WrongTokens.Window < 0):
		return errors.New("build_token: wrong_tokens can't be negative")
	}
	return nil
}

func (n *Node) check() error {
	if n == nil {
		return nil
	}
	names := n.Labels
	if n.Name != "" {
		names = append([]string{n.Name}, names...)
	}
	for _, name := range names {
		if err := job.CheckLabel(name); err != nil {
			return err
		}
	}
	return nil
}

// name is the node's name; "" leaves it to the default.
func (n *Node) name() string {
	if n == nil {
		return ""
	}
	return n.Name
}

// labels returns the labels of this server, its name included. It returns nil if
// the queue is one that other servers may share, whose labels are not known.
func (a *App) labels() []string {
	if _, alone := a.queue.(*Bolt); !alone {
		return nil
	}
	if a.Node == nil {
		return []string{buildtoken.DefaultNode}
	}
	return append([]string{cmp.Or(a.Node.Name, buildtoken.DefaultNode)}, a.Node.Labels...)
}

// config is what the controller is told.
func (a *App) config() buildtoken.Config {
	c := buildtoken.Config{Executors: a.Executors, RemoteBuilds: a.RemoteBuilds, QueueLimit: a.QueueLimit, Log: a.log}
	for _, s := range a.sites {
		c.Sites = append(c.Sites, s.definition)
	}
	if a.Audit {
		c.Audit = a.log.Named("audit")
	}
	if a.Node != nil {
		c.Labels = a.Node.Labels
	}
	if a.KeepBuilds != nil {
		c.KeepBuilds = *a.KeepBuilds
		if c.KeepBuilds == 0 {
			c.KeepBuilds = -1 // in a Config, 0 is the default
		}
	}
	if a.OrphanTimeout != nil {
		c.OrphanTimeout = time.Duration(*a.OrphanTimeout)
		if c.OrphanTimeout == 0 {
			c.OrphanTimeout = -1 // the same
		}
	}
	if a.ShutdownTimeout != nil {
		c.ShutdownTimeout = time.Duration(*a.ShutdownTimeout)
		if c.ShutdownTimeout == 0 {
			c.ShutdownTimeout = -1 // the same
		}
	}
	if w := a.WrongTokens; w != nil {
		c.WrongTokens = throttle.Limit{Max: w.Max, Window: time.Duration(w.Window)}
		if w.Off {
			c.WrongTokens.Max = -1
		}
	}
	return c
}

// Start opens the queue, unless a request did already or an earlier
// configuration has it open, and puts this configuration into force. If Caddy is
// starting and the database of the queue does not answer, it goes on without.
func (a *App) Start() error {
	_, err := a.controller()
	if err == nil {
		a.logReady(a.ctx)
		return nil
	}
	if !a.mayWait(err) {
		return err
	}
	a.log.Error("cannot open the queue yet: triggers are answered with 503 until its database answers", zap.Error(err))
	a.waiting.Store(&err)
	a.opening.Go(a.openLater) // Stop waits for it
	return nil
}

// controller is the controller with this configuration attached. Start calls
// it, and so does every request, because Caddy may start the HTTP app first;
// whoever comes first does the work.
func (a *App) controller() (*buildtoken.Controller, error) {
	if err := a.waiting.Load(); err != nil {
		return nil, fmt.Errorf("%w: %w", queue.ErrStorage, *err)
	}
	return a.attached.get(a.open)
}

func (a *App) open() (*buildtoken.Controller, func(), error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.sites {
		s.forget() // all handlers are there
	}
	config := a.config()
	limit := config.QueueLimit
	if limit == 0 {
		limit = buildtoken.DefaultQueueLimit
	}
	ctl, err := a.slot.open(a.queue, a.Node.name(), limit, a.log)
	if err != nil {
		return nil, nil, err
	}
	detach, err := ctl.Attach(context.WithoutCancel(a.ctx), config)
	if err != nil {
		return nil, nil, fmt.Errorf("build_token: %w", err)
	}
	return ctl, detach, nil
}

// opened is the controller if somebody has opened it already, else nil.
func (a *App) opened() *buildtoken.Controller {
	if a.slot == nil {
		return nil
	}
	return a.slot.controller()
}

// Stop takes this configuration out of force. Requests of it that are still
// being served find the controller as the newest configuration has it. When the process
// exits, the configuration stays in force until all apps have stopped, since Caddy may
// stop the HTTP app last: triggers are taken until the listeners are closed.
func (a *App) Stop() error {
	a.stopped()
	a.opening.Wait()
	if !caddy.Exiting() {
		a.attached.end()
	}
	return nil
}

// Cleanup gives the slot back. Caddy calls it also when Provision failed, and
// without Stop when a later part of a load failed.
func (a *App) Cleanup() error {
	if a.stopping != nil {
		a.stopped()
	}
	a.opening.Wait()
	a.attached.end()
	var err error
	if a.slot != nil {
		a.release.Do(func() { err = dropSlot(a.place) })
	}
	return err
}

func (a *App) stopped() {
	a.stopOnce.Do(func() { close(a.stopping) })
}

var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
