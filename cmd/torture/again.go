package main

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

// again repeats a trigger with a key. If the first one was never answered, this is the answer
// that was missed. Otherwise it must be the same answer, whatever has happened to the item and
// the server meanwhile.
func (u *user) again(ctx context.Context) error {
	t, answered := u.m.keyed(u.d)
	if t == nil {
		return u.trigger(ctx, u.likely())
	}
	begun := now()
	a, err := u.lookout.trigger(ctx, u.d, t, t.said, t.delayText)
	if err != nil {
		return err
	}
	if a.id != 0 {
		u.m.answerAgain(t, a)
		return nil
	}
	if u.unsure(a, begun) {
		return nil
	}
	if answered && strings.Contains(a.body, "full") {
		u.m.report("trigger %q was accepted, and has no room when it comes again: %d %s", t.cause, a.status, a.body)
	}
	u.mayRefuse(t, a)
	return nil
}

// mayRefuse reports a refusal that has no reason.
func (u *user) mayRefuse(t *trigger, a answer) {
	full := a.status == http.StatusServiceUnavailable && strings.Contains(a.body, "full")
	tight := u.configs.since(t.sent, func(v variation) bool { return v.queueLimit < crowd })
	disabled := u.configs.since(t.sent, func(v variation) bool { return v.disabled })
	brief := strings.Contains(a.body, "shutting down") && u.configs.since(t.sent, func(v variation) bool { return v.brief })
	switch {
	case a.status == http.StatusServiceUnavailable && (u.dying() || brief):
	case full && tight:
	case t.job.toggled && a.status == http.StatusBadRequest && disabled:
	default:
		u.m.report("trigger %q of %q was refused for no reason: %d %s", t.cause, t.job.name, a.status, a.body)
	}
}

// keep records a trigger with a key, so that it can be sent again.
func (m *model) keep(t *trigger, a answer) {
	if t.key == "" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t.first = a
	m.withKey = append(m.withKey, t)
}

// keyed returns a random trigger with a key, often one that was never answered, and whether it
// was answered.
func (m *model) keyed(d dice) (t *trigger, answered bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.withKey) == 0 {
		return nil, false
	}
	m.counts.again++
	t = pick(d, m.withKey)
	if at := slices.IndexFunc(m.withKey, func(t *trigger) bool { return t.first.id == 0 }); at >= 0 && d.chance(30) {
		t = m.withKey[at]
	}
	return t, t.first.id != 0
}

// answerAgain compares the answer to a trigger with the first one.
func (m *model) answerAgain(t *trigger, a answer) {
	m.mu.Lock()
	first := t.first
	if first.id == 0 {
		t.first = a
		m.counts.resolved++
	} else if a.id != first.id || a.created != first.created {
		m.wrong("trigger %q was answered with item %d, created %v; when it came again, with item %d, created %v", t.cause, first.id, first.created, a.id, a.created)
	}
	m.mu.Unlock()
	if first.id == 0 {
		m.answer(t, a, now())
	}
}
