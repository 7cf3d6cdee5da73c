package pages

import (
	"context"
	"sync"
	"time"
)

const (
	// restFactor is how many times the time of a rendering passes before the next one.
	restFactor = 10
	// mostRest bounds that time.
	mostRest = 10 * time.Second
)

// pace lets streams render one after another, with a rest in between. So they take at most an
// eleventh of one processor from triggers, however many there are. It is safe for concurrent
// use; newPace makes one.
type pace struct {
	// turn has an element while a stream waits for the end of the rest, or renders.
	turn chan struct{}

	// mu guards the following.
	mu sync.Mutex
	// rested is when the rest ends.
	rested time.Time
}

func newPace() *pace { return &pace{turn: make(chan struct{}, 1)} }

// await blocks until the caller may render, who must call leave then. It reports false if the
// stream ends before.
func (p *pace) await(ctx context.Context, done <-chan struct{}) bool {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return false
	case <-done:
		return false
	}
	p.mu.Lock()
	rest := time.Until(p.rested)
	p.mu.Unlock()
	if pause(ctx, done, rest) {
		return true
	}
	p.leave()
	return false
}

// leave lets the next stream have its turn.
func (p *pace) leave() { <-p.turn }

// spent adds the rest that a rendering makes necessary.
func (p *pace) spent(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.rested.Before(now) {
		p.rested = now
	}
	if p.rested = p.rested.Add(restFactor * took); p.rested.Sub(now) > mostRest {
		p.rested = now.Add(mostRest)
	}
}

// pause waits. It reports false when the stream has to end.
func pause(ctx context.Context, done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-done:
		return false
	}
}
