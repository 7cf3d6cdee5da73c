package queue

import "time"

// Result is how a build ended. The zero value means that it is running.
type Result string

// The results.
const (
	Success  Result = "SUCCESS"   // the command succeeded
	Unstable Result = "UNSTABLE"  // the command ran to its end and reported problems, such as failed tests
	Failure  Result = "FAILURE"   // the command failed
	Aborted  Result = "ABORTED"   // stopped, timed out, or lost with its server
	NotBuilt Result = "NOT_BUILT" // never started
)

// Verdict reports whether a build with this result ran to its end: it was successful, unstable
// or failed.
func (r Result) Verdict() bool { return r == Success || r == Unstable || r == Failure }

// Successful reports whether a build with this result counts as successful. As in Jenkins,
// an unstable build does.
func (r Result) Successful() bool { return r == Success || r == Unstable }

// MaxHandle is the maximum size of [Build.Handle] in bytes.
const MaxHandle = 4 << 10

// Build is an item that left the queue because it was started.
type Build struct {
	// Item is the item as it left the queue.
	Item Item `json:"item"`
	// Number counts the builds of a job from 1 and is never reused,
	// even after old builds are dropped.
	Number int64 `json:"number"`
	// Node is the name of the server that runs the build, Executor the number of its
	// executor (or of its slot for remote builds), from 0.
	Node     string `json:"node,omitempty"`
	Executor int    `json:"executor"`
	// Started is when the build left the queue; Ended is zero while it runs.
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	// Result is empty while the build runs.
	Result Result `json:"result,omitempty"`
	// Reason explains in one line why the result is not SUCCESS.
	Reason string `json:"reason,omitempty"`
	// Abort is not empty if a stop of the build was requested: it names the caller.
	Abort string `json:"abort,omitempty"`
	// Handle is what the runner needs to find work of a running build again that
	// survives this process. It is opaque, at most [MaxHandle] bytes, and dropped at the
	// end of the build.
	Handle []byte `json:"handle,omitempty"`
}

// Running reports whether the build has not ended.
func (b Build) Running() bool { return b.Result == "" }

// LastLines returns the last lines of the log of a build that has ended: the reason, if
// there is one, and the result.
func (b Build) LastLines() []string {
	finished := "Finished: " + string(b.Result)
	if b.Reason == "" {
		return []string{finished}
	}
	return []string{b.Reason, finished}
}

// Cancelled is an item that left the queue without a build.
type Cancelled struct {
	Item Item `json:"item"`
	// At is when it was cancelled, By names the caller.
	At time.Time `json:"at"`
	By string    `json:"by,omitempty"`
}
