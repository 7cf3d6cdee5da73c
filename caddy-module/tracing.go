package caddymodule

import (
	"context"
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.17.0"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/spans"
)

const tracingID = "http.handlers.tracing"

// flushTimeout is how long the last spans may take to their receiver.
const flushTimeout = 5 * time.Second

// startTracing returns what records the spans of queue and builds, or nil if no site of the
// configuration has Caddy's tracing. The spans of requests are Caddy's. Those of builds end
// long after their request and its configuration, so they have a separate exporter,
// which is configured by the same variables (OTEL_EXPORTER_OTLP_ENDPOINT and so on). The
// caller must hold mu.
func (a *App) startTracing() *spans.Recorder {
	if a.tracing == nil && a.hasTracing() {
		if err := a.openTracing(); err != nil {
			a.log.Error("spans of builds cannot be sent", zap.Error(err))
		}
	}
	if a.tracing == nil {
		return nil
	}
	return spans.New(a.tracing)
}

func (a *App) openTracing() error {
	exporter, err := autoexport.NewSpanExporter(context.WithoutCancel(a.ctx))
	if err != nil {
		return err //nolint:wrapcheck // its only caller adds what failed
	}
	version, _ := caddy.Version()
	described, err := resource.Merge(resource.Default(), resource.NewSchemaless(
		semconv.WebEngineName(caddyhttp.ServerHeader), semconv.WebEngineVersion(version)))
	if err != nil {
		return errors.Join(err, exporter.Shutdown(a.ctx))
	}
	a.tracing = sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described), sdktrace.WithIDGenerator(spans.IDs{}))
	return nil
}

// stopTracing sends the last spans.
func (a *App) stopTracing() {
	a.mu.Lock()
	provider := a.tracing
	a.tracing = nil
	a.mu.Unlock()
	if provider == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := provider.Shutdown(ctx); err != nil {
		a.log.Warn("the last spans of builds could not be sent", zap.Error(err))
	}
}

// hasTracing reports whether some route of the configuration has Caddy's handler for traces.
func (a *App) hasTracing() bool {
	mod, _ := a.ctx.AppIfConfigured("http") // nil without it
	app, _ := mod.(*caddyhttp.App)
	if app == nil {
		return false
	}
	for _, srv := range app.Servers {
		if hasHandler(srv.Routes, tracingID) {
			return true
		}
		for _, r := range srv.NamedRoutes {
			if r != nil && hasHandler(caddyhttp.RouteList{*r}, tracingID) {
				return true
			}
		}
	}
	return false
}

// hasHandler reports whether provisioned routes have a handler of a module, at any depth.
func hasHandler(routes caddyhttp.RouteList, id caddy.ModuleID) bool {
	for i := range routes {
		for _, handler := range routes[i].Handlers {
			if sub, ok := handler.(*caddyhttp.Subroute); ok && hasHandler(sub.Routes, id) {
				return true
			}
			if mod, ok := handler.(caddy.Module); ok && mod.CaddyModule().ID == id {
				return true
			}
		}
	}
	return false
}
