package caddymodule

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
)

// any number of arguments
const unlimited = math.MaxInt

// opens reports whether a block follows on this line.
func opens(d *caddyfile.Dispenser) bool {
	if !d.Next() {
		return false
	}
	open := d.Val() == "{"
	d.Prev()
	return open
}

// block calls read with the name of each subdirective of the block that opens here. It
// does nothing if no block opens.
func block(d *caddyfile.Dispenser, read func(name string) error) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := read(d.Val()); err != nil {
			return err
		}
	}
	return nil
}

// arguments reads the arguments of a directive. The error quotes none of them, because
// one could be a secret.
func arguments(d *caddyfile.Dispenser, name string, least, most int) ([]string, error) {
	args := d.RemainingArgs()
	if len(args) < least || len(args) > most {
		if use := usage[name]; use != "" {
			return nil, d.Errf("%s: want %s; got %s%s", name, use, counted(len(args)), unclosed(args))
		}
	}
	switch {
	case len(args) < least && least == 1 && most == 1:
		return nil, d.Errf("%s: the argument is missing", name)
	case len(args) < least:
		return nil, d.Errf("%s: got %d of at least %d arguments", name, len(args), least)
	case len(args) > most && most == 0:
		return nil, d.Errf("%s: it takes no arguments", name)
	case len(args) > most:
		return nil, d.Errf("%s: got %d arguments, want at most %d; quote what belongs together%s", name, len(args), most, unclosed(args))
	}
	return args, nil
}

// usage is shown in errors about the number of arguments of these directives.
var usage = map[string]string{ //nolint:gosec // the words are no secrets
	"token":         "token [NAME] SECRET; quote what belongs together",
	"param":         "param NAME KIND [DEFAULT]",
	"notify":        "notify NAME URL { … }; quote what belongs together",
	"env":           "env NAME VALUE; quote what belongs together",
	"allow":         "allow RULE [MESSAGE]; write the rule in backquotes: allow `params.ENV == \"staging\"`",
	"access read":   "read RULE; write the rule in backquotes: read `user == \"alice\"`",
	"access build":  "build RULE; write the rule in backquotes: build `user == \"alice\"`",
	"access cancel": "cancel RULE; write the rule in backquotes: cancel `user == \"alice\"`",
}

func counted(arguments int) string {
	switch arguments {
	case 0:
		return "no argument"
	case 1:
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", arguments)
}

// unclosed returns a hint for the end of an error if an argument has several lines.
func unclosed(args []string) string {
	for _, arg := range args {
		if n := strings.Count(arg, "\n"); n > 0 {
			return fmt.Sprintf("; an argument has %d lines: is a backquote or a quote missing?", n+1)
		}
	}
	return ""
}

// unknown is the error for a subdirective that does not exist.
func unknown(d *caddyfile.Dispenser, name, where string) error {
	if name == "{" {
		return d.Errf("a block can't open here, in %s", where)
	}
	if n := strings.Count(name, "\n"); n > 0 {
		return d.Errf("a text of %d lines in place of a subdirective of %s: is a backquote or a quote missing?", n+1, where)
	}
	return d.Errf("unrecognized subdirective '%s' of %s%s", name, where, cure(name, where))
}

// once records the subdirectives of a block.
type once map[string]bool

// check returns an error if a subdirective is repeated that may be there only once.
func (o once) check(d *caddyfile.Dispenser, name string, only ...string) error {
	if !slices.Contains(only, name) {
		return nil
	}
	if o[name] {
		return d.Errf("%s is set twice", name)
	}
	o[name] = true
	return nil
}

func (p parser) text(to *string, name string) error {
	args, err := arguments(p.d, name, 1, 1)
	if err != nil {
		return err
	}
	if args[0] == "" {
		return p.d.Errf("%s: it is empty", name)
	}
	*to = args[0]
	return nil
}

func (p parser) flag(to *bool, name string) error {
	*to = true
	_, err := arguments(p.d, name, 0, 0)
	return err
}

func (p parser) duration(name string) (caddy.Duration, error) {
	args, err := arguments(p.d, name, 1, 1)
	if err != nil {
		return 0, err
	}
	return p.parseDuration(name, args[0])
}

func (p parser) parseDuration(name, text string) (caddy.Duration, error) {
	length, err := caddy.ParseDuration(text)
	if err != nil {
		return 0, p.d.Errf("%s: '%s' is not a duration such as 90s, 5m or 1d", name, text)
	}
	if length < 0 {
		return 0, p.d.Errf("%s: %v is negative", name, length)
	}
	return caddy.Duration(length), nil
}

func (p parser) number(name string, least int) (int, error) {
	args, err := arguments(p.d, name, 1, 1)
	if err != nil {
		return 0, err
	}
	return p.parseNumber(name, args[0], least)
}

func (p parser) parseNumber(name, text string, least int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < least {
		return 0, p.d.Errf("%s: '%s' is not a whole number of at least %d", name, text, least)
	}
	return n, nil
}

// instant reads an RFC 3339 time.
func (p parser) instant(to *time.Time, name string) error {
	args, err := arguments(p.d, name, 1, 1)
	if err != nil {
		return err
	}
	if _, err := time.Parse("2006-01-02T15:04:05", args[0]); err == nil {
		return p.d.Errf("%s: '%s' has no time zone; write %[2]sZ for UTC, or an offset such as %[2]s+02:00", name, args[0])
	}
	if *to, err = time.Parse(time.RFC3339, args[0]); err != nil || to.IsZero() {
		return p.d.Errf("%s: '%s' is not a time such as 2027-01-31T00:00:00Z", name, args[0])
	}
	return nil
}

// variable reads a name and a value.
func (p parser) variable(to *map[string]string, name string) error {
	args, err := arguments(p.d, name, 2, 2)
	if err != nil {
		return err
	}
	if _, ok := (*to)[args[0]]; ok {
		return p.d.Errf("%s: %s is set twice", name, args[0])
	}
	if err := job.CheckVarName(args[0]); err != nil {
		return p.d.Errf("%s: %v", name, err)
	}
	if *to == nil {
		*to = map[string]string{}
	}
	(*to)[args[0]] = args[1]
	return nil
}

// rule reads a CEL expression, and compiles it here too, where its line is known.
func (p parser) rule(to *string, name string, access bool) error {
	args, err := arguments(p.d, name, 1, 1)
	if err != nil {
		return err
	}
	*to = args[0]
	p.lines[name] = place(p.d)
	return p.checkRule(args[0], name, access)
}

// rules reads one more CEL expression of a level or token, and the message for callers
// that it refuses.
func (p parser) rules(to *[]Rule, name, of string) error {
	args, err := arguments(p.d, name, 1, 2)
	if err != nil {
		return err
	}
	r := Rule{Expression: args[0]}
	if len(args) == 2 {
		if r.Message = args[1]; r.Message == "" {
			return p.d.Errf("%s: the message is empty", name)
		}
	}
	*to = append(*to, r)
	p.lines[ruleName(of, len(*to))] = place(p.d)
	return p.checkRule(r.Expression, name, false)
}

func (p parser) checkRule(source, name string, access bool) (err error) {
	if err := p.checkPlaceholders(source, name); err != nil {
		return err
	}
	if p.envs[access] == nil {
		newEnv := policy.NewEnv
		if access {
			newEnv = policy.NewAccessEnv
		}
		if p.envs[access], err = newEnv(); err != nil {
			return p.d.WrapErr(err)
		}
	}
	env := p.envs[access]
	if _, err := env.Compile([]policy.Rule{{Name: name, Source: source}}); err != nil {
		return p.d.Errf("%w%s", err, ruleCure(err.Error(), source))
	}
	if !access {
		at := place(p.d)
		for _, r := range env.Reads(source) {
			*p.reads = append(*p.reads, read{r, at})
		}
	}
	return nil
}

// checkPlaceholders returns an error for an expression in which Caddy has replaced a
// shorthand. It warns about placeholders that would be replaced elsewhere.
func (p parser) checkPlaceholders(source, name string) error {
	if err := shorthandError(source); err != nil {
		return p.d.Errf("%s: %w", name, err)
	}
	if found := textPlaceholder.FindString(source); found != "" {
		p.warnings.warn(CodeRule, place(p.d), "%s: %s is not replaced in a rule; use a variable of the rule, or write the text itself", name, found)
	}
	return nil
}
