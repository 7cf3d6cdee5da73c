package execrunner

import (
	"fmt"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// template is an argument, split into literal text and references to parameters.
type template []part

// part is a reference if param is not empty, else text.
type part struct{ text, param string }

const reference = "{param."

// parseTemplate splits an argument at each {param.NAME}; all other braces are text.
func parseTemplate(arg string) (template, error) {
	if strings.ContainsRune(arg, 0) {
		return nil, fmt.Errorf("%q holds a NUL byte", arg)
	}
	var t template
	for {
		text, rest, found := strings.Cut(arg, reference)
		if text != "" {
			t = append(t, part{text: text})
		}
		if !found {
			return t, nil
		}
		name, rest, closed := strings.Cut(rest, "}")
		if !closed || !isName(name) {
			return nil, fmt.Errorf("%q: want {param.NAME}", arg)
		}
		t = append(t, part{param: name})
		arg = rest
	}
}

// isName reports whether s can be the name of a parameter: [A-Za-z_][A-Za-z0-9_.-]*.
func isName(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c != '.' && c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}

// expand returns the arguments with the parameters' values in the place of the references.
func (r *Runner) expand(params []runner.Param) ([]string, error) {
	values := make(map[string]string, len(params))
	for _, p := range params {
		values[p.Name] = p.Value
	}
	args := make([]string, len(r.args))
	for i, t := range r.args {
		var b strings.Builder
		for _, p := range t {
			if p.param == "" {
				b.WriteString(p.text)
				continue
			}
			v, ok := values[p.param]
			if !ok {
				return nil, fmt.Errorf("argument %d: the build has no parameter %s", i+1, p.param)
			}
			b.WriteString(v)
		}
		args[i] = b.String()
	}
	return args, nil
}
