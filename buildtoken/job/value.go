package job

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrValue is returned for a value that its parameter does not take. The text
// names the parameter and never contains the value.
var ErrValue = errors.New("job: bad value")

// Value is the value of one parameter of one trigger. Text is in clear, also that
// of a password, and must not be shown or stored. String, %v and %s hide it;
// encoding a Value, or printing a struct that has one in an unexported field, does
// not.
type Value struct {
	// Name and Kind are those of the parameter.
	Name string
	Kind Kind
	// Text is the value: "true" or "false" for a boolean, for a file the name
	// that the client sent, without directories.
	Text string
	// Ref is that of the [File]; empty for other kinds.
	Ref string
}

// String returns name=value; for a password, name=****.
func (v Value) String() string {
	if v.Kind == KindPassword {
		return v.Name + "=****"
	}
	return v.Name + "=" + v.Text
}

// GoString hides passwords from %#v.
func (v Value) GoString() string { return "job.Value(" + strconv.Quote(v.String()) + ")" }

// Values returns the value of each parameter, in the order of their definition.
// given are the values of a trigger by name, such as [net/url.Values], and files
// the uploads by name. Case counts; names without a parameter are ignored.
//
//   - A missing value becomes the default. A file without an upload is left out.
//   - An empty value stays empty.
//   - Two or more values for one parameter are refused, even if they are equal.
//   - A text for a file, and an upload for another kind, are ignored.
//   - A boolean is true, on, 1, yes or false, off, 0, no or empty, in any
//     case. A choice is one of its choices, exactly.
//   - A value is valid UTF-8 without NUL, of at most [MaxValue] bytes; a text has at most [MaxText].
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

// text returns the value of any kind but a file.
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
