package queue

import (
	"fmt"
	"slices"
	"time"
)

// Room is the number of queued items over all lanes and their parameters' size in KiB
// ([KiB]), each with its limit. A limit of zero means no limit.
type Room struct{ Queued, Limit, KiB, MaxKiB int }

// full reports whether there is no room for one more item of the lane with that many KiB.
func (r Room) full(l Lane, kib int) bool {
	return exceeds(l, r.Queued, 1, r.Limit) || exceeds(l, r.KiB, kib, r.MaxKiB)
}

// reserveFrom is the lowest limit of which a part is reserved. An operator who sets a
// lower limit counts the items and expects exactly that many.
const reserveFrom = 1000

// exceeds reports whether there is no room for more of something. The last twentieth of a
// large room is reserved for lanes with no queued items: a client that may trigger one
// job must not be able to block all others.
func exceeds(l Lane, used, more, limit int) bool {
	room := limit
	if l.Queued > 0 && limit >= reserveFrom {
		room -= limit / 20
	}
	return limit > 0 && more > 0 && used+more > room
}

// maxDelay keeps due instants within 64 bits of nanoseconds since 1970. Callers have lower
// limits of their own.
const maxDelay = 100 * 365 * 24 * time.Hour

// Schedule decides what a trigger does. equal is the queued item with the
// request's digest, or nil; a backend never passes a solo one. It returns
// [ErrFull] if there is no room for a new item; a join needs none. Requests with a key
// use [ScheduleOnce].
//
// A trigger never makes an earlier one wait longer: the earlier due instant
// wins, and causes fold into the item. Jenkins does the same
// (Queue.scheduleInternal, CauseAction.foldIntoExisting). Only parameter values keep
// items apart; a different cause never does.
func Schedule(now time.Time, l Lane, equal *Item, r Request, room Room) (Change, error) {
	due := now.Add(min(max(r.Delay, 0), maxDelay))
	if equal != nil && !r.Solo {
		it := *equal
		earlier := due.Before(it.Due)
		if earlier {
			it.Due = due
		}
		isNew := fold(&it, r.Cause)
		link(&it, r.Trace)
		return Change{Lane: l, Item: &it, Lazy: !earlier && !isNew}, nil
	}
	if room.full(l, KiB(r.Values)) {
		return Change{}, fmt.Errorf("%w: %d items, %d KiB of parameters", ErrFull, room.Queued, room.KiB)
	}
	r.Cause.Count = 1
	it := Item{
		ID: r.ID, Job: l.Job, Since: now, Due: due,
		Digest: r.Digest, Solo: r.Solo, Values: r.Values,
		Causes: []Cause{r.Cause}, Root: r.Root, Trace: r.Trace,
	}
	l.Queued++
	return Change{Lane: l, Item: &it, Created: true, Notifications: l.notify(now, it, EventQueued, OnQueued)}, nil
}

// Next returns the earliest instant at which [Claim] may succeed, given when the first
// item of the lane is due (zero: there is no item). Zero means that only an event can
// change that: no item, a running build, a disabled job.
func Next(l Lane, due time.Time) time.Time {
	switch {
	case due.IsZero() || !l.open():
		return time.Time{}
	case l.GoneUntil.After(due):
		return l.GoneUntil
	}
	return due
}

// Claim starts the build of first, the item of the lane that is due first
// (ties: the lower ID), on an executor of a node. It returns false if nothing
// may start at this instant, or not on this node. The number comes from LastNumber, never
// from the history, which is trimmed.
func Claim(now time.Time, l Lane, first *Item, node Node, executor int) (Change, bool) {
	if next := Next(l, first.Due); next.IsZero() || next.After(now) || !slices.Contains(node.Places(), l.Place()) {
		return Change{}, false
	}
	l.LastNumber++
	l.Queued--
	l.Running = append(slices.Clone(l.Running), l.LastNumber)
	b := Build{Item: *first, Number: l.LastNumber, Node: node.Name, Executor: executor, Started: now}
	n := l.notify(now, *first, EventStarted, OnStarted)
	for i := range n {
		n[i].Build = b.Number
	}
	return Change{Lane: l, Left: first.ID, Build: &b, Notifications: n}, true
}

// Cancel removes an item from the queue. by names the caller. It notifies the targets with
// [OnQueued], [OnAborted] or [OnAlways].
func Cancel(now time.Time, l Lane, it Item, by string) Change {
	l.Queued--
	l.KeptCancelled++
	change := Change{
		Left: it.ID, Cancelled: &Cancelled{Item: it, At: now, By: by},
		Notifications: l.notify(now, it, EventCancelled, OnQueued, OnAborted, OnAlways),
	}
	if keep := l.Rules.KeepBuilds; keep > 0 && l.KeptCancelled > keep {
		change.TrimCancelled = min(l.KeptCancelled-keep, maxTrim)
		l.KeptCancelled -= change.TrimCancelled
	}
	change.Lane = l
	return change
}

// maxTrim limits what one commit drops, so that a much lower keep_builds does not block
// the queue during the cleanup; later builds drop the rest. [Forget] is the exception.
const maxTrim = 1000

// Finish ends a running build. s is the job's summary. It returns [ErrNotRunning] if the
// build has already ended, so that a late verdict never overwrites the first. Even if
// the clock was set back, no build ends before it began.
func Finish(now time.Time, l Lane, s Summary, b Build, r Result, reason string) (Change, error) {
	if err := checkRunning(l, b); err != nil {
		return Change{}, err
	}
	at := slices.Index(l.Running, b.Number)
	l.Running = slices.Delete(slices.Clone(l.Running), at, at+1)
	b.Ended, b.Result, b.Reason, b.Handle = now, r, reason, nil
	if now.Before(b.Started) {
		b.Ended = b.Started
	}
	l.Kept++
	if b.Number > l.LastEnded {
		l.LastEnded, l.Last = b.Number, r
	}
	turn := s.turn(b)
	s = s.add(b)
	change := Change{Build: &b, Summary: &s, Notifications: l.notify(now, b.Item, EventEnded, OnAlways, on(r), turn)}
	for i := range change.Notifications {
		n := &change.Notifications[i]
		n.Build, n.Result, n.Turn = b.Number, r, turn
	}
	if keep := l.Rules.KeepBuilds; keep > 0 {
		change.Trim = min(max(0, l.Kept-keep), maxTrim)
		l.Kept -= change.Trim
	}
	change.Lane = l
	return change, nil
}

// checkRunning returns [ErrNotRunning] unless both the lane and the build's record have the build
// as running.
func checkRunning(l Lane, b Build) error {
	if !b.Running() || !slices.Contains(l.Running, b.Number) {
		return fmt.Errorf("%w: %s #%d", ErrNotRunning, l.Job, b.Number)
	}
	return nil
}

// Abort records the request to stop a running build; the server that runs the build sees
// it and ends the build. The first request stands.
func Abort(l Lane, b Build, by string) (Change, error) {
	if err := checkRunning(l, b); err != nil {
		return Change{}, err
	}
	if b.Abort == "" {
		b.Abort = by
	}
	return Change{Lane: l, Build: &b}, nil
}

// SetHandle stores a handle with a running build. See [Build.Handle].
func SetHandle(l Lane, b Build, handle []byte) (Change, error) {
	if len(handle) > MaxHandle {
		return Change{}, fmt.Errorf("queue: handle of %s #%d has %d bytes, at most %d are allowed", l.Job, b.Number, len(handle), MaxHandle)
	}
	if err := checkRunning(l, b); err != nil {
		return Change{}, err
	}
	b.Handle = slices.Clone(handle)
	return Change{Lane: l, Build: &b}, nil
}

// Adopt hands a running build to a node that goes on with it, on one of its executors
// or slots.
func Adopt(l Lane, b Build, node Node, executor int) (Change, error) {
	if err := checkRunning(l, b); err != nil {
		return Change{}, err
	}
	b.Node, b.Executor = node.Name, executor
	return Change{Lane: l, Build: &b}, nil
}
