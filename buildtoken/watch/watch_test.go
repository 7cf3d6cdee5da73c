package watch_test

import (
	"sync"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/watch"
)

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestSignalWakesAllWaitersOnce(t *testing.T) {
	var s watch.Signal
	s.Notify() // without waiters
	first, second := s.Next(), s.Next()
	if closed(first) || closed(second) {
		t.Error("Next reports a change before it was called")
	}
	s.Notify()
	if !closed(first) || !closed(second) {
		t.Error("a waiter was not woken")
	}
	if closed(s.Next()) {
		t.Error("a change was reported twice")
	}
}

func TestTopicsWakeTheirOwnWaiters(t *testing.T) {
	var topics watch.Topics[string]
	topics.Notify("a") // without waiters
	a, b, c := topics.Next("a"), topics.Next("b"), topics.Next("c")
	topics.Notify("a", "c", "none")
	if !closed(a) || closed(b) || !closed(c) {
		t.Errorf("after a change of a and c: woken a=%v b=%v c=%v", closed(a), closed(b), closed(c))
	}
	if got := topics.Len(); got != 1 {
		t.Errorf("%d things have waiters, want 1: b", got)
	}
	a = topics.Next("a")
	topics.NotifyAll()
	if !closed(a) || !closed(b) {
		t.Errorf("NotifyAll: woken a=%v b=%v", closed(a), closed(b))
	}
	if got := topics.Len(); got != 0 {
		t.Errorf("%d things are kept without waiters", got)
	}
}

// TestNoChangeIsMissed follows the order that the package describes.
func TestNoChangeIsMissed(t *testing.T) {
	const last = 1000
	var (
		mu     sync.Mutex
		value  int
		topics watch.Topics[int]
		wait   sync.WaitGroup
	)
	for range 4 {
		wait.Go(func() {
			for {
				changed := topics.Next(1)
				mu.Lock()
				now := value
				mu.Unlock()
				if now == last {
					return
				}
				<-changed
			}
		})
	}
	for range last {
		mu.Lock()
		value++
		mu.Unlock()
		topics.Notify(1)
	}
	wait.Wait()
}
