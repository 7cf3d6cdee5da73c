package pages

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// contentPolicy is the content security policy of everything that is answered here:
// what we ship, and nothing else, from nowhere else.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

func (v *visit) setHeaders() {
	h := v.w.Header()
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept")
}

// allowed answers 405 to other methods, and 403 to a form that a page of
// another site has sent.
func (v *visit) allowed(methods []string) bool {
	if !slices.Contains(methods, v.r.Method) {
		v.w.Header().Set("Allow", strings.Join(methods, ", "))
		v.fail(errMethod)
		return false
	}
	if v.r.Method != http.MethodPost {
		return true
	}
	var protection http.CrossOriginProtection
	// Behind a proxy that changes Host, the root says what the browser saw.
	if u, err := url.Parse(v.root); err == nil && u.Host != "" {
		_ = protection.AddTrustedOrigin(u.Scheme + "://" + u.Host) // one that is no origin is not trusted
	}
	if protection.Check(v.r) != nil {
		v.fail(errCrossSite)
		return false
	}
	return true
}

// noSecret is what a caller without a token presents.
func noSecret() (token.Secret, bool) { return token.Secret{}, false }

// prefersHTML says whether a client wants a page where the remote API has an
// answer too: it names text/html, as browsers do and programs don't, and
// likes nothing of ours better.
func prefersHTML(r *http.Request) bool {
	html, other := 0.0, 0.0
	for _, header := range r.Header["Accept"] {
		for part := range strings.SplitSeq(header, ",") {
			switch kind, weight := weigh(part); kind {
			case "text/html", "application/xhtml+xml":
				html = max(html, weight)
			case "application/json", "text/plain", "text/event-stream":
				other = max(other, weight)
			}
		}
	}
	return html > 0 && html >= other
}
