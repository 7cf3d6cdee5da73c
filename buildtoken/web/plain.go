package web

import "io"

// PlainWriter writes a log without what only a terminal understands: escape sequences and
// other control characters, except line ends and tabs. Only W needs to be set.
type PlainWriter struct {
	W io.Writer

	in  sequence
	buf []byte
}

// sequence is what part of an escape sequence the next byte belongs to.
type sequence int

const (
	inText   sequence = iota
	inEscape          // after ESC
	inCSI             // to the final byte
	inString          // to BEL or ESC \, or to the end of the line
)

// Write implements [io.Writer].
func (p *PlainWriter) Write(text []byte) (int, error) {
	p.buf = p.buf[:0]
	for _, b := range text {
		if p.in = p.in.next(b); p.in == inText && (b >= ' ' || b == '\n' || b == '\r' || b == '\t') && b != 0x7f {
			p.buf = append(p.buf, b)
		} else if p.in == atEnd {
			p.in = inText
		}
	}
	if _, err := p.W.Write(p.buf); err != nil {
		return 0, err
	}
	return len(text), nil
}

// atEnd is the last byte of a sequence.
const atEnd sequence = -1

func (s sequence) next(b byte) sequence {
	switch {
	case b == 0x1b:
		return inEscape
	case s == inText, b == '\n': // no sequence is longer than its line
		return inText
	case s == inEscape && b == '[':
		return inCSI
	case s == inEscape && (b == ']' || b == 'P' || b == 'X' || b == '^' || b == '_'):
		return inString
	case s == inEscape && b >= ' ' && b < '0', s == inCSI && b < '@', s == inString && b != 7:
		return s
	}
	return atEnd
}
