package pages_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/web/pages"
)

// A log is shown in the same way whether it is part of the page, arrives live in pieces, or is
// requested in parts: rows begin at the same places, with the same numbers and styles.
func FuzzRowsInParts(f *testing.F) {
	for _, tt := range sequences(f) {
		f.Add([]byte(tt.In), uint32(3), uint32(7))
		f.Add([]byte(tt.In+"\n"+tt.In), uint32(len(tt.In)), uint32(2))
	}
	f.Add([]byte("\x1b[31mred\nstill red\n\x1b[0mplain\n"), uint32(12), uint32(20))
	f.Add(bytes.Repeat([]byte("\x1b[32mé"), 60_000), uint32(140_000), uint32(270_000))
	f.Fuzz(func(t *testing.T, log []byte, one, two uint32) {
		whole, rest := pages.RenderRows(t, log)
		textOf(t, whole)
		textOf(t, rest)
		a, b := int(one)%(len(log)+1), int(two)%(len(log)+1)
		parts, restOfParts := pages.RenderRows(t, log, min(a, b), max(a, b))
		if parts != whole || restOfParts != rest {
			t.Fatalf("%q up to %d, up to %d and to the end:\n%s and %s\nbut at once:\n%s and %s", log, min(a, b), max(a, b), parts, restOfParts, whole, rest)
		}
	})
}

func TestStyleGoesOnBetweenRows(t *testing.T) {
	log := []byte("\x1b[31mred\nstill red\n\x1b[0mplain\n")
	for _, parts := range [][]int{nil, {9}, {19}} {
		html, _ := pages.RenderRows(t, log, parts...)
		if n := strings.Count(html, `<span class="f1">`); n != 2 {
			t.Errorf("in parts up to %v: %d rows are red, want 2 in\n%s", parts, n, html)
		}
	}
}

func TestLongLineHasSeveralRows(t *testing.T) {
	log := []byte("first\n\x1b[31m" + strings.Repeat("é", 100_000) + "\nlast\n")
	html, rest := pages.RenderRows(t, log)
	if n := strings.Count(html, `<span class="l">`); n != 4 || rest != "" {
		t.Errorf("%d rows and %q, want first, two of the long line, and last", n, rest)
	}
	if n := strings.Count(html, `<a href="?at=`); n != 3 {
		t.Errorf("%d rows have the number of their line, want the first of each line", n)
	}
	if n := strings.Count(html, `<span class="f1">`); n != 3 {
		t.Errorf("%d rows are red, want all from the second on", n)
	}
	for n, at := range []int{0, 6, 6 + 5 + 200_000 + 1} {
		if want := fmt.Sprintf(`<a href="?at=%d#at" data-n="%d" `, at, n+1); !strings.Contains(html, want) {
			t.Errorf("%s is missing", want)
		}
	}
	for length, want := range map[int]int{128 << 10: 1, 128<<10 - 1: 0} {
		if html, _ := pages.RenderRows(t, bytes.Repeat([]byte("x"), length)); strings.Count(html, `<span class="l">`) != want {
			t.Errorf("a line of %d bytes without an end has the rows %.100s, want %d", length, html, want)
		}
	}
	if shown := textOf(t, html); shown != strings.Replace(string(log), "\x1b[31m", "", 1) {
		t.Error("the text is another than that of the log")
	}
}

// Lines that begin and end groups are marked, as in the logs of GitHub and Buildkite, and those
// of diffs and of go test are not.
func TestRowsThatFold(t *testing.T) {
	for line, want := range map[string]string{
		"::group::x": "l fold group", "\x1b[32m::group::x": "l fold group", "::endgroup::": "l endgroup", "--- Tests": "l fold section", "+++ Tests": "l fold section",
		"--- a/x": "l", "+++ b/x": "l", "--- /dev/null": "l", "--- FAIL: TestX": "l", "--- PASS: TestX": "l", "--- SKIP: TestX": "l", "--- BENCH: X": "l", "--- x.go\t2000-01-01": "l",
		"---- x": "l", "--x": "l", "x ::group::": "l", "": "l", "::group:": "l",
	} {
		html, _ := pages.RenderRows(t, []byte(line+"\n"))
		if !strings.HasPrefix(html, `<span class="`+want+`">`) {
			t.Errorf("%q is %.60s, want the class %q", line, html, want)
		}
	}
	if html, _ := pages.RenderRows(t, []byte("::group::name\n")); !strings.Contains(html, `<span class="tag">::group::</span>name`) {
		t.Errorf("the mark of a group is not set apart: %s", html)
	}
}
