package queue

import (
	"fmt"
	"slices"
	"time"
)

// Rules are what the configuration says about a lane. They are a fact of the
// lane, so that a decision needs no callback into the configuration.
type Rules struct {
	// Concurrent lets several builds of the job run at a time.
	Concurrent bool `json:"concurrent,omitempty"`
	// Disabled holds items back: they stay queued until the job is enabled again.
	Disabled bool `json:"disabled,omitempty"`
	// KeepBuilds is how many ended builds, and as many cancelled items, are
	// kept. Zero keeps all.
	KeepBuilds int `json:"keep_builds,omitempty"`
	// Label names the nodes that may run the job's builds: those that have it. Empty: any.
	Label string `json:"label,omitempty"`
}

// Lane is the head of one job's queue: everything that a decision needs
// except the items themselves. A lane without any history is its zero value
// with the job's name.
type Lane struct {
	// Job is the full name.
	Job string `json:"job"`
	// Rules are those of the newest attached configuration.
	Rules Rules `json:"rules"`
	// Queued is how many items wait.
	Queued int `json:"queued,omitempty"`
	// Running holds the numbers of the running builds, lowest first.
	Running []int64 `json:"running,omitempty"`
	// LastNumber is the highest build number that was ever given.
	LastNumber int64 `json:"last_number,omitempty"`
	// Kept and KeptCancelled count the ended builds and cancelled items on record.
	Kept          int `json:"kept,omitempty"`
	KeptCancelled int `json:"kept_cancelled,omitempty"`
	// Last is the result of the ended build with the number LastEnded, the highest.
	Last      Result `json:"last,omitempty"`
	LastEnded int64  `json:"last_ended,omitempty"`
	// Receipts counts the receipts on record.
	Receipts int `json:"receipts,omitempty"`
}

// Change is what a decision changed. The backend commits it as one, applies
// it to its memory, and answers.
type Change struct {
	// Lane is the lane after the change.
	Lane Lane
	// Item is the item after the change, or nil if it left the queue.
	Item *Item
	// Left is the ID of the item that left the queue, or 0.
	Left int64
	// Build is the build after the change, or nil.
	Build *Build
	// Cancelled is set when the item left the queue without a build.
	Cancelled *Cancelled
	// Created tells a new item from a joined one.
	Created bool
	// Lazy says that only a count changed: the change may be made durable
	// together with the next one, and the caller need not wait for it.
	Lazy bool
	// Trim and TrimCancelled are how many of the oldest ended builds and
	// cancelled items lose their records in the same commit.
	Trim, TrimCancelled int
	// Receipt is to be kept, if not nil, and Forget are those to be dropped
	// before.
	Receipt *Receipt
	Forget  []Receipt
}

// Room is how many items all lanes together hold, and how many they may; and
// how many KiB their parameters take ([KiB]), and how many they may. A limit of
// zero means no limit.
type Room struct{ Queued, Limit, KiB, MaxKiB int }

// full says whether a lane may not have one more item with so many KiB.
func (r Room) full(l Lane, kib int) bool {
	return over(l, r.Queued, 1, r.Limit) || over(l, r.KiB, kib, r.MaxKiB)
}

// sharedLimit is the lowest limit of which a part is set aside. Who sets a lower one
// counts the items, and wants to have that many.
const sharedLimit = 1000

// over says whether there is no room for more of something. The last twentieth
// of a large room is for lanes in which nothing waits: who may trigger one job
// must not be able to keep all others from being triggered.
func over(l Lane, used, more, limit int) bool {
	room := limit
	if l.Queued > 0 && limit >= sharedLimit {
		room -= limit / 20
	}
	return limit > 0 && more > 0 && used+more > room
}

// maxDelay keeps due instants where 64 bits of nanoseconds since 1970 can hold them.
const maxDelay = 100 * 365 * 24 * time.Hour

// Schedule decides what a trigger does. equal is the queued item with the
// request's digest, or nil; a backend never passes a solo one. It answers
// [ErrFull] if a new item has no room; a join needs none. A request with a key
// is for [ScheduleOnce].
//
// A trigger never makes an earlier one wait longer: the earlier due instant
// wins, and causes fold into the item. Jenkins does the same
// (Queue.scheduleInternal, CauseAction.foldIntoExisting). What is different,
// who asked, never keeps items apart; only parameter values do.
func Schedule(now time.Time, l Lane, equal *Item, r Request, room Room) (Change, error) {
	due := now.Add(min(max(r.Delay, 0), maxDelay))
	if equal != nil && !r.Solo {
		it := *equal
		earlier := due.Before(it.Due)
		if earlier {
			it.Due = due
		}
		isNew := fold(&it, r.Cause)
		return Change{Lane: l, Item: &it, Lazy: !earlier && !isNew}, nil
	}
	if room.full(l, KiB(r.Values)) {
		return Change{}, fmt.Errorf("%w: %d items, %d KiB of parameters", ErrFull, room.Queued, room.KiB)
	}
	r.Cause.Count = 1
	it := Item{
		ID: r.ID, Job: l.Job, Since: now, Due: due,
		Digest: r.Digest, Solo: r.Solo, Values: r.Values,
		Causes: []Cause{r.Cause}, Root: r.Root,
	}
	l.Queued++
	return Change{Lane: l, Item: &it, Created: true}, nil
}

// open says whether a due item of the lane may start now.
func (l Lane) open() bool {
	return !l.Rules.Disabled && (l.Rules.Concurrent || len(l.Running) == 0)
}

// Next is the earliest instant at which [Claim] may succeed, if due is when
// the first item of the lane is due (zero: there is none). Zero means that
// only an event can change that: no item, a running build, a disabled job.
func Next(l Lane, due time.Time) time.Time {
	if !l.open() {
		return time.Time{}
	}
	return due
}

// Claim starts the build of first, the item of the lane that is due first
// (ties: the lower ID), on an executor of a node. It says false if nothing
// may start at this instant, or not on this node. The number comes from LastNumber, never from the
// history, which is shorter.
func Claim(now time.Time, l Lane, first *Item, node Node, executor int) (Change, bool) {
	if next := Next(l, first.Due); next.IsZero() || next.After(now) || !node.Has(l.Rules.Label) {
		return Change{}, false
	}
	l.LastNumber++
	l.Queued--
	l.Running = append(slices.Clone(l.Running), l.LastNumber)
	b := Build{Item: *first, Number: l.LastNumber, Node: node.Name, Executor: executor, Started: now}
	return Change{Lane: l, Left: first.ID, Build: &b}, true
}

// Cancel takes an item out of the queue. by says who asked.
func Cancel(now time.Time, l Lane, it Item, by string) Change {
	l.Queued--
	l.KeptCancelled++
	change := Change{Left: it.ID, Cancelled: &Cancelled{Item: it, At: now, By: by}}
	if keep := l.Rules.KeepBuilds; keep > 0 && l.KeptCancelled > keep {
		change.TrimCancelled = min(l.KeptCancelled-keep, maxTrim)
		l.KeptCancelled -= change.TrimCancelled
	}
	change.Lane = l
	return change
}

// maxTrim bounds what one commit drops, so that a much lower keep_builds does
// not stop the queue for as long as the clean-up takes; the rest goes with
// the next builds.
const maxTrim = 1000

// Finish ends a running build. It answers [ErrNotRunning] if the build has
// ended already, so that a late verdict never overwrites the first. A clock
// that was set back lets no build end before it began.
func Finish(now time.Time, l Lane, b Build, r Result, reason string) (Change, error) {
	at := slices.Index(l.Running, b.Number)
	if at < 0 || !b.Running() {
		return Change{}, fmt.Errorf("%w: %s #%d", ErrNotRunning, l.Job, b.Number)
	}
	l.Running = slices.Delete(slices.Clone(l.Running), at, at+1)
	b.Ended, b.Result, b.Reason = now, r, reason
	if now.Before(b.Started) {
		b.Ended = b.Started
	}
	l.Kept++
	if b.Number > l.LastEnded {
		l.LastEnded, l.Last = b.Number, r
	}
	change := Change{Build: &b}
	if keep := l.Rules.KeepBuilds; keep > 0 && l.Kept > keep {
		change.Trim = min(l.Kept-keep, maxTrim)
		l.Kept -= change.Trim
	}
	change.Lane = l
	return change, nil
}

// Abort records the wish that a running build be stopped; who runs it sees
// the wish and ends it. The first wish stands.
func Abort(l Lane, b Build, by string) (Change, error) {
	if !b.Running() || !slices.Contains(l.Running, b.Number) {
		return Change{}, fmt.Errorf("%w: %s #%d", ErrNotRunning, l.Job, b.Number)
	}
	if b.Abort == "" {
		b.Abort = by
	}
	return Change{Lane: l, Build: &b}, nil
}
