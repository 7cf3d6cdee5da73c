package policy_test

import (
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/policy"
)

func TestParams(t *testing.T) {
	env, err := policy.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ rule, want string }{
		{`params.ENV == "x"`, "ENV"},
		{`params["ENV"] == "x" && params.TAG.matches("^v")`, "ENV TAG"},
		{`"ENV" in params && params.ENV == "x"`, ""},
		{`!has(params.ENV) || params.ENV == "x"`, ""},
		{`params.?ENV.orValue("") == "x"`, ""},
		{`params[?"ENV"].orValue("") == "x"`, ""},
		{`params[cause] == "x"`, ""},
		{`cause == "params.ENV"`, ""},
		{`params.all(name, params[name] != "x")`, ""},
		{`["a"].all(x, params.ENV == x)`, "ENV"},
		{`request.headers["x"] == "y"`, ""},
		{`params.ENV ==`, ""},
	} {
		if got := strings.Join(env.Params(tt.rule), " "); got != tt.want {
			t.Errorf("Params(%s) = %q, want %q", tt.rule, got, tt.want)
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
