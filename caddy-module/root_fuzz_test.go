package caddymodule_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

// FuzzRoot sends any request, to any host, through a proxy or directly. A Location must begin
// with the URL of exactly one host, and only a trusted proxy can determine it.
func FuzzRoot(f *testing.F) {
	for _, seed := range [][4]string{
		{"ci.example.com", "/ci/buildByToken/build", "", ""},
		{"ci.example.com:8080", "//job//a/build", "https", "evil.example"},
		{"[::1]:80", "/a%2Fb/c", "javascript", "a@b"},
		{"evil.example\r\nSet-Cookie: x=y", "/", "https, http", "a.example, b.example"},
		{"a/b?c#d", "/%0d%0aX: y", "http\r\n", "[::1"},
		{"user:pass@host", "/..//../x", "HTTPS", "host:99999"},
		{"", "*", "", ":"},
		{"ci.example.com", "//ci/lastBuild", "", ""},
		{"ci.example.com", "//evil.example/|/..%2f..%2fci/x", "", ""},
		{"ci.example.com", "/%5cevil.example/%2e%2e/x", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, host, path, proto, forwarded string) {
		original, err := url.ParseRequestURI(path)
		if err != nil || original.Host != "" {
			return
		}
		root := func(trusted bool, proto, forwarded string) string {
			ctx := context.WithValue(t.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.TrustedProxyVarKey: trusted})
			ctx = context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, http.Request{URL: original})
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
			at := strings.LastIndex(original.Path, "/")
			r.Host, r.URL = host, &url.URL{Path: original.Path[max(at, 0):]}
			r.Header.Set("X-Forwarded-Proto", proto)
			r.Header.Set("X-Forwarded-Host", forwarded)
			return caddymodule.RootOf(r)
		}
		untrusted := root(false, proto, forwarded)
		if plain := root(false, "", ""); untrusted != plain {
			t.Errorf("an untrusted client changes the root: %q instead of %q", untrusted, plain)
		}
		for _, got := range []string{untrusted, root(true, proto, forwarded)} {
			u, err := url.Parse(got)
			if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
				!strings.HasSuffix(got, "/") || strings.ContainsFunc(got, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
				t.Errorf("root of host %q, path %q, proto %q, forwarded %q is %q, %v", host, path, proto, forwarded, got, err)
				continue
			}
			if strings.HasPrefix(u.Path, "//") || strings.HasPrefix(u.Path, `/\`) || slices.ContainsFunc(strings.Split(u.Path, "/"), func(s string) bool { return s == "." || s == ".." }) {
				t.Errorf("root of path %q is %q: its path begins with more than a slash, or has dot segments", path, got)
			}
		}
	})
}
