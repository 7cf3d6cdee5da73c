package queue

import (
	"slices"
	"time"
)

// Rules is the part of the configuration that a lane follows. It is stored with the lane,
// so that a decision never needs the configuration itself.
type Rules struct {
	// Concurrent allows several builds of the job at a time.
	Concurrent bool `json:"concurrent,omitempty"`
	// Disabled holds items back: they stay queued until the job is enabled again.
	Disabled bool `json:"disabled,omitempty"`
	// KeepBuilds is how many ended builds, and as many cancelled items, are
	// kept. Zero keeps all.
	KeepBuilds int `json:"keep_builds,omitempty"`
	// Label restricts the job's builds to nodes that have it. Empty means any node.
	Label string `json:"label,omitempty"`
	// Remote means that builds only follow work on another system: they take no
	// executor. See [Node.Remote].
	Remote bool `json:"remote,omitempty"`
	// Notify lists the targets that are notified of the job's builds.
	Notify []Target `json:"notify,omitempty"`
}

// Equal reports whether the rules are the same.
func (r Rules) Equal(o Rules) bool {
	return r.Concurrent == o.Concurrent && r.Disabled == o.Disabled && r.KeepBuilds == o.KeepBuilds &&
		r.Label == o.Label && r.Remote == o.Remote && slices.EqualFunc(r.Notify, o.Notify, Target.equal)
}

// Config is the part of the newest configuration that concerns the whole queue.
type Config struct {
	// Rules has an entry for each job that the configuration defines.
	Rules map[string]Rules
	// Limit is the maximum number of queued items over all jobs; 0 means no limit.
	Limit int
	// Grace is how long the queued items of a job that no server defines any more wait
	// for it to come back. After that, they start, so that the server that starts
	// them can end them NOT_BUILT.
	Grace time.Duration
}

// Lane holds the counters and rules of one job's queue: everything that a decision needs
// except the items themselves. The lane of a job without history is its zero value
// with the job's name.
type Lane struct {
	// Job is the full name.
	Job string `json:"job"`
	// Rules are those of the newest configuration that has the job.
	Rules Rules `json:"rules"`
	// GoneUntil is set while no server's configuration has the job. Items wait until
	// then, and are started to be ended NOT_BUILT afterwards.
	GoneUntil time.Time `json:"gone_until,omitzero"`
	// Queued is the number of queued items.
	Queued int `json:"queued,omitempty"`
	// Running holds the numbers of the running builds, lowest first.
	Running []int64 `json:"running,omitempty"`
	// LastNumber is the highest build number that was ever assigned.
	LastNumber int64 `json:"last_number,omitempty"`
	// Kept and KeptCancelled count the ended builds and cancelled items on record.
	Kept          int `json:"kept,omitempty"`
	KeptCancelled int `json:"kept_cancelled,omitempty"`
	// Last is the result of the ended build with the highest number, LastEnded.
	Last      Result `json:"last,omitempty"`
	LastEnded int64  `json:"last_ended,omitempty"`
	// Receipts counts the receipts on record.
	Receipts int `json:"receipts,omitempty"`
}

// Configure returns the lane under a new configuration. A job that the configuration
// does not define keeps its rules, so that keep_builds still applies to it, and waits:
// [Lane.GoneUntil] is set once, by the first configuration without the job.
func (l Lane) Configure(now time.Time, c Config) Lane {
	r, defined := c.Rules[l.Job]
	switch {
	case defined:
		l.Rules, l.GoneUntil = r, time.Time{}
	case l.GoneUntil.IsZero():
		l.GoneUntil = now.Add(c.Grace)
	}
	return l
}

// Place returns the key under which the lane waits for a node: its label, and whether it
// needs an executor or a slot for remote builds. A claim of a node considers the lanes whose
// Place is one of its [Node.Places]. The items of a job that is gone may end on any node.
func (l Lane) Place() string {
	return place(l.label(), l.remote())
}

func (l Lane) label() string {
	if !l.GoneUntil.IsZero() {
		return ""
	}
	return l.Rules.Label
}

// remote reports whether the next build needs a slot for remote builds and not an executor.
func (l Lane) remote() bool { return l.Rules.Remote && l.GoneUntil.IsZero() }

func (l Lane) disabled() bool { return l.Rules.Disabled && l.GoneUntil.IsZero() }

// open reports whether a due item of the lane may start now.
func (l Lane) open() bool {
	return !l.disabled() && (l.Rules.Concurrent || len(l.Running) == 0)
}

// Change is the outcome of a decision. The backend commits it as one, applies
// it to its memory, and answers.
type Change struct {
	// Lane is the lane after the change.
	Lane Lane
	// Item is the queued item after the change, or nil if no queued item was added or changed.
	Item *Item
	// Left is the ID of the item that left the queue, or 0.
	Left int64
	// Build is the build after the change, or nil.
	Build *Build
	// Summary is the job's summary after the change, or nil if it did not change.
	Summary *Summary
	// Cancelled is set if the item left the queue without a build.
	Cancelled *Cancelled
	// Created distinguishes a new item from a joined one.
	Created bool
	// Lazy means that only a count of causes changed, or the trace contexts in
	// [Item.Joined]: the change may be made durable together with the next one, and the
	// caller need not wait for it.
	Lazy bool
	// Trim and TrimCancelled are how many of the oldest ended builds and
	// cancelled items lose their records in the same commit.
	Trim, TrimCancelled int
	// Receipt is added unless nil. The receipts in Forget are removed first.
	Receipt *Receipt
	Forget  []Receipt
	// Notifications are added. The backend assigns their IDs.
	Notifications []Notification
}
