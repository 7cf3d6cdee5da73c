package runner

import (
	"fmt"
	"strings"
)

// Template is a text with references {param.NAME} to parameters. All other braces are text.
type Template []part

// part is a reference if param is not empty, else text.
type part struct{ text, param string }

const reference = "{param."

// ParseTemplate splits a text at its references. It refuses a NUL byte, and a reference that is not closed or not to the
// name of a parameter: letters, digits, "_", "." and "-", not beginning with a digit, "." or "-".
func ParseTemplate(text string) (Template, error) {
	if strings.ContainsRune(text, 0) {
		return nil, fmt.Errorf("%q holds a NUL byte", text)
	}
	var t Template
	for rest := text; ; {
		before, after, found := strings.Cut(rest, reference)
		if before != "" {
			t = append(t, part{text: before})
		}
		if !found {
			return t, nil
		}
		name, after, closed := strings.Cut(after, "}")
		if !closed || !isName(name) {
			return nil, fmt.Errorf("%q: want {param.NAME}", text)
		}
		t = append(t, part{param: name})
		rest = after
	}
}

func isName(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c != '.' && c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}

// Params returns the names of the parameters that the template refers to, in their order, as often as it does.
func (t Template) Params() []string {
	var names []string
	for _, p := range t {
		if p.param != "" {
			names = append(names, p.param)
		}
	}
	return names
}

// Expand returns the text with the values of the parameters in the place of the references, each changed by escape; nil
// leaves them as they are. A value is not expanded again. A reference to a parameter that the build does not have is an
// error, which contains no value.
func (t Template) Expand(params []Param, escape func(value string) string) (string, error) {
	var b strings.Builder
	for _, p := range t {
		if p.param == "" {
			b.WriteString(p.text)
			continue
		}
		value, ok := "", false
		for _, has := range params {
			if has.Name == p.param {
				value, ok = has.Value, true
			}
		}
		if !ok {
			return "", fmt.Errorf("the build has no parameter %s", p.param)
		}
		if escape != nil {
			value = escape(value)
		}
		b.WriteString(value)
	}
	return b.String(), nil
}
