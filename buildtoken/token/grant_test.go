package token_test

import (
	"errors"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/token"
)

func TestParseGrants(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []string
		want token.Grant
		err  error
	}{
		{"none given means trigger", nil, token.Trigger, nil},
		{"one", []string{"log"}, token.Log, nil},
		{"all", []string{"share", "cancel", "log", "status", "trigger"}, token.Trigger | token.Status | token.Log | token.Cancel | token.Share, nil},
		{"status alone does not trigger", []string{"status"}, token.Status, nil},
		{"repeated", []string{"log", "log"}, token.Log, nil},
		{"unknown", []string{"log", "admin"}, 0, token.ErrGrant},
		{"in upper case", []string{"LOG"}, 0, token.ErrGrant},
		{"empty", []string{""}, 0, token.ErrGrant},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := token.ParseGrants(tt.in)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("ParseGrants(%q) = %q, %v, want %q, %v", tt.in, got, err, tt.want, tt.err)
			}
		})
	}
}

func TestGrantHas(t *testing.T) {
	g := token.Trigger | token.Log
	for _, tt := range []struct {
		name  string
		asked token.Grant
		want  bool
	}{
		{"one that is granted", token.Log, true},
		{"both", token.Trigger | token.Log, true},
		{"one that is not", token.Cancel, false},
		{"one of two", token.Log | token.Status, false},
		{"nothing", 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := g.Has(tt.asked); got != tt.want {
				t.Errorf("Has(%q) = %t, want %t", tt.asked, got, tt.want)
			}
		})
	}
	if got, want := (token.Share | token.Cancel | g | token.Status).String(), "trigger status log cancel share"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	if got := token.Grant(0).String(); got != "" {
		t.Errorf("String() of nothing = %q", got)
	}
}
