package caddymodule_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAudit makes every kind of decision, and expects one line for each.
func TestAudit(t *testing.T) {
	s := newSite(t)
	body := `build_token {
	quiet_period 1h
	access {
		build true
	}
	job app {
		token ci SECRET {
			grant trigger cancel
		}
		token look LOOKING {
			grant status
		}
		webhook hub github {env.HUB_SECRET}
		on hub ping
		param P password
		allow "cause != 'forbidden'"
		run true
	}
	job long {
		quiet_period 0
		token ci SECRET {
			grant trigger status cancel
		}
		run sleep 600
	}
}
`
	t.Setenv("HUB_SECRET", "HubSecret99")
	s.load(s.caddyfile("audit\nwrong_tokens 1 1h", body))
	const app = "/buildByToken/buildWithParameters?job=app&P=Pa55word"
	var want []string
	did := func(what answer, status int, line string) {
		t.Helper()
		if what.status != status {
			t.Errorf("got %d %q, want %d (%s)", what.status, what.body, status, line)
		}
		if line != "" {
			want = append(want, line)
		}
	}
	did(s.get(app+"&token=SECRET"), 201, "accepted buildWithParameters app token ci item 1")
	did(s.get(app+"&token=SECRET"), 303, "joined buildWithParameters app token ci item 1")
	did(s.get(app+"&token=SECRET&delay=2h", "Idempotency-Key", "k"), 303, "joined buildWithParameters app token ci item 1")
	did(s.get(app+"&token=SECRET&delay=2h", "Idempotency-Key", "k"), 303, "repeated buildWithParameters app token ci item 1")
	did(s.get(app+"&token=SECRET&cause=forbidden"), 403, "refused buildWithParameters app token ci rule app allow 1: policy: denied by app allow 1")
	did(s.get(app+"&token=LOOKING"), 403, "refused buildWithParameters app token look: buildtoken: not granted to the token: trigger")
	did(s.get("/buildByToken/build?job=none&token=SECRET"), 404, "refused build none anonymous: buildtoken: unknown job")
	did(s.get("/buildByToken/build?job=app&token=SECRET"), 400, "refused build app token ci: use buildWithParameters for this job since it takes parameters")
	did(s.do(http.MethodPost, app), 303, "joined buildWithParameters app anonymous item 1 rule access build")
	did(s.do(http.MethodPost, "/buildByToken/webhook", "X-Hub-Signature-256", "sha256="+strings.Repeat("0", 64), "X-Github-Event", "push"), 403, "refused webhook  webhook hub: *")
	did(s.do(http.MethodPost, "/buildByToken/cancel?job=app&item=1&token=LOOKING"), 403, "refused cancel app token look: buildtoken: not granted to the token: cancel")
	did(s.do(http.MethodPost, "/buildByToken/cancel?job=app&item=1&token=SECRET"), 204, "cancelled cancel app token ci item 1")
	did(s.do(http.MethodPost, "/buildByToken/cancel?job=app&item=1&token=SECRET"), 409, "")
	did(s.get("/buildByToken/build?job=long&token=SECRET", "Prefer", "wait=0"), 201, "accepted build long token ci item 2")
	for {
		a := s.get("/buildByToken/status?job=long&item=2&token=SECRET")
		if strings.Contains(a.body, `"state":"running"`) || t.Context().Err() != nil {
			break
		}
	}
	did(s.do(http.MethodPost, "/buildByToken/cancel?job=long&item=2&token=SECRET"), 204, "stopped stop long token ci item 2 number 1")
	did(s.get(app+"&token=WrongGuess77"), 403, "refused buildWithParameters app anonymous: token: mismatch")
	did(s.get(app+"&token=WrongGuess77"), 429, "refused buildWithParameters app anonymous: buildtoken: too many wrong tokens, wait *")

	var got []string
	for i, e := range s.logged("build_token.audit") {
		line := fmt.Sprintf("%v %v %v %v", e["msg"], e["action"], e["job"], e["who"])
		for _, name := range []string{"item", "number", "rule"} {
			if e[name] != nil {
				line += fmt.Sprintf(" %s %v", name, e[name])
			}
		}
		if e["reason"] != nil {
			line += fmt.Sprintf(": %v", e["reason"])
		}
		if i < len(want) {
			if begin, open := strings.CutSuffix(want[i], "*"); open && strings.HasPrefix(line, begin) && line != begin {
				line = want[i]
			}
		}
		if e["level"] != "info" || e["remote"] != "127.0.0.1" {
			t.Errorf("level %v, remote %v in %s", e["level"], e["remote"], line)
		}
		got = append(got, line)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	for _, hidden := range []string{"SECRET", "LOOKING", "Pa55word", "WrongGuess77", "HubSecret99"} {
		s.mustNotLog(hidden)
	}
	s.load(s.caddyfile("wrong_tokens off", body))
	before := len(s.logged("build_token.audit"))
	s.get(app + "&token=SECRET")
	if after := len(s.logged("build_token.audit")); after != before {
		t.Errorf("%d lines without audit", after-before)
	}
}
