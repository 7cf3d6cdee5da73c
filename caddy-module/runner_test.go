package caddymodule_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

// TestRunnerOfTheDocument verifies that the runner in docs/runners.md is the one in
// wake_test.go, and that it works.
func TestRunnerOfTheDocument(t *testing.T) {
	source, err := os.ReadFile("wake_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(source), "\n)\n\n") // the part after the imports
	found := false
	for _, f := range fences(t, filepath.Join("..", "docs", "runners.md")) {
		found = found || f.info == "go" && strings.HasSuffix(f.text, code)
	}
	if !found {
		t.Error("docs/runners.md does not have the code of wake_test.go")
	}

	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s := newSite(t)
	s.load(s.caddyfile("", jobs("job wake {\n token secret {\n grant trigger log\n }\n runner wake 00:00:5e:00:53:01 "+conn.LocalAddr().String()+"\n}\n")))
	if log := s.follow("wake", "secret", s.trigger("wake", "secret")); !strings.HasSuffix(log, "\nwoke 00:00:5e:00:53:01\nFinished: SUCCESS\n") {
		t.Errorf("log = %q", log)
	}
	packet := make([]byte, 200)
	if n, _, err := conn.ReadFrom(packet); err != nil || n != 6+16*6 {
		t.Errorf("got a packet of %d bytes, %v; want 102", n, err)
	}
}

// TestHTTPRunner starts and follows a build on another system, with a secret from the
// environment and a password.
func TestHTTPRunner(t *testing.T) {
	var requests []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests = append(requests, fmt.Sprintf("%s %s %s %s", r.Method, r.RequestURI, r.Header.Get("Authorization"), body))
		switch len(requests) {
		case 1:
			fmt.Fprintln(w, `{"id": 7, "state": "queued"}`)
		case 2:
			fmt.Fprintln(w, `{"state": "passed with warnings"}`)
		}
	}))
	defer other.Close()
	t.Setenv("OTHER_TOKEN", "s3cret")
	s := newSite(t)
	s.load(s.caddyfile("", jobs("job relay {\n token secret {\n grant trigger log\n }\n param VERSION string v1\"\n param PASS password hunter2\n"+
		" runner http POST "+other.URL+"/builds {\n  header Authorization \"Bearer {env.OTHER_TOKEN}\"\n  body `{\"version\": \"{param.VERSION}\", \"pass\": \"{param.PASS}\"}`\n"+
		"  follow "+other.URL+"/builds/{response.id} {\n   done `body.state != \"queued\"`\n   result `body.state.contains(\"warnings\") ? \"UNSTABLE\" : \"SUCCESS\"`\n   every 1s\n  }\n }\n}\n")))
	a := s.get("/buildByToken/buildWithParameters?job=relay&token=secret")
	if a.status != http.StatusCreated {
		t.Fatalf("trigger: got %d %q", a.status, a.body)
	}
	log := s.follow("relay", "secret", "1")
	if !strings.HasSuffix(log, `
{"id": 7, "state": "queued"}
{"state": "passed with warnings"}
reported by the system that the build was followed on
Finished: UNSTABLE
`) {
		t.Errorf("log = %q", log)
	}
	want := []string{`POST /builds Bearer s3cret {"version": "v1\"", "pass": "hunter2"}`, "GET /builds/7 Bearer s3cret "}
	if fmt.Sprint(requests) != fmt.Sprint(want) {
		t.Errorf("requests = %q, want %q", requests, want)
	}
}

// TestTraceContextReachesTheBuild triggers with and without a trace context, and behind Caddy's tracing.
func TestTraceContextReachesTheBuild(t *testing.T) {
	const valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	t.Setenv("OTEL_TRACES_EXPORTER", "none")
	s := newSite(t)
	load := func(tracing string) {
		s.load(s.caddyfile("", tracing+
			jobs("job x {\n coalesce never\n token secret {\n grant trigger log\n }\n run sh -c `echo \"trace=$TRACEPARENT\"`\n}\n")))
	}
	load("")
	for i, tt := range []struct{ sent, traced, want string }{
		{valid, "", valid},
		{"", "", ""},
		{"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", "", ""},
		{"00-00000000000000000000000000000000-00f067aa0ba902b7-01", "", ""},
		{"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", "", ""},
		{"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "", ""},
		{valid + "; rm", "", ""},
		{"00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "", ""},
		{valid, "yes", "00-4bf92f3577b34da6a3ce929d0e0e4736-"}, // with the ID of Caddy's own span
		{"", "yes", "00-"},
	} {
		var header []string
		if tt.sent != "" {
			header = append(header, "Traceparent", tt.sent)
		}
		if tt.traced != "" {
			load("tracing\n")
		}
		if a := s.get("/buildByToken/build?job=x&token=secret", header...); a.status != http.StatusCreated {
			t.Fatalf("trigger: got %d %q", a.status, a.body)
		}
		log := s.follow("x", "secret", fmt.Sprint(i+1))
		_, got, _ := strings.Cut(log, "trace=")
		got, _, _ = strings.Cut(got, "\n")
		if tt.traced == "" && got != tt.want || !strings.HasPrefix(got, tt.want) || tt.traced != "" && (len(got) != len(valid) || got == valid) {
			t.Errorf("sent %q, traced %q: the build has %q, want %q", tt.sent, tt.traced, got, tt.want)
		}
	}
}

// A poller runs as the user of the job's runner, or as its own in a separate workspace.
func TestUserOfAPoller(t *testing.T) {
	for _, tt := range []struct {
		name, runner, poller, user string
		separate                   bool
	}{
		{"Caddy's own user", "", "", "", false},
		{"the user of the runner", "builder", "", "builder", false},
		{"the same user", "builder", "builder", "builder", false},
		{"another user", "builder", "scout", "scout", true},
		{"another user than Caddy's", "", "scout", "scout", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run := &caddymodule.ExecRunner{Exec: caddymodule.Exec{Command: "true", User: tt.runner}}
			poll := &caddymodule.ExecPoller{Exec: caddymodule.Exec{Command: "true", User: tt.poller}}
			if err := errors.Join(run.Provision(caddy.Context{}), poll.Provision(caddy.Context{})); err != nil {
				t.Fatal(err)
			}
			user, err := poll.Beside(run)
			if err != nil || user != tt.user || poll.Separate() != tt.separate {
				t.Errorf("it runs as %q, separate %t, error %v; want %q, %t", user, poll.Separate(), err, tt.user, tt.separate)
			}
		})
	}
}

// A trigger whose parameters do not fit is refused, and not queued for a build that cannot start.
func TestParametersThatDoNotFit(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("", jobs("job local {\n token secret\n param P string\n quiet_period 1h\n run true\n}\n"+
		"job relay {\n token secret\n param P string\n quiet_period 1h\n runner http POST http://127.0.0.1:1/ {\n  header X-P {param.P}\n }\n}\n")))
	for _, tt := range []struct {
		job, value string
		want       int
	}{
		{"local", "small", http.StatusCreated},
		{"local", "nul%00byte", http.StatusBadRequest},
		{"relay", "small", http.StatusCreated},
		{"relay", "two%0Alines", http.StatusBadRequest},
	} {
		if a := s.get("/buildByToken/buildWithParameters?token=secret&job=" + tt.job + "&P=" + tt.value); a.status != tt.want {
			t.Errorf("trigger %s with %s: got %d %q, want %d", tt.job, tt.value, a.status, a.body, tt.want)
		}
	}
}
