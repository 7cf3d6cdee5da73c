package build

import "sync"

// hold delays the removal of logs and uploads while a backup copies them. Its methods are
// safe for concurrent use.
type hold struct {
	// mu guards the following.
	mu    sync.Mutex
	holds int
	later []func()
}

// take delays removals until release is called. The caller must call it once.
func (h *hold) take() (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holds++
	return func() {
		for _, remove := range h.drop() {
			remove()
		}
	}
}

// drop ends one hold, and returns the removals to make now.
func (h *hold) drop() []func() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holds--
	if h.holds > 0 {
		return nil
	}
	later := h.later
	h.later = nil
	return later
}

// delay reports whether remove is called later, because removals are held.
func (h *hold) delay(remove func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.holds == 0 {
		return false
	}
	h.later = append(h.later, remove)
	return true
}

// Hold keeps the logs and uploads that exist, until release is called: what is dropped
// meanwhile is removed then, or at the next start. A copy of the queue that is made during
// a hold refers only to logs and uploads that are there.
func (h *Host) Hold() (release func()) { return h.held.take() }
