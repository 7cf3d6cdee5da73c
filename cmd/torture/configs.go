package main

import (
	"sync"
	"time"
)

// configs remembers which configurations may have been in force, and when.
// Its methods may be called concurrently.
type configs struct {
	// mu guards the following.
	mu   sync.Mutex
	last variation // loaded last
	past []past    // that may have been in force beside it
}

// past is a configuration that may have been in force. until is zero if it may be still.
type past struct {
	variation
	until time.Time
}

// begin forgets everything: a server starts with v.
func (c *configs) begin(v variation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.past = v, nil
}

// again forgets nothing: a server of which there were lives before starts with v.
func (c *configs) again(v variation) { c.loading(v)(true) }

// loading notes that from now on v may be in force as well. It returns what is
// to be called when it is known whether it was taken.
func (c *configs) loading(v variation) (known func(taken bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.past = append(c.past, past{variation: v})
	at := len(c.past) - 1
	return func(taken bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if taken {
			c.last, c.past[at].variation = v, c.last
		}
		c.past[at].until = now()
	}
}

// now is what was loaded last.
func (c *configs) now() variation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// since says whether a configuration that is so may have been in force at or
// after an instant.
func (c *configs) since(at time.Time, is func(variation) bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if is(c.last) {
		return true
	}
	for _, p := range c.past {
		if is(p.variation) && (p.until.IsZero() || !p.until.Before(at)) {
			return true
		}
	}
	return false
}
