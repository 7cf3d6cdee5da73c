package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// drain starts the server once more, lets everything end, and accounts for it.
func (h *harness) drain(ctx context.Context) error {
	srv, err := h.start(calm())
	if err != nil {
		return err
	}
	defer srv.kill(false) // in any case; killing twice is allowed
	look := lookout{newClient(h.site), h.m, h.ledger}
	defer look.close()
	if err := srv.ready(ctx, look.client); err != nil {
		h.m.report("life %d: %v", h.life, err)
		return errFound
	}
	if err := h.empty(ctx, srv, look); err != nil {
		return err
	}
	if err := look.everything(ctx, h.d); err != nil {
		return fmt.Errorf("look at everything: %w", err)
	}
	h.m.account()
	h.m.ends()
	if !srv.stop(20*time.Second) || srv.err != nil {
		h.m.report("life %d: SIGTERM did not end the server well: %v", h.life, srv.err)
	}
	if err := h.ledger.read(h.m); err != nil { // builds that outlived their server can write late
		return err
	}
	return h.over(srv)
}

// patience bounds how long the server may make no progress while there are items to build.
const patience = 30 * time.Second

// empty cancels items that are due too late, and waits until nothing is queued and nothing
// runs.
func (h *harness) empty(ctx context.Context, srv *server, look lookout) error {
	u := h.user(look, srv, h.d)
	moved, left := now(), -1
	for {
		if err := look.everything(ctx, h.d); err != nil {
			return fmt.Errorf("look at everything: %w", err)
		}
		for _, id := range h.m.waitingLong() {
			if err := u.cancelItem(ctx, h.m.itemJob(id), id); err != nil {
				return fmt.Errorf("cancel item %d: %w", id, err)
			}
		}
		rest := h.m.unfinished(false)
		if len(rest) == 0 {
			return nil
		}
		if len(rest) != left {
			moved, left = now(), len(rest)
		}
		if now().Sub(moved) > patience {
			h.m.report("nothing moves for %v, and these do not end: %v", patience, rest)
			return errFound
		}
		if !pause(ctx, 200*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}

// waitingLong returns the queued items that are due too late to wait for.
func (m *model) waitingLong() []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []int64
	for _, id := range m.order {
		it := m.items[id]
		if it.fate == queued && it.due.Sub(now()) > patience/2 {
			all = append(all, id)
		}
	}
	return all
}

func (m *model) itemJob(id int64) *job {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.items[id].lane.job
}

// unfinished returns the items that have not ended, with or without those that are due too late
// to wait for.
func (m *model) unfinished(butLate bool) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, id := range m.order {
		it := m.items[id]
		if butLate && it.fate == queued && it.due.Sub(now()) > patience/2 {
			continue
		}
		if !it.dropped && (it.fate == unseen || it.fate == queued || it.fate == built && it.result == "") {
			all = append(all, it.String())
		}
	}
	return all
}

// account verifies that every accepted trigger belongs to an item that has ended, and that the
// numbers of each job start at 1 and have no gap.
func (m *model) account() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range m.order {
		it := m.items[id]
		if it.fate == unseen && !it.dropped {
			m.wrong("%v at the end", it)
		}
		if it.dropped {
			continue
		}
		for _, t := range it.accepted {
			if it.causes[t.cause] == 0 && !it.capped {
				m.wrong("%v ended without the cause %q", it, t.cause)
			}
		}
	}
	for _, j := range m.all {
		l := m.jobs[j.name]
		if l.keep == keepBuilds {
			m.gaps(l)
		}
	}
}

// gaps looks for numbers that no item has.
func (m *model) gaps(l *lane) {
	var missing []int64
	for number := int64(1); number <= l.last; number++ {
		if _, ok := l.items[number]; !ok {
			missing = append(missing, number)
		}
	}
	if len(missing) > 0 {
		m.wrong("of job %q, which is at #%d, the builds %v were never seen", l.name, l.last, slices.Clip(missing))
	}
}
