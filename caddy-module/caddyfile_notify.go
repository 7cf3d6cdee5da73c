package caddymodule

import (
	"fmt"
	"slices"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/notify/receiver"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// notify reads a receiver of notifications. Its errors show neither the URL nor a secret.
func (p parser) notify(s *Scope) error {
	args, err := arguments(p.d, "notify", 2, 2)
	if err != nil {
		return err
	}
	n := Notify{Name: args[0], URL: args[1]}
	switch {
	case token.CheckName(n.Name) != nil:
		return p.d.Errf("notify: the name: %s", strings.TrimPrefix(token.CheckName(n.Name).Error(), token.ErrBadName.Error()+": "))
	case slices.ContainsFunc(s.Notify, func(o Notify) bool { return o.Name == n.Name }):
		return p.d.Errf("notify: there is already one with the name '%s' here", n.Name)
	}
	p.mark("notify " + n.Name)
	seen := once{}
	if err := block(p.d, func(sub string) error { return p.inNotify(&n, seen, sub) }); err != nil {
		return err
	}
	if err := receiver.Check(n.config()); err != nil {
		return p.d.Errf("notify %s: %v", n.Name, err)
	}
	s.Notify = append(s.Notify, n)
	return nil
}

func (p parser) inNotify(n *Notify, seen once, sub string) error {
	if err := seen.check(p.d, sub, "on", "format", "body", "repository", "commit"); err != nil {
		return err
	}
	switch sub {
	case "on":
		args, err := arguments(p.d, sub, 1, unlimited)
		if err != nil {
			return err
		}
		for _, arg := range args {
			if err := checkCondition(arg); err != nil {
				return p.d.Errf("on: %v", err)
			}
			if slices.Contains(n.On, queue.Condition(arg)) {
				return p.d.Errf("on: %s stands twice", arg)
			}
			n.On = append(n.On, queue.Condition(arg))
		}
		return nil
	case "format":
		var format string
		if err := p.text(&format, sub); err != nil {
			return err
		}
		n.Format = receiver.Format(format)
		if !slices.Contains(receiver.Formats(), n.Format) {
			return p.d.Errf("format: %v", notOneOf(n.Format, receiver.Formats()))
		}
		return nil
	case "secret":
		args, err := arguments(p.d, sub, 1, unlimited)
		if err != nil {
			return err
		}
		if slices.Contains(args, "") { // {$NAME} without such a variable
			return p.d.Err("secret: it is empty")
		}
		n.Secrets = append(n.Secrets, args...)
		return nil
	case "header":
		args, err := arguments(p.d, sub, 2, 2)
		if err != nil {
			return err
		}
		n.Header = append(n.Header, HeaderField{args[0], args[1]})
		return nil
	case "body":
		return p.text(&n.Body, sub)
	case "repository":
		return p.text(&n.Repository, sub)
	case "commit":
		return p.text(&n.Commit, sub)
	}
	return unknown(p.d, sub, "notify '"+n.Name+"'")
}

// notOneOf is the error for a word that is none of some names.
func notOneOf[T ~string](word T, all []T) error {
	var names []string
	for _, name := range all {
		names = append(names, string(name))
	}
	cure := ""
	if meant := nearest(string(word), names); meant != "" {
		cure = fmt.Sprintf(" (did you mean %s?)", meant)
	}
	return fmt.Errorf("'%s' is none of %s%s", word, strings.Join(names, ", "), cure)
}

// checkCondition refuses words that are no conditions.
func checkCondition(word string) error {
	if slices.Contains(queue.Conditions(), queue.Condition(word)) {
		return nil
	}
	return notOneOf(queue.Condition(word), queue.Conditions())
}
