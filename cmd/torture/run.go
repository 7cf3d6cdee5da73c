package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// options are the flags of the command line.
type options struct {
	binary  string
	seed    uint64
	length  time.Duration
	kills   int // 0: as many as there is time for
	servers int // 0: one, with a queue in a file
	// consoles makes the harness compare the logs on all servers.
	consoles bool
	clients  int
	relay    bool // builds are relayed to a Jenkins
	notify   bool // builds notify a receiver
	// reference is a script that verifies the signatures of notifications; "": none.
	reference string
	setBack   bool  // the database is replaced by earlier states of itself
	pooler    bool  // the servers of a cluster reach the database through PgBouncer
	rolling   int64 // triggers during rolling restarts; 0: no such restarts
}

// harness runs lives of the server, one after another.
type harness struct {
	options
	site    site
	m       *model
	ledger  *ledger
	d       dice
	life    int
	next    atomic.Int64 // numbers causes
	configs configs
}

// errFound ends a run that found a failure.
var errFound = errors.New("torture: found something")

// newHarness creates the directories, and reserves the addresses.
func newHarness(ctx context.Context, o options, dir string, stop func()) (*harness, func(), error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("find this program: %w", err)
	}
	all := jobs()
	h := &harness{
		options: o, m: newModel(all, stop), d: newDice(o.seed, 0),
		site: site{dir: filepath.ToSlash(dir), home: filepath.ToSlash(dir), self: filepath.ToSlash(self), jobs: all},
	}
	for _, folder := range []string{"data", "locks"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			return nil, nil, fmt.Errorf("make a folder: %w", err)
		}
	}
	h.ledger = &ledger{path: h.site.ledger()}
	busy, err := listen(ctx)
	if err != nil {
		return nil, nil, err
	}
	h.site.busy = busy.Addr().String()
	if err := reserve(ctx, &h.site.address, &h.site.admin); err != nil {
		_ = busy.Close() // it only occupied the address
		return nil, nil, err
	}
	return h, func() { _ = busy.Close() }, nil // the same
}

// run starts and ends servers until the time is over, then checks that everything ends.
func (h *harness) run(ctx context.Context) error {
	end := now().Add(h.length)
	for now().Before(end) && (h.kills == 0 || h.m.killed() < h.kills) {
		if err := h.oneLife(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return h.drain(ctx)
}

func (m *model) killed() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counts.kills + m.counts.early
}

// start starts another life with a configuration.
func (h *harness) start(v variation) (*server, error) {
	h.life++
	h.configs.begin(v)
	h.m.lives(now())
	return startServer(h.binary, h.site, h.life, h.site.caddyfile(v, ""))
}

// oneLife starts the server, checks everything, starts clients, and ends it.
func (h *harness) oneLife(ctx context.Context) error {
	srv, err := h.start(vary(h.d))
	if err != nil {
		return err
	}
	defer srv.kill(false) // in any case; killing twice is allowed
	if h.d.chance(15) {
		pause(ctx, h.d.mostlyShort(600*time.Millisecond))
		h.m.ends()
		srv.kill(h.d.chance(30))
		h.m.count(func(c *counts) { c.early++ })
		return h.over(srv)
	}
	look := lookout{newClient(h.site), h.m, h.ledger}
	defer look.close()
	if err := srv.ready(ctx, look.client); err != nil {
		h.m.report("life %d: %v", h.life, err)
		return errFound
	}
	if h.d.chance(10) { // it dies during the check of everything
		death := h.d.mostlyShort(300 * time.Millisecond)
		var dying sync.WaitGroup
		dying.Go(func() {
			pause(ctx, death)
			h.m.ends()
			srv.kill(false)
		})
		_ = look.everything(ctx, h.d) // it dies half-way through
		dying.Wait()
		h.m.count(func(c *counts) { c.kills++ })
		return h.over(srv)
	}
	if err := look.everything(ctx, h.d); err != nil {
		h.m.report("life %d: looking at everything: %v", h.life, err)
		return errFound
	}
	h.work(ctx, srv, look)
	return h.over(srv)
}

// work runs clients and the reloader until the server is ended.
func (h *harness) work(ctx context.Context, srv *server, look lookout) {
	whole := ctx
	ctx, cancel := context.WithCancel(whole)
	defer cancel()
	var users sync.WaitGroup
	for n := range h.clients {
		u := h.user(look, srv, newDice(h.seed, uint64(h.life)<<8|uint64(n)+1)) //nolint:gosec // both are small
		users.Go(func() { u.live(ctx, srv) })                                  // waited for below
	}
	reloading := make(chan struct{}, 1)
	if h.d.chance(60) {
		r := &reloader{h: h, look: look, srv: srv, d: newDice(h.seed, uint64(h.life)<<8|0xff), begins: reloading} //nolint:gosec // it is small
		users.Go(func() { r.live(ctx) })                                                                          // waited for below
	}
	if h.d.chance(85) {
		h.await(ctx, srv, reloading)
		cancel()
		users.Wait()
		return
	}
	// It dies while it is idle, when everything that was due has left the queue.
	pause(ctx, h.d.mostlyShort(2*time.Second))
	cancel()
	users.Wait()
	pause(whole, h.d.within(2*time.Second))
	h.m.ends()
	h.end(srv)
}

// await waits for the time at which the server dies, and ends it.
func (h *harness) await(ctx context.Context, srv *server, reloading <-chan struct{}) {
	length := h.d.mostlyShort(4 * time.Second)
	timer, done := context.WithTimeout(ctx, length)
	defer done()
	select {
	case <-timer.Done():
	case <-srv.ended:
	}
	if h.d.chance(25) { // in the middle of a reload, if there is one
		again, done := context.WithTimeout(ctx, time.Second)
		defer done()
		select {
		case <-reloading:
			pause(ctx, h.d.mostlyShort(40*time.Millisecond))
		case <-again.Done():
		case <-srv.ended:
		}
	}
	h.m.ends()
	h.end(srv)
}

// end ends the server in one of several ways.
func (h *harness) end(srv *server) {
	select {
	case <-srv.ended:
		if !srv.dying.Load() {
			h.m.report("life %d: the server ended by itself: %v", h.life, srv.err)
		}
		return
	default:
	}
	switch n := h.d.IntN(100); {
	case n < 15:
		if !srv.stop(20 * time.Second) {
			h.m.report("life %d: the server does not end on SIGTERM", h.life)
		} else if srv.err != nil {
			h.m.report("life %d: the server ended on SIGTERM with %v", h.life, srv.err)
		}
		h.m.count(func(c *counts) { c.stops++ })
	case n < 25:
		srv.stop(h.d.mostlyShort(800 * time.Millisecond))
		h.m.count(func(c *counts) { c.kills++ })
	default:
		srv.kill(n < 50)
		h.m.count(func(c *counts) { c.kills++ })
	}
}

// over checks the log of a life that is over.
func (h *harness) over(srv *server) error {
	complaints, err := srv.complaints(nil)
	if err != nil {
		return err
	}
	for _, line := range complaints {
		h.m.report("life %d: the server's log has: %.600s", h.life, line)
	}
	const keep = 5
	if h.life > keep {
		_ = os.Remove(filepath.Join(h.site.dir, fmt.Sprintf("life-%d.log", h.life-keep))) // saves space
	}
	return nil
}
