package pages

import (
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// What tests look at from outside.
var (
	Span      = span
	Size      = size
	LineStart = lineStart
	Nearest   = func(r, g, b int) int { return int(nearest(rgb{r, g, b}).index) }
	// ColourSheet is the style sheet of the colours in logs.
	ColourSheet = func() string { return string(colourSheet()) }
	BadgeOf     = func(l queue.Lane, disabled bool) string { text, _ := badgeOf(l, disabled); return text }
)

// RenderLog renders a log that starts without style, and gives the style at
// its end as the parameters of a sequence.
func RenderLog(text []byte) (out, last string) {
	html, at := renderLog(text, style{})
	return string(html), at.sequence()
}

// RenderLogFrom renders a log that starts in the style of such parameters.
func RenderLogFrom(text []byte, params string) string {
	html, _ := renderLog(text, style{}.apply(params))
	return string(html)
}
