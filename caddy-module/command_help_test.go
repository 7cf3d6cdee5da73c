package caddymodule_test

import (
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// Each command explains itself, with two examples.
func TestEveryCommandHasTwoExamples(t *testing.T) {
	parent := &cobra.Command{Use: "build-token"}
	caddycmd.Commands()["build-token"].CobraFunc(parent)
	if len(parent.Commands()) < 10 {
		t.Fatalf("build-token has %d commands", len(parent.Commands()))
	}
	for _, c := range parent.Commands() {
		if n := strings.Count(c.Example, "caddy build-token "+c.Name()); n < 2 {
			t.Errorf("%s: %d examples, want two", c.Name(), n)
		}
		if strings.TrimSpace(c.Long) == "" || c.Short == "" {
			t.Errorf("%s has no help", c.Name())
		}
	}
}
