package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// jsonParameter is a parameter of Jenkins' own form. A file has the name of the part
// that holds its content.
type jsonParameter struct {
	Name  *string `json:"name"`
	Value any     `json:"value"`
	File  *string `json:"file"`
}

// ReadJSON reads the field json, with which Jenkins' own form sends the parameters of a
// build: {"parameter": [{"name": …, "value": …}]}. Its values are added to those of the
// form; a value that the form has too must be the same. Anything that cannot be read is
// an error, since the caller would get a build with other values than it has sent.
func (f *Form) ReadJSON() error {
	texts := f.Values()["json"]
	if texts == nil {
		return nil
	}
	if len(texts) > 1 {
		return &BadRequestError{"json is given more than once"}
	}
	all, err := parseJSONForm(texts[0])
	if err != nil {
		return err
	}
	f.fields = slices.DeleteFunc(f.fields, func(p field) bool {
		// Jenkins' form repeats names and values in addition to json.
		return p.name == "json" || (len(all) > 0 && (p.name == "name" || p.name == "value"))
	})
	given := f.Values()
	if given == nil {
		given = map[string][]string{}
	}
	for _, p := range all {
		if err := f.addJSON(p, given); err != nil {
			return err
		}
	}
	return f.check()
}

func parseJSONForm(text string) ([]jsonParameter, error) {
	var sent map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &sent); err != nil || sent == nil {
		return nil, errJSONForm
	}
	raw, ok := sent["parameter"]
	if !ok {
		return jsonMembers(sent)
	}
	if raw[0] == '{' { // a form with a single parameter sends no array
		raw = slices.Concat([]byte("["), raw, []byte("]"))
	}
	var all []jsonParameter
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber() // a number keeps its digits
	if err := d.Decode(&all); err != nil || all == nil {
		return nil, &BadRequestError{`json: parameter is malformed: want a list of {"name": …, "value": …}`}
	}
	return all, nil
}

var errJSONForm = &BadRequestError{`json is malformed: want {"parameter": [{"name": …, "value": …}]}`}

// jsonMembers returns the parameters of a client that sends them as members, as Invoke of
// gojenkins does. Jenkins would start a build with other values.
func jsonMembers(sent map[string]json.RawMessage) ([]jsonParameter, error) {
	var all []jsonParameter
	for _, name := range slices.Sorted(maps.Keys(sent)) {
		switch name {
		case "", "statusCode", "redirectTo", "Submit", "Jenkins-Crumb", ".crumb", "core:apply": // of Jenkins' form
			continue
		}
		p := jsonParameter{Name: &name}
		d := json.NewDecoder(bytes.NewReader(sent[name]))
		d.UseNumber()
		if err := d.Decode(&p.Value); err != nil {
			return nil, errJSONForm
		}
		all = append(all, p)
	}
	return all, nil
}

// addJSON adds a parameter, unless its value is among those that were given.
func (f *Form) addJSON(p jsonParameter, given map[string][]string) error {
	if p.Name == nil || *p.Name == "" {
		return &BadRequestError{"json: a parameter has no name"}
	}
	switch *p.Name {
	case "job", "token", "delay", "cause", "json": // no parameter has such a name
		return nil
	}
	if p.File != nil && p.Value == nil {
		if *p.File != *p.Name && !f.rename(*p.File, *p.Name) {
			return &BadRequestError{fmt.Sprintf("json: parameter %.200q: there is no file %.200q in the request", *p.Name, *p.File)}
		}
		return nil
	}
	var value string
	switch v := p.Value.(type) {
	case string:
		value = v
	case bool:
		value = fmt.Sprint(v)
	case json.Number:
		value = v.String()
	default:
		return &BadRequestError{fmt.Sprintf("json: parameter %.200q: the value is neither a text, a number nor a boolean", *p.Name)}
	}
	if values := given[*p.Name]; len(values) > 0 {
		if len(values) == 1 && values[0] == value {
			return nil
		}
		return &BadRequestError{fmt.Sprintf("json: parameter %.200q is given twice, with different values", *p.Name)}
	}
	given[*p.Name] = []string{value}
	return f.Add(*p.Name, value)
}

// rename renames a file.
func (f *Form) rename(from, to string) bool {
	for _, p := range f.files {
		if p.name == from {
			p.name = to
			return true
		}
	}
	return false
}
