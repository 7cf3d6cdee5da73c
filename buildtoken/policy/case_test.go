package policy_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/policy"
)

const cases = "../../testdata/policy"

func TestCaseFiles(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(cases, "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 15 {
		t.Fatalf("found %d case files in %s, want 15 or more", len(files), cases)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			c, err := policy.ParseCase(f)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Run(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestParseCase(t *testing.T) {
	got, err := policy.ParseCase(strings.NewReader(`# comment
access
rule team allow 1
    user == "a" ||

    # not a comment to us, but the line is one of the rule's
	user == "b"
given user=a job.full_name=team/app params.A=1 request.headers.Accept=json
> params.B="two words" params.C= request.headers.X-Event=push
>  delay=90s now=2026-11-24T10:00:00Z
denied by team allow 1: no such key
given params.A=3
> request.remote_ip=::1 user="" token.name=ci cause=c
> request.method=GET request.host=h request.path=/p request.scheme=https request.user_agent=curl
allowed
`))
	if err != nil {
		t.Fatal(err)
	}
	want := policy.Case{
		Access: true,
		Rules: []policy.Rule{{
			Name:   "team allow 1",
			Source: "user == \"a\" ||\n# not a comment to us, but the line is one of the rule's\nuser == \"b\"",
		}},
		Checks: []policy.Check{
			{
				Line: 9,
				Input: policy.Input{
					Job:     policy.Job{Name: "app", Folder: "team", FullName: "team/app"},
					Params:  map[string]string{"A": "1", "B": "two words", "C": ""},
					Delay:   90 * time.Second,
					User:    "a",
					Now:     time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC),
					Request: policy.Request{Headers: map[string]string{"accept": "json", "x-event": "push"}},
				},
				Want: "denied by team allow 1: no such key",
			},
			{
				Line: 13,
				Input: policy.Input{
					Job:    policy.Job{Name: "app", Folder: "team", FullName: "team/app"},
					Token:  policy.Token{Name: "ci"},
					Params: map[string]string{"A": "3"},
					Cause:  "c",
					Request: policy.Request{
						Method: "GET", Host: "h", Path: "/p", Scheme: "https",
						RemoteIP: "::1", UserAgent: "curl", Headers: map[string]string{"accept": "json"},
					},
				},
				Want: "allowed",
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseCase (-want +got):\n%s", diff)
	}
}

func TestParseCaseRefuses(t *testing.T) {
	for _, tt := range []struct{ name, in, wantText string }{
		{"an empty file", "", "no request"},
		{"a request without an outcome", "> user=a\n", "line 1: the request has no outcome"},
		{"an outcome that is none", "> user=a\nyes\n", "line 2"},
		{"an outcome that names no rule", "rule a\n    true\n> user=a\ndenied by b\n", "line 4"},
		{"an outcome that only begins like a rule", "rule a\n    true\n> user=a\ndenied by ab\n", "line 4"},
		{"two rules of one name", "rule a\n  true\nrule a\n  true\n", "line 3: second rule"},
		{"a rule without a name", "rule\n", "line 1"},
		{"an indented line below no rule", "given user=a\n  true\n", "line 2"},
		{"an indented line after a request", "rule a\n  true\n> user=a\n  false\n", "line 4"},
		{"an unknown word", "expect x\n", "line 1"},
		{"an unknown key", "> params=x\nallowed\n", "params: not something"},
		{"a parameter without a name", "> params.=x\nallowed\n", "not something"},
		{"a word without =", "> user\nallowed\n", "has no ="},
		{"open quotes", "> user=\"a\nallowed\n", "do not close"},
		{"text after quotes", "> user=\"a\"b\nallowed\n", "right after"},
		{"a delay without a unit", "> delay=5\nallowed\n", "delay"},
		{"an instant without a zone", "> now=2026-11-24T10:00:00\nallowed\n", "now"},
		{"a file that is too long", strings.Repeat("#", 1<<20+1), "longer than 1048576 bytes"},
		{"a file of the largest size", strings.Repeat("#", 1<<20), "no request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := policy.ParseCase(strings.NewReader(tt.in))
			if !errors.Is(err, policy.ErrBadCase) || !strings.Contains(err.Error(), tt.wantText) {
				t.Errorf("ParseCase = %v, want ErrBadCase with %q", err, tt.wantText)
			}
		})
	}
}

func TestCaseRunNamesWhatCameOutOtherwise(t *testing.T) {
	c := parse(t, `rule r
    params.A == "1"
> params.A=1
denied by r
> params.A=2
allowed
> params.A=1
allowed
>
denied by r
>
denied by r: no such key: B
> params.A=2
denied by r: no such key
`)
	err := c.Run(t.Context())
	mismatch, ok := errors.AsType[*policy.Mismatch](err)
	if !ok {
		t.Fatalf("Run = %v, want a Mismatch", err)
	}
	first := &policy.Mismatch{Line: 3, Got: "allowed", Want: "denied by r", Findings: []policy.Finding{
		{Rule: policy.Rule{Name: "r", Source: `params.A == "1"`}, Allowed: true, Reads: []string{"params.A"}, Saw: []string{`params.A = "1"`}},
	}}
	if diff := cmp.Diff(first, mismatch); diff != "" {
		t.Errorf("first mismatch (-want +got):\n%s", diff)
	}
	want := `line 3: got "allowed", want "denied by r"
    r: true; params.A = "1"
line 5: got "denied by r", want "allowed"
    r: false; params.A = "2"
line 9: got "denied by r: no such key: A", want "denied by r"
    r: it failed: no such key: A; params.A = absent
line 11: got "denied by r: no such key: A", want "denied by r: no such key: B"
    r: it failed: no such key: A; params.A = absent
line 13: got "denied by r", want "denied by r: no such key"
    r: false; params.A = "2"`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("Run (-want +got):\n%s", diff)
	}
}

// What is no decision is no wanted outcome.
func TestCaseRunThatIsGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, want := range []string{"allowed", "denied by r"} {
		err := parse(t, "rule r\n    params.all(p, p != \"x\")\n> params.A=1\n"+want+"\n").Run(ctx)
		if _, ok := errors.AsType[*policy.Mismatch](err); !ok || !strings.Contains(err.Error(), "context canceled") {
			t.Errorf("Run = %v, want a mismatch that the context has ended", err)
		}
	}
}

func TestCaseRunReportsBadRules(t *testing.T) {
	for _, tt := range []struct{ name, in string }{
		{"rule that does not compile", "rule r\n    tokn.name == \"x\"\n>\nallowed\n"},
		{"access rule that asks for more than user, job and request", "access\nrule r\n    token.name == \"x\"\n>\nallowed\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := parse(t, tt.in).Run(t.Context()); !errors.Is(err, policy.ErrBadRule) {
				t.Errorf("Run = %v, want ErrBadRule", err)
			}
		})
	}
}

func parse(t *testing.T, text string) policy.Case {
	t.Helper()
	c, err := policy.ParseCase(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func FuzzParseCase(f *testing.F) {
	files, err := filepath.Glob(filepath.Join(cases, "*.txt"))
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("> user=\"\\x00\" params.A=\"\\\"\"\nallowed\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := policy.ParseCase(strings.NewReader(text))
		if err != nil {
			if !errors.Is(err, policy.ErrBadCase) {
				t.Errorf("ParseCase(%q) = %v, want ErrBadCase", text, err)
			}
			return
		}
		if len(c.Checks) == 0 {
			t.Errorf("ParseCase(%q) has no checks and no error", text)
		}
		for _, check := range c.Checks {
			if check.Want == "" || check.Line < 1 {
				t.Errorf("ParseCase(%q): check without outcome or line: %+v", text, check)
			}
		}
	})
}

func TestParseCaseOfAFileThatCannotBeRead(t *testing.T) {
	broken := errors.New("input/output error")
	if _, err := policy.ParseCase(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("ParseCase = %v, want the error of the reader", err)
	}
}
