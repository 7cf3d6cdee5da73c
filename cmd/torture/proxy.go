package main

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// flow is what a proxy does with what comes.
type flow int

const (
	flows   flow = iota
	held         // nothing gets through, and nobody is told; what came is kept
	muted        // only answers are held: what is asked gets through
	refused      // connections are reset, new ones too
)

// proxy stands between one server and the database. Its methods may be called
// concurrently.
type proxy struct {
	listener net.Listener
	dial     func(context.Context) (net.Conn, error)
	work     sync.WaitGroup
	// ctx ends with close, and whoever waits for the database to answer.
	ctx    context.Context //nolint:containedctx // that of its goroutines
	cancel context.CancelFunc

	// mu guards the following.
	mu     sync.Mutex
	moved  *sync.Cond // when flow or a link has changed
	flow   flow
	closed bool
	links  map[*link]bool
}

// link is one connection through a proxy.
type link struct {
	near, far net.Conn // far is nil until the database has taken it
	gone      bool     // it was cut, or both ends are done
	// left is how many pieces may still pass before it is cut; below zero, all.
	left int
}

// newProxy listens on loopback. dial reaches the database.
func newProxy(ctx context.Context, dial func(context.Context) (net.Conn, error)) (*proxy, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &proxy{listener: l, dial: dial, links: map[*link]bool{}}
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	p.moved = sync.NewCond(&p.mu)
	p.work.Go(p.accept) // close waits for it
	return p, nil
}

// address is where the server finds the database.
func (p *proxy) address() string { return p.listener.Addr().String() }

// set changes what is done from now on with what comes, and with what is held.
func (p *proxy) set(f flow) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flow = f
	if f == refused {
		p.cut()
	}
	p.moved.Broadcast()
}

// reset cuts all connections that there are.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut()
}

// resetAfter cuts each connection that there is after so many more pieces, in
// either direction.
func (p *proxy) resetAfter(pieces int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.left = pieces
	}
}

// close cuts everything, and returns when nothing runs any more.
func (p *proxy) close() {
	p.cancel()
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.cut()
	p.mu.Unlock()
	p.work.Wait()
}

// cut cuts all. The caller holds mu.
func (p *proxy) cut() {
	for l := range p.links {
		p.drop(l)
	}
	p.moved.Broadcast()
}

// drop cuts one. The caller holds mu.
func (p *proxy) drop(l *link) {
	if l.gone {
		return
	}
	l.gone = true
	delete(p.links, l)
	for _, end := range []net.Conn{l.near, l.far} {
		if tcp, ok := end.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, not an orderly end
		}
		if end != nil {
			_ = end.Close()
		}
	}
}

// accept takes connections until close.
func (p *proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		l := &link{near: near, left: -1}
		p.mu.Lock()
		switch {
		case p.closed, p.flow == refused:
			p.drop(l)
		default:
			p.links[l] = true
			p.work.Go(func() { p.serve(l) }) // close waits for it
		}
		p.mu.Unlock()
	}
}

// serve takes a connection to the database, and back.
func (p *proxy) serve(l *link) {
	if !p.mayPass(l, false) {
		return
	}
	far, err := p.dial(p.ctx)
	p.mu.Lock()
	if err != nil {
		p.drop(l)
	}
	if l.gone {
		if far != nil {
			_ = far.Close()
		}
		p.mu.Unlock()
		return
	}
	l.far = far
	p.work.Go(func() { p.pump(l, far, l.near, true) }) // close waits for it
	p.mu.Unlock()
	p.pump(l, l.near, far, false)
}

// pump carries one direction until either end is gone.
func (p *proxy) pump(l *link, from, to net.Conn, answers bool) {
	piece := make([]byte, 16<<10)
	for {
		n, err := from.Read(piece)
		// Of an end, too, nobody hears as long as nothing gets through.
		if !p.mayPass(l, answers) {
			return
		}
		if n > 0 {
			if _, err := to.Write(piece[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.gone {
		return
	}
	l.gone = true
	delete(p.links, l)
	_, _ = l.near.Close(), l.far.Close()
	p.moved.Broadcast()
}

// mayPass waits until a piece may pass, and says false if the link is cut.
func (p *proxy) mayPass(l *link, answers bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !l.gone && (p.flow == held || p.flow == muted && answers) {
		p.moved.Wait()
	}
	if !l.gone && l.left == 0 {
		p.drop(l)
		p.moved.Broadcast()
	}
	if l.left > 0 {
		l.left--
	}
	return !l.gone
}
