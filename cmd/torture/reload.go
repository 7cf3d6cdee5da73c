package main

import (
	"context"
	"net/http"
	"time"
)

// reloader loads configurations, valid and broken ones.
type reloader struct {
	h    *harness
	look lookout
	srv  *server
	d    dice
	// begins receives a value when a reload begins.
	begins chan<- struct{}
}

// live reloads until the server is gone.
func (r *reloader) live(ctx context.Context) {
	for pause(ctx, r.d.mostlyShort(700*time.Millisecond)) {
		select {
		case <-r.srv.ended:
			return
		default:
		}
		if r.d.chance(35) {
			r.broken(ctx)
		} else {
			r.good(ctx)
		}
	}
}

func (r *reloader) begin() {
	select {
	case r.begins <- struct{}{}:
	default:
	}
}

// good loads a configuration that must be accepted.
func (r *reloader) good(ctx context.Context) {
	v := vary(r.d)
	known := r.h.configs.loading(v)
	r.begin()
	status, body, err := r.look.load(ctx, r.h.site.caddyfile(v, ""))
	if err != nil {
		return // it died; the next life begins with the configuration in its file
	}
	if status != http.StatusOK {
		if !r.srv.dying.Load() {
			r.h.m.report("life %d: a good configuration was refused: %d %s", r.h.life, status, body)
		}
		return
	}
	known(true)
	r.h.m.count(func(c *counts) { c.reloads++ })
	r.inForce(ctx)
}

// broken loads a configuration that must be refused and change nothing.
func (r *reloader) broken(ctx context.Context) {
	v := vary(r.d)
	text, why := r.h.site.broken(r.d, v)
	v.brief = why == addressInUse
	// It can be in force for a moment, until the error is detected.
	known := r.h.configs.loading(v)
	r.begin()
	status, _, err := r.look.load(ctx, text)
	if err != nil {
		return
	}
	if status == http.StatusOK {
		r.h.m.report("life %d: a configuration with %s was taken", r.h.life, why)
		return
	}
	known(false)
	r.h.m.count(func(c *counts) { c.reloadsRefused++ })
	r.inForce(ctx)
}

// inForce verifies that the configuration that was accepted last is in force.
func (r *reloader) inForce(ctx context.Context) {
	want := r.h.configs.now()
	var got jobJSON
	if err := r.look.get(ctx, "/job/toggled/api/json?tree=disabled,concurrentBuild", &got); err != nil {
		return // it died
	}
	if got.Disabled != want.disabled || got.ConcurrentBuild != want.concurrent {
		r.h.m.report("life %d: job toggled is disabled: %v, concurrent: %v; loaded was %+v", r.h.life, got.Disabled, got.ConcurrentBuild, want)
	}
}
