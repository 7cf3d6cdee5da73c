package caddymodule_test

import (
	"strings"
	"testing"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

// FuzzRedactQuery puts a token into any query. Nothing around it may bring it
// into the log, whatever the names and escapes are.
func FuzzRedactQuery(f *testing.F) {
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
			if got := caddymodule.RedactQuery(uri); strings.Contains(got, secret) {
				t.Errorf("of %q, %q is shown", uri, got)
			}
		}
		if bare := "/buildByToken/build?" + before + "&" + secret + "&" + after; strings.Contains(caddymodule.RedactQuery(bare), secret) {
			t.Errorf("of %q, a token without its name is shown", bare)
		}
	})
}
