package pages

import (
	"bytes"
	"context"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// This file exports internals for tests.
var (
	Span    = span
	Size    = size
	Nearest = func(r, g, b int) int { return int(nearest(rgb{r, g, b}).index) }
	// ColourSheet is the style sheet of the colours in logs.
	ColourSheet = func() string { return string(colourSheet()) }
	Remedy      = remedy
	BadgeOf     = func(l queue.Lane, disabled bool) string { text, _ := badgeOf(l, disabled); return text }
)

// StartersOf returns the starters of a cause, as the parameter by of an address.
func StartersOf(c queue.Cause) (named, token string) {
	n, t := startersOf(c)
	return n.String(), t.String()
}

// VersionOf is the version that pages show of a program.
var VersionOf = versionOf

// WithoutTemplate removes a template. All others become empty.
func (p *Pages) WithoutTemplate(name string) {
	p.once.Do(func() { p.kit = newKit() })
	rest := template.New("")
	for _, t := range p.kit.templates.Templates() {
		if t.Name() != name {
			template.Must(rest.New(t.Name()).Parse(""))
		}
	}
	p.kit.templates = rest
}

// Followed returns how many shared pages are kept for streams.
func (p *Pages) Followed() int {
	p.kit.boards.mu.Lock()
	defer p.kit.boards.mu.Unlock()
	return len(p.kit.boards.all)
}

// RenderLog renders a log that starts without style. It also returns the style at its end as
// the parameters of a sequence.
func RenderLog(text []byte) (out, last string) {
	return renderLog(text, style{})
}

// RenderLogFrom renders a log that starts in the style of such parameters.
func RenderLogFrom(text []byte, params string) string {
	html, _ := renderLog(text, style{}.apply(params))
	return html
}

func renderLog(text []byte, first style) (out, last string) {
	t := terminal{style: first}
	// Replace invalid bytes before any are dropped: bytes around a dropped part could become
	// a character, even a control character.
	t.write(strings.ToValidUTF8(string(text), "\uFFFD"))
	t.flush()
	return t.out.String(), t.style.sequence()
}

// LooksLikeError reports whether "First error" finds a line.
func LooksLikeError(line string) bool { return search{errors: true}.matches(line) }

// FindIn searches a log.
func FindIn(t testing.TB, log []byte, text string, errors bool) string {
	t.Helper()
	f, err := (search{text: strings.ToLower(text), errors: errors}).find(t.Context(), bytes.NewReader(log), int64(len(log)), -1)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(f)
}

// SearchLog returns how many rows of a log of some size have a text.
func SearchLog(ctx context.Context, log io.ReaderAt, size int64, text string) (int, error) {
	f, err := search{text: text}.find(ctx, log, size, -1)
	return f.count, err
}

// Find searches a log in both ways: as pages do, while it grows, and row by row.
func Find(t testing.TB, log []byte, text string, errors bool, place int64) (quick, slow string) {
	t.Helper()
	s := search{text: strings.ToLower(text), errors: errors}
	f, err := s.find(t.Context(), bytes.NewReader(slices.Concat(log, log)), int64(len(log)), place)
	if err != nil {
		t.Fatal(err)
	}
	var g found
	for at := 0; at < len(log); {
		row, _ := cutRow(log[at:])
		if s.matches(visible(row)) {
			g.add(int64(at), int64(at+len(row)), place)
		}
		at += len(row)
	}
	g.round()
	return fmt.Sprint(f), fmt.Sprint(g)
}

// RenderRows renders a log in parts, as a page does. parts are the offsets at which parts of
// the log end.
func RenderRows(t testing.TB, log []byte, parts ...int) (html, rest string) {
	t.Helper()
	var index rowIndex
	from := 0
	for _, to := range append(parts, len(log)) {
		if to < from || to > len(log) {
			continue
		}
		at, err := index.find(t.Context(), bytes.NewReader(log), logKey{}, int64(from))
		if err != nil {
			t.Fatal(err)
		}
		w := lineWriter{at: at}
		behind := w.lines(log[at.at:to])
		html += string(w.take())
		rest = string(w.rest(behind))
		if reread, ok := parseRowStart(w.at.String()); !ok || reread != w.at {
			t.Fatalf("place %+v becomes %q and that %+v, %v", w.at, w.at, reread, ok)
		}
		from = int(w.at.at)
	}
	return html, rest
}

// StartedBy returns the names of the causes that the parameter by of an address selects, sorted.
func StartedBy(by string, causes map[string]queue.Cause) []string {
	var names []string
	for name, c := range causes {
		if parseStarter(by).started(queue.Item{Causes: []queue.Cause{c}}) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// RowIndex keeps row starts of logs.
type RowIndex struct{ index rowIndex }

// Find returns the offset of the row that holds an offset of the log of a build.
func (x *RowIndex) Find(ctx context.Context, log io.ReaderAt, build, offset int64) (int64, error) {
	at, err := x.index.find(ctx, log, logKey{number: build}, offset)
	return at.at, err
}

// Pieces keeps pieces of live logs.
type Pieces struct{ pieces pieces }

// Get returns the piece of a log that ends at an offset, as HTML.
func (p *Pieces) Get(to int64, render func() (string, error)) (string, error) {
	piece, err := p.pieces.get(pieceKey{to: to}, func() (livePiece, error) {
		html, err := render()
		return livePiece{html: template.HTML(html)}, err
	})
	return string(piece.html), err
}

// EnterSearch takes the place of a search.
func (p *Pages) EnterSearch(ctx context.Context) (leave func(), err error) {
	p.once.Do(func() { p.kit = newKit() })
	return p.kit.enterSearch(ctx)
}
