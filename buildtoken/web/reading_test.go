package web_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
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

// An object that could not be made completely is not shown.
func TestIncompleteObjectsAreErrors(t *testing.T) {
	bubble(t, func(s *scenario) {
		s.user = "reader"
		s.send(s.request([]string{"POST /buildByToken/build?job=plain&token=TacoTuesday&delay=0"}))
		for _, path := range []string{"/job/plain/api/json", "/job/plain/api/json?tree=allBuilds[number]", "/api/json?tree=jobs[builds[number]]"} {
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
