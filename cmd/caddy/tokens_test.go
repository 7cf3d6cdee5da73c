package main_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// TestTokensCommand shows tokens that are used, not used, and presented although they have
// expired.
func TestTokensCommand(t *testing.T) {
	s := newServer(t, "folder site {\n token ci secret\n token idle other\n job deploy {\n quiet_period 1h\n"+
		" token old gone {\n expires 2020-01-01T00:00:00Z\n grant trigger log\n }\n run true\n }\n}\n")
	s.start()
	for secret, want := range map[string]int{"secret": http.StatusCreated, "gone": http.StatusForbidden} {
		if status, _, body := s.get("/buildByToken/build?job=site/deploy&token=" + secret); status != want {
			t.Fatalf("trigger with %s: %d %q", secret, status, body)
		}
	}
	out, errs, err := s.command("", "build-token", "tokens", "--address", s.admin)
	if err != nil {
		t.Fatalf("tokens: %v\n%s", err, errs)
	}
	var got []string
	for line := range strings.Lines(out) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	for i, want := range [][]string{
		{"DEFINED IN TOKEN STATE GRANTS EXPIRES USES FIRST USE LAST USE FROM"},
		{"site/ ci valid trigger never 1 ", " ago 127.0.0.1"},
		{"site/ idle valid trigger never 0 - -"},
		{"site/deploy old dead trigger log 2020-01-01T00:00:00Z 0 + 1 dead ", " ago 127.0.0.1"},
	} {
		if i >= len(got) || !strings.HasPrefix(got[i], want[0]) || !strings.HasSuffix(got[i], want[len(want)-1]) {
			t.Errorf("line %d of %q, want %q", i, got, want)
		}
	}
	out, errs, err = s.command("", "build-token", "tokens", "--json", "--address", s.admin)
	var all []map[string]any
	if err != nil || json.Unmarshal([]byte(out), &all) != nil || len(all) != 3 {
		t.Fatalf("tokens --json: %v\n%s%s", err, out, errs)
	}
	if old := all[2]; old["place"] != "site/deploy" || old["name"] != "old" || old["state"] != "dead" || old["dead_uses"] != 1.0 {
		t.Errorf("got %v", old)
	}
}
