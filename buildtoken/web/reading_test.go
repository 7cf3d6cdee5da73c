package web_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
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
			"/job/plain/1/logText/progressiveText", "/job/plain/1/logText/progressiveHtml", "/job/polled/scmPollLog", "/job/polled/scmPollLog/pollingLog", "/job/polled/pollingLog", "/crumbIssuer/api/json",
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
		for range 2 { // the second one waits
			s.send(s.request([]string{"POST /buildByToken/build?job=plain&token=TacoTuesday&delay=0"}))
		}
		for _, tt := range []struct {
			name    string
			without *atomic.Bool
			paths   []string
		}{
			{"builds", &s.queue.noBuilds, []string{
				"/job/plain/api/json", "/job/plain/api/json?tree=allBuilds[number]", "/api/json?tree=jobs[builds[number]]", "/api/json?tree=jobs[lastBuild[result]]",
				"/job/plain/api/json?tree=healthReport[score]", "/job/plain/lastBuild/api/json", "/job/plain/1/api/json",
			}},
			{"lanes", &s.queue.noLanes, []string{"/api/json", "/job/plain/api/json", "/job/app/api/json", "/queue/item/1/api/json", "/queue/api/json"}},
			{"items", &s.queue.noItems, []string{"/queue/api/json", "/job/plain/api/json"}},
			{"summaries", &s.queue.noSummaries, []string{
				"/job/plain/api/json", "/api/json?tree=jobs[lastBuild[number]]", "/job/plain/lastBuild/", "/job/plain/1/api/json", "/queue/api/json", "/computer/api/json",
			}},
		} {
			for _, path := range tt.paths {
				tt.without.Store(true)
				if x := s.send(s.request([]string{"GET " + path})); x.Code != http.StatusServiceUnavailable || x.Header().Get("Retry-After") == "" {
					t.Errorf("%s without %s: %d %s, want 503", path, tt.name, x.Code, x.body())
				}
				tt.without.Store(false)
				if x := s.send(s.request([]string{"GET " + path})); x.Code != http.StatusOK {
					t.Errorf("%s: %d %s, want 200", path, x.Code, x.body())
				}
			}
		}
	})
}

// An answer to a tree parameter counts while it is made and while it is sent, but not twice.
func TestTreeCountsOnce(t *testing.T) {
	bubble(t, func(s *scenario) {
		var jobs []definition.Job
		for n := range 10 { // with about 600 KB of texts
			jobs = append(jobs, definition.Job{Name: fmt.Sprint("job", n), Description: strings.Repeat("a text ", 9_000), Runner: s.runner})
		}
		site, err := definition.Compile(definition.Spec{Access: definition.Access{Read: "true"}, Root: definition.Folder{Jobs: jobs}})
		if err != nil {
			t.Fatal(err)
		}
		s.attach(buildtoken.Config{Sites: []*definition.Site{site}})
		s.api.Definition, s.api.InFlight = site, new(web.InFlight)
		others := siteOf(s.remote.String(), s.api.InFlight).Request(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		for range 63 { // of the 64 of 1 MiB that one client may have
			if err := others.Answer().Grow(1 << 20); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if x := s.send(s.request([]string{"GET /api/json?tree=jobs[description]"})); x.Code != http.StatusOK || len(x.body()) < 600_000 {
				t.Errorf("a large tree: %d with %d bytes, want 200 with all texts", x.Code, len(x.body()))
			}
		}
		if err := others.Answer().Grow(600_000); err != nil {
			t.Fatal(err)
		}
		if x := s.send(s.request([]string{"GET /api/json?tree=jobs[description]"})); x.Code != http.StatusServiceUnavailable {
			t.Errorf("a large tree without room for it: %d, want 503", x.Code)
		}
		if x := s.send(s.request([]string{"GET /api/json?tree=jobs[description]{,3}"})); x.Code != http.StatusOK {
			t.Errorf("a smaller tree after one was refused: %d %s, want 200", x.Code, x.body())
		}
	})
}

// Clients show when a job is built next by its schedules.
func TestNextScheduled(t *testing.T) {
	bubble(t, func(s *scenario) {
		at := func(spec string) []definition.ScheduleSpec {
			return []definition.ScheduleSpec{{Spec: spec, Zone: "UTC"}}
		}
		site, err := definition.Compile(definition.Spec{Access: definition.Access{Read: "true"}, Root: definition.Folder{Jobs: []definition.Job{
			{Name: "daily", Runner: s.runner, Schedules: at("30 3 * * *")},
			{Name: "sooner", Runner: s.runner, Schedules: append(at("30 3 * * *"), at("0 2 * * *")...)},
			{Name: "never", Runner: s.runner},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		s.attach(buildtoken.Config{Sites: []*definition.Site{site}})
		s.api.Definition = site
		for name, want := range map[string]string{
			"daily": fmt.Sprint(time.Date(2000, 1, 1, 3, 30, 0, 0, time.UTC).UnixMilli()), "sooner": fmt.Sprint(time.Date(2000, 1, 1, 2, 0, 0, 0, time.UTC).UnixMilli()), "never": "null",
		} {
			x := s.send(s.request([]string{"GET /job/" + name + "/api/json?tree=nextScheduled"}))
			if !strings.HasSuffix(x.body(), `"nextScheduled":`+want+"}\n") {
				t.Errorf("%s: %d %s, want %s", name, x.Code, x.body(), want)
			}
		}
	})
}

// The name of an account can have any characters, and is part of an address.
func TestAccountsAreAddressed(t *testing.T) {
	bubble(t, func(s *scenario) {
		s.user = "ü/a b"
		x := s.send(s.request([]string{"GET /me/api/json?tree=absoluteUrl,id,fullName"}))
		if want := `{"_class":"hudson.model.User","absoluteUrl":"` + root + `user/%C3%BC%2Fa%20b","fullName":"ü/a b","id":"ü/a b"}` + "\n"; x.body() != want {
			t.Errorf("got %d %s, want %s", x.Code, x.body(), want)
		}
		for _, path := range []string{"/me/", "/me/nothing", "/computer/", "/computer/built-in/", "/api/", "/api/xml", "/nothing"} {
			if x := s.send(s.request([]string{"GET " + path})); x.handled {
				t.Errorf("GET %s is handled here: %d %s", path, x.Code, x.body())
			}
		}
	})
}

// Shell scripts have api/xml put the crumb into a header.
func TestCrumbAsAHeader(t *testing.T) {
	const crumb = "00000000000000000000000000000000"
	bubble(t, func(s *scenario) {
		s.user = "reader"
		for xpath, want := range map[string]string{
			`concat(//crumbRequestField,":",//crumb)`:  "Jenkins-Crumb:" + crumb,
			`concat(//crumbRequestField,'=',//crumb)`:  "Jenkins-Crumb=" + crumb,
			`concat(//crumbRequestField,": ",//crumb)`: "Jenkins-Crumb: " + crumb,
			`concat(//crumbRequestField,"",//crumb)`:   "Jenkins-Crumb" + crumb,
			`concat(//crumbRequestField,":',//crumb)`:  "",
			`concat(//crumbRequestField,':",//crumb)`:  "",
			`concat(//crumbRequestField,":x,//crumb)`:  "",
			`concat(//crumbRequestField,x:",//crumb)`:  "",
			`concat(//crumbRequestField,",//crumb)`:    "",
			`concat(//crumbRequestField,x:x,//crumb)`:  "",
			`concat(//crumbRequestField,,//crumb)`:     "",
			`concat(//crumb,":",//crumb)`:              "",
			`concat(//crumbRequestField,":",//field)`:  "",
			`":",//crumb)`:                   "",
			`concat(//crumbRequestField,":"`: "",
			"":                               "",
		} {
			x := s.send(s.request([]string{"GET /crumbIssuer/api/xml?xpath=" + url.QueryEscape(xpath)}))
			if want == "" {
				if x.Code != http.StatusNotFound {
					t.Errorf("xpath %q: %d %q, want 404", xpath, x.Code, x.body())
				}
			} else if x.Code != http.StatusOK || x.body() != want {
				t.Errorf("xpath %q: %d %q, want %q", xpath, x.Code, x.body(), want)
			}
		}
	})
}

// A client gets whole characters as long as the log goes on, and all of it in the end.
func TestProgressiveTextEndsWithAWholeCharacter(t *testing.T) {
	bubble(t, func(s *scenario) {
		s.user = "reader"
		s.send(s.request([]string{"POST /buildByToken/build?job=plain&token=TacoTuesday&delay=0"}))
		start := "0"
		for _, step := range []struct{ print, want string }{
			{"a", "a"}, {"\xf0", ""}, {"\x9f", ""}, {"\x98", ""}, {"\x80b", "😀b"}, {"\xe2\x82", ""}, {"\xac", "€"}, {"\xff", "\xff"}, {"\xc3", ""},
		} {
			s.direct("print plain#1 " + strconv.Quote(step.print))
			x := s.send(s.request([]string{"GET /job/plain/1/logText/progressiveText?start=" + start}))
			if !x.isAnswered() || x.Code != http.StatusOK || !strings.HasSuffix(x.body(), step.want) || start != "0" && x.body() != step.want {
				t.Errorf("after %q: %d %q, want %q", step.print, x.Code, x.body(), step.want)
			}
			start = x.Header().Get("X-Text-Size")
		}
		s.direct("finish plain#1 SUCCESS")
		if x := s.send(s.request([]string{"GET /job/plain/1/logText/progressiveText?start=" + start})); x.body() != "\xc3\r\nFinished: SUCCESS\r\n" {
			t.Errorf("the end: %d %q", x.Code, x.body())
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

// Whatever needs the controller is unavailable without one, and nothing is taken for missing.
func TestWithoutAController(t *testing.T) {
	bubble(t, func(s *scenario) {
		s.user = "foreman"
		s.api.Open = func() (*buildtoken.Controller, error) { return nil, errors.New("no database") }
		for _, request := range []string{
			"GET /api/json", "GET /whoAmI/api/json", "GET /computer/api/json", "GET /queue/api/json", "GET /queue/item/1/", "POST /queue/cancelItem?id=1", "POST /queue/item/1/cancelQueue",
			"GET /job/plain/api/json", "GET /job/plain/1/", "GET /job/plain/1/consoleText", "POST /job/plain/1/stop", "GET /job/polled/scmPollLog", "POST /job/plain/build",
		} {
			if x := s.send(s.request([]string{request})); x.Code != http.StatusServiceUnavailable || x.Header().Get("Retry-After") != "5" {
				t.Errorf("%s: %d %q, Retry-After %q, want 503", request, x.Code, x.body(), x.Header().Get("Retry-After"))
			}
		}
		if x := s.send(s.request([]string{"GET /job/plain/"})); x.Code != http.StatusOK {
			t.Errorf("what needs no controller: %d %s, want 200", x.Code, x.body())
		}
	})
}

// The requests that are refused for what they are, with what makes them so.
func TestRequestsThatAreRefused(t *testing.T) {
	bubble(t, func(s *scenario) {
		s.user = "foreman"
		s.send(s.request([]string{"POST /buildByToken/build?job=plain&token=TacoTuesday&delay=0"}))
		for request, want := range map[string]int{
			"GET /api/json?tree=%zz":                            http.StatusBadRequest,
			"GET /api/json?tree=a;b":                            http.StatusBadRequest,
			"GET /job/polled/scmPollLog/a/b":                    http.StatusNotFound,
			"GET /job/polled/pollingLog/a":                      http.StatusNotFound,
			"GET /queue/item/1/nothing":                         http.StatusNotFound,
			"GET /queue/item":                                   http.StatusNotFound,
			"GET /queue/item/1/api":                             http.StatusNotFound,
			"GET /job/plain/1/api":                              http.StatusNotFound,
			"GET /job/plain/1/logText":                          http.StatusNotFound,
			"GET /job/app/nothing":                              http.StatusNotFound,
			"GET /job":                                          http.StatusNotFound,
			"GET /job/plain/1/logText/progressiveText?start=-1": http.StatusBadRequest,
			"GET /job/plain/1/logText/progressiveText?start=99999999999999": http.StatusOK, // the offset in another log
		} {
			if x := s.send(s.request([]string{request})); x.Code != want {
				t.Errorf("%s: %d %q, want %d", request, x.Code, x.body(), want)
			}
		}
		s.queue.unabortable.Store(true)
		if x := s.send(s.request([]string{"POST /job/plain/1/stop"})); x.Code != http.StatusServiceUnavailable || x.Header().Get("Location") != "" {
			t.Errorf("a build that cannot be stopped now: %d %s, want 503", x.Code, x.body())
		}
	})
}

// Clients that follow a log go on until the build has ended, also if there is no log.
func TestLogsThatAreMissing(t *testing.T) {
	for name, tt := range map[string]struct {
		directives []string
		status     int
		size, more string
	}{
		"of a build that runs":      {[]string{"lose_logs"}, http.StatusOK, "0", "true"},
		"of a build that has ended": {[]string{"finish plain#1 SUCCESS", "lose_logs"}, http.StatusOK, "0", ""},
		"behind a broken disk":      {[]string{"finish plain#1 SUCCESS", "break_logs"}, http.StatusInternalServerError, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scenario) {
				s.user = "reader"
				s.send(s.request([]string{"POST /buildByToken/build?job=plain&token=TacoTuesday&delay=0"}))
				for _, line := range tt.directives {
					s.direct(line)
				}
				for _, path := range []string{"logText/progressiveText", "logText/progressiveHtml"} {
					x := s.send(s.request([]string{"GET /job/plain/1/" + path}))
					if h := x.Header(); !x.isAnswered() || x.Code != tt.status || h.Get("X-Text-Size") != tt.size || h.Get("X-More-Data") != tt.more {
						t.Errorf("%s: %d, X-Text-Size %q, X-More-Data %q, want %d, %q, %q", path, x.Code, h.Get("X-Text-Size"), h.Get("X-More-Data"), tt.status, tt.size, tt.more)
					}
				}
				if x := s.send(s.request([]string{"GET /job/plain/1/consoleText"})); x.Code != tt.status || x.Code == http.StatusOK && x.body() != "" {
					t.Errorf("consoleText: %d %q, want %d", x.Code, x.body(), tt.status)
				}
			})
		})
	}
}

// A folder is listed if anything in it may be read, and only what may be read of it.
func TestListsHideWhatMayNotBeRead(t *testing.T) {
	bubble(t, func(s *scenario) {
		jobs := func(names ...string) (all []definition.Job) {
			for _, name := range names {
				all = append(all, definition.Job{Name: name, Runner: s.runner})
			}
			return all
		}
		site, err := definition.Compile(definition.Spec{
			Access: definition.Access{Read: `job.name.startsWith("open")`},
			Root: definition.Folder{Jobs: jobs("open", "hidden"), Folders: []definition.Folder{
				{Name: "dark", Jobs: jobs("hidden")},
				{Name: "half", Jobs: jobs("open", "hidden"), Folders: []definition.Folder{{Name: "dark", Jobs: jobs("hidden")}}},
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.attach(buildtoken.Config{Sites: []*definition.Site{site}})
		s.api.Definition = site
		for path, want := range map[string][]string{
			"/": {"half", "open"}, "/job/half/": {"open"}, "/job/dark/": nil, "/job/half/job/dark/": nil,
		} {
			x := s.send(s.request([]string{"GET " + path + "api/json?tree=jobs[name]"}))
			var got struct{ Jobs []struct{ Name string } }
			if want == nil {
				if x.Code != http.StatusForbidden {
					t.Errorf("%s: %d %s, want 403", path, x.Code, x.body())
				}
				continue
			}
			var names []string
			if err := json.Unmarshal([]byte(x.body()), &got); err != nil {
				t.Errorf("%s: %d %s: %v", path, x.Code, x.body(), err)
			}
			for _, j := range got.Jobs {
				names = append(names, j.Name)
			}
			if !slices.Equal(names, want) {
				t.Errorf("%s lists %q, want %q", path, names, want)
			}
		}
	})
}

// The right to cancel does not depend on that to read. Without the second, what was cancelled is not shown.
func TestCallersWhoMayOnlyCancel(t *testing.T) {
	bubble(t, func(s *scenario) {
		for range 2 { // the second one waits
			s.send(s.request([]string{"POST /buildByToken/build?job=plain&token=TacoTuesday&delay=0"}))
		}
		s.send(s.request([]string{"POST /buildByToken/build?job=secret&token=Hush&delay=1h"}))
		s.remote = netip.MustParseAddr("10.0.0.77")
		for _, tt := range []struct {
			request string
			status  int
		}{
			{"GET /queue/api/json", http.StatusForbidden},
			{"GET /queue/item/2/", http.StatusForbidden},
			{"GET /job/plain/1/", http.StatusForbidden},
			{"GET /job/plain/1/stop", http.StatusForbidden},
			{"GET /queue/item/2/cancelQueue", http.StatusForbidden},
			{"POST /job/plain/stop", http.StatusForbidden},
			{"POST /job/plain/1/stop/now", http.StatusForbidden},
			{"POST /job/plain/1/api/json", http.StatusForbidden},
			{"POST /job/plain/99/stop", http.StatusNotFound},
			{"POST /queue/cancelItem?id=99", http.StatusNotFound},
			{"POST /queue/cancelItem?id=2", http.StatusNoContent},
			{"POST /queue/cancelItem?id=2", http.StatusConflict},
			{"POST /queue/item/3/cancelQueue", http.StatusFound},
			{"POST /job/plain/1/stop", http.StatusFound},
			{"POST /job/plain/1/stop", http.StatusFound}, // it has ended
		} {
			x := s.send(s.request([]string{tt.request}))
			synctest.Wait()
			if x.Code != tt.status || x.Code < 300 && x.body() != "" {
				t.Errorf("%s: %d %q, want %d", tt.request, x.Code, x.body(), tt.status)
			}
		}
	})
}

// A job shows its last 100 builds, and up to 10,000 if all of them are requested.
func TestBuildsOfAJobAreBounded(t *testing.T) {
	bubble(t, func(s *scenario) {
		s.user = "reader"
		for _, tt := range []struct {
			has    int64
			list   string
			n, end int64
		}{
			{7, "builds", 7, 1},
			{99, "builds", 99, 1},
			{101, "builds", 100, 2},
			{101, "allBuilds", 101, 1},
			{10_001, "allBuilds", 10_000, 2},
		} {
			s.queue.pretended.Store(tt.has)
			x := s.send(s.request([]string{"GET /job/plain/api/json?tree=" + tt.list + "[number]"}))
			if n := int64(strings.Count(x.body(), `"number":`)); n != tt.n || !strings.HasSuffix(x.body(), fmt.Sprintf(`"number":%d}]}`+"\n", tt.end)) {
				t.Errorf("%s of %d: %d with %d builds, want %d down to %d", tt.list, tt.has, x.Code, n, tt.n, tt.end)
			}
		}
		s.queue.pretended.Store(0)
	})
}
