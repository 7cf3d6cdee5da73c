package caddymodule

import (
	"context"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
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
	if ctl := a.opened(); ctl != nil {
		if lanes, err := ctl.Lanes(ctx, names...); err == nil {
			queued := 0
			for _, lane := range lanes {
				queued += lane.Queued
			}
			fields = append(fields, zap.Int("queued", queued))
		}
	}
	a.log.Info("ready for triggers", fields...)
}

// addresses returns where the handlers answer.
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
	srv, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || srv == nil {
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
		addr, err := caddy.ParseNetworkAddress(listen)
		if err != nil {
			continue
		}
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
			case caddyhttp.MatchHost:
				hosts = append(hosts, m...)
			case *caddyhttp.MatchHost:
				hosts = append(hosts, *m...)
			case caddyhttp.MatchPath:
				if len(m) == 1 {
					prefix = strings.TrimRight(m[0], "/*")
				}
			case *caddyhttp.MatchPath:
				if len(*m) == 1 {
					prefix = strings.TrimRight((*m)[0], "/*")
				}
			}
		}
	}
	return hosts, prefix
}
