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
	} {
		if got := caddymodule.Nearest(tt.name, candidates); got != tt.want {
			t.Errorf("Nearest(%q) = %q, want %q", tt.name, got, tt.want)
		}
	}
}
