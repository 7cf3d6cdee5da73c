package web_test

import (
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the answers in testdata/http and testdata/verdicts.txt anew")

// TestScenarios runs each file in testdata/http. Lines with > are requests, lines with ! change
// something, and lines with < are the answers.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("../../testdata/http/*.txt")
	if err != nil || len(files) < 40 {
		t.Fatal(len(files), "scenarios", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			bubble(t, func(s *scenario) { got = s.play(string(want)) })
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" && !*update {
				t.Errorf("%s differs (-want +got); go test -update rewrites it:\n%s", file, diff)
			}
		})
	}
}

// play returns the scenario with the actual answers.
func (s *scenario) play(text string) string {
	s.t.Helper()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch {
		case line == "<" || strings.HasPrefix(line, "< ") || strings.HasPrefix(line, "<+"):
			continue
		case strings.HasPrefix(line, "! "):
			fmt.Fprintln(&s.out, line)
			s.direct(line[2:])
			continue
		case !strings.HasPrefix(line, "> "):
			fmt.Fprintln(&s.out, line)
			continue
		}
		var request []string
		for ; i < len(lines) && strings.HasPrefix(lines[i], ">"); i++ {
			fmt.Fprintln(&s.out, lines[i])
			request = append(request, strings.TrimPrefix(strings.TrimPrefix(lines[i], ">"), " "))
		}
		i--
		for range s.repeat {
			s.send(s.request(request))
		}
		s.repeat = 0
		s.show(s.send(s.request(request)))
	}
	return s.out.String()
}

// constant are headers that all answers have. They are checked and not shown.
func constant() map[string]string {
	return map[string]string{
		"Cache-Control":          "no-store",
		"Referrer-Policy":        "no-referrer",
		"X-Content-Type-Options": "nosniff",
	}
}

func (s *scenario) show(x *exchange) {
	s.t.Helper()
	if x.hasEnded() && !x.handled {
		fmt.Fprintln(&s.out, "< goes on to the next handler")
		return
	}
	if !x.hasEnded() {
		if s.open != nil {
			s.t.Fatal("two requests wait at a time")
		}
		s.open = x
		if x.waits = !x.isAnswered(); x.waits {
			fmt.Fprintln(&s.out, "<+ …")
			return
		}
	}
	s.showAnswer("< ", x)
	if !x.hasEnded() {
		fmt.Fprintln(&s.out, "<+ …")
	}
}

// showAnswer shows status, headers, and the body received so far.
func (s *scenario) showAnswer(prefix string, x *exchange) {
	s.t.Helper()
	h, body := x.Header(), x.body()
	for name, want := range constant() {
		if h.Get(name) != want {
			s.t.Errorf("%s: %q, want %q", name, h.Get(name), want)
		}
	}
	if length := h.Get("Content-Length"); length != "" && length != strconv.Itoa(len(body)) && body != "" {
		s.t.Errorf("Content-Length is %s, the body has %d bytes", length, len(body))
	}
	fmt.Fprintf(&s.out, "%s%d %s\n", prefix, x.Code, http.StatusText(x.Code))
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if constant()[name] == "" && name != "Content-Length" {
			fmt.Fprintf(&s.out, "%s%s: %s\n", prefix, name, strings.Join(h[name], " | "))
		}
	}
	if body != "" {
		fmt.Fprintln(&s.out, strings.TrimSpace(prefix))
		s.showBody(prefix, x)
	}
}

// showBody shows the part of the body that was not shown yet.
func (s *scenario) showBody(prefix string, x *exchange) {
	body := x.body()
	fresh := requestID().ReplaceAllString(body[x.shown:], "request ID")
	x.shown = len(body)
	for line := range strings.Lines(fresh) {
		text, whole := strings.CutSuffix(line, "\n")
		text = strings.ReplaceAll(text, "\r", `\r`)
		text = strings.ToValidUTF8(text, `\?`)
		if !whole {
			text += `\`
		}
		fmt.Fprintln(&s.out, strings.TrimRight(prefix+text, " "))
	}
}

// requestID matches the ID of an internal error.
func requestID() *regexp.Regexp { return regexp.MustCompile(`request [A-Z2-7]{26}`) }

// showMore shows what has arrived on the open stream.
func (s *scenario) showMore() {
	if s.open == nil {
		return
	}
	if s.open.waits {
		if !s.open.hasEnded() {
			return
		}
		s.showAnswer("<+ ", s.open)
	}
	s.showBody("<+ ", s.open)
	if s.open.hasEnded() {
		fmt.Fprintln(&s.out, "<+ end")
		s.open = nil
	}
}

// matrix shows the status of each URL for readers, by user.
func (s *scenario) matrix() {
	callers := []struct{ user, token string }{{"", ""}, {"", "Hush"}, {"", "LookAtMe"}, {"reader", ""}, {"builder", ""}, {"foreman", ""}}
	fmt.Fprintf(&s.out, "< %-50s %8s %12s %6s %7s %8s %8s\n", "", "nobody", "other token", "token", "reader", "builder", "foreman")
	for _, request := range []string{
		"GET /api/json", "GET /api/python", "GET /queue/", "GET /queue/api/json", "GET /queue/nothing",
		"GET /queue/item/1/", "GET /queue/item/1/api/json", "GET /queue/item/2/api/json", "GET /queue/item/99/", "GET /queue/item/x/api/json",
		"GET /job/plain/", "GET /job/plain/api/json", "GET /job/plain/api/python", "GET /job/notoken/api/json", "GET /job/secret/api/json",
		"GET /job/nothing/", "GET /job/nothing/api/json", "GET /job/nothing/1/consoleText", "GET /job/app%2Fdeploy/api/json",
		"GET /job/app/", "GET /job/app/api/json", "GET /job/app/job/deploy/api/json", "GET /job/app/job/nothing/api/json",
		"GET /job/plain/1/", "GET /job/plain/1/api/json", "GET /job/plain/99/api/json", "GET /job/plain/lastBuild/api/json",
		"GET /job/plain/lastFailedBuild/", "GET /job/plain/1/buildNumber", "GET /job/plain/1/consoleText",
		"GET /job/plain/1/logText/progressiveText", "GET /job/plain/1/logText/progressiveHtml", "GET /job/plain/1/nothing",
		"GET /job/polled/scmPollLog", "GET /job/plain/pollingLog", "PUT /job/plain/api/json",
		"GET /job/plain/1/stop", "POST /job/plain/1/stop", "POST /job/plain/99/stop", "POST /job/nothing/1/stop",
		"GET /queue/cancelItem?id=99", "POST /queue/cancelItem?id=99", "POST /queue/cancelItem", "POST /queue/item/99/cancelQueue",
		"GET /job/plain/build", "POST /job/nothing/build", "POST /job/plain/build", "POST /job/notoken/build",
		"GET /crumbIssuer/api/json", "GET /crumbIssuer/api/json/api/json", "GET /crumbIssuer/nothing",
		"GET /whoAmI/api/json", "GET /me/api/json",
		"POST /job/plain/buildWithParameters", "POST /job/off/build", "POST /job/app/job/deploy/build",
		"POST /queue/item/1/cancelQueue", "POST /queue/item/2/cancelQueue", "POST /queue/cancelItem?id=2", "POST /queue/item/3/cancelQueue",
		"GET /job/plain/2/logText/progressiveText", "GET /job/plain/lastBuild/consoleText", "GET /job/plain/firstBuild/",
		"GET /buildByToken/build?job=plain", "POST /buildByToken/build?job=plain", "POST /buildByToken/buildWithParameters?job=plain",
		"GET /buildByToken/polling?job=polled",
		"GET /buildByToken/status?job=plain&item=1", "GET /buildByToken/status?job=plain&item=2", "GET /buildByToken/status?job=secret&item=2",
		"GET /buildByToken/status?job=secret&item=1", "GET /buildByToken/status?job=nothing&item=1",
		"GET /buildByToken/log?job=plain&item=1", "GET /buildByToken/log?job=plain&item=2", "GET /buildByToken/log?job=secret&item=1",
		"GET /buildByToken/cancel?job=plain&item=1", "POST /buildByToken/cancel?job=plain&item=1", "POST /buildByToken/cancel?job=plain&item=2",
		"POST /buildByToken/cancel?job=secret&item=1", "GET /buildByToken/nothing",
	} {
		fmt.Fprintf(&s.out, "< %-50s", request)
		for i, by := range callers {
			s.user = by.user
			lines := []string{request}
			if by.token != "" {
				lines = append(lines, "X-Build-Token: "+by.token)
			}
			x := s.send(s.request(lines))
			fmt.Fprintf(&s.out, " %*d", []int{8, 12, 6, 7, 8, 8}[i], x.Code)
		}
		fmt.Fprintln(&s.out)
	}
	s.user = ""
}
