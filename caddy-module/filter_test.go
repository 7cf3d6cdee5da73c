package caddymodule_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/logging"
	"go.uber.org/zap"
)

// The filter of docs/security.md is for lines that Caddy itself logs, such as that of its
// redirection to https. It hides queries and the signatures of share links.
func TestDocumentedFilterHidesQueriesAndShares(t *testing.T) {
	text, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^\t\trequest>uri regexp "(.*)" "(.*)"$`).FindSubmatch(text)
	if found == nil {
		t.Fatal("docs/security.md has no filter for request>uri")
	}
	filter := logging.RegexpFilter{RawRegexp: string(found[1]), Value: string(found[2])}
	if err := filter.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	for uri, want := range map[string]string{
		"/buildByToken/shared/c2lnbmF0dXJl":                                     "/buildByToken/shared/REDACTED",
		"/buildByToken/shared/c2lnbmF0dXJl/log?start=7":                         "/buildByToken/shared/REDACTED",
		"https://ci.example.com/ci/buildByToken/shared/c2lnbmF0dXJl/log":        "https://ci.example.com/ci/buildByToken/shared/REDACTED",
		"/buildByToken/build?job=app&token=TacoTuesday":                         "/buildByToken/build?REDACTED",
		"/buildByToken/build?job=app&token=TacoTuesday&x=/buildByToken/shared/": "/buildByToken/build?REDACTED",
		"/job/app/": "/job/app/",
	} {
		if got := filter.Filter(zap.String("uri", uri)).String; got != want {
			t.Errorf("%s is logged as %s, want %s", uri, got, want)
		}
	}
}
