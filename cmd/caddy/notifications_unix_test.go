//go:build unix

package main_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shortened returns the lines of an output with single spaces, and with durations as "T".
func shortened(out string) []string {
	var lines []string
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		for i := range words {
			if i+1 < len(words) && words[i+1] == "ago" || i > 0 && words[i-1] == "in" {
				words[i] = "T"
			}
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return lines
}

// TestNotificationsCommand lists and retries notifications to a receiver that fails at first.
func TestNotificationsCommand(t *testing.T) {
	var works atomic.Bool
	var got atomic.Int32
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		got.Add(1)
		if !works.Load() {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer receiver.Close()
	s := newServer(t, "folder site {\n token secret\n notify ops "+receiver.URL+"/SECRET-PATH {\n on always\n }\n job deploy {\n quiet_period 0\n run true\n }\n}\n")
	s.start()
	notifications := func(args ...string) string {
		t.Helper()
		out, errs, err := s.command("", append(args, "--address", s.admin)...)
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, errs)
		}
		return out
	}
	if status, _, body := s.get("/buildByToken/build?job=site/deploy&token=secret"); status != http.StatusCreated {
		t.Fatalf("trigger: %d %q", status, body)
	}
	s.eventually("the first attempt failed", func() bool {
		return strings.Contains(notifications("build-token", "notifications"), "404 Not Found")
	})
	want := []string{
		"TARGET WAITING OLDEST GIVEN UP STATE", "site/ops 1 T ago 0 ok", "",
		"ID TARGET WHAT WHEN STATE", "1 site/ops site/deploy #1 ended SUCCESS T ago waiting: 404 Not Found; try 2 in T",
	}
	if diff := cmp.Diff(want, shortened(notifications("build-token", "notifications"))); diff != "" {
		t.Errorf("notifications (-want +got):\n%s", diff)
	}
	_, errs, err := s.command("", "build-token", "notify", "test", "site/ops", "--address", s.admin)
	if err == nil || !strings.Contains(errs, "notify site/ops: 404 Not Found") {
		t.Errorf("notify test: %v, %s", err, errs)
	}
	_, errs, err = s.command("", "build-token", "notify", "test", "ops", "--address", s.admin)
	if err == nil || !strings.Contains(errs, "no notify 'ops'; there are: site/ops (404)") {
		t.Errorf("notify test of an unknown target: %v, %s", err, errs)
	}
	works.Store(true)
	if out := notifications("build-token", "notify", "test", "site/ops"); out != "site/ops accepted the sample\n" {
		t.Errorf("notify test: %q", out)
	}
	if _, errs, err := s.command("", "build-token", "notifications", "retry", "7", "--address", s.admin); err == nil || !strings.Contains(errs, "notification 7 is not on record") {
		t.Errorf("retry of an unknown one: %v, %s", err, errs)
	}
	notifications("build-token", "notifications", "retry", "1")
	s.eventually("it was sent", func() bool { return !strings.Contains(notifications("build-token", "notifications"), "site/deploy") })
	var answer struct {
		Targets       []map[string]any
		Notifications []map[string]any
	}
	out := notifications("build-token", "notifications", "--json")
	if err := json.Unmarshal([]byte(out), &answer); err != nil || len(answer.Targets) != 1 || answer.Targets[0]["target"] != "site/ops" || len(answer.Notifications) != 0 {
		t.Errorf("notifications --json: %v\n%s", err, out)
	}
	if n := got.Load(); n != 4 {
		t.Errorf("the receiver got %d requests, want 4", n)
	}
	if strings.Contains(s.output(), "SECRET-PATH") || strings.Contains(out, "SECRET-PATH") {
		t.Errorf("the address was shown:\n%s", s.output())
	}
}
