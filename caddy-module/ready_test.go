package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
