package caddymodule

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const redacted = "REDACTED"

// withoutSecrets makes of a request what a log may show, and says whether that
// is any different.
func withoutSecrets(r *http.Request) (shown *http.Request, secret bool) {
	uri := r.RequestURI
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		uri = original.RequestURI
	}
	clear := redactQuery(uri, isClear(r.URL.Path))
	referer := redactQuery(r.Header.Get("Referer"), func(string) bool { return false })
	secret = clear != uri || referer != r.Header.Get("Referer") ||
		slices.ContainsFunc(secretHeaders(), func(name string) bool { return r.Header.Get(name) != "" })
	if !secret {
		return r, false
	}
	shown = r.Clone(r.Context())
	shown.RequestURI = clear
	for _, name := range secretHeaders() {
		for i := range shown.Header[name] {
			shown.Header[name][i] = redacted
		}
	}
	if referer != "" {
		shown.Header["Referer"] = []string{referer}
	}
	return shown, true
}

// secretHeaders are the headers that can carry a secret, in canonical form.
func secretHeaders() []string {
	return []string{"X-Build-Token", "X-Gitlab-Token", "Authorization", "Proxy-Authorization", "Cookie"}
}

// isClear says which query values of a path may be shown. Every other one can
// be a secret: parameters are told by their names only.
func isClear(path string) func(key string) bool {
	tokenOnly := strings.Contains(path, "/buildByToken")
	return func(key string) bool {
		switch key {
		case "job", "delay", "cause", "item", "start":
			return true
		case "tree", "depth", "pretty", "id":
			return !tokenOnly
		}
		return false
	}
}

// redactQuery replaces the values of a URI's query that may not be shown. What
// can't be read as a name and a value is replaced as a whole.
func redactQuery(uri string, isClear func(key string) bool) string {
	path, query, found := strings.Cut(uri, "?")
	if !found || query == "" {
		return uri
	}
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		name, value, found := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(name)
		switch {
		case pair == "", err == nil && !strings.Contains(pair, ";") && isClear(key):
		case !found || err != nil || strings.ContainsAny(pair, ";?"):
			// A token without its name, or several pairs in an old style.
			pairs[i] = redacted
		case value != "":
			pairs[i] = name + "=" + redacted
		}
	}
	return path + "?" + strings.Join(pairs, "&")
}
