package queuetest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// player runs the lines of a script.
type player struct {
	t     *testing.T
	store Store
	q     Queue
	now   time.Time
	rules map[string]queue.Rules
	limit int
	grace time.Duration
	files int
}

// open opens the queue and sets the rules, like a server that starts.
func (p *player) open() {
	p.t.Helper()
	p.q = p.store.Open(p.t)
	p.applyRules()
	select {
	case <-p.q.Changed():
	default:
	}
}

func (p *player) applyRules() {
	p.t.Helper()
	if err := p.q.SetRules(p.t.Context(), p.now, queue.Config{Rules: maps.Clone(p.rules), Limit: p.limit, Grace: p.grace}); err != nil {
		p.t.Fatal(err)
	}
}

// do runs one command and returns the answer of the queue. An error is a mistake in the
// script, not an answer.
func (p *player) do(words []string) ([]string, error) {
	if len(words) == 0 {
		return nil, errors.New("no command")
	}
	verbs := map[string]func(arguments) ([]string, error){
		"trigger": p.trigger, "advance": p.advance, "next": p.next, "claim": p.claim,
		"finish": p.finish, "cancel": p.cancel, "abort": p.abort, "aborts": p.aborts,
		"item": p.item, "items": p.items, "builds": p.builds, "lane": p.lane,
		"rules": p.setRules, "restart": p.restart, "crash": p.crash, "reclaim": p.reclaim,
		"refs": p.refs, "changed": p.changed, "oldest": p.oldest,
		"overview": p.overview, "gone": p.gone, "handle": p.handle, "adopt": p.adopt,
		"take": p.take, "settle": p.settle, "retry": p.retry, "notifications": p.notifications, "backlogs": p.backlogs,
	}
	verb, ok := verbs[words[0]]
	if !ok {
		return nil, fmt.Errorf("no command %q", words[0])
	}
	args := arguments{named: map[string]string{}}
	for _, word := range words[1:] {
		if name, value, ok := strings.Cut(word, "="); ok {
			args.named[name] = value
			args.order = append(args.order, name)
		} else {
			args.plain = append(args.plain, word)
		}
	}
	return verb(args)
}

// arguments are the words behind a verb.
type arguments struct {
	plain []string
	named map[string]string
	order []string // of the named ones
}

// at is a plain argument; missing ones are empty.
func (a arguments) at(i int) string {
	if i < len(a.plain) {
		return a.plain[i]
	}
	return ""
}

func (a arguments) number(i int) (int64, error) {
	n, err := strconv.ParseInt(a.at(i), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("argument %d: %w", i+1, err)
	}
	return n, nil
}

// request builds the request of a trigger. A name that is not an option is a
// parameter, with the kind password: or file: as a prefix.
func (p *player) request(a arguments) (queue.Request, error) {
	r := queue.Request{Job: a.at(0), Cause: queue.Cause{Kind: queue.CauseRemote}}
	for _, word := range a.plain[1:] {
		switch word {
		case "solo":
			r.Solo = true
		case "scm":
			r.Cause.Kind = queue.CauseSCM
		default:
			return r, fmt.Errorf("trigger has no option %q", word)
		}
	}
	digest := sha256.New()
	for _, name := range a.order {
		value := a.named[name]
		switch name {
		case "cause":
			r.Cause.Note, r.Cause.Noted = value, true
		case "user":
			r.Cause.Kind, r.Cause.User = queue.CauseUser, value
		case "token":
			r.Cause.Token = value
		case "addr":
			r.Cause.Addr = value
		case "root":
			r.Root = value
		case "key":
			r.Key = keyOf(value)
		case "quiet":
			delay, err := time.ParseDuration(value)
			if err != nil {
				return r, err
			}
			r.Delay = delay
		default:
			fmt.Fprintf(digest, "%q=%q\n", name, value)
			r.Values = append(r.Values, p.value(name, value))
		}
	}
	copy(r.Digest[:], digest.Sum(nil))
	return r, nil
}

// keyOf returns the key for a client's idempotency key.
func keyOf(given string) *queue.Digest {
	sum := sha256.Sum256([]byte(given))
	return new(queue.Digest(sum[:len(queue.Digest{})]))
}

func (p *player) value(name, text string) queue.Value {
	kind, rest, ok := strings.Cut(name, ":")
	switch {
	case ok && kind == "password":
		return queue.Value{Name: rest, Kind: kind, Sealed: []byte("sealed")}
	case ok && kind == "file":
		p.files++
		return queue.Value{Name: rest, Kind: kind, Text: text, Ref: fmt.Sprint("ref", p.files)}
	default:
		return queue.Value{Name: name, Kind: "string", Text: text}
	}
}
