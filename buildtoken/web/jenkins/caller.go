package jenkins

import (
	"net/http"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// Caller says who asks, without any token: user, address, and the request as
// rules see it. It is for what stands beside the API, such as pages.
func (a *API) Caller(r *http.Request) definition.Caller {
	return (&request{api: a, r: r}).caller(nil)
}

// caller says who asks, as far as the connection and the headers tell; f, if
// there is one, may hold a token too.
//
// The first token that is there counts, and the places are looked at in this
// order: query, body, Authorization: Bearer, X-Build-Token, X-Gitlab-Token. An
// empty one is there, and wrong. At a job's own URL, the Authorization header of a
// user whom an authentication handler let in is the user's, not a token.
func (q *request) caller(f *form) definition.Caller {
	by := definition.Caller{Post: q.r.Method == http.MethodPost}
	if q.api.Remote != nil {
		by.Remote = q.api.Remote(q.r)
	}
	if q.api.User != nil {
		by.User = q.api.User(q.r)
	}
	q.remote = by.Remote
	by.Request = q.seenByRules
	if f == nil {
		return by
	}
	if by.Secret, by.Presented = f.secret, f.presented; !by.Presented {
		by.Secret, by.Presented = headerToken(q.r.Header, q.accountOnly && by.User != "")
	}
	return by
}

// headerToken takes the token out of the headers. Basic credentials are an
// account's, not a token; account says that Bearer ones are, too.
func headerToken(h http.Header, account bool) (token.Secret, bool) {
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

// seenByRules is what CEL rules see of the request: no header that carries a
// secret. Most requests meet no rule, so it is made when one asks.
func (q *request) seenByRules() policy.Request {
	if q.seen != nil {
		return *q.seen
	}
	q.seen = &policy.Request{
		Method: q.r.Method, Host: q.r.Host, Path: q.r.URL.Path, Scheme: "http",
		UserAgent: q.r.UserAgent(),
		Headers:   make(map[string]string, len(q.r.Header)),
	}
	if q.r.TLS != nil {
		q.seen.Scheme = "https"
	}
	if q.remote.IsValid() {
		q.seen.RemoteIP = q.remote.Unmap().String()
	}
	for name, values := range q.r.Header {
		switch name {
		case "Authorization", "Proxy-Authorization", "Cookie", "X-Build-Token", "X-Gitlab-Token":
		default:
			q.seen.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
		}
	}
	return *q.seen
}

// crossSite says whether a browser sent the request from somebody else's
// page. Such a one must not use what the browser alone makes it: the user's
// session, or an address inside.
func (q *request) crossSite() bool {
	var protection http.CrossOriginProtection
	return protection.Check(q.r) != nil
}
