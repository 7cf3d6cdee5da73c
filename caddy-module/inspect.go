package caddymodule

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
)

// inspect provisions a configuration without starting it, and returns its app.
// The caller must call Cleanup of the app. Nothing is logged, and neither the
// admin API nor log files of the configuration are opened.
func inspect(config []byte) (*App, error) {
	var parsed caddy.Config
	if err := json.Unmarshal(config, &parsed); err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	parsed.Admin = &caddy.AdminConfig{Disabled: true}
	parsed.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{
		caddy.DefaultLoggerName: {BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output": "discard"}`)}},
	}}
	ctx, err := caddy.ProvisionContext(&parsed)
	if err != nil {
		return nil, fmt.Errorf("load the configuration: %w", err)
	}
	return asApp(ctx.AppIfConfigured("build_token"))
}

// asApp returns what Caddy returns for the name of the app.
func asApp(mod any, err error) (*App, error) {
	if err != nil {
		return nil, fmt.Errorf("build_token: %w", err)
	}
	app, _ := mod.(*App) // no other module has this name
	return app, nil
}

// warnings returns those of all handlers, each once.
func (a *App) warnings() []Warning {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []Warning
	for _, s := range a.sites {
		for _, w := range s.warnings {
			if !slices.Contains(all, w) { // a snippet in two sites
				all = append(all, w)
			}
		}
	}
	return all
}
