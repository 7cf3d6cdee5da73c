// Package usage counts how tokens are used: how often, when, and from where. It counts in
// memory, so that a trigger waits for nothing; its owner saves what has changed from time to
// time.
package usage

import (
	"net/netip"
	"sync"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// Use is how a token was used. Token is the token as it was last shown, without its digest;
// after a restart it has only the name.
type Use struct {
	queue.TokenUse
	Token token.Token
}

const (
	maxTokens = 100_000 // reloads can bring ever new ones
	warnEach  = time.Minute
)

// Counter counts the uses of tokens. The zero value is not ready; see [New]. A Counter is safe
// for concurrent use.
type Counter struct {
	changed chan struct{}

	// mu guards the following.
	mu     sync.Mutex
	tokens map[key]*counted
}

type key struct{ place, name string }

type counted struct {
	Use
	unsaved bool
	warned  time.Time // zero if never
}

// New returns a Counter that goes on from what was saved before.
func New(saved []queue.TokenUse) *Counter {
	c := &Counter{changed: make(chan struct{}, 1), tokens: map[key]*counted{}}
	for _, u := range saved {
		if !u.Elsewhere {
			c.tokens[key{u.Place, u.Name}] = &counted{Use: Use{TokenUse: u, Token: token.Token{Name: u.Name}}}
		}
	}
	return c
}

// Count counts a use of a token that is defined at a place. dead is whether it has expired or
// was removed. It reports whether to warn of that, at most once a minute for each token.
func (c *Counter) Count(now time.Time, place string, t token.Token, from netip.Addr, dead bool) (warn bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := key{place, t.Name}
	one := c.tokens[of]
	if one == nil {
		if len(c.tokens) >= maxTokens {
			return false
		}
		one = &counted{Use: Use{TokenUse: queue.TokenUse{Place: place, Name: t.Name}}}
		c.tokens[of] = one
	}
	if !dead || one.Token.Grants == 0 {
		one.Token = token.Token{Name: t.Name, Expires: t.Expires, Grants: t.Grants}
	}
	one.Count(now, from, dead)
	if !one.unsaved {
		one.unsaved = true
		select {
		case c.changed <- struct{}{}:
		default:
		}
	}
	if !dead || !one.warned.IsZero() && now.Sub(one.warned) < warnEach {
		return false
	}
	one.warned = now
	return true
}

// Changed receives a value when there is something to save.
func (c *Counter) Changed() <-chan struct{} { return c.changed }

// Save calls save with the uses that have changed since the last time, in no order. After an error they are
// saved again the next time. It must not be called by several goroutines at once.
func (c *Counter) Save(save func([]queue.TokenUse) error) error {
	c.mu.Lock()
	var uses []queue.TokenUse
	for _, one := range c.tokens {
		if one.unsaved {
			one.unsaved = false
			uses = append(uses, one.TokenUse)
		}
	}
	c.mu.Unlock()
	if len(uses) == 0 {
		return nil
	}
	err := save(uses)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, u := range uses {
			c.tokens[key{u.Place, u.Name}].unsaved = true
		}
		select {
		case c.changed <- struct{}{}:
		default:
		}
	}
	return err
}

// All returns the uses in no order.
func (c *Counter) All() []Use {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Use, 0, len(c.tokens))
	for _, one := range c.tokens {
		all = append(all, one.Use)
	}
	return all
}
