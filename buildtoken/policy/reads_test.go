package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/policy"
)

// TestReads writes a parameter that the rule asks for with a question mark, and what it is
// compared with in brackets.
func TestReads(t *testing.T) {
	env, err := policy.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ rule, want string }{
		{`params.ENV == "x"`, `ENV["x"]`},
		{`params["ENV"] != "y" && params.TAG.matches("^v") && "x" == params.ENV`, `ENV["x" "y"] TAG[]`},
		{`params.ENV in ["b", "a", cause] || params.ENV in ["a"]`, `ENV["a" "b"]`},
		{`params.ENV == cause || params.ENV == 1`, `ENV[]`},
		{`params.ENV == params.OTHER`, `ENV[] OTHER[]`},
		{`params.ENV == ""`, `ENV[""]`},
		{`"ENV" in params && params.ENV == "x"`, `ENV?["x"]`},
		{`"ENV" in request.headers && params.ENV == "x"`, `ENV["x"]`},
		{`!has(params.ENV) || params.ENV == "x"`, `ENV?["x"]`},
		{`params.?ENV.orValue("") == "x"`, ""},
		{`params[?"ENV"].orValue("") == "x"`, ""},
		{`params[cause] == "x"`, ""},
		{`cause == "params.ENV"`, ""},
		{`params.all(name, params[name] != "x")`, ""},
		{`["a"].all(x, params.ENV == x)`, `ENV[]`},
		{`request.headers["x"] == "y"`, ""},
		{`params.ENV ==`, ""},
	} {
		var got []string
		for _, r := range env.Reads(tt.rule) {
			asks := ""
			if r.Asks {
				asks = "?"
			}
			got = append(got, fmt.Sprintf("%s%s%q", r.Param, asks, r.Compared))
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("Reads(%s) = %q, want %q", tt.rule, got, tt.want)
		}
	}
}

// TestOptionalTypes asks for parameters that may be missing.
func TestOptionalTypes(t *testing.T) {
	env, err := policy.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	p, err := env.Compile([]policy.Rule{{Name: "r", Source: `params.?ENV.orValue("staging") == "staging"`}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		params  map[string]string
		allowed bool
	}{
		{nil, true},
		{map[string]string{"ENV": "staging"}, true},
		{map[string]string{"ENV": "production"}, false},
	} {
		if err := p.Decide(t.Context(), &policy.Input{Params: tt.params}); (err == nil) != tt.allowed {
			t.Errorf("params %v: got %v, want allowed: %v", tt.params, err, tt.allowed)
		}
	}
}
