package web_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/hook"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/web"
	"github.com/buildtoken/buildtoken/buildtoken/web/hooks"
	"github.com/buildtoken/buildtoken/buildtoken/web/pages"
)

// siteOf returns a site that sees a client, and shares its limits.
func siteOf(client string, shared *web.InFlight) *web.Site {
	return &web.Site{InFlight: shared, Remote: func(*http.Request) netip.Addr { return netip.MustParseAddr(client) }}
}

// holdBodies makes a client hold n bodies of 1 MiB in memory until the end of the test.
func holdBodies(t *testing.T, client string, shared *web.InFlight, n int) {
	t.Helper()
	text := "A=" + strings.Repeat("x", web.MaxBody-2)
	for range n {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(text))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		q := siteOf(client, shared).Request(httptest.NewRecorder(), r)
		t.Cleanup(q.Begin().End)
		f, err := q.ReadForm(web.FormOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(f.Close)
	}
}

// stuck is a client that does not read.
type stuck struct {
	*httptest.ResponseRecorder

	waits, release chan struct{}
}

func (s stuck) Write(p []byte) (int, error) {
	s.waits <- struct{}{}
	<-s.release
	return s.ResponseRecorder.Write(p)
}

// A client that reads nothing keeps large answers in memory. One client cannot fill it, and all of
// them together cannot either.
func TestLargeAnswersHaveOneLimit(t *testing.T) {
	const each = 64 // answers of 1 MiB that one client may have
	shared := new(web.InFlight)
	large := make([]byte, 1<<20)
	answer := func(method, client string, w http.ResponseWriter, body []byte) {
		q := siteOf(client, shared).Request(w, httptest.NewRequest(method, "/", nil))
		defer q.Begin().End()
		q.WriteBytes(http.StatusOK, web.HTMLText, body)
	}
	status := func(method, client string, body []byte) int {
		w := httptest.NewRecorder()
		answer(method, client, w, body)
		if refused := w.Code != http.StatusOK; refused && w.Body.Len() >= len(body) {
			t.Errorf("an answer that was refused with %d has %d bytes", w.Code, w.Body.Len())
		}
		return w.Code
	}
	waits, release, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	hang := func(client string) {
		go func() {
			answer(http.MethodGet, client, stuck{httptest.NewRecorder(), waits, release}, large)
			ended <- struct{}{}
		}()
		<-waits
	}
	for i := range each { // from a /64, which is one client
		hang(fmt.Sprintf("2001:db8::%x", i))
	}
	if got := status(http.MethodGet, "2001:db8::ffff", large); got != http.StatusServiceUnavailable {
		t.Errorf("one large answer more of the client: got %d, want 503", got)
	}
	if got := status(http.MethodGet, "2001:db8::ffff", large[:1000]); got != http.StatusOK {
		t.Errorf("a small answer of the client: got %d, want 200", got)
	}
	if got := status(http.MethodHead, "2001:db8::ffff", large); got != http.StatusOK {
		t.Errorf("an answer without its body: got %d, want 200", got)
	}
	if got := status(http.MethodGet, "192.0.2.1", make([]byte, 65<<20)); got != http.StatusOK {
		t.Errorf("a very large answer of another client: got %d, want 200", got)
	}
	for range each {
		hang("192.0.2.1")
	}
	if got := status(http.MethodGet, "192.0.2.2", large); got != http.StatusServiceUnavailable {
		t.Errorf("one large answer more of a third client: got %d, want 503", got)
	}
	go func() { // the answers are written in pieces
		for range waits {
		}
	}()
	close(release)
	for range 2 * each {
		<-ended
	}
	close(waits)
	if got := status(http.MethodGet, "192.0.2.2", large); got != http.StatusOK {
		t.Errorf("after the others have ended: got %d, want 200", got)
	}
}

// Bodies are parsed while there is memory for what they become. One that is larger than that is parsed alone.
func TestParsingIsBounded(t *testing.T) {
	const largest = 32 << 20
	for name, tt := range map[string]struct {
		held      []int64
		size      int64
		hasToWait bool
	}{
		"nothing else":                   {nil, largest, false},
		"a very large one alone":         {nil, 100 << 20, false},
		"half of it beside half":         {[]int64{largest / 2}, largest / 2, false},
		"a byte more than there is":      {[]int64{largest / 2}, largest/2 + 1, true},
		"a byte beside a very large one": {[]int64{100 << 20}, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := siteOf("192.0.2.1", new(web.InFlight)).Request(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
				for _, size := range tt.held {
					done, err := q.ReserveParse(t.Context(), size)
					if err != nil {
						t.Fatal(err)
					}
					time.AfterFunc(time.Minute, done)
				}
				began := time.Now()
				gone, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				done, err := q.ReserveParse(gone, tt.size)
				if tt.hasToWait {
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("ReserveParse: %v, want %v", err, context.DeadlineExceeded)
					}
					done, err = q.ReserveParse(t.Context(), tt.size) // what was given up takes nothing
				}
				if err != nil {
					t.Fatal(err)
				}
				done()
				if waited := time.Since(began); (waited == time.Minute) != tt.hasToWait {
					t.Errorf("waited for %v, want %v", waited, tt.hasToWait)
				}
			})
		})
	}
}

// Each stream takes memory and an open file, and a client of HTTP/2 can have hundreds over one
// connection.
func TestStreamsHaveOneLimit(t *testing.T) {
	const each = 2048 // streams that one client may have
	shared := new(web.InFlight)
	var all []func()
	enter := func(client string) error {
		leave, err := siteOf(client, shared).Request(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)).EnterStream()
		if err == nil {
			all = append(all, leave)
		}
		return err
	}
	for _, clients := range [][3]string{{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, {"192.0.2.3", "192.0.2.4", "192.0.2.5"}} {
		for _, client := range clients[:2] {
			for n := range each {
				if err := enter(client); err != nil {
					t.Fatalf("stream %d of %s: %v", n, client, err)
				}
			}
			if err := enter(client); web.VerdictOf(err).Status != http.StatusServiceUnavailable {
				t.Errorf("one stream more of %s: %v, want 503", client, err)
			}
		}
		for range each + 1 { // that it was refused does not count against it, or against others, later
			if err := enter(clients[2]); web.VerdictOf(err).Status != http.StatusServiceUnavailable {
				t.Fatalf("a stream of a third client: %v, want 503", err)
			}
		}
		for _, leave := range all {
			leave()
		}
		all = nil
		if n := shared.Clients(); n != 0 {
			t.Errorf("%d clients are on record after their streams have ended, want none", n)
		}
	}
}

// TestNoRequestKeepsWhatItHeld sends requests with bodies, and for large answers, to all handlers. Most are refused, at
// different points. After each of them, none holds anything.
func TestNoRequestKeepsWhatItHeld(t *testing.T) {
	bubble(t, func(s *scenario) {
		secret, err := hook.ParseSecret(event.GitHub, "TacoTuesday")
		if err != nil {
			s.t.Fatal(err)
		}
		long, err := definition.Compile(definition.Spec{
			Access: definition.Access{Read: "true", Build: `user == "builder"`, Cancel: `user == "builder"`},
			Root: definition.Folder{
				Jobs: []definition.Job{{
					Name: "plain", Runner: s.runner, Description: strings.Repeat("long ", 100_000), Settings: job.Settings{QuietPeriod: new(time.Hour)},
					Tokens: []definition.Token{{Digest: token.NewSecret("TacoTuesday").Digest(), Grants: token.Trigger | token.Status | token.Log | token.Cancel}},
					On:     []definition.OnSpec{{Webhook: "github"}},
				}},
				Webhooks: []definition.WebhookSpec{{Config: hook.Config{Kind: event.GitHub, Secrets: []hook.Secret{secret}}}},
			},
		})
		if err != nil {
			s.t.Fatal(err)
		}
		s.attach(buildtoken.Config{Sites: []*definition.Site{long}})
		s.api.Definition = long
		var shown pages.Pages
		serve := func(w http.ResponseWriter, r *http.Request) bool {
			return hooks.Serve(s.api.Request(w, r)) || shown.Serve(s.api.Request(w, r)) || s.api.Serve(w, r)
		}
		const form = "application/x-www-form-urlencoded"
		for _, user := range []string{"", "builder"} {
			for _, secret := range []string{"", "&token=wrong", "&token=TacoTuesday"} {
				for _, target := range []string{
					"/buildByToken/build", "/buildByToken/buildWithParameters", "/buildByToken/polling", "/buildByToken/status", "/buildByToken/log",
					"/buildByToken/cancel", "/buildByToken/webhook", "/buildByToken/webhook?job=plain", "/buildByToken/none", "/job/plain/build", "/job/plain/buildWithParameters", "/job/none/build",
					"/job/plain/polling", "/job/plain/stop", "/job/plain/9/stop", "/queue/cancelItem", "/job/plain/api/json", "/api/json?tree=jobs[description]",
					"/job/plain/buildForm", "/job/none/buildForm", "/job/plain/cancelAllForm", "/queue/item/1/cancelForm", "/job/plain/9/stopForm", "/job/plain/", "/",
				} {
					for _, body := range []string{"job=plain&item=9999&id=9999" + secret, "job=plain&%zz" + secret, "upto=x&delay=soon" + secret} {
						s.user, s.remote = user, s.remote.Next()
						more := "&more=" + strings.Repeat("x", 1000)
						r := httptest.NewRequestWithContext(s.t.Context(), http.MethodPost, target, strings.NewReader(body+more))
						r.Header.Set("Content-Type", form)
						r.Header.Set("X-GitHub-Event", "push")
						r.Header.Set("X-Hub-Signature-256", "sha256="+strings.Repeat("0", 64))
						w := httptest.NewRecorder()
						serve(w, r)
						if held := s.inFlight.Used(); held != 0 {
							s.t.Fatalf("POST %s of %q with %q, answered with %d, still holds %d", target, user, body, w.Code, held)
						}
					}
				}
			}
		}
	})
}
