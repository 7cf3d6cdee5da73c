package policy

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// ErrBadCase is wrapped by the errors of [ParseCase]; the text names the line.
var ErrBadCase = errors.New("policy: bad case file")

// maxCase is how long a case file may be, in bytes.
const maxCase = 1 << 20

// ParseCase reads a case file of at most 1 MiB:
//
//	# Only the listed environments may be deployed to.
//	rule team/app allow 1
//	    params.ENV in ["staging", "production"]
//	given job.full_name=team/app/deploy
//
//	> params.ENV=staging cause="nightly build"
//	allowed
//	> params.ENV=test
//	denied by team/app allow 1
//	>
//	denied by team/app allow 1: no such key: ENV
//
// A rule's source is indented below its name; rules are evaluated in the order of the file. "given" sets
// what all requests after it have in common. Each request begins with ">", may go on in further
// lines with ">", and the line after it is the wanted outcome (see [Check]). The content of a request is
// written KEY=VALUE, the key as in a rule: job.full_name, token.name, params.NAME, delay (5s), cause,
// user, now (RFC 3339), request.method, host, path, scheme, remote_ip, user_agent and
// request.headers.NAME. A value with spaces stands in double quotes, as in Go. Name and folder of
// the job follow from its full name. What is not set is empty. A line "access" marks the rules
// as those of an access block. Lines that begin with # and empty lines are ignored.
func ParseCase(r io.Reader) (Case, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxCase+1))
	if err != nil {
		return Case{}, fmt.Errorf("read case file: %w", err)
	}
	if len(text) > maxCase {
		return Case{}, fmt.Errorf("%w: longer than %d bytes", ErrBadCase, maxCase)
	}
	var p caseParser
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		if err := p.line(n, strings.TrimRight(line, " \t\r\n")); err != nil {
			return Case{}, fmt.Errorf("%w: line %d: %w", ErrBadCase, n, err)
		}
	}
	if err := p.end(); err != nil {
		return Case{}, fmt.Errorf("%w: %w", ErrBadCase, err)
	}
	return p.c, nil
}

type caseParser struct {
	c      Case
	given  Input
	open   *Check // the request that waits for its outcome
	inRule bool   // indented lines belong to the last rule
}

func (p *caseParser) line(n int, line string) error {
	trimmed := strings.TrimSpace(line)
	switch {
	case trimmed == "" || line[0] == '#':
		return nil
	case line[0] == ' ' || line[0] == '\t':
		return p.source(trimmed)
	}
	p.inRule = false
	word, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	if word == ">" {
		if p.open == nil {
			p.open = &Check{Line: n, Input: cloneInput(p.given)}
		}
		return set(&p.open.Input, rest)
	}
	if p.open != nil {
		return p.outcome(line)
	}
	switch {
	case word == "rule" && rest != "":
		if slices.ContainsFunc(p.c.Rules, func(r Rule) bool { return r.Name == rest }) {
			return fmt.Errorf("second rule %q", rest)
		}
		p.c.Rules = append(p.c.Rules, Rule{Name: rest})
		p.inRule = true
		return nil
	case word == "given":
		return set(&p.given, rest)
	case line == "access":
		p.c.Access = true
		return nil
	}
	return fmt.Errorf("%q is neither rule NAME, given, access nor a request (>)", line)
}

func (p *caseParser) source(text string) error {
	if !p.inRule {
		return errors.New("an indented line belongs below a rule")
	}
	r := &p.c.Rules[len(p.c.Rules)-1]
	if r.Source != "" {
		r.Source += "\n"
	}
	r.Source += text
	return nil
}

func (p *caseParser) outcome(want string) error {
	if want != wantAllowed && !p.namesRule(want) {
		return fmt.Errorf("%q is no outcome: want allowed, denied by RULE or denied by RULE: TEXT", want)
	}
	p.open.Want = want
	p.c.Checks = append(p.c.Checks, *p.open)
	p.open = nil
	return nil
}

func (p *caseParser) namesRule(want string) bool {
	name, ok := strings.CutPrefix(want, wantDenied)
	return ok && slices.ContainsFunc(p.c.Rules, func(r Rule) bool {
		return name == r.Name || strings.HasPrefix(name, r.Name+": ")
	})
}

func (p *caseParser) end() error {
	switch {
	case p.open != nil:
		return fmt.Errorf("line %d: the request has no outcome", p.open.Line)
	case len(p.c.Checks) == 0:
		return errors.New("no request")
	}
	return nil
}

func cloneInput(in Input) Input {
	in.Params = maps.Clone(in.Params)
	in.Request.Headers = maps.Clone(in.Request.Headers)
	return in
}

// set reads KEY=VALUE pairs into in.
func set(in *Input, pairs string) error {
	for pairs != "" {
		key, rest, ok := strings.Cut(pairs, "=")
		if !ok {
			return fmt.Errorf("%q has no =", pairs)
		}
		var value string
		if strings.HasPrefix(rest, `"`) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return fmt.Errorf("%s: the quotes do not close", key)
			}
			if value, err = strconv.Unquote(quoted); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			rest = rest[len(quoted):]
			if rest != "" && !strings.HasPrefix(rest, " ") {
				return fmt.Errorf("%s: text right after the quotes", key)
			}
		} else {
			end := strings.IndexFunc(rest, unicode.IsSpace)
			if end < 0 {
				end = len(rest)
			}
			value, rest = rest[:end], rest[end:]
		}
		if err := assign(in, key, value); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		pairs = strings.TrimLeftFunc(rest, unicode.IsSpace)
	}
	return nil
}

func assign(in *Input, key, value string) (err error) {
	if name, ok := strings.CutPrefix(key, "params."); ok && name != "" {
		put(&in.Params, name, value)
		return nil
	}
	if name, ok := strings.CutPrefix(key, "request.headers."); ok && name != "" {
		put(&in.Request.Headers, strings.ToLower(name), value)
		return nil
	}
	switch key {
	case "job.full_name":
		in.Job = JobOf(value)
	case "token.name":
		in.Token.Name = value
	case "delay":
		in.Delay, err = time.ParseDuration(value)
	case "now":
		in.Now, err = time.Parse(time.RFC3339, value)
	case "cause":
		in.Cause = value
	case "user":
		in.User = value
	case "request.method":
		in.Request.Method = value
	case "request.host":
		in.Request.Host = value
	case "request.path":
		in.Request.Path = value
	case "request.scheme":
		in.Request.Scheme = value
	case "request.remote_ip":
		in.Request.RemoteIP = value
	case "request.user_agent":
		in.Request.UserAgent = value
	default:
		return errors.New("not something that a request holds")
	}
	return err
}

func put(m *map[string]string, name, value string) {
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[name] = value
}
