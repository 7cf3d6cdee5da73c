package main

import (
	"sync"
	"time"
)

// configs records which configurations can have been in force, and when. Its methods are safe
// for concurrent use.
type configs struct {
	// mu guards the following.
	mu   sync.Mutex
	last variation // loaded last
	past []past    // can have been in force instead of last
}

// past is a configuration that can have been in force. until is zero if it still can be.
type past struct {
	variation
	until time.Time
}

// begin starts again: a new server starts with v.
func (c *configs) begin(v variation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.past = v, nil
}

// again starts another life of the server with v. Earlier configurations are kept.
func (c *configs) again(v variation) { c.loading(v)(true) }

// loading records that v can also be in force from now on. The caller must call the returned
// function when it knows whether v was accepted.
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

// now returns the configuration that was loaded last.
func (c *configs) now() variation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// since reports whether a configuration with this property can have been in force at an instant
// or later.
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
