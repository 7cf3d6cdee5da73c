package job

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Errors of a definition.
var (
	// ErrBadParam is returned for an invalid definition of a parameter.
	ErrBadParam = errors.New("job: bad parameter")
	// ErrDuplicate is returned if two parameters, two jobs, or a job and a
	// folder have the same name.
	ErrDuplicate = errors.New("job: duplicate")
)

// Limits of a value, in bytes.
const (
	MaxValue = 64 << 10  // of every kind but text
	MaxText  = 512 << 10 // of kind text
)

const maxParamName = 200 // bytes

// Kind is the kind of value that a parameter takes. There is no default kind.
type Kind string

// The kinds.
const (
	KindString   Kind = "string"   // a text, as it was given
	KindText     Kind = "text"     // the same, and longer
	KindPassword Kind = "password" // a string that nothing shows
	KindBoolean  Kind = "boolean"  // true or false
	KindChoice   Kind = "choice"   // one of Choices
	KindFile     Kind = "file"     // an upload
)

// Param defines one parameter of a job.
type Param struct {
	// Name is the name of the value in triggers and of the variable in builds.
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// Default is the value if a trigger has none. For a boolean, empty means
	// false. The default of a choice is always its first; a file has none. The
	// default of a password is a secret in the configuration.
	Default string `json:"default,omitempty"`
	// Choices are the values that a choice can have. Other kinds have none.
	Choices []string `json:"choices,omitempty"`
	// Description explains to people what the parameter is for.
	Description string `json:"description,omitempty"`
	// Link is the URL to which pages link the value, which replaces {value} in it.
	Link string `json:"link,omitempty"`
	// Trim removes white space around a string, also around the default. It is for strings only.
	Trim bool `json:"trim,omitempty"`
}

// Check returns [ErrBadParam], with the parameter's name and what is wrong, for
// an invalid definition.
func (p Param) Check() error {
	if problem := p.problem(); problem != "" {
		return fmt.Errorf("%w %.200q: %s", ErrBadParam, p.Name, problem)
	}
	return nil
}

func (p Param) problem() string {
	if problem := nameProblem(p.Name); problem != "" {
		return problem
	}
	switch p.Kind {
	case KindString, KindText, KindBoolean, KindChoice, KindFile:
	case KindPassword:
		// The access log shows these in clear: they are the control values of other endpoints.
		if p.Name == "item" || p.Name == "start" {
			return "a password of this name would stand in access logs"
		}
	case "":
		return "it has no kind"
	default:
		return fmt.Sprintf("unknown kind %q", p.Kind)
	}
	if p.Kind != KindChoice && len(p.Choices) > 0 {
		return "only a choice has choices"
	}
	if p.Kind != KindString && p.Trim {
		return "only a string is trimmed"
	}
	if problem := p.linkProblem(); problem != "" {
		return problem
	}
	return p.defaultProblem()
}

func (p Param) linkProblem() string {
	if p.Link == "" {
		return ""
	}
	u, err := url.Parse(strings.ReplaceAll(p.Link, linkValue, "x"))
	switch {
	case p.Kind == KindPassword || p.Kind == KindFile:
		return fmt.Sprintf("a %s is not linked", p.Kind)
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return "the link is no absolute http or https URL"
	case !strings.Contains(p.Link, linkValue):
		return "the link does not contain " + linkValue
	case !strings.HasPrefix(strings.ToLower(p.Link), u.Scheme+"://"+strings.ToLower(u.Host)):
		return "the host of the link must not depend on the value"
	}
	return ""
}

// linkValue is what a value replaces in [Param.Link].
const linkValue = "{value}"

// URL returns the link of a value, which is escaped so that it stays one part of
// the path or of the query. It is "" if the parameter has no link or the value is empty.
func (p Param) URL(value string) string {
	if p.Link == "" || value == "" {
		return ""
	}
	return strings.ReplaceAll(p.Link, linkValue, strings.ReplaceAll(url.QueryEscape(value), "+", "%20"))
}

func nameProblem(name string) string {
	switch {
	case name == "":
		return "it has no name"
	case len(name) > maxParamName:
		return fmt.Sprintf("the name has %d bytes, at most %d", len(name), maxParamName)
	case strings.ContainsFunc(name, notInName):
		return "the name can only have letters, digits, _, . and -"
	case strings.ContainsRune("0123456789.-", rune(name[0])):
		return "the name begins with a digit, . or -"
	case Reserved(name):
		return "the name is reserved: it has a meaning for triggers, builds, or the programs that they start"
	}
	return ""
}

func notInName(r rune) bool {
	return r != '_' && r != '.' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

func (p Param) defaultProblem() string {
	if problem := textProblem(p.Kind, p.Default); problem != "" {
		return "default: " + problem
	}
	switch p.Kind {
	case KindBoolean:
		if _, ok := parseBool(p.Default); !ok {
			return "the default is neither true nor false"
		}
	case KindChoice:
		if len(p.Choices) == 0 {
			return "a choice without choices"
		}
		for _, choice := range p.Choices {
			if problem := textProblem(KindChoice, choice); problem != "" {
				return "choice: " + problem
			}
		}
		if p.Default != "" && p.Default != p.Choices[0] {
			return "the default of a choice is its first"
		}
	case KindFile:
		if p.Default != "" {
			return "a file has no default"
		}
	case KindString, KindText, KindPassword:
	}
	return ""
}

// textProblem returns why a text cannot be a value, empty if it can. It never quotes the text.
func textProblem(kind Kind, text string) string {
	limit := MaxValue
	if kind == KindText {
		limit = MaxText
	}
	switch {
	case len(text) > limit:
		return fmt.Sprintf("%d bytes, at most %d", len(text), limit)
	case !utf8.ValidString(text):
		return "not valid UTF-8"
	case strings.Contains(text, "\x00"):
		return "it holds a NUL character" // which ends a variable of an environment
	}
	return ""
}

// parseBool parses true, on, 1, yes and false, off, 0, no, empty, in any case.
func parseBool(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "true", "on", "1", "yes":
		return true, true
	case "false", "off", "0", "no", "":
		return false, true
	}
	return false, false
}

// CheckParams checks the parameters of a job: each with [Param.Check]. Two names
// that differ at most in case are [ErrDuplicate].
func CheckParams(params []Param) error {
	seen := make(map[string]string, len(params))
	for _, p := range params {
		if err := p.Check(); err != nil {
			return err
		}
		lower := strings.ToLower(p.Name) // names are ASCII
		if other, ok := seen[lower]; ok {
			return fmt.Errorf("%w parameter: %s and %s", ErrDuplicate, other, p.Name)
		}
		seen[lower] = p.Name
	}
	return nil
}
