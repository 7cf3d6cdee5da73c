package caddymodule

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// run reads a run directive, which is short for `runner exec`.
func (p parser) run(to *json.RawMessage) error {
	named := struct {
		Runner string `json:"runner"`
		Exec
	}{Runner: "exec"}
	at := place(p.d)
	err := p.exec(to, &named, &named.Exec)
	p.warnings.lintCommand(at, "run", &named.Exec)
	return err
}

func (p parser) poll(to *json.RawMessage) error {
	named := struct {
		Poller string `json:"poller"`
		Exec
	}{Poller: "exec"}
	at := place(p.d)
	err := p.exec(to, &named, &named.Exec)
	p.warnings.lintCommand(at, "poll", &named.Exec)
	return err
}

// exec reads a command into e, and encodes named, which e is a part of. Caddy's JSONModuleObject would add the module's
// name to the encoded command, for which it decodes and encodes the command once more.
func (p parser) exec(to *json.RawMessage, named any, e *Exec) error {
	if err := e.UnmarshalCaddyfile(p.d.NewFromNextSegment()); err != nil {
		return err
	}
	*to = caddyconfig.JSON(named, nil)
	return nil
}

// runner reads a runner directive by the Caddyfile syntax of the module that it names.
func (p parser) runner(to *json.RawMessage) error {
	if !p.d.NextArg() {
		return p.d.Errf("runner: the name of the module is missing")
	}
	name := p.d.Val()
	if name == "exec" {
		return p.run(to)
	}
	module, err := caddyfile.UnmarshalModule(p.d, "build_token.runners."+name)
	if err != nil {
		return err
	}
	*to = caddyconfig.JSONModuleObject(module, "runner", name, nil)
	return nil
}

// UnmarshalCaddyfile reads the command of `run`, `poll` and `runner exec`. Syntax:
//
//	run <command> [<arg>...] {
//		dir         <path>
//		env         <name> <value>     # repeatable
//		inherit_env <name>...          # repeatable
//		kill_delay  <duration>
//		user        <name>
//		unstable    <exit status>
//	}
func (e *Exec) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	p, name := parser{d: d}, d.Val()
	args, err := arguments(d, name, 1, unlimited)
	if err != nil {
		return err
	}
	if args[0] == "" {
		return d.Errf("%s: the command is empty", name)
	}
	e.Command, e.Args = args[0], args[1:]
	seen := once{}
	return block(d, func(sub string) error {
		if err := seen.check(d, sub, "dir", "kill_delay", "user", "unstable"); err != nil {
			return err
		}
		switch sub {
		case "dir":
			return p.text(&e.Dir, sub)
		case "env":
			return p.variable(&e.Env, sub)
		case "inherit_env":
			names, err := arguments(d, sub, 1, unlimited)
			e.InheritEnv = append(e.InheritEnv, names...)
			return err
		case "kill_delay":
			var err error
			e.KillDelay, err = p.duration(sub)
			return err
		case "user":
			return p.text(&e.User, sub)
		case "unstable":
			var err error
			if e.Unstable, err = p.number(sub, 1); err == nil && e.Unstable > 255 {
				err = d.Errf("%s: an exit status is at most 255", sub)
			}
			return err
		}
		return unknown(d, sub, name)
	})
}

var _ caddyfile.Unmarshaler = (*ExecRunner)(nil)
