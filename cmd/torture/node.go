package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// node is one server of a cluster, over all its lives. Only one goroutine at a time may start
// and end it.
type node struct {
	c       *cluster
	name    string
	site    site
	proxy   *proxy
	client  *client
	configs configs
	life    int
	keeper  *keeper // of the running life; nil if it is halted
	revived func()  // records that it is no longer dead
	up      atomic.Bool
}

// keeper starts a server, repeatedly while a fault of the database prevents the start.
type keeper struct {
	n    *node
	work sync.WaitGroup
	stop context.CancelFunc

	// mu guards the following.
	mu  sync.Mutex
	srv *server
}

func (c *cluster) newNode(ctx context.Context, name string, labels []string, self string, all []*job) (*node, error) {
	home := filepath.Join(c.dir, name)
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	n := &node{c: c, name: name}
	var err error
	if n.proxy, err = newProxy(ctx, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.socket)
	}); err != nil {
		return nil, err
	}
	n.site = site{
		dir: filepath.ToSlash(c.dir), home: filepath.ToSlash(home), self: self, jobs: all, busy: c.busy.Addr().String(),
		member: &member{
			name: name, labels: labels, takeover: c.takeover,
			database: "postgres://buildtoken@" + n.proxy.address() + "/postgres?sslmode=disable",
		},
	}
	if err := reserve(ctx, &n.site.address, &n.site.admin); err != nil {
		return nil, err
	}
	n.client = newClient(n.site)
	return n, nil
}

// start runs the server from now on. It counts as dead until it answers.
func (n *node) start(v variation) {
	k := &keeper{n: n}
	ctx, cancel := context.WithCancel(context.Background())
	k.stop = cancel
	n.keeper = k
	n.configs.again(v)
	revived := n.revived
	k.work.Go(func() { // halt waits for it
		if k.keep(ctx, v) {
			revived()
			n.up.Store(true)
		}
	})
}

// keep starts the server until it answers, and reports whether it does.
func (k *keeper) keep(ctx context.Context, v variation) bool {
	n := k.n
	for begun := now(); ctx.Err() == nil; {
		n.life++
		srv, err := startServer(n.c.binary, n.site, n.life, n.site.caddyfile(v, ""))
		if err != nil {
			n.c.m.report("%s: %v", n.name, err)
			return false
		}
		k.mu.Lock()
		k.srv = srv
		k.mu.Unlock()
		if err = srv.ready(ctx, n.client); err == nil {
			return true
		}
		srv.kill(false)
		if ctx.Err() != nil {
			return false
		}
		if calm := n.c.fates.reachable(n.name, begun, now()); calm > n.c.takeover+startPatience {
			n.c.m.report("%s life %d: does not start, although nothing was in the way for %v: %v", n.name, n.life, calm, err)
			return false
		}
		n.c.m.count(func(c *counts) { c.startsFailed++ })
		if err := n.over(srv); err != nil {
			n.c.m.report("%s: %v", n.name, err)
		}
		pause(ctx, 200*time.Millisecond)
	}
	return false
}

// startPatience bounds how long a server may take to start after the lease of an earlier life,
// without a fault.
const startPatience = 20 * time.Second

// server returns the running life, nil if there is none yet.
func (k *keeper) server() *server {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.srv
}

// halt ends the server in a given way. It stays away until the next start.
func (n *node) halt(how func(*server)) error {
	k := n.keeper
	if k == nil {
		return nil
	}
	n.keeper = nil
	n.up.Store(false)
	n.revived = n.c.fates.begin(dead, n.name)
	srv := k.server()
	if srv != nil {
		n.alive(srv)
		how(srv)
	}
	k.stop()
	k.work.Wait()
	if srv = k.server(); srv == nil {
		return nil
	}
	srv.kill(false) // it can be another life by now; killing twice is allowed
	return n.over(srv)
}

// alive checks whether the server has ended without being told to. One that never answered may
// have.
func (n *node) alive(srv *server) {
	select {
	case <-srv.ended:
		if srv.answered.Load() && !srv.dying.Load() {
			n.c.m.report("%s life %d: the server ended by itself: %v", n.name, n.life, srv.err)
		}
	default:
	}
}

// end shuts the server down gracefully, at the end of the run.
func (n *node) end() error {
	return n.halt(func(srv *server) {
		if !srv.stop(20*time.Second) || srv.err != nil {
			n.c.m.report("%s life %d: SIGTERM did not end the server well: %v", n.name, n.life, srv.err)
		}
	})
}

// abandon kills the server if it is still running.
func (n *node) abandon() {
	_ = n.halt(func(srv *server) { srv.kill(false) }) // its log no longer matters
	n.client.close()
}

// over checks the log of a life that is over. Errors are allowed while it, or another server
// that it can have given up, has a fault.
func (n *node) over(srv *server) error {
	complaints, err := srv.complaints(func(line string, at time.Time) bool {
		// Nothing in this scenario sets the database back.
		return !strings.Contains(line, "was set back") && n.c.fates.anyDisturbed(at.Add(-complaining), at.Add(jitter))
	})
	if err != nil {
		return err
	}
	for _, line := range complaints {
		n.c.m.report("%s life %d: the server's log has: %.600s", n.name, n.life, line)
	}
	const keep = 10
	if n.life > keep {
		_ = os.Remove(filepath.Join(n.site.home, fmt.Sprintf("life-%d.log", n.life-keep))) // saves space
	}
	return nil
}

// complaining is how long after a fault errors can be in the log: a request to the database is
// given up after ten seconds.
const complaining = 12 * time.Second
