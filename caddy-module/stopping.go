package caddymodule

import (
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

// watchStopping subscribes the app to the event that Caddy emits before it stops
// the apps of a configuration. When the process exits, the HTTP app stops before
// ours and waits for all requests, for ever if no grace period is set. So our
// streams must end at the event, and the shutdown timeout counts from it.
func (a *App) watchStopping(ctx caddy.Context) error {
	mod, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("build_token: %w", err)
	}
	events, _ := mod.(*caddyevents.App) // no other module has this name
	if err := events.On("stopping", stoppingHandler{a}); err != nil {
		return fmt.Errorf("build_token: %w", err)
	}
	return nil
}

// stoppingHandler handles the event. It is a separate type so that an app has no
// method that only the event needs.
type stoppingHandler struct{ app *App }

// Handle implements [caddyevents.Handler].
func (h stoppingHandler) Handle(context.Context, caddy.Event) error {
	h.app.stopped()
	if ctl := h.app.opened(); ctl != nil && caddy.Exiting() {
		go ctl.Drain() // the slot waits for it when it closes the controller
	}
	return nil
}

var _ caddyevents.Handler = stoppingHandler{}
