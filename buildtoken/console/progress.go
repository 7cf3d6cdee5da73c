package console

import (
	"context"
	"sync"
	"time"
)

// progress is how far a log has come; its writer and its readers share it.
type progress struct {
	mu sync.Mutex // mu guards the following
	// size is how many bytes of the file may be read.
	size int64
	// complete means that no more will come.
	complete bool
	// changed is closed at the next change; nil while nobody waits, so that a log without followers costs nothing.
	changed chan struct{}
	// ended is closed when complete is set; nil while nobody waits for just that.
	ended chan struct{}
}

func (p *progress) state() (size int64, complete bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.size, p.complete
}

func (p *progress) grow(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.size += int64(n)
	p.broadcast()
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.complete = true
	p.broadcast()
	if p.ended != nil {
		close(p.ended)
		p.ended = nil
	}
}

// broadcast wakes all who wait. The caller holds mu.
func (p *progress) broadcast() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// set says how far the log has come, if that is not known otherwise.
func (p *progress) set(size int64, complete bool) {
	p.mu.Lock()
	if size != p.size {
		p.size = size
		p.broadcast()
	}
	p.mu.Unlock()
	if complete {
		p.end()
	}
}

// next is the state, and what is closed at the next change of it.
func (p *progress) next() (size int64, complete bool, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.size, p.complete, p.changed
}

// wait returns when there is more than offset, when no more will come, or with the cause when ctx ends.
func (p *progress) wait(ctx context.Context, offset int64) (size int64, complete bool, err error) {
	for {
		p.mu.Lock()
		size, complete = p.size, p.complete
		if size > offset || complete {
			p.mu.Unlock()
			return size, complete, nil
		}
		if p.changed == nil {
			p.changed = make(chan struct{})
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return size, false, context.Cause(ctx)
		}
	}
}

// settle returns after d, whatever is written meanwhile, but at once when no more will come or ctx ends. It says whether
// ctx goes on.
func (p *progress) settle(ctx context.Context, d time.Duration) bool {
	p.mu.Lock()
	if p.complete {
		p.mu.Unlock()
		return ctx.Err() == nil
	}
	if p.ended == nil {
		p.ended = make(chan struct{})
	}
	ended := p.ended
	p.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ended:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
