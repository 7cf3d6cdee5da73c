// Package throttle limits how many wrong tokens a client can try.
//
// A [Limiter] counts them by client and place, in bounded memory. A place is
// where tokens are defined: a job, a folder, or the top level. A client is an
// IPv4 address or the /64 of an IPv6 address, because one client controls all
// addresses of a /64.
//
// Clients can share an address. So that one of them cannot lock out the others,
// the Limiter also remembers which tokens were right for a client: these still
// work while the client has to wait.
package throttle

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// Limit is how many wrong tokens one client can show for one place within a
// window before it has to wait. The zero value means 20 a minute.
type Limit struct {
	// Max is the number of wrong tokens. Zero means 20, a negative value turns
	// the limit off.
	Max int
	// Window is how long a wrong token counts. Zero means a minute.
	Window time.Duration
}

// WithDefaults returns l with its zero fields replaced by the defaults.
func (l Limit) WithDefaults() Limit {
	if l.Max == 0 {
		l.Max = 20
	}
	if l.Window <= 0 {
		l.Window = time.Minute
	}
	return l
}

// maxEntries bounds the memory of a Limiter: how many counts it keeps, and how
// many tokens it remembers. When it is full, it forgets the oldest entry first,
// so a flood from many addresses can wash out entries, but can neither grow
// memory nor lock out other clients.
const maxEntries = 1 << 16

// rememberFor is how long a right token is remembered since its last use, to
// within an hour.
const rememberFor = 7 * 24 * time.Hour

// Limiter counts wrong tokens by client and place. It is safe for concurrent use.
type Limiter struct {
	seed maphash.Seed

	// mu guards the following.
	mu    sync.Mutex
	wrong entries[wrongCount]
	right entries[time.Time] // the last use of a right token
}

// New returns an empty Limiter.
func New() *Limiter { return &Limiter{seed: maphash.MakeSeed()} }

// wrongCount counts in a window that begins with its first wrong token.
type wrongCount struct {
	since time.Time
	n     int
}

// key identifies a place or token by a keyed hash, so that long names cost no
// memory and no digest of a token is kept. Two places with the same hash would
// share a count; a client cannot cause that.
type key struct {
	client netip.Prefix
	what   uint64
}

func (l *Limiter) key(client netip.Addr, what string) key {
	return key{Client(client), maphash.String(l.seed, what)}
}

// Client returns the addresses that count as one client: an IPv4 address, or the /64 of an
// IPv6 address. The zero Addr has the zero Prefix: all unknown clients are one.
func Client(address netip.Addr) netip.Prefix {
	address = address.Unmap().WithZone("")
	bits := address.BitLen()
	if address.Is6() {
		bits = 64
	}
	prefix, _ := address.Prefix(bits) // only the zero Addr has none
	return prefix
}

// Wait returns how long the client has to wait until its tokens for these
// places are checked again. Zero means that it does not have to wait.
func (l *Limiter) Wait(now time.Time, limit Limit, client netip.Addr, places ...string) time.Duration {
	if limit.Max < 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wrong.byKey) == 0 {
		return 0
	}
	var wait time.Duration
	for _, place := range places {
		c, ok := l.wrong.byKey[l.key(client, place)]
		if !ok || c.n < limit.Max || now.Before(c.since) {
			continue // a clock that was set back locks out no client
		}
		wait = max(wait, c.since.Add(limit.Window).Sub(now))
	}
	return wait
}

// Add counts a wrong token for each of these places.
func (l *Limiter) Add(now time.Time, limit Limit, client netip.Addr, places ...string) {
	if limit.Max < 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, place := range places {
		c := l.wrong.at(l.key(client, place))
		if c.n == 0 || now.Sub(c.since) >= limit.Window || now.Before(c.since) {
			c.since, c.n = now, 0
		}
		c.n++
	}
}

// Remember records that a token with this digest was right for the client.
func (l *Limiter) Remember(now time.Time, limit Limit, client netip.Addr, digest [32]byte) {
	if limit.Max < 0 {
		return
	}
	k := l.key(client, string(digest[:]))
	l.mu.Lock()
	defer l.mu.Unlock()
	if used, ok := l.right.byKey[k]; ok && now.Sub(*used).Abs() < time.Hour {
		return
	}
	*l.right.at(k) = now
}

// Remembers reports whether a token with this digest was right for the client
// in the last seven days. It must still be checked.
func (l *Limiter) Remembers(now time.Time, client netip.Addr, digest [32]byte) bool {
	k := l.key(client, string(digest[:]))
	l.mu.Lock()
	defer l.mu.Unlock()
	used, ok := l.right.byKey[k]
	return ok && now.Sub(*used) < rememberFor
}

// entries is a map that forgets its oldest entry when it is full. The zero
// value is ready to use.
type entries[V any] struct {
	byKey map[key]*V
	// ring holds the keys of byKey in the order of their arrival, next is the
	// index of the oldest.
	ring []key
	next int
}

// at returns the entry of a key, a zero one if there was none.
func (e *entries[V]) at(k key) *V {
	if v, ok := e.byKey[k]; ok {
		return v
	}
	if e.byKey == nil {
		e.byKey = map[key]*V{}
	}
	if len(e.ring) < maxEntries {
		e.ring = append(e.ring, k)
	} else {
		delete(e.byKey, e.ring[e.next])
		e.ring[e.next] = k
		e.next = (e.next + 1) % len(e.ring)
	}
	v := new(V)
	e.byKey[k] = v
	return v
}
