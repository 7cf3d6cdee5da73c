package caddymodule_test

import (
	"io"
	"reflect"
	"regexp"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// A command line that cannot be used has the status of a refusal, not that of a failed build.
func TestUnusableCommandLinesAreRefused(t *testing.T) {
	for _, line := range []string{
		"trigger", "trigger job --wait soon", "log job 1 2 3", "check --nothing", "notifications retry", "nothing",
		"log", "cancel a", "status x", "tokens x", "deliveries x", "notifications x", "notify x", "notify test", "check a b", "explain", "digest x", "policy-test",
		"backup", "backup a b", "restore", "restore a b", "prune x", "migrate x", "import-jenkins",
	} {
		t.Run(line, func(t *testing.T) {
			parent := &cobra.Command{Use: "build-token"}
			caddycmd.Commands()["build-token"].CobraFunc(parent)
			parent.SetArgs(strings.Fields(line))
			parent.SetOut(io.Discard)
			parent.SetErr(io.Discard)
			err := parent.Execute()
			if err == nil {
				t.Fatal("no error")
			}
			status := reflect.Indirect(reflect.ValueOf(err)).FieldByName("ExitCode") // the type is Caddy's
			if !status.IsValid() || status.Int() != 2 {
				t.Errorf("error %v (%T) with status %v, want 2", err, err, status)
			}
		})
	}
}

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

// Each option that a usage line names exists. Only the commands that name --url work over HTTP.
func TestOptionsOfUsageLinesExist(t *testing.T) {
	option := regexp.MustCompile(`--([a-z-]+)`)
	parent := &cobra.Command{Use: "build-token"}
	caddycmd.Commands()["build-token"].CobraFunc(parent)
	checked := 0
	var check func(commands []*cobra.Command)
	check = func(commands []*cobra.Command) {
		for _, c := range commands {
			for _, found := range option.FindAllStringSubmatch(c.Use, -1) {
				if checked++; c.Flags().Lookup(found[1]) == nil {
					t.Errorf("%s has no option --%s", c.CommandPath(), found[1])
				}
			}
			if c.Flags().Lookup("url") != nil && !strings.Contains(c.Use, "--url") {
				t.Errorf("%s has the option --url", c.CommandPath())
			}
			check(c.Commands())
		}
	}
	if check(parent.Commands()); checked < 40 {
		t.Errorf("found %d options", checked)
	}
}

// Without a command, the help is printed, and that is a success.
func TestHelpIsPrinted(t *testing.T) {
	for line, want := range map[string]string{"": "policy-test", "notify": "Sends a sample to a receiver"} {
		parent := &cobra.Command{Use: "build-token"}
		caddycmd.Commands()["build-token"].CobraFunc(parent)
		var out strings.Builder
		parent.SetArgs(strings.Fields(line))
		parent.SetOut(&out)
		if err := parent.Execute(); err != nil || !strings.Contains(out.String(), want) || !strings.Contains(out.String(), "Available Commands") {
			t.Errorf("build-token %s: %v, %q; want the help", line, err, out.String())
		}
	}
}
