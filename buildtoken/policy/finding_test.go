package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/policy"
)

func TestFindingsShowWhatARuleReads(t *testing.T) {
	in := policy.Input{
		Job: policy.JobOf("site/deploy"), Token: policy.Token{Name: "ci"}, Params: map[string]string{"ENV": "staging", "TAG": "v1"},
		Delay: 5 * time.Second, User: "alice", Now: time.Date(2026, 11, 28, 18, 0, 0, 0, time.UTC),
		Request: policy.Request{Method: "POST", RemoteIP: "::ffff:192.0.2.7", Headers: map[string]string{"x-event": "push"}},
	}
	for _, tt := range []struct{ name, rule, want string }{
		{"a field", `params.ENV == "production"`, `false; params.ENV = "staging"`},
		{"an index", `params["ENV"] == "staging"`, `true; params.ENV = "staging"`},
		{"an optional field", `params.?NOPE.orValue("x") == "x"`, `true; params.NOPE = absent`},
		{"an optional index", `params[?"TAG"].orValue("x") == "x"`, `false; params.TAG = "v1"`},
		{"a test for a key", `"NOPE" in params && params.NOPE == "x"`, `false; params.NOPE = absent`},
		{"has()", `has(params.NOPE)`, `false; params.NOPE = absent`},
		{"a key that is computed", `params.all(n, params[n] != "")`, `true; params = {ENV: "staging", TAG: "v1"}`},
		{"the request", `request.method == "GET" && request.headers["x-event"] == "push"`, `false; request.method = "POST", request.headers.x-event = "push"`},
		{"all headers", `request.headers.all(h, h == "y")`, `false; request.headers = {x-event: "push"}`},
		{"an object as a whole", `job == job && job.name == "x"`, `false; job = …, job.name = "deploy"`},
		{"an address as rules see it", `ip(request.remote_ip).isLoopback()`, `false; request.remote_ip = "192.0.2.7"`},
		{
			"the rest", `now.getHours() == 1 || delay > duration("1h") || user == token.name || job.folder == cause`,
			`false; now = 2026-11-28T18:00:00Z, delay = 5s, user = "alice", token.name = "ci", job.folder = "site", cause = ""`,
		},
		{"what is read twice", `params.ENV == "a" || params.ENV == "b"`, `false; params.ENV = "staging"`},
		{"a failure", `params.NOPE == "x"`, `it failed: no such key: NOPE; params.NOPE = absent`},
		{"nothing", `1 == 1`, `true`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env, err := policy.NewEnv()
			if err != nil {
				t.Fatal(err)
			}
			p, err := env.Compile([]policy.Rule{{Name: "r", Source: tt.rule}})
			if err != nil {
				t.Fatal(err)
			}
			found := p.Findings(&in, p.Decide(t.Context(), &in))
			if len(found) != 1 || found[0].Text() != tt.want {
				t.Errorf("Findings = %+v, want %s", found, tt.want)
			}
		})
	}
}

// A value is shown up to 300 bytes.
func TestFindingsCutLongValues(t *testing.T) {
	env, err := policy.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	p, err := env.Compile([]policy.Rule{{Name: "r", Source: `cause != ""`}})
	if err != nil {
		t.Fatal(err)
	}
	most := strings.Repeat("x", 300)
	for cause, want := range map[string]string{most: most, most + "y": most + "…", most[1:] + "é": most[1:] + "…"} {
		in := policy.Input{Cause: cause}
		if got := p.Findings(&in, p.Decide(t.Context(), &in))[0].Saw[0]; got != `cause = "`+want+`"` {
			t.Errorf("a value of %d bytes is shown as %q", len(cause), got)
		}
	}
}

func TestFindingsEndWithTheRuleThatDecides(t *testing.T) {
	env, err := policy.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	p, err := env.Compile([]policy.Rule{{Name: "one", Source: `user == "alice"`, At: "Caddyfile:3"}, {Name: "two", Source: `cause != ""`}, {Name: "three", Source: "true"}})
	if err != nil {
		t.Fatal(err)
	}
	in := policy.Input{User: "alice"}
	want := []policy.Finding{
		{Rule: policy.Rule{Name: "one", Source: `user == "alice"`, At: "Caddyfile:3"}, Allowed: true, Reads: []string{"user"}, Saw: []string{`user = "alice"`}},
		{Rule: policy.Rule{Name: "two", Source: `cause != ""`}, Reads: []string{"cause"}, Saw: []string{`cause = ""`}},
	}
	if diff := cmp.Diff(want, p.Findings(&in, p.Decide(t.Context(), &in))); diff != "" {
		t.Errorf("Findings (-want +got):\n%s", diff)
	}
	in.Cause = "x"
	if all := p.Findings(&in, p.Decide(t.Context(), &in)); len(all) != 3 {
		t.Errorf("%d findings of an allowed request, want 3", len(all))
	}
}
