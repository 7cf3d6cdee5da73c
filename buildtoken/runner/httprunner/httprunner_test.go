package httprunner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/runner/httprunner"
	"github.com/buildtoken/buildtoken/internal/runnertest"
)

func TestContract(t *testing.T) {
	runnertest.Run(t, func(t *testing.T, s runnertest.Script) (runner.Runner, func() int) {
		c := httprunner.Config{Method: "POST", URL: closedAddress(t), RetryFor: time.Nanosecond}
		if !s.Broken {
			c.URL = serve(t, func(w http.ResponseWriter, r *http.Request) {
				if s.Exit != 0 {
					w.WriteHeader(500 + s.Exit)
				}
				if s.Deaf { // it goes on although the client has gone, but the test must end
					script := s
					script.Deaf = false
					script.Play(t.Context(), flusher{w}, flusher{w}) //nolint:contextcheck // see above
					return
				}
				s.Play(r.Context(), flusher{w}, flusher{w})
			})
		}
		return newRunner(t, c), nil
	})
}

// flusher sends each line at once, as a system does that shows the output of its builds live.
type flusher struct{ http.ResponseWriter }

func (f flusher) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	if err != nil {
		panic(http.ErrAbortHandler) // the client has gone
	}
	return n, http.NewResponseController(f.ResponseWriter).Flush()
}

func newRunner(t *testing.T, c httprunner.Config) *httprunner.Runner {
	t.Helper()
	r, err := httprunner.New(c)
	if err != nil {
		t.Fatalf("New = %v", err)
	}
	return r
}

// serve returns the URL of a server that lives as long as the test.
func serve(t *testing.T, handle http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handle)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL + "/"
}

// closedAddress returns a URL at which nothing listens.
func closedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String() + "/"
}

func TestNewRefuses(t *testing.T) {
	follow := func(f httprunner.Follow) httprunner.Config {
		return httprunner.Config{Method: "POST", URL: "http://x/", Follow: &f}
	}
	for _, tt := range []struct {
		name   string
		config httprunner.Config
		want   string
	}{
		{"no method", httprunner.Config{URL: "http://x/"}, "bad method"},
		{"a method of two words", httprunner.Config{Method: "GET /x", URL: "http://x/"}, "bad method"},
		{"no scheme", httprunner.Config{Method: "GET", URL: "x/y"}, "http:// or https://"},
		{"another scheme", httprunner.Config{Method: "GET", URL: "file:///etc/passwd"}, "http:// or https://"},
		{"a host from a parameter", httprunner.Config{Method: "GET", URL: "http://{param.HOST}/"}, "begin with"},
		{"a part of the host from a parameter", httprunner.Config{Method: "GET", URL: "http://x{param.HOST}/"}, "must not depend on a parameter"},
		{"a port from a parameter", httprunner.Config{Method: "GET", URL: "http://x:{param.PORT}/"}, "must not depend on a parameter"},
		{"a fragment", httprunner.Config{Method: "GET", URL: "http://x/#a"}, "fragment"},
		{"a bad reference", httprunner.Config{Method: "GET", URL: "http://x/{param.}"}, "want {param.NAME}"},
		{"a bad header", httprunner.Config{Method: "GET", URL: "http://x/", Header: []httprunner.Field{{"A B", "c"}}}, "bad header"},
		{"a line end in a header", httprunner.Config{Method: "GET", URL: "http://x/", Header: []httprunner.Field{{"A", "b\r\nC: d"}}}, "bad header"},
		{"a body that is no JSON", httprunner.Config{Method: "POST", URL: "http://x/", Body: `{"a": }`}, "valid JSON"},
		{"a value outside a string", httprunner.Config{Method: "POST", URL: "http://x/", Body: `{"a": {param.A}}`}, "inside a string"},
		{"a bad reference in a header", httprunner.Config{Method: "GET", URL: "http://x/", Header: []httprunner.Field{{"A", "{param.}"}}}, "header A: "},
		{"a content type that is none", httprunner.Config{Method: "POST", URL: "http://x/", Body: "a", Header: []httprunner.Field{{"Content-Type", "a/b/c"}}}, `body: content type "a/b/c": `},
		{"a bad reference in the body", httprunner.Config{Method: "POST", URL: "http://x/", Body: "a={param.}"}, "want {param.NAME}"},
		{"a control character in a header's name", httprunner.Config{Method: "GET", URL: "http://x/", Header: []httprunner.Field{{"A\x7f", "b"}}}, "bad header"},
		{"a control character in a header", httprunner.Config{Method: "GET", URL: "http://x/", Header: []httprunner.Field{{"A", "b\x7f"}}}, "bad header"},
		{"an expression that is too long", follow(httprunner.Follow{URL: "http://x/", Done: strings.Repeat(" ", 8189) + "true"}), "done: "},
		{"a value in a type without escapes", httprunner.Config{
			Method: "POST", URL: "http://x/", Body: "{param.A}", Header: []httprunner.Field{{"Content-Type", "application/octet-stream"}},
		}, "cannot be escaped"},
		{"following without an end", follow(httprunner.Follow{URL: "http://x/"}), "done: the expression is missing"},
		{"an end that is no bool", follow(httprunner.Follow{URL: "http://x/", Done: "status"}), "done: the expression is of type int"},
		{"an unknown variable", follow(httprunner.Follow{URL: "http://x/", Done: "code == 200"}), "undeclared reference"},
		{"a result that is a number", follow(httprunner.Follow{URL: "http://x/", Done: "true", Result: "1"}), "result: the expression is of type int"},
		{"following to a host from the answer", follow(httprunner.Follow{URL: "{response.url}", Done: "true"}), "begin with"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := httprunner.New(tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New = %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestDefaultsAreThoseOfTheDocuments(t *testing.T) {
	text, err := os.ReadFile("../../../docs/runners.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		fmt.Sprintf("| `every <duration>` | %.0fs |", httprunner.DefaultEvery.Seconds()),
		fmt.Sprintf("After %.0f minutes without one, the build fails.", httprunner.DefaultLostAfter.Minutes()),
	} {
		if !strings.Contains(string(text), part) {
			t.Errorf("docs/runners.md does not contain %q", part)
		}
	}
}

func TestExpressionsUpTo8192Characters(t *testing.T) {
	newRunner(t, httprunner.Config{Method: "POST", URL: "http://x/", Follow: &httprunner.Follow{URL: "http://x/", Done: strings.Repeat(" ", 8188) + "true"}})
}

func TestHeaderFieldsAreSent(t *testing.T) {
	var host, value string
	base := serve(t, func(_ http.ResponseWriter, r *http.Request) { host, value = r.Host, r.Header.Get("X~y") })
	r := newRunner(t, httprunner.Config{Method: "GET", URL: base, Header: []httprunner.Field{{"host", "ci.example.com"}, {"X~y", "a\t~b"}}})
	if res := r.Run(t.Context(), runner.Build{}, io.Discard); res.Outcome != runner.Success || host != "ci.example.com" || value != "a\t~b" {
		t.Errorf("Run = %+v with the host %q and %q", res, host, value)
	}
}

func TestReferenceToAParameterThatTheBuildLacks(t *testing.T) {
	base := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") })
	for _, config := range []httprunner.Config{
		{Method: "GET", URL: base + "{param.X}"},
		{Method: "POST", URL: base, Body: "a={param.X}"},
		{Method: "GET", URL: base, Header: []httprunner.Field{{"A", "{param.X}"}}},
	} {
		if res := newRunner(t, config).Run(t.Context(), runner.Build{}, io.Discard); res.Outcome != runner.NotBuilt || !strings.Contains(res.Reason, "no parameter X") {
			t.Errorf("Run = %+v, want it not built", res)
		}
	}
}

func TestValuesAreEscapedForTheirPlace(t *testing.T) {
	const nasty = `a/..b?x=1&y="2"#z %41` + "\r\nX: <y>"
	var got []string
	base := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = []string{r.Method, r.RequestURI, r.Header.Get("X-Value"), r.Header.Get("Content-Type"), string(body)}
	})
	header := func(name, value string) []httprunner.Field { return []httprunner.Field{{name, value}} }
	for _, tt := range []struct {
		name   string
		config httprunner.Config
		want   []string
	}{
		{
			"in the path and the query",
			httprunner.Config{Method: "PUT", URL: base + "p/{param.V}/x?q={param.V}&r=1"},
			[]string{"PUT", "/p/a%2F..b%3Fx=1&y=%222%22%23z%20%2541%0D%0AX:%20%3Cy%3E/x?q=a%2F..b%3Fx%3D1%26y%3D%222%22%23z+%2541%0D%0AX%3A+%3Cy%3E&r=1", "", "", ""},
		},
		{
			"in JSON",
			httprunner.Config{Method: "POST", URL: base, Body: `{"v": "<{param.V}>"}`},
			[]string{"POST", "/", "", "application/json", `{"v": "<a/..b?x=1&y=\"2\"#z %41\r\nX: <y>>"}`},
		},
		{
			"in a form",
			httprunner.Config{Method: "POST", URL: base, Body: `v={param.V}&w=1`},
			[]string{"POST", "/", "", "application/x-www-form-urlencoded", "v=a%2F..b%3Fx%3D1%26y%3D%222%22%23z+%2541%0D%0AX%3A+%3Cy%3E&w=1"},
		},
		{
			"in XML",
			httprunner.Config{Method: "POST", URL: base, Body: `<v a="{param.V}"/>`, Header: header("Content-Type", "text/xml; charset=utf-8")},
			[]string{"POST", "/", "", "text/xml; charset=utf-8", `<v a="a/..b?x=1&amp;y=&#34;2&#34;#z %41&#xD;&#xA;X: &lt;y&gt;"/>`},
		},
		{
			"in plain text",
			httprunner.Config{Method: "POST", URL: base, Body: `{param.V}`, Header: header("Content-Type", "text/plain")},
			[]string{"POST", "/", "", "text/plain", nasty},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRunner(t, tt.config)
			res := r.Run(t.Context(), runner.Build{Params: []runner.Param{{Name: "V", Value: nasty}}}, io.Discard)
			if res.Outcome != runner.Success {
				t.Fatalf("Run = %+v", res)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
	for _, tt := range []struct {
		name, value string
		config      httprunner.Config
	}{
		{"a line end in a header", "a\r\nB: c", httprunner.Config{Method: "GET", URL: base, Header: header("X-Value", "{param.V}")}},
		{"a dot segment", "..", httprunner.Config{Method: "GET", URL: base + "a/{param.V}/b"}},
		{"a dot segment behind a slash", "a/../b", httprunner.Config{Method: "GET", URL: base + "a/{param.V}/b"}},
		{"an empty segment", "", httprunner.Config{Method: "DELETE", URL: base + "items/{param.V}"}},
		{"an empty segment in the middle", "", httprunner.Config{Method: "GET", URL: base + "a/{param.V}{param.V}/b?c={param.V}"}},
		{"a dot segment of two values", ".", httprunner.Config{Method: "GET", URL: base + "a/{param.V}{param.V}"}},
	} {
		t.Run(tt.name+" is refused", func(t *testing.T) {
			got = nil
			r, params := newRunner(t, tt.config), []runner.Param{{Name: "V", Value: tt.value}}
			if err := r.Fits(nil, params); !errors.Is(err, runner.ErrBadValue) || !strings.Contains(err.Error(), "V") || strings.Contains(err.Error(), "c") && tt.value == "a\r\nB: c" && strings.Contains(err.Error(), "B: c") {
				t.Errorf("Fits = %v, want ErrBadValue that names V", err)
			}
			if res := r.Run(t.Context(), runner.Build{Params: params}, io.Discard); res.Outcome != runner.NotBuilt || got != nil {
				t.Errorf("Run = %+v, sent %q; want nothing sent", res, got)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   runner.Result
		log    string
	}{
		{"2xx is a success", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			fmt.Fprint(w, "queued")
		}, runner.Result{Outcome: runner.Success}, "queued\n"},
		{"5xx is a failure", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprint(w, "bad\n")
		}, runner.Result{Outcome: runner.Failure, Reason: "the answer is 502 Bad Gateway"}, "bad\n"},
		{"nor is the lowest one", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusMultipleChoices)
		}, runner.Result{Outcome: runner.Failure, Reason: "the answer is 300 Multiple Choices; redirects are not followed"}, ""},
		{"the highest 2xx is a success, too", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(299)
		}, runner.Result{Outcome: runner.Success}, ""},
		{"a redirect is not followed", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				t.Error("it was followed")
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, runner.Result{Outcome: runner.Failure, Reason: "the answer is 307 Temporary Redirect; redirects are not followed"}, ""},
		{"a long answer is cut", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, strings.Repeat("x", 1<<20+1))
		}, runner.Result{Outcome: runner.Success}, "x\n(the answer goes on)\n"},
		{"an answer of just the limit is not", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, strings.Repeat("x", 1<<20))
		}, runner.Result{Outcome: runner.Success}, "xxx\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := serve(t, tt.answer)
			var log strings.Builder
			r := newRunner(t, httprunner.Config{Method: "POST", URL: strings.Replace(base, "http://", "http://user:secret@", 1) + "?token=secret"})
			if res := r.Run(t.Context(), runner.Build{}, &log); res != tt.want {
				t.Errorf("Run = %+v, want %+v", res, tt.want)
			}
			if !strings.HasSuffix(log.String(), tt.log) || strings.Contains(log.String(), "secret") {
				t.Errorf("log = %.200q … %q, want %q at its end and no secret", log.String(), log.String()[max(0, log.Len()-50):], tt.log)
			}
		})
	}
}

// TestARequestIsNeverSentTwice breaks connections after the request has arrived: some before the
// answer, some in the middle of it.
func TestARequestIsNeverSentTwice(t *testing.T) {
	var requests atomic.Int64
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if r.Method == http.MethodPatch {
			w.Header().Set("Content-Length", "100")
			_, _ = flusher{w}.Write([]byte("a part"))
		}
		panic(http.ErrAbortHandler)
	})
	for _, method := range []string{"GET", "POST", "PUT", "PATCH"} {
		requests.Store(0)
		res := newRunner(t, httprunner.Config{Method: method, URL: base + "?token=secret", Body: "a=b", Header: []httprunner.Field{{"Idempotency-Key", "x"}}}).Run(t.Context(), runner.Build{}, io.Discard)
		if res.Outcome != runner.Failure || !strings.Contains(res.Reason, "after the request was sent") || strings.Contains(res.Reason, "secret") || requests.Load() != 1 {
			t.Errorf("%s: Run = %+v after %d requests, want a failure after one", method, res, requests.Load())
		}
	}
}

// net/http repeats a request that fails on a connection that was used before.
func TestARequestIsNotRepeatedOnAnOldConnection(t *testing.T) {
	var requests atomic.Int64
	base := serve(t, func(http.ResponseWriter, *http.Request) {
		if requests.Add(1) > 1 {
			panic(http.ErrAbortHandler)
		}
	})
	r := newRunner(t, httprunner.Config{Method: "POST", URL: base, Header: []httprunner.Field{{"Idempotency-Key", "x"}}})
	for _, want := range []runner.Outcome{runner.Success, runner.Failure} {
		if res := r.Run(t.Context(), runner.Build{}, io.Discard); res.Outcome != want {
			t.Errorf("Run = %+v, want %s", res, want)
		}
	}
	if n := requests.Load(); n != 2 {
		t.Errorf("%d requests for two builds", n)
	}
}

func TestConnectionsAreTriedAgain(t *testing.T) {
	var requests, tries atomic.Int64
	base := serve(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if tries.Add(1) < 2 {
			return nil, errors.New("refused")
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	var log strings.Builder
	res := newRunner(t, httprunner.Config{Method: "POST", URL: base, Transport: transport}).Run(t.Context(), runner.Build{}, &log)
	if res.Outcome != runner.Success || requests.Load() != 1 || !strings.HasPrefix(log.String(), "No connection, trying again for 5m0s: refused\n") {
		t.Errorf("Run = %+v after %d requests, log %q; want a success at the second try", res, requests.Load(), log.String())
	}
	res = newRunner(t, httprunner.Config{Method: "POST", URL: closedAddress(t), RetryFor: time.Nanosecond}).Run(t.Context(), runner.Build{}, io.Discard)
	if res.Outcome != runner.NotBuilt || !strings.Contains(res.Reason, "no connection: ") {
		t.Errorf("Run = %+v, want it not built", res)
	}
}

func TestTheLastTryIsAtTheEndOfRetryFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var tries []time.Duration
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			tries = append(tries, time.Since(began))
			return nil, errors.New("refused")
		}}
		c := httprunner.Config{Method: "POST", URL: "http://ci.example.com/", Transport: transport, RetryFor: 100 * time.Second}
		res := newRunner(t, c).Run(t.Context(), runner.Build{}, io.Discard)
		var want []time.Duration
		for _, seconds := range []int{0, 1, 3, 7, 15, 31, 61, 91, 100} {
			want = append(want, time.Duration(seconds)*time.Second)
		}
		if res.Outcome != runner.NotBuilt || !slices.Equal(tries, want) {
			t.Errorf("Run = %+v after tries at %v, want it not built after %v", res, tries, want)
		}
	})
}

// A build is lost 15 minutes after the last answer, however long it has been followed.
func TestFollowedBuildIsLostAfterItsLastAnswer(t *testing.T) {
	for silence, want := range map[time.Duration]runner.Outcome{14 * time.Minute: runner.Success, 16 * time.Minute: runner.Failure} {
		synctest.Test(t, func(t *testing.T) {
			began, requests := time.Now(), 0
			system := make(runnertest.Pipes)
			server := http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				requests++
				switch since := time.Since(began); {
				case since < time.Hour:
				case since < time.Hour+silence:
					w.WriteHeader(http.StatusServiceUnavailable)
				default:
					fmt.Fprint(w, "done")
				}
			})}
			var serving sync.WaitGroup
			serving.Go(func() { _ = server.Serve(system) })
			r := newRunner(t, httprunner.Config{
				Method: "POST", URL: "http://ci.example.com/", Transport: system.Transport(),
				Follow: &httprunner.Follow{URL: "http://ci.example.com/", Done: `status == 503 ? body.state : body == "done"`},
			})
			if res := r.Run(t.Context(), runner.Build{}, io.Discard); res.Outcome != want {
				t.Errorf("Run = %+v after a silence of %v, want %s", res, silence, want)
			}
			if least := int(time.Hour / httprunner.DefaultEvery); requests < least || requests > least+200 {
				t.Errorf("%d requests, want one for each %v", requests, httprunner.DefaultEvery)
			}
			close(system)
			_ = server.Close()
			serving.Wait()
		})
	}
}

func TestFollow(t *testing.T) {
	const running = `{"state": "running", "log": "one"}`
	for _, tt := range []struct {
		name   string
		follow httprunner.Follow
		states []string // each the answer to one request; one that begins with a digit has that status
		want   runner.Result
		log    string
	}{
		{
			"to a success",
			httprunner.Follow{Done: `body.state != "running"`, Result: `body.state == "ok"`},
			[]string{running, running, `{"state": "ok"}`},
			runner.Result{Outcome: runner.Success},
			running + "\n" + `{"state": "ok"}` + "\n",
		},
		{
			"to a result by name",
			httprunner.Follow{Done: `has(body.result)`, Result: `body.result`},
			[]string{running, `{"result": "unstable"}`},
			runner.Result{Outcome: runner.Unstable, Reason: "reported by the system that the build was followed on"},
			"",
		},
		{
			"by the status alone",
			httprunner.Follow{Done: `status != 202`},
			[]string{"202", "202", "200 fine"},
			runner.Result{Outcome: runner.Success},
			"fine\n",
		},
		{
			"to a status that is no success",
			httprunner.Follow{Done: `status != 202`},
			[]string{"202", "410"},
			runner.Result{Outcome: runner.Failure, Reason: "the answer is 410 Gone"},
			"",
		},
		{
			"over errors in between",
			httprunner.Follow{Done: `body.state == "ok"`},
			[]string{"503 sorry", "502", `{"state": "ok"}`},
			runner.Result{Outcome: runner.Success},
			"",
		},
		{
			"to an answer that is no JSON",
			httprunner.Follow{Done: `body.state == "ok"`},
			[]string{"200 hello"},
			runner.Result{Outcome: runner.Failure, Reason: "done: no such key: state"},
			"",
		},
		{
			"to an end that is no bool",
			httprunner.Follow{Done: `body.state`},
			[]string{`{"state": "ok"}`},
			runner.Result{Outcome: runner.Failure, Reason: "done: the result is not a bool"},
			"",
		},
		{
			"over an error that has an end that is no bool",
			httprunner.Follow{Done: `status == 503 ? body.state : true`},
			[]string{`503 {"state": "ok"}`, "200"},
			runner.Result{Outcome: runner.Success},
			"",
		},
		{
			"to an answer without a body",
			httprunner.Follow{Done: `body == ""`},
			[]string{"200"},
			runner.Result{Outcome: runner.Success},
			"",
		},
		{
			"to an answer that only begins like JSON",
			httprunner.Follow{Done: `body == "1 of 2"`},
			[]string{"200 1 of 2"},
			runner.Result{Outcome: runner.Success},
			"",
		},
		{
			"to a result that is none",
			httprunner.Follow{Done: `true`, Result: `body.state`},
			[]string{`{"state": "green"}`},
			runner.Result{Outcome: runner.Failure, Reason: "result: want SUCCESS, UNSTABLE, FAILURE or ABORTED, or a bool"},
			"",
		},
		{
			"until nothing answers any more",
			httprunner.Follow{Done: `body.state == "ok"`, LostAfter: time.Nanosecond},
			[]string{"503"},
			runner.Result{Outcome: runner.Failure, Reason: "nothing to follow for 1ns: no such key: state"},
			"",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var paths []string
			states := tt.states
			base := serve(t, func(w http.ResponseWriter, r *http.Request) {
				paths = append(paths, r.Method+" "+r.RequestURI+" "+r.Header.Get("Authorization")+r.Header.Get("Content-Type"))
				if len(paths) == 1 {
					fmt.Fprint(w, `{"build": {"id": 9007199254740993, "name": "a/b"}, "url": "http://elsewhere.invalid/"}`)
					return
				}
				state := states[min(len(paths)-2, len(states)-1)]
				var status int
				if n, _ := fmt.Sscanf(state, "%d", &status); n == 1 {
					w.WriteHeader(status)
					state = strings.TrimSpace(state[3:])
				}
				fmt.Fprint(w, state)
			})
			tt.follow.URL, tt.follow.Every = base+"builds/{response.build.id}/{response.build.name}?for={param.V}", time.Millisecond
			r := newRunner(t, httprunner.Config{
				Method: "POST", URL: base + "start", Header: []httprunner.Field{{"Authorization", "Bearer x "}, {"Content-Type", "application/json"}}, Body: "{}", Follow: &tt.follow,
			})
			var log strings.Builder
			if res := r.Run(t.Context(), runner.Build{Params: []runner.Param{{Name: "V", Value: "&"}}}, &log); res != tt.want {
				t.Errorf("Run = %+v, want %+v", res, tt.want)
			}
			want := []string{"POST /start Bearer xapplication/json"}
			for range tt.states {
				want = append(want, "GET /builds/9007199254740993/a%2Fb?for=%26 Bearer x")
			}
			if diff := cmp.Diff(want, paths); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			if !strings.HasSuffix(log.String(), tt.log) {
				t.Errorf("log = %q, want %q at its end", log.String(), tt.log)
			}
		})
	}
}

func TestFollowStops(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			cancel(errors.New("stopped by alice"))
			<-r.Context().Done()
		}
		fmt.Fprint(w, "{}")
	})
	r := newRunner(t, httprunner.Config{Method: "POST", URL: base, Follow: &httprunner.Follow{URL: base, Done: "false", Every: time.Millisecond}})
	if res := r.Run(ctx, runner.Build{}, io.Discard); res != (runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice"}) {
		t.Errorf("Run = %+v, want it aborted", res)
	}
}

func TestResumedBuildIsFollowedAndNotStartedAgain(t *testing.T) {
	var requests []string
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests = append(requests, r.Method+" "+r.RequestURI)
		fmt.Fprint(w, `{"id": 7, "done": true}`)
	})
	config := httprunner.Config{
		Method: "POST", URL: base + "start",
		Follow: &httprunner.Follow{URL: base + "builds/{response.id}?v={param.V}", Done: "body.done", Every: time.Millisecond},
	}
	var saved []byte
	b := runner.Build{Params: []runner.Param{{Name: "V", Value: "secret", Secret: true}}, Save: func(handle []byte) error {
		saved = handle
		return errors.New("the disk is full")
	}}
	var log strings.Builder
	if res := newRunner(t, config).Run(t.Context(), b, &log); res.Outcome != runner.Success {
		t.Errorf("Run = %+v, want a success although nothing could be saved", res)
	}
	if saved == nil || strings.Contains(string(saved), "secret") || !strings.Contains(log.String(), "A restart of the server would end this build: the disk is full\n") {
		t.Errorf("saved %s, log %q; want a handle without the parameters, and a line about the error", saved, log.String())
	}
	requests, b.Handle, b.Save = nil, saved, nil
	if res := newRunner(t, config).Run(t.Context(), b, io.Discard); res.Outcome != runner.Success {
		t.Errorf("Run = %+v, want a success", res)
	}
	if diff := cmp.Diff([]string{"GET /builds/7?v=secret"}, requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	config.Follow = nil
	if res := newRunner(t, config).Run(t.Context(), b, io.Discard); res.Outcome != runner.Failure || !strings.Contains(res.Reason, "has changed") {
		t.Errorf("Run = %+v, want a failure because there is nothing to follow any more", res)
	}
}

func TestFollowNeedsTheFieldsOfTheAnswer(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"id": {"nested": 1}}`) })
	for _, field := range []string{"id", "name", "id.nested.more"} {
		r := newRunner(t, httprunner.Config{Method: "POST", URL: base, Follow: &httprunner.Follow{URL: base + "{response." + field + "}", Done: "true"}})
		res := r.Run(t.Context(), runner.Build{}, io.Discard)
		if res != (runner.Result{Outcome: runner.Failure, Reason: "the answer has no text or number " + field + " to follow"}) {
			t.Errorf("%s: Run = %+v, want a failure that names the field", field, res)
		}
	}
}

// An answer whose field can stand in no path is the end, and not a silence of 15 minutes.
func TestFollowToNoPath(t *testing.T) {
	for _, id := range []string{"..", ".", "", "a/../b"} {
		requests := 0
		base := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			requests++
			fmt.Fprintf(w, `{"id": %q}`, id)
		})
		r := newRunner(t, httprunner.Config{Method: "POST", URL: base, Follow: &httprunner.Follow{URL: base + "builds/{response.id}", Done: "true"}})
		res := r.Run(t.Context(), runner.Build{}, io.Discard)
		if res.Outcome != runner.Failure || !strings.Contains(res.Reason, "follow: the path of the URL has") || requests != 1 {
			t.Errorf("%q: Run = %+v after %d requests, want a failure after 1", id, res, requests)
		}
	}
}

func TestParams(t *testing.T) {
	r := newRunner(t, httprunner.Config{
		Method: "POST", URL: "http://x/{param.A}", Body: "b={param.B}&c={param.C}", Header: []httprunner.Field{{"X", "{param.C}"}},
		Follow: &httprunner.Follow{URL: "http://x/{response.id}/{param.D}", Done: "true"},
	})
	if diff := cmp.Diff([]string{"A", "D"}, r.Params()); diff != "" {
		t.Errorf("Params (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"B", "C"}, r.HiddenParams()); diff != "" {
		t.Errorf("HiddenParams (-want +got):\n%s", diff)
	}
}

func FuzzValue(f *testing.F) {
	for _, v := range []string{"", "a", `"`, `\`, "\u2028", "\xff", "a&b=c", "../..", "<x>", "{param.V}"} {
		f.Add(v)
	}
	var body, uri string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		body, uri = string(text), r.URL.Query().Get("v")
	}))
	f.Cleanup(s.Close)
	f.Fuzz(func(t *testing.T, value string) {
		r := newRunner(t, httprunner.Config{Method: "POST", URL: s.URL + "/?v={param.V}&w=1", Body: `{"v":"{param.V}","w":1}`})
		if res := r.Run(t.Context(), runner.Build{Params: []runner.Param{{Name: "V", Value: value}}}, io.Discard); res.Outcome != runner.Success {
			t.Fatalf("Run = %+v", res)
		}
		if want := fmt.Sprintf("{%q:%s,%q:1}", "v", jsonText(t, strings.ToValidUTF8(value, "\ufffd")), "w"); uri != value || body != want {
			t.Errorf("value %q arrived as %q in the query, and in the body as %q, want %q", value, uri, body, want)
		}
	})
}

// jsonText returns a value as a JSON string.
func jsonText(t *testing.T, value string) string {
	t.Helper()
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
