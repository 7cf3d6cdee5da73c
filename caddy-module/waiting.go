package caddymodule

import (
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// openEvery is the interval between attempts to open a queue whose database did not
// answer at the start.
const openEvery = time.Second

// waiter is a [Queue] that decides whether Caddy may start before it is open.
type waiter interface {
	MayWait() bool
}

// mayWait reports whether Caddy starts although opening the queue failed with err. A
// reload never does: the running configuration is better than one without a queue.
func (a *App) mayWait(err error) bool {
	w, ok := a.queue.(waiter)
	starting := caddy.ActiveContext().Context == nil
	return starting && ok && w.MayWait() && mayPass(err)
}

// mayPass reports whether opening the queue failed because its database does not answer. It
// may also have stopped a moment after it was opened.
func mayPass(err error) bool {
	return errors.Is(err, pgqueue.ErrUnreachable) || errors.Is(err, queue.ErrStorage)
}

// openLater opens the queue as soon as its database answers. It returns when the queue
// is open or the configuration is stopped.
func (a *App) openLater() {
	logged := ""
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
			return
		}
		a.attached.retry()
		if text := err.Error(); text != logged {
			a.log.Error("cannot open the queue; trying again", zap.Error(err))
			logged = text
		}
	}
}
