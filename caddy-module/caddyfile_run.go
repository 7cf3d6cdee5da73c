package caddymodule

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

func (p parser) run(to *json.RawMessage) error {
	var r ExecRunner
	if err := p.command(&r.Exec, "run"); err != nil {
		return err
	}
	*to = caddyconfig.JSONModuleObject(r, "runner", "exec", nil)
	return nil
}

func (p parser) poll(to *json.RawMessage) error {
	var r ExecPoller
	if err := p.command(&r.Exec, "poll"); err != nil {
		return err
	}
	*to = caddyconfig.JSONModuleObject(r, "poller", "exec", nil)
	return nil
}

func (p parser) command(e *Exec, name string) error {
	args, err := arguments(p.d, name, 1, unlimited)
	if err != nil {
		return err
	}
	if args[0] == "" {
		return p.d.Errf("%s: the command is empty", name)
	}
	e.Command, e.Args = args[0], args[1:]
	seen := once{}
	return block(p.d, func(sub string) error {
		if err := seen.check(p.d, sub, "dir", "kill_delay", "user"); err != nil {
			return err
		}
		switch sub {
		case "dir":
			return p.text(&e.Dir, sub)
		case "env":
			return p.variable(&e.Env, sub)
		case "inherit_env":
			names, err := arguments(p.d, sub, 1, unlimited)
			e.InheritEnv = append(e.InheritEnv, names...)
			return err
		case "kill_delay":
			var err error
			e.KillDelay, err = p.duration(sub)
			return err
		case "user":
			return p.text(&e.User, sub)
		}
		return unknown(p.d, sub, name)
	})
}
