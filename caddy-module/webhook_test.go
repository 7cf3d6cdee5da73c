package caddymodule_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/deliveries"
	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

const hookSecret = "WEBHOOK-SECRET"

// deliver sends a push, signed as GitHub signs it.
func (s *site) deliver(path, secret, body string) (status int, text string) {
	s.t.Helper()
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-GitHub-Event", "push")
	r.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// A delivery is received, queued, and shown in the admin API, the metrics and the command, also
// after a reload. The secret must not be shown.
func TestWebhookEndToEnd(t *testing.T) {
	s := newSite(t)
	file := s.caddyfile("", "handle /metrics {\n metrics\n}\n"+jobs(`
		webhook main github `+hookSecret+`
		job later {
			param BRANCH string
			on main push {
				when `+"`event.branch.startsWith(\"release/\")`"+`
				set BRANCH `+"`event.branch`"+`
				delay 1h
			}
			run true
		}`))
	s.load(file)
	const body = `{"ref":"refs/heads/release/1","repository":{"full_name":"shop/api"},"sender":{"login":"octavia"}}`
	if status, text := s.deliver("/buildByToken/webhook?job=later", hookSecret, body); status != 201 || !strings.HasPrefix(text, "later: queued as item ") {
		t.Errorf("got %d %q, want 201", status, text)
	}
	if status, text := s.deliver("/github-webhook/", hookSecret, body); status != 200 || !strings.HasPrefix(text, "later: delivered before") {
		t.Errorf("at Jenkins' address: got %d %q, want 200", status, text)
	}
	if status, _ := s.deliver("/buildByToken/webhook", "wrong", body); status != 403 {
		t.Errorf("signed with another secret: got %d, want 403", status)
	}
	s.load(file)
	metrics := s.get("/metrics").body
	for _, line := range []string{
		`caddy_build_token_webhook_deliveries_total{outcome="queued",webhook="main"} 1`,
		`caddy_build_token_webhook_deliveries_total{outcome="repeated",webhook="main"} 1`,
		`caddy_build_token_webhook_deliveries_total{outcome="wrong_signature",webhook="main"} 1`,
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("metrics: no line %s", line)
		}
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/build_token/deliveries", http.NoBody)
	if err := new(caddymodule.Admin).Routes()[0].Handler.ServeHTTP(w, r); err != nil {
		t.Fatal(err)
	}
	var all []deliveries.Delivery
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 3 || all[0].Outcome != "wrong_signature" || all[2].Jobs[0].Outcome != "queued" || len(all[2].Jobs[0].Steps) == 0 {
		t.Errorf("deliveries: %s", w.Body)
	}
	var shown bytes.Buffer
	if err := caddymodule.PrintDeliveries(&shown, all); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(shown.String(), "push to release/1 of shop/api by octavia") || !strings.Contains(shown.String(), "later: queued as item 1") {
		t.Errorf("the command prints:\n%s", &shown)
	}
	if strings.Contains(w.Body.String()+shown.String()+metrics, hookSecret) {
		t.Error("the secret shows")
	}
	s.mustNotLog(hookSecret)
}

// TestWebhookSecretsAreChecked gives secrets by placeholders. Those that stand in the Caddyfile
// are checked when it is adapted.
func TestWebhookSecretsAreChecked(t *testing.T) {
	s := newSite(t)
	t.Setenv("PADDED_SECRET", " s3cret")
	t.Setenv("DIGEST_SECRET", "sha256:"+strings.Repeat("0", 64))
	for secret, want := range map[string]string{
		"{env.NO_SUCH_SECRET}": "webhook github",
		"{env.DIGEST_SECRET}":  "needs the secret in clear",
		"{env.PADDED_SECRET}":  "white space",
	} {
		err := s.try(s.caddyfile("", jobs("webhook github "+secret+"\njob x {\n on github\n run true\n}\n")))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: got %v, want an error with %q", secret, err, want)
		}
	}
	err := s.try(s.caddyfile("", jobs("webhook github a\njob x {\n on gitlab\n run true\n}\n")))
	if err == nil || !strings.Contains(err.Error(), "x: on gitlab: neither the job nor a folder above it has a webhook of this name") {
		t.Errorf("got %v, want an error about the name", err)
	}
}
