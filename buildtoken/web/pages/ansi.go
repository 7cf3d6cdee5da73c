package pages

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// style is how a terminal would show the text that follows.
type style struct {
	fg, bg                                                     colour
	bold, dim, italic, underline, inverse, concealed, stricken bool
}

// maxSequence is the maximum length of a control sequence, in bytes. A longer one is not
// treated as a control sequence.
const maxSequence = 2 << 10

// terminal turns the bytes of a log into HTML: colours and the like become
// classes, a carriage return starts its line anew, as progress bars do, links
// become links, and all other control characters are dropped. No text of the log ever
// becomes markup.
type terminal struct {
	out   markedText
	style style
	// link is the address of the text that follows, "" for none. It ends with the line.
	link string
	line []piece
	// again is set after a carriage return: the next text replaces the line.
	again bool
	// searched is the length of the rest of the log after the part that was already searched,
	// without success, for the end of a string. It keeps the cost of a log with many
	// unterminated strings linear.
	searched int
}

// piece is text of one style and link.
type piece struct {
	style style
	link  string
	text  []byte
}

// styleAfter returns the style at the end of a part of a log that starts in a style.
func styleAfter(text []byte, first style) style {
	t := terminal{style: first}
	for s := string(text); ; {
		at := strings.IndexByte(s, 0x1b)
		if at < 0 {
			return t.style
		}
		s = t.escape(s[at:])
	}
}

// visible returns the text of a row as a terminal would show it.
func visible(row []byte) string {
	var t terminal
	t.write(strings.ToValidUTF8(strings.TrimSuffix(string(row), "\n"), "\uFFFD"))
	return t.shown()
}

// shown returns the text of the line so far.
func (t *terminal) shown() string {
	if len(t.line) == 1 {
		return string(t.line[0].text)
	}
	var b strings.Builder
	for _, p := range t.line {
		b.Write(p.text)
	}
	return b.String()
}

func (t *terminal) write(s string) {
	for s != "" {
		plain := strings.IndexFunc(s, isControl)
		if plain < 0 {
			plain = len(s)
		}
		t.text(s[:plain])
		if s = s[plain:]; s == "" {
			return
		}
		switch s[0] {
		case '\n':
			t.again, t.link = false, ""
			t.text("\n")
			t.flush()
			s = s[1:]
		case '\r':
			t.again = true
			s = s[1:]
		case 0x1b:
			s = t.escape(s)
		default:
			_, n := utf8.DecodeRuneInString(s)
			s = s[n:]
		}
	}
}

// isControl reports whether r is a control character other than a tab.
func isControl(r rune) bool { return (r < ' ' && r != '\t') || (r >= 0x7f && r < 0xa0) }

func (t *terminal) text(s string) {
	if s == "" {
		return
	}
	if t.again {
		t.line, t.again = t.line[:0], false
	}
	if n := len(t.line); n > 0 && t.line[n-1].style == t.style && t.line[n-1].link == t.link {
		t.line[n-1].text = append(t.line[n-1].text, s...)
		return
	}
	t.line = append(t.line, piece{t.style, t.link, []byte(s)})
}

// flush writes the line.
func (t *terminal) flush() {
	if t.out.needle != "" {
		t.out.find(t.shown())
	}
	for _, p := range t.line {
		text := strings.ToValidUTF8(string(p.text), "\uFFFD")
		classes := p.style.classes()
		if classes == "" || text == "\n" {
			writeLinked(&t.out, text, p.link)
			continue
		}
		t.out.WriteString(`<span class="` + classes + `">`)
		writeLinked(&t.out, text, p.link)
		t.out.WriteString(`</span>`)
	}
	t.line = t.line[:0]
}

// escape reads the sequence at the start of s and returns what follows it.
func (t *terminal) escape(s string) (rest string) {
	if len(s) < 2 {
		return ""
	}
	switch s[1] {
	case '[':
		return t.control(s)
	case ']', 'P', 'X', '^', '_':
		content, rest := t.stringOf(s)
		if link, ok := strings.CutPrefix(content, "]8;"); ok {
			_, link, _ = strings.Cut(link, ";") // parameters come first
			t.link = safeLink(link)
		}
		return rest
	}
	if s[1] < 0x20 || s[1] > 0x7e {
		return s[1:]
	}
	i := 1
	for i < len(s) && s[i] >= 0x20 && s[i] <= 0x2f { // such as ESC ( B
		i++
	}
	return s[min(i+1, len(s)):]
}

// control reads ESC [ … and obeys it if it is about style.
func (t *terminal) control(s string) (rest string) {
	i := 2
	for i < len(s) && i < maxSequence && s[i] >= 0x30 && s[i] <= 0x3f {
		i++
	}
	params := s[2:i]
	for i < len(s) && i < maxSequence && s[i] >= 0x20 && s[i] <= 0x2f {
		i++
	}
	if i >= len(s) {
		return ""
	}
	if s[i] < 0x40 || s[i] > 0x7e {
		return s[i:] // broken off; what broke it counts
	}
	// With other marks between the parameters it is about something else.
	if s[i] == 'm' && i == 2+len(params) && !strings.ContainsAny(params, "<=>?") {
		t.style = t.style.apply(params)
	}
	return s[i+1:]
}

// stringOf reads a control string, such as a title or a link, and returns it without its
// introducer and terminator. If the line has no terminator, the content is "", so that the
// rest of the log is not lost.
func (t *terminal) stringOf(s string) (content, rest string) {
	i := 2
	if t.searched > 0 { // no end was found there before
		i = max(i, len(s)-t.searched)
	}
	for ; i < len(s) && i < maxSequence; i++ {
		if s[i] == 0x07 {
			return s[1:i], s[i+1:]
		}
		if s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\' {
			return s[1:i], s[i+2:]
		}
		if s[i] == '\n' {
			break
		}
	}
	t.searched = len(s) - i
	return "", s[2:]
}

// apply is the style after the parameters of one SGR sequence.
func (s style) apply(params string) style {
	fields := strings.Split(params, ";")
	for len(fields) > 0 {
		n, sub, nested := strings.Cut(fields[0], ":")
		code, err := strconv.Atoi("0" + n) // none is 0
		fields = fields[1:]
		if err != nil {
			continue
		}
		if code == 38 || code == 48 {
			var c colour
			var ok bool
			if nested {
				c, ok = parseColour(withoutSpace(strings.Split(sub, ":")))
			} else {
				var used int
				c, used, ok = takeColour(fields)
				fields = fields[used:]
			}
			if ok && code == 38 {
				s.fg = c
			} else if ok {
				s.bg = c
			}
			continue
		}
		if nested {
			if code == 4 {
				s.underline = sub != "0"
			}
			continue
		}
		s = s.with(code)
	}
	return s
}

// with is the style after one code that stands alone.
func (s style) with(code int) style {
	switch {
	case code == 0:
		return style{}
	case code == 1:
		s.bold = true
	case code == 2:
		s.dim = true
	case code == 3:
		s.italic = true
	case code == 4 || code == 21:
		s.underline = true
	case code == 7:
		s.inverse = true
	case code == 8:
		s.concealed = true
	case code == 9:
		s.stricken = true
	case code == 22:
		s.bold, s.dim = false, false
	case code == 23:
		s.italic = false
	case code == 24:
		s.underline = false
	case code == 27:
		s.inverse = false
	case code == 28:
		s.concealed = false
	case code == 29:
		s.stricken = false
	case code >= 30 && code <= 37:
		s.fg = indexed(code - 30)
	case code == 39:
		s.fg = colour{}
	case code >= 40 && code <= 47:
		s.bg = indexed(code - 40)
	case code == 49:
		s.bg = colour{}
	case code >= 90 && code <= 97:
		s.fg = indexed(code - 90 + 8)
	case code >= 100 && code <= 107:
		s.bg = indexed(code - 100 + 8)
	}
	return s
}

// classes are those of the style sheet; "" for plain text.
func (s style) classes() string {
	var all []string
	add := func(is bool, class string) {
		if is {
			all = append(all, class)
		}
	}
	add(s.bold, "ab")
	add(s.dim, "ad")
	add(s.italic, "ai")
	add(s.underline, "au")
	add(s.stricken, "as")
	add(s.concealed, "ac")
	fg, bg := s.fg.class("f"), s.bg.class("g")
	if s.inverse {
		fg, bg = s.bg.class("f"), s.fg.class("g")
		add(fg == "", "fn") // the console's own colours, the other way round
		add(bg == "", "gn")
	}
	add(fg != "", fg)
	add(bg != "", bg)
	add(bg != "" || s.inverse, "ax") // the style sheet makes text readable on this background
	return strings.Join(all, " ")
}

// sequence is the parameters of the SGR sequence that makes the style.
func (s style) sequence() string {
	var all []string
	add := func(is bool, code string) {
		if is {
			all = append(all, code)
		}
	}
	add(s.bold, "1")
	add(s.dim, "2")
	add(s.italic, "3")
	add(s.underline, "4")
	add(s.inverse, "7")
	add(s.concealed, "8")
	add(s.stricken, "9")
	add(s.fg != colour{}, "38;"+s.fg.sequence())
	add(s.bg != colour{}, "48;"+s.bg.sequence())
	return strings.Join(all, ";")
}
