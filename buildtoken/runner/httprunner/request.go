package httprunner

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// request is a request with references to parameters.
type request struct {
	method string
	url    runner.Target
	header []field
	body   runner.Template
	escape func(string) string // of the body
}

type field struct {
	name  string
	value runner.Template
}

func parseRequest(method, target string, header []Field, body string) (r request, err error) {
	r.method = method
	if !isToken(method) {
		return r, fmt.Errorf("bad method %q", method)
	}
	if r.url, err = runner.ParseTarget(target); err != nil {
		return r, err
	}
	if r.header, err = parseHeader(header); err != nil {
		return r, err
	}
	if body == "" {
		return r, nil
	}
	at := slices.IndexFunc(header, func(f Field) bool { return strings.EqualFold(f.Name, "Content-Type") })
	if at < 0 {
		header = append(header[:len(header):len(header)], Field{"Content-Type", defaultType(body)})
		at = len(header) - 1
		r.header = append(r.header, field{"Content-Type", mustTemplate(header[at].Value)})
	}
	if r.body, r.escape, err = parseBody(header[at].Value, body); err != nil {
		return r, fmt.Errorf("body: %w", err)
	}
	return r, nil
}

func parseHeader(header []Field) ([]field, error) {
	var parsed []field
	for _, f := range header {
		value, err := runner.ParseTemplate(f.Value)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", f.Name, err)
		}
		if !isToken(f.Name) || !isFieldValue(f.Value) {
			return nil, fmt.Errorf("bad header %q", f.Name)
		}
		parsed = append(parsed, field{f.Name, value})
	}
	return parsed, nil
}

// mustTemplate is the template of a text without references.
func mustTemplate(text string) runner.Template {
	t, _ := runner.ParseTemplate(text) // such a text has nothing to refuse
	return t
}

func defaultType(body string) string {
	if trimmed := strings.TrimSpace(body); strings.HasPrefix(trimmed, "{") && !strings.HasPrefix(trimmed, "{param.") || strings.HasPrefix(trimmed, "[") {
		return "application/json"
	}
	return "application/x-www-form-urlencoded"
}

// parseBody returns the body, and how a value in it has to be escaped.
func parseBody(contentType, body string) (runner.Template, func(string) string, error) {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, nil, fmt.Errorf("content type %q: %w", contentType, err)
	}
	t, err := runner.ParseTemplate(body)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case kind == "application/json" || strings.HasSuffix(kind, "+json"):
		// A reference outside a string would let a value become anything, and this text would not be JSON.
		sample, err := t.Expand(sample(t), nil)
		if err != nil {
			return nil, nil, err
		}
		if !json.Valid([]byte(sample)) {
			return nil, nil, errors.New("it is not valid JSON; {param.NAME} must stand inside a string, in quotes")
		}
		return t, escapeJSON, nil
	case kind == "application/x-www-form-urlencoded":
		return t, url.QueryEscape, nil
	case kind == "application/xml" || kind == "text/xml" || strings.HasSuffix(kind, "+xml"):
		return t, escapeXML, nil
	case strings.HasPrefix(kind, "text/") && kind != "text/html" || len(t.Params()) == 0:
		return t, nil, nil
	}
	return nil, nil, fmt.Errorf("a value cannot be escaped for the content type %s; use JSON, a form, XML or plain text", kind)
}

// sample returns a value for each parameter of the template.
func sample(t runner.Template) []runner.Param {
	var params []runner.Param
	for _, name := range t.Params() {
		params = append(params, runner.Param{Name: name, Value: "value"})
	}
	return params
}

func escapeJSON(value string) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(strings.ToValidUTF8(value, "\ufffd")) // a string can always be written
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSuffix(b.String(), "\n"), `"`), `"`)
}

func escapeXML(value string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(value)) // a Builder takes everything
	return b.String()
}

// hidden returns the names of the parameters outside the URL.
func (r request) hidden() []string {
	names := r.body.Params()
	for _, f := range r.header {
		names = append(names, f.value.Params()...)
	}
	return names
}

// build returns the request with the values of the parameters.
func (r request) build(ctx context.Context, params []runner.Param) (*http.Request, error) {
	u, err := r.url.Expand(params)
	if err != nil {
		return nil, err
	}
	body, err := r.body.Expand(params, r.escape)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), strings.NewReader(body))
	if err != nil {
		return nil, errors.New("the URL is malformed")
	}
	for _, f := range r.header {
		value, err := f.value.Expand(params, nil)
		if err != nil {
			return nil, err
		}
		if !isFieldValue(value) {
			return nil, fmt.Errorf("header %s: parameter %s holds a control character: %w", f.name, strings.Join(f.value.Params(), ", "), runner.ErrBadValue)
		}
		if strings.EqualFold(f.name, "Host") {
			req.Host = value
		}
		req.Header.Add(f.name, value)
	}
	return req, nil
}

// isToken reports whether s can be a method or the name of a header field.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, c)
	})
}

// isFieldValue reports whether s can be the value of a header field.
func isFieldValue(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}
