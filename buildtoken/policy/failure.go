package policy

import (
	"cmp"
	"slices"
	"strings"
)

// failure is an evaluation error whose text shows no value that came with the request. CEL's own
// texts quote what they could not convert (`parsing "hunter2": invalid syntax`), and a parameter may
// be a password.
type failure struct {
	text string
	err  error
}

// withoutValues returns the error of an expression with this source; in is nil if it saw a delivery.
func withoutValues(err error, in *Input, source string) error {
	text := err.Error()
	if in != nil {
		text = redact(text, in)
	}
	return &failure{text: shorten(hideEnd(emptyQuotes(text), source)), err: err}
}

// Error implements error.
func (f *failure) Error() string { return f.text }

// Unwrap returns the error as CEL made it, values included: for errors.Is, not for a log.
func (f *failure) Unwrap() error { return f.err }

// minValue is how long a value must be to be looked for outside quotes: a shorter one is more likely
// to be part of a word.
const minValue = 4

func redact(text string, in *Input) string {
	var values []string
	for _, m := range []map[string]string{in.Params, in.Request.Headers} {
		for _, v := range m {
			if len(v) >= minValue {
				values = append(values, v)
			}
		}
	}
	// Longest first: one value may be part of another.
	slices.SortFunc(values, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b))
	})
	for _, v := range values {
		text = strings.ReplaceAll(text, v, "…")
	}
	return text
}

// hideEnd hides the value that stands without quotes in some errors, and what follows it, unless
// the expression itself names it.
func hideEnd(text, source string) string {
	for _, before := range []string{
		"no such key: ", "failed: key ", "invalid input: ", "unknown time zone ", "23]: ", "59]: ",
		"out of bounds: ", "out of range: ", "index value ", "index '", "start: ", "offset: ",
		"non-optional value ", "optional entry '",
	} {
		if i := strings.Index(text, before); i >= 0 && !strings.Contains(source, text[i+len(before):]) {
			return text[:i+len(before)] + "…"
		}
	}
	return text
}

// emptyQuotes replaces what stands between double or back quotes: there Go's errors show values that
// they escaped, and parts of values. CEL's single quotes are left, they hold names of types.
func emptyQuotes(text string) string {
	var out strings.Builder
	for {
		start := strings.IndexAny(text, "\"`")
		if start < 0 {
			break
		}
		n := quotedLength(text[start:])
		if n < 0 {
			// No end: the rest may be a value that was cut.
			out.WriteString(text[:start] + "…")
			return out.String()
		}
		quote := text[start : start+1]
		out.WriteString(text[:start] + quote + "…" + quote)
		text = text[start+n:]
	}
	out.WriteString(text)
	return out.String()
}

// quotedLength is the length of the quoted text that s begins with, or -1 if it does not end.
func quotedLength(s string) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && s[0] != '`':
			i++
		case s[i] == s[0]:
			return i + 1
		}
	}
	return -1
}
