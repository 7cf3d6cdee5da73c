package caddymodule_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// ran is what a command left behind.
type ran struct {
	Status   int
	Out, Err string // standard output, and standard error with the error at its end
}

// run runs a command of build-token in this process. Its standard input is empty.
func run(t *testing.T, args ...string) ran {
	t.Helper()
	return runWith(t, "", args...)
}

// runWith runs a command with a standard input.
func runWith(t *testing.T, input string, args ...string) ran {
	t.Helper()
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	if err := os.WriteFile(in, []byte(input), 0o600); err != nil {
		t.Fatal(err)
	}
	var files []*os.File
	for _, open := range []func() (*os.File, error){
		func() (*os.File, error) { return os.Open(in) },
		func() (*os.File, error) { return os.Create(filepath.Join(dir, "out")) },
		func() (*os.File, error) { return os.Create(filepath.Join(dir, "err")) },
	} {
		f, err := open()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	err := runOn(files[0], files[1], files[2], args...)
	result := ran{Status: statusOf(err)}
	for name, to := range map[string]*string{"out": &result.Out, "err": &result.Err} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		*to = string(text)
	}
	if err != nil {
		result.Err += err.Error()
	}
	return result
}

// runOn runs a command with these standard files.
func runOn(in, out, errs *os.File, args ...string) error {
	oldIn, oldOut, oldErr := os.Stdin, os.Stdout, os.Stderr
	os.Stdin, os.Stdout, os.Stderr = in, out, errs
	defer func() { os.Stdin, os.Stdout, os.Stderr = oldIn, oldOut, oldErr }()
	parent := &cobra.Command{Use: "build-token", SilenceErrors: true, SilenceUsage: true}
	caddycmd.Commands()["build-token"].CobraFunc(parent)
	parent.SetArgs(args)
	parent.SetOut(io.Discard)
	parent.SetErr(io.Discard)
	return parent.Execute()
}

// statusOf returns the status with which Caddy exits.
func statusOf(err error) int {
	if err == nil {
		return 0
	}
	if e := reflect.Indirect(reflect.ValueOf(err)); e.Kind() == reflect.Struct {
		if status := e.FieldByName("ExitCode"); status.IsValid() { // the type is Caddy's
			return int(status.Int())
		}
	}
	return 1
}

// exchange is a request that a command must send, and the answer to it.
type exchange struct {
	// request is the method and the URI, then the token and the kind of answer if they are not
	// those of the admin API, and then the parameters of the body.
	request string
	status  int
	answer  string // with cut at its end, or the Location behind "-> "
}

// cut at the end of an answer breaks the connection before the announced end.
const cut = "✂"

// serveScript starts a server for the requests of one command, which must come in this order.
func serveScript(t *testing.T, script []exchange) (address string) {
	t.Helper()
	var mu sync.Mutex
	next, key := 0, ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		origin := ""
		if strings.HasPrefix(r.URL.Path, "/build_token/") {
			origin = "http://" + r.Host
		}
		if got := r.Header.Get("Origin"); got != origin {
			t.Errorf("%s: origin %q, want %q", r.URL, got, origin)
		}
		if k := r.Header.Get("Idempotency-Key"); next > 0 && key != "" && k != "" && k != key {
			t.Errorf("%s: the key of the request is %s, and was %s", r.URL, k, key)
		} else if k != "" {
			key = k
		}
		got := describeRequest(t, r)
		if next == len(script) {
			t.Errorf("got a request too many: %s", got)
			w.WriteHeader(http.StatusTeapot)
			return
		}
		x := script[next]
		next++
		if got != x.request {
			t.Errorf("request %d: got %s, want %s", next, got, x.request)
		}
		if location, ok := strings.CutPrefix(x.answer, "-> "); ok {
			w.Header().Set("Location", location)
		}
		answer, broken := strings.CutSuffix(x.answer, cut)
		if broken {
			w.Header().Set("Content-Length", fmt.Sprint(len(answer)+1))
		}
		w.WriteHeader(x.status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(func() {
		s.Close()
		if next != len(script) {
			t.Errorf("got %d requests, want %d", next, len(script))
		}
	})
	return s.Listener.Addr().String()
}

func describeRequest(t *testing.T, r *http.Request) string {
	words := []string{r.Method, r.URL.RequestURI()}
	for _, name := range []string{"Authorization", "Accept"} {
		if value := r.Header.Get(name); value != "" && value != "application/json" {
			words = append(words, value)
		}
	}
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") {
		return strings.Join(words, " ")
	}
	if err := r.ParseMultipartForm(1 << 20); err != nil {
		t.Errorf("%s: %v", r.URL, err)
		return ""
	}
	var params []string
	for name, values := range r.MultipartForm.Value {
		params = append(params, name+"="+strings.Join(values, ","))
	}
	for name, files := range r.MultipartForm.File {
		f, err := files[0].Open()
		if err != nil {
			t.Errorf("%s: %v", r.URL, err)
			return ""
		}
		content, _ := io.ReadAll(f)
		params = append(params, name+"=@"+files[0].Filename+":"+string(content))
	}
	slices.Sort(params)
	return strings.Join(append(words, params...), " ")
}

// Answers of the server.
const (
	queuedAnswer  = `{"id":7,"url":"http://ci/item/7","created":true}`
	runningAnswer = `{"item":7,"job":"a","state":"running","build":3}`
	waitingAnswer = `{"item":7,"job":"a","state":"waiting"}`
)

func endedAs(result string) string {
	return `{"item":7,"job":"a","state":"ended","build":3,"result":"` + result + `"}`
}

// The requests of commands over the admin API.
const (
	triggerA = "POST /build_token/buildByToken/build?job=a"
	statusA  = "GET /build_token/buildByToken/status?item=7&job=a"
	cancelA  = "POST /build_token/buildByToken/cancel?item=7&job=a"
)

func logA(start int) string {
	return fmt.Sprintf("GET /build_token/buildByToken/log?item=7&job=a&start=%d text/plain", start)
}

// TestCommandsTalkToTheServer runs commands against a server that expects exactly these requests.
func TestCommandsTalkToTheServer(t *testing.T) {
	const overHTTP = " --url http://{addr}/ci/ --token-file {dir}/token"
	for _, tt := range []struct {
		name, args string // without a name of the server, it is the admin API
		script     []exchange
		want       ran
	}{
		{"a trigger is queued", "trigger a", []exchange{{triggerA, 201, queuedAnswer}}, ran{0, "", "queued as item 7 of a\n"}},
		{"a trigger joins", "trigger a", []exchange{{triggerA, 303, `{"id":7,"created":false}`}}, ran{0, "", "joined item 7 of a\n"}},
		{"a trigger has a cause and a delay", "trigger a --cause why --delay 30s", []exchange{
			{"POST /build_token/buildByToken/build?cause=why&delay=30s&job=a", 201, queuedAnswer},
		}, ran{0, "", "queued as item 7 of a\n"}},
		{"a trigger has parameters", "trigger a B=1 A=2=3 B=4 FILE=@{dir}/fix.patch", []exchange{
			{"POST /build_token/buildByToken/buildWithParameters?job=a A=2=3 B=1,4 FILE=@fix.patch:a change", 201, queuedAnswer},
		}, ran{0, "", "queued as item 7 of a\n"}},
		{"the defaults of parameters", "trigger a", []exchange{
			{triggerA, 400, `{"error":"this job has parameters: use buildWithParameters"}`},
			{"POST /build_token/buildByToken/buildWithParameters?job=a", 201, queuedAnswer},
		}, ran{0, "", "queued as item 7 of a\n"}},
		{"a job without parameters gets some", "trigger a B=1", []exchange{
			{"POST /build_token/buildByToken/buildWithParameters?job=a B=1", 400, `{"error":"use build"}`},
		}, ran{2, "", "a: use build (400)"}},
		{"a bad trigger is sent once", "trigger a", []exchange{{triggerA, 400, `{"error":"bad delay"}`}}, ran{2, "", "a: bad delay (400)"}},
		{"only a bad request can be one for the other endpoint", "trigger a", []exchange{{triggerA, 403, `{"error":"use buildWithParameters"}`}}, ran{2, "", "a: use buildWithParameters (403)"}},
		{"parameters are ignored", "trigger a B=1 C=2", []exchange{
			{"POST /build_token/buildByToken/buildWithParameters?job=a B=1 C=2", 201, `{"id":7,"created":true,"ignored":["B","C"]}`},
		}, ran{0, "", "queued as item 7 of a\nignored, because the job has no such parameter: B, C\n"}},
		{"the answer to a trigger is cut off", "trigger a", []exchange{{triggerA, 201, `{"id":`}}, ran{2, "", "a: read the answer: unexpected EOF"}},
		{"a busy server gets the trigger again", "trigger a", []exchange{
			{triggerA, 500, `{"error":"busy"}`}, {triggerA, 201, queuedAnswer},
		}, ran{0, "", "queued as item 7 of a\n"}},
		{"a trigger as JSON", "trigger a --json", []exchange{{triggerA, 201, queuedAnswer}}, ran{0, queuedAnswer + "\n", ""}},
		{"a parameter without a value", "trigger a B", nil, ran{2, "", `"B" is no parameter: want NAME=VALUE, or NAME=@FILE`}},
		{"a parameter without a name", "trigger a =1", nil, ran{2, "", `"=1" is no parameter: want NAME=VALUE, or NAME=@FILE`}},

		{"wait for success", "trigger a --wait 1m", []exchange{{triggerA, 201, queuedAnswer}, {statusA, 200, endedAs("SUCCESS")}}, ran{0, "#3 SUCCESS\n", "queued as item 7 of a\n"}},
		{"wait for a build that runs", "trigger a --wait 1m", []exchange{
			{triggerA, 201, queuedAnswer}, {statusA, 200, runningAnswer}, {statusA, 200, endedAs("FAILURE")},
		}, ran{1, "#3 FAILURE\n", "queued as item 7 of a\na #3: FAILURE"}},
		{"wait for an item that is cancelled", "trigger a --wait 1m", []exchange{
			{triggerA, 201, queuedAnswer}, {statusA, 200, `{"item":7,"job":"a","state":"cancelled"}`},
		}, ran{4, "", "queued as item 7 of a\nitem 7 of a was cancelled"}},
		{"wait with JSON", "trigger a --wait 1m --json", []exchange{{triggerA, 201, queuedAnswer}, {statusA, 200, endedAs("UNSTABLE")}}, ran{
			3, strings.TrimSuffix(queuedAnswer, "}") + `,"status":` + endedAs("UNSTABLE") + "}\n", "a #3: UNSTABLE",
		}},
		{"wait too short", "trigger a --wait 1ns", []exchange{{triggerA, 201, queuedAnswer}}, ran{2, "", "queued as item 7 of a\na: item 7: the build has not ended after 1ns"}},
		{"wait for an item that is gone", "trigger a --wait 1m", []exchange{
			{triggerA, 201, queuedAnswer}, {statusA, 404, `{"error":"no such item"}`},
		}, ran{2, "", "queued as item 7 of a\na: item 7: no such item (404)"}},

		{"follow", "trigger a -f", []exchange{
			{triggerA, 201, queuedAnswer}, {logA(0), 200, "hello\n"}, {statusA, 200, endedAs("SUCCESS")},
		}, ran{0, "hello\n", "queued as item 7 of a\n"}},
		{"follow with JSON", "trigger a -f --json", []exchange{
			{triggerA, 201, queuedAnswer}, {logA(0), 200, "hello\n"}, {statusA, 200, endedAs("SUCCESS")},
		}, ran{0, strings.TrimSuffix(queuedAnswer, "}") + `,"status":` + endedAs("SUCCESS") + "}\n", "hello\n"}},
		{"follow an item that is gone", "trigger a -f", []exchange{
			{triggerA, 201, queuedAnswer}, {logA(0), 404, `{"error":"no such item"}`},
		}, ran{2, "", "queued as item 7 of a\na: item 7: no such item (404)"}},
		{"follow goes on where the log broke off", "log a --item 7", []exchange{
			{logA(0), 200, cut},
			{logA(0), 200, "hello " + cut},
			{statusA, 200, runningAnswer},
			{logA(6), 200, "world\n"},
			{statusA, 200, `{"item":`},
			{statusA, 200, endedAs("NOT_BUILT")},
		}, ran{5, "hello world\n", "a #3: NOT_BUILT"}},
		{"follow begins again if the build was lost", "log a --item 7", []exchange{
			{logA(0), 200, "first\n"}, {statusA, 200, waitingAnswer}, {logA(0), 200, "second\n"}, {statusA, 200, endedAs("ABORTED")},
		}, ran{4, "first\nsecond\n", "a #3: ABORTED"}},
		{"follow a build whose item is gone", "log a --item 7", []exchange{
			{logA(0), 200, "hello\n"}, {statusA, 404, `{"error":"no such item"}`},
		}, ran{2, "hello\n", "a: no such item (404)"}},

		{"the newest log", "log a", []exchange{{"GET /build_token/console?job=a", 200, "hello\n"}}, ran{0, "hello\n", ""}},
		{"the log of a build", "log a 3", []exchange{{"GET /build_token/console?job=a&number=3", 200, "hello\n"}}, ran{0, "hello\n", ""}},
		{"no log", "log a 3", []exchange{{"GET /build_token/console?job=a&number=3", 404, `{"error":"no such build"}`}}, ran{2, "", "a: no such build (404)"}},
		{"a log that breaks off", "log a", []exchange{{"GET /build_token/console?job=a", 200, "hello\n" + cut}}, ran{2, "hello\n", "a: unexpected EOF"}},
		{"follow the log of a build", "log a 3 -f", []exchange{
			{"GET /build_token/build?job=a&number=3", 200, `{"job":"a","number":3,"item":7}`}, {logA(0), 200, "hello\n"}, {statusA, 200, endedAs("SUCCESS")},
		}, ran{0, "hello\n", ""}},
		{"follow the log of no build", "log a -f", []exchange{{"GET /build_token/build?job=a", 404, `{"error":"no build"}`}}, ran{2, "", "a: no build (404)"}},
		{"follow the log of an answer that is cut off", "log a -f", []exchange{{"GET /build_token/build?job=a", 200, `{`}}, ran{2, "", "a: read the build: unexpected EOF"}},

		{"cancel an item", "cancel a 7", []exchange{{cancelA, 204, ""}}, ran{}},
		{"cancel an item with two digits", "cancel a 10", []exchange{{"POST /build_token/buildByToken/cancel?item=10&job=a", 204, ""}}, ran{}},
		{"cancel the last item", "cancel a 9223372036854775807", []exchange{{"POST /build_token/buildByToken/cancel?item=9223372036854775807&job=a", 204, ""}}, ran{}},
		{"cancel an item that has ended", "cancel a 7", []exchange{{cancelA, 409, `{"error":"ended"}`}}, ran{2, "", "a: item 7: ended (409)"}},
		{"cancel a build", "cancel a #3", []exchange{{"GET /build_token/build?job=a&number=3", 200, `{"item":7}`}, {cancelA, 204, ""}}, ran{}},
		{"cancel no build", "cancel a #3", []exchange{{"GET /build_token/build?job=a&number=3", 404, `{"error":"no build"}`}}, ran{2, "", "a: no build (404)"}},
		{"cancel a word", "cancel a seven", nil, ran{2, "", `a: "seven" is not the number of an item, or # and that of a build`}},
		{"cancel without an item", "cancel a", nil, ran{2, "", "want the job and an item, whose number trigger and status print"}},

		{"trigger over HTTP", "trigger a" + overHTTP, []exchange{{"POST /ci/buildByToken/build?job=a Bearer s3cret", 201, queuedAnswer}}, ran{0, "", "queued as item 7 of a\n"}},
		{"trigger over HTTP with the variable", "trigger a --url http://{addr}", []exchange{{"POST /buildByToken/build?job=a Bearer of-the-variable", 201, queuedAnswer}}, ran{0, "", "queued as item 7 of a\n"}},
		{"cancel over HTTP", "cancel a 7" + overHTTP, []exchange{{"POST /ci/buildByToken/cancel?item=7&job=a Bearer s3cret", 204, ""}}, ran{}},
		{"cancel a build over HTTP", "cancel a #3" + overHTTP, nil, ran{2, "", "a: with --url, name the item and not the build"}},
		{"log over HTTP without an item", "log a" + overHTTP, nil, ran{2, "", "with --url, name the build with --item"}},
		{"log over HTTP", "log a --item 7" + overHTTP, []exchange{
			{"GET /ci/buildByToken/log?item=7&job=a&start=0 Bearer s3cret text/plain", 200, "hello\n"},
			{"GET /ci/buildByToken/status?item=7&job=a Bearer s3cret", 200, endedAs("SUCCESS")},
		}, ran{0, "hello\n", ""}},
		{"an empty token", "trigger a --url http://{addr} --token-file {dir}/empty", nil, ran{2, "", "no token: set BUILD_TOKEN, or name a file with --token-file"}},
		{"a URL without a scheme", "trigger a --url {addr}/ci", nil, ran{2, "", "--url: want an absolute http or https URL without a user"}},
		{"a URL of another scheme", "log a --url ftp://{addr}", nil, ran{2, "", "--url: want an absolute http or https URL without a user"}},
		{"a URL without a host", "cancel a 1 --url http:///ci", nil, ran{2, "", "--url: want an absolute http or https URL without a user"}},
		{"a URL with a user", "trigger a --url http://me@{addr}", nil, ran{2, "", "--url: want an absolute http or https URL without a user"}},
		{"an address with many ports", "status --address 127.0.0.1:1-2", nil, ran{1, "", `"127.0.0.1:1-2" is no address of an admin API`}},
		{"an address that no URL can have", "tokens --address %zz:1", nil, ran{1, "", `make the request: parse "http://%zz:1/build_token/tokens": invalid URL escape "%zz"`}},
		{"an address that is none", "tokens --address 127.0.0.1:x", nil, ran{1, "", `"127.0.0.1:x" is no address of an admin API`}},

		{"a refusal in plain text", "cancel a 7", []exchange{{cancelA, 403, "\nnot you\nbecause\n"}}, ran{2, "", "a: item 7: not you (403)"}},
		{"a refusal in JSON without an error", "cancel a 7", []exchange{{cancelA, 403, `{}`}}, ran{2, "", "a: item 7: {} (403)"}},
		{"a refusal without a text", "cancel a 7", []exchange{{cancelA, 403, ""}}, ran{2, "", "a: item 7: Forbidden (403)"}},
		{"a refusal as a page", "cancel a 7", []exchange{{cancelA, 403, "<html>no</html>"}}, ran{2, "", "a: item 7: Forbidden (403)"}},
		{"a long refusal", "cancel a 7", []exchange{{cancelA, 403, strings.Repeat("x", 64<<10+1)}}, ran{2, "", "a: item 7: " + strings.Repeat("x", 64<<10) + " (403)"}},
		{"the lowest status of a refusal", "cancel a 7", []exchange{{cancelA, 400, "no"}}, ran{2, "", "a: item 7: no (400)"}},
		{"a site that has moved", "cancel a 7" + overHTTP, []exchange{
			{"POST /ci/buildByToken/cancel?item=7&job=a Bearer s3cret", 301, "-> https://there/"},
		}, ran{2, "", "a: item 7: the server redirects to https://there/; use that with --url (301)"}},
		{"a site that has moved for good", "cancel a 7" + overHTTP, []exchange{
			{"POST /ci/buildByToken/cancel?item=7&job=a Bearer s3cret", 308, "-> https://there/"},
		}, ran{2, "", "a: item 7: the server redirects to https://there/; use that with --url (308)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runScript(t, tt.args, tt.script, tt.want)
		})
	}
}

// partial is the directory in which a backup is made.
var partial = regexp.MustCompile(`\{dir\}/b\.partial-[0-9]+`)

// runScript runs a command against a server, over the admin API if the arguments name no other
// way, and compares what it did.
func runScript(t *testing.T, args string, script []exchange, want ran) {
	t.Helper()
	dir := home(t)
	t.Setenv("BUILD_TOKEN", "")
	if !strings.Contains(args, "token-file") {
		t.Setenv("BUILD_TOKEN", "of-the-variable")
	}
	for name, text := range map[string]string{"token": "s3cret\r\n", "empty": "\n", "fix.patch": "a change", "Caddyfile": explained} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := serveScript(t, script)
	if !strings.Contains(args, "--url") && !strings.Contains(args, "--address") {
		args += " --address {addr}"
	}
	fields := strings.Fields(args)
	for i := range fields {
		fields[i] = strings.NewReplacer("{addr}", address, "{dir}", dir).Replace(fields[i])
	}
	got := run(t, fields...)
	back := strings.NewReplacer(address, "{addr}", dir, "{dir}")
	got.Out, got.Err = back.Replace(got.Out), partial.ReplaceAllString(back.Replace(got.Err), "{partial}")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", args, diff)
	}
}
