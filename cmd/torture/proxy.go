package main

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// flow is how a proxy treats data.
type flow int

const (
	flows   flow = iota
	held         // nothing passes, and neither side is notified; data is kept
	muted        // only answers are held; requests pass
	refused      // connections are reset, new ones too
)

// proxy is between one server and the database. Its methods are safe for concurrent use.
type proxy struct {
	listener net.Listener
	dial     func(context.Context) (net.Conn, error)
	work     sync.WaitGroup
	// ctx ends with close, and also the waits for an answer of the database.
	ctx    context.Context //nolint:containedctx // that of its goroutines
	cancel context.CancelFunc

	// mu guards the following.
	mu     sync.Mutex
	moved  *sync.Cond // notifies of changes of flow and links
	flow   flow
	closed bool
	links  map[*link]bool
}

// link is one connection through a proxy.
type link struct {
	near, far net.Conn // far is nil until the connection to the database is made
	gone      bool     // it was cut, or both ends are closed
	// left is how many pieces can still pass before it is cut; all if negative.
	left int
}

// newProxy listens on loopback. dial connects to the database.
func newProxy(ctx context.Context, dial func(context.Context) (net.Conn, error)) (*proxy, error) {
	l, err := listen(ctx)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &proxy{listener: l, dial: dial, links: map[*link]bool{}}
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	p.moved = sync.NewCond(&p.mu)
	p.work.Go(p.accept) // close waits for it
	return p, nil
}

// address returns the address at which the server reaches the database.
func (p *proxy) address() string { return p.listener.Addr().String() }

// set changes how data is treated from now on, including held data.
func (p *proxy) set(f flow) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flow = f
	if f == refused {
		p.cut()
	}
	p.moved.Broadcast()
}

// reset cuts all connections.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut()
}

// resetAfter cuts each existing connection after that many more pieces, in either direction.
func (p *proxy) resetAfter(pieces int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.left = pieces
	}
}

// close cuts all connections, and returns when all goroutines have ended.
func (p *proxy) close() {
	p.cancel()
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.cut()
	p.mu.Unlock()
	p.work.Wait()
}

// cut cuts all connections. The caller must hold mu.
func (p *proxy) cut() {
	for l := range p.links {
		p.drop(l)
	}
	p.moved.Broadcast()
}

// drop cuts one connection. The caller must hold mu.
func (p *proxy) drop(l *link) {
	if l.gone {
		return
	}
	l.gone = true
	delete(p.links, l)
	for _, end := range []net.Conn{l.near, l.far} {
		if tcp, ok := end.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, not a normal end
		}
		if end != nil {
			_ = end.Close()
		}
	}
}

// accept accepts connections until close.
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

// serve connects a connection with the database.
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

// pump forwards one direction until either end is closed.
func (p *proxy) pump(l *link, from, to net.Conn, answers bool) {
	piece := make([]byte, 16<<10)
	for {
		n, err := from.Read(piece)
		// The end of one side is not forwarded either while nothing passes.
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

// mayPass waits until a piece can pass. It returns false if the link is cut.
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
