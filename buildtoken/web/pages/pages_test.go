package pages_test

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// tree is a site with folders, of which only alice can see the secret one.
func tree() definition.Spec {
	spec := jobs(at("hello", writes("hello\n")))
	disabled := at("old", writes(""))
	disabled.Disabled, disabled.Badge = true, true
	badged := at("badged", fails(runner.Failure, "exit status 1"))
	badged.Badge = true
	spec.Root.Folders = []definition.Folder{
		{Name: "app", Jobs: []definition.Job{at("deploy", hangs("deploying\n")), disabled}},
		{Name: "secret", Jobs: []definition.Job{at("plan", writes("plans\n")), badged}},
	}
	spec.Access.Read = `user == "alice" || (user == "rita" && !job.full_name.startsWith("secret"))`
	return spec
}

var update = flag.Bool("update", false, "write the table in docs/pages.md anew")

func TestServeLeavesTheRestAlone(t *testing.T) {
	const html, any, json = "text/html,*/*;q=0.8", "*/*", "application/json"
	onSite(t, tree(), func(s *site) {
		for _, tt := range []struct {
			name, method, path, accept string
			want                       bool
		}{
			{"a browser at the root", "GET", "/", html, true},
			{"a program at the root", "GET", "/", any, true},
			{"a client that says nothing", "GET", "/job/hello/", "", false},
			{"a browser at a job", "GET", "/job/hello/", html, true},
			{"a browser that leaves the slash out", "GET", "/job/hello", html, true},
			{"a browser at a folder", "GET", "/job/app/", html, true},
			{"a browser at what is no job", "GET", "/job/nothing/", html, true},
			{"a program at a job", "GET", "/job/hello/", json, false},
			{"a program at the queue", "GET", "/queue/", json, false},
			{"a program at the executors", "GET", "/computer/", json, false},
			{"HTML and JSON alike", "GET", "/job/hello/", "text/html,application/json", true},
			{"JSON rather than HTML", "GET", "/job/hello/", "text/html;q=0.5,application/json", false},
			{"HTML that is not wanted", "GET", "/job/hello/", "text/html;q=0", false},
			{"HTML with a weight that is none", "GET", "/job/hello/", "text/html;q=x", false},
			{"the remote API in a browser", "GET", "/job/hello/api/json", html, false},
			{"the log as text in a browser", "GET", "/job/hello/1/consoleText", html, false},
			{"a trigger in a browser", "GET", "/buildByToken/build", html, false},
			{"a build", "GET", "/job/hello/1/", html, true},
			{"a number that we do not write", "GET", "/job/hello/01/", html, false},
			{"a word instead of a number", "GET", "/job/hello/x/", html, false},
			{"a console", "GET", "/job/hello/1/console", html, true},
			{"a permalink", "GET", "/job/hello/lastBuild/", html, true},
			{"the queue", "GET", "/queue/", html, true},
			{"the remote API's cancelling", "POST", "/queue/cancelItem", html, false},
			{"an item", "GET", "/queue/item/1/", html, true},
			{"executors", "GET", "/computer/", html, true},
			{"a picture, whatever is accepted", "GET", "/job/hello/badge/icon.svg", "image/*", true},
			{"a feed, whatever is accepted", "GET", "/rssAll", any, true},
			{"a form", "POST", "/job/hello/buildForm", html, true},
			{"a form of the remote API", "POST", "/job/hello/build", html, false},
			{"a form at the root", "POST", "/", html, false},
			{"a form of an item", "POST", "/queue/item/1/cancelForm", html, true},
			{"a form of an item with a word for its number", "POST", "/queue/item/one/cancelForm", html, false},
			{"a form of something else in the queue", "POST", "/queue/other/1/cancelForm", html, false},
			{"a form of an item outside of the queue", "POST", "/other/item/1/cancelForm", html, false},
			{"another form of an item", "POST", "/queue/item/1/otherForm", html, false},
			{"a form below that of an item", "POST", "/queue/item/1/cancelForm/x", html, false},
			{"a form of a build", "POST", "/job/hello/1/stopForm", html, true},
			{"a form of a build with a word for its number", "POST", "/job/hello/one/stopForm", html, false},
			{"another form of a build", "POST", "/job/hello/1/otherForm", html, false},
			{"a form below that of a build", "POST", "/job/hello/1/stopForm/x", html, false},
			{"another path of a badge", "GET", "/job/hello/badge/icon.png", html, false},
			{"something below a console", "GET", "/job/hello/1/console/x", html, false},
			{"something else of a build", "GET", "/job/hello/1/other", html, false},
			{"something else in the queue", "GET", "/queue/other/1/", html, false},
			{"an item outside of the queue", "GET", "/other/item/1/", html, false},
			{"an item with a word for its number", "GET", "/queue/item/one/", html, false},
			{"something below an item", "GET", "/queue/item/1/x/", html, false},
			{"a path of dots", "GET", "/job/hello/./", html, false},
			{"a path like our own", "GET", "/job/-/assets/x.css", any, false},
			{"a path in the queue like our own", "GET", "/queue/x/assets/x.css", any, false},
			{"an escaped slash makes no folder", "GET", "/job/app%2Fdeploy/", html, false},
			{"another site's page", "GET", "/about/", html, false},
			{"an asset", "GET", "/queue/-/assets/x.css", any, true},
			{"an asset below", "GET", "/queue/-/assets/x/y", any, false},
			{"a part of a log", "GET", "/queue/-/log/job/hello/1", any, true},
			{"a part of a log without its number", "GET", "/queue/-/log/job/hello/", any, false},
			{"a part of a log with a word for its number", "GET", "/queue/-/log/job/hello/one", any, false},
			{"a part of a log without its job", "GET", "/queue/-/log/1", any, false},
			{"a part of a log below it", "GET", "/queue/-/log/job/hello/1/x", any, false},
			{"something else of ours", "GET", "/queue/-/other/x", any, false},
			{"events of what is no page", "GET", "/queue/-/events/about", any, false},
		} {
			r := httptest.NewRequest(tt.method, tt.path, nil)
			r.SetBasicAuth("rita", "secret")
			if tt.accept != "" {
				r.Header.Set("Accept", tt.accept)
			}
			if got := s.pages.Serve(httptest.NewRecorder(), r); got != tt.want {
				s.Errorf("%s: Serve(%s %s, Accept: %s) = %v, want %v", tt.name, tt.method, tt.path, tt.accept, got, tt.want)
			}
		}
	})
}

// inline matches what the content security policy forbids.
func inline() *regexp.Regexp {
	return regexp.MustCompile(`(?i)<script(?:\s[^>]*)?>[^<]|<style|\sstyle=|\son[a-z]+=|javascript:`)
}

// documentation is the only link from pages to another site.
const documentation = "https://github.com/buildtoken/buildtoken/tree/main/docs"

func TestEveryPageIsStrict(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		s.trigger("hello", nil)
		s.trigger("app/deploy", nil)
		queued := s.trigger("app/deploy", nil)
		if queued != 3 {
			s.Fatalf("item %d is queued, want 3", queued)
		}
		for _, tt := range []struct {
			path, user string
			status     int
		}{
			{"/", "alice", 200},
			{"/job/app/", "alice", 200},
			{"/job/hello/", "alice", 200},
			{"/job/app/job/old/", "alice", 200},
			{"/job/hello/1/", "alice", 200},
			{"/job/hello/1/console", "alice", 200},
			{"/job/app/job/deploy/1/", "alice", 200},
			{"/queue/", "alice", 200},
			{"/queue/item/3/", "alice", 200},
			{"/computer/", "alice", 200},
			{"/job/hello/99/", "alice", 404},
			{"/job/nothing/", "alice", 404},
			{"/queue/item/99/", "alice", 404},
			{"/job/hello/", "", 403},
			{"/queue/", "", 403},
		} {
			w := s.get(tt.path, tt.user)
			body := w.Body.String()
			if w.Code != tt.status {
				s.Errorf("GET %s as %q = %d, want %d", tt.path, tt.user, w.Code, tt.status)
			}
			for name, want := range map[string]string{
				"Content-Type":            "text/html; charset=utf-8",
				"Cache-Control":           "no-store",
				"Referrer-Policy":         "same-origin", // see TestFormsWorkOnAnyHost,
				"X-Content-Type-Options":  "nosniff",
				"Vary":                    "Accept",
				"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
			} {
				if got := w.Header().Get(name); got != want {
					s.Errorf("GET %s: %s = %q, want %q", tt.path, name, got, want)
				}
			}
			if bad := inline().FindString(body); bad != "" {
				s.Errorf("GET %s holds %q, which the policy forbids", tt.path, bad)
			}
			for _, must := range []string{`<html lang="en">`, `<main id="main"`, `href="#main"`, "<title>", `aria-live="polite"`} {
				if !strings.Contains(body, must) {
					s.Errorf("GET %s does not hold %s", tt.path, must)
				}
			}
			if n := strings.Count(body, "<h1"); n != 1 {
				s.Errorf("GET %s has %d first headings", tt.path, n)
			}
			for _, link := range regexp.MustCompile(`(?:href|src|action)="([^"]*)"`).FindAllStringSubmatch(body, -1) {
				if !strings.HasPrefix(link[1], "/ci/") && !strings.HasPrefix(link[1], "?") && !strings.HasPrefix(link[1], "#") && link[1] != documentation {
					s.Errorf("GET %s links to %q, which is not below the root", tt.path, link[1])
				}
			}
		}
	})
}

func TestHeadIsLikeGet(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		for _, path := range []string{"/", "/job/hello/", "/rssAll", "/job/app/job/old/badge/icon"} {
			w := s.do(request(http.MethodHead, path, "alice", nil))
			if w.Code != http.StatusOK || w.Body.Len() != 0 || w.Header().Get("Content-Length") == "0" {
				s.Errorf("HEAD %s = %d with %d bytes, Content-Length %s", path, w.Code, w.Body.Len(), w.Header().Get("Content-Length"))
			}
		}
	})
}

// TestAccess requests every address as alice, who has all rights, as rita, who can read what is
// not below secret, as blind, who can only start builds, and without an account. It generates
// the table in docs/pages.md; -update writes it.
func TestAccess(t *testing.T) {
	var table strings.Builder
	fmt.Fprintf(&table, "%-52s %5s %5s %5s %6s\n", "", "alice", "rita", "blind", "nobody")
	onSite(t, tree(), func(s *site) {
		s.trigger("secret/plan", nil)
		s.trigger("app/deploy", nil)
		type statuses struct{ alice, rita, blind, nobody int }
		const next = 0 // passed to the next handler
		for _, tt := range []struct {
			method, path string
			want         statuses
		}{
			{"GET", "/", statuses{200, 200, next, next}},
			{"GET", "/queue/", statuses{200, 200, 403, 403}},
			{"GET", "/computer/", statuses{200, 200, next, next}},
			{"GET", "/rssAll", statuses{200, 200, next, next}},
			{"GET", "/job/hello/", statuses{200, 200, 403, 403}},
			{"GET", "/job/app/", statuses{200, 200, 403, 403}},
			{"GET", "/job/secret/", statuses{200, 403, 403, 403}},
			{"GET", "/job/secret/rssAll", statuses{200, 403, 403, 403}},
			{"GET", "/job/nothing/rssAll", statuses{404, 404, 403, 403}},
			{"GET", "/job/secret/job/plan/", statuses{200, 403, 403, 403}},
			{"GET", "/job/secret/job/nothing/", statuses{404, 403, 403, 403}},
			{"GET", "/job/secret/job/plan/1/", statuses{200, 403, 403, 403}},
			{"GET", "/job/secret/job/plan/99/", statuses{404, 403, 403, 403}},
			{"GET", "/job/secret/job/nothing/1/", statuses{404, 403, 403, 403}},
			{"HEAD", "/queue/-/events/", statuses{200, 200, 403, 403}},
			{"GET", "/job/secret/job/plan/1/console", statuses{200, 403, 403, 403}},
			{"GET", "/job/secret/job/plan/lastBuild/", statuses{303, 403, 403, 403}},
			{"GET", "/job/secret/job/nothing/lastBuild/", statuses{404, 403, 403, 403}},
			{"GET", "/job/secret/job/plan/lastFailedBuild/", statuses{404, 403, 403, 403}},
			{"GET", "/job/secret/job/plan/rssAll", statuses{200, 403, 403, 403}},
			{"GET", "/job/secret/job/plan/badge/icon.svg", statuses{200, 403, 403, 403}},
			{"GET", "/job/secret/job/nothing/badge/icon.svg", statuses{404, 403, 403, 403}},
			{"GET", "/job/secret/job/badged/badge/icon.svg", statuses{200, 200, 200, 200}},
			{"GET", "/queue/-/log/job/secret/job/plan/1", statuses{200, 403, 403, 403}},
			{"GET", "/queue/-/log/job/secret/job/plan/9", statuses{404, 403, 403, 403}},
			{"GET", "/queue/-/log/job/secret/job/nothing/1", statuses{404, 403, 403, 403}},
			{"GET", "/queue/-/events/job/secret/job/nothing/", statuses{404, 403, 403, 403}},
			{"GET", "/queue/item/1/", statuses{303, 404, 403, 403}},
			{"GET", "/queue/item/99/", statuses{404, 404, 403, 403}},
			{"POST", "/job/secret/job/nothing/buildForm", statuses{404, 403, 404, 403}},
			{"POST", "/job/app/job/old/buildForm", statuses{400, 403, 400, 403}},
			{"POST", "/job/secret/job/plan/1/stopForm", statuses{303, 403, 403, 403}},
			{"POST", "/job/secret/job/plan/99/stopForm", statuses{404, 403, 403, 403}},
			{"POST", "/job/secret/job/nothing/1/stopForm", statuses{404, 403, 403, 403}},
			{"POST", "/queue/item/1/cancelForm", statuses{303, 404, 403, 403}},
			{"POST", "/job/app/job/deploy/buildForm", statuses{303, 403, 303, 403}},
			{"POST", "/job/secret/job/plan/buildForm", statuses{303, 403, 303, 403}},
			{"GET", "/job/app/rssAll", statuses{200, 200, 403, 403}},
			{"GET", "/job/app/job/deploy/1/", statuses{200, 200, 403, 403}},
			{"GET", "/job/app/job/deploy/lastBuild/console", statuses{303, 303, 403, 403}},
			{"HEAD", "/queue/-/events/queue/", statuses{200, 200, 403, 403}},
			{"HEAD", "/queue/-/events/computer/", statuses{200, 200, 403, 403}},
			{"HEAD", "/queue/-/events/queue/item/1/", statuses{200, 404, 403, 403}},
			{"HEAD", "/queue/-/events/job/app/", statuses{200, 200, 403, 403}},
			{"HEAD", "/queue/-/events/job/secret/job/plan/1/", statuses{200, 403, 403, 403}},
			{"GET", "/queue/-/assets/nothing.css", statuses{404, 404, 404, 404}},
			{"POST", "/queue/item/99/cancelForm", statuses{404, 404, 403, 403}},
			{"GET", "/job/secret/job/plan/cancelAll", statuses{200, 403, 403, 403}},
			{"GET", "/job/secret/job/nothing/cancelAll", statuses{404, 403, 403, 403}},
			{"POST", "/job/secret/job/plan/cancelAllForm", statuses{400, 403, 403, 403}},
			{"GET", "/queue/item/1/cancelForm", statuses{303, 303, 303, 303}},
			{"GET", "/job/hello/buildForm", statuses{303, 303, 303, 303}},
			{"PUT", "/job/hello/buildForm", statuses{405, 405, 405, 405}},
			{"POST", "/job/hello/badge/icon.svg", statuses{405, 405, 405, 405}},
		} {
			word := func(status int) string {
				if status == next {
					return "next"
				}
				return strconv.Itoa(status)
			}
			fmt.Fprintf(&table, "%-52s %5s %5s %5s %6s\n", tt.method+" "+tt.path,
				word(tt.want.alice), word(tt.want.rita), word(tt.want.blind), word(tt.want.nobody))
			for user, want := range map[string]int{"alice": tt.want.alice, "rita": tt.want.rita, "blind": tt.want.blind, "": tt.want.nobody} {
				w := httptest.NewRecorder()
				if !s.pages.Serve(w, request(tt.method, tt.path, user, nil)) {
					w.Code = next
				}
				if got := w.Code; got != want {
					s.Errorf("%s %s as %q = %d, want %d", tt.method, tt.path, user, got, want)
				}
			}
		}
	})
	documented(t, table.String())
}

// documented compares the table with that of the document.
func documented(t *testing.T, table string) {
	t.Helper()
	const begin, end = "<!-- access to pages: begin (generated; do not edit) -->\n```text\n", "```\n<!-- access to pages: end -->\n"
	path := filepath.Join("..", "..", "..", "docs", "pages.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, okBegin := strings.Cut(string(text), begin)
	got, after, okEnd := strings.Cut(rest, end)
	switch {
	case !okBegin || !okEnd:
		t.Fatalf("%s has no place for the table", path)
	case got == table:
	case *update:
		if err := os.WriteFile(path, []byte(before+begin+table+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s has a table that differs from this test; go test ./buildtoken/web/pages -run TestAccess -update writes it", path)
	}
}

func TestHiddenAndMissingLookTheSame(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		s.trigger("secret/plan", nil)
		for _, tt := range []struct{ there, notThere, user string }{
			{"/job/secret/job/plan/", "/job/secret/job/nothing/", "rita"},
			{"/job/secret/", "/job/secretive/", ""},
			{"/job/secret/job/plan/1/", "/job/secret/job/plan/7/", "rita"},
			{"/queue/item/1/", "/queue/item/7/", "rita"},
			{"/queue/item/1/", "/queue/item/7/", ""},
		} {
			a, b := s.get(tt.there, tt.user), s.get(tt.notThere, tt.user)
			if a.Code != b.Code || a.Body.String() != b.Body.String() {
				s.Errorf("%s is %d and %s is %d for %q, or they differ in their text", tt.there, a.Code, tt.notThere, b.Code, tt.user)
			}
		}
	})
}

func TestOnlyTheReadableIsListed(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		s.trigger("secret/badged", nil)
		s.trigger("app/deploy", nil)
		s.trigger("app/deploy", nil)
		for _, path := range []string{"/", "/queue/", "/computer/", "/rssAll", "/job/app/"} {
			w := s.get(path, "rita")
			s.lacks(w.Body.String(), "secret", "badged", "plan")
		}
		s.holds(s.get("/queue/", "rita").Body.String(), "app » deploy", "Build #1 is already in progress")
		s.lacks(main(s.get("/queue/", "rita").Body.String()), "<button", "cancelForm")
		s.holds(s.page("/queue/"), `action="/ci/queue/item/3/cancelForm"`, `<button type="submit" id="cancel-3">`)
		s.lacks(main(s.get("/job/hello/", "rita").Body.String()), "<form")
		s.lacks(s.get("/job/app/job/deploy/1/", "rita").Body.String(), `method="post"`, "Form")
	})
}

func TestExecutorsHideWhatOthersBuild(t *testing.T) {
	spec := tree()
	spec.Root.Folders[1].Jobs = append(spec.Root.Folders[1].Jobs, at("long", hangs("")))
	onSite(t, spec, func(s *site) {
		s.trigger("secret/long", nil)
		s.holds(s.page("/computer/"), "secret » long #1", "Idle")
		text := s.get("/computer/", "rita").Body.String()
		s.lacks(text, "secret")
		s.holds(text, "a build that you may not see", "Running")
	})
}

// remote is a runner whose builds only follow another system.
type remote struct{ run }

func (remote) Remote() {}

func TestRemoteBuildsAreShownBesideExecutors(t *testing.T) {
	spec := tree()
	spec.Root.Folders[1].Jobs = append(spec.Root.Folders[1].Jobs, at("far", remote{hangs("")}))
	onSite(t, spec, func(s *site) {
		s.holds(s.page("/computer/"), "Remote builds", "At most 100 run at once")
		s.trigger("secret/far", nil)
		s.holds(s.page("/computer/"), "secret » far #1", "Idle")
		s.lacks(main(s.page("/computer/")), "a build that you may not see")
		text := s.get("/computer/", "rita").Body.String()
		s.lacks(text, "secret")
		s.holds(text, "a build that you may not see", "Running")
		s.holds(s.page("/job/secret/job/far/1/"), "which follows another system")
		s.lacks(main(s.page("/job/secret/job/far/1/")), "executor 1")
	})
	onSite(t, tree(), func(s *site) {
		s.lacks(main(s.page("/computer/")), "Remote builds")
	})
}

func TestWithoutAnEngine(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		s.pages.site.Open = func() (*buildtoken.Controller, error) { return nil, errors.New("locked by another process") }
		w := s.get("/", "alice")
		if w.Code != http.StatusServiceUnavailable {
			s.Errorf("GET / = %d, want 503", w.Code)
		}
		s.lacks(w.Body.String(), "locked")
		style := regexp.MustCompile(`href="/ci(/queue/-/assets/pages[^"]+)"`).FindStringSubmatch(w.Body.String())
		if w := s.get(style[1], ""); w.Code != http.StatusOK {
			s.Errorf("GET %s = %d, want 200", style[1], w.Code)
		}
		if s.logs.Len() != 1 {
			s.Errorf("%d log lines, want one", s.logs.Len())
		}
	})
}

func TestUnexpectedErrorsStayInTheLog(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		s.trigger("hello", nil)
		if err := s.ctl.Close(); err != nil {
			s.Fatal(err)
		}
		if w := s.get("/job/hello/", "alice"); w.Code != http.StatusServiceUnavailable {
			s.Errorf("GET after the queue was closed = %d, want 503", w.Code)
		}
	})
}

func TestHostileTextIsOnlyText(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>'`
	name := `a"><script>alert(1)<` + "\u202e"
	spec := jobs(at(name, writes("\x1b[31m"+evil+"\x1b[0m\n"+evil), job.Param{
		Name: "P", Kind: job.KindString, Default: evil, Description: evil,
	}, job.Param{
		Name: "T", Kind: job.KindText, Default: "</textarea>" + evil,
	}, job.Param{
		Name: "C", Kind: job.KindChoice, Choices: []string{evil, "javascript:alert(3)"},
	}))
	spec.Root.Jobs[0].Description = evil
	onSite(t, spec, func(s *site) {
		s.trigger(name, map[string][]string{"P": {evil}})
		at := "/job/a%22%3E%3Cscript%3Ealert(1)%3C%E2%80%AE/"
		for _, path := range []string{"/", at, at + "1/", at + "1/console"} {
			body := s.page(path)
			s.lacks(body, "<script>", "<img", "</textarea><", "alert(1)</script>")
			s.holds(body, "&lt;script&gt;")
			for _, link := range regexp.MustCompile(`(?:href|src|action)="([^"]*)"`).FindAllStringSubmatch(body, -1) {
				if !strings.HasPrefix(link[1], "/ci/") && !strings.HasPrefix(link[1], "?") && !strings.HasPrefix(link[1], "#") && link[1] != documentation {
					s.Errorf("GET %s links to %q", path, link[1])
				}
			}
		}
		w := s.post(at+"buildForm", "alice", map[string][]string{"P": {evil}, "delay": {evil}, "cause": {evil}})
		if w.Code != http.StatusBadRequest {
			s.Errorf("form = %d, want 400", w.Code)
		}
		s.lacks(w.Body.String(), "<script>", "<img")
	})
}

func TestPasswordsAreNeverShown(t *testing.T) {
	const byDefault, typed = "correct-horse", "battery-staple"
	held := at("held", writes(""), job.Param{Name: "KEY", Kind: job.KindPassword, Default: byDefault})
	hour := job.MaxDelay
	held.Settings.QuietPeriod = &hour
	spec := jobs(at("deploy", writes(""), job.Param{Name: "KEY", Kind: job.KindPassword, Default: byDefault}), held)
	onSite(t, spec, func(s *site) {
		s.trigger("deploy", map[string][]string{"KEY": {typed}})
		s.trigger("held", map[string][]string{"KEY": {typed}})
		for _, path := range []string{"/", "/job/deploy/", "/job/deploy/1/", "/job/deploy/1/console", "/queue/", "/queue/item/2/"} {
			s.lacks(s.page(path), byDefault, typed)
		}
		s.holds(s.page("/job/deploy/1/"), "<code>KEY</code>", "a password, not shown")
		s.holds(s.page("/queue/item/2/"), "a password, not shown")
		w := s.post("/job/deploy/buildForm", "alice", map[string][]string{"KEY": {typed}, "delay": {"soon"}})
		s.lacks(w.Body.String(), byDefault, typed)
	})
}

func TestAssets(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		page := s.page("/")
		links := regexp.MustCompile(`="/ci(/queue/-/assets/[^"]+)"`).FindAllStringSubmatch(page, -1)
		if len(links) != 9 {
			s.Errorf("%d assets, want 9", len(links))
		}
		for _, link := range links {
			w := s.get(link[1], "")
			sheet := strings.HasSuffix(link[1], ".css")
			for i, line := range strings.Split(w.Body.String(), "\n") {
				if sheet && len(line) > 40 && strings.Count(w.Body.String(), line+"\n") > 1 {
					s.Errorf("%s:%d stands twice: %s", link[1], i+1, line)
				}
			}
			if h := w.Header(); w.Code != http.StatusOK || w.Body.Len() == 0 || h.Get("Cache-Control") != "public, max-age=31536000, immutable" || h.Get("Vary") != "" {
				s.Errorf("GET %s = %d, %d bytes, %v", link[1], w.Code, w.Body.Len(), h)
			}
			if !regexp.MustCompile(`\.[0-9a-f]{12}\.(css|js|svg)$`).MatchString(link[1]) {
				s.Errorf("%s has no digest", link[1])
			}
			text := strings.ReplaceAll(w.Body.String(), `xmlns="http://www.w3.org/2000/svg"`, "")
			s.lacks(text, "http://", "https://", "innerHTML", "eval(")
		}
		if w := s.get("/queue/-/assets/pages.000000000000.css", ""); w.Code != http.StatusNotFound {
			s.Errorf("an asset of another version = %d, want 404", w.Code)
		}
	})
}

// A page that denies access explains what the reader can do.
func TestNoAccessIsExplainedByCase(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		nobody := s.get("/job/hello/", "").Body.String()
		s.holds(nobody, "this site may have no login", "You are not signed in")
		s.lacks(nobody, "All jobs", "You are signed in")
		bob := s.get("/job/hello/", "bob").Body.String()
		s.holds(bob, "Your account may not see or do this", "You are signed in as bob")
		s.lacks(bob, "Sign in and come back", "All jobs") // he can read no job, so there is no link back
		s.holds(s.get("/job/hello/", "").Body.String(), "You are not signed in. Sign in and come back to this page.")
		rita := s.get("/job/secret/", "rita").Body.String()
		s.holds(rita, "You are signed in as rita", `<a href="/ci/">All jobs</a>`)
		s.holds(s.get("/job/nothing/", "alice").Body.String(), "There is nothing here, or no longer", "your account may not see")
	})
}

// An open page replaces only regions in which its reader does not type.
func TestLiveRegions(t *testing.T) {
	spec := tree()
	spec.Root.Jobs = append(spec.Root.Jobs, waits("later"))
	onSite(t, spec, func(s *site) {
		s.trigger("hello", nil)
		s.trigger("app/deploy", nil)
		s.fill("later", 1, 2) // items 3 and 4
		for path, want := range map[string]string{
			"/": "nav jobs", "/?by=": "nav builds", "/?by=&state=success": "nav", "/?by=&before=1": "nav",
			"/job/hello/": "nav jobhead jobqueue trend history", "/job/hello/?before=1": "nav jobhead jobqueue trend",
			"/job/hello/1/": "nav buildhead", "/job/app/job/deploy/1/": "nav buildhead", "/job/app/job/deploy/1/console": "nav buildhead",
			"/queue/": "nav queue", "/queue/item/3/": "nav item", "/computer/": "nav executors", "/job/later/cancelAll": "nav",
		} {
			page := s.page(path)
			var got []string
			for _, m := range regexp.MustCompile(` data-region="([a-z]+)" data-hash="[0-9a-f]{16}"`).FindAllStringSubmatch(page, -1) {
				got = append(got, m[1])
			}
			if strings.Join(got, " ") != want {
				s.Errorf("%s has the live regions %s, want %s", path, got, want)
			}
			ended := path == "/job/hello/1/" || want == "nav"
			if regexp.MustCompile(`<body [^>]*data-events=`).MatchString(page) == ended {
				s.Errorf("%s is followed: %v, want %v", path, ended, !ended)
			}
		}
	})
}

// A site at the root of its host, and one whose address cannot be read, have their pages there.
func TestPagesWithoutAPathBeforeThem(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		for _, root := range []string{"https://ci.example.com/", "http://[broken/"} {
			s.pages.site.Root = func(*http.Request) string { return root }
			s.holds(s.page("/"), `<a href="/job/hello/">`)
		}
	})
}
