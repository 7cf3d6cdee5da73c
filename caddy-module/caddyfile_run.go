package caddymodule

import "encoding/json"

func (p parser) run(to *json.RawMessage) error {
	named := struct {
		Runner string `json:"runner"`
		Exec
	}{Runner: "exec"}
	return p.module(to, &named, &named.Exec, "run")
}

func (p parser) poll(to *json.RawMessage) error {
	named := struct {
		Poller string `json:"poller"`
		Exec
	}{Poller: "exec"}
	return p.module(to, &named, &named.Exec, "poll")
}

// module reads a command into e, and gives the text of named, which e is a part of.
// JSONModuleObject of Caddy would add the module's name to the text, and for
// that decode it and encode it once more.
func (p parser) module(to *json.RawMessage, named any, e *Exec, name string) error {
	if err := p.command(e, name); err != nil {
		return err
	}
	text, err := json.Marshal(named)
	if err != nil {
		return p.d.WrapErr(err)
	}
	*to = text
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
