package console

import (
	"context"
	"sync"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/watch"
)

// progress is how far a log has come; its writer and its readers share it.
type progress struct {
	changed watch.Signal // the log has grown, or is complete
	ended   watch.Signal // the log is complete

	mu sync.Mutex // mu guards the following
	// size is how many bytes of the file may be read.
	size int64
	// complete means that no more will come.
	complete bool
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
	p.changed.Notify()
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.complete = true
	p.changed.Notify()
	p.ended.Notify()
}

// set says how far the log has come, if that is not known otherwise.
func (p *progress) set(size int64, complete bool) {
	p.mu.Lock()
	if size != p.size {
		p.size = size
		p.changed.Notify()
	}
	p.mu.Unlock()
	if complete {
		p.end()
	}
}

// next is the state, and what is closed at the next change of it.
func (p *progress) next() (size int64, complete bool, changed <-chan struct{}) {
	changed = p.changed.Next()
	size, complete = p.state()
	return size, complete, changed
}

// wait returns when there is more than offset, when no more will come, or with the cause when ctx ends.
func (p *progress) wait(ctx context.Context, offset int64) (size int64, complete bool, err error) {
	for {
		size, complete, changed := p.next()
		if size > offset || complete {
			return size, complete, nil
		}
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
	ended := p.ended.Next()
	if _, complete := p.state(); complete {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ended:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
