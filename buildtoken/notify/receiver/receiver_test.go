package receiver_test

import (
	"bytes"
	"context"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
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
	return map[string]notify.Event{"failed": failed, "fixed": fixed, "started": started, "queued": queued, "cancelled": cancelled, "without_records": unknown}
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
		{"no commit", receiver.Config{Format: receiver.GitHub, URL: "https://example.com", Repository: "a/b", Commit: "{param.COMMIT}"}, "", "", "the commit is empty"},
		{"a commit that is a path", receiver.Config{Format: receiver.GitHub, URL: "https://example.com", Repository: "a/b", Commit: "{param.COMMIT}"}, "../../x", "", "the commit is not the ID of a commit"},
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
