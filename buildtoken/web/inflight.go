package web

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// InFlight is the budget that bodies share while their requests are served, in memory and
// in files. Its zero value is ready. Sites of one process should share one. It is safe for
// concurrent use.
type InFlight struct {
	used atomic.Int64

	once  sync.Once
	parse *semaphore.Weighted // bytes
}

// maxParse is how many bytes of raw bodies are parsed at a time, over all requests. A
// parsed body takes up to twelve times as much memory.
const maxParse = 32 << 20

// Parse waits until a raw body of this size may be in memory and be parsed. The caller
// must call done afterwards. The error is that of the context.
func (q *Request) Parse(ctx context.Context, size int64) (done func(), err error) {
	f := q.inFlight()
	f.once.Do(func() { f.parse = semaphore.NewWeighted(maxParse) })
	size = min(size, maxParse)
	if err := f.parse.Acquire(ctx, size); err != nil {
		return nil, fmt.Errorf("web: wait for other bodies: %w", err)
	}
	return func() { f.parse.Release(size) }, nil
}

const (
	// maxInFlight is the budget of all bodies. A byte in a file costs one, so there can be
	// 1 GiB of uploaded files.
	maxInFlight = 1 << 30
	// memoryWeight is the cost of a byte in memory, of which there can be 128 MiB. Parsing
	// copies it.
	memoryWeight = 8
)

// hold is what one body holds.
type hold struct {
	of    *InFlight
	taken int64
	files []*os.File
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

// release returns what was taken to the budget, and closes and removes the files.
func (h *hold) release() {
	if h.of != nil {
		h.of.used.Add(-h.taken)
	}
	for _, f := range h.files {
		_ = f.Close()
		_ = os.Remove(f.Name()) // the next start removes what cannot be removed now
	}
	*h = hold{}
}

// own is what a site remembers.
type own struct {
	once  sync.Once
	of    *InFlight   // if it shares no limit
	users atomic.Bool // a user was seen
}

func (s *Site) inFlight() *InFlight {
	if s.InFlight != nil {
		return s.InFlight
	}
	s.own.once.Do(func() { s.own.of = new(InFlight) })
	return s.own.of
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
