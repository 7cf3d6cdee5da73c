package caddymodule_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestGuardsProtectTheDirective puts each directive that can refuse a request in the same site,
// without an order or a route.
func TestGuardsProtectTheDirective(t *testing.T) {
	refuse := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer refuse.Close()
	for _, tt := range []struct {
		name, guard string
		want        int // 0: the connection is closed
	}{
		{"respond", "respond @outside 403", 403},
		{"respond everything", "respond 410", 410},
		{"abort", "abort @outside", 0},
		{"error", "error @outside 403", 403},
		{"redir", "redir @outside https://example.com/ 302", 302},
		{"handle", "handle @outside {\nrespond 403\n}", 403},
		{"route", "route @outside {\nrespond 403\n}", 403},
		{"basic_auth", "basic_auth @outside {\nalice $2a$04$DWg7sOYkgryu0crsI9tmQuWkHZRCLAZP/JBuJZNWzHATGg7LVL2qS\n}", 401},
		{"forward_auth", "forward_auth @outside " + refuse.URL + " {\nuri /\n}", 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			s.load(strings.Replace(s.caddyfile("", "@outside not remote_ip 10.0.0.0/8\n"+tt.guard+"\n"+
				"build_token {\naccess {\nread `true`\n}\njob hello {\ntoken secret\nrun true\n}\n}"),
				"\torder respond after build_token\n", "", 1))
			for _, target := range []string{"/buildByToken/build?job=hello&token=secret", "/job/hello/api/json", "/api/json", "/queue/", "/"} {
				got := 0
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr+target, nil)
				if err != nil {
					t.Fatal(err)
				}
				answer, err := http.DefaultTransport.RoundTrip(r)
				if err == nil {
					got = answer.StatusCode
					answer.Body.Close()
				}
				if got != tt.want {
					t.Errorf("GET %s = %d, %v; want %d", target, got, err, tt.want)
				}
			}
		})
	}
}

// TestUnknownPathsAreNotFound requests paths from a site without another handler, and from one
// whose other handler serves some paths.
func TestUnknownPathsAreNotFound(t *testing.T) {
	s := newSite(t)
	const ours = "build_token {\njob hello {\nrun true\n}\n}\n"
	for _, tt := range []struct {
		name, site, target string
		want               int
		body               string
	}{
		{"no other handler", ours, "/elsewhere", 404, ""},
		{"the root, for a caller without rights", ours, "/", 404, ""},
		{"another handler takes it", ours + "metrics /elsewhere", "/elsewhere", 200, "# HELP"},
		{"another handler serves other paths", ours + "metrics /elsewhere", "/else", 404, ""},
		{"the site handles errors", ours + "handle_errors {\nrespond \"sorry {err.status_code}\"\n}", "/elsewhere", 404, "sorry 404"},
		{"below a prefix", "handle_path /ci/* {\n" + ours + "}", "/ci/elsewhere", 404, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.load(strings.Replace(strings.Replace(s.caddyfile("", tt.site), "\torder respond after build_token\n", "", 1), "\trespond \"nothing here\" 418\n", "", 1))
			if a := s.get(tt.target); a.status != tt.want || !strings.Contains(a.body, tt.body) {
				t.Errorf("GET %s = %d %.200q, want %d %q", tt.target, a.status, a.body, tt.want, tt.body)
			}
			entries := s.logged("http.log.access")
			if msg := entries[len(entries)-1]["msg"]; tt.want == 404 && msg != "handled request" {
				t.Errorf("GET %s is logged as %q", tt.target, msg)
			}
		})
	}
}

// TestTemplatesNeedAMatcher loads sites in which templates would execute our answers, and
// others in which it would not.
func TestTemplatesNeedAMatcher(t *testing.T) {
	const ours = "build_token {\njob hello {\nrun true\n}\n}\n"
	for _, tt := range []struct {
		name, site string
		refused    bool
	}{
		{"in the same site", "templates\n" + ours, true},
		{"with a matcher of everything", "templates *\n" + ours, true},
		{"around a handle", "templates\nhandle /ci/* {\n" + ours + "}", true},
		{"around a handle_path in a route", "route {\ntemplates\nhandle_path /ci/* {\n" + ours + "}\n}", true},
		{"before it in a route", "route {\ntemplates\n" + ours + "}", true},
		{"in a route before it", "route {\nroute {\ntemplates\n}\n" + ours + "}", true},
		{"in the same handle", "handle /ci/* {\ntemplates\n" + ours + "}", true},
		{"around it and for errors too", "templates\n" + ours + "handle_errors {\nrespond sorry\n}", true},
		{"with a matcher", "templates /site/*\n" + ours, false},
		{"another handler in a route before it", "route {\nroute {\nheader X-Test y\n}\n" + ours + "}", false},
		{"another handler before it", "header X-Test y\n" + ours, false},
		{"in a handle before it, which takes other paths", "handle /site/* {\ntemplates\n}\nhandle {\n" + ours + "}", false},
		{"with a named matcher", "@site path /site/*\ntemplates @site\n" + ours, false},
		{"after it in a route", "route {\n" + ours + "templates\n}", false},
		{"in another handle", "handle /ci/* {\n" + ours + "}\nhandle {\ntemplates\nfile_server\n}", false},
		{"in a handle with a matcher", "handle /site/* {\ntemplates\nfile_server\n}\n" + ours, false},
		{"for errors only", ours + "handle_errors {\ntemplates\nrespond sorry\n}", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			config, err := adapt(s.caddyfile("", tt.site))
			if err != nil {
				t.Fatal(err)
			}
			err = provision(config)
			switch {
			case !tt.refused && err != nil:
				t.Errorf("got %v, want no error", err)
			case tt.refused && (err == nil || !strings.Contains(err.Error(), "templates has no matcher")):
				t.Errorf("got %v, want an error that names templates", err)
			}
		})
	}
	t.Run("in another site", func(t *testing.T) {
		s := newSite(t)
		config, err := adapt(s.caddyfile("", ours) + "http://other.test {\ntemplates\nfile_server\n}\n")
		if err != nil {
			t.Fatal(err)
		}
		if err := provision(config); err != nil {
			t.Errorf("got %v, want no error", err)
		}
	})
}

// TestTemplatesExecuteNothingOfOurs uses a cause, a log and an error text that look like
// templates, in a site whose other pages are templates.
func TestTemplatesExecuteNothingOfOurs(t *testing.T) {
	const evil = `{{env "BUILD_TOKEN_PLANTED"}}`
	t.Setenv("BUILD_TOKEN_PLANTED", "planted-value")
	s := newSite(t)
	s.load(s.caddyfile("", "templates /site/*\n"+
		"build_token {\naccess {\nread `true`\n}\njob hello {\nquiet_period 0\ntoken secret {\ngrant trigger status log\n}\nrun echo `"+evil+"`\n}\n}"))
	a := s.get("/buildByToken/build?job=hello&token=secret&cause="+url.QueryEscape(evil), "Prefer", "wait=30")
	if a.status != 200 && a.status != 201 {
		t.Fatalf("trigger: %d %s", a.status, a.body)
	}
	for _, tt := range []struct{ target, accept, want string }{
		{"/buildByToken/log?job=hello&token=secret&item=1", "*/*", evil},
		{"/job/hello/1/api/json", "*/*", `{{env \"BUILD_TOKEN_PLANTED\"}}`},
		{"/job/hello/1/", "text/html", "{{env &#34;BUILD_TOKEN_PLANTED&#34;}}"},
		{"/buildByToken/build?job=" + url.QueryEscape(evil) + "&token=secret", "*/*", ""},
		{"/buildByToken/build?job=hello&token=secret&delay=" + url.QueryEscape(evil), "*/*", ""},
	} {
		a := s.get(tt.target, "Accept", tt.accept)
		if strings.Contains(a.body, "planted-value") || a.status >= 500 {
			t.Errorf("GET %s = %d, and the text was executed: %s", tt.target, a.status, a.body)
		}
		if !strings.Contains(a.body, tt.want) {
			t.Errorf("GET %s = %d, want %q in it: %s", tt.target, a.status, tt.want, a.body)
		}
	}
}
