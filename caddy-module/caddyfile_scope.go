package caddymodule

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// inScope reads a directive that is allowed at the top, in a folder and in a job. It reports
// whether the name is one of these.
func (p parser) inScope(s *Scope, seen once, name string) (ok bool, err error) {
	if err := seen.check(p.d, name, "quiet_period", "timeout", "keep_builds", "dir", "label"); err != nil {
		return true, err
	}
	switch name {
	case "quiet_period":
		return true, p.quietPeriod(s)
	case "timeout":
		var timeout caddy.Duration
		timeout, err = p.duration(name)
		s.Timeout = &timeout
		return true, err
	case "keep_builds":
		var keep int
		keep, err = p.number(name, 0)
		s.KeepBuilds = &keep
		return true, err
	case "dir":
		if err := p.text(&s.Dir, name); err != nil {
			return true, err
		}
		if isLiteral(s.Dir) && !filepath.IsAbs(s.Dir) && !filepath.IsLocal(s.Dir) {
			return true, p.d.Errf("dir: '%s' leads out of the workspace; write an absolute path", s.Dir)
		}
		return true, nil
	case "label":
		p.mark(name)
		return true, p.label(&s.Label, name)
	case "env":
		return true, p.variable(&s.Env, name)
	case "allow":
		return true, p.rules(&s.Allow, name, levelName(p.full))
	case "token":
		return true, p.token(s)
	case "webhook":
		return true, p.webhook(s)
	case "notify":
		return true, p.notify(s)
	}
	return false, nil
}

func (p parser) quietPeriod(s *Scope) error {
	quiet, err := p.duration("quiet_period")
	if err != nil {
		return err
	}
	if quiet > caddy.Duration(job.MaxDelay) {
		return p.d.Errf("quiet_period: it is longer than %v", job.MaxDelay)
	}
	s.QuietPeriod = &quiet
	return nil
}

func (p parser) label(to *string, name string) error {
	if err := p.text(to, name); err != nil {
		return err
	}
	if err := job.CheckLabel(*to); err != nil {
		return p.d.Errf("%s: %v", name, err)
	}
	return nil
}

// otherDigest matches what looks like a digest; its name is the first group.
var otherDigest = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9_-]{1,11})[:=][0-9A-Fa-f]{32,}$`)

func (p parser) token(s *Scope) error {
	args, err := arguments(p.d, "token", 0, 2)
	if err != nil {
		return err
	}
	if len(args) == 0 { // {$NAME} without such a variable is nothing, too
		return p.d.Err("token: the secret is missing")
	}
	t := Token{Secret: args[len(args)-1]}
	if found := otherDigest.FindStringSubmatch(t.Secret); found != nil && found[1] != "sha256" {
		p.warnings.warn(CodeDigest, place(p.d), "token: it looks like a digest, but begins with %s: and not with sha256:, so its whole text is the token", found[1])
	}
	if isLiteral(t.Secret) {
		if _, err := token.ParseSecret(t.Secret); err != nil {
			return p.d.Errf("token: %s", strings.TrimPrefix(err.Error(), "token: ")) // which does not show it
		}
	}
	name := "default"
	if len(args) == 2 {
		t.Name, name = args[0], args[0]
		if err := token.CheckName(name); err != nil {
			return p.d.Errf("token: %v", err)
		}
	}
	if slices.ContainsFunc(s.Tokens, func(other Token) bool {
		return other.Name == name || (other.Name == "" && name == "default")
	}) {
		return p.d.Errf("token: there is already one with the name '%s' here; name them: token NAME SECRET", name)
	}
	seen := once{}
	err = block(p.d, func(sub string) error {
		if err := seen.check(p.d, sub, "expires", "grant"); err != nil {
			return err
		}
		switch sub {
		case "expires":
			p.mark("token " + name)
			return p.instant(&t.Expires, sub)
		case "allow":
			return p.rules(&t.Allow, sub, levelName(p.full)+" token "+name)
		case "grant":
			return p.grants(&t.Grants)
		}
		return unknown(p.d, sub, "token '"+name+"'")
	})
	s.Tokens = append(s.Tokens, t)
	return err
}

// isLiteral reports whether a text has no placeholder, so that its value is known before provisioning.
func isLiteral(text string) bool { return !strings.Contains(text, "{") }

func (p parser) grants(to *[]string) error {
	args, err := arguments(p.d, "grant", 1, unlimited)
	if err != nil {
		return err
	}
	if _, err := token.ParseGrants(args); err != nil {
		return p.d.Errf("grant: %v", err)
	}
	for i, arg := range args {
		if slices.Contains(args[:i], arg) {
			return p.d.Errf("grant: %s is listed twice", arg)
		}
	}
	*to = args
	return nil
}
