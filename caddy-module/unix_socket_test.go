//go:build unix

package caddymodule_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

// TestClientsOnAUnixSocketHaveNoAddress sends triggers over a Unix socket. Logs and causes must
// not invent an address for them, and must not have an empty one.
func TestClientsOnAUnixSocketHaveNoAddress(t *testing.T) {
	s := newSite(t)
	socket := filepath.Join(t.TempDir(), "s")
	s.load(strings.Replace(s.caddyfile("", jobs("job x {\n token secret {\n grant trigger status log\n }\n run true\n}")), "\tlog\n", "\tbind unix/"+socket+"\n\tlog\n", 1))
	over := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	if a := request(t, over, http.MethodGet, "http://"+s.addr+"/buildByToken/build?job=x&token=wrong"); a.status != http.StatusForbidden {
		t.Errorf("wrong token: got %d %q, want 403", a.status, a.body)
	}
	if a := request(t, over, http.MethodGet, "http://"+s.addr+"/buildByToken/build?job=x&token=secret"); a.status != http.StatusCreated {
		t.Fatalf("trigger: got %d %q, want 201", a.status, a.body)
	}
	a := request(t, over, http.MethodGet, "http://"+s.addr+"/buildByToken/log?job=x&token=secret&item=1")
	if !strings.HasPrefix(a.body, "Started by remote host (no address)\n") {
		t.Errorf("log: got %q", a.body)
	}
	s.mustNotLog("invalid IP")
}

// Links of the admin API begin with the first address of the site that has a URL.
func TestLinksOfTheAdminAPI(t *testing.T) {
	for _, tt := range []struct {
		name, listen, want string
	}{
		{"two ports", `"127.0.0.1:0", "localhost:0"`, "http://127.0.0.1:0/"},
		{"a socket first", `"unix/{dir}/s", "127.0.0.1:0"`, "http://127.0.0.1:0/"},
		{"only a socket", `"unix/{dir}/s"`, "http://localhost/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			config := `{"admin": {"disabled": true, "config": {"persist": false}}, "apps": {"build_token": {"queue": {"queue": "bolt", "path": "` + s.path + `"}}, "http": {"servers": {"s": {"listen": [` + tt.listen +
				`], "routes": [{"handle": [{"handler": "build_token", "jobs": [{"name": "x", "run": {"runner": "exec", "command": "true"}}]}]}]}}}}}`
			if err := caddy.Load([]byte(strings.ReplaceAll(config, "{dir}", t.TempDir())), true); err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/build_token/buildByToken/build?job=x&delay=1h", nil)
			w := httptest.NewRecorder()
			if err := new(caddymodule.Admin).Routes()[0].Handler.ServeHTTP(w, r); err != nil || w.Header().Get("Location") != tt.want+"queue/item/1/" {
				t.Errorf("the item is at %q, %v; want it below %s", w.Header().Get("Location"), err, tt.want)
			}
		})
	}
}
