package pages_test

import (
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/web/pages"
)

func TestNavigationCounts(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		nav := func(path, user string) string {
			_, nav, _ := strings.Cut(s.get(path, user).Body.String(), `<nav aria-label="Main"`)
			nav, _, _ = strings.Cut(nav, "</nav>")
			return nav
		}
		s.lacks(nav("/", "alice"), `Queue <span`)
		s.holds(nav("/", "alice"), `>0/3</span><span class="visually-hidden">0 of 3 busy</span>`)
		s.trigger("app/deploy", nil)
		s.triggerIn("hello", "1h")
		s.triggerIn("secret/plan", "1h")
		for _, path := range []string{"/", "/job/app/", "/job/hello/", "/job/app/job/deploy/1/", "/queue/", "/queue/item/2/", "/computer/"} {
			s.holds(nav(path, "alice"), `Queue <span class="count">2</span>`, ">1/3</span>")
			s.holds(nav(path, "rita"), `Queue <span class="count">1</span>`, ">1/3</span>") // not the jobs that she cannot read
		}
		s.lacks(s.get("/job/hello/", "").Body.String(), "count\">") // no counts without an account
	})
}

func TestNavigationIsFollowed(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		out, _, stop := s.open("/queue/-/events/job/hello/", "alice")
		defer stop()
		out.drain()
		s.triggerIn("app/deploy", "1h") // another job
		time.Sleep(time.Second)
		s.holds(out.drain(), `"name":"nav"`, `class=\"count\">1<`)
	})
}

func TestVersion(t *testing.T) {
	const module = "github.com/buildtoken/buildtoken"
	other := debug.Module{Path: "caddy", Version: "v2.10.0"}
	for _, tt := range []struct {
		name string
		main debug.Module
		deps []*debug.Module
		want string
	}{
		{"the program of this module", debug.Module{Path: module, Version: "v1.2.3"}, []*debug.Module{&other}, "v1.2.3"},
		{"a program of Caddy with this module", other, []*debug.Module{{Path: "x", Version: "v0.1.0"}, {Path: module, Version: "v1.2.3"}}, "v1.2.3"},
		{"a working copy", debug.Module{Path: module, Version: "(devel)"}, []*debug.Module{&other}, "development"},
		{"a working copy in a program of Caddy", other, []*debug.Module{{Path: module, Version: "(devel)"}}, "development"},
		{"without a version", debug.Module{Path: module}, []*debug.Module{&other}, "development"},
		{"without this module", other, nil, "development"},
	} {
		if got := pages.VersionOf(&debug.BuildInfo{Main: tt.main, Deps: tt.deps}); got != tt.want {
			t.Errorf("%s: the version is %s, want %s", tt.name, got, tt.want)
		}
	}
	if got := pages.VersionOf(nil); got != "development" {
		t.Errorf("a program without information: the version is %s", got)
	}
}

func TestFooter(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		s.trigger("hello", nil)
		s.triggerIn("hello", "1h")
		for path, api := range map[string]string{
			"/": "/ci/api/json", "/?q=hello": "/ci/api/json", "/job/app/": "/ci/job/app/api/json", "/job/hello/": "/ci/job/hello/api/json",
			"/job/hello/1/": "/ci/job/hello/1/api/json", "/job/hello/1/console": "/ci/job/hello/1/api/json",
			"/queue/": "/ci/queue/api/json", "/queue/item/2/": "/ci/queue/item/2/api/json", "/computer/": "/ci/computer/api/json",
		} {
			_, foot, _ := strings.Cut(s.page(path), "<footer")
			s.holds(foot, "<li>buildtoken development</li>", `href="`+documentation+`" rel="noreferrer">Documentation</a>`, `<a href="`+api+`">API of this page</a>`)
		}
		s.holds(s.page("/job/hello/"), `<a href="/ci/job/hello/rssAll">Feed</a>`)
		s.lacks(s.get("/job/hello/", "").Body.String(), "<li>buildtoken", "API of this page") // without an account
	})
}
