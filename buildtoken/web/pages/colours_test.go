package pages_test

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/web/pages"
)

// TestEveryPairOfColoursCanBeRead resolves the style sheet as a browser does. It measures the
// contrast of each pair of text and background that a log can have, with a separate
// implementation of the formula.
func TestEveryPairOfColoursCanBeRead(t *testing.T) {
	sheet := parseSheet(t, pages.ColourSheet())
	const ground, text = "#12161c", "#d5dbe2" // .console in console.css
	names := []string{""}
	for i := range 256 {
		names = append(names, fmt.Sprint(i))
	}
	for _, bg := range append(names, "n") {
		for _, fg := range append(names, "n") {
			if bg == "" && fg == "n" || len(bg) > 2 && len(fg) > 2 {
				continue // inverse text always has a background; two numbers from 100 on follow the rules of two-digit ones
			}
			front, back := sheet.resolve(fg, bg, "color", text), sheet.resolve(fg, bg, "background", ground)
			if got := ratio(t, front, back); got < 4.5 {
				t.Errorf("text %q on background %q: %s on %s has a contrast of %.2f, want 4.5", fg, bg, front, back, got)
			}
			if bg != "" || fg == "n" {
				continue
			}
			for _, back := range []string{ground, sheet["background .l.hit"], sheet["background .l.here"]} {
				if got := ratio(t, front, back); got < 4.5 {
					t.Errorf("text %q: %s on %s has a contrast of %.2f, want 4.5", fg, front, back, got)
				}
				if got := ratio(t, blend(t, front, back, 0.8), back); got < 4.5 {
					t.Errorf("dim text %q: %s on %s has a contrast of %.2f, want 4.5", fg, front, back, got)
				}
			}
		}
	}
}

// TestLightTextStaysLight verifies that common pairs keep their meaning: white on red, the mark
// of a failed test, must not become black on red.
func TestLightTextStaysLight(t *testing.T) {
	sheet := parseSheet(t, pages.ColourSheet())
	for _, bg := range []string{"1", "2", "3", "4", "5", "6", "9", "10", "12"} {
		for _, fg := range []string{"7", "15"} {
			front, back := sheet.resolve(fg, bg, "color", ""), sheet.resolve(fg, bg, "background", "")
			if luminance(t, front) < luminance(t, back) {
				t.Errorf("text %s on background %s is %s on %s, want the text lighter", fg, bg, front, back)
			}
		}
	}
}

// TestColourSheet compares the whole style sheet with its golden: a change of a colour is to be
// looked at.
func TestColourSheet(t *testing.T) {
	const golden = "testdata/colours.css"
	got := strings.ReplaceAll(pages.ColourSheet(), "}", "}\n")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", golden, diff)
	}
}

// sheet has the values of a style sheet by property and selector.
type sheet map[string]string

func parseSheet(t *testing.T, text string) sheet {
	t.Helper()
	rules := sheet{}
	for _, m := range regexp.MustCompile(`([^{}\s]+)\{(color|background):(#[0-9a-f]{6})\}`).FindAllStringSubmatch(text, -1) {
		rules[m[2]+" "+m[1]] = m[3]
	}
	if len(rules) < 1000 {
		t.Fatalf("found %d rules in the style sheet, want more than 1000", len(rules))
	}
	return rules
}

// resolve returns the value of a property for text with the classes fFG and gBG, either of
// which may be empty: the value of the most specific rule that matches.
func (s sheet) resolve(fg, bg, property, inherited string) string {
	for _, selector := range []string{".g" + bg + ".ax.f" + fg, ".g" + bg + ".ax", ".g" + bg, ".f" + fg} {
		if value, ok := s[property+" "+selector]; ok {
			return value
		}
	}
	return inherited
}

func parts(t *testing.T, colour string) (r, g, b float64) {
	t.Helper()
	var ri, gi, bi int
	if _, err := fmt.Sscanf(colour, "#%02x%02x%02x", &ri, &gi, &bi); err != nil {
		t.Fatalf("colour %q: %v", colour, err)
	}
	return float64(ri), float64(gi), float64(bi)
}

func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	r, g, b := parts(t, colour)
	sum := 0.0
	for _, c := range []struct{ value, weight float64 }{{r, 0.2126}, {g, 0.7152}, {b, 0.0722}} {
		if v := c.value / 255; v <= 0.03928 {
			sum += c.weight * v / 12.92
		} else {
			sum += c.weight * math.Pow((v+0.055)/1.055, 2.4)
		}
	}
	return sum
}

func ratio(t *testing.T, a, b string) float64 {
	t.Helper()
	la, lb := luminance(t, a), luminance(t, b)
	return (math.Max(la, lb) + 0.05) / (math.Min(la, lb) + 0.05)
}

func blend(t *testing.T, front, back string, opacity float64) string {
	t.Helper()
	r, g, b := parts(t, front)
	r2, g2, b2 := parts(t, back)
	part := func(x, y float64) int { return int(opacity*x + (1-opacity)*y) }
	return fmt.Sprintf("#%02x%02x%02x", part(r, r2), part(g, g2), part(b, b2))
}
