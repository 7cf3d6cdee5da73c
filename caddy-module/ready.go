package caddymodule

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// logReady logs what this configuration serves, and where.
func (a *App) logReady(ctx context.Context) {
	defined := a.jobs()
	folders := map[string]bool{}
	names := make([]string, 0, len(defined))
	for name := range defined {
		names = append(names, name)
		for at, c := range name {
			if c == '/' {
				folders[name[:at]] = true
			}
		}
	}
	fields := []zap.Field{
		zap.Int("jobs", len(names)), zap.Int("folders", len(folders)),
		zap.String("queue", a.place), zap.Strings("addresses", a.addresses()),
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var gone []queue.Lane
	if ctl := a.opened(); ctl != nil {
		lanes, err := ctl.Lanes(ctx, names...)
		if err == nil {
			gone, err = ctl.Gone(ctx)
		}
		if err == nil {
			fields = append(fields, zap.Int("queued", queuedOf(lanes)+queuedOf(gone)))
		}
	}
	a.log.Info("ready for triggers", fields...)
	if len(gone) > 0 {
		jobs := make([]string, 0, maxNamed)
		for _, lane := range gone[:min(len(gone), maxNamed)] {
			jobs = append(jobs, lane.Job)
		}
		a.log.Warn("items of jobs that no server has are queued", zap.Int("items", queuedOf(gone)), zap.Int("jobs", len(gone)), zap.Strings("such_as", jobs))
	}
}

// maxNamed is how many removed jobs a log line names.
const maxNamed = 10

func queuedOf(lanes []queue.Lane) int {
	n := 0
	for _, lane := range lanes {
		n += lane.Queued
	}
	return n
}

// addresses returns the URLs of all handlers.
func (a *App) addresses() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []string
	for _, s := range a.sites {
		all = append(all, s.addresses...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// addressesOf returns the URLs of the handler that is being provisioned, as far
// as they follow from the listeners, and from the host and path matchers around it.
func addressesOf(ctx caddy.Context) []string {
	srv := serverOf(ctx)
	if srv == nil {
		return nil
	}
	scheme := "http"
	if len(srv.TLSConnPolicies) > 0 {
		scheme = "https"
	}
	hosts, path := matched(srv.Routes)
	for _, mod := range ctx.Modules() {
		if sub, ok := mod.(*caddyhttp.Subroute); ok {
			inner, below := matched(sub.Routes)
			if len(inner) > 0 {
				hosts = inner
			}
			path += below
		}
	}
	var all []string
	for _, listen := range srv.Listen {
		addr, _ := caddy.ParseNetworkAddress(listen) // Caddy refuses what is none
		if addr.IsUnixNetwork() || addr.IsFdNetwork() {
			all = append(all, listen)
			continue
		}
		port := ""
		if addr.StartPort != 80 && scheme == "http" || addr.StartPort != 443 && scheme == "https" {
			_, port, _ = net.SplitHostPort(addr.JoinHostPort(0))
			port = ":" + port
		}
		names := hosts
		if len(names) == 0 {
			names = []string{addr.Host}
		}
		for _, name := range names {
			if name == "" || name == "0.0.0.0" || name == "::" {
				name = "localhost"
			}
			if strings.Contains(name, ":") {
				name = "[" + name + "]"
			}
			all = append(all, scheme+"://"+name+port+path+"/")
		}
	}
	return all
}

// matched returns the hosts and the path prefix that the route being provisioned
// matches.
func matched(routes caddyhttp.RouteList) (hosts []string, prefix string) {
	at := unprovisioned(routes)
	if at < 0 {
		return nil, ""
	}
	for _, set := range routes[at].MatcherSets {
		for _, m := range set {
			switch m := m.(type) {
			case *caddyhttp.MatchHost:
				hosts = append(hosts, *m...)
			case *caddyhttp.MatchPath:
				if len(*m) == 1 {
					prefix = strings.TrimRight((*m)[0], "/*")
				}
			}
		}
	}
	return hosts, prefix
}

// readyPath is the path that reports whether this server should receive triggers. The
// admin endpoint always has it, a site with the directive ready.
const readyPath = adminPath + "ready"

// readyTime bounds how long the answer waits for the queue.
const readyTime = 2 * time.Second

// errStopping is returned by [App.ready] as soon as Caddy begins to stop.
var errStopping = errors.New("shutting down")

// ready returns why this server should not receive triggers now. It may still take them:
// a load balancer needs a moment to notice.
// A queue that can be read but not written is ready: no other server could write it either, and
// pages are served.
func (a *App) ready(ctx context.Context) error {
	ctl := a.opened()
	why := a.waiting.Load()
	switch {
	case caddy.Exiting(), ctl != nil && ctl.ShuttingDown():
		return errStopping
	case why != nil:
		return *why
	case ctl == nil:
		return buildtoken.ErrShuttingDown
	}
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	_, err := ctl.Lanes(ctx, "ready") // any name will do; only the error counts
	return err
}

// serveReady answers 200 if this server should receive triggers, else 503. The reason is
// logged only, because the address is public.
func (a *App) serveReady(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	err := a.ready(r.Context())
	if err == nil {
		_, _ = io.WriteString(w, "ready\n") // the client may be gone
		return
	}
	a.log.Debug("not ready", zap.Error(err))
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, "not ready\n")
}
