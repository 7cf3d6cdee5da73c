package console

import (
	"context"
	"sync"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/watch"
)

// progress is the state of a log, which its writer and its readers share.
type progress struct {
	changed watch.Signal // the log has grown, or is complete
	ended   watch.Signal // the log is complete

	mu sync.Mutex // mu guards the following
	// size is how many bytes of the file can be read.
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

// set records the state of a log that is written elsewhere.
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

// next returns the state, and a channel that is closed at its next change.
func (p *progress) next() (size int64, complete bool, changed <-chan struct{}) {
	changed = p.changed.Next()
	size, complete = p.state()
	return size, complete, changed
}

// wait blocks until the log is longer than offset or complete. If ctx ends first, it returns the cause.
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

// settle sleeps for d, or until the log is complete or ctx ends. It reports whether ctx has not ended.
func (p *progress) settle(ctx context.Context, d time.Duration) bool {
	ended := p.ended.Next()
	if _, complete := p.state(); complete {
		return ctx.Err() == nil
	}
	select {
	case <-time.After(d):
	case <-ended:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
