// Package watch wakes goroutines that wait for a change.
//
// A waiter takes the channel of the next change first, reads the state then,
// and waits for the channel if the state is not what it needs:
//
//	for {
//		changed := signal.Next()
//		if enough(read()) {
//			return
//		}
//		<-changed
//	}
//
// In this order no change is missed. A waiter that reads first and takes the
// channel afterwards can wait for ever.
package watch

import "sync"

// Signal broadcasts changes of one thing. The zero value is ready to use. All
// methods are safe for concurrent use.
type Signal struct {
	// mu guards the following.
	mu sync.Mutex
	// next is closed at the next change; nil while there are no waiters, so
	// that a change without waiters costs nothing.
	next chan struct{}
}

// Next returns a channel that is closed at the next change.
func (s *Signal) Next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = make(chan struct{})
	}
	return s.next
}

// Notify wakes all waiters.
func (s *Signal) Notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		close(s.next)
		s.next = nil
	}
}

// Topics broadcasts changes of many things, each with its own waiters. The
// zero value is ready to use. All methods are safe for concurrent use.
//
// A key takes memory from a call of Next to the next Notify. The last change
// of a thing must be followed by a Notify for each waiter that can still come;
// otherwise its key is kept.
type Topics[K comparable] struct {
	// mu guards the following.
	mu   sync.Mutex
	next map[K]chan struct{}
}

// Next returns a channel that is closed at the next change of the thing.
func (t *Topics[K]) Next(key K) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	next, ok := t.next[key]
	if !ok {
		next = make(chan struct{})
		if t.next == nil {
			t.next = map[K]chan struct{}{}
		}
		t.next[key] = next
	}
	return next
}

// Notify wakes all waiters of these things.
func (t *Topics[K]) Notify(keys ...K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range keys {
		if next, ok := t.next[key]; ok {
			close(next)
			delete(t.next, key)
		}
	}
}

// NotifyAll wakes all waiters of all things.
func (t *Topics[K]) NotifyAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, next := range t.next {
		close(next)
	}
	clear(t.next)
}
