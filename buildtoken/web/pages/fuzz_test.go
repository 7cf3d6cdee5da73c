package pages_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

// marker occurs in everything that only readers may see.
const marker = "xyzzy"

// FuzzPages requests any page with any headers and form, without an account and as a reader.
// Neither may change anything, the former must not see anything, and no answer may be an
// internal error.
func FuzzPages(f *testing.F) {
	for _, seed := range [][4]string{
		{"/", "text/html", "", "Origin"},
		{"/job/" + marker + "/", "text/html;q=0.9,*/*;q=0.8", "delay=5sec&A=1", ""},
		{"/job/" + marker + "/1/console?start=5", "text/html", "", ""},
		{"/job/" + marker + "/lastSuccessfulBuild/", "text/html", "", ""},
		{"/job/" + marker + "/badge/icon.svg", "image/*", "", ""},
		{"/rssAll", "application/atom+xml", "", ""},
		{"/queue/item/1/cancelForm", "text/html", "", "https://evil.example"},
		{"/job/" + marker + "/buildForm", "text/html", "A=%00&A=%ff&delay=-1", "null"},
		{"/job/" + marker + "/1/stopForm", "text/html", "x", ""},
		{"/buildByToken/-/events/job/" + marker + "/1/?start=-5", "text/event-stream", "", ""},
		{"/buildByToken/-/log/job/" + marker + "/1?from=99&to=1", "*/*", "", ""},
		{"/buildByToken/-/assets/../../go.mod", "*/*", "", ""},
		{"/job/%2e%2e/job/%2F/99999999999999999999/", "text/html;q=1e999", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	dir := f.TempDir()
	q, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
	if err != nil {
		f.Fatal(err)
	}
	ctl, err := buildtoken.Open(f.Context(), buildtoken.Options{Queue: q, Dir: dir, SealKey: vault.NewKey()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := ctl.Close(); err != nil {
			f.Error(err)
		}
	})
	shown := at(marker, writes(marker+"\n"), job.Param{Name: "A", Kind: job.KindString, Default: marker})
	shown.Description = marker
	def, err := definition.Compile(jobs(shown))
	if err != nil {
		f.Fatal(err)
	}
	if _, err := ctl.Attach(f.Context(), buildtoken.Config{Sites: []*definition.Site{def}}); err != nil {
		f.Fatal(err)
	}
	trigger := func(delay string) {
		if _, err := ctl.Trigger(f.Context(), def, buildtoken.Trigger{
			Caller: definition.Caller{User: "alice", Post: true}, Action: buildtoken.BuildWithParameters, Job: marker,
			AnyKind: true, UserMayTrigger: true, Delay: &delay, Root: root,
		}); err != nil {
			f.Fatal(err)
		}
	}
	trigger("0")
	for {
		changed := ctl.Watch()
		if b, err := ctl.Build(f.Context(), marker, 1); err == nil && !b.Running() {
			break
		}
		<-changed
	}
	trigger("24h")
	changed := ctl.Watch()
	stopping := make(chan struct{}) // streams end at once
	close(stopping)
	p := pagesOf(ctl, def, nil)
	p.site.Done = stopping
	f.Fuzz(func(t *testing.T, target, accept, form, origin string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		for _, user := range []string{"", "rita"} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				r := httptest.NewRequestWithContext(t.Context(), method, "/", strings.NewReader(form))
				r.URL = u
				r.Header = http.Header{
					"Accept": {accept}, "Origin": {origin}, "Sec-Fetch-Site": {"same-origin"}, "Last-Event-Id": {form}, "If-None-Match": {accept},
					"Content-Type": {"application/x-www-form-urlencoded"},
				}
				if user != "" {
					r.SetBasicAuth(user, "secret")
				}
				w := httptest.NewRecorder()
				if !p.Serve(w, r) {
					continue
				}
				if w.Code >= http.StatusInternalServerError {
					t.Fatalf("%s %s as %q: %d %s", method, target, user, w.Code, w.Body)
				}
				// The answer may contain the address.
				if user == "" && !strings.Contains(target, marker) && strings.Contains(w.Body.String(), marker) {
					t.Fatalf("%s %s without an account shows: %s", method, target, w.Body)
				}
				if user == "" && w.Code == http.StatusOK && !strings.Contains(target, "assets") {
					t.Fatalf("%s %s: without an account is answered %d %s", method, target, w.Code, w.Body)
				}
			}
		}
		select {
		case <-changed:
			t.Fatalf("%s changed something", target)
		default:
		}
	})
}
