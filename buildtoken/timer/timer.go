// Package timer calls a function whenever one of several schedules is due.
//
// It reads the clock at least once a minute, so that a clock that is set takes effect.
// A minute that passed while nothing ran, because the process was not there, was
// suspended, or the clock was set forward, is late: it is skipped, unless the entry
// catches up, and then only the last such minute counts. The caller must be able to
// recognize a minute that it was called for before: after a restart, a clock that is
// set back, or an error, the same minute can come again.
package timer

import (
	"context"
	"sync"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/schedule"
)

const (
	// late is how long after its minute a call still counts as in time.
	late = time.Minute
	// CatchUp is how far back an entry that catches up looks.
	CatchUp = 24 * time.Hour
	// longestSleep bounds the time until the clock is read again.
	longestSleep = time.Minute
	// retryAfter is the pause after a failed call, retryFor how long it is repeated.
	retryAfter = 10 * time.Second
	retryFor   = time.Hour
)

// Entry is something to do at the times of a schedule.
type Entry struct {
	// ID identifies the entry from one [Timer.Set] to the next.
	ID       string
	Schedule schedule.Schedule
	// CatchUp makes up for late minutes, once for all of the last 24 hours.
	CatchUp bool
	// Fire is called with the minute that is due; missed reports whether it is late.
	// An error makes the timer call it again for the same minute, every 10 s for an
	// hour. Calls are never concurrent.
	Fire func(ctx context.Context, minute time.Time, missed bool) error
}

// Timer calls the functions of its entries. Its methods are safe for concurrent use.
type Timer struct {
	cancel context.CancelFunc
	loop   sync.WaitGroup
	// changed has room for one notice that entries was replaced.
	changed chan struct{}

	// mu guards the following.
	mu      sync.Mutex
	entries []Entry
}

// Start returns a timer without entries. The caller must call [Timer.Close].
func Start() *Timer {
	ctx, cancel := context.WithCancel(context.Background())
	t := &Timer{cancel: cancel, changed: make(chan struct{}, 1)}
	t.loop.Go(func() { t.run(ctx) }) // ends with ctx; Close waits
	return t
}

// Set replaces the entries. The first non-empty Set of a process looks back for
// entries that catch up; later ones only do so for entries with an ID that was there
// before.
func (t *Timer) Set(entries []Entry) {
	t.mu.Lock()
	t.entries = entries
	t.mu.Unlock()
	select {
	case t.changed <- struct{}{}:
	default: // the loop has not seen the last change yet
	}
}

// Close stops the timer. It returns when no call is running any more.
func (t *Timer) Close() {
	t.cancel()
	t.loop.Wait()
}

// progress is how far the times of an entry were looked at.
type progress struct {
	// seen is the instant up to which every minute was handled.
	seen time.Time
	// next is when to look at the schedule again: finding it can mean to look at years.
	next time.Time
	// failed is a minute that has to be tried again, the zero time if there is none.
	failed time.Time
	missed bool // whether it was late in the first place
}

func (t *Timer) run(ctx context.Context) {
	all := map[string]*progress{}
	first := true
	for {
		now := time.Now()
		wake := now.Add(longestSleep)
		t.mu.Lock()
		entries := t.entries
		t.mu.Unlock()
		kept := make(map[string]*progress, len(entries))
		for _, e := range entries {
			p := all[e.ID]
			if p == nil {
				p = &progress{seen: now}
				if first && e.CatchUp {
					p.seen = now.Add(-CatchUp)
				}
			}
			kept[e.ID] = p
			if next := p.step(ctx, e, now); next.Before(wake) {
				wake = next
			}
		}
		all, first = kept, first && len(entries) == 0
		select {
		case <-ctx.Done():
			return
		case <-t.changed:
		case <-time.After(time.Until(wake)):
		}
	}
}

// step calls e if it is due, and returns when to look again.
func (p *progress) step(ctx context.Context, e Entry, now time.Time) time.Time {
	if p.seen.After(now) { // the clock was set back
		p.seen, p.next = now, time.Time{}
	}
	if !now.Before(p.next) {
		if due, ok := e.Schedule.Last(maxTime(p.seen.Add(time.Nanosecond), now.Add(-CatchUp)), now); ok {
			if missed := now.Sub(due) >= late; !missed || e.CatchUp {
				p.failed, p.missed = due, missed
			}
		}
		var ok bool
		if p.next, ok = e.Schedule.Next(now); !ok {
			p.next = now.Add(CatchUp)
		}
	}
	p.seen = now
	if p.failed.IsZero() {
		return p.next
	}
	if err := e.Fire(ctx, p.failed, p.missed); err == nil || now.Sub(p.failed) > retryFor && !p.missed || ctx.Err() != nil {
		p.failed = time.Time{}
		return p.next
	}
	if again := now.Add(retryAfter); again.Before(p.next) {
		return again
	}
	return p.next
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
