package pages_test

import (
	"encoding/json"
	"fmt"
	"html"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/buildtoken/buildtoken/buildtoken/web/pages"
)

// sequence is a log and its HTML.
type sequence struct{ Name, In, Want string }

// sequences are cases that the script for live output must render in the same way; the browser
// tests read the same file.
func sequences(t testing.TB) []sequence {
	t.Helper()
	text, err := os.ReadFile("testdata/ansi.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []sequence
	if err := json.Unmarshal(text, &all); err != nil || len(all) == 0 {
		t.Fatalf("%d sequences, %v", len(all), err)
	}
	return append(all,
		sequence{"bytes that are no UTF-8", "a\xffb\xe2\x82", "a\uFFFDb\uFFFD"},
		sequence{"a colour that does not exist", "\x1b[38;5;256mx", "x"},
		sequence{"a colour that is too large for a number", "\x1b[38;5;99999999999999999999mx", "x"},
		sequence{"a part of a colour that is too large", "\x1b[38;2;1;2;256mx", "x"},
		sequence{"a colour with a part that is missing", "\x1b[48;2;1;;3mx", "x"},
		sequence{"a colour that is cut off", "\x1b[32m\x1b[38;5mx\x1b[38;2;1;2my", `<span class="f2">xy</span>`},
		sequence{"colons with too few or too many parts", "\x1b[32m\x1b[38:2:7mx\x1b[38:5:1:9my\x1b[38:5:1:2:3mz\x1b[38:2:1:2mw", `<span class="f2">xyzw</span>`},
		sequence{"a colour that is none keeps the one before", "\x1b[31;41m\x1b[38;5;999m\x1b[48;5;999mx", `<span class="f1 g1 ax">x</span>`},
		sequence{"colons after another code", "\x1b[1:2mx", "x"},
		sequence{"intermediate characters", "\x1b[1;/mx\x1b[1/my\x1b(/Bz\x1b Fw", "xyzw"},
		sequence{"a digit behind an intermediate character", "\x1b[1/0mx\x1b[1 ?my", "0mx?my"},
		sequence{"a control character in a sequence", "\x1b[1\x1fmx", "mx"},
		sequence{"the first and the last final characters", "\x1b[@a\x1b[3~b\x1b~c\x1b0de", "abcde"},
		sequence{"a character set at the end", "x\x1b(", "x"},
		sequence{"an escape before the end of a line", "x\x1b\n", "x\n"},
		sequence{"an escape in a title without end", "\x1b]0;t\x1b", "0;t"},
		sequence{"a control string without content", "\x1b]\ax\x1bP\x1b\\y\a", "xy"},
		sequence{"a title after one without end", "\x1b]0;a\n\x1b]0;b\ax", "0;a\nx"},
		sequence{"the longest sequence", "\x1b[" + strings.Repeat("0", 2045) + "1mx", `<span class="ab">x</span>`},
		sequence{"a sequence that is too long", "\x1b[" + strings.Repeat("0", 2046) + "1mx", "1mx"},
		sequence{"the longest sequence with intermediate characters", "\x1b[" + strings.Repeat(" ", 2046) + "mx", "x"},
		sequence{"too many intermediate characters", "\x1b[" + strings.Repeat(" ", 2047) + "mx", " mx"},
		sequence{"the longest title", "\x1b]" + strings.Repeat("t", 2045) + "\ax", "x"},
		sequence{"a title that is too long", "\x1b]" + strings.Repeat("t", 2046) + "\ax", strings.Repeat("t", 2046) + "x"},
		sequence{"characters next to control characters", " a\u00a0b\u009fc\x7fd~", " a\u00a0bcd~"})
}

// Each code that stands alone has its meaning, and no other one has any.
func TestEveryStyleCode(t *testing.T) {
	begins := map[int]string{1: "ab", 2: "ad", 3: "ai", 4: "au", 7: "fn gn ax", 8: "ac", 9: "as", 21: "au"}
	for n := range 8 {
		begins[30+n], begins[90+n] = fmt.Sprint("f", n), fmt.Sprint("f", 8+n)
		begins[40+n], begins[100+n] = fmt.Sprintf("g%d ax", n), fmt.Sprintf("g%d ax", 8+n)
	}
	const all = "ab ad ai au as ac f2 g1 ax" // inverse red on green
	ends := map[int]string{
		22: "ai au as ac f2 g1 ax", 23: "ab ad au as ac f2 g1 ax", 24: "ab ad ai as ac f2 g1 ax", 27: "ab ad ai au as ac f1 g2 ax",
		28: "ab ad ai au as f2 g1 ax", 29: "ab ad ai au ac f2 g1 ax", 39: "ab ad ai au as ac gn f2 ax", 49: "ab ad ai au as ac fn g1 ax",
	}
	span := func(classes string) string {
		if classes == "" {
			return "x"
		}
		return `<span class="` + classes + `">x</span>`
	}
	for code := range 120 {
		if code == 38 || code == 48 { // the colour follows
			continue
		}
		if got, _ := pages.RenderLog(fmt.Appendf(nil, "\x1b[%dmx", code)); got != span(begins[code]) {
			t.Errorf("after code %d: %s, want %s", code, got, span(begins[code]))
		}
		want, ok := ends[code]
		if !ok && begins[code] == "" && code != 0 {
			want, ok = all, true
		}
		if got, _ := pages.RenderLog(fmt.Appendf(nil, "\x1b[1;2;3;4;7;8;9;31;42m\x1b[%dmx", code)); ok && got != span(want) {
			t.Errorf("after all styles and code %d: %s, want %s", code, got, span(want))
		}
	}
}

func TestLogBecomesHTML(t *testing.T) {
	for _, tt := range sequences(t) {
		t.Run(tt.Name, func(t *testing.T) {
			if got, _ := pages.RenderLog([]byte(tt.In)); got != tt.Want {
				t.Errorf("%q\n got %s\nwant %s", tt.In, got, tt.Want)
			}
		})
	}
}

func TestStyleGoesOn(t *testing.T) {
	for _, in := range []string{"\x1b[31m", "\x1b[1;2;3;4;7;8;9m", "\x1b[38;5;208;48;5;17m", "\x1b[91;104m", ""} {
		_, last := pages.RenderLog([]byte(in))
		want, _ := pages.RenderLog([]byte(in + "x"))
		if got := pages.RenderLogFrom([]byte("x"), last); got != want {
			t.Errorf("after %q, parameters %q: %s, want %s", in, last, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	for _, tt := range []struct{ r, g, b, want int }{
		{0, 0, 0, 16},
		{255, 255, 255, 231},
		{255, 135, 0, 208},
		{8, 8, 8, 232},
		{254, 1, 2, 196},
		{130, 129, 131, 244},
		{41, 40, 113, 238},
		{54, 235, 213, 80},
		{238, 238, 238, 255},
		{248, 248, 248, 231},
	} {
		if got := pages.Nearest(tt.r, tt.g, tt.b); got != tt.want {
			t.Errorf("Nearest(%d, %d, %d) = %d, want %d", tt.r, tt.g, tt.b, got, tt.want)
		}
	}
}

// textOf returns the text of a rendered log. It verifies that spans and links are balanced, and
// that there is no other markup.
func textOf(t testing.TB, out string) string {
	t.Helper()
	tag := regexp.MustCompile(`<(?:span|a)(?: [a-z-]+="[^"<>]*")+>|</(?:span|a)>`)
	var open []string
	for _, m := range tag.FindAllString(out, -1) {
		name, _, _ := strings.Cut(strings.Trim(m, "</>"), " ")
		if !strings.HasPrefix(m, "</") {
			open = append(open, name)
			continue
		}
		if len(open) == 0 || open[len(open)-1] != name {
			t.Fatalf("%s closes nothing in %q", m, out)
		}
		open = open[:len(open)-1]
	}
	rest := tag.ReplaceAllString(out, "")
	if len(open) > 0 || strings.ContainsAny(rest, `<>"'`) {
		t.Fatalf("markup is left in %q", out)
	}
	return html.UnescapeString(rest)
}

func FuzzRenderLog(f *testing.F) {
	for _, tt := range sequences(f) {
		f.Add([]byte(tt.In))
	}
	f.Add([]byte("\x1b]" + strings.Repeat("x", 5000)))
	f.Add([]byte("\x1b[" + strings.Repeat("1;", 5000) + "m"))
	f.Fuzz(func(t *testing.T, log []byte) {
		out, last := pages.RenderLog(log)
		shown := textOf(t, out)
		if !utf8.ValidString(shown) {
			t.Fatalf("%q shows %q", log, shown)
		}
		for _, r := range shown {
			if (r < ' ' && r != '\n' && r != '\t') || (r >= 0x7f && r < 0xa0) {
				t.Fatalf("%q shows the control character %U", log, r)
			}
		}
		if n, m := strings.Count(shown, "\n"), strings.Count(string(log), "\n"); n > m {
			t.Fatalf("%d lines of %d", n, m)
		}
		// The style at the end must be complete.
		if _, again := pages.RenderLog([]byte("\x1b[" + last + "m")); again != last {
			t.Fatalf("style %q becomes %q", last, again)
		}
	})
}

// A user who can write a log can write such logs; the page must load all the same.
func BenchmarkRenderLog(b *testing.B) {
	for name, piece := range map[string]string{
		"plain":                 strings.Repeat("x", 99) + "\n",
		"coloured":              "\x1b[32mok\x1b[0m package " + strings.Repeat("x", 50) + "\n",
		"one line with control": "a\x00",
		"strings without end":   "\x1b]",
		"many styles":           "\x1b[31ma\x1b[32mb",
		"millions of colours":   "\x1b[38;2;1;2;3ma\x1b[38;2;3;2;1mb",
	} {
		b.Run(name, func(b *testing.B) {
			log := []byte(strings.Repeat(piece, (512<<10)/len(piece)))
			b.SetBytes(int64(len(log)))
			b.ReportAllocs()
			for b.Loop() {
				pages.RenderLog(log)
			}
		})
	}
}

// Only what begins like the address of a web page is a link, and without what belongs to the sentence.
func TestAddressesInALog(t *testing.T) {
	for text, want := range map[string]string{
		"http://a.test": "http://a.test", "see https://a.test/x?y=z#1.": "https://a.test/x?y=z#1", "1http://a.test": "http://a.test",
		"=https://a.test,": "https://a.test", "{http://a.test": "http://a.test", "[https://a.test]": "https://a.test", "(http://a.test/(x))": "http://a.test/(x)",
		"://b.test http://a.test": "http://a.test", "http:// http://a.test": "http://a.test", "[http://[::1]]": "http://[::1]", "http://a.test/" + strings.Repeat("x", 2034): "http://a.test/" + strings.Repeat("x", 2034),
		"http://a.test/" + strings.Repeat("x", 2035): "",
		"ftp://b.test http://a.test/!?":              "http://a.test/", "<http://a.test>": "http://a.test", "http://a.test\tb": "http://a.test",
		"ahttp://a.test": "", "zhttps://a.test": "", "Ahttp://a.test": "", "Zhttps://a.test": "", "ftp://a.test": "", "http://": "", "://a.test": "", "javascript://a.test": "", "s://a.test": "",
	} {
		out, _ := pages.RenderLog([]byte(text))
		got := ""
		if _, after, ok := strings.Cut(out, `<a href="`); ok {
			got, _, _ = strings.Cut(after, `"`)
		}
		if got != want {
			t.Errorf("%q has the link %q, want %q; HTML %s", text, got, want, out)
		}
	}
}
