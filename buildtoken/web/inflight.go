package web

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/buildtoken/buildtoken/buildtoken/throttle"
)

// InFlight bounds what requests take while they are served. Its zero value is ready. Sites of
// one process should share one. It is safe for concurrent use.
type InFlight struct {
	bodies  budget // of requests, in memory and in files
	answers budget // large ones, until the client has read them; see [Request.WriteBytes]
	streams budget // see [Request.EnterStream]

	once  sync.Once
	parse *semaphore.Weighted // bytes
}

// budget has [maxInFlight] units, which requests share.
type budget struct {
	used atomic.Int64

	// mu guards unproven, by client.
	mu       sync.Mutex
	unproven map[netip.Prefix]int64
}

// maxParse is how many bytes of raw bodies are parsed at a time, over all requests. A
// parsed body takes up to twelve times as much memory.
const maxParse = 32 << 20

// ReserveParse waits until a raw body of this size may be in memory and be parsed. The caller
// must call done afterwards. The error is that of the context.
func (q *Request) ReserveParse(ctx context.Context, size int64) (done func(), err error) {
	f := q.inFlight()
	f.once.Do(func() { f.parse = semaphore.NewWeighted(maxParse) })
	size = min(size, maxParse)
	if err := f.parse.Acquire(ctx, size); err != nil {
		return nil, fmt.Errorf("web: wait for other bodies: %w", err)
	}
	return func() { f.parse.Release(size) }, nil
}

const (
	// maxInFlight is the budget of all bodies. A byte of an uploaded file costs one, so there
	// can be 1 GiB of them. See [rawBytesPerUnit] for raw bodies in files.
	maxInFlight = 1 << 30
	// memoryWeight is the cost of a byte in memory, of which there can be 128 MiB. Parsing
	// copies it.
	memoryWeight = 8
	// streamWeight is the cost of a stream, of which there can be 4096.
	streamWeight = maxInFlight / 4096
	// maxAnswer is the most that one answer costs, so that each client can have two, however
	// large they are.
	maxAnswer = maxOfClient / 2
)

// maxOfClient is how much of a budget one client can take, so that no single client can use it up. Bodies
// do not count any more once the client has shown a right token or signature.
const maxOfClient = maxInFlight / 2

// EnterStream takes a place among the answers that last as long as they like, which takes memory
// and an open file. The caller must call leave at its end. The error is [ErrCrowded].
func (q *Request) EnterStream() (leave func(), err error) {
	h := q.holdOf(&q.inFlight().streams)
	if !h.takeUnproven(streamWeight) {
		return nil, ErrCrowded
	}
	return h.release, nil
}

// Answer is what a request keeps in memory of its answer, as far as that is large. The caller must
// release it.
type Answer struct {
	hold hold
	size int64 // bytes in memory
	// counted is how many of size were taken from the budget. It follows in steps, so that a small
	// answer takes nothing.
	counted int64
}

// Answer returns an empty Answer.
func (q *Request) Answer() *Answer { return &Answer{hold: q.holdOf(&q.inFlight().answers)} }

// Grow adds n bytes. The error is [ErrCrowded] if the large answers of this client, or of all, are too
// many then.
func (a *Answer) Grow(n int) error {
	a.size += int64(n)
	if a.size-a.counted <= pieceSize {
		return nil
	}
	a.counted = a.size
	if more := min(a.size*memoryWeight, maxAnswer) - a.hold.taken; !a.hold.takeUnproven(more) {
		return ErrCrowded
	}
	return nil
}

// Release gives everything back. It may be called again.
func (a *Answer) Release() {
	a.hold.release()
	a.size, a.counted = 0, 0
}

// hold is what one request has taken from a budget.
type hold struct {
	of *budget
	// client is who sent the request. It is zero if that is not known, as on a Unix socket.
	client netip.Prefix
	taken  int64
	// unproven is how much of taken counts for the client.
	unproven int64
	files    []*os.File
}

// holdOf returns a hold of a budget for the request.
func (q *Request) holdOf(b *budget) hold {
	return hold{of: b, client: throttle.Client(q.Caller().Remote)}
}

// take takes n more from the budget. It reports false, and takes nothing, if too little is left.
func (h *hold) take(n int64) bool {
	if n == 0 {
		return true
	}
	if h.of.used.Add(n) > maxInFlight {
		h.of.used.Add(-n)
		return false
	}
	h.taken += n
	return true
}

// takeUnproven is [hold.take] for a client that has not yet shown a right token or signature.
// It also reports false, and takes nothing, if the client would hold more than [maxOfClient].
func (h *hold) takeUnproven(n int64) bool {
	if n == 0 || !h.client.IsValid() {
		return h.take(n)
	}
	if !h.of.add(h.client, n) {
		return false
	}
	if !h.take(n) {
		h.of.add(h.client, -n)
		return false
	}
	h.unproven += n
	return true
}

// add adds n, which may be negative, to the unproven bytes of a client. It reports false, and
// adds nothing, if they would exceed [maxOfClient].
func (b *budget) add(client netip.Prefix, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	sum := b.unproven[client] + n
	switch {
	case sum > maxOfClient:
		return false
	case sum == 0:
		delete(b.unproven, client)
		return true
	case b.unproven == nil:
		b.unproven = map[netip.Prefix]int64{}
	}
	b.unproven[client] = sum
	return true
}

// release returns the taken bytes to the budget, and closes and removes the files.
func (h *hold) release() {
	if h.of != nil {
		h.of.used.Add(-h.taken)
		if h.unproven != 0 {
			h.of.add(h.client, -h.unproven)
		}
	}
	for _, f := range h.files {
		_ = f.Close()
		_ = os.Remove(f.Name()) // the next start removes what cannot be removed now
	}
	*h = hold{}
}

// own is the state of a site.
type own struct {
	once  sync.Once
	of    *InFlight   // if it shares no limit
	users atomic.Bool // a user was seen
	// unopened limits the lines about a controller that cannot be had. Probes go on asking.
	unopened rate.Sometimes
}

// ready returns what the site has of its own, for use.
func (s *Site) ready() *own {
	s.own.once.Do(func() {
		s.own.of = new(InFlight)
		s.own.unopened = rate.Sometimes{First: 1, Interval: time.Second}
	})
	return &s.own
}

func (s *Site) inFlight() *InFlight {
	if s.InFlight != nil {
		return s.InFlight
	}
	return s.ready().of
}

// spool creates a file for a part of a body.
func (q *Request) spool() (*os.File, error) {
	if q.Spool != nil {
		return q.Spool()
	}
	ctl, err := q.Controller()
	if err != nil {
		return nil, err
	}
	f, err := ctl.SpoolFile()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSpool, err)
	}
	return f, nil
}
