package caddymodule_test

import (
	"strings"
	"testing"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

func TestRedactURI(t *testing.T) {
	for _, tt := range []struct{ name, uri, want string }{
		{"what is clear", "/buildByToken/build?job=a%2Fb&delay=5sec&cause=a+push", "/buildByToken/build?job=a%2Fb&delay=5sec&cause=a+push"},
		{"a slash at the end", "/ci/buildByToken/build/?job=x", "/ci/buildByToken/build/?job=x"},
		{"a webhook", "/buildByToken/webhook?job=x", "/buildByToken/webhook?job=x"},
		{"a token in the name of the job", "/buildByToken/build?job=x%26token=T", "/buildByToken/build?job=REDACTED"},
		{"a fragment in the name of the job", "/buildByToken/webhook?job=x%23T", "/buildByToken/webhook?job=REDACTED"},
		{"a query in the name of the job", "/buildByToken/status?job=x%3FT&item=1", "/buildByToken/status?job=REDACTED&item=1"},
		{"a token in the cause", "/buildByToken/build?job=x&cause=a%26Token%3DT", "/buildByToken/build?job=x&cause=REDACTED"},
		{"a cause with an ampersand", "/buildByToken/build?job=x&cause=a+%26+b", "/buildByToken/build?job=x&cause=a+%26+b"},
		{"a malformed escape in a value", "/buildByToken/build?job=T%zz", "/buildByToken/build?job=REDACTED"},
		{"no query", "/buildByToken/polling", "/buildByToken/polling"},
		{"a query that was hung on to another", "/buildByToken/build?job=x&cause=push?token=T", "/buildByToken/build?job=x&REDACTED"},
		{"a fragment, which no client should send", "/buildByToken/build?job=x#T", "/buildByToken/build?REDACTED"},
		{"no question mark", "/buildByToken/build&job=x&token=T", "/buildByToken/REDACTED"},
		{"a token as the action", "/buildByToken/T?job=x", "/buildByToken/REDACTED?job=x"},
		{"a token behind the action", "/ci/buildByToken/build/T", "/ci/buildByToken/REDACTED"},
		{"an escaped letter", "/buildBy%54oken/T", "/buildBy%54oken/REDACTED"},
		{"what pages need", "/buildByToken/-/log/job/x/1?start=7", "/buildByToken/-/log/job/x/1?start=7"},
		{"the style of pages", "/buildByToken/-/assets/T", "/buildByToken/-/assets/T"},
		{"a page without a job", "/buildByToken/-/log/queue", "/buildByToken/-/log/queue"},
		{"a token where pages need something", "/buildByToken/-/T", "/buildByToken/REDACTED"},
		{"a token where pages need a job", "/buildByToken/-/log/T", "/buildByToken/REDACTED"},
		{"a job without the question mark", "/job/x/build&TOKEN=T/", "/job/x/REDACTED/"},
		{"an account in a whole URL", "http://alice:a@T@ci.test/buildByToken/build?job=x", "http://REDACTED@ci.test/buildByToken/build?job=x"},
		{"a whole URL", "http://ci.test/job/x/", "http://ci.test/job/x/"},
		{"a share link", "/ci/buildByToken/shared/T", "/ci/buildByToken/shared/REDACTED"},
		{"a share link without its ID", "/buildByToken/shared", "/buildByToken/REDACTED"},
		{"the log of a share link", "/buildByToken/shared/T/log?start=7", "/buildByToken/shared/REDACTED/log?start=7"},
		{"something else behind a share link", "/buildByToken/shared/T/T", "/buildByToken/shared/REDACTED"},
		{"a share link, escaped", "/buildByToken/%73hared/T", "/buildByToken/REDACTED"},
		{"a malformed escape", "/job/T%zz/", "/job/REDACTED/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := caddymodule.RedactURI(tt.uri); got != tt.want {
				t.Errorf("of %q, %q is shown, want %q", tt.uri, got, tt.want)
			}
		})
	}
}

// TestRedactURIOfPaths shows which values are clear where.
func TestRedactURIOfPaths(t *testing.T) {
	for _, tt := range []struct{ path, want string }{
		{"/job/x/api/json", "tree=a&depth=1&pretty=true&id=7&PASS=REDACTED"},
		{"/queue/cancelItem", "tree=a&depth=1&pretty=true&id=7&PASS=REDACTED"},
		{"/job/x/build", "tree=REDACTED&depth=REDACTED&pretty=REDACTED&id=REDACTED&PASS=REDACTED"},
		{"/job/x/buildWithParameters/", "tree=REDACTED&depth=REDACTED&pretty=REDACTED&id=REDACTED&PASS=REDACTED"},
		{"/buildByToken/buildWithParameters", "tree=REDACTED&depth=REDACTED&pretty=REDACTED&id=REDACTED&PASS=REDACTED"},
	} {
		want := "/ci" + tt.path + "?" + tt.want
		if got := caddymodule.RedactURIAt(tt.path, "/ci"+tt.path+"?tree=a&depth=1&pretty=true&id=7&PASS=T"); got != want {
			t.Errorf("of a query at %s, %q is shown, want %q", tt.path, got, want)
		}
	}
}

// FuzzRedactURI puts a token into any query, and into any path below buildByToken. Whatever
// names and escapes surround it, the log must not contain it.
func FuzzRedactURI(f *testing.F) {
	for _, seed := range [][2]string{
		{"job=x", "&cause=push"},
		{"", ""},
		{"job=x;a", ";b=c"},
		{"%zz", "%"},
		{"job=x&cause=", ""},
		{"?job=x", "?x"},
		{"&&", "&&"},
		{"=", "="},
		{"job", "#job=x"},
		{"%6aob=x", "\x00"},
	} {
		f.Add(seed[0], seed[1])
	}
	const secret = "S3CR3T"
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.Contains(before+after, secret) {
			return
		}
		for _, name := range []string{"token", "%74oken", "to%6Ben", "PASS", "", "job2", "%zz"} {
			uri := "/buildByToken/build?" + before + "&" + name + "=" + secret + after
			if got := caddymodule.RedactURI(uri); strings.Contains(got, secret) {
				t.Errorf("of %q, %q is shown", uri, got)
			}
		}
		if bare := "/buildByToken/build?" + before + "&" + secret + "&" + after; strings.Contains(caddymodule.RedactURI(bare), secret) {
			t.Errorf("of %q, a token without its name is shown", bare)
		}
		if strings.HasPrefix(before, "-") {
			return // the names of jobs and files are shown
		}
		for _, path := range []string{"/" + before + secret, "/build/" + secret + after, "/build&token=" + secret + "?" + after} {
			if got := caddymodule.RedactURI("/buildByToken" + path); strings.Contains(strings.Split(got, "?")[0], secret) {
				t.Errorf("of %q, the path of %q is shown", path, got)
			}
		}
	})
}
