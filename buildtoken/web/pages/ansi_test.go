package pages_test

import (
	"encoding/json"
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
		sequence{"a colour with a part that is missing", "\x1b[48;2;1;;3mx", "x"})
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
		{0, 0, 0, 16}, {255, 255, 255, 231}, {255, 135, 0, 208}, {8, 8, 8, 232}, {254, 1, 2, 196}, {130, 129, 131, 244},
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
		"ftp://b.test http://a.test/!?": "http://a.test/", "<http://a.test>": "http://a.test", "http://a.test\tb": "http://a.test",
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
