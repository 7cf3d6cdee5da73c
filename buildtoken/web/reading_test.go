package web_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// What only reads refuses methods that change something, everywhere.
func TestReadingRefusesOtherMethods(t *testing.T) {
	bubble(t, func(s *scenario) {
		s.user = "reader"
		s.send(s.request([]string{"POST /buildByToken/build?job=plain&token=TacoTuesday&delay=0"}))
		s.send(s.request([]string{"POST /buildByToken/polling?job=polled&token=TacoTuesday"}))
		synctest.Wait()
		s.runner.finishAll()
		synctest.Wait()
		for _, path := range []string{
			"/api/json", "/api/python", "/queue/", "/queue/api/json", "/queue/item/1/", "/queue/item/1/api/json", "/job/plain/", "/job/plain/api/json",
			"/job/app/", "/job/app/api/json", "/job/plain/1/", "/job/plain/1/api/json", "/job/plain/1/buildNumber", "/job/plain/1/consoleText",
			"/job/plain/1/logText/progressiveText", "/job/plain/1/logText/progressiveHtml", "/job/polled/scmPollLog", "/crumbIssuer/api/json",
			`/crumbIssuer/api/xml?xpath=concat(//crumbRequestField,":",//crumb)`, "/whoAmI/api/json", "/me/api/json", "/computer/api/json",
		} {
			if x := s.send(s.request([]string{"GET " + path})); x.Code != http.StatusOK {
				t.Errorf("GET %s = %d %s, want 200", path, x.Code, x.body())
			}
			if x := s.send(s.request([]string{"PUT " + path})); x.Code != http.StatusMethodNotAllowed || x.Header().Get("Allow") != "GET, HEAD, POST" {
				t.Errorf("PUT %s = %d, Allow %q, want 405", path, x.Code, x.Header().Get("Allow"))
			}
		}
	})
}

// What changes something needs POST, and not from a page of another site.
func TestChangesNeedPost(t *testing.T) {
	bubble(t, func(s *scenario) {
		for range 2 { // the second one waits
			s.send(s.request([]string{"POST /buildByToken/build?job=plain&token=TacoTuesday&delay=0"}))
		}
		for _, path := range []string{"/job/plain/1/stop", "/queue/cancelItem?id=2", "/queue/item/2/cancelQueue"} {
			s.user = "foreman"
			for _, method := range []string{"GET", "HEAD", "PUT"} {
				if x := s.send(s.request([]string{method + " " + path})); x.Code != http.StatusMethodNotAllowed || x.Header().Get("Allow") != "POST" {
					t.Errorf("%s %s = %d, Allow %q, want 405, POST", method, path, x.Code, x.Header().Get("Allow"))
				}
			}
			if x := s.send(s.request([]string{"POST " + path, "Sec-Fetch-Site: cross-site"})); x.Code != http.StatusForbidden {
				t.Errorf("POST %s from another site = %d, want 403", path, x.Code)
			}
			s.user = ""
			if x := s.send(s.request([]string{"GET " + path})); x.Code != http.StatusForbidden {
				t.Errorf("GET %s without an account = %d, want 403", path, x.Code)
			}
		}
		s.user = "foreman"
		if x := s.send(s.request([]string{"GET /job/plain/api/json?tree=inQueue,lastBuild[building]"})); !strings.Contains(x.body(), `"inQueue":true,"lastBuild":{"_class":"hudson.model.FreeStyleBuild","building":true}`) {
			t.Errorf("the job: %d %s, want a build that runs and an item", x.Code, x.body())
		}
	})
}

// A request gives back what its body has taken from the limits.
func TestBodiesAreGivenBack(t *testing.T) {
	bubble(t, func(s *scenario) {
		s.user, s.api.InFlight = "reader", new(web.InFlight)
		holdBodies(t, s.remote.String(), s.api.InFlight, 63) // there is room for one more
		for _, path := range []string{"/api/json?tree=url", "/buildByToken/build?job=slow&token=TacoTuesday", "/buildByToken/status?job=slow&token=TacoTuesday&item=1"} {
			for range 2 {
				s.filler = web.MaxBody - len("A=")
				if x := s.send(s.request([]string{"POST " + path, "Content-Type: application/x-www-form-urlencoded", "", "A="})); x.Code == http.StatusServiceUnavailable {
					t.Errorf("POST %s = %d %s, want room for the body", path, x.Code, x.body())
				}
			}
		}
	})
}

// The length of a log is known before it is sent, unless something is left out of it.
func TestConsoleTextHasALength(t *testing.T) {
	bubble(t, func(s *scenario) {
		s.user = "reader"
		s.send(s.request([]string{"POST /buildByToken/build?job=plain&token=TacoTuesday&delay=0"}))
		s.direct(`print plain#1 "\x1b[1mbold\n"`)
		whole := s.send(s.request([]string{"GET /job/plain/1/consoleText"})).body()
		for request, want := range map[string][2]string{
			"GET /job/plain/1/consoleText":            {whole, strconv.Itoa(len(whole))},
			"HEAD /job/plain/1/consoleText":           {"", strconv.Itoa(len(whole))},
			"GET /job/plain/1/consoleText?ansi=none":  {strings.Replace(whole, "\x1b[1m", "", 1), ""},
			"HEAD /job/plain/1/consoleText?ansi=none": {"", ""},
		} {
			x := s.send(s.request([]string{request}))
			if got := [2]string{x.body(), x.Header().Get("Content-Length")}; x.Code != http.StatusOK || got != want {
				t.Errorf("%s = %d, body and length %q, want %q", request, x.Code, got, want)
			}
		}
	})
}

// An object that could not be made completely is not shown.
func TestIncompleteObjectsAreErrors(t *testing.T) {
	bubble(t, func(s *scenario) {
		s.user = "reader"
		s.send(s.request([]string{"POST /buildByToken/build?job=plain&token=TacoTuesday&delay=0"}))
		for _, path := range []string{"/job/plain/api/json", "/job/plain/api/json?tree=allBuilds[number]", "/api/json?tree=jobs[builds[number]]", "/api/json?tree=jobs[lastBuild[result]]"} {
			s.queue.noBuilds.Store(true)
			if x := s.send(s.request([]string{"GET " + path})); x.Code != http.StatusServiceUnavailable {
				t.Errorf("%s without builds: %d %s, want 503", path, x.Code, x.body())
			}
			s.queue.noBuilds.Store(false)
			if x := s.send(s.request([]string{"GET " + path})); x.Code != http.StatusOK {
				t.Errorf("%s: %d %s, want 200", path, x.Code, x.body())
			}
		}
	})
}

// A client that continues between CR and LF does not get another CR.
func TestProgressiveTextFromTheMiddleOfALineEnd(t *testing.T) {
	bubble(t, func(s *scenario) {
		s.user = "reader"
		s.send(s.request([]string{"POST /buildByToken/build?job=plain&token=TacoTuesday&delay=0"}))
		s.direct(`print plain#1 "a\r\nb\n"`)
		for start, want := range map[string]string{"32": "a\r\nb\r\n", "33": "\r\nb\r\n", "34": "\nb\r\n", "35": "b\r\n", "36": "\r\n"} {
			x := s.send(s.request([]string{"GET /job/plain/1/logText/progressiveText?start=" + start}))
			if x.Code != http.StatusOK || x.body() != want {
				t.Errorf("from %s: %d %q, want %q", start, x.Code, x.body(), want)
			}
		}
		if x := s.send(s.request([]string{"GET /job/plain/1/consoleText"})); !strings.HasSuffix(x.body(), "a\r\nb\n") {
			t.Errorf("the whole log: %q", x.body())
		}
	})
}
