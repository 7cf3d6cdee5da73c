package caddymodule

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// rootURL determines the URL under which clients reach a handler. The zero value derives
// it from each request.
type rootURL struct {
	configured string // ends with a slash
}

var errRootURL = errors.New("want an absolute http or https URL without user, query and fragment")

func parseRootURL(text string) (rootURL, error) {
	if text == "" {
		return rootURL{}, nil
	}
	text, err := placeholders{}.replace(text)
	if err != nil {
		return rootURL{}, err
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil ||
		strings.ContainsAny(text, "?#") || !isHost(u.Host) {
		return rootURL{}, fmt.Errorf("%q: %w", text, errRootURL)
	}
	return rootURL{configured: strings.TrimRight(u.String(), "/") + "/"}, nil
}

// of returns the root URL for a request. It ends with a slash.
func (u rootURL) of(r *http.Request) string {
	if u.configured != "" {
		return u.configured
	}
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		if forwarded := first(r.Header.Get("X-Forwarded-Proto")); forwarded == "http" || forwarded == "https" {
			scheme = forwarded
		}
		if forwarded := first(r.Header.Get("X-Forwarded-Host")); isHost(forwarded) {
			host = forwarded
		}
	}
	if !isHost(host) {
		// A client can send a Host header that is not allowed in a URL.
		host = localHost(r)
	}
	return scheme + "://" + host + prefix(r) + "/"
}

// first returns the first of several values: the one written by the proxy nearest to the
// client.
func first(values string) string {
	value, _, _ := strings.Cut(values, ",")
	return strings.TrimSpace(value)
}

// isHost reports whether a text is a host name or an address, with or without a port,
// that can be used in a URL without escaping.
func isHost(text string) bool {
	host, port := text, ""
	if at := strings.LastIndexByte(text, ':'); at >= 0 && !strings.HasSuffix(text, "]") {
		host, port = text[:at], text[at+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
	}
	if inside, ok := strings.CutPrefix(host, "["); ok {
		inside, ok = strings.CutSuffix(inside, "]")
		return ok && net.ParseIP(inside) != nil && strings.Contains(inside, ":")
	}
	return host != "" && !strings.ContainsFunc(host, func(c rune) bool {
		return c != '.' && c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	})
}

// localHost returns the address on which the request arrived.
func localHost(r *http.Request) string {
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && isHost(addr.String()) {
		return addr.String()
	}
	return "localhost"
}

// prefix returns the part of the path that was stripped before the request came
// to us, as by handle_path, without a slash at the end. It is empty, or begins
// with exactly one slash and has no dot segments, so that no browser takes it for
// another host.
func prefix(r *http.Request) string {
	original, _ := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if original.URL == nil {
		return "" // not a request of Caddy
	}
	// Escapes are kept if possible. Caddy joins doubled slashes and resolves dot
	// segments when it strips a prefix, and escapes may be lost on the way.
	for _, p := range [...]struct{ whole, rest string }{
		{original.URL.EscapedPath(), r.URL.EscapedPath()},
		{caddyhttp.CleanPath(original.URL.EscapedPath(), true), r.URL.EscapedPath()},
	} {
		stripped, ok := strings.CutSuffix(p.whole, p.rest)
		stripped = strings.TrimRight(stripped, "/")
		if text, err := url.PathUnescape(stripped); ok && err == nil && isClean(text) {
			return stripped
		}
	}
	stripped, ok := strings.CutSuffix(caddyhttp.CleanPath(original.URL.Path, true), r.URL.Path)
	if stripped = strings.TrimRight(stripped, "/"); ok && isClean(stripped) {
		return (&url.URL{Path: stripped}).EscapedPath()
	}
	return ""
}

// isClean reports whether a path without a slash at the end has no empty and no
// dot segments.
func isClean(p string) bool {
	return p == "" || p[0] == '/' && path.Clean(p) == p
}
