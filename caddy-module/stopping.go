package caddymodule

import (
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

// watchStopping has the app hear of the event that Caddy sends before it stops
// any app. Streams must end then: when the process exits, the HTTP app waits
// for them before it is our turn to stop, for ever if no grace period is set.
func (a *App) watchStopping(ctx caddy.Context) error {
	mod, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("build_token: %w", err)
	}
	events, ok := mod.(*caddyevents.App)
	if !ok {
		return fmt.Errorf("build_token: the events app is a %T", mod)
	}
	if err := events.On("stopping", stoppingHandler{a}); err != nil {
		return fmt.Errorf("build_token: %w", err)
	}
	return nil
}

// stoppingHandler tells the app. It is a value of its own so that an app has
// no method that only the event needs.
type stoppingHandler struct{ app *App }

// Handle implements [caddyevents.Handler].
func (h stoppingHandler) Handle(context.Context, caddy.Event) error {
	h.app.stopped()
	return nil
}

var _ caddyevents.Handler = stoppingHandler{}
