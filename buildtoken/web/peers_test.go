package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Defects that similar programs were found to have, and this one must not have. Others of this
// kind are in TestCheckTakesTheSameTime of package token, TestRejectedTokenIsNotLogged of
// package buildtoken, and TestTimeoutEndsWhatTheShellStarted of cmd/caddy.

// ask sends a request with a header, each time from another address, so that the limit on wrong
// tokens does not answer instead.
func (s *scenario) ask(method, target string, header http.Header) *exchange {
	s.t.Helper()
	s.remote = s.remote.Next()
	r := httptest.NewRequestWithContext(s.t.Context(), method, target, nil)
	for name, values := range header {
		r.Header[name] = values
	}
	return s.send(r)
}

// queued returns all items that are or were queued, by their IDs.
func (s *scenario) queued() int {
	s.t.Helper()
	n := 0
	for id := int64(1); ; id++ {
		if _, err := s.queue.Queue.Entry(s.t.Context(), time.Now(), id); err != nil {
			return n
		}
		n++
	}
}

// TestMissingTokenIsNoWayIn leaves out the token in all ways at all endpoints that need one. A
// check that is skipped because there is no token to check would admit every caller.
func TestMissingTokenIsNoWayIn(t *testing.T) {
	bubble(t, func(s *scenario) {
		if x := s.ask(http.MethodPost, "/buildByToken/build?job=plain&token=TacoTuesday&delay=1h", nil); x.Code != http.StatusCreated {
			t.Fatalf("trigger: got %d, want 201", x.Code)
		}
		for _, endpoint := range []string{
			"/buildByToken/build?job=plain", "/buildByToken/buildWithParameters?job=params", "/buildByToken/polling?job=polled",
			"/buildByToken/build?job=app/deploy", "/buildByToken/build?job=notoken", "/job/plain/build?", "/job/params/buildWithParameters?", "/job/notoken/build?",
			"/buildByToken/status?job=plain&item=1", "/buildByToken/log?job=plain&item=1", "/buildByToken/cancel?job=plain&item=1",
		} {
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodHead, http.MethodPut} {
				for name, without := range map[string]struct {
					query  string
					header http.Header
				}{
					"nothing":                  {},
					"an empty value":           {query: "&token="},
					"a name without a value":   {query: "&token"},
					"another name":             {query: "&Token=TacoTuesday&TOKEN=TacoTuesday"},
					"an empty one in front":    {query: "&token=&token=TacoTuesday"},
					"an empty bearer":          {header: http.Header{"Authorization": {"Bearer "}}},
					"another scheme":           {header: http.Header{"Authorization": {"Token TacoTuesday"}}},
					"an account's credentials": {header: http.Header{"Authorization": {"Basic VGFjb1R1ZXNkYXk6"}}},
					"an empty header of ours":  {header: http.Header{"X-Build-Token": {""}}},
					"an empty header, twice":   {header: http.Header{"X-Gitlab-Token": {"", "TacoTuesday"}}},
					"a signature":              {header: http.Header{"X-Hub-Signature-256": {"sha256="}}},
				} {
					x := s.ask(method, endpoint+without.query, without.header)
					if x.Code < 400 || !x.hasEnded() {
						t.Errorf("%s %s with %s: got %d %q, want it refused", method, endpoint, name, x.Code, x.body())
					}
				}
			}
		}
		if got := s.queued(); got != 1 {
			t.Errorf("got %d items, want only that of the trigger with a token", got)
		}
	})
}

// TestNoLogIsReadByNumber tries the numbers of items and builds. A caller without the right to
// read gets the same answer whether they exist or not.
func TestNoLogIsReadByNumber(t *testing.T) {
	bubble(t, func(s *scenario) {
		if x := s.ask(http.MethodPost, "/buildByToken/build?job=secret&token=Hush&delay=0", nil); x.Code != http.StatusCreated {
			t.Fatalf("trigger: got %d, want 201", x.Code)
		}
		own := s.runner.running["secret#1"]
		if own == nil {
			t.Fatal("the build does not run")
		}
		if _, err := own.log.Write([]byte("what only some may read\n")); err != nil {
			t.Fatal(err)
		}
		for _, number := range []string{"1", "2", "-1", "01", "1e0", "lastBuild"} {
			for _, target := range []string{
				"/buildByToken/log?job=plain&token=LookAtMe&item=%s", "/buildByToken/status?job=plain&token=LookAtMe&item=%s",
				"/buildByToken/log?job=secret&token=LookAtMe&item=%s", "/buildByToken/log?job=secret&item=%s", "/buildByToken/log?job=plain/../secret&token=LookAtMe&item=%s",
				"/job/secret/%s/consoleText", "/job/secret/%s/logText/progressiveText", "/job/secret/%s/api/json", "/job/plain/%s/consoleText", "/queue/item/%s/api/json",
			} {
				for _, user := range []string{"", "reader"} {
					s.user = user
					x, nothing := s.ask(http.MethodGet, fmt.Sprintf(target, number), nil), s.ask(http.MethodGet, fmt.Sprintf(target, "999"), nil)
					if x.Code != http.StatusForbidden && x.Code != http.StatusNotFound || strings.Contains(x.body(), "what only some may read") || !x.hasEnded() {
						t.Errorf("GET "+target+" as %q: got %d %q, want 403 or 404", number, user, x.Code, x.body())
					}
					if x.Code != nothing.Code || x.body() != nothing.body() {
						t.Errorf("GET "+target+" as %q: got %d %q, but for what does not exist %d %q", number, user, x.Code, x.body(), nothing.Code, nothing.body())
					}
				}
			}
		}
		s.user = ""
		if x := s.ask(http.MethodGet, "/buildByToken/log?job=secret&token=Hush&item=1", nil); !strings.Contains(x.body(), "what only some may read") {
			t.Errorf("the log with its token: got %d %q", x.Code, x.body())
		} else {
			s.runner.finishAll()
			<-x.ended
		}
	})
}

// TestSuccessMeansThatThereIsAnItem makes triggers fail in every way. An answer has a status of
// 2xx or 3xx if and only if there is an item.
func TestSuccessMeansThatThereIsAnItem(t *testing.T) {
	bubble(t, func(s *scenario) {
		on := func(flag interface{ Store(bool) }) func() func() {
			return func() func() { flag.Store(true); return func() { flag.Store(false) } }
		}
		for _, tt := range []struct {
			name, target string
			cause        func() (mend func())
		}{
			{"the queue is not available", "/buildByToken/build?job=slow&token=TacoTuesday&cause=1", on(&s.queue.diskFull)},
			{"the queue fails in an unknown way", "/buildByToken/build?job=slow&token=TacoTuesday&cause=2", on(&s.queue.broken)},
			{"the queue is not available for an upload's item", "/buildByToken/buildWithParameters?job=upload&token=TacoTuesday&A=1", on(&s.queue.diskFull)},
			{"nothing is configured any more", "/buildByToken/build?job=slow&token=TacoTuesday", func() func() {
				s.detach()
				return func() { s.attach(buildtoken.Config{Sites: []*definition.Site{s.api.Definition}}) }
			}},
			{"there is no engine", "/buildByToken/build?job=slow&token=TacoTuesday", func() func() {
				open := s.api.Open
				s.api.Open = func() (*buildtoken.Controller, error) { return nil, queue.ErrClosed }
				return func() { s.api.Open = open }
			}},
			{"the job is disabled", "/buildByToken/build?job=off&token=TacoTuesday", nil},
			{"a rule fails", "/buildByToken/build?job=failing+rule&token=TacoTuesday", nil},
			{"a value is none", "/buildByToken/buildWithParameters?job=params&token=TacoTuesday&COLOR=blue", nil},
			{"a job that cannot be polled", "/buildByToken/polling?job=slow&token=TacoTuesday", nil},
		} {
			for _, accept := range []string{"text/plain", "application/json"} {
				mend := func() {}
				if tt.cause != nil {
					mend = tt.cause()
				}
				before := s.queued()
				x := s.ask(http.MethodPost, tt.target, http.Header{"Accept": {accept}})
				if x.Code < 400 || x.Header().Get("Location") != "" {
					t.Errorf("%s: got %d, Location %q, want a refusal", tt.name, x.Code, x.Header().Get("Location"))
				}
				mend()
				if after := s.queued(); after != before {
					t.Errorf("%s: an item was queued for what was answered %d", tt.name, x.Code)
				}
			}
		}
		for n, want := range []int{http.StatusCreated, http.StatusSeeOther, http.StatusSeeOther} {
			x := s.ask(http.MethodPost, "/buildByToken/build?job=slow&token=TacoTuesday", nil)
			if x.Code != want {
				t.Errorf("trigger %d: got %d, want %d", n+1, x.Code, want)
			}
			var id int64
			if _, err := fmt.Sscanf(x.Header().Get("Location"), root+"queue/item/%d/", &id); err != nil {
				t.Fatalf("Location %q: %v", x.Header().Get("Location"), err)
			}
			entry, err := s.queue.Queue.Entry(s.t.Context(), time.Now(), id)
			if err != nil || entry.Item.Triggers() != n+1 {
				t.Errorf("item %d: got %d triggers, %v, want %d", id, entry.Item.Triggers(), err, n+1)
			}
		}
	})
}
