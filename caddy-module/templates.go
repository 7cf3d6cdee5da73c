package caddymodule

import (
	"encoding/json"
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// errTemplates is returned when the templates handler would execute our answers.
var errTemplates = errors.New("templates has no matcher and runs around build_token, so it would execute what clients and builds write; " +
	"give it a matcher for the pages that are templates, as in `templates /site/*`")

const (
	templatesID = "http.handlers.templates"
	subrouteID  = "http.handlers.subroute"
)

// checkTemplates returns an error if a templates handler without a matcher
// precedes the handler that is being provisioned.
func checkTemplates(ctx caddy.Context) error {
	path := ctx.Modules() // from the app http to the handler itself
	var lists []caddyhttp.RouteList
	if srv := serverOf(ctx); srv != nil {
		lists = append(lists, srv.Routes)
	}
	for _, mod := range path {
		if sub, ok := mod.(*caddyhttp.Subroute); ok {
			lists = append(lists, sub.Routes)
			if sub.Errors != nil {
				lists = append(lists, sub.Errors.Routes)
			}
		}
	}
	for _, routes := range lists {
		at := unprovisioned(routes)
		if at < 0 {
			continue
		}
		for i := range routes[:at] {
			r := &routes[i]
			exclusive := r.Group != "" && r.Group == routes[at].Group
			if !exclusive && !r.Terminal && runsTemplates(r) {
				return errTemplates
			}
		}
		if runsTemplates(&caddyhttp.Route{HandlersRaw: before(routes[at].HandlersRaw, path)}) {
			return errTemplates
		}
	}
	return nil
}

// unprovisioned returns the index of the route whose handlers are being
// provisioned, or -1. Caddy provisions the routes of a list in their order, and
// keeps the JSON of a route's handlers until all of them are provisioned.
func unprovisioned(routes caddyhttp.RouteList) int {
	for i := range routes {
		if len(routes[i].Handlers) == 0 && len(routes[i].HandlersRaw) > 0 {
			return i
		}
	}
	return -1
}

// before returns the handlers of a route that precede the last one of the same
// module as one in path. Which of several is being provisioned is not known.
func before(handlers []json.RawMessage, path []caddy.Module) []json.RawMessage {
	ids := map[string]bool{}
	for _, mod := range path {
		ids[string(mod.CaddyModule().ID)] = true
	}
	for i := len(handlers) - 1; i >= 0; i-- {
		if ids[handlerID(handlers[i])] {
			return handlers[:i]
		}
	}
	return nil
}

// runsTemplates reports whether a route hands every request to templates.
func runsTemplates(r *caddyhttp.Route) bool {
	if len(r.MatcherSets) > 0 || len(r.MatcherSetsRaw) > 0 {
		return false
	}
	anyRoute := func(routes caddyhttp.RouteList) bool {
		for i := range routes {
			if runsTemplates(&routes[i]) {
				return true
			}
		}
		return false
	}
	for _, handler := range r.Handlers {
		if sub, ok := handler.(*caddyhttp.Subroute); ok && anyRoute(sub.Routes) {
			return true
		}
		if mod, ok := handler.(caddy.Module); ok && mod.CaddyModule().ID == templatesID {
			return true
		}
	}
	for _, raw := range r.HandlersRaw {
		var sub caddyhttp.Subroute
		if handlerID(raw) == subrouteID && json.Unmarshal(raw, &sub) == nil && anyRoute(sub.Routes) {
			return true
		}
		if handlerID(raw) == templatesID {
			return true
		}
	}
	return false
}

// handlerID returns the module ID of a handler in JSON.
func handlerID(raw json.RawMessage) string {
	var named struct {
		Handler string `json:"handler"`
	}
	_ = json.Unmarshal(raw, &named) // Caddy reports what is malformed
	return "http.handlers." + named.Handler
}
