package queue

import "time"

// State is the state of an item. It is derived, never stored.
type State string

// The states.
const (
	Waiting   State = "waiting"   // in its quiet period
	Blocked   State = "blocked"   // something other than time or an executor is missing
	Buildable State = "buildable" // due, and an executor may take it
	Left      State = "left"      // started or cancelled
)

// Blockage is the reason why an item has not been started.
type Blockage struct {
	Reason Reason
	// Until is the end of the quiet period for [QuietPeriod]. For [NoServer], it is when
	// the item stops waiting for a server and ends NOT_BUILT, once it is due.
	Until time.Time
	// Number is the running build, for [BuildRunning].
	Number int64
	// Label is the label that no free executor has, for [NoExecutor] and [NoNode].
	// Empty means any executor.
	Label string
	// Remote means, for [NoExecutor] and [NoNode], that not an executor but a slot for
	// remote builds is missing.
	Remote bool
}

// Reason is the kind of a [Blockage].
type Reason string

// The reasons, in the order in which they are checked.
const (
	// NoServer means that no server's configuration has the job.
	NoServer     Reason = "no server has this job"
	QuietPeriod  Reason = "quiet period"
	JobDisabled  Reason = "job is disabled"
	BuildRunning Reason = "a build of the job is running"
	NoExecutor   Reason = "no free executor"
	// NoNode is only set by [Blockage.Among], which knows the nodes.
	NoNode Reason = "no node has the label"
	// RecordDamaged is set by a backend, not by [Lane.Explain]: what is left of
	// the item can be seen and cancelled, but not be built.
	RecordDamaged Reason = "its record is damaged"
)

// Explain returns the state of a queued item of the lane at an instant, and the reason.
func (l Lane) Explain(now time.Time, it Item) (State, Blockage) {
	switch {
	case l.GoneUntil.After(now):
		return Blocked, Blockage{Reason: NoServer, Until: l.GoneUntil}
	case it.Due.After(now):
		return Waiting, Blockage{Reason: QuietPeriod, Until: it.Due}
	case l.disabled():
		return Blocked, Blockage{Reason: JobDisabled}
	case !l.open():
		return Blocked, Blockage{Reason: BuildRunning, Number: l.Running[len(l.Running)-1]}
	default:
		return Buildable, Blockage{Reason: NoExecutor, Label: l.label(), Remote: l.remote()}
	}
}

// Entry is everything that a reader can learn about an item: its state, and what
// became of it.
type Entry struct {
	Item  Item
	State State
	// Blockage is set unless the item has left the queue.
	Blockage Blockage
	// Position counts the queued items of all jobs that are due before this
	// one, from 0. It is -1 if a backend found too many to count. In a list of the items
	// of one job, it is the place in that list.
	Position int
	// Build is set if the item was started, Cancelled if it was cancelled.
	Build     *Build
	Cancelled *Cancelled
}

// Ended reports whether the item has reached its end: it was cancelled, or its build
// has ended.
func (e Entry) Ended() bool {
	return e.Cancelled != nil || (e.Build != nil && !e.Build.Running())
}
