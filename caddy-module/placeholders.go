package caddymodule

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Errors of a text with placeholders. They name the placeholder, never a value.
var (
	errEmptyPlaceholder   = errors.New("resolves to nothing")
	errRequestPlaceholder = errors.New("is only known while a request is answered")
	errUnknownPlaceholder = errors.New("is unknown")
)

// placeholders replaces the placeholders that Caddy can resolve without a request:
// {env.*}, {file.*}, {system.*} and {time.now*}. A placeholder that resolves to nothing is
// an error, and so are those of requests ({http.*}, {tls.*}), because builds run without
// a request. All other braces are ordinary text: {param.NAME}, JSON, programs for awk.
// Inserted values are not expanded again.
type placeholders struct {
	// replacer is made when it is first needed; a text without braces needs none.
	replacer *caddy.Replacer
}

func (p placeholders) replace(text string) (string, error) {
	if !strings.Contains(text, "{") {
		return text, nil
	}
	if p.replacer == nil {
		p.replacer = caddy.NewReplacer()
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || strings.Contains(name, "{") || !ofCaddy(name) {
			b.WriteByte('{')
			text = rest
			continue
		}
		value, err := p.value(name)
		if err != nil {
			return "", fmt.Errorf("placeholder {%s} %w", name, err)
		}
		b.WriteString(value)
		text = after
	}
}

func (p placeholders) value(name string) (string, error) {
	if strings.HasPrefix(name, "http.") || strings.HasPrefix(name, "tls.") {
		return "", errRequestPlaceholder
	}
	value, ok := p.replacer.GetString(name)
	switch {
	case !ok:
		return "", errUnknownPlaceholder
	case value == "":
		return "", fmt.Errorf("%w%s", errEmptyPlaceholder, whyEmpty(name))
	}
	return value, nil
}

// whyEmpty returns why a placeholder resolves to nothing, as the end of an error.
func whyEmpty(name string) string {
	if variable, ok := strings.CutPrefix(name, "env."); ok {
		if _, set := os.LookupEnv(variable); !set {
			return ": the environment variable " + variable + " is not set"
		}
		return ": the environment variable " + variable + " is empty"
	}
	if path, ok := strings.CutPrefix(name, "file."); ok {
		file, err := os.Open(path) //nolint:gosec // Caddy has tried to read the same file
		if err != nil {
			return ": " + err.Error()
		}
		_ = file.Close() // it was only opened
		return ": the file is empty"
	}
	return ""
}

// ofCaddy reports whether a text in braces is meant as a placeholder of Caddy.
func ofCaddy(name string) bool {
	namespace, _, found := strings.Cut(name, ".")
	if !found {
		return false
	}
	switch namespace {
	case "env", "file", "system", "time", "http", "tls":
		return true
	}
	return false
}
