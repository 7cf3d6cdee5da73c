package pages

import "github.com/buildtoken/buildtoken/buildtoken/web"

func (v *visit) setHeaders() {
	h := v.W.Header()
	h.Set("Content-Security-Policy", web.ContentPolicy)
	// Without a referrer, browsers send the origin "null" with forms, which cannot be told
	// from that of another site.
	h.Set("Referrer-Policy", "same-origin")
	h.Add("Vary", "Accept")
}
