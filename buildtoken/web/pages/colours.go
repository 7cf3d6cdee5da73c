package pages

import (
	"bytes"
	"fmt"
	"strconv"
)

// colour is one of the 256 of a terminal; the zero value is the default one.
// Of the 16 million others the nearest is taken: a class has to stand for each.
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

// takeColour reads what follows 38 or 48 where all is separated alike, and
// says how many fields that were.
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

// withoutSpace drops the colour space that 38:2:SPACE:R:G:B names.
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
		n, err := strconv.Atoi(f)
		if err != nil || n < 0 || n > 255 {
			return colour{}, false
		}
		numbers[i] = n
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

// nearest is the one of the colours from 16 on that looks most like it. The
// first 16 are ours to choose, so nobody can mean them by their parts.
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

// palette is what a colour looks like: 16 that go with the ground of the
// console, a cube of 6×6×6, and 24 greys.
func palette(i int) rgb {
	sixteen := [16]rgb{
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
	switch {
	case i < 16:
		return sixteen[i] //nolint:gosec // i is below 16 here, and never negative
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

// legible makes a colour light enough for the dark ground of the console.
func legible(c rgb) rgb {
	for 2126*c.r+7152*c.g+722*c.b < 10_000*118 {
		c = rgb{c.r + (255-c.r)/8 + 1, c.g + (255-c.g)/8 + 1, c.b + (255-c.b)/8 + 1}
	}
	return rgb{min(c.r, 255), min(c.g, 255), min(c.b, 255)}
}

func (c rgb) String() string { return fmt.Sprintf("#%02x%02x%02x", c.r, c.g, c.b) }

// colourSheet is the style sheet of the 256 colours. Text without a ground of
// its own is made legible; with one, it is as it was chosen.
func colourSheet() []byte {
	var b bytes.Buffer
	for i := range 256 {
		c := palette(i)
		if light := legible(c); light == c {
			fmt.Fprintf(&b, ".f%d{color:%v}", i, c)
		} else {
			fmt.Fprintf(&b, ".f%d{color:%v}.ax.f%d{color:%v}", i, light, i, c)
		}
		fmt.Fprintf(&b, ".g%d{background:%v}\n", i, c)
	}
	return b.Bytes()
}
