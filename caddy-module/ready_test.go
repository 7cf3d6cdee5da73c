package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

// TestReadyLine reads the line that is logged at start, with an item in the queue.
func TestReadyLine(t *testing.T) {
	s := newSite(t)
	body := "handle_path /ci/* {\nbuild_token {\nquiet_period 1h\nfolder team {\nfolder app {\njob x {\ntoken secret\nrun true\n}\n}\n}\njob y {\ntoken secret\nrun true\n}\n}\n}\n"
	s.load(s.caddyfile("", body))
	if a := s.get("/ci/buildByToken/build?job=y&token=secret"); a.status != http.StatusCreated {
		t.Fatalf("trigger: got %d %q", a.status, a.body)
	}
	s.load(s.caddyfile("", strings.Replace(body, "quiet_period 1h", "quiet_period 2h", 1)))
	var lines []map[string]any
	for _, line := range s.logged("build_token") {
		if line["msg"] == "ready for triggers" {
			delete(line, "ts")
			lines = append(lines, line)
		}
	}
	want := func(queued float64) map[string]any {
		return map[string]any{
			"level": "info", "logger": "build_token", "msg": "ready for triggers", "jobs": 2.0, "folders": 2.0,
			"queue": s.path, "queued": queued, "addresses": []any{"http://" + s.addr + "/ci/"},
		}
	}
	if diff := cmp.Diff([]map[string]any{want(0), want(1)}, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

// TestMessageOfARule expects the message in the answer to a refused caller, and in no other.
func TestMessageOfARule(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("", jobs("job x {\ntoken secret\nallow `cause != \"\"` `say why, with cause=`\nallow `cause != \"no\"`\nrun true\n}")))
	for _, tt := range []struct {
		query  string
		status int
		body   string
	}{
		{"token=secret", 403, "not allowed: say why, with cause=\n"},
		{"token=secret&cause=no", 403, "not allowed\n"},
		{"token=wrong", 403, "invalid token\n"},
		{"token=secret&cause=yes", 201, ""},
	} {
		if a := s.get("/buildByToken/build?job=x&" + tt.query); a.status != tt.status || tt.body != "" && a.body != tt.body {
			t.Errorf("%s: got %d %q, want %d %q", tt.query, a.status, a.body, tt.status, tt.body)
		}
	}
}

// TestAddressesOfHandlers has the URLs under which handlers can be reached, as the ready line
// shows them.
func TestAddressesOfHandlers(t *testing.T) {
	const ours = `{"handle": [{"handler": "build_token"}]}`
	within := func(match, routes string) string {
		return `{"match": [` + match + `], "handle": [{"handler": "subroute", "routes": [` + routes + `]}]}`
	}
	for _, tt := range []struct {
		name, server string
		want         []string
	}{
		{"the port of http", `"listen": [":80"], "routes": [` + ours + `]`, []string{"http://localhost/"}},
		{"another port", `"listen": [":8080"], "routes": [` + ours + `]`, []string{"http://localhost:8080/"}},
		{"the port of https", `"listen": [":443"], "tls_connection_policies": [{}], "routes": [` + ours + `]`, []string{"https://localhost/"}},
		{"another port of https", `"listen": [":8443"], "tls_connection_policies": [{}], "routes": [` + ours + `]`, []string{"https://localhost:8443/"}},
		{"the port of https alone", `"listen": [":443"], "routes": [` + ours + `]`, []string{"https://localhost/"}},
		{"https on the port of http", `"listen": [":80"], "tls_connection_policies": [{}], "routes": [` + ours + `]`, []string{"https://localhost:80/"}},
		{"all addresses", `"listen": ["0.0.0.0:81", "[::]:82"], "routes": [` + ours + `]`, []string{"http://localhost:81/", "http://localhost:82/"}},
		{"one address", `"listen": ["192.0.2.7:80", "[2001:db8::7]:81"], "routes": [` + ours + `]`, []string{"http://192.0.2.7/", "http://[2001:db8::7]:81/"}},
		{"sockets", `"listen": ["unix//run/ci.sock", "fd/3"], "routes": [` + ours + `]`, []string{"fd/3", "unix//run/ci.sock"}},
		{"hosts and a path", `"listen": [":80"], "routes": [` + within(`{"host": ["b.test", "a.test"], "path": ["/ci/*"]}`, ours) + `]`, []string{"http://a.test/ci/", "http://b.test/ci/"}},
		{"two paths", `"listen": [":80"], "routes": [` + within(`{"path": ["/ci/*", "/cd/*"]}`, ours) + `]`, []string{"http://localhost/"}},
		{"hosts of an inner route", `"listen": [":80"], "routes": [` + within(`{"host": ["a.test"], "path": ["/a/*"]}`, within(`{"host": ["b.test"], "path": ["/b*"]}`, ours)) + `]`, []string{"http://b.test/a/b/"}},
		{"a host of the outer route", `"listen": [":80"], "routes": [` + within(`{"host": ["a.test"]}`, within(`{"path": ["/b/*"]}`, ours)) + `]`, []string{"http://a.test/b/"}},
		{"another route before it", `"listen": [":80"], "routes": [` + within(`{"host": ["c.test"]}`, `{"handle": [{"handler": "static_response"}]}`) + `, ` + ours + `]`, []string{"http://localhost/"}},
		{"two handlers", `"listen": [":80"], "routes": [` + within(`{"path": ["/b/*"]}`, ours) + `, ` + within(`{"path": ["/a/*"]}`, ours) + `, ` + ours + `, ` + ours + `]`, []string{"http://localhost/", "http://localhost/a/", "http://localhost/b/"}},
		{"a root URL", `"listen": [":80"], "routes": [{"handle": [{"handler": "build_token", "root_url": "https://ci.example.com/x"}]}]`, []string{"https://ci.example.com/x/"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home(t)
			got, err := caddymodule.Addresses([]byte(`{"apps": {"http": {"servers": {"s": {` + tt.server + `}}}}}`))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
		})
	}
}
