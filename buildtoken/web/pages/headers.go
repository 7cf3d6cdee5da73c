package pages

import "github.com/buildtoken/buildtoken/buildtoken/web"

func (v *visit) setHeaders() {
	h := v.W.Header()
	h.Set("Content-Security-Policy", web.ContentPolicy)
	// Without a referrer, browsers send the origin "null" with forms, which is the same for
	// every other site.
	h.Set("Referrer-Policy", "same-origin")
	h.Add("Vary", "Accept")
}
