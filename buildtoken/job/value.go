package job

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrValue says that a trigger brought a value that its parameter does not
// take. The text of such an error names the parameter and never holds the value.
var ErrValue = errors.New("job: bad value")

// Value is what one parameter of one trigger came to. Text is in clear, also
// that of a password: keep it out of whatever is shown or stored. String hides
// it, and so do %v and %s; encoding a Value, or printing a struct that has one in
// an unexported field, does not.
type Value struct {
	// Name and Kind are those of the parameter.
	Name string
	Kind Kind
	// Text is the value; of a boolean "true" or "false", of a file the name
	// that the client gave it, without directories.
	Text string
	// Ref is that of the [File]; of other kinds it is empty.
	Ref string
}

// String is name=value as people may see it; of a password name=****.
func (v Value) String() string {
	if v.Kind == KindPassword {
		return v.Name + "=****"
	}
	return v.Name + "=" + v.Text
}

// GoString is as String, so that %#v shows no password either.
func (v Value) GoString() string { return "job.Value(" + strconv.Quote(v.String()) + ")" }

// Values gives the value of each parameter, in the order of their definition,
// out of what a trigger brought: the values by name, such as [net/url.Values],
// and the uploads by name. Names are looked up exactly; what no parameter asks for is ignored.
//
//   - Nothing given: the default. A file without an upload is left out.
//   - Given and empty stays empty; it is not nothing.
//   - Two or more values for one parameter are refused, also if they are equal.
//   - A text for a file, and an upload for another kind, count as nothing.
//   - A boolean is true, on, 1, yes or false, off, 0, no or empty, in any
//     case. A choice is one of its choices, exactly.
//   - A value is valid UTF-8 without NUL and has at most [MaxValue] bytes, a text [MaxText].
//
// The error is [ErrValue], with the first parameter that is wrong.
func (j *Job) Values(given map[string][]string, files map[string]File) ([]Value, error) {
	values := make([]Value, 0, len(j.Params))
	for _, p := range j.Params {
		if p.Kind == KindFile {
			if f, ok := files[p.Name]; ok {
				values = append(values, Value{Name: p.Name, Kind: p.Kind, Text: FileName(f.Name), Ref: f.Ref})
			}
			continue
		}
		text, err := p.text(given[p.Name])
		if err != nil {
			return nil, err
		}
		values = append(values, Value{Name: p.Name, Kind: p.Kind, Text: text})
	}
	return values, nil
}

// choiceList returns the choices for an error message, as far as there is room.
func (p Param) choiceList() string {
	const room = 300 // bytes
	var list strings.Builder
	for i, choice := range p.Choices {
		if i > 0 {
			list.WriteString(", ")
		}
		if list.Len()+len(choice) > room {
			list.WriteString("…")
			break
		}
		if choice == "" {
			choice = `""`
		}
		list.WriteString(choice)
	}
	return list.String()
}

// text is the value of any kind but a file.
func (p Param) text(given []string) (string, error) {
	var text string
	switch len(given) {
	case 0:
		text = p.Default
		if p.Kind == KindChoice && len(p.Choices) > 0 {
			text = p.Choices[0]
		}
	case 1:
		text = given[0]
	default:
		return "", fmt.Errorf("%w: %d values for parameter %s", ErrValue, len(given), p.Name)
	}
	if problem := textProblem(p.Kind, text); problem != "" {
		return "", fmt.Errorf("%w: parameter %s: %s", ErrValue, p.Name, problem)
	}
	switch p.Kind {
	case KindBoolean:
		value, ok := parseBool(text)
		if !ok {
			return "", fmt.Errorf("%w: parameter %s is neither true nor false", ErrValue, p.Name)
		}
		return strconv.FormatBool(value), nil
	case KindChoice:
		if !slices.Contains(p.Choices, text) {
			return "", fmt.Errorf("%w: illegal choice for parameter %s, choose one of: %s", ErrValue, p.Name, p.choiceList())
		}
	case KindString:
		if p.Trim {
			return strings.TrimSpace(text), nil
		}
	case KindText, KindPassword, KindFile:
	}
	return text, nil
}
