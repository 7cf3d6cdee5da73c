package caddymodule

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/buildtoken/buildtoken/buildtoken/job"
)

const redacted = "REDACTED"

// withoutSecrets returns a copy of the request that a log may contain, and reports
// whether anything was redacted. If nothing was, shown is r itself.
func withoutSecrets(r *http.Request) (shown *http.Request, secret bool) {
	uri := r.RequestURI
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		uri = original.RequestURI
	}
	clear := redactURI(uri, isClear(r.URL.Path))
	secret = clear != uri
	headers := make(http.Header, len(r.Header))
	for name, values := range r.Header {
		headers[name] = values
		if redactedValues, changed := redactHeader(name, values); changed {
			headers[name], secret = redactedValues, true
		}
	}
	if !secret {
		return r, false
	}
	shown = r.WithContext(r.Context())
	shown.RequestURI, shown.Header = clear, headers
	return shown, true
}

// redactHeader returns what a log may show of a header, and whether that
// differs. Any header can carry a URI: proxies that rewrite requests add the
// original one under many names.
func redactHeader(name string, values []string) (shown []string, changed bool) {
	secret := isSecretHeader(name)
	if !secret && strings.HasPrefix(name, "Sec-") {
		return values, false // written by browsers only, with question marks that begin no query
	}
	for i, value := range values {
		replaced := value
		switch {
		case secret && value != "":
			replaced = redacted
		case mayHoldURI(value):
			replaced = redactURI(value, func(string) bool { return false })
		}
		if replaced == value {
			continue
		}
		if !changed {
			shown, changed = slices.Clone(values), true
		}
		shown[i] = replaced
	}
	if !changed {
		shown = values
	}
	return shown, changed
}

// mayHoldURI reports whether a header's value can be or contain a URI in which
// something has to be redacted.
func mayHoldURI(value string) bool {
	return strings.ContainsAny(value, "?%") || strings.Contains(value, "://") ||
		strings.Contains(value, "buildByToken") || strings.Contains(strings.ToLower(value), "token=")
}

// isSecretHeader reports whether a header can carry a secret: those that we read one
// from, and others with a similar name, since a client may use the wrong one. The name is
// in canonical form, in which only the first letter of each word is upper case.
func isSecretHeader(name string) bool {
	for _, word := range [...]string{"oken", "ecret", "assword", "uthorization", "ookie", "X-Auth", "Api-Key", "pikey"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// redactURI replaces the parts of a URI that a log must not contain.
func redactURI(uri string, isClear func(key string) bool) string {
	path, query, found := strings.Cut(uri, "?")
	path = redactPath(path)
	if !found {
		return path
	}
	return path + "?" + redactQuery(query, isClear)
}

// redactPath replaces the parts of a path that can be a misplaced token: below
// buildByToken everything that is not an endpoint, elsewhere a query without its question
// mark, and in an absolute URL the account in front of the host.
func redactPath(path string) string {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		text, err := url.PathUnescape(segment)
		_, host, account := strings.Cut(segment, "@")
		switch {
		case i == 2 && account && segments[1] == "" && strings.HasSuffix(segments[0], ":"):
			segments[i] = redacted + "@" + host[strings.LastIndex(host, "@")+1:]
		case text == "buildByToken" && len(segments) > i+2 && segments[i+1] == "shared":
			// The ID of a share link is a secret: it opens the build.
			segments[i+2] = redacted
			if rest := segments[i+3:]; len(rest) > 0 && (rest[0] != "log" || len(rest) > 1) {
				segments = segments[:i+3]
			}
			return strings.Join(segments, "/")
		case text == "buildByToken" && !isEndpoint(segments[i+1:]):
			return strings.Join(append(segments[:i+1], redacted), "/")
		case text == "buildByToken":
			return strings.Join(segments, "/")
		case err != nil, strings.Contains(strings.ToLower(text), "token="):
			segments[i] = redacted
		}
	}
	return strings.Join(segments, "/")
}

// isEndpoint reports whether these segments, behind buildByToken, are the rest of an
// endpoint's path, or of an address that pages use.
func isEndpoint(rest []string) bool {
	if len(rest) == 0 {
		return true
	}
	switch rest[0] {
	case "", "build", "buildWithParameters", "polling", "status", "log", "cancel", "webhook":
		return len(rest) == 1 || len(rest) == 2 && rest[1] == ""
	case "-": // the names of jobs stand behind it, as in other paths of pages
		return len(rest) > 2 && (rest[1] == "assets" || slices.Contains([]string{"job", "queue", "computer", ""}, rest[2]))
	}
	return false
}

// isClear returns a function that reports which query values of a path may be logged.
// All other values can be secret, because parameters are known only by their names.
func isClear(path string) func(key string) bool {
	path = strings.TrimRight(path, "/")
	triggers := strings.Contains(path, "/buildByToken") || strings.HasSuffix(path, "/build") || strings.HasSuffix(path, "/buildWithParameters")
	return func(key string) bool {
		switch key {
		case "job", "delay", "cause", "item", "start":
			return true
		case "tree", "depth", "pretty", "id":
			return !triggers // where these may be parameters of the job
		}
		return false
	}
}

// redactQuery replaces the values that a log must not contain. A part that is not a name
// and a value is replaced as a whole.
func redactQuery(query string, isClear func(key string) bool) string {
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		name, value, found := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(name)
		switch {
		case pair == "", err == nil && !strings.ContainsAny(pair, ";?#") && isClear(key) && !holdsPair(key, value):
		case !found || err != nil || strings.ContainsAny(pair, ";?#"):
			// A token without a name, pairs in an old style, or another query that was
			// appended to this one.
			pairs[i] = redacted
		case value != "":
			pairs[i] = name + "=" + redacted
		}
	}
	return strings.Join(pairs, "&")
}

// holdsPair reports whether another name and value may have been escaped into a value, as by a client
// that takes "x&token=secret" for the name of the job.
func holdsPair(key, value string) bool {
	text, err := url.QueryUnescape(value)
	if err != nil {
		return true
	}
	return key == "job" && job.ShownName(text) != text || strings.Contains(strings.ToLower(text), "token=")
}

// responseWithoutSecrets returns the headers of an answer as a log may contain them, and
// reports whether anything was redacted: Link can hold the address of a share link.
func responseWithoutSecrets(h http.Header) (shown http.Header, secret bool) {
	links := h["Link"]
	for i, link := range links {
		clear := redactLink(link)
		if clear == link {
			continue
		}
		if !secret {
			shown, secret = h.Clone(), true
		}
		shown["Link"][i] = clear
	}
	if !secret {
		return h, false
	}
	return shown, true
}

// redactLink replaces the ID of a share link in a Link header.
func redactLink(link string) string {
	before, id, found := strings.Cut(link, "/buildByToken/shared/")
	if !found {
		return link
	}
	_, after, _ := strings.Cut(id, ">")
	return before + "/buildByToken/shared/" + redacted + ">" + after
}
