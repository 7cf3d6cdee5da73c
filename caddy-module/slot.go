package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// slots holds the controllers of this process by the place of their queue.
var slots = caddy.NewUsagePool()

// slot holds the controller of one place as long as a configuration refers to it.
// Taking a reference opens nothing, so that `caddy validate` works while a
// server is running; the first call of open does.
type slot struct {
	place string
	log   swappableLog

	// mu guards the following.
	mu  sync.Mutex
	ctl *buildtoken.Controller
	// queue is the queue of ctl.
	queue buildtoken.Queue
	// of is the slot that opened ctl, if the same queue was open already under another
	// place, such as another address of the same database.
	of *slot
}

// takeSlot takes a reference, which [dropSlot] releases.
func takeSlot(place string) *slot {
	v, _, _ := slots.LoadOrNew(place, func() (caddy.Destructor, error) { // only this function can fail
		return &slot{place: place}, nil
	})
	s, _ := v.(*slot) // nothing else is in the pool
	return s
}

// dropSlot releases a reference. The last one closes the controller.
func dropSlot(place string) error {
	if _, err := slots.Delete(place); err != nil {
		return fmt.Errorf("build_token: close %s: %w", place, err)
	}
	return nil
}

// open opens the controller, or returns the one that is open already. In both cases
// messages that belong to no request go to log from now on. node is the configured name
// of this server, or ""; it counts until the controller is closed.
func (s *slot) open(q Queue, node string, limit int, log *zap.Logger) (*buildtoken.Controller, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.swap(log)
	if s.of != nil {
		s.of.log.swap(log)
	}
	if s.ctl != nil {
		if r, ok := q.(renewer); ok {
			if err := r.Renew(s.queue); err != nil {
				return nil, fmt.Errorf("build_token: %w", err)
			}
		}
		return s.ctl, nil
	}
	if ctl, err := s.find(q, log); ctl != nil || err != nil {
		return ctl, err
	}
	opts, err := q.Open(s.place, node, limit, s.log.logger())
	if err != nil {
		return nil, fmt.Errorf("build_token: %w", err)
	}
	// A controller lives longer than any request or configuration.
	ctl, err := buildtoken.Open(context.Background(), opts)
	if err != nil {
		return nil, fmt.Errorf("build_token: open %s: %w", s.place, err)
	}
	s.ctl, s.queue = ctl, opts.Queue
	return ctl, nil
}

// find looks for a slot that has the queue open under another name, such as another
// address of the same database, and takes a reference to it. The caller holds mu.
func (s *slot) find(q Queue, log *zap.Logger) (*buildtoken.Controller, error) {
	r, ok := q.(renewer)
	if !ok {
		return nil, nil //nolint:nilnil // there is none
	}
	var open []*slot
	slots.Range(func(_, value any) bool {
		if other, ok := value.(*slot); ok && other != s {
			open = append(open, other)
		}
		return true
	})
	for _, other := range open {
		other.mu.Lock()
		ctl, found, owner := other.ctl, other.queue, other.of
		other.mu.Unlock()
		if ctl == nil || owner != nil {
			continue
		}
		err := r.Renew(found)
		if errors.Is(err, errAnotherQueue) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("build_token: %w", err)
		}
		s.of = takeSlot(other.place)
		other.log.swap(log)
		s.ctl, s.queue = ctl, found
		return ctl, nil
	}
	return nil, nil //nolint:nilnil // there is none
}

// controller returns the open controller, or nil.
func (s *slot) controller() *buildtoken.Controller {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ctl
}

// openQueue returns the queue of the open controller, or nil.
func (s *slot) openQueue() buildtoken.Queue {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue
}

// Destruct closes the controller. It waits for running builds up to the shutdown
// timeout of the last configuration.
func (s *slot) Destruct() error {
	s.mu.Lock()
	ctl, of := s.ctl, s.of
	s.ctl, s.queue, s.of = nil, nil, nil
	s.mu.Unlock()
	if of != nil {
		return dropSlot(of.place)
	}
	if ctl == nil {
		return nil
	}
	if err := ctl.Close(); err != nil {
		return fmt.Errorf("build_token: close %s: %w", s.place, err)
	}
	return nil
}

// attachment attaches one configuration to a controller. The first call of get attaches
// it, and end detaches it for good.
type attachment struct {
	// mu guards the following.
	mu     sync.Mutex
	done   bool // attached, or failed for good
	ended  bool
	ctl    *buildtoken.Controller
	err    error
	detach func()
}

// get attaches on the first call. Later calls return the same result, errors included,
// because Caddy discards a configuration that failed. Only if the database did not answer,
// the next call tries again.
func (t *attachment) get(attach func() (*buildtoken.Controller, func(), error)) (*buildtoken.Controller, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.done:
	case t.ended:
		return nil, buildtoken.ErrShuttingDown
	default:
		ctl, detach, err := attach()
		if err != nil && mayPass(err) {
			return nil, fmt.Errorf("%w: %w", queue.ErrStorage, err) // the next try may work
		}
		t.done = true
		t.ctl, t.detach, t.err = ctl, detach, err
	}
	return t.ctl, t.err
}

// retry makes the next call of get try again, if the last one failed.
func (t *attachment) retry() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		t.done, t.err = false, nil
	}
}

// end detaches, if get attached. It may be called more than once.
func (t *attachment) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	if t.detach != nil {
		t.detach()
		t.detach = nil
	}
}

var _ caddy.Destructor = (*slot)(nil)
