package pages

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
)

// colour is one of a terminal's 256 colours; the zero value is the default colour.
// For any other of the 16 million, the nearest of the 256 is used, because each
// colour needs a class.
type colour struct {
	set   bool
	index uint8
}

func indexed(n int) colour { return colour{set: true, index: uint8(n)} } //nolint:gosec // 0 to 255, as all callers see to

func (c colour) class(prefix string) string {
	if !c.set {
		return ""
	}
	return prefix + strconv.Itoa(int(c.index))
}

func (c colour) sequence() string { return "5;" + strconv.Itoa(int(c.index)) }

// takeColour reads the fields after 38 or 48 where all fields are separated by
// semicolons, and returns how many of them it used.
func takeColour(fields []string) (c colour, used int, ok bool) {
	want := 0
	if len(fields) > 0 {
		switch fields[0] {
		case "5":
			want = 2
		case "2":
			want = 4
		}
	}
	if want == 0 || len(fields) < want {
		return colour{}, len(fields), false
	}
	c, ok = parseColour(fields[:want])
	return c, want, ok
}

// withoutSpace drops the colour space of 38:2:SPACE:R:G:B.
func withoutSpace(fields []string) []string {
	if len(fields) >= 5 && fields[0] == "2" {
		return append([]string{"2"}, fields[2:5]...)
	}
	return fields
}

// parseColour reads 5, N or 2, R, G, B.
func parseColour(fields []string) (colour, bool) {
	numbers := make([]int, len(fields))
	for i, f := range fields {
		n, err := strconv.ParseUint(f, 10, 8)
		if err != nil {
			return colour{}, false
		}
		numbers[i] = int(n)
	}
	switch {
	case len(numbers) == 2 && numbers[0] == 5:
		return indexed(numbers[1]), true
	case len(numbers) == 4 && numbers[0] == 2:
		return nearest(rgb{numbers[1], numbers[2], numbers[3]}), true
	}
	return colour{}, false
}

// rgb is a colour in three parts from 0 to 255.
type rgb struct{ r, g, b int }

// nearest returns the colour from 16 on that looks most like want. What the first
// 16 look like is up to the terminal, so their parts mean nothing.
func nearest(want rgb) colour {
	best, least := 16, 1<<30
	for i := 16; i < 256; i++ {
		c := palette(i)
		dr, dg, db := c.r-want.r, c.g-want.g, c.b-want.b
		if d := 2*dr*dr + 4*dg*dg + 3*db*db; d < least {
			best, least = i, d
		}
	}
	return indexed(best)
}

// palette returns the colour with an index for text: 16 colours that suit the dark console, a
// cube of 6×6×6, and 24 greys.
func palette(i int) rgb {
	switch {
	case i < len(texts):
		return texts[i]
	case i < 232:
		level := func(n int) int {
			if n == 0 {
				return 0
			}
			return 55 + 40*n
		}
		n := i - 16
		return rgb{level(n / 36), level(n / 6 % 6), level(n % 6)}
	default:
		grey := 8 + 10*(i-232)
		return rgb{grey, grey, grey}
	}
}

// background returns the colour with an index for the background. The first 16 are darker
// than for text, so that white, bright and default text on them can be read.
func background(i int) rgb {
	if i < len(backgrounds) {
		return backgrounds[i]
	}
	return palette(i)
}

// The colours of the console itself, as in console.css, and the 16 that programs
// name. They are constant.
//
//nolint:gochecknoglobals // constant tables
var (
	consoleGround = rgb{0x12, 0x16, 0x1c}
	consoleText   = rgb{0xd5, 0xdb, 0xe2}
	// The grounds of rows that are marked: found by a search, and named by the address.
	hitGround  = rgb{0x29, 0x26, 0x1b}
	hereGround = rgb{0x1b, 0x2a, 0x44}

	texts = [16]rgb{
		{0x20, 0x26, 0x2d},
		{0xff, 0x7b, 0x72},
		{0x56, 0xd3, 0x64},
		{0xe3, 0xb3, 0x41},
		{0x79, 0xb8, 0xff},
		{0xd2, 0xa8, 0xff},
		{0x56, 0xd4, 0xdd},
		{0xd0, 0xd7, 0xde},
		{0x8b, 0x94, 0x9e},
		{0xff, 0xa1, 0x98},
		{0x7e, 0xe7, 0x87},
		{0xf2, 0xcc, 0x60},
		{0xa5, 0xd6, 0xff},
		{0xe2, 0xc5, 0xff},
		{0x8d, 0xe9, 0xf0},
		{0xff, 0xff, 0xff},
	}
	backgrounds = [16]rgb{
		{0x2d, 0x35, 0x3f},
		{0xa4, 0x26, 0x1f},
		{0x1b, 0x6e, 0x32},
		{0x7a, 0x52, 0x00},
		{0x1f, 0x56, 0xa8},
		{0x7a, 0x36, 0xa0},
		{0x0b, 0x66, 0x6e},
		{0xc9, 0xd1, 0xd9},
		{0x57, 0x60, 0x6a},
		{0xb3, 0x2d, 0x26},
		{0x1f, 0x75, 0x37},
		{0x82, 0x58, 0x00},
		{0x24, 0x5f, 0xb5},
		{0x85, 0x3e, 0xad},
		{0x0e, 0x6e, 0x76},
		{0xff, 0xff, 0xff},
	}
)

const (
	// minContrast is the contrast that WCAG 2 requires of text (success criterion 1.4.3).
	minContrast = 4.5
	// dimmed is the opacity of dim text, as in console.css.
	dimmed = 0.8
)

// luminance returns the relative luminance as WCAG 2 defines it, 0 to 1.
func (c rgb) luminance() float64 {
	linear := func(n int) float64 {
		v := float64(n) / 255
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c.r) + 0.7152*linear(c.g) + 0.0722*linear(c.b)
}

// contrast returns the contrast ratio of two colours as WCAG 2 defines it, 1 to 21.
func contrast(a, b rgb) float64 {
	la, lb := a.luminance(), b.luminance()
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

// mix returns share of a and the rest of b.
func mix(a, b rgb, share float64) rgb {
	part := func(x, y int) int { return int(math.Round(share*float64(x) + (1-share)*float64(y))) }
	return rgb{part(a.r, b.r), part(a.g, b.g), part(a.b, b.b)}
}

// readable returns the colour nearest to text that can be read on ground: it goes
// towards white or black, whichever contrasts more, as far as needed. One of the
// two always contrasts enough.
func readable(text, ground rgb) rgb {
	end := rgb{}
	if white := (rgb{255, 255, 255}); contrast(white, ground) > contrast(end, ground) {
		end = white
	}
	for step := range 32 {
		if c := mix(end, text, float64(step)/32); contrast(c, ground) >= minContrast {
			return c
		}
	}
	return end
}

// legible returns a colour light enough to be read on the grounds of the console,
// also where it is dim.
func legible(c rgb) rgb {
	for _, ground := range []rgb{consoleGround, hitGround, hereGround} {
		for contrast(mix(c, ground, dimmed), ground) < minContrast+0.1 { // browsers round
			c = mix(rgb{255, 255, 255}, c, 1.0/16)
		}
	}
	return c
}

func (c rgb) String() string { return fmt.Sprintf("#%02x%02x%02x", c.r, c.g, c.b) }

// colourSheet returns the style sheet of the 256 colours. Each pair of text and
// background that it allows has a contrast of at least [minContrast]. The first 16
// keep their hue on a background of the first 16; all others become black or white
// on a background, because there are too many pairs for a rule each.
func colourSheet() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, ".l.hit{background:%v}.l.here{background:%v}\n", hitGround, hereGround)
	for i := range 256 {
		fmt.Fprintf(&b, ".f%d{color:%v}", i, legible(palette(i)))
	}
	on := func(class string, ground, text rgb) {
		fmt.Fprintf(&b, ".%s{background:%v}.%s.ax{color:%v}\n", class, ground, class, readable(text, ground))
	}
	pairs := func(class string, ground rgb) {
		for f, text := range texts {
			fmt.Fprintf(&b, ".%s.ax.f%d{color:%v}", class, f, readable(text, ground))
		}
	}
	for i := range 256 {
		ground := background(i)
		class := "g" + strconv.Itoa(i)
		on(class, ground, consoleText)
		if i < len(backgrounds) {
			pairs(class, ground)
		}
	}
	// Inverse text without a colour has the console's colours, exchanged.
	on("gn", consoleText, consoleGround)
	pairs("gn", consoleText)
	return b.Bytes()
}
