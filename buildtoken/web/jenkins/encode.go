package jenkins

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// object is a JSON object whose members keep their order. Values are nil,
// bool, int, int64, string, object, link, onDemand, lazy, []any and []string.
type object []member

type member struct {
	key   string
	value any
}

// shown are the members that stand there without being asked for.
func (o object) shown() object {
	hidden := func(m member) bool { _, is := m.value.(onDemand); return is }
	if !slices.ContainsFunc(o, hidden) {
		return o
	}
	return slices.DeleteFunc(slices.Clone(o), hidden)
}

// link is an object of which only little is shown where it is referred to. A
// tree parameter may ask for more.
type link struct {
	brief object
	// full makes the whole object.
	full func() object
}

// onDemand is a value that is not shown unless a tree parameter names it.
type onDemand func() any

// lazy is a value that is made when it is shown.
type lazy func() any

// flavour is a way to write values.
type flavour string

// The flavours, named as in URLs. In Python's, texts are the same as in JSON:
// it escapes nothing that Python reads differently.
const (
	flavourJSON   flavour = "json"
	flavourPython flavour = "python"
)

// encoded writes a value, if it is to be pretty with a line for each part.
func encoded(value any, f flavour, pretty bool) string {
	e := encoder{null: "null", yes: "true", no: "false", pretty: pretty}
	if f == flavourPython {
		e.null, e.yes, e.no = "None", "True", "False"
	}
	e.value(value, 0)
	return e.out.String()
}

type encoder struct {
	null, yes, no string
	pretty        bool
	out           strings.Builder
}

func (e *encoder) value(value any, depth int) {
	switch v := value.(type) {
	case nil:
		e.out.WriteString(e.null)
	case bool:
		if v {
			e.out.WriteString(e.yes)
		} else {
			e.out.WriteString(e.no)
		}
	case int:
		e.out.WriteString(strconv.Itoa(v))
	case int64:
		e.out.WriteString(strconv.FormatInt(v, 10))
	case string:
		e.text(v)
	case link:
		e.value(v.brief, depth)
	case lazy:
		e.value(v(), depth)
	case object:
		v = v.shown()
		e.list('{', '}', len(v), depth, func(i int) {
			e.text(v[i].key)
			e.out.WriteByte(':')
			if e.pretty {
				e.out.WriteByte(' ')
			}
			e.value(v[i].value, depth+1)
		})
	case []any:
		e.list('[', ']', len(v), depth, func(i int) { e.value(v[i], depth+1) })
	case []string:
		e.list('[', ']', len(v), depth, func(i int) { e.text(v[i]) })
	default:
		panic(fmt.Sprintf("jenkins: cannot encode %T", value)) // a bug of ours
	}
}

func (e *encoder) list(open, end byte, n, depth int, element func(int)) {
	e.out.WriteByte(open)
	for i := range n {
		if i > 0 {
			e.out.WriteByte(',')
		}
		e.line(depth + 1)
		element(i)
	}
	if n > 0 {
		e.line(depth)
	}
	e.out.WriteByte(end)
}

func (e *encoder) line(depth int) {
	if e.pretty {
		e.out.WriteByte('\n')
		for range depth {
			e.out.WriteString("  ")
		}
	}
}

func (e *encoder) text(s string) {
	const hex = "0123456789abcdef"
	e.out.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			e.out.WriteByte('\\')
			e.out.WriteRune(r)
		case r == '\n':
			e.out.WriteString(`\n`)
		case r == '\r':
			e.out.WriteString(`\r`)
		case r == '\t':
			e.out.WriteString(`\t`)
		case r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029':
			e.out.WriteString(`\u`)
			for shift := 12; shift >= 0; shift -= 4 {
				e.out.WriteByte(hex[r>>shift&0xf])
			}
		default:
			e.out.WriteRune(r) // what is not valid comes as utf8.RuneError
		}
	}
	e.out.WriteByte('"')
}
