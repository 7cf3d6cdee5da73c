package caddymodule

import (
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
)

// openEvery is how often a queue is tried whose database did not answer at the start.
const openEvery = time.Second

// waiter is a [Queue] that knows whether Caddy may start without it.
type waiter interface {
	MayWait() bool
}

// mayWait reports whether Caddy starts although the queue could not be opened. A
// reload does not: the configuration that runs is better than one without a queue.
func (a *App) mayWait(err error) bool {
	w, ok := a.queue.(waiter)
	starting := caddy.ActiveContext().Context == nil
	return starting && ok && w.MayWait() && errors.Is(err, pgqueue.ErrUnreachable)
}

// openLater opens the queue once its database answers. It ends then, or when the
// configuration is stopped.
func (a *App) openLater() {
	said := ""
	for {
		select {
		case <-a.stopping:
			return
		case <-time.After(openEvery):
		}
		_, err := a.attached.get(a.open)
		if err == nil {
			a.waiting.Store(nil)
			a.logReady(a.ctx)
			a.logReady(a.ctx)
			return
		}
		a.attached.retry()
		if text := err.Error(); text != said {
			a.log.Error("cannot open the queue; trying again", zap.Error(err))
			said = text
		}
	}
}
