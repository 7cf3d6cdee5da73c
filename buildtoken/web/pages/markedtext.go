package pages

import (
	"html"
	"strings"
)

// markedText is HTML in which the text that was searched for is marked, also where it goes on
// from one piece of a line to the next. Its zero value marks nothing.
type markedText struct {
	strings.Builder
	// needle is what to mark, in lower case; "" for nothing.
	needle string
	// hits are where the needle begins in the line, in order, and at is how much of the line
	// has been written.
	hits []int
	at   int
}

// find begins the line, whose text follows in pieces. The needle must not be empty. If the text
// has another length in lower case, nothing is marked.
func (m *markedText) find(line string) {
	lower := strings.ToLower(line)
	for from := 0; len(lower) == len(line); {
		i := strings.Index(lower[from:], m.needle)
		if i < 0 {
			return
		}
		m.hits = append(m.hits, from+i)
		from += i + len(m.needle)
	}
}

// text writes the next piece of the line.
func (m *markedText) text(s string) {
	for s != "" {
		for len(m.hits) > 0 && m.hits[0]+len(m.needle) <= m.at {
			m.hits = m.hits[1:]
		}
		n, marked := len(s), len(m.hits) > 0 && m.hits[0] <= m.at
		switch {
		case marked:
			n = min(n, m.hits[0]+len(m.needle)-m.at)
		case len(m.hits) > 0:
			n = min(n, m.hits[0]-m.at)
		}
		if marked {
			m.WriteString(`<mark>` + html.EscapeString(s[:n]) + `</mark>`)
		} else {
			m.WriteString(html.EscapeString(s[:n]))
		}
		s, m.at = s[n:], m.at+n
	}
}
