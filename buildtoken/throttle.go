package buildtoken

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// Throttle says how many wrong tokens one client may show for one job within
// a window before it is told to wait. The zero value means 20 a minute.
type Throttle struct {
	// Max is how many; negative turns the throttle off.
	Max int
	// Window is how long a wrong token counts.
	Window time.Duration
}

func (t Throttle) withDefaults() Throttle {
	if t.Max == 0 {
		t.Max = 20
	}
	if t.Window <= 0 {
		t.Window = time.Minute
	}
	return t
}

// maxThrottled bounds the memory of the throttle: how many pairs of client and
// job are remembered. When it is full, the oldest are forgotten first, so a
// flood from many addresses can wash out counts but neither grow memory nor
// lock anybody out.
const maxThrottled = 1 << 16

// wrongTokens counts wrong tokens by client and job. The client is an IPv4
// address or the /64 of an IPv6 address, because one client commands as much.
type wrongTokens struct {
	seed maphash.Seed

	// mu guards the following.
	mu    sync.Mutex
	count map[clientJob]*wrongCount
	// ring holds the keys in the order in which they came, next is the oldest.
	ring []clientJob
	next int
}

// clientJob names the job by a keyed hash, so that long names cost no memory;
// two jobs of one hash would share a count, which no client can bring about.
type clientJob struct {
	client netip.Prefix
	job    uint64
}

// wrongCount counts in a window that begins with its first wrong token.
type wrongCount struct {
	since time.Time
	n     int
}

func newWrongTokens() *wrongTokens {
	return &wrongTokens{seed: maphash.MakeSeed(), count: map[clientJob]*wrongCount{}}
}

func (w *wrongTokens) key(client netip.Addr, job string) clientJob {
	client = client.Unmap().WithZone("")
	bits := client.BitLen()
	if client.Is6() {
		bits = 64
	}
	prefix, _ := client.Prefix(bits) // the zero Addr gives the zero Prefix: all unknown clients are one
	return clientJob{prefix, maphash.String(w.seed, job)}
}

// wait says how long the client has to wait before its tokens for the job are
// looked at again; zero means not at all.
func (w *wrongTokens) wait(now time.Time, t Throttle, client netip.Addr, job string) time.Duration {
	if t.Max < 0 {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.count) == 0 {
		return 0
	}
	c, ok := w.count[w.key(client, job)]
	if !ok || c.n < t.Max || now.Before(c.since) {
		return 0 // a clock that was set back locks nobody out
	}
	return max(0, c.since.Add(t.Window).Sub(now))
}

// add counts a wrong token.
func (w *wrongTokens) add(now time.Time, t Throttle, client netip.Addr, job string) {
	if t.Max < 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	key := w.key(client, job)
	if c, ok := w.count[key]; ok {
		if now.Sub(c.since) >= t.Window || now.Before(c.since) {
			c.since, c.n = now, 0
		}
		c.n++
		return
	}
	if len(w.ring) < maxThrottled {
		w.ring = append(w.ring, key)
	} else {
		delete(w.count, w.ring[w.next])
		w.ring[w.next] = key
		w.next = (w.next + 1) % len(w.ring)
	}
	w.count[key] = &wrongCount{since: now, n: 1}
}
