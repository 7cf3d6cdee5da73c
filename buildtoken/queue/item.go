package queue

import (
	"encoding/base64"
	"errors"
	"fmt"
	"time"
)

// Errors of a backend. Each may be wrapped.
var (
	// ErrFull is returned when the limit of queued items, or of their total size, is reached.
	ErrFull = errors.New("queue: full")
	// ErrNotFound is returned when an item, build, lane or notification does not exist, or
	// no longer exists.
	ErrNotFound = errors.New("queue: not found")
	// ErrLeft is returned when the item has left the queue: it was started or cancelled.
	ErrLeft = errors.New("queue: item has left the queue")
	// ErrNotRunning is returned when the build is not running, so it cannot end or be stopped.
	ErrNotRunning = errors.New("queue: build is not running")
	// ErrStorage is returned when the records cannot be read, or a change could not be made
	// durable. Nothing was changed.
	ErrStorage = errors.New("queue: storage")
	// ErrClosed is returned after the queue was closed.
	ErrClosed = errors.New("queue: closed")
)

// Digest identifies the values of an item's parameters: two items of one job
// are equal if their digests are. It is computed with a key of the caller, so the data
// file reveals nothing about a password.
type Digest [16]byte

// MarshalText returns the digest as unpadded URL-safe base64.
func (d Digest) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, d[:]), nil
}

// UnmarshalText decodes the result of MarshalText.
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
	// Text is the value. For a file, it is the client's name of it; for a password, it is empty.
	Text string `json:"text,omitempty"`
	// Sealed is a password, encrypted by the caller.
	Sealed []byte `json:"sealed,omitempty"`
	// Ref identifies the stored content of a file.
	Ref string `json:"ref,omitempty"`
}

// KiB returns the size of the values in whole KiB. Ordinary values count as zero.
func KiB(values []Value) int {
	n := 0
	for _, v := range values {
		n += len(v.Name) + len(v.Kind) + len(v.Text) + len(v.Sealed) + len(v.Ref)
	}
	return n >> 10
}

// Item is a trigger, or several equal ones, waiting for a build.
type Item struct {
	// ID is unique over all jobs and never reused. The first is 1.
	ID int64 `json:"id"`
	// Job is the full name.
	Job string `json:"job"`
	// Since is when the item was created. A join does not change it.
	Since time.Time `json:"since"`
	// Due is the end of the quiet period. A join may move it earlier, never later.
	Due time.Time `json:"due"`
	// Digest identifies Values.
	Digest Digest `json:"digest"`
	// Solo items never join another item and are never joined: those of jobs with
	// `coalesce never`, and those with uploaded files.
	Solo bool `json:"solo,omitempty"`
	// Values are in the order of the job's definition.
	Values []Value `json:"values,omitempty"`
	// Causes are in the order of their first trigger, at most [MaxCauses].
	Causes []Cause `json:"causes,omitempty"`
	// MoreCauses counts the triggers whose cause did not fit into Causes.
	MoreCauses int `json:"more_causes,omitempty"`
	// Root is the URL of the site that received the trigger; links of the build start with it.
	Root string `json:"root,omitempty"`
	// Trace is the trace context of the trigger that made the item, as in the header
	// traceparent of W3C Trace Context; empty if it had none.
	Trace string `json:"trace,omitempty"`
	// Joined are the trace contexts of the first triggers that joined the item, at most
	// [MaxJoined]. If the server is killed, the newest may be missing.
	Joined []string `json:"joined,omitempty"`
}

// Request is a request for a build. Its texts must be valid UTF-8, and its slices
// must not be modified afterwards: the item shares them.
type Request struct {
	// ID becomes the ID of a new item. The backend assigns it.
	ID int64
	// Job is the full name.
	Job string
	// Digest, Solo, Values, Root and Trace are as in [Item].
	Digest Digest
	Solo   bool
	Values []Value
	Root   string
	Trace  string
	// Delay is how long the item waits before it may start. Negative means 0. More than
	// 100 years means 100 years, which only prevents an overflow.
	Delay time.Duration
	// Cause describes the trigger. Its Count is ignored.
	Cause Cause
	// Key, if not nil, is the idempotency key: within [KeepReceipts], requests for the
	// same job with the same key get the same answer. It is a keyed digest of the
	// client's key and of the client's identity.
	Key *Digest
	// AnyValues accepts a repetition with other parameter values. Otherwise that is an
	// error: the client meant something else.
	AnyValues bool
}
