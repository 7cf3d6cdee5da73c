package web_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/throttle"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

// shared triggers plain with a token that grants links and returns the path of the link.
func (s *scenario) shared() string {
	s.t.Helper()
	x := s.ask(http.MethodPost, "/buildByToken/build?job=plain&delay=0&token=ShareIt", nil)
	path, ok := strings.CutPrefix(x.Header().Get("Link"), "<"+strings.TrimSuffix(root, "/"))
	path, monitor := strings.CutSuffix(path, `>; rel="monitor"`)
	if !ok || !monitor || !strings.HasPrefix(path, "/buildByToken/shared/") {
		s.t.Fatalf("trigger: got %d, Link %q", x.Code, x.Header().Get("Link"))
	}
	return path
}

// redefine puts another configuration of the site into force.
func (s *scenario) redefine(change func(plain *definition.Job, sp *definition.Spec)) {
	s.t.Helper()
	sp := spec(s.runner, &s.looker)
	change(&sp.Root.Jobs[0], &sp)
	d, err := definition.Compile(sp)
	if err != nil {
		s.t.Fatal(err)
	}
	s.detach()
	s.api.Definition = d
	s.attach(buildtoken.Config{Sites: []*definition.Site{d}})
}

// sharer is the token of the scenarios that grants links.
func sharer(j *definition.Job) *definition.Token {
	return &j.Tokens[slices.IndexFunc(j.Tokens, func(t definition.Token) bool { return t.Name == "sharer" })]
}

// reencoded returns a path with a changed ID that is encoded again.
func reencoded(path string, change func(id []byte) []byte) string {
	const prefix = "/buildByToken/shared/"
	id, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(path, prefix))
	if err != nil {
		panic(err)
	}
	return prefix + base64.RawURLEncoding.EncodeToString(change(id))
}

// TestInvalidSharesLookTheSame changes links, and what they are bound to. The answers must be
// the same for all of them, and for a link that never existed.
func TestInvalidSharesLookTheSame(t *testing.T) {
	type job = definition.Job
	redefine := func(change func(*job, *definition.Spec)) func(*scenario, string) string {
		return func(s *scenario, path string) string {
			s.redefine(change)
			return path
		}
	}
	rewrite := func(change func([]byte) []byte) func(*scenario, string) string {
		return func(_ *scenario, path string) string { return reencoded(path, change) }
	}
	for _, tt := range []struct {
		name   string
		change func(*scenario, string) string // returns the link to request
		valid  bool
	}{
		{"the link as it is", func(_ *scenario, path string) string { return path }, true},
		{"just before it expires", func(_ *scenario, path string) string {
			time.Sleep(30*24*time.Hour - time.Second)
			return path
		}, true},
		{"other tokens and jobs changed", redefine(func(j *job, sp *definition.Spec) {
			j.Tokens, sp.Root.Jobs = []definition.Token{*sharer(j)}, sp.Root.Jobs[:2]
		}), true},
		{"expired", func(_ *scenario, path string) string {
			time.Sleep(30 * 24 * time.Hour)
			return path
		}, false},
		{"a later expiry", rewrite(func(id []byte) []byte { id[30]++; return id }), false},
		{"another item of the job", func(s *scenario, path string) string {
			s.shared()
			return reencoded(path, func(id []byte) []byte { id[23]++; return id })
		}, false},
		{"another job", rewrite(func(id []byte) []byte { return append(id[:32], "slow"...) }), false},
		{"no job", rewrite(func(id []byte) []byte { return id[:32] }), false},
		{"an unknown job", rewrite(func(id []byte) []byte { return append(id, 'x') }), false},
		{"only a signature", rewrite(func(id []byte) []byte { return id[:16] }), false},
		{"nothing signed", rewrite(func(id []byte) []byte { clear(id[:16]); return id }), false},
		{"another encoding of the same", func(_ *scenario, path string) string { return path + "=" }, false},
		{"a line end in it", func(_ *scenario, path string) string { return path + "%0A" }, false},
		{"none", func(*scenario, string) string { return "/buildByToken/shared" }, false},
		{"something below it", func(_ *scenario, path string) string { return path + "/api/json" }, false},
		{"the token removed", redefine(func(j *job, _ *definition.Spec) {
			j.Tokens = slices.DeleteFunc(j.Tokens, func(t definition.Token) bool { return t.Name == "sharer" })
		}), false},
		{"the token changed", redefine(func(j *job, _ *definition.Spec) { sharer(j).Digest = token.NewSecret("new").Digest() }), false},
		{"the token renamed", redefine(func(j *job, _ *definition.Spec) { sharer(j).Name = "other" }), false},
		{"the token moved to the folder", redefine(func(j *job, sp *definition.Spec) {
			sp.Root.Tokens = append(sp.Root.Tokens, *sharer(j))
			j.Tokens = j.Tokens[:1]
		}), false},
		{"the token expired", redefine(func(j *job, _ *definition.Spec) { sharer(j).Expires = time.Now() }), false},
		{"the grant removed", redefine(func(j *job, _ *definition.Spec) { sharer(j).Grants = token.Trigger }), false},
		{"the job removed", redefine(func(_ *job, sp *definition.Spec) { sp.Root.Jobs = sp.Root.Jobs[1:] }), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(s *scenario) {
				path := s.shared()
				s.runner.finishAll()
				synctest.Wait()
				path = tt.change(s, path)
				for _, below := range []string{"", "/", "/log", "/log/"} {
					for _, accept := range []string{"", "application/json", "text/html"} {
						h := http.Header{"Accept": {accept}}
						got := s.ask(http.MethodGet, path+below, h)
						if tt.valid {
							if got.Code != http.StatusOK {
								t.Errorf("%s, accepting %q: got %d, want 200", below, accept, got.Code)
							}
							continue
						}
						never := s.ask(http.MethodGet, "/buildByToken/shared/x"+below, h)
						if got.Code != http.StatusNotFound || got.body() != never.body() {
							t.Errorf("%s, accepting %q: got %d %q, want 404 %q", below, accept, got.Code, got.body(), never.body())
						}
						if diff := cmp.Diff(never.Header(), got.Header()); diff != "" {
							t.Errorf("%s, accepting %q: headers (-never +got):\n%s", below, accept, diff)
						}
					}
				}
			})
		})
	}
}

// TestEveryChangedByteOfAShareIsNoticed flips one bit of each byte.
func TestEveryChangedByteOfAShareIsNoticed(t *testing.T) {
	bubble(t, func(s *scenario) {
		path := s.shared()
		n := 0
		reencoded(path, func(id []byte) []byte { n = len(id); return id })
		for at := range n {
			changed := reencoded(path, func(id []byte) []byte { id[at] ^= 1; return id })
			if x := s.ask(http.MethodGet, changed, nil); x.Code != http.StatusNotFound {
				t.Errorf("byte %d changed: got %d, want 404", at, x.Code)
			}
		}
	})
}

// TestShareSurvivesARestart opens the same data again, with the same key and with a different
// one.
func TestShareSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, dir, 0, throttle.Limit{})
		path := s.shared()
		s.runner.finishAll()
		s.close()
		s = newScenario(t, dir, 0, throttle.Limit{})
		if x := s.ask(http.MethodGet, path, nil); x.Code != http.StatusOK || !strings.Contains(x.body(), `"result":"SUCCESS"`) {
			t.Errorf("after a restart: got %d %q, want 200", x.Code, x.body())
		}
		s.close()
		s = newScenarioWithKey(t, dir, vault.NewKey())
		if x := s.ask(http.MethodGet, path, nil); x.Code != http.StatusNotFound {
			t.Errorf("with another key: got %d, want 404", x.Code)
		}
		s.close()
	})
}

// TestShareNeedsTheGrant triggers in all other ways.
func TestShareNeedsTheGrant(t *testing.T) {
	bubble(t, func(s *scenario) {
		accept := http.Header{"Accept": {"application/json"}}
		for _, target := range []string{
			"/buildByToken/build?job=plain&token=TacoTuesday", "/buildByToken/polling?job=polled&token=TacoTuesday",
			"/buildByToken/build?job=secret&token=Hush", "/buildByToken/build?job=plain&token=LookAtMe", "/job/plain/build?token=TacoTuesday",
		} {
			x := s.ask(http.MethodPost, target, accept)
			if x.Header().Get("Link") != "" || strings.Contains(x.body(), "share") {
				t.Errorf("%s: got %q, Link %q, want no link", target, x.body(), x.Header().Get("Link"))
			}
		}
		s.user = "foreman"
		if x := s.ask(http.MethodPost, "/job/plain/build", accept); x.Header().Get("Link") != "" {
			t.Errorf("a user got the link %q", x.Header().Get("Link"))
		}
	})
}

// TestShareOnlyReads sends all other methods to a valid link and to an invalid one.
func TestShareOnlyReads(t *testing.T) {
	bubble(t, func(s *scenario) {
		path := s.shared()
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions} {
			for _, target := range []string{path, path + "/log", "/buildByToken/shared/x"} {
				if x := s.ask(method, target, nil); x.Code != http.StatusMethodNotAllowed || x.Header().Get("Allow") != "GET, HEAD" {
					t.Errorf("%s %s: got %d, Allow %q", method, target, x.Code, x.Header().Get("Allow"))
				}
			}
		}
		for _, target := range []string{path, path + "/log"} {
			if x := s.ask(http.MethodHead, target, nil); x.Code != http.StatusOK || x.body() != "" || !x.hasEnded() {
				t.Errorf("HEAD %s: got %d %q", target, x.Code, x.body())
			} else if get := s.ask(http.MethodGet, target, nil); x.Header().Get("Content-Type") != get.Header().Get("Content-Type") || x.Header().Get("Content-Length") == "0" {
				t.Errorf("HEAD %s: got type %q and length %q, want those of GET: %q and not 0", target, x.Header().Get("Content-Type"), x.Header().Get("Content-Length"), get.Header().Get("Content-Type"))
			}
		}
	})
}

// TestSharedPageNeedsNoAccount reads the page as its visitor does.
func TestSharedPageNeedsNoAccount(t *testing.T) {
	bubble(t, func(s *scenario) {
		path := s.shared()
		_, _ = s.runner.running["plain#1"].log.Write([]byte("\x1b[31m<script>alert(1)</script>\x1b[0m\n"))
		s.runner.finishAll()
		synctest.Wait()
		x := s.ask(http.MethodGet, path, http.Header{"Accept": {"text/html"}})
		page := x.body()
		for _, want := range []string{"plain", "SUCCESS", "2000-01-01 00:00:00 UTC", "&lt;script&gt;alert(1)&lt;/script&gt;\n", path + "/log"} {
			if !strings.Contains(page, want) {
				t.Errorf("the page has no %q:\n%s", want, page)
			}
		}
		for _, not := range []string{"<form", "<script", "<nav", "<button", "\x1b", root + "job/", root + "queue/"} {
			if strings.Contains(page, not) {
				t.Errorf("the page has %q:\n%s", not, page)
			}
		}
	})
}

// A shared page that cannot show the log does not look as if there were none.
func TestSharedPageOfALogThatCannotBeRead(t *testing.T) {
	for name, destroy := range map[string]func(path string) error{
		"cut off":    func(path string) error { return os.Truncate(path, 100_000) },
		"not opened": func(path string) error { return errors.Join(os.Remove(path), os.Symlink(path, path)) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scenario) {
				path := s.shared()
				s.direct(`print plain#1 "` + strings.Repeat("0123456789abcde\\n", 20_000) + `"`)
				if err := destroy(filepath.Join(s.dir, "logs", job.PathElement("plain"), "1.log")); err != nil {
					t.Fatal(err)
				}
				if x := s.ask(http.MethodGet, path, http.Header{"Accept": {"text/html"}}); x.Code != http.StatusInternalServerError || strings.Contains(x.body(), "Console") {
					t.Errorf("got %d %.300q, want 500", x.Code, x.body())
				}
			})
		})
	}
}

// A shared page shows the last 512 KiB of a log, and tells if that is not all.
func TestSharedPageShowsTheEndOfALog(t *testing.T) {
	bubble(t, func(s *scenario) {
		path := s.shared()
		const most = 512 << 10
		file := filepath.Join(s.dir, "logs", job.PathElement("plain"), "1.log")
		begun, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			text string
			cut  bool
		}{{strings.Repeat("x", most-int(begun.Size())-1) + "\n", false}, {"y", true}} {
			if _, err := s.runner.running["plain#1"].log.Write([]byte(tt.text)); err != nil {
				t.Fatal(err)
			}
			page := s.ask(http.MethodGet, path, http.Header{"Accept": {"text/html"}}).body()
			_, console, _ := strings.Cut(page, "<pre>")
			console, _, _ = strings.Cut(console, "</pre>")
			if cut := strings.Contains(page, "This is the end of the log."); cut != tt.cut || len(console) != most || strings.HasPrefix(console, "Started by") == tt.cut || !strings.HasSuffix(console, tt.text) {
				t.Errorf("cut: %v, %d bytes, %.20q…; want %v and %d", cut, len(console), console, tt.cut, most)
			}
		}
	})
}
