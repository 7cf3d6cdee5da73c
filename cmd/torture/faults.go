package main

import (
	"context"
	"net/http"
	"time"
)

// tormentor causes all kinds of faults of one server of a cluster. When it returns, the server
// runs and can reach the database.
type tormentor struct {
	c *cluster
	n *node
	d dice
}

// live causes one fault after another.
func (t *tormentor) live(ctx context.Context) {
	for pause(ctx, t.d.mostlyShort(9*time.Second)) {
		switch n := t.d.IntN(100); {
		case n < 30:
			t.kill(ctx)
		case n < 50:
			t.pause(ctx)
		case n < 70:
			t.cut(ctx)
		case n < 80:
			t.reset(ctx)
		default:
			t.reload(ctx)
		}
	}
}

// length returns the duration of a fault, which is often long enough for the server to be given
// up.
func (t *tormentor) length() time.Duration {
	lease := t.c.takeover
	switch n := t.d.IntN(100); {
	case n < 35:
		return t.d.within(lease / 3)
	case n < 60:
		return lease/3 + t.d.within(lease)
	default:
		return lease + t.d.within(lease)
	}
}

// kill ends the server and starts it again. Sometimes the server cannot reach the database
// meanwhile.
func (t *tormentor) kill(ctx context.Context) {
	if t.d.chance(20) {
		defer t.apart(held)()
	}
	var err error
	switch n := t.d.IntN(100); {
	case n < 20:
		err = t.n.halt(func(srv *server) { srv.stop(20 * time.Second) })
		t.c.m.count(func(c *counts) { c.stops++ })
	case n < 30:
		err = t.n.halt(func(srv *server) { srv.stop(t.d.mostlyShort(800 * time.Millisecond)) })
		t.c.m.count(func(c *counts) { c.kills++ })
	default:
		err = t.n.halt(func(srv *server) { srv.kill(false) })
		t.c.m.count(func(c *counts) { c.kills++ })
	}
	if err != nil {
		t.c.m.report("%s: %v", t.n.name, err)
	}
	away := 50 * time.Millisecond // often at once, as a supervisor does
	if t.d.chance(60) {
		away = t.length()
	}
	pause(ctx, away)
	t.n.start(vary(t.d)) //nolint:contextcheck // halt ends it, not ctx
	if t.d.chance(50) {
		return // the next fault can come before it has started
	}
	pause(ctx, t.d.within(3*time.Second))
}

// pause suspends the process, and resumes it.
func (t *tormentor) pause(ctx context.Context) {
	srv := t.running()
	if srv == nil {
		return
	}
	length := t.length()
	goesOn := t.c.fates.begin(paused, t.n.name)
	defer goesOn()
	if err := pauseProcess(srv.cmd.Process); err != nil {
		return // it has ended
	}
	pause(ctx, length)
	if t.d.chance(15) { // it dies without having noticed
		if err := t.n.halt(func(srv *server) { srv.kill(false) }); err != nil {
			t.c.m.report("%s: %v", t.n.name, err)
		}
		t.c.m.count(func(c *counts) { c.kills++ })
		t.n.start(vary(t.d)) //nolint:contextcheck // halt ends it, not ctx
		return
	}
	_ = resumeProcess(srv.cmd.Process) // if it has ended, another check notices
	t.c.m.count(func(c *counts) {
		c.pauses++
		if length > t.c.takeover {
			c.longPauses++
		}
	})
}

// running returns the life that is running, nil if there is none.
func (t *tormentor) running() *server {
	if t.n.keeper == nil {
		return nil
	}
	return t.n.keeper.server()
}

// apart separates the server from the database until the returned function is called.
func (t *tormentor) apart(how flow) (together func()) {
	over := t.c.fates.begin(cut, t.n.name)
	t.n.proxy.set(how)
	return func() {
		if how != refused && t.d.chance(50) {
			t.n.proxy.reset() // what was held is lost
		}
		t.n.proxy.set(flows)
		over()
	}
}

// cut separates the server from the database for a while.
func (t *tormentor) cut(ctx context.Context) {
	length := t.length()
	together := t.apart(pick(t.d, []flow{held, held, muted, refused}))
	pause(ctx, length)
	together()
	t.c.m.count(func(c *counts) {
		c.cuts++
		if length > t.c.takeover {
			c.longCuts++
		}
	})
}

// reset cuts connections in the middle of a request.
func (t *tormentor) reset(ctx context.Context) {
	over := t.c.fates.begin(cut, t.n.name)
	for range 1 + t.d.IntN(4) {
		t.n.proxy.resetAfter(t.d.IntN(12))
		t.c.m.count(func(c *counts) { c.resets++ })
		if !pause(ctx, t.d.mostlyShort(800*time.Millisecond)) {
			break
		}
	}
	t.n.proxy.reset() // including connections without traffic since
	over()
}

// reload loads another configuration. Some of them must be refused.
func (t *tormentor) reload(ctx context.Context) {
	if !t.n.up.Load() {
		return
	}
	v := vary(t.d)
	text, why := t.n.site.caddyfile(v, ""), ""
	if t.d.chance(25) {
		text, why = t.n.site.broken(t.d, v)
		v.brief = why == addressInUse
	}
	known := t.n.configs.loading(v)
	over := t.c.fates.begin(reloading, t.n.name)
	begun := now()
	status, body, err := t.n.client.load(ctx, text)
	over()
	if err != nil {
		known(false)
		return
	}
	switch {
	case why == "" && status == http.StatusOK:
		known(true)
		t.c.m.count(func(c *counts) { c.reloads++ })
	case why != "" && status == http.StatusOK:
		t.c.m.report("%s life %d: a configuration with %s was taken", t.n.name, t.n.life, why)
	case why != "":
		known(false)
		t.c.m.count(func(c *counts) { c.reloadsRefused++ })
	case !t.c.fates.unreached(t.n.name, begun, now()):
		t.c.m.report("%s life %d: a good configuration was refused: %d %s", t.n.name, t.n.life, status, body)
	}
}

// storm causes faults of the database, which affect all servers.
type storm struct {
	c *cluster
	d dice
}

// live causes one fault after another. When it returns, the database runs.
func (s *storm) live(ctx context.Context) {
	for pause(ctx, 2*time.Second+s.d.mostlyShort(16*time.Second)) {
		switch n := s.d.IntN(100); {
		case n < 35:
			s.die(ctx, s.c.database.Kill)
		case n < 70:
			s.die(ctx, s.c.database.Crash)
		default:
			s.hang(ctx)
		}
	}
}

// all returns the names of all servers.
func (s *storm) all() []string {
	var all []string
	for _, n := range s.c.members {
		all = append(all, n.name)
	}
	return all
}

// die ends the database and starts it again, at once or later.
func (s *storm) die(ctx context.Context, how func() error) {
	over, back := s.c.fates.begin(cut, s.all()...), s.c.fates.begin(crashed, s.all()...)
	if err := how(); err != nil {
		s.c.m.report("end Postgres: %v", err)
		return
	}
	if s.d.chance(40) {
		pause(ctx, s.d.mostlyShort(2*s.c.takeover))
	}
	if err := s.c.database.Run(); err != nil { //nolint:contextcheck // it is bounded by itself
		s.c.m.report("start Postgres again: %v", err)
		return
	}
	over()
	back()
	s.c.m.count(func(c *counts) { c.databaseKills++ })
}

// hang separates all servers from the database at the same time.
func (s *storm) hang(ctx context.Context) {
	over := s.c.fates.begin(cut, s.all()...)
	for _, n := range s.c.members {
		n.proxy.set(held)
	}
	pause(ctx, s.d.mostlyShort(2*s.c.takeover))
	for _, n := range s.c.members {
		n.proxy.set(flows)
	}
	over()
	s.c.m.count(func(c *counts) { c.databaseCuts++ })
}
