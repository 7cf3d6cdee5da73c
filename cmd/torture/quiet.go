package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// quiet waits, without faults, until everything that is due is built, and verifies that every
// server gives the same answers.
func (c *cluster) quiet(ctx context.Context, last bool) error {
	if err := c.up(ctx); err != nil {
		return err
	}
	v := c.visitor(c.d)
	moved, left := now(), -1
	for {
		v.visit(pick(c.d, c.members))
		if err := v.everything(ctx, c.d); err != nil {
			return c.m.failed(ctx, "%s: look at everything, with nothing wrong: %v", v.n.name, err)
		}
		if last {
			for _, id := range c.m.waitingLong() {
				if err := v.cancelItem(ctx, c.m.itemJob(id), id); err != nil {
					return c.m.failed(ctx, "%s: cancel item %d, with nothing wrong: %v", v.n.name, id, err)
				}
			}
		}
		rest := c.m.unfinished(!last)
		if len(rest) == 0 {
			break
		}
		if len(rest) != left {
			moved, left = now(), len(rest)
		}
		if now().Sub(moved) > patience {
			return c.m.failed(ctx, "nothing moves for %v, and these do not end: %v", patience, rest)
		}
		if !pause(ctx, 200*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
	return c.compare(ctx)
}

// up waits until all servers run and have recovered, with the configuration under which
// everything is built.
func (c *cluster) up(ctx context.Context) error {
	begun := now()
	for _, n := range c.members {
		for !n.up.Load() {
			if !pause(ctx, 20*time.Millisecond) {
				return context.Cause(ctx)
			}
			if limit := 2*c.takeover + 3*startPatience; now().Sub(begun) > limit {
				return c.m.failed(ctx, "%s: is not there after %v with nothing in its way", n.name, limit)
			}
		}
	}
	if !pause(ctx, recovery) {
		return context.Cause(ctx)
	}
	for _, n := range c.members {
		n.alive(n.keeper.server())
		known := n.configs.loading(calm())
		status, body, err := n.client.load(ctx, n.site.caddyfile(calm(), ""))
		if err != nil || status != 200 {
			return c.m.failed(ctx, "%s: load, with nothing wrong: %d %s %v", n.name, status, body, err)
		}
		known(true)
	}
	return nil
}

// failed reports a failure, unless the run was ended meanwhile.
func (m *model) failed(ctx context.Context, format string, args ...any) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.report(format, args...)
	return errFound
}

// changing matches the parts of answers that differ a moment later.
var changing = regexp.MustCompile(`Expires in [^"]*`)

// compare sends the same requests to every server.
func (c *cluster) compare(ctx context.Context) error {
	for _, at := range c.m.worthComparing(c.d, c.consoles) {
		var first string
		for i, n := range c.members {
			text, err := n.client.text(ctx, at)
			if err != nil { // the error must be the same too
				text = err.Error()
			}
			text = changing.ReplaceAllString(text, "")
			if i == 0 {
				first = text
			} else if text != first {
				return c.m.failed(ctx, "%s: %s returns %.2000s\n%s returns %.2000s", at, c.members[0].name, first, n.name, text)
			}
			c.m.count(func(c *counts) { c.compared++ })
		}
	}
	if !c.consoles {
		return nil
	}
	for _, s := range c.m.takeSights() {
		of, number, lost := c.m.buildOf(s.item)
		if number == 0 {
			continue
		}
		n := pick(c.d, c.members)
		text, err := n.client.text(ctx, fmt.Sprintf("%s/%d/consoleText", of.path(), number))
		if err != nil {
			continue // dropped, or lost before its log began
		}
		// Of a lost build, the part that was not copied yet is lost too.
		if !strings.HasPrefix(text, s.text) && !lost || s.whole && text != s.text && !lost {
			return c.m.failed(ctx, "the log of build #%d of %q (item %d) is %q; its follower saw %q", number, of.name, s.item, text, s.text)
		}
	}
	return nil
}

// worthComparing returns paths for which all servers must give the same answer.
func (m *model) worthComparing(d dice, consoles bool) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := []string{"/queue/api/json"}
	for _, j := range m.all {
		all = append(all, j.path()+"/api/json")
	}
	recent := m.recent()
	for range min(15, len(recent)) {
		it := m.items[pick(d, recent)]
		all = append(all, fmt.Sprintf("/queue/item/%d/api/json", it.id))
		if it.fate != built || it.dropped {
			continue
		}
		build := fmt.Sprintf("%s/%d/", it.lane.path(), it.number)
		all = append(all, build+"api/json")
		if consoles {
			all = append(all, build+"consoleText", build+"logText/progressiveText?start=40")
		}
	}
	return all
}

// takeSights returns what followers saw since the last call.
func (m *model) takeSights() []sight {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.sights
	m.sights = nil
	return all
}

// buildOf returns the build of an item that has ended, number 0 if there is none, and whether
// it was ABORTED.
func (m *model) buildOf(id int64) (of *job, number int64, aborted bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	it := m.items[id]
	if it.fate != built || it.result == "" || it.dropped {
		return nil, 0, false
	}
	return it.lane.job, it.number, it.result == "ABORTED"
}
