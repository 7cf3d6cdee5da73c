package caddymodule

import (
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/hook"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// webhook reads a sender of webhooks. Its errors show no secret.
func (p parser) webhook(s *Scope) error {
	args, err := arguments(p.d, "webhook", 2, unlimited)
	if err != nil {
		return err
	}
	isKind := func(i int) bool { return i < len(args) && slices.Contains(event.Kinds(), event.Kind(args[i])) }
	var w Webhook
	switch {
	case isKind(1) && (len(args) > 2 || !isKind(0)): // a name comes first
		w.Name, args = args[0], args[1:]
	case !isKind(0):
		return p.d.Errf("webhook: neither of the first two arguments is a kind: %s", kinds())
	}
	w.Kind, w.Secrets = args[0], args[1:]
	name := definition.WebhookName(w.Name, w.Kind)
	switch {
	case len(w.Secrets) == 0 || slices.Contains(w.Secrets, ""): // {$NAME} without such a variable is nothing, too
		return p.d.Errf("webhook %s: a secret is missing", name)
	case token.CheckName(name) != nil:
		return p.d.Errf("webhook: %v", token.CheckName(name))
	case slices.ContainsFunc(s.Webhooks, func(o Webhook) bool { return definition.WebhookName(o.Name, o.Kind) == name }):
		return p.d.Errf("webhook: there is already one with the name '%s' here", name)
	}
	for _, secret := range w.Secrets {
		if !isLiteral(secret) {
			continue
		}
		if _, err := hook.ParseSecret(event.Kind(w.Kind), secret); err != nil {
			return p.d.Errf("webhook %s: %v", name, err)
		}
	}
	p.mark("webhook " + name)
	seen := once{}
	if err := block(p.d, func(sub string) error { return p.inWebhook(&w, seen, sub, name) }); err != nil {
		return err
	}
	// What a secret is, is not always known yet.
	stand, err := hook.ParseSecret(event.HMAC, "stand-in")
	if err != nil {
		return p.d.WrapErr(err)
	}
	if _, err := hook.New(w.config([]hook.Secret{stand})); err != nil {
		return p.d.Errf("webhook %s: %v", name, err)
	}
	s.Webhooks = append(s.Webhooks, w)
	return nil
}

func (p parser) inWebhook(w *Webhook, seen once, sub, name string) error {
	if err := seen.check(p.d, sub, "header", "prefix", "algorithm", "encoding", "tolerance", "max_size"); err != nil {
		return err
	}
	var err error
	switch sub {
	case "header":
		return p.text(&w.Header, sub)
	case "prefix":
		return p.text(&w.Prefix, sub)
	case "algorithm":
		return p.text(&w.Algorithm, sub)
	case "encoding":
		return p.text(&w.Encoding, sub)
	case "tolerance":
		w.Tolerance, err = p.duration(sub)
		return err
	case "max_size":
		var text string
		if err := p.text(&text, sub); err != nil {
			return err
		}
		size, err := humanize.ParseBytes(text)
		if err != nil || size == 0 || size > hook.LargestMaxSize {
			return p.d.Errf("max_size: '%s' is no size from 1 to 25MiB", text)
		}
		w.MaxSize = int64(size)
		return nil
	}
	return unknown(p.d, sub, "webhook '"+name+"'")
}

// kinds lists the kinds of senders.
func kinds() string {
	names := make([]string, 0, len(event.Kinds()))
	for _, k := range event.Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// on reads what a job does with deliveries. Expressions are compiled where they stand;
// what they mean for the job's parameters is checked by checkOn.
func (p parser) on(j *Job) error {
	args, err := arguments(p.d, "on", 1, unlimited)
	if err != nil {
		return err
	}
	o, at := On{Webhook: args[0], Events: args[1:], at: *p.d}, place(p.d)
	seen := once{}
	err = block(p.d, func(sub string) error {
		if err := seen.check(p.d, sub, "when", "cause", "delay", "include"); err != nil {
			return err
		}
		switch sub {
		case "when":
			return p.expression(&o.When, sub, true)
		case "cause":
			return p.expression(&o.Cause, sub, false)
		case "delay":
			delay, err := p.duration(sub)
			o.Delay = &delay
			return err
		case "include":
			o.Include, err = arguments(p.d, sub, 1, unlimited)
			return err
		case "set":
			args, err := arguments(p.d, sub, 2, 2)
			if err != nil {
				return err
			}
			o.Set = append(o.Set, Set{Param: args[0], Value: args[1]})
			return p.compileExpression(args[1], sub+" "+args[0], false)
		}
		return unknown(p.d, sub, "on "+o.Webhook)
	})
	j.On = append(j.On, o)
	p.lines[onName(p.full, len(j.On))] = at
	return err
}

// expression reads a CEL expression over a delivery.
func (p parser) expression(to *string, name string, condition bool) error {
	args, err := arguments(p.d, name, 1, 1)
	if err != nil {
		return err
	}
	*to = args[0]
	return p.compileExpression(args[0], name, condition)
}

func (p parser) compileExpression(source, name string, condition bool) error {
	if err := p.checkPlaceholders(source, name); err != nil {
		return err
	}
	env, err := p.events()
	if err != nil {
		return p.d.WrapErr(err)
	}
	compile := env.Value
	if condition {
		compile = env.Condition
	}
	if _, err := compile(policy.Rule{Name: name, Source: source}); err != nil {
		return p.d.WrapErr(err)
	}
	return nil
}

// checkOn checks what deliveries set against all parameters of the job, which may stand
// below. The errors have the line of the on.
func (p parser) checkOn(j *Job) error {
	for i := range j.On {
		env, err := p.events()
		if err != nil {
			return p.d.WrapErr(err)
		}
		if _, err := definition.CompileOn(env, j.On[i].spec(), j.Params); err != nil {
			return j.On[i].at.Errf("job '%s': %v", j.Name, err)
		}
	}
	return nil
}
