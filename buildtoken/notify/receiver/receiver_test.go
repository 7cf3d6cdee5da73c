package receiver_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/notify/receiver"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

var update = flag.Bool("update", false, "write the goldens anew")

// roundTrip answers requests.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, header http.Header, body string) *http.Response {
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: header, Body: io.NopCloser(strings.NewReader(body))}
}

// inTime is for notifications that are not too late.
func inTime() bool { return false }

// key is whsec_ and the bytes 0 to 23.
const key = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"

// events are one of each kind, by the names of the goldens.
func events() map[string]notify.Event {
	failed := notify.Sample()
	failed.ID, failed.Sequence, failed.Target = "msg_1", 17, "site/ops"
	failed.Params = append(failed.Params, notify.Param{Name: "COMMIT", Value: "c0ffee"}, notify.Param{Name: "REPO", Value: "octo/site"})
	failed.Causes = []string{"Started by remote host 10.0.0.1 with note: <!channel> @all *bold* & \"so\""}
	fixed := failed
	fixed.Result, fixed.Turn, fixed.Reason = queue.Success, queue.OnFixed, ""
	started := failed
	started.Kind, started.Result, started.Turn, started.Reason, started.Ended, started.Log = queue.EventStarted, "", "", "", time.Time{}, ""
	queued := started
	queued.Kind, queued.Number, queued.BuildURL, queued.Started, queued.Node = queue.EventQueued, 0, "", time.Time{}, ""
	cancelled := queued
	cancelled.Kind, cancelled.By = queue.EventCancelled, "user <!channel> @all"
	unknown := notify.Event{ID: "msg_2", Sequence: 18, Target: "ops", At: failed.At, Kind: queue.EventEnded, Job: "j", Item: 1, Number: 1, Result: queue.Aborted}
	unknown.Params = []notify.Param{{Name: "COMMIT", Value: "c0ffee"}, {Name: "REPO", Value: "octo/site"}}
	return map[string]notify.Event{"failed": failed, "fixed": fixed, "started": started, "queued": queued, "cancelled": cancelled, "without_records": unknown, "long": long(failed)}
}

// long returns the event with texts that are too long for most receivers. The causes, and the
// parameters up to FITS, are together exactly as long as the format standard takes.
func long(e notify.Event) notify.Event {
	text := strings.Repeat("0123456789", 200)
	folder := text[:190] + "/"
	e.Job = strings.Repeat(folder, 3) + "deploy"
	e.Reason, e.Causes, e.Log = text, nil, ""
	for range 9 {
		e.Causes = append(e.Causes, text)
	}
	e.Causes = append(e.Causes, "short")
	e.Params = []notify.Param{{Name: "COMMIT", Value: "c0ffee"}, {Name: "REPO", Value: "octo/site"}}
	for _, name := range []string{"A", "B", "C", "D", "E", "F", "G"} {
		e.Params = append(e.Params, notify.Param{Name: name, Value: text})
	}
	left := 8<<10 - len("COMMITc0ffeeREPOocto/site") - 7*(1+1<<10) - len("FITS")
	e.Params = append(e.Params, notify.Param{Name: "OVER", Value: text[:left+1]}, notify.Param{Name: "FITS", Value: text[:left]})
	for n := range 22 {
		e.Log += fmt.Sprintf("line %d\n", n+1)
	}
	return e
}

// TestFormats compares the requests of each format with its golden.
func TestFormats(t *testing.T) {
	for _, format := range receiver.Formats() {
		if format == receiver.Mail {
			continue
		}
		for name, e := range events() {
			t.Run(string(format)+"_"+name, func(t *testing.T) {
				c := receiver.Config{Format: format, URL: "https://example.com/hook?wait={param.COMMIT}"}
				if format == receiver.Standard {
					c.Secrets = []string{key, "whsec_GBkaGxwdHh8gISIjJCUmJygpKissLS4v"}
				}
				if format == receiver.GitHub || format == receiver.GitLab {
					c.URL, c.Repository, c.Commit = "https://user:pass@example.com/api/", "{param.REPO}", "{param.COMMIT}"
				}
				wantGolden(t, filepath.Join("testdata", string(format)+"_"+name+".http"), sent(t, c, e))
			})
		}
	}
}

// sent returns the request for an event, at a fixed time.
func sent(t *testing.T, c receiver.Config, e notify.Event) []byte {
	t.Helper()
	var dump []byte
	synctest.Test(t, func(t *testing.T) {
		c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			var err error
			if dump, err = httputil.DumpRequestOut(r, true); err != nil {
				t.Error(err)
			}
			return answer(204, nil, ""), nil
		})
		r, err := receiver.New(c)
		if err != nil {
			t.Fatal(err)
		}
		if out := r.Send(context.Background(), &e, inTime); out != (notify.Outcome{}) {
			t.Errorf("Send: %+v", out)
		}
	})
	return bytes.ReplaceAll(append(dump, '\n'), []byte("\r\n"), []byte("\n"))
}

func wantGolden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// TestOutcomes verifies the outcome for each answer.
func TestOutcomes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		format receiver.Format
		status int
		header http.Header
		body   string
		want   notify.Outcome
	}{
		{"accepted", receiver.Standard, 202, nil, "", notify.Outcome{}},
		{"a redirect is not followed", receiver.Slack, 301, http.Header{"Location": {"https://elsewhere.example/"}}, "", notify.Outcome{Error: "301 Moved Permanently (redirects are not followed)"}},
		{"refused", receiver.Slack, 400, nil, "invalid_payload", notify.Outcome{Error: "400 Bad Request", Refused: true}},
		{"no such hook", receiver.Slack, 404, nil, "", notify.Outcome{Error: "404 Not Found", Refused: true}},
		{"an unknown redirect", receiver.Slack, 399, nil, "", notify.Outcome{Error: "399 (redirects are not followed)"}},
		{"an unknown refusal", receiver.Slack, 499, nil, "", notify.Outcome{Error: "499", Refused: true}},
		{"a strange status", receiver.Slack, 600, nil, "", notify.Outcome{Error: "600"}},
		{"too early", receiver.Slack, 425, nil, "", notify.Outcome{Error: "425 Too Early"}},
		{"another server", receiver.Slack, 421, nil, "", notify.Outcome{Error: "421 Misdirected Request"}},
		{"slow", receiver.Slack, 408, nil, "", notify.Outcome{Error: "408 Request Timeout"}},
		{"gone", receiver.Standard, 410, nil, "", notify.Outcome{Error: "410 Gone", Gone: true}},
		{"too many", receiver.Discord, 429, http.Header{"Retry-After": {"17"}}, "", notify.Outcome{Error: "429 Too Many Requests", After: 17 * time.Second}},
		{"too many, without a time", receiver.Discord, 429, nil, "", notify.Outcome{Error: "429 Too Many Requests"}},
		{"at a time", receiver.Discord, 503, http.Header{"Retry-After": {"Sat, 01 Jan 2000 00:01:00 GMT"}}, "", notify.Outcome{Error: "503 Service Unavailable", After: time.Minute}},
		{"for too long", receiver.Discord, 503, http.Header{"Retry-After": {"99999999"}}, "", notify.Outcome{Error: "503 Service Unavailable", After: 24 * time.Hour}},
		{"never mind a past time", receiver.Discord, 503, http.Header{"Retry-After": {"-5"}}, "", notify.Outcome{Error: "503 Service Unavailable"}},
		{"broken", receiver.Standard, 500, nil, "", notify.Outcome{Error: "500 Internal Server Error"}},
		{"a status that the commit has", receiver.GitLab, 400, nil, `{"message":"Cannot transition status via :enqueue from :pending"}`, notify.Outcome{}},
		{"another mistake of a status", receiver.GitLab, 400, nil, `{"message":"name is missing"}`, notify.Outcome{Error: "400 Bad Request", Refused: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				requests := 0
				c := receiver.Config{Format: tt.format, URL: "https://example.com/SECRET", Transport: roundTrip(func(*http.Request) (*http.Response, error) {
					requests++
					return answer(tt.status, tt.header, tt.body), nil
				})}
				if tt.format == receiver.GitLab {
					c.Repository, c.Commit = "a/b", "c0ffee"
				}
				r, err := receiver.New(c)
				if err != nil {
					t.Fatal(err)
				}
				e := notify.Sample()
				if diff := cmp.Diff(tt.want, r.Send(t.Context(), &e, inTime)); diff != "" || requests != 1 {
					t.Errorf("%d requests; outcome (-want +got):\n%s", requests, diff)
				}
			})
		})
	}
}

// TestNewRefuses shows what an operator reads about a mistake. Nothing of a setting that may be
// secret is in it.
func TestNewRefuses(t *testing.T) {
	gone := func(string) (string, error) { return "", errors.New("no such file") }
	for _, tt := range []struct {
		name string
		c    receiver.Config
		want string
	}{
		{"an unknown format", receiver.Config{URL: "https://h", Format: "irc"}, `format: "irc" is none of standard, slack, discord, teams, ntfy, github, gitlab, jenkins, mail`},
		{"no URL", receiver.Config{}, "the URL is empty"},
		{"a mail server without its format", receiver.Config{URL: "smtp://h"}, "the URL is one of a mail server; add: format mail"},
		{"a secret of another format", receiver.Config{URL: "https://h", Format: receiver.Slack, Secrets: []string{key}}, "secret: it signs notifications of the format standard only; credentials for slack stand in a header"},
		{"a status without a repository", receiver.Config{URL: "https://h", Format: receiver.GitHub, Commit: "1"}, "repository is missing: format github sets the status of a commit in a repository"},
		{"a status without a commit", receiver.Config{URL: "https://h", Format: receiver.GitLab, Repository: "1"}, "commit is missing: format gitlab sets the status of a commit, such as {param.COMMIT}"},
		{"a repository of a chat", receiver.Config{URL: "https://h", Format: receiver.Slack, Repository: "a/b"}, "repository and commit are for the formats github and gitlab only"},
		{"a commit of a chat", receiver.Config{URL: "https://h", Format: receiver.Slack, Commit: "1"}, "repository and commit are for the formats github and gitlab only"},
		{"a header of a mail", receiver.Config{URL: "smtp://h/?from=a@b.c&to=a@b.c", Format: receiver.Mail, Header: []receiver.Field{{"A", "b"}}}, "header: a mail has no header fields of HTTP"},
		{"a parameter that decides who gets a mail", receiver.Config{URL: "smtp://h/?from=a@b.c&to={param.A}", Format: receiver.Mail}, "the URL: a parameter cannot decide about the mail server or who gets the mail"},
		{"a header with a blank", receiver.Config{URL: "https://h", Header: []receiver.Field{{"A B", "c"}}}, `header: "A B" is no name of a header`},
		{"a header without a name", receiver.Config{URL: "https://h", Header: []receiver.Field{{"", "c"}}}, `header: "" is no name of a header`},
		{"a header with a control character", receiver.Config{URL: "https://h", Header: []receiver.Field{{"A\x7f", "c"}}}, `header: "A\x7f" is no name of a header`},
		{"a parameter in a header", receiver.Config{URL: "https://h", Header: []receiver.Field{{"A", "{param.B}"}}}, "header A: a parameter can stand only in the URL, repository, commit and body"},
		{"a value of two lines", receiver.Config{URL: "https://h", Header: []receiver.Field{{"A", "b\nc"}}}, "header A: the value holds a control character"},
		{"a bad escape in the user", receiver.Config{URL: "https://a%zz:b@h"}, "the URL: the user or the password has a bad escape"},
		{"a bad escape in the password", receiver.Config{URL: "https://a:b%zz@h"}, "the URL: the user or the password has a bad escape"},
		{"a placeholder without a value", receiver.Config{URL: "https://h/{env.X}", Resolve: gone}, "the URL: no such file"},
		{"a password without a value", receiver.Config{URL: "https://a:{env.X}@h", Resolve: gone}, "the URL: no such file"},
		{"a mail server without a value", receiver.Config{URL: "{env.X}", Format: receiver.Mail, Resolve: gone}, "the URL: no such file"},
		{"a header without a value", receiver.Config{URL: "https://h", Header: []receiver.Field{{"A", "{env.X}"}}, Resolve: except("{env.X}")}, "header A: no such file"},
		{"a second secret without a value", receiver.Config{URL: "https://h", Secrets: []string{key, "{env.X}"}, Resolve: except("{env.X}")}, "secret 2: no such file"},
		{"a second secret that is none", receiver.Config{URL: "https://h", Secrets: []string{key, "hunter2"}}, "secret 2: the secret is not whsec_ and base64"},
		{"a repository without a value", receiver.Config{URL: "https://h", Format: receiver.GitHub, Repository: "{env.X}", Commit: "1", Resolve: except("{env.X}")}, "repository: no such file"},
		{"a commit without a value", receiver.Config{URL: "https://h", Format: receiver.GitHub, Repository: "a/b", Commit: "{env.X}", Resolve: except("{env.X}")}, "commit: no such file"},
		{"a repository with half a parameter", receiver.Config{URL: "https://h", Format: receiver.GitHub, Repository: "{param.", Commit: "1"}, `repository: "{param.": want {param.NAME}`},
		{"a commit with half a parameter", receiver.Config{URL: "https://h", Format: receiver.GitHub, Repository: "a/b", Commit: "{param."}, `commit: "{param.": want {param.NAME}`},
		{"a body that is no template", receiver.Config{URL: "https://h", Body: "{{.Job"}, "body: body:1: unclosed action"},
		{"a field that no event has", receiver.Config{URL: "https://h", Body: "{{.Jb}}"}, "body: body:1:2: executing \"body\" at <.Jb>: can't evaluate field Jb in type *notify.Event"},
		{"a body that only a build can have", receiver.Config{URL: "https://h", Body: `{{slice .Result 0 1 | json}}`}, `body: body:1:2: executing "body" at <slice .Result 0 1>: error calling slice: index out of range: 1`},
		{"a body that fails for an item", receiver.Config{URL: "https://h", Body: `{{if not .Number}}{{.Nope}}{{end}}1`}, `body: body:1:20: executing "body" at <.Nope>: can't evaluate field Nope in type *notify.Event`},
		{"a body without quotes", receiver.Config{URL: "https://h", Body: `{"by": "{{.By}}"}`}, "body: the result is not valid JSON; write values as {{.Text | json}}, without quotes around them, or set another Content-Type with header"},
		{"a body without quotes, of a kind of JSON", receiver.Config{URL: "https://h", Body: `{"by": "{{.By}}"}`, Header: []receiver.Field{{"content-type", "application/cloudevents+json; charset=utf-8"}}}, "body: the result is not valid JSON; write values as {{.Text | json}}, without quotes around them, or set another Content-Type with header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := receiver.New(tt.c); err == nil || err.Error() != tt.want {
				t.Errorf("New = %v, want %s", err, tt.want)
			}
		})
	}
}

// Placeholders have no value when a configuration is only checked.
func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		c    receiver.Config
		good bool
	}{
		{receiver.Config{URL: "https://h/x"}, true},
		{receiver.Config{URL: "{env.X}"}, true},
		{receiver.Config{URL: "{env.X}", Format: receiver.Mail}, true},
		{receiver.Config{URL: "https://h/{param.A}"}, true},
		{receiver.Config{URL: "smtp://h/?from=a@b.c&to=a@b.c", Format: receiver.Mail}, true},
		{receiver.Config{URL: "https://h/x", Secrets: []string{"{env.X}"}, Header: []receiver.Field{{"A", "{env.Y}"}}}, true},
		{receiver.Config{URL: "{env.X}", Format: "irc"}, false},
		{receiver.Config{URL: "ftp://h/x"}, false},
		{receiver.Config{URL: "https://{param.A}/x"}, false},
		{receiver.Config{URL: "smtp://h/?from=a@b.c", Format: receiver.Mail}, false},
	} {
		if err := receiver.Check(tt.c); (err == nil) != tt.good {
			t.Errorf("Check of %+v = %v, want it good: %v", tt.c, err, tt.good)
		}
	}
}

// except resolves texts but one.
func except(missing string) func(string) (string, error) {
	return func(text string) (string, error) {
		if text == missing {
			return "", errors.New("no such file")
		}
		return text, nil
	}
}

// What is not refused is sent.
func TestUnusualRequests(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    receiver.Config
		want []string // in the request
	}{
		{"all characters of a name", receiver.Config{Header: []receiver.Field{{"X!#$%&'*+-.^_`|~9", "tab\tand é~"}}}, []string{"X!#$%&'*+-.^_`|~9: tab\tand é~\r\n"}},
		{"another host", receiver.Config{Header: []receiver.Field{{"host", "other.example.com"}}}, []string{"Host: other.example.com\r\n"}},
		{"another type of content", receiver.Config{Header: []receiver.Field{{"content-type", "text/plain"}}, Body: `"{{.Reason}}"`}, []string{"Content-Type: text/plain\r\n", "\r\n\r\n\"exit status 1\""}},
		{"a user without a password", receiver.Config{URL: "https://me%40home@example.com/"}, []string{"Authorization: Basic bWVAaG9tZTo=\r\n"}},
		{"the last line end of a file", receiver.Config{URL: "https://example.com/{env.X}", Resolve: replacer("{env.X}", "hook\r\n")}, []string{"POST /hook HTTP/1.1\r\n"}},
		{"a value as JSON", receiver.Config{Body: `{{"<b> & \"" | json}}`}, []string{`"<b> & \""`}},
		{"one signature", receiver.Config{Secrets: []string{key}}, []string{"Webhook-Signature: v1,"}},
		{"nothing", receiver.Config{Body: `{{""}}`, Header: []receiver.Field{{"Content-Type", "text/plain"}}}, []string{"Content-Length: 0\r\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []byte
			if tt.c.URL == "" {
				tt.c.URL = "https://example.com/"
			}
			tt.c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				var err error
				got, err = httputil.DumpRequestOut(r, true)
				return answer(200, nil, ""), err
			})
			r, err := receiver.New(tt.c)
			if err != nil {
				t.Fatal(err)
			}
			e := notify.Sample()
			if out := r.Send(t.Context(), &e, inTime); out != (notify.Outcome{}) {
				t.Errorf("Send = %+v", out)
			}
			for _, want := range tt.want {
				if !strings.Contains(string(got), want) {
					t.Errorf("the request is %q, want %q in it", got, want)
				}
			}
			if signed := strings.Contains(string(got), "Webhook-Signature"); signed != (len(tt.c.Secrets) > 0) {
				t.Errorf("with %d secrets the request is %q", len(tt.c.Secrets), got)
			}
		})
	}
}

// What an operator reads about a receiver that cannot be reached has no address in it.
func TestWhyNoAnswerCame(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&net.DNSError{Err: "no such host", Name: "SECRET", IsNotFound: true}, "the name of the host is not known"},
		{&net.DNSError{Err: "server misbehaving", Name: "SECRET"}, "the name of the host cannot be looked up"},
		{&tls.CertificateVerificationError{Err: errors.New("SECRET")}, "the certificate of the receiver is not valid"},
		{tls.RecordHeaderError{Msg: "SECRET"}, "the receiver does not speak TLS"},
		{&net.OpError{Op: "SECRET", Err: syscall.ECONNREFUSED}, "connection refused"},
		{syscall.EHOSTUNREACH, "the host cannot be reached"},
		{syscall.ENETUNREACH, "the host cannot be reached"},
		{os.ErrDeadlineExceeded, "no answer in time"},
		{&net.OpError{Op: "SECRET", Err: syscall.ETIMEDOUT}, "no answer in time"},
		{io.EOF, "the connection was closed without an answer"},
		{io.ErrUnexpectedEOF, "the connection was closed without an answer"},
		{syscall.ECONNRESET, "the connection was closed without an answer"},
		{syscall.EPIPE, "the connection was closed without an answer"},
		{errors.New("SECRET"), "the connection failed"},
	} {
		r, err := receiver.New(receiver.Config{URL: "https://example.com", Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, tt.err })})
		if err != nil {
			t.Fatal(err)
		}
		e := notify.Sample()
		if out := r.Send(t.Context(), &e, inTime); out != (notify.Outcome{Error: tt.want}) {
			t.Errorf("%v: Send = %+v, want %q", tt.err, out, tt.want)
		}
	}
}

func TestUsesLog(t *testing.T) {
	for _, tt := range []struct {
		c    receiver.Config
		want bool
	}{
		{receiver.Config{Format: receiver.Mail, URL: "smtp://h/?from=a@b.c&to=a@b.c"}, true},
		{receiver.Config{Format: receiver.Slack, URL: "https://h"}, false},
		{receiver.Config{Format: receiver.Slack, URL: "https://h", Body: `{{.Job | json}}`}, false},
		{receiver.Config{Format: receiver.Slack, URL: "https://h", Body: `{{.Log | json}}`}, true},
	} {
		r, err := receiver.New(tt.c)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.UsesLog(); got != tt.want {
			t.Errorf("UsesLog of %s with the body %q = %v, want %v", tt.c.Format, tt.c.Body, got, tt.want)
		}
	}
}

func TestParamsOfAReceiver(t *testing.T) {
	r, err := receiver.New(receiver.Config{Format: receiver.GitHub, URL: "https://h/{param.B}/{param.A}", Repository: "x/{param.C}", Commit: "{param.A}"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"A", "B", "C"}, r.Params()); diff != "" {
		t.Errorf("Params (-want +got):\n%s", diff)
	}
}

// TestStandardBodyIsSmall sends texts that JSON writes in more bytes, and long addresses.
func TestStandardBodyIsSmall(t *testing.T) {
	for name, change := range map[string]func(*notify.Event){
		"control characters": func(e *notify.Event) {
			e.Reason, e.By = strings.Repeat("\x01", 2000), strings.Repeat("\x02", 2000)
			for n := range 10 {
				e.Causes = append(e.Causes, strings.Repeat("\x03", 1000))
				e.Params = append(e.Params, notify.Param{Name: fmt.Sprint("P", n), Value: strings.Repeat("\x04", 1000)})
			}
		},
		"a job in many folders": func(e *notify.Event) {
			e.Job = strings.Repeat(strings.Repeat("ä", 99)+"/", 9) + "deploy"
			e.JobURL = "https://ci.example.com/job/" + strings.ReplaceAll(url.PathEscape(e.Job), "%2F", "/job/") + "/"
			e.BuildURL = e.JobURL + "12/"
			for n := range 10 {
				e.Params = append(e.Params, notify.Param{Name: fmt.Sprint("P", n), Value: strings.Repeat("x", 1000)})
			}
		},
	} {
		e := notify.Sample()
		change(&e)
		var size int64
		c := receiver.Config{URL: "https://example.com", Format: receiver.Standard, Secrets: []string{key}}
		c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			size = r.ContentLength
			return answer(200, nil, ""), nil
		})
		r, err := receiver.New(c)
		if err != nil {
			t.Fatal(err)
		}
		if out := r.Send(t.Context(), &e, inTime); out != (notify.Outcome{}) || size == 0 || size > 20_000 {
			t.Errorf("%s: sent %d bytes, %+v; want at most 20000", name, size, out)
		}
	}
}

// A megabyte is more than any receiver takes.
func TestBodyIsBounded(t *testing.T) {
	for size, sent := range map[int]bool{1 << 20: true, 1<<20 + 1: false} {
		c := receiver.Config{URL: "https://example.com", Body: `{{with .Param "TEXT"}}{{.}}{{end}}`, Header: []receiver.Field{{"Content-Type", "text/plain"}}}
		c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.ContentLength != 1<<20 {
				t.Errorf("sent %d bytes", r.ContentLength)
			}
			return answer(200, nil, ""), nil
		})
		r, err := receiver.New(c)
		if err != nil {
			t.Fatal(err)
		}
		e := notify.Sample()
		e.Params = []notify.Param{{Name: "TEXT", Value: strings.Repeat("x", size)}}
		want := notify.Outcome{}
		if !sent {
			want = notify.Outcome{Error: "body: it is larger than 1048576 bytes", Refused: true, Final: true}
		}
		if out := r.Send(t.Context(), &e, inTime); out != want {
			t.Errorf("%d bytes: Send = %+v, want %+v", size, out, want)
		}
	}
}

// TestPlacesOfParameters verifies how a parameter can change an address, and how it cannot.
func TestPlacesOfParameters(t *testing.T) {
	for _, tt := range []struct {
		name           string
		c              receiver.Config
		commit         string
		want, wantSkip string
	}{
		{"escaped in the path", receiver.Config{URL: "https://example.com/a/{param.COMMIT}/b"}, "x/y?z#", "https://example.com/a/x%2Fy%3Fz%23/b", ""},
		{"escaped in the query", receiver.Config{URL: "https://example.com?a={param.COMMIT}"}, "x&b=c d", "https://example.com?a=x%26b%3Dc+d", ""},
		{"a status", receiver.Config{Format: receiver.GitHub, URL: "https://example.com/api/v1/", Repository: "a/b c", Commit: "{param.COMMIT}"}, " C0FFEE\n", "https://example.com/api/v1/repos/a/b%20c/statuses/C0FFEE", ""},
		{"a project of GitLab", receiver.Config{Format: receiver.GitLab, URL: "https://example.com/api/v4", Repository: "a/b/c", Commit: "{param.COMMIT}"}, "c0ffee", "https://example.com/api/v4/projects/a%2Fb%2Fc/statuses/c0ffee", ""},
		{"a project's number", receiver.Config{Format: receiver.GitLab, URL: "https://example.com/api/v4", Repository: "17", Commit: "{param.COMMIT}"}, "c0ffee", "https://example.com/api/v4/projects/17/statuses/c0ffee", ""},
		{"all characters of a commit", receiver.Config{Format: receiver.GitHub, URL: "https://example.com", Repository: "a/b", Commit: "{param.COMMIT}"}, "09azAZ", "https://example.com/repos/a/b/statuses/09azAZ", ""},
		{"a commit of GitLab that is a path", receiver.Config{Format: receiver.GitLab, URL: "https://example.com", Repository: "a/b", Commit: "{param.COMMIT}"}, "../../x", "", "the commit is not the ID of a commit"},
		{"no commit", receiver.Config{Format: receiver.GitHub, URL: "https://example.com", Repository: "a/b", Commit: "{param.COMMIT}"}, "", "", "the commit is empty"},
		{"a commit that is a path", receiver.Config{Format: receiver.GitHub, URL: "https://example.com", Repository: "a/b", Commit: "{param.COMMIT}"}, "../../x", "", "the commit is not the ID of a commit"},
		{"an owner without a repository", receiver.Config{Format: receiver.GitHub, URL: "https://example.com", Repository: "{param.COMMIT}", Commit: "1"}, "octo", "", "the repository is not OWNER/NAME"},
		{"an owner without a name", receiver.Config{Format: receiver.GitHub, URL: "https://example.com", Repository: "{param.COMMIT}", Commit: "1"}, "/site", "", "the repository is not OWNER/NAME"},
		{"a repository without a name", receiver.Config{Format: receiver.GitHub, URL: "https://example.com", Repository: "{param.COMMIT}", Commit: "1"}, "octo/", "", "the repository is not OWNER/NAME"},
		{"a repository in a group", receiver.Config{Format: receiver.GitHub, URL: "https://example.com", Repository: "{param.COMMIT}", Commit: "1"}, "octo/site/x", "", "the repository is not OWNER/NAME"},
		{"a project that is empty", receiver.Config{Format: receiver.GitLab, URL: "https://example.com", Repository: "{param.COMMIT}", Commit: "1"}, "", "", "the repository is neither GROUP/PROJECT nor a number"},
		{"a project in an empty group", receiver.Config{Format: receiver.GitLab, URL: "https://example.com", Repository: "{param.COMMIT}", Commit: "1"}, "a//b", "", "the repository is neither GROUP/PROJECT nor a number"},
		{"a repository that is a path", receiver.Config{Format: receiver.GitHub, URL: "https://example.com", Repository: "{param.COMMIT}", Commit: "1"}, "../..", "", "the repository is not OWNER/NAME"},
		{"a project that is a path", receiver.Config{Format: receiver.GitLab, URL: "https://example.com", Repository: "{param.COMMIT}", Commit: "1"}, "a/../b", "", "the repository is neither GROUP/PROJECT nor a number"},
		{"a parameter that the build does not have", receiver.Config{Format: receiver.GitHub, URL: "https://example.com", Repository: "a/b", Commit: "{param.OTHER}"}, "x", "", "commit: the build has no parameter OTHER"},
		{"a dot segment", receiver.Config{URL: "https://example.com/a/{param.COMMIT}/b"}, "..", "", "the path of the URL has a segment . or .. (parameters COMMIT): runner: bad value"},
		{"an empty segment", receiver.Config{URL: "https://example.com/a/{param.COMMIT}"}, "", "", "the path of the URL has an empty segment (parameters COMMIT): runner: bad value"},
		{"a placeholder is not a reference", receiver.Config{URL: "https://example.com/{env.X}"}, "x", "https://example.com/%7Bparam.COMMIT%7D", ""},
		{"a password in a placeholder needs no escapes", receiver.Config{URL: "https://me:{env.P}@example.com/"}, "x", "https://me:p%40ss%2Fw%3A%3F%23@example.com/", ""},
		{"a password with escapes", receiver.Config{URL: "https://me:p%40ss@example.com/"}, "x", "https://me:p%40ss@example.com/", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got string
			tt.c.Resolve = replacer("{env.X}", "{param.COMMIT}", "{env.P}", "p@ss/w:?#")
			tt.c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				got = r.URL.String()
				return answer(200, nil, ""), nil
			})
			r, err := receiver.New(tt.c)
			if err != nil {
				t.Fatal(err)
			}
			e := notify.Sample()
			e.Params = []notify.Param{{Name: "COMMIT", Value: tt.commit}}
			out := r.Send(t.Context(), &e, inTime)
			if got != tt.want || out.Error != tt.wantSkip || out.Skip != (tt.wantSkip != "") {
				t.Errorf("sent to %s, %+v; want %s, %q", got, out, tt.want, tt.wantSkip)
			}
		})
	}
}

// A body that cannot be made of an event is not tried again: those behind it wait.
func TestBodyThatCannotBeMade(t *testing.T) {
	r, err := receiver.New(receiver.Config{
		URL: "https://example.com", Body: `{{$c := .Param "COMMIT"}}{{if $c}}{{slice $c 0 7 | json}}{{else}}""{{end}}`,
		Transport: roundTrip(func(*http.Request) (*http.Response, error) { return answer(200, nil, ""), nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	for commit, want := range map[string]bool{"c0ffee0123": false, "short": true} {
		e := notify.Sample()
		e.Params = []notify.Param{{Name: "COMMIT", Value: commit}}
		if out := r.Send(t.Context(), &e, inTime); out.Final != want || (out.Error != "") != want || out.Skip {
			t.Errorf("%s: %+v, want final %v", commit, out, want)
		}
	}
}

// TestRequestThatIsTooLate holds up one request while another one, over the same connection if the
// protocol permits it, turns out to be too late when it is connected.
func TestRequestThatIsTooLate(t *testing.T) {
	for _, two := range []bool{false, true} {
		t.Run(map[bool]string{false: "HTTP/1.1", true: "HTTP/2"}[two], func(t *testing.T) {
			began, release := make(chan string, 1), make(chan struct{})
			var got atomic.Int32 // complete requests
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if _, err := io.ReadAll(r.Body); err != nil {
					return
				}
				if got.Add(1) == 1 {
					began <- r.Proto
					<-release
				}
			}))
			server.EnableHTTP2 = two
			server.StartTLS()
			defer server.Close()
			r, err := receiver.New(receiver.Config{URL: server.URL, Transport: server.Client().Transport})
			if err != nil {
				t.Fatal(err)
			}
			e := notify.Sample()
			first := make(chan notify.Outcome)
			go func() { first <- r.Send(t.Context(), &e, inTime) }()
			if proto := <-began; strings.HasPrefix(proto, "HTTP/2") != two {
				t.Errorf("the protocol is %s", proto)
			}
			if out := r.Send(t.Context(), &e, func() bool { return true }); out.Error == "" {
				t.Errorf("too late: %+v, want an error", out)
			}
			close(release)
			if out := <-first; out != (notify.Outcome{}) {
				t.Errorf("in time: %+v, want no error", out)
			}
			if n := got.Load(); n != 1 {
				t.Errorf("%d requests arrived, want 1", n)
			}
		})
	}
}

// replacer resolves placeholders.
func replacer(oldnew ...string) func(string) (string, error) {
	r := strings.NewReplacer(oldnew...)
	return func(text string) (string, error) { return r.Replace(text), nil }
}
