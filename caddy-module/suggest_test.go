package caddymodule_test

import (
	"testing"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

func TestNearest(t *testing.T) {
	candidates := []string{"token", "timeout", "run", "runner", "env", "param"}
	for _, tt := range []struct{ name, want string }{
		{"tokn", "token"},
		{"tokens", "token"},
		{"otken", "token"},
		{"Token", "token"},
		{"runer", "runner"},
		{"rn", ""},
		{"xrun", "run"},
		{"runx", "run"},
		{"evn", "env"},
		{"parameter", ""},
		{"params", "param"},
		{"", ""},
		{"run", ""},
		{"r", ""},
		{"abc", ""},
		{"ruxx", ""},
		{"runxxxx", ""},
		{"tmeot", "timeout"},
		{"timexyz", ""},
	} {
		if got := caddymodule.Nearest(tt.name, candidates); got != tt.want {
			t.Errorf("Nearest(%q) = %q, want %q", tt.name, got, tt.want)
		}
	}
	for _, tt := range []struct {
		name       string
		candidates []string
		want       string
	}{
		{"ruk", []string{"run", "rub"}, "run"}, // the first of two that are as near
		{"ruk", []string{"rxx", "rub"}, "rub"},
		{"tokem", []string{"tokee", "token"}, "tokee"},
		{"toekn", []string{"tkn", "token"}, "token"}, // the nearest
		{"yx", []string{"yxy"}, ""},
		{"nu", []string{"un"}, ""}, // too short to be sure
	} {
		if got := caddymodule.Nearest(tt.name, tt.candidates); got != tt.want {
			t.Errorf("Nearest(%q) of %q = %q, want %q", tt.name, tt.candidates, got, tt.want)
		}
	}
}
