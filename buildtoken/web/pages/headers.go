package pages

// contentPolicy is the content security policy of all answers here: what we ship, and
// nothing else, from nowhere else.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

func (v *visit) setHeaders() {
	h := v.W.Header()
	h.Set("Content-Security-Policy", contentPolicy)
	// Without a referrer, browsers send the origin "null" with forms, which cannot be told
	// from that of another site.
	h.Set("Referrer-Policy", "same-origin")
	h.Add("Vary", "Accept")
}
