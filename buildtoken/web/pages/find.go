package pages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// maxQuery is how long the text to find may be, in bytes.
	maxQuery = 200
	// findBlock is how much of a log is searched at a time, in bytes.
	findBlock = 512 << 10
	// findMost is how much of a log is searched, in bytes. Only programs that lift the
	// limit of logs have longer ones.
	findMost = 256 << 20
	// searchesAtOnce is how many logs are searched at the same time. Others wait.
	searchesAtOnce = 2
)

// search is what to find in a log, in the text that is shown and whatever the case. Its
// zero value finds nothing.
type search struct {
	// text is in lower case; "" for none.
	text string
	// errors finds lines that look like an error.
	errors bool
}

// What an error looks like. The needles stand in every line that the pattern matches.
//
//nolint:gochecknoglobals // constant tables
var (
	errorNeedles = []string{"error", "fail", "panic", "fatal", "exception", "traceback"}
	errorPattern = regexp.MustCompile(`\b(?:error|fail(?:ed|ure|ures)?|panic|fatal|traceback|[a-z]*exception)\b`)
	// noError matches counts of nothing, such as "0 failed" and "failures: 0".
	noError = regexp.MustCompile(`\b(?:0|no) (?:error|fail(?:ed|ure|ures)?)\b|\b(?:error|fail(?:ed|ure|ures)?)s?\s*[:=]\s*0\b`)
)

func (s search) active() bool { return s.text != "" || s.errors }

// matches reports whether a line is one to find.
func (s search) matches(shown string) bool {
	return s.active() && s.matchesLower([]byte(strings.ToLower(shown)))
}

func (s search) matchesLower(shown []byte) bool {
	if !s.errors {
		return bytes.Contains(shown, []byte(s.text))
	}
	if bytes.HasPrefix(shown, []byte("finished: ")) || !slices.ContainsFunc(errorNeedles, func(n string) bool { return bytes.Contains(shown, []byte(n)) }) {
		return false // the last line is the result of the build, not its reason
	}
	return errorPattern.Match(noError.ReplaceAllLiteral(shown, nil))
}

func (s search) needles() []string {
	if s.errors {
		return errorNeedles
	}
	return []string{s.text}
}

// found is the result of a search. Offsets are those of rows; the previous match of the first
// one is the last one, and the other way round.
type found struct {
	count int
	// current is the number of the row at the place, from 1, 0 if that is none.
	current    int
	at         int64
	prev, next int64
	first      int64
	last       int64
}

// add counts a row that matches. place is the offset that the reader looks at; if it is
// negative, that is the first match.
func (f *found) add(from, to, place int64) {
	f.count++
	if f.count == 1 {
		f.first, f.prev, f.next = from, -1, -1
	}
	f.last = from
	switch {
	case place < 0 && f.count == 1, from <= place && place < to:
		f.current, f.at = f.count, from
	case to <= place:
		f.prev = from
	case f.next < 0:
		f.next = from
	}
}

// round makes the first follow the last.
func (f *found) round() {
	if f.prev < 0 {
		f.prev = f.last
	}
	if f.next < 0 {
		f.next = f.first
	}
}

// enterSearch waits until few enough logs are being searched. leave must be called.
func (k *kit) enterSearch(ctx context.Context) (leave func(), err error) {
	select {
	case k.searching <- struct{}{}:
		return func() { <-k.searching }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// find searches the first size bytes of a log, at most findMost.
func (s search) find(ctx context.Context, log io.ReaderAt, size, place int64) (found, error) {
	var f found
	size = min(size, findMost)
	buf := make([]byte, 0, findBlock)
	for at := int64(0); at < size; {
		n, err := log.ReadAt(buf[len(buf):min(int64(cap(buf)), size-at)], at+int64(len(buf)))
		buf = buf[:len(buf)+n]
		last := err != nil || at+int64(len(buf)) >= size
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return f, fmt.Errorf("pages: search a log: %w", err)
		case ctx.Err() != nil:
			return f, context.Cause(ctx)
		}
		whole := len(buf)
		if !last {
			whole = wholeRows(buf)
		}
		s.block(&f, buf[:whole], at, place)
		at += int64(whole)
		if last {
			break
		}
		buf = buf[:copy(buf[:cap(buf)], buf[whole:])]
	}
	f.round()
	return f, nil
}

// wholeRows returns the length of the whole rows at the start of a text.
func wholeRows(text []byte) int {
	if nl := bytes.LastIndexByte(text, '\n'); nl >= len(text)-maxRow {
		return nl + 1
	}
	whole := 0
	for {
		row, ended := cutRow(text[whole:])
		if !ended {
			return whole
		}
		whole += len(row)
	}
}

// unhidden reports whether text has no control characters between others, which a row does not show.
// It returns false for some texts without any.
func unhidden(text []byte) bool {
	for _, c := range text {
		switch {
		case c >= ' ' && c < 0x7f, c == '\t', c == '\n', c == '\r':
		case c <= 0x7f, c == 0xc2: // begins the characters from U+0080 to U+00BF
			return false
		}
	}
	return true
}

// block searches rows that begin at an offset; the last need not have an end.
func (s search) block(f *found, text []byte, at, place int64) {
	lower := bytes.ToLower(text)
	// What a row shows stands in such a text. In others, every row is looked at.
	plain := len(lower) == len(text) && utf8.Valid(text) && unhidden(text)
	next := func(from int) int { return from }
	if plain {
		next = nextOf(lower, s.needles())
	}
	var row lowered
	for from := 0; from < len(text); {
		hit := next(from)
		if hit < 0 {
			return
		}
		from += bytes.LastIndexByte(text[from:hit], '\n') + 1
		whole, _ := cutRow(text[from:])
		to := from + len(whole)
		if s.matchesLower(row.of(whole)) {
			f.add(at+int64(from), at+int64(to), place)
		}
		from = to
	}
}

// lowered makes of rows what [visible] shows of them, in lower case, many times faster. Its
// zero value is ready.
type lowered struct{ room []byte }

// of returns the text of a row until it is called again.
func (l *lowered) of(row []byte) []byte {
	l.room = l.room[:0]
	again := false // after a carriage return: the next text replaces the line
	for i := 0; i < len(row); i++ {
		c := row[i]
		switch {
		case c >= utf8.RuneSelf, c == 0x1b && !plainSequence(row[i:]):
			return []byte(strings.ToLower(visible(row)))
		case c == 0x1b:
			for i += 2; row[i] < 0x40; i++ { // to the final byte
			}
			continue
		case c == '\r':
			again = true
			continue
		case c < ' ' && c != '\t', c == 0x7f:
			continue
		}
		if again {
			l.room, again = l.room[:0], false
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		l.room = append(l.room, c)
	}
	return l.room
}

// plainSequence reports whether text begins with a control sequence as all programs write
// them: ESC [ digits letter.
func plainSequence(text []byte) bool {
	if len(text) < 3 || text[1] != '[' {
		return false
	}
	for _, c := range text[2:min(len(text), 32)] {
		if c >= 0x40 && c <= 0x7e {
			return true
		}
		if c < '0' || c > ';' {
			return false
		}
	}
	return false
}

// nextOf returns a function that returns where the next of the needles is, at or behind a
// place that never decreases; negative if there is none.
func nextOf(text []byte, needles []string) func(from int) int {
	at := make([]int, len(needles))
	for i := range at {
		at[i] = -1
	}
	return func(from int) int {
		least := -1
		for i, needle := range needles {
			if at[i] < from && at[i] < len(text) {
				at[i] = len(text)
				if n := bytes.Index(text[from:], []byte(needle)); n >= 0 {
					at[i] = from + n
				}
			}
			if at[i] < len(text) && (least < 0 || at[i] < least) {
				least = at[i]
			}
		}
		return least
	}
}
