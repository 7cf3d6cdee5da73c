package watch

// Len returns the number of things that have waiters.
func (t *Topics[K]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.next)
}
