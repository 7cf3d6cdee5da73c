package pages

import (
	"bytes"
	"html/template"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/console"
)

// chunkRows is how many rows stand in one chunk, which the browser lays out, and the script
// drops, as a whole.
const chunkRows = 500

// lineWriter renders rows of a log as HTML:
//
//	<span class="l"><a href="?at=OFFSET#at" data-n="LINE" …></a>text</span>
//
// The number of a line is an attribute, so that it is no part of the text, and so is the time
// (data-t, in milliseconds since the start of the build). All methods
// expect rows as [cutRow] returns them.
type lineWriter struct {
	at    rowStart
	marks marks
	// stamps are when the text was written, in order. Those of rows before at are dropped.
	stamps []console.Stamp
	// started is when the build was.
	started time.Time
	out     strings.Builder
}

// marks are what rows are marked for.
type marks struct {
	// from and to are the offsets between which the rows are that the address names.
	from, to int64
	search   search
}

// row renders a row. The place stays.
func (w *lineWriter) row(text []byte) {
	line := terminal{style: w.at.style}
	content := strings.TrimSuffix(string(text), "\n")
	line.write(strings.ToValidUTF8(content, "\uFFFD"))
	shown := line.shown()
	end := w.at.at + int64(len(text))

	w.out.WriteString(`<span class="l`)
	if w.marks.search.matches(shown) {
		w.out.WriteString(" hit")
		line.out.needle = w.marks.search.text
	}
	w.out.WriteString(foldOf(shown))
	if w.marks.from < min(w.marks.to, end) && w.marks.to > w.at.at {
		w.out.WriteString(` here`)
		if w.marks.from >= w.at.at { // the first of them
			w.out.WriteString(`" id="at`)
		}
	}
	if ms, ok := w.time(); ok {
		w.out.WriteString(`" data-t="` + strconv.FormatInt(ms, 10))
	}
	w.out.WriteString(`">`)
	if !w.at.within {
		w.out.WriteString(`<a href="?at=` + strconv.FormatInt(w.at.at, 10) + `#at" data-n="` + strconv.FormatInt(w.at.line, 10) + `" tabindex="-1" aria-hidden="true"></a>`)
	}
	line.out.WriteString(tagOf(&line))
	line.flush()
	w.out.WriteString(line.out.String())
	if len(content) < len(text) {
		w.out.WriteByte('\n')
	}
	w.out.WriteString(`</span>`)
}

// time returns when the row was written, in milliseconds since the build started, if that
// is known.
func (w *lineWriter) time() (ms int64, ok bool) {
	for len(w.stamps) > 1 && w.stamps[1].Offset <= w.at.at {
		w.stamps = w.stamps[1:]
	}
	if len(w.stamps) == 0 || w.stamps[0].Offset > w.at.at {
		return 0, false
	}
	return max(w.stamps[0].At.Sub(w.started), 0).Milliseconds(), true
}

// rest renders the row that has no end yet.
func (w *lineWriter) rest(text []byte) template.HTML {
	if len(text) == 0 {
		return ""
	}
	row := lineWriter{at: w.at, marks: w.marks, stamps: w.stamps, started: w.started}
	row.row(text)
	return template.HTML(row.out.String()) //nolint:gosec // row escapes all text
}

// lines renders whole rows, and returns the text after the last of them.
func (w *lineWriter) lines(text []byte) (rest []byte) {
	for {
		row, ended := cutRow(text)
		if !ended {
			return text
		}
		w.row(row)
		w.at = w.at.after(row)
		text = text[len(row):]
	}
}

// chunks renders whole rows in chunks.
func (w *lineWriter) chunks(text []byte) (rest []byte) {
	for {
		at := len(text)
		rows := 0
		for part := text; rows < chunkRows; rows++ {
			row, ended := cutRow(part)
			if !ended {
				break
			}
			part = part[len(row):]
			at = len(text) - len(part)
		}
		if rows == 0 {
			return text
		}
		from := w.at.at
		w.out.WriteString(`<span class="chunk" data-from="` + strconv.FormatInt(from, 10) + `" data-to="` + strconv.FormatInt(from+int64(at), 10) + `">`)
		w.lines(text[:at])
		w.out.WriteString(`</span>`)
		text = text[at:]
	}
}

// take returns what has been rendered.
func (w *lineWriter) take() template.HTML {
	return template.HTML(w.out.String()) //nolint:gosec // row escapes all text
}

// groupTag begins a group.
const groupTag = "::group::"

// tagOf takes the mark of a group off the beginning of a line and returns it as HTML, so
// that only the name of the group needs to be shown.
func tagOf(line *terminal) string {
	if len(line.line) == 0 || !bytes.HasPrefix(line.line[0].text, []byte(groupTag)) {
		return ""
	}
	line.line[0].text = line.line[0].text[len(groupTag):]
	return `<span class="tag">` + groupTag + `</span>`
}

// foldOf returns the class of a row that begins or ends a group of rows, which the script
// folds: those of GitHub (::group::) and of Buildkite (--- and +++).
func foldOf(line string) string {
	switch {
	case strings.HasPrefix(line, groupTag):
		return " fold group"
	case strings.HasPrefix(line, "::endgroup::"):
		return " endgroup"
	case strings.HasPrefix(line, "--- "), strings.HasPrefix(line, "+++ "):
		if !isDiff(line[len("--- "):]) {
			return " fold section"
		}
	}
	return ""
}

// isDiff reports whether the rest of a line that begins like a section is that of a diff or
// of the results of go test.
func isDiff(rest string) bool {
	for _, prefix := range []string{"a/", "b/", "/dev/null", "FAIL:", "PASS:", "SKIP:", "BENCH:"} {
		if strings.HasPrefix(rest, prefix) {
			return true
		}
	}
	return strings.Contains(rest, "\t") // the time of a file in a diff
}
