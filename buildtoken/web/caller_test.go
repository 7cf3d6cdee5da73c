package web_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// Behind a proxy, the browser's origin is that of the root and not that of the request.
func TestCrossSite(t *testing.T) {
	for _, tt := range []struct {
		name, root, origin, fetch string
		want                      bool
	}{
		{"no browser", "https://ci.example.com/", "", "", false},
		{"the same host", "https://ci.example.com/", "https://internal:8080", "", false},
		{"the root's origin", "https://ci.example.com/", "https://ci.example.com", "", false},
		{"the root's origin, whatever the browser says of the host", "https://ci.example.com/", "https://ci.example.com", "cross-site", false},
		{"a root with a path", "https://ci.example.com:8443/ci/", "https://ci.example.com:8443", "cross-site", false},
		{"the root's host with another scheme", "https://ci.example.com/", "http://ci.example.com", "", true},
		{"the root's host with another port", "https://ci.example.com/", "https://ci.example.com:8443", "", true},
		{"another site", "https://ci.example.com/", "https://evil.example.com", "cross-site", true},
		{"another site, without its origin", "https://ci.example.com/", "", "cross-site", true},
		{"no origin", "https://ci.example.com/", "null", "", true},
		{"a root without a host", "/", "https://evil.example.com", "", true},
		{"a malformed root", "https://ci.example.com:x/", "https://evil.example.com", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			site := &web.Site{Root: func(*http.Request) string { return tt.root }}
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			r.Host = "internal:8080"
			if tt.origin != "" {
				r.Header.Set("Origin", tt.origin)
			}
			if tt.fetch != "" {
				r.Header.Set("Sec-Fetch-Site", tt.fetch)
			}
			if got := site.Request(httptest.NewRecorder(), r).CrossSite(); got != tt.want {
				t.Errorf("CrossSite() = %v, want %v", got, tt.want)
			}
		})
	}
}

// Rules see the request as it came, without the headers that hold a secret of this module or of an account.
func TestWhatRulesSeeOfARequest(t *testing.T) {
	site := &web.Site{Remote: func(*http.Request) netip.Addr { return netip.MustParseAddr("::ffff:192.0.2.1") }}
	r := httptest.NewRequest(http.MethodPut, "/a%20b?c=d", nil)
	r.Host, r.TLS = "ci.example.com:8443", &tls.ConnectionState{HandshakeComplete: true}
	r.Header = http.Header{
		"User-Agent": {"curl/8"}, "X-Event": {"one", "two"}, "Authorization": {"Bearer x"}, "Proxy-Authorization": {"Basic x"},
		"Cookie": {"x=y"}, "X-Build-Token": {"x"}, "X-Gitlab-Token": {"x"},
	}
	want := policy.Request{
		Method: "PUT", Host: "ci.example.com:8443", Path: "/a b", Scheme: "https", RemoteIP: "192.0.2.1", UserAgent: "curl/8",
		Headers: map[string]string{"user-agent": "curl/8", "x-event": "one, two"},
	}
	q := site.Request(httptest.NewRecorder(), r)
	for range 2 { // as two rules do
		if diff := cmp.Diff(want, q.Caller().Request()); diff != "" {
			t.Errorf("a request (-want +got):\n%s", diff)
		}
	}
	q.Release()
	if diff := cmp.Diff(want, q.Caller().Request()); diff != "" {
		t.Errorf("a request that has waited (-want +got):\n%s", diff)
	}
	plain := new(web.Site).Request(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	if got := plain.Caller().Request(); got.Scheme != "http" || got.RemoteIP != "" {
		t.Errorf("without TLS and from an unknown address: scheme %q, address %q", got.Scheme, got.RemoteIP)
	}
}

// What a site finds out about a request is the same in all of it.
func TestSiteIsAskedOnce(t *testing.T) {
	asked := map[string]int{}
	site := &web.Site{
		User:   func(*http.Request) string { asked["user"]++; return "" },
		Remote: func(*http.Request) netip.Addr { asked["remote"]++; return netip.Addr{} },
		Root:   func(*http.Request) string { asked["root"]++; return root },
	}
	q := site.Request(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	for range 3 {
		q.User()
		q.Caller()
		q.Root()
	}
	if diff := cmp.Diff(map[string]int{"user": 1, "remote": 1, "root": 1}, asked); diff != "" {
		t.Errorf("times that each was called (-want +got):\n%s", diff)
	}
}

// A site has accounts once one of its requests had a user.
func TestHasAccounts(t *testing.T) {
	user := ""
	site := &web.Site{User: func(*http.Request) string { return user }}
	for _, tt := range []struct {
		user string
		want bool
	}{{"", false}, {"alice", true}, {"", true}} {
		user = tt.user
		q := site.Request(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		if got := q.User(); got != tt.user || site.HasAccounts() != tt.want {
			t.Errorf("after a request of %q: User = %q, HasAccounts = %v, want %v", tt.user, got, site.HasAccounts(), tt.want)
		}
	}
}

func TestPrefetch(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values []string
		want   bool
	}{
		{"Sec-Purpose", []string{"prefetch"}, true},
		{"Sec-Purpose", []string{"prefetch;prerender"}, true},
		{"Sec-Purpose", []string{"Prerender"}, true},
		{"Sec-Purpose", []string{"other", "Prefetch"}, true},
		{"Purpose", []string{"prefetch"}, true},
		{"X-Moz", []string{"prefetch"}, true},
		{"Sec-Purpose", []string{"other"}, false},
		{"Sec-Purpose", nil, false},
		{"X-Purpose", []string{"prefetch"}, false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header[tt.name] = tt.values
		if got := new(web.Site).Request(httptest.NewRecorder(), r).Prefetch(); got != tt.want {
			t.Errorf("%s: %q is a prefetch: %v, want %v", tt.name, tt.values, got, tt.want)
		}
	}
}

// A folder has the jobs below it, and not those of a folder whose name begins with the same letters.
func TestReadableJobsOfAFolder(t *testing.T) {
	jobs := func(names ...string) (all []definition.Job) {
		for _, name := range names {
			all = append(all, definition.Job{Name: name, Runner: &puppets{}})
		}
		return all
	}
	site, err := definition.Compile(definition.Spec{
		Access: definition.Access{Read: `job.name != "hidden"`},
		Root: definition.Folder{Jobs: jobs("a", "app x"), Folders: []definition.Folder{
			{Name: "app", Jobs: jobs("deploy", "hidden"), Folders: []definition.Folder{{Name: "deep", Jobs: jobs("b")}}},
			{Name: "apple", Jobs: jobs("pie")},
			{Name: "dark", Jobs: jobs("hidden")},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[string][]string{
		"": {"a", "app x", "app/deep/b", "app/deploy", "apple/pie"}, "app": {"app/deep/b", "app/deploy"}, "apple": {"apple/pie"}, "app/deep": {"app/deep/b"}, "dark": nil, "appl": nil,
	} {
		q := (&web.Site{Definition: site}).Request(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		if diff := cmp.Diff(want, q.Readable(folder)); diff != "" {
			t.Errorf("jobs of %q (-want +got):\n%s", folder, diff)
		}
	}
}
