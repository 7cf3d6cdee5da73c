package queue

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// OneLine makes text from outside safe to be a line of a log: control
// characters and those that change the direction of text become spaces,
// invalid UTF-8 becomes U+FFFD. The result has at most limit bytes.
func OneLine(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	s = s[:limit]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}
