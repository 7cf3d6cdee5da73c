// Package throttle limits how many wrong tokens a client can try.
//
// A [Limiter] counts them by client and job, in bounded memory. A client is an
// IPv4 address or the /64 of an IPv6 address, because one client controls all
// addresses of a /64.
package throttle

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// Limit is how many wrong tokens one client can show for one job within a
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

// maxPairs bounds the memory of a Limiter: how many pairs of client and job it
// remembers. When it is full, it forgets the oldest pair first, so a flood
// from many addresses can wash out counts, but can neither grow memory nor
// lock out other clients.
const maxPairs = 1 << 16

// Limiter counts wrong tokens by client and job. It is safe for concurrent use.
type Limiter struct {
	seed maphash.Seed

	// mu guards the following.
	mu    sync.Mutex
	count map[clientJob]*wrongCount
	// ring holds the keys of count in the order of their arrival, next is the
	// index of the oldest.
	ring []clientJob
	next int
}

// clientJob identifies the job by a keyed hash, so that long names cost no
// memory. Two jobs with the same hash would share a count; a client cannot
// cause that.
type clientJob struct {
	client netip.Prefix
	job    uint64
}

// wrongCount counts in a window that begins with its first wrong token.
type wrongCount struct {
	since time.Time
	n     int
}

// New returns an empty Limiter.
func New() *Limiter {
	return &Limiter{seed: maphash.MakeSeed(), count: map[clientJob]*wrongCount{}}
}

func (l *Limiter) key(client netip.Addr, job string) clientJob {
	client = client.Unmap().WithZone("")
	bits := client.BitLen()
	if client.Is6() {
		bits = 64
	}
	prefix, _ := client.Prefix(bits) // the zero Addr has the zero Prefix: all unknown clients are one
	return clientJob{prefix, maphash.String(l.seed, job)}
}

// Wait returns how long the client has to wait until its tokens for the job
// are checked again. Zero means that it does not have to wait.
func (l *Limiter) Wait(now time.Time, limit Limit, client netip.Addr, job string) time.Duration {
	if limit.Max < 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.count) == 0 {
		return 0
	}
	c, ok := l.count[l.key(client, job)]
	if !ok || c.n < limit.Max || now.Before(c.since) {
		return 0 // a clock that was set back locks out no client
	}
	return max(0, c.since.Add(limit.Window).Sub(now))
}

// Add counts a wrong token.
func (l *Limiter) Add(now time.Time, limit Limit, client netip.Addr, job string) {
	if limit.Max < 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := l.key(client, job)
	if c, ok := l.count[key]; ok {
		if now.Sub(c.since) >= limit.Window || now.Before(c.since) {
			c.since, c.n = now, 0
		}
		c.n++
		return
	}
	if len(l.ring) < maxPairs {
		l.ring = append(l.ring, key)
	} else {
		delete(l.count, l.ring[l.next])
		l.ring[l.next] = key
		l.next = (l.next + 1) % len(l.ring)
	}
	l.count[key] = &wrongCount{since: now, n: 1}
}
