package caddymodule

import (
	"context"
	"fmt"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
)

// slots has the controllers of this process by the place of their data.
var slots = caddy.NewUsagePool()

// slot holds the controller of one place for as long as some configuration
// refers to it. Taking one touches nothing, so that `caddy validate` works
// beside a running server; it is opened by the first that needs it.
type slot struct {
	place string
	log   swappableLog

	// mu guards the following.
	mu  sync.Mutex
	ctl *buildtoken.Controller
	// queue is that of the controller.
	queue buildtoken.Queue
}

// takeSlot takes a reference. [dropSlot] gives it back.
func takeSlot(place string) (*slot, error) {
	v, _, err := slots.LoadOrNew(place, func() (caddy.Destructor, error) {
		return &slot{place: place}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("take %s: %w", place, err)
	}
	s, ok := v.(*slot)
	if !ok {
		return nil, fmt.Errorf("take %s: found a %T", place, v)
	}
	return s, nil
}

// dropSlot gives a reference back; the last one closes the controller.
func dropSlot(place string) error {
	if _, err := slots.Delete(place); err != nil {
		return fmt.Errorf("build_token: close %s: %w", place, err)
	}
	return nil
}

// open opens the controller, or returns the one that is open already. Either
// way, what concerns no request is logged to log from now on. node is the name of
// this server, or "", for as long as the controller is open.
func (s *slot) open(q Queue, node string, limit int, log *zap.Logger) (*buildtoken.Controller, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.swap(log)
	if s.ctl != nil {
		if r, ok := q.(renewer); ok {
			if err := r.Renew(s.queue); err != nil {
				return nil, fmt.Errorf("build_token: %w", err)
			}
		}
		return s.ctl, nil
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

// controller is the open controller, nil if there is none.
func (s *slot) controller() *buildtoken.Controller {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ctl
}

// Destruct closes the controller. It waits for running builds as long as the
// shutdown timeout of the last configuration says.
func (s *slot) Destruct() error {
	s.mu.Lock()
	ctl := s.ctl
	s.ctl = nil
	s.mu.Unlock()
	if ctl == nil {
		return nil
	}
	if err := ctl.Close(); err != nil {
		return fmt.Errorf("build_token: close %s: %w", s.place, err)
	}
	return nil
}

// attachment is what one configuration has of a controller: it is made once,
// by whoever comes first, and ended once. After the end it is not made any more.
type attachment struct {
	// mu guards the following.
	mu     sync.Mutex
	done   bool // made, or failed to be made
	ended  bool
	ctl    *buildtoken.Controller
	err    error
	detach func()
}

// get makes the attachment if need be. The error of the first try is that of
// all later ones: the configuration it belongs to is about to be thrown away.
func (t *attachment) get(attach func() (*buildtoken.Controller, func(), error)) (*buildtoken.Controller, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.done:
	case t.ended:
		return nil, buildtoken.ErrShuttingDown
	default:
		t.done = true
		t.ctl, t.detach, t.err = attach()
	}
	return t.ctl, t.err
}

// end ends the attachment, if it was made. It may be called again.
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
