//go:build unix

package caddymodule_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

const mistakes = "../testdata/mistakes/variants.txt"

// TestMistakesAreReportedAtLoad loads typical mistakes, and compares the errors and warnings
// with those in the file.
func TestMistakesAreReportedAtLoad(t *testing.T) {
	home(t)
	text, err := os.ReadFile(mistakes)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(text), "\n== ")
	var all strings.Builder
	all.WriteString(head + "\n")
	cases := strings.Split(rest, "\n== ")
	if len(cases) < 70 {
		t.Errorf("found %d cases, want 70 or more", len(cases))
	}
	for _, c := range cases {
		title, body, _ := strings.Cut(c, "\n")
		lines, want, ok := strings.Cut(body, "----\n")
		name, context, named := strings.Cut(strings.TrimSuffix(title, "]"), " [")
		if !ok {
			lines, want, ok = strings.Cut(body, "----")
		}
		if !ok || !named {
			t.Fatalf("case %q has no context, or no line ----", title)
		}
		want = strings.TrimRight(want, "\n")
		got := ""
		t.Run(name, func(t *testing.T) {
			got = strings.Join(reports(t, inContext(t, context, lines)), "\n")
			if !*update {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", lines, diff)
				}
			}
		})
		fmt.Fprintf(&all, "\n== %s\n%s----\n", title, lines)
		if got != "" {
			all.WriteString(got + "\n")
		}
	}
	if *update {
		if err := os.WriteFile(mistakes, []byte(strings.Replace(all.String(), "\n\n\n", "\n\n", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTokenThatExpiresSoon expects a warning during the last two weeks of a token.
func TestTokenThatExpiresSoon(t *testing.T) {
	home(t)
	for _, tt := range []struct {
		name string
		left time.Duration
		want string // a code, or ""
	}{
		{"in more than two weeks", 14*24*time.Hour + time.Hour, ""},
		{"in less than two weeks", 14*24*time.Hour - time.Hour, "[token-expires-soon]"},
		{"an hour ago", -time.Hour, "[token-expired]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := reports(t, inContext(t, "job", "token secret {\n expires "+time.Now().Add(tt.left).UTC().Format(time.RFC3339)+"\n}\n"))
			if len(got) == 1 && !strings.HasPrefix(got[0], "warning: Caddyfile:5: \"hello\": ") {
				t.Errorf("got %q, want the line of expires and the job", got)
			}
			if len(got) > 1 || (len(got) == 1) != (tt.want != "") || len(got) == 1 && !strings.HasSuffix(got[0], tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestWarningsAreLogged loads a mistake for each way of finding one, as JSON and as a Caddyfile,
// and expects the codes in the log.
func TestWarningsAreLogged(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("", jobs("job x {\n token secret\n run echo $ENV\n}\njob y {\n run true\n}")))
	codes := map[string]string{}
	for _, line := range s.logged("http.handlers.build_token") {
		if code, ok := line["code"].(string); ok && line["level"] == "warn" {
			job, _ := line["job"].(string)
			codes[code] = job
		}
	}
	if diff := cmp.Diff(map[string]string{"no-shell": "x", "no-way-to-start": "y"}, codes); diff != "" {
		t.Errorf("codes and jobs in the log (-want +got):\n%s", diff)
	}
}

// TestWarningsOfAdaptedFiles expects warnings in the log of the commands that only adapt a file. The
// others provision it, which logs them.
func TestWarningsOfAdaptedFiles(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("", jobs(named("secret"))))
	args := os.Args
	defer func() { os.Args = args }()
	for _, tt := range []struct {
		args []string
		want int
	}{{[]string{"caddy"}, 0}, {[]string{"caddy", "reload"}, 1}, {[]string{"caddy", "adapt", "--pretty"}, 1}, {[]string{"caddy", "run"}, 0}} {
		before := len(s.logged("build_token"))
		os.Args = tt.args
		if _, err := adapt(inContext(t, "job", "run echo $ENV\n")); err != nil {
			t.Fatal(err)
		}
		got := s.logged("build_token")[before:]
		if len(got) != tt.want || tt.want == 1 && (got[0]["code"] != "no-shell" || got[0]["at"] != "Caddyfile:4" || got[0]["job"] != "hello") {
			t.Errorf("%v: logged %v, want %d warnings", tt.args, got, tt.want)
		}
	}
}

// inContext completes lines to a Caddyfile.
func inContext(t *testing.T, context, lines string) string {
	t.Helper()
	site := func(text string) string { return ":8080\nbuild_token {\n" + text + "}\n" }
	switch context {
	case "file":
		return lines
	case "option":
		return "{\nbuild_token {\n" + lines + "}\n}\n"
	case "site":
		return site(lines)
	case "folder":
		return site("folder team {\n" + lines + "}\n")
	case "job":
		for _, needed := range []string{"token secret", "run true"} {
			word, _, _ := strings.Cut(needed, " ")
			if !regexp.MustCompile(`(?m)^` + word + `\b`).MatchString(lines) {
				lines += needed + "\n"
			}
		}
		return site("job hello {\n" + lines + "}\n")
	}
	t.Fatalf("unknown context %q", context)
	return ""
}

// reports loads a Caddyfile and returns what is reported, one line each.
func reports(t *testing.T, text string) []string {
	t.Helper()
	config, err := adapt(text)
	if err != nil {
		return []string{"error: " + err.Error()}
	}
	warnings, err := caddymodule.Warnings(config)
	if err != nil {
		text := err.Error()
		if at := strings.LastIndex(text, "build_token: "); at > 0 {
			text = text[at:] // Caddy puts the places in its JSON before
		}
		return []string{"error: " + text}
	}
	var all []string
	for _, w := range warnings {
		all = append(all, "warning: "+w.String())
	}
	return all
}
