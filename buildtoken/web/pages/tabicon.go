package pages

import "fmt"

// tabIcon is the icon of a page about something in a state: a glyph on a ground. The glyphs
// differ, so that the state is visible without the colour.
type tabIcon struct{ ground, glyph string }

// Glyphs of several states, drawn in white in a square of 16 by 16.
const (
	tabClock = `<path d="M8 3.8V8l2.8 1.9" fill="none" stroke="#fff" stroke-width="2" stroke-linecap="round"/>`
	tabMark  = `<path d="M8 3.6v5.2" stroke="#fff" stroke-width="2.2" stroke-linecap="round"/><circle cx="8" cy="12" r="1.3" fill="#fff"/>`
	tabDash  = `<path d="M4.5 8h7" stroke="#fff" stroke-width="2.4" stroke-linecap="round"/>`
)

// tabIcons are by the class of the state. Other states have the icon of the site.
//
//nolint:gochecknoglobals // a constant table
var tabIcons = map[string]tabIcon{
	"success":   {"#1a7f37", `<path d="m4 8.4 2.8 2.8L12 5.4" fill="none" stroke="#fff" stroke-width="2.2" stroke-linecap="round" stroke-linejoin="round"/>`},
	"unstable":  {"#8a6400", tabMark},
	"failure":   {"#c62828", `<path d="m4.8 4.8 6.4 6.4m0-6.4-6.4 6.4" stroke="#fff" stroke-width="2.2" stroke-linecap="round"/>`},
	"aborted":   {"#6e5a33", `<path d="M5 5h6v6H5z" fill="#fff"/>`},
	"running":   {"#1f56c4", `<circle cx="8" cy="8" r="4.6" fill="none" stroke="#fff" stroke-width="2.2" stroke-dasharray="20 9" stroke-linecap="round"/>`},
	"stuck":     {"#8a5a00", tabMark},
	"waiting":   {"#6b4bb8", tabClock},
	"blocked":   {"#6b4bb8", tabClock},
	"ready":     {"#6b4bb8", tabClock},
	"cancelled": {"#57606a", tabDash},
	"notbuilt":  {"#57606a", tabDash},
}

func (i tabIcon) svg() []byte {
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" fill="%s"/>%s</svg>`, i.ground, i.glyph)
}

func tabIconName(state string) string { return "icon-" + state + ".svg" }

// tabIcon returns the path of the icon of a page.
func (v *visit) tabIcon(pg *page) string {
	name, ok := v.kit.urls[tabIconName(pg.Icon)]
	if !ok {
		name = v.kit.urls["icon.svg"]
	}
	return v.assetURL(name)
}
