package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/buildtoken/buildtoken/buildtoken/web"
	"github.com/buildtoken/buildtoken/buildtoken/web/hooks"
	"github.com/buildtoken/buildtoken/buildtoken/web/jenkins"
	"github.com/buildtoken/buildtoken/buildtoken/web/pages"
	"github.com/buildtoken/buildtoken/buildtoken/web/triggers"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler accepts triggers for the jobs that it defines, and serves their queue items,
// builds and logs under Jenkins-compatible URLs. Requests for other paths go to the next
// handler; if no handler takes them, the answer is 404.
//
// The access log entries of its requests contain no secrets: only the query values of
// `job`, `delay`, `cause`, `item` and `start` are logged, and headers that carry tokens
// are redacted.
type Handler struct {
	// The absolute URL under which clients reach the handler. It is used in Location headers
	// and in the environment of builds. Placeholders like `{env.NAME}` are replaced when
	// the configuration is loaded. Default: the scheme and host of the request (those that
	// a trusted proxy forwards, if there is one) and the path prefix that was stripped.
	RootURL string `json:"root_url,omitempty"`

	// The methods that may trigger: GET, POST. Default: both.
	Methods []string `json:"methods,omitempty"`

	// The status of a trigger that joined a queued item: 303 or 201. Default: 303.
	Joined int `json:"joined,omitempty"`

	// Serves `/build_token/ready` for load balancers, without a token: 200 while this server
	// should receive triggers, otherwise 503, such as when the queue cannot be reached or
	// Caddy begins to stop.
	Ready bool `json:"ready,omitempty"`

	// What callers without a token may do.
	Access *Access `json:"access,omitempty"`

	Scope

	// Folders of jobs.
	Folders []Folder `json:"folders,omitempty"`

	// Jobs outside of folders.
	Jobs []Job `json:"jobs,omitempty"`

	// Probable mistakes that were found in the Caddyfile. They are logged when the
	// configuration is loaded, and have no other effect.
	Warnings []Warning `json:"warnings,omitempty"`

	// The file and line in the Caddyfile of rules, by their names, such as
	// `site/deploy allow 1`, and of what warnings are about, such as `site/deploy run`,
	// for logs and explanations. They change nothing.
	Lines map[string]string `json:"lines,omitempty"`

	site  *web.Site
	pages pages.Pages
	root  rootURL
	log   accessLog
	app   *App
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.build_token",
		New: func() caddy.Module { return new(Handler) },
	}
}

// tree returns the handler's tree as a folder, without copying it.
func (h *Handler) tree() *Folder {
	return &Folder{Scope: h.Scope, Folders: h.Folders, Jobs: h.Jobs}
}

// Provision compiles the jobs and registers them with the app.
func (h *Handler) Provision(ctx caddy.Context) error {
	for _, m := range h.Methods {
		if m != http.MethodGet && m != http.MethodPost {
			return fmt.Errorf("build_token: methods: %q is neither GET nor POST", m)
		}
	}
	err := checkTemplates(ctx)
	if err != nil {
		return fmt.Errorf("build_token: %w", err)
	}
	if h.root, err = parseRootURL(h.RootURL); err != nil {
		return fmt.Errorf("build_token: root_url: %w", err)
	}
	app, err := asApp(ctx.App("build_token"))
	if err != nil {
		return err
	}
	h.app = app
	root := h.tree()
	s := &site{root: root, place: placeOf(ctx), addresses: addressesOf(ctx)}
	if h.root.configured != "" {
		s.addresses = []string{h.root.configured}
	}
	if err := s.readTexts(); err != nil {
		return fmt.Errorf("build_token: %w", err)
	}
	lint := loadLint{now: time.Now(), labels: app.labels(), known: h.Warnings, lines: h.Lines}
	if s.spec, s.definition, err = compile(ctx, root, h.Access, h.root.configured, h.Lines, &lint); err != nil {
		return fmt.Errorf("build_token: %w", err)
	}
	s.warnings = slices.Concat(h.Warnings, lint.found)
	for _, w := range s.warnings {
		w.log(ctx.Logger())
	}
	// The tree contains secrets, and Caddy can be configured to log handlers.
	h.Scope, h.Folders, h.Jobs = Scope{}, nil, nil
	h.log = newAccessLog(ctx)
	h.site = &web.Site{
		Open: app.controller, Definition: s.definition, Methods: slices.Clone(h.Methods), Joined: h.Joined,
		Root: h.root.of, Remote: remoteOf, User: userOf, Log: ctx.Logger(), Done: app.stopping, InFlight: &app.bodies,
	}
	s.public, s.operator, s.lines = h.site, h.operatorSite(s), h.Lines
	if err := app.add(s); err != nil {
		return fmt.Errorf("build_token: %w", err)
	}
	return nil
}

// placeOf names the handler that is being provisioned, for errors.
func placeOf(ctx caddy.Context) string {
	if srv := serverOf(ctx); srv != nil {
		return "server " + srv.Name()
	}
	return "another server"
}

// serverOf returns the HTTP server whose handlers are being provisioned, or nil.
func serverOf(ctx caddy.Context) *caddyhttp.Server {
	srv, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return srv
}

// errNotFound is returned for a path that no handler takes.
var errNotFound = errors.New("build_token: no handler takes this path")

// ServeHTTP answers requests for our paths and passes all others on to next.
// If no handler takes them either, it returns 404, where Caddy would answer 200
// with an empty body.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if h.log.serve(w, r, h.serve) {
		return nil
	}
	err := next.ServeHTTP(w, r)
	const unhandled = "unhandled" // set by Caddy at the end of its chain of handlers
	if nop, _ := caddyhttp.GetVar(r.Context(), unhandled).(bool); nop && err == nil {
		caddyhttp.SetVar(r.Context(), unhandled, false)
		return caddyhttp.Error(http.StatusNotFound, errNotFound)
	}
	return err
}

// serve answers requests for our paths and reports whether this was one.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) (handled bool) {
	if h.Ready && r.URL.Path == readyPath {
		h.app.serveReady(w, r)
		return true
	}
	q := h.site.Request(w, r)
	return hooks.Serve(q) || triggers.Serve(q) || h.pages.Serve(q) || jenkins.Serve(q)
}

// remoteOf returns the client's address as Caddy determined it, behind trusted proxies.
// It is the zero value if there is none.
func remoteOf(r *http.Request) netip.Addr {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{} // as on a Unix socket
	}
	return addr.Unmap()
}

// userOf returns the user that an authentication handler admitted, "" if there is none.
func userOf(r *http.Request) string {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	id, _ := repl.GetString("http.auth.user.id")
	return id
}

var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
