package runner

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Target is an http or https URL that may refer to parameters behind its host. A value
// becomes one part of a segment of the path, or of one value of the query.
type Target struct{ path, query Template }

// ParseTarget splits a URL at its references. The errors do not contain its text, which
// may hold a password.
func ParseTarget(text string) (Target, error) {
	t, err := ParseTemplate(text)
	if err != nil {
		return Target{}, err
	}
	return NewTarget(t)
}

// NewTarget returns the URL that a template is.
func NewTarget(t Template) (Target, error) {
	target, fixed := t.cutQuery()
	u, err := url.Parse(fixed)
	if err != nil {
		return Target{}, errors.New("the URL is malformed") // without its text, which may hold a password
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return Target{}, errors.New("the URL must begin with http:// or https:// and a host")
	case u.Path == "" && len(target.path.Params()) > 0:
		return Target{}, errors.New("the host of the URL must not depend on a parameter")
	case slices.ContainsFunc(t, func(p part) bool { return strings.Contains(p.text, "#") }):
		return Target{}, errors.New("the URL must not have a fragment")
	}
	return target, nil
}

// cutQuery splits a template at its first question mark. fixed is the text before the
// first reference, as far as it is not of the query.
func (t Template) cutQuery() (target Target, fixed string) {
	inQuery := false
	for i, p := range t {
		before, after, found := strings.Cut(p.text, "?")
		switch {
		case inQuery:
			target.query = append(target.query, p)
		case found:
			inQuery = true
			if before != "" {
				target.path = append(target.path, part{text: before})
			}
			if after != "" {
				target.query = append(target.query, part{text: after})
			}
		default:
			target.path = append(target.path, p)
		}
		if i == 0 && p.param == "" {
			fixed = before
		}
	}
	return target, fixed
}

// Params returns the names of the parameters that the URL refers to.
func (t Target) Params() []string { return append(t.path.Params(), t.query.Params()...) }

// Expand returns the URL with the values of the parameters.
func (t Target) Expand(params []Param) (*url.URL, error) {
	path, err := t.path.Expand(params, url.PathEscape)
	if err != nil {
		return nil, err
	}
	query, err := t.query.Expand(params, url.QueryEscape)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(path)
	if err != nil {
		return nil, errors.New("the URL is malformed")
	}
	u.RawQuery = query
	if t.empties(path) {
		return nil, fmt.Errorf("the path of the URL has an empty segment (parameters %s): %w", strings.Join(t.path.Params(), ", "), ErrBadValue)
	}
	if len(t.path.Params()) > 0 && slices.ContainsFunc(strings.Split(u.Path, "/"), func(s string) bool { return s == "." || s == ".." }) {
		return nil, fmt.Errorf("the path of the URL has a segment . or .. (parameters %s): %w", strings.Join(t.path.Params(), ", "), ErrBadValue)
	}
	return u, nil
}

// empties reports whether a segment of the path is empty because of its parameters. Many servers
// take such a path for that of what contains the segment, which may be all items instead of one.
func (t Target) empties(path string) bool {
	var sample []Param
	for _, name := range t.path.Params() {
		sample = append(sample, Param{Name: name, Value: "x"})
	}
	filled, err := t.path.Expand(sample, nil)
	segments := strings.Split(filled, "/") // escaped values have no slash, so there are as many
	for i, s := range strings.Split(path, "/") {
		if err == nil && s == "" && segments[i] != "" {
			return true
		}
	}
	return false
}

// Resolve returns the template with its texts changed by resolve, in which it does not look
// for references again.
func (t Template) Resolve(resolve func(text string) (string, error)) (Template, error) {
	resolved := slices.Clone(t)
	for i, p := range t {
		if p.param != "" {
			continue
		}
		text, err := resolve(p.text)
		if err != nil {
			return nil, err
		}
		resolved[i].text = text
	}
	return resolved, nil
}
