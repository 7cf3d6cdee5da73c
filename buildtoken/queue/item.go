package queue

import (
	"encoding/base64"
	"errors"
	"fmt"
	"time"
)

// Errors that a backend answers with. Each may come wrapped.
var (
	// ErrFull says that the queue holds as many items, or as large ones, as it may.
	ErrFull = errors.New("queue: full")
	// ErrNotFound says that there is no such item, build or lane, or no longer.
	ErrNotFound = errors.New("queue: not found")
	// ErrLeft says that the item has left the queue: it was started or cancelled.
	ErrLeft = errors.New("queue: item has left the queue")
	// ErrNotRunning says that the build is not running, so it cannot end or be stopped.
	ErrNotRunning = errors.New("queue: build is not running")
	// ErrStorage says that the change could not be made durable. Nothing was changed.
	ErrStorage = errors.New("queue: storage")
	// ErrClosed says that the queue was closed.
	ErrClosed = errors.New("queue: closed")
)

// Digest stands for the values of an item's parameters: two items of one job
// are equal when their digests are. It is a keyed digest (the key is the
// caller's), so it tells nothing about a password to who reads the data file.
type Digest [16]byte

// MarshalText gives the digest as unpadded URL-safe base64.
func (d Digest) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, d[:]), nil
}

// UnmarshalText reads what MarshalText gave.
func (d *Digest) UnmarshalText(text []byte) error {
	raw, err := base64.RawURLEncoding.AppendDecode(nil, text)
	if err != nil {
		return fmt.Errorf("queue: digest: %w", err)
	}
	if len(raw) != len(d) {
		return fmt.Errorf("queue: digest: %d bytes, want %d", len(raw), len(d))
	}
	copy(d[:], raw)
	return nil
}

// Value is one parameter value of an item.
type Value struct {
	Name string `json:"name"`
	// Kind is the parameter's kind: string, text, password, boolean, choice or file.
	Kind string `json:"kind"`
	// Text is the value; of a file, the name that the client gave it; of a password, empty.
	Text string `json:"text,omitempty"`
	// Sealed is a password, encrypted by the caller.
	Sealed []byte `json:"sealed,omitempty"`
	// Ref names the stored content of a file.
	Ref string `json:"ref,omitempty"`
}

// KiB is how many whole KiB the values take. Ordinary ones take none.
func KiB(values []Value) int {
	n := 0
	for _, v := range values {
		n += len(v.Name) + len(v.Kind) + len(v.Text) + len(v.Sealed) + len(v.Ref)
	}
	return n >> 10
}

// Item is a trigger, or several equal ones, that waits for its build.
type Item struct {
	// ID is unique over all jobs and never given again. The first is 1.
	ID int64 `json:"id"`
	// Job is the full name.
	Job string `json:"job"`
	// Since is when the item was created. A join leaves it alone.
	Since time.Time `json:"since"`
	// Due is the end of the quiet period. A join may move it earlier, never later.
	Due time.Time `json:"due"`
	// Digest stands for Values.
	Digest Digest `json:"digest"`
	// Solo items never join another and are never joined: coalesce never, file uploads.
	Solo bool `json:"solo,omitempty"`
	// Values are in the order of the job's definition.
	Values []Value `json:"values,omitempty"`
	// Causes are in the order in which each came first, at most [MaxCauses].
	Causes []Cause `json:"causes,omitempty"`
	// MoreCauses counts the triggers whose cause did not fit into Causes.
	MoreCauses int `json:"more_causes,omitempty"`
	// Root is the URL under which the trigger came; links of the build start with it.
	Root string `json:"root,omitempty"`
}

// Request asks for a build. Its texts must be valid UTF-8, and its slices
// must not change afterwards: the item holds them.
type Request struct {
	// ID is what a new item gets. The backend hands it out.
	ID int64
	// Job is the full name.
	Job string
	// Digest, Solo, Values and Root are as in [Item].
	Digest Digest
	Solo   bool
	Values []Value
	Root   string
	// Delay is how long the item waits before it may start. Negative is 0, and
	// more than 100 years are 100 years.
	Delay time.Duration
	// Cause says who asked. Its Count is ignored.
	Cause Cause
	// Key, if not nil, makes the request one that may come again: within
	// [KeepReceipts] the job's next ones with the same key are answered as this
	// one was. It is a keyed digest of what the client gave, and of who it is.
	Key *Digest
	// AnyValues accepts a repetition with other parameter values. Otherwise that is an
	// error: the client meant something else.
	AnyValues bool
}

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

// Build is an item that left the queue because it was started.
type Build struct {
	// Item is the item as it left the queue.
	Item Item `json:"item"`
	// Number counts the builds of a job from 1 and is never given again,
	// also when old builds are dropped.
	Number int64 `json:"number"`
	// Node names the server that runs the build, Executor which of its executors, from 0.
	Node     string `json:"node,omitempty"`
	Executor int    `json:"executor"`
	// Started is when the build left the queue; Ended is zero while it runs.
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	// Result is empty while the build runs.
	Result Result `json:"result,omitempty"`
	// Reason says in a line why the result is not SUCCESS.
	Reason string `json:"reason,omitempty"`
	// Abort is not empty when somebody asked to stop the build: it says who.
	Abort string `json:"abort,omitempty"`
}

// Running says whether the build has not ended.
func (b Build) Running() bool { return b.Result == "" }

// LastLines are the last lines of the log of a build that has ended: why, if
// there is something to say, and how.
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
	// At is when, By who asked for it.
	At time.Time `json:"at"`
	By string    `json:"by,omitempty"`
}
