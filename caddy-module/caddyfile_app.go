package caddymodule

import (
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/buildtoken/buildtoken/buildtoken/job"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("build_token", parseOption)
}

// parseOption reads the global option.
func parseOption(d *caddyfile.Dispenser, existing any) (any, error) {
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	if existing != nil {
		// Caddy itself would silently use the second one.
		return nil, d.Err("the global option build_token is set twice")
	}
	return httpcaddyfile.App{Name: "build_token", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from the global option. Syntax:
//
//	build_token {
//		queue bolt [<path>] | postgres <url> { … }
//		node <name> {
//			labels    <label>…
//			executors <n>
//		}
//		executors        <n>
//		remote_builds    <n>
//		queue_limit      <n>
//		orphan_timeout   <duration>
//		keep_removed     <duration>
//		keep_builds      <n>
//		shutdown_timeout <duration>
//		wrong_tokens     <n> <duration> | off
//		audit
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the option's name
	if _, err := arguments(d, "build_token", 0, 0); err != nil {
		return err
	}
	p := newParser(d)
	seen := once{}
	return block(d, func(name string) (err error) {
		if err := seen.check(d, name, "queue", "node", "executors", "remote_builds", "queue_limit", "orphan_timeout", "keep_removed", "keep_builds", "shutdown_timeout", "wrong_tokens", "audit"); err != nil {
			return err
		}
		switch name {
		case "queue":
			return p.queue(a)
		case "node":
			return p.node(a, seen)
		case "executors":
			a.Executors, err = p.number(name, 1)
		case "remote_builds":
			a.RemoteBuilds, err = p.number(name, 1)
		case "queue_limit":
			a.QueueLimit, err = p.number(name, 1)
		case "orphan_timeout":
			var timeout caddy.Duration
			timeout, err = p.duration(name)
			a.OrphanTimeout = &timeout
		case "keep_removed":
			a.KeepRemoved, err = p.duration(name)
			if err == nil && a.KeepRemoved <= 0 {
				err = d.Errf("keep_removed: want more than 0, got %v", time.Duration(a.KeepRemoved))
			}
		case "keep_builds":
			var keep int
			keep, err = p.number(name, 0)
			a.KeepBuilds = &keep
		case "shutdown_timeout":
			var timeout caddy.Duration
			timeout, err = p.duration(name)
			a.ShutdownTimeout = &timeout
		case "wrong_tokens":
			a.WrongTokens, err = p.wrongTokens()
		case "audit":
			err = p.flag(&a.Audit, name)
		default:
			err = unknown(d, name, "the global option build_token")
		}
		return err
	})
}

// node reads the description of this server. Its executors are those of the global option.
func (p parser) node(a *App, seen once) error {
	n := new(Node)
	if err := p.label(&n.Name, "node"); err != nil {
		return err
	}
	a.Node = n
	own := once{}
	return block(p.d, func(name string) (err error) {
		if err := own.check(p.d, name, "labels"); err != nil {
			return err
		}
		switch name {
		case "labels":
			return p.labels(&n.Labels)
		case "executors":
			if err := seen.check(p.d, name, name); err != nil {
				return err
			}
			a.Executors, err = p.number(name, 1)
			return err
		default:
			return unknown(p.d, name, "node '"+n.Name+"'")
		}
	})
}

func (p parser) labels(to *[]string) error {
	args, err := arguments(p.d, "labels", 1, unlimited)
	if err != nil {
		return err
	}
	for i, label := range args {
		if err := job.CheckLabel(label); err != nil {
			return p.d.Errf("labels: %v", err)
		}
		if slices.Contains(args[:i], label) {
			return p.d.Errf("labels: %s is listed twice", label)
		}
	}
	*to = args
	return nil
}

// queue reads the name of a queue module. The module reads the rest.
func (p parser) queue(a *App) error {
	if !p.d.NextArg() {
		return p.d.Err("queue: the kind is missing; it is bolt or postgres")
	}
	kind := p.d.Val()
	id := "build_token.queues." + kind
	if _, err := caddy.GetModule(id); err != nil {
		return p.d.Errf("queue: there is no kind '%s'; it is bolt or postgres", kind)
	}
	queue, err := caddyfile.UnmarshalModule(p.d, id)
	if err != nil {
		return err
	}
	a.QueueRaw = caddyconfig.JSONModuleObject(queue, "queue", kind, nil)
	return nil
}

// UnmarshalCaddyfile sets up the queue. Syntax:
//
//	bolt [<path>]
func (b *Bolt) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	args, err := arguments(d, "queue bolt", 0, 1)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		if args[0] == "" {
			return d.Err("queue bolt: the path is empty")
		}
		b.Path = args[0]
	}
	return block(d, func(name string) error { return unknown(d, name, "queue bolt") })
}

func (p parser) wrongTokens() (*WrongTokens, error) {
	args, err := arguments(p.d, "wrong_tokens", 1, 2)
	if err != nil {
		return nil, err
	}
	if len(args) == 1 {
		if args[0] != "off" {
			return nil, p.d.Err("wrong_tokens: want a number and a duration, or off")
		}
		return &WrongTokens{Off: true}, nil
	}
	n, err := p.parseNumber("wrong_tokens", args[0], 1)
	if err != nil {
		return nil, err
	}
	window, err := p.parseDuration("wrong_tokens", args[1])
	if err != nil {
		return nil, err
	}
	if window == 0 {
		return nil, p.d.Err("wrong_tokens: the duration is 0; write off to disable the limit")
	}
	return &WrongTokens{Max: n, Window: window}, nil
}

var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*Bolt)(nil)
)
