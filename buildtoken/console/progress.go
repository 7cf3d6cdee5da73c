package console

import (
	"context"
	"sync"
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
}

// broadcast wakes all who wait. The caller holds mu.
func (p *progress) broadcast() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
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
