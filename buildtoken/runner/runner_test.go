package runner_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

func TestTemplate(t *testing.T) {
	values := []runner.Param{{Name: "A", Value: "{param.B} 1"}, {Name: "_x.y-z9", Value: "two"}, {Name: "B", Value: "no"}}
	for _, tt := range []struct {
		text   string
		params []string
		want   string
	}{
		{"", nil, ""},
		{"plain {braces} {}", nil, "plain {braces} {}"},
		{"{param.A}", []string{"A"}, "<{param.B} 1>"},
		{"a{param.A}{param._x.y-z9}b{param.A}", []string{"A", "_x.y-z9", "A"}, "a<{param.B} 1><two>b<{param.B} 1>"},
		{"{{param.B}}", []string{"B"}, "{<no>}"},
	} {
		parsed, err := runner.ParseTemplate(tt.text)
		if err != nil || !slices.Equal(parsed.Params(), tt.params) {
			t.Errorf("ParseTemplate(%q) has the parameters %v, %v; want %v", tt.text, parsed.Params(), err, tt.params)
		}
		if got, err := parsed.Expand(values, func(v string) string { return "<" + v + ">" }); err != nil || got != tt.want {
			t.Errorf("%q expands to %q, %v, want %q", tt.text, got, err, tt.want)
		}
	}
	parsed, err := runner.ParseTemplate("a{param.A}b{param.C}")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parsed.Expand(values, nil); err == nil || err.Error() != "the build has no parameter C" {
		t.Errorf("Expand without C = %q, %v", got, err)
	}
	resolved, err := parsed.Resolve(func(text string) (string, error) { return text + "{param.B}", nil })
	if err != nil {
		t.Fatal(err)
	}
	if got, err := resolved.Expand(append(values, runner.Param{Name: "C", Value: "3"}), nil); err != nil || got != "a{param.B}{param.B} 1b{param.B}3" {
		t.Errorf("a resolved template expands to %q, %v", got, err)
	}
	if got, err := parsed.Resolve(func(string) (string, error) { return "", fs.ErrNotExist }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Resolve = %v, %v, want the error", got, err)
	}
}

func TestParseTemplateRefuses(t *testing.T) {
	for _, text := range []string{
		"{param.}", "{param.A", "{param.1}", "{param..}", "{param.-a}", "{param.a b}", "{param.a/b}", "{param.ä}", "{param.a:}", "{param.a@}", "{param.a[}",
		"{param.a`}", "{param.a{}", "{param.A} {param.", "a\x00b",
	} {
		if got, err := runner.ParseTemplate(text); err == nil {
			t.Errorf("ParseTemplate(%q) = %v, want an error", text, got)
		}
	}
	for _, name := range []string{"a", "z", "A", "Z", "_", "a0", "a9", "a.", "a-"} {
		if _, err := runner.ParseTemplate("{param." + name + "}"); err != nil {
			t.Errorf("ParseTemplate refused the name %s: %v", name, err)
		}
	}
}

// A value can change one segment of the path, or one value of the query, and nothing else.
func TestTarget(t *testing.T) {
	for _, tt := range []struct{ text, value, want, wantErr string }{
		{"https://h/{param.A}/b?c={param.A}&d", "x/y?z&a=b#c%20 ", "https://h/x%2Fy%3Fz&a=b%23c%2520%20/b?c=x%2Fy%3Fz%26a%3Db%23c%2520+&d", ""},
		{"http://h:80/a", "", "http://h:80/a", ""},
		{"https://h/a{param.A}", "", "https://h/a", ""},
		{"https://h/?{param.A}=1?2", "k", "https://h/?k=1?2", ""},
		{"https://h?{param.A}", "", "https://h", ""},
		{"https://h/x?a={param.A}&b={param.A}?c", "v", "https://h/x?a=v&b=v?c", ""},
		{"https://h/a//b/{param.A}", "x", "https://h/a//b/x", ""},
		{"https://h/{param.A}", "", "", "the path of the URL has an empty segment (parameters A): runner: bad value"},
		{"https://h/{param.A}/b", "", "", "the path of the URL has an empty segment (parameters A): runner: bad value"},
		{"https://h/{param.A}{param.A}/b", "", "", "the path of the URL has an empty segment (parameters A, A): runner: bad value"},
		{"https://h/{param.A}/b", "..", "", "the path of the URL has a segment . or .. (parameters A): runner: bad value"},
		{"https://h/b/{param.A}", ".", "", "the path of the URL has a segment . or .. (parameters A): runner: bad value"},
		{"https://h/.{param.A}/b", ".", "", "the path of the URL has a segment . or .. (parameters A): runner: bad value"},
		{"https://h/b/{param.B}", ".", "", "the build has no parameter B"},
		{"https://h/b/?x={param.B}", ".", "", "the build has no parameter B"},
		{"https://h/../b", "", "https://h/../b", ""},
	} {
		target, err := runner.ParseTarget(tt.text)
		if err != nil {
			t.Errorf("ParseTarget(%q): %v", tt.text, err)
			continue
		}
		got := ""
		u, err := target.Expand([]runner.Param{{Name: "A", Value: tt.value}})
		if err == nil {
			got = u.String()
		}
		if got != tt.want || (err != nil) != (tt.wantErr != "") || err != nil && err.Error() != tt.wantErr {
			t.Errorf("%q with %q = %q, %v, want %q, %q", tt.text, tt.value, got, err, tt.want, tt.wantErr)
		}
		if strings.HasSuffix(tt.wantErr, runner.ErrBadValue.Error()) && !errors.Is(err, runner.ErrBadValue) {
			t.Errorf("%q with %q: %v is not %v", tt.text, tt.value, err, runner.ErrBadValue)
		}
	}
	target, err := runner.ParseTarget("https://h/{param.A}?{param.B}")
	if err != nil || !slices.Equal(target.Params(), []string{"A", "B"}) {
		t.Errorf("Params = %v, %v, want A and B", target.Params(), err)
	}
}

// The errors show nothing of an address, in which a password may stand.
func TestParseTargetRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"ftp://SECRET@h/":             "the URL must begin with http:// or https:// and a host",
		"/SECRET":                     "the URL must begin with http:// or https:// and a host",
		"https:///SECRET":             "the URL must begin with http:// or https:// and a host",
		"https://h:SECRET/":           "the URL is malformed",
		"https://{param.SECRET}/":     "the URL must begin with http:// or https:// and a host",
		"https://h{param.SECRET}/":    "the host of the URL must not depend on a parameter",
		"{param.SECRET}":              "the URL must begin with http:// or https:// and a host",
		"https://h/#SECRET":           "the URL must not have a fragment",
		"https://h/{param.A}?#SECRET": "the URL must not have a fragment",
	} {
		if got, err := runner.ParseTarget(text); err == nil || err.Error() != want {
			t.Errorf("ParseTarget(%q) = %v, %v, want %s", text, got, err, want)
		}
	}
}

// full is a log that fails once it has taken some bytes.
type full struct {
	bytes.Buffer
	room int
}

func (f *full) Write(p []byte) (int, error) {
	n := min(len(p), f.room)
	f.room -= n
	_, _ = f.Buffer.Write(p[:n])
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func TestOutput(t *testing.T) {
	var b bytes.Buffer
	o := runner.Output{To: &b}
	o.EndLine()
	_, _ = o.Write(nil)
	o.Line("begin %d", 1)
	_, _ = o.Write([]byte("half a line"))
	_, _ = o.Write(nil)
	o.Line("a line")
	_, _ = o.Write([]byte("whole\n"))
	o.EndLine()
	_, _ = o.Write([]byte("half"))
	o.EndLine()
	o.EndLine()
	if got, want := b.String(), "begin 1\nhalf a line\na line\nwhole\nhalf\n"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
	log := &full{room: 4}
	o = runner.Output{To: log}
	for _, text := range []string{"12", "3456", "7"} {
		if n, err := o.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("Write(%q) = %d, %v, want no failure", text, n, err)
		}
		log.room++
	}
	if got := log.String(); got != "12345" {
		t.Errorf("wrote %q, want nothing after the failure", got)
	}
	nowhere := runner.Output{}
	nowhere.Line("lost")
}

func TestResults(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("stopped\n by  alice"))
	if got, want := runner.AbortedBy(ctx), (runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice"}); got != want {
		t.Errorf("AbortedBy = %v, want %v", got, want)
	}
	if got, want := runner.FailedBy(errors.New("a\n\tb ")), (runner.Result{Outcome: runner.Failure, Reason: "a b"}); got != want {
		t.Errorf("FailedBy = %v, want %v", got, want)
	}
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if !runner.Pause(t.Context(), time.Minute) || time.Since(begin) != time.Minute {
			t.Errorf("Pause returned after %v, want a minute", time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if runner.Pause(ctx, time.Minute) || time.Since(begin) != time.Minute+time.Second {
			t.Errorf("Pause did not end with its context")
		}
	})
}

func TestScarce(t *testing.T) {
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.ENOMEM, syscall.ENOSPC, syscall.EDQUOT} {
		if wrapped := fmt.Errorf("open: %w", &os.PathError{Op: "open", Path: "x", Err: err}); !runner.Scarce(wrapped) {
			t.Errorf("Scarce(%v) = false", wrapped)
		}
	}
	for _, err := range []error{nil, syscall.ENOENT, syscall.EACCES, errors.New("no space left on device")} {
		if runner.Scarce(err) {
			t.Errorf("Scarce(%v) = true", err)
		}
	}
}

func TestDescribe(t *testing.T) {
	dir := "sub"
	j := &job.Job{
		FullName: "site/web/deploy", Settings: job.Settings{Dir: &dir, Env: []job.Var{{Name: "CI", Value: "mine"}, {Name: "STAGE", Value: "test"}}},
		Params: []job.Param{{Name: "A", Kind: job.KindString}, {Name: "PW", Kind: job.KindPassword}, {Name: "F", Kind: job.KindFile}, {Name: "G", Kind: job.KindFile}},
	}
	values := []job.Value{{Name: "A", Kind: job.KindString, Text: "1"}, {Name: "PW", Kind: job.KindPassword, Text: "secret"}, {Name: "F", Kind: job.KindFile, Text: "f.txt"}}
	b := queue.Build{Number: 12, Executor: 2, Item: queue.Item{
		ID: 34, Job: "site/web/deploy", Root: "https://ci.example.com/", Trace: "00-trace",
		Causes: []queue.Cause{{Kind: queue.CauseUser, User: "alice"}, {Kind: queue.CauseRemote, Addr: "10.0.0.9"}},
	}}
	want := runner.Build{
		Job: "site/web/deploy", Number: 12, QueueID: 34, Workspace: "/w/1", Dir: "sub",
		Params: []runner.Param{{Name: "A", Value: "1"}, {Name: "PW", Value: "secret", Secret: true}, {Name: "F", Value: "f.txt"}, {Name: "G"}},
		Env: []string{
			"CI=true", "JOB_NAME=site/web/deploy", "JOB_BASE_NAME=deploy", "JOB_URL=https://ci.example.com/job/site/job/web/job/deploy/",
			"BUILD_NUMBER=12", "BUILD_ID=12", "BUILD_DISPLAY_NAME=#12", "BUILD_TAG=buildtoken-site-web-deploy-12",
			"BUILD_URL=https://ci.example.com/job/site/job/web/job/deploy/12/", "BUILD_CAUSE=" + b.Item.Causes[0].String() + ", " + b.Item.Causes[1].String(),
			"QUEUE_ID=34", "NODE_NAME=ci-1", "EXECUTOR_NUMBER=2", "WORKSPACE=/w/1", "TRACEPARENT=00-trace",
			"CI=mine", "STAGE=test", "A=1", "PW=secret", "F=f.txt",
		},
	}
	if diff := cmp.Diff(want, runner.Describe(j, b, values, runner.Place{Node: "ci-1", Workspace: "/w/1"})); diff != "" {
		t.Errorf("Describe (-want +got):\n%s", diff)
	}
	b.Item.Root, b.Item.Trace = "", ""
	for range 10 {
		b.Item.Causes = append(b.Item.Causes, queue.Cause{Kind: queue.CauseRemote, Note: strings.Repeat("x", 1000), Noted: true})
	}
	got := runner.Describe(&job.Job{FullName: "app"}, b, nil, runner.Place{})
	for _, v := range got.Env {
		name, value, _ := strings.Cut(v, "=")
		if strings.HasSuffix(name, "_URL") || name == "TRACEPARENT" {
			t.Errorf("%s is set, want nothing where it is not known", v)
		}
		if name == "BUILD_CAUSE" && (len(value) > 8<<10 || len(value) < 8<<10-3) {
			t.Errorf("BUILD_CAUSE has %d bytes, want 8 KiB of them", len(value))
		}
	}
}
