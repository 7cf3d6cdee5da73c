package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// visitor is a client of several servers: it performs each action at another one.
type visitor struct {
	*user
	c *cluster
	n *node // the current server
}

func (c *cluster) visitor(d dice) *visitor {
	v := &visitor{c: c}
	v.user = &user{lookout: lookout{m: c.m, ledger: c.ledger}, d: d, jobs: c.m.all, next: &c.next}
	v.visit(c.members[0])
	return v
}

// visit performs the next actions at a server.
func (v *visitor) visit(n *node) {
	v.n = n
	v.client, v.configs = n.client, &n.configs
	begun := now()
	v.dying = func() bool { return v.c.fates.unreached(n.name, begun, now()) }
}

// live performs one action after another until ctx ends.
func (v *visitor) live(ctx context.Context) {
	for ctx.Err() == nil {
		n := pick(v.d, v.c.members)
		if !n.up.Load() && v.d.chance(98) {
			pause(ctx, v.d.within(20*time.Millisecond))
			continue
		}
		v.visit(n)
		begun := now()
		if err := v.act(ctx); err != nil && ctx.Err() == nil {
			v.m.count(func(c *counts) { c.cutOff++ })
			if !v.c.fates.disturbed(n.name, begun, now()) {
				v.m.report("%s, with which nothing was wrong since %v: %v", n.name, begun.Format(time.TimeOnly), err)
			}
		}
		// This many clients would exhaust the number of processes for builds.
		pause(ctx, v.d.within(120*time.Millisecond))
	}
}

// act performs one action.
func (v *visitor) act(ctx context.Context) error {
	switch n := v.d.IntN(100); {
	case n < 8:
		return v.follow(ctx)
	case n < 14:
		v.m.count(func(c *counts) { c.waits++ })
		return v.triggerAnd(ctx, v.likely(), 1+v.d.IntN(6))
	}
	return v.user.act(ctx)
}

// likely returns a job to trigger.
func (u *user) likely() *job {
	for {
		if j := pick(u.d, u.jobs); j.rare == 0 || u.d.chance(j.rare) {
			return j
		}
	}
}

// follow reads a log as long as it grows, at a random server.
func (v *visitor) follow(ctx context.Context) error {
	soon := now().Add(3 * time.Second)
	id, of, _ := v.m.some(v.d, func(it *item) bool {
		return !it.dropped && it.result == "" && it.fate != cancelled && it.due.Before(soon)
	})
	if of == nil {
		return v.queue(ctx)
	}
	begun := now()
	ctx, cancel := context.WithTimeout(ctx, 12*time.Second)
	defer cancel()
	text, err := v.text(ctx, "/buildByToken/log?"+url.Values{"job": {of.name}, "token": {secret}, "item": {strconv.FormatInt(id, 10)}}.Encode())
	if _, answered := errors.AsType[*statusError](err); answered {
		return onlyIf(err, http.StatusServiceUnavailable) // it may be gone, or cancelled
	}
	if ctx.Err() != nil {
		return nil // it takes longer
	}
	if err == nil {
		v.m.followed(id, text, !v.c.fates.disturbed(v.n.name, begun, now()))
	}
	return err
}

// onlyIf returns the error unless it is a statusError with that status.
func onlyIf(err error, status int) error {
	if got, ok := errors.AsType[*statusError](err); ok && got.status != status {
		return nil
	}
	return err
}

// sight is what a follower saw of a log until it ended.
type sight struct {
	item  int64
	text  string
	whole bool // there was no fault meanwhile
}

// followed records what a follower saw.
func (m *model) followed(id int64, text string, whole bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts.follows++
	m.sights = append(m.sights, sight{id, text, whole})
}

// unreached reports whether a server can have been without its database, or not have run,
// between two instants or shortly before.
func (f *fates) unreached(server string, from, to time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.between(server, from.Add(-recovery), to, dead, paused, cut)) > 0
}
