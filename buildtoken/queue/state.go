package queue

import "time"

// State is where an item is. It is derived, never stored.
type State string

// The states.
const (
	Waiting   State = "waiting"   // in its quiet period
	Blocked   State = "blocked"   // due, but the job may not start another build now
	Buildable State = "buildable" // due, and an executor may take it
	Left      State = "left"      // started or cancelled
)

// Blockage says why an item is not started.
type Blockage struct {
	Reason Reason
	// Until is the end of the quiet period, for [QuietPeriod].
	Until time.Time
	// Number is the running build, for [BuildRunning].
	Number int64
	// Label is the label that no free executor has, for [NoExecutor] and [NoNode].
	// Empty: any executor.
	Label string
}

// Reason is the kind of a [Blockage].
type Reason string

// The reasons, in the order in which they are looked at.
const (
	QuietPeriod  Reason = "quiet period"
	JobDisabled  Reason = "job is disabled"
	BuildRunning Reason = "a build of the job is running"
	NoExecutor   Reason = "no free executor"
	// NoNode is said by [Blockage.Among] only, which knows the nodes.
	NoNode Reason = "no node has the label"
	// RecordDamaged is said by a backend, not by [Lane.Explain]: what is left of
	// the item can be seen and cancelled, but not be built.
	RecordDamaged Reason = "its record is damaged"
)

// Explain says in which state a queued item of the lane is at an instant, and why.
func (l Lane) Explain(now time.Time, it Item) (State, Blockage) {
	switch {
	case it.Due.After(now):
		return Waiting, Blockage{Reason: QuietPeriod, Until: it.Due}
	case l.Rules.Disabled:
		return Blocked, Blockage{Reason: JobDisabled}
	case !l.open():
		return Blocked, Blockage{Reason: BuildRunning, Number: l.Running[len(l.Running)-1]}
	default:
		return Buildable, Blockage{Reason: NoExecutor, Label: l.Rules.Label}
	}
}

// Entry is all that a reader may know of an item: where it is, and what
// became of it.
type Entry struct {
	Item  Item
	State State
	// Blockage is set unless the item has left.
	Blockage Blockage
	// Position counts the queued items of all jobs that are due before this
	// one, from 0.
	Position int
	// Build is set if the item was started, Cancelled if it was cancelled.
	Build     *Build
	Cancelled *Cancelled
}

// Ended says that nothing more will become of the item: it was cancelled, or
// its build has ended.
func (e Entry) Ended() bool {
	return e.Cancelled != nil || (e.Build != nil && !e.Build.Running())
}
