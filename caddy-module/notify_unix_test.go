//go:build unix

package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/hook"
)

// delivery is a request that a receiver got.
type delivery struct {
	path   string
	header http.Header
	body   []byte
}

// newReceiver returns a receiver that accepts requests and passes them on.
func newReceiver(t *testing.T) (url string, got <-chan delivery) {
	t.Helper()
	all := make(chan delivery, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		all <- delivery{r.URL.RequestURI(), r.Header, body}
	}))
	t.Cleanup(server.Close)
	return server.URL, all
}

// next waits for a delivery and returns it.
func next(t *testing.T, got <-chan delivery) delivery {
	t.Helper()
	select {
	case d := <-got:
		return d
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was delivered")
	}
	return delivery{}
}

// TestNotify builds a job twice and checks what its receivers get.
func TestNotify(t *testing.T) {
	url, got := newReceiver(t)
	t.Setenv("HOOK", "/services/T0/SECRET")
	t.Setenv("WHSEC", whsec)
	s := newSite(t)
	s.load(s.caddyfile("", `handle /metrics {
	metrics
}
build_token {
	quiet_period 0
	root_url https://ci.example.com
	notify ops `+url+`{env.HOOK} {
		on failure fixed
		secret {env.WHSEC}
	}
	folder site {
		token SECRET
		job deploy {
			param COMMIT string
			param EXIT string 0
			notify status `+url+`/api/v3 {
				on always
				format github
				repository octo/site
				commit {param.COMMIT}
				header Authorization "Bearer {env.WHSEC}"
			}
			run sh -c "exit $EXIT"
		}
	}
}
`))
	const trigger = "/buildByToken/buildWithParameters?job=site/deploy&token=SECRET"
	if a := s.get(trigger + "&EXIT=3&COMMIT=c0ffee"); a.status != http.StatusCreated {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	all := map[string]delivery{}
	for range 2 {
		d := next(t, got)
		all[d.path] = d
	}
	d, ok := all["/services/T0/SECRET"]
	if !ok {
		t.Fatalf("delivered to %v", all)
	}
	secret, err := hook.ParseSecret(event.Standard, whsec)
	if err != nil {
		t.Fatal(err)
	}
	w, err := hook.New(hook.Config{Kind: event.Standard, Secrets: []hook.Secret{secret}})
	if err != nil {
		t.Fatal(err)
	}
	check, err := w.Begin(time.Now(), hook.Request{Header: event.Header(d.header)})
	if err != nil {
		t.Fatalf("the signature: %v", err)
	}
	check.Write(d.body)
	if err := check.Finish(); err != nil {
		t.Errorf("the signature: %v", err)
	}
	var e struct {
		Type string
		Data struct {
			Job, Result, Reason string
			Build               int64
			BuildURL            string `json:"build_url"`
			Parameters          map[string]string
		}
	}
	if err := json.Unmarshal(d.body, &e); err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprint(e); text != "{build.ended {site/deploy FAILURE exit status 3 1 https://ci.example.com/job/site/job/deploy/1/ map[COMMIT:c0ffee EXIT:3]}}" {
		t.Errorf("event %s", text)
	}
	d = all["/api/v3/repos/octo/site/statuses/c0ffee"]
	if d.header.Get("Authorization") != "Bearer "+whsec || !strings.Contains(string(d.body), `"state":"failure"`) {
		t.Errorf("status %v %s", d.header, d.body)
	}

	// A build without a commit has no status to report.
	if a := s.get(trigger + "&EXIT=0"); a.status != http.StatusCreated {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	if d = next(t, got); !strings.Contains(string(d.body), `"turn":"fixed"`) {
		t.Errorf("got %s", d.body)
	}
	var lines []string
	s.eventually("four lines about notifications", func() bool {
		lines = nil
		for _, e := range s.logged("build_token") {
			if msg, _ := e["msg"].(string); strings.HasPrefix(msg, "notification") {
				lines = append(lines, fmt.Sprintf("%v %v %v", msg, e["target"], e["reason"]))
			}
		}
		return len(lines) == 4
	})
	metrics := s.get("/metrics").body
	for _, want := range []string{
		`caddy_build_token_notifications_total{outcome="sent",target="ops"} 2`,
		`caddy_build_token_notifications_total{outcome="skipped",target="site/deploy/status"} 1`,
		`caddy_build_token_notifications_waiting{target="ops"} 0`,
		`caddy_build_token_notifications_oldest_seconds{target="ops"} 0`,
		`caddy_build_token_notifications_given_up{target="ops"} 0`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	for _, hidden := range []string{"SECRET", whsec, strings.TrimPrefix(whsec, "whsec_"), "services"} {
		s.mustNotLog(hidden)
	}
	slices.Sort(lines)
	want := []string{
		"notification sent ops <nil>", "notification sent ops <nil>", "notification sent site/deploy/status <nil>",
		"notification skipped site/deploy/status the commit is empty",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
