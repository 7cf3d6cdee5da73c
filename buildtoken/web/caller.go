package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// Caller returns who sent the request, without any token: user, address, and the
// request as rules see it.
func (q *Request) Caller() definition.Caller {
	if by := &q.caller; !q.known {
		*by = definition.Caller{
			Post: q.R.Method == http.MethodPost, Trace: traceParent(q.R.Header), Request: q.seenByRules, Operator: q.Operator,
		}
		if q.Remote != nil {
			by.Remote = q.Remote(q.R)
		}
		if q.Site.User != nil {
			by.User = q.Site.User(q.R)
		}
		if by.User != "" && !q.own.users.Load() {
			q.own.users.Store(true)
		}
		q.known = true
	}
	return q.caller
}

// traceParent returns the trace context of a request, "" if there is none or if it is
// malformed. Caddy's tracing handler replaces it with that of its own span.
func traceParent(h http.Header) string {
	const form = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
	value := h.Get("Traceparent")
	if len(value) != len(form) || strings.Trim(value[3:35], "0") == "" || strings.Trim(value[36:52], "0") == "" || value[:2] == "ff" {
		return ""
	}
	for i, c := range []byte(value) {
		if hex := '0' <= c && c <= '9' || 'a' <= c && c <= 'f'; hex == (form[i] == '-') || !hex && c != '-' {
			return ""
		}
	}
	return value
}

// User returns the user that an authentication handler admitted, "" if there is none.
func (q *Request) User() string { return q.Caller().User }

// Who returns the caller as records of cancellations name it.
func (q *Request) Who() string {
	if q.User() == "" {
		return "anonymous"
	}
	return "user " + q.User()
}

// HeaderToken returns the token of a header: Authorization: Bearer, X-Build-Token or
// X-Gitlab-Token, the first that is there. Basic credentials belong to an account and are never a
// token. If account is set, the Authorization header belongs to the caller's account.
func HeaderToken(h http.Header, account bool) (secret token.Secret, presented bool) {
	if scheme, credentials, _ := strings.Cut(h.Get("Authorization"), " "); !account && strings.EqualFold(scheme, "Bearer") {
		return token.NewSecret(strings.TrimSpace(credentials)), true
	}
	for _, name := range []string{"X-Build-Token", "X-Gitlab-Token"} {
		if values := h.Values(name); len(values) > 0 {
			return token.NewSecret(values[0]), true
		}
	}
	return token.Secret{}, false
}

// seenByRules returns what CEL rules see of the request: everything except the headers in
// which this module accepts a secret, and those of accounts and sessions. Most requests
// meet no rule, so it is made when the first rule needs it.
func (q *Request) seenByRules() policy.Request {
	if q.rules != nil {
		return *q.rules
	}
	q.rules = &policy.Request{
		Method: q.R.Method, Host: q.R.Host, Path: q.R.URL.Path, Scheme: "http", UserAgent: q.R.UserAgent(),
		Headers: make(map[string]string, len(q.R.Header)),
	}
	if q.R.TLS != nil {
		q.rules.Scheme = "https"
	}
	if remote := q.Caller().Remote; remote.IsValid() {
		q.rules.RemoteIP = remote.Unmap().String()
	}
	for name, values := range q.R.Header {
		switch name {
		case "Authorization", "Proxy-Authorization", "Cookie", "X-Build-Token", "X-Gitlab-Token":
		default:
			q.rules.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
		}
	}
	return *q.rules
}

// Release frees the memory that rules needed. A request that waits for long should call it.
func (q *Request) Release() { q.rules = nil }

// May reports whether the access rules give the caller a right to a job; "" stands for
// everything that belongs to no job.
func (q *Request) May(right definition.Right, full string) bool {
	if q.access == nil {
		q.access = q.Definition.Checker(q.Caller())
	}
	return q.access.May(q.R.Context(), right, full)
}

// MayRead reports whether the caller may read a job; "" stands for everything that belongs to
// no job.
func (q *Request) MayRead(full string) bool { return q.May(definition.Read, full) }

// MayReadSome reports whether the caller may read anything in a folder, "" being the root.
func (q *Request) MayReadSome(folder string) bool {
	if q.MayRead(folder) {
		return true
	}
	return slices.ContainsFunc(q.Definition.Tree().Jobs(), func(j *job.Job) bool { return within(j.FullName, folder) && q.MayRead(j.FullName) })
}

// Readable returns the full names of the jobs in a folder, at any depth, that the
// caller may read, sorted.
func (q *Request) Readable(folder string) []string {
	var all []string
	for _, j := range q.Definition.Tree().Jobs() {
		if within(j.FullName, folder) && q.MayRead(j.FullName) {
			all = append(all, j.FullName)
		}
	}
	return all
}

// within reports whether a full name stands in a folder, at any depth.
func within(full, folder string) bool {
	return folder == "" || (len(full) > len(folder) && full[len(folder)] == '/' && strings.HasPrefix(full, folder))
}

// CrossSite reports whether a page of another site made a browser send the request.
// Such a request must not use what only the browser contributes: the user's
// session, or an address inside a network. A client that is not a browser sends nothing
// about its origin and is let through, since it holds its credentials itself.
func (q *Request) CrossSite() bool {
	var protection http.CrossOriginProtection
	// Behind a proxy that changes Host or terminates TLS, the root is what the browser saw.
	if u, err := url.Parse(q.Root()); err == nil && u.Host != "" {
		_ = protection.AddTrustedOrigin(u.Scheme + "://" + u.Host) // a root that is not an origin is not trusted
	}
	return protection.Check(q.R) != nil
}

// Prefetch reports whether a browser loads the URL ahead of any click.
func (q *Request) Prefetch() bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Moz"} {
		for _, value := range q.R.Header[name] {
			if strings.Contains(strings.ToLower(value), "prefetch") || strings.Contains(strings.ToLower(value), "prerender") {
				return true
			}
		}
	}
	return false
}

// HasAccounts reports whether any user has been seen on the site since it was loaded.
func (s *Site) HasAccounts() bool { return s.own.users.Load() }
