package web

import (
	"strings"

	"github.com/munnerz/goautoneg"
)

// Media types that answers are offered in.
const (
	typeText   = "text/plain"
	typeHTML   = "text/html"
	typeJSON   = "application/json"
	typeEvents = "text/event-stream"
)

// Negotiate returns the media type of offers that the Accept headers prefer. Among equal
// weights, a type that is named wins over one that only a wildcard matches, and then the
// one that is named first. If nothing fits, it returns the first offer.
func Negotiate(accept []string, offers ...string) string {
	if len(accept) == 0 || len(accept) == 1 && accept[0] == "*/*" { // as most clients that are no browser send
		return offers[0]
	}
	clauses := goautoneg.ParseAccept(strings.ToLower(strings.Join(accept, ",")))
	chosen, best := offers[0], rank{}
	for _, offer := range offers {
		if r := rankOf(clauses, offer); r.above(best) {
			chosen, best = offer, r
		}
	}
	return chosen
}

// rank is how much a client wants a media type. The zero rank means not at all.
type rank struct {
	weight   float64
	exact    int // 2: named, 1: its main type is, 0: only */*
	position int
}

func (r rank) above(other rank) bool {
	switch {
	case r.weight != other.weight:
		return r.weight > other.weight
	case r.exact != other.exact:
		return r.exact > other.exact
	}
	return r.position < other.position
}

// rankOf returns the rank of a media type: the most specific clause counts.
func rankOf(clauses []goautoneg.Accept, offer string) rank {
	kind, sub, _ := strings.Cut(offer, "/")
	found := rank{exact: -1}
	for i, c := range clauses {
		exact := -1
		switch {
		case c.Type == kind && c.SubType == sub:
			exact = 2
		case c.Type == kind && c.SubType == "*":
			exact = 1
		case c.Type == "*" && c.SubType == "*":
			exact = 0
		}
		if exact > found.exact && c.Q > 0 && c.Q <= 1 {
			found = rank{c.Q, exact, i}
		} else if exact > found.exact {
			found = rank{exact: exact}
		}
	}
	if found.weight == 0 {
		return rank{}
	}
	return found
}

// WantsJSON reports whether the answer should be JSON rather than text.
func (q *Request) WantsJSON() bool {
	return !q.Plain && Negotiate(q.R.Header["Accept"], typeText, typeHTML, typeJSON) == typeJSON
}

// WantsEvents reports whether a log should come as server-sent events rather than text.
func (q *Request) WantsEvents() bool {
	return Negotiate(q.R.Header["Accept"], typeText, typeHTML, typeEvents) == typeEvents
}

// WantsPage reports whether the client wants a page where there is an answer for
// programs too: it names text/html, as browsers do and programs do not.
func (q *Request) WantsPage() bool {
	switch Negotiate(q.R.Header["Accept"], typeJSON, typeText, typeEvents, typeHTML, "application/xhtml+xml") {
	case typeHTML, "application/xhtml+xml":
		return true
	}
	return false
}
