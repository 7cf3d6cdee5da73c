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
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/throttle"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App holds the queue and runs the builds of all build_token handlers of a
// configuration. It is optional; without it, the defaults apply.
//
// A reload changes these settings without touching queued items or running builds.
// If `queue` changes, the old queue is closed, and its items wait until it is
// configured again.
type App struct {
	// Where triggers are queued. Default: `bolt`, a file in Caddy's data directory.
	QueueRaw json.RawMessage `json:"queue,omitempty" caddy:"namespace=build_token.queues inline_key=queue"`

	// The name and the labels of this server.
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

	// How long after orphan_timeout the records, logs and workspaces of a job that no
	// server's configuration has are kept. Default: until `caddy build-token prune`
	// removes them.
	KeepRemoved caddy.Duration `json:"keep_removed,omitempty"`

	// How many finished builds are kept per job, unless the job or a folder sets it;
	// 0 keeps all. Default: 100.
	KeepBuilds *int `json:"keep_builds,omitempty"`

	// How long running builds may continue when the process stops, before they
	// are stopped. It counts from the signal, even while Caddy still waits for
	// requests of other sites. 0 stops them at once. Default: 30s.
	ShutdownTimeout *caddy.Duration `json:"shutdown_timeout,omitempty"`

	// How many wrong tokens a client may send before it is answered with 429.
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

	// slot holds the controller. Provision sets it; it stays set after Cleanup,
	// because requests still read it.
	slot     *slot
	place    string
	release  sync.Once
	attached attachment

	// mu guards the following, which handlers fill while they are provisioned.
	mu    sync.Mutex
	sites []*site

	// tracing sends spans, if a site has a handler for traces.
	tracing *sdktrace.TracerProvider

	// waiting is the error of the last attempt while openLater tries to open the queue.
	waiting atomic.Pointer[error]
	opening sync.WaitGroup
}

// WrongTokens limits how many wrong tokens a client (an IPv4 address or an IPv6
// /64) may send for one job before it is answered with 429.
type WrongTokens struct {
	// Disables the limit.
	Off bool `json:"off,omitempty"`

	// How many wrong tokens are allowed within the window. Default: 20.
	Max int `json:"max,omitempty"`

	// How long a wrong token counts. Default: 1m.
	Window caddy.Duration `json:"window,omitempty"`
}

// Node describes this server to jobs and in the records of builds.
type Node struct {
	// The name: letters, digits and . _ + : @ / -. It is also a label. A changed name
	// takes effect after a restart. Default: `built-in`, or the name of the machine if
	// several servers share the queue.
	Name string `json:"name,omitempty"`

	// The labels of this server. It runs the builds of jobs that require one of them,
	// and of jobs that require none.
	Labels []string `json:"labels,omitempty"`
}

// Queue is the interface of modules in the namespace build_token.queues.
type Queue interface {
	// Place returns where the queue is. Configurations with the same place share
	// one queue, so the place must not depend on any other setting. It is called
	// while provisioning and must not open anything.
	Place() (string, error)
	// Open opens the queue at the place, for at most limit items. node is the configured
	// name of this server, "" if there is none. log stays valid after reloads.
	Open(place, node string, limit int, log *zap.Logger) (buildtoken.Options, error)
}

// renewer is a [Queue] that can take over an open queue with new settings, such as
// rotated credentials. Renew returns errAnotherQueue if the open queue is not the one
// that this configuration describes.
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
	a.slot, a.place = takeSlot(place), place
	// From now on a scrape can read the app's counts.
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
	case a.KeepRemoved < 0:
		return fmt.Errorf("build_token: keep_removed is %v, want more than 0", time.Duration(a.KeepRemoved))
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

// config returns the settings for the controller.
func (a *App) config() buildtoken.Config {
	c := buildtoken.Config{Executors: a.Executors, RemoteBuilds: a.RemoteBuilds, QueueLimit: a.QueueLimit, KeepRemoved: time.Duration(a.KeepRemoved), Log: a.log}
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

// Start opens the queue and attaches this configuration to it. The queue may be open
// already, because of a request or an earlier configuration. If Caddy is starting and
// the queue's database does not answer, Start returns nil and keeps trying in the background.
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

// controller returns the controller with this configuration attached. Start and every
// request call it, because Caddy may start the HTTP app first; the first call opens
// the queue.
func (a *App) controller() (*buildtoken.Controller, error) {
	if err := a.waiting.Load(); err != nil {
		return nil, *err
	}
	return a.attached.get(a.open)
}

func (a *App) open() (*buildtoken.Controller, func(), error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.sites {
		s.forget() // all handlers are provisioned
	}
	config := a.config()
	config.Spans = a.startTracing()
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

// opened returns the controller, or nil if it is not open.
func (a *App) opened() *buildtoken.Controller {
	if a.slot == nil {
		return nil
	}
	return a.slot.controller()
}

// Stop detaches this configuration from the controller. Requests that are still being
// served use the controller with the newest configuration. When the process exits, the
// configuration stays attached until all apps have stopped, because Caddy may stop the
// HTTP app last: triggers are accepted until the listeners are closed.
func (a *App) Stop() error {
	a.stopped()
	a.opening.Wait()
	if !caddy.Exiting() {
		a.attached.end()
	}
	return nil
}

// Cleanup releases the slot. Caddy also calls it if Provision failed, and without Stop
// if a later part of a load failed.
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
	a.stopTracing() // after the last build has ended
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
