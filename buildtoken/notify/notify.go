// Package notify defines the content of a notification and the interface to send one. Package
// receiver has the formats; package outbox delivers what the queue has on record.
package notify

import (
	"context"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Receiver takes notifications. It must be safe for concurrent use, and comparable.
type Receiver interface {
	// Send sends one notification. It returns when the receiver has accepted it, or when
	// it is known that it did not, or when ctx ends. Once connected, it calls late just before
	// it sends the content; if that returns true, it must send nothing and return an error.
	Send(ctx context.Context, e *Event, late func() bool) Outcome
	// UsesLog reports whether the receiver wants [Event.Log].
	UsesLog() bool
}

// Outcome is what became of an attempt to send a notification. The zero value means that
// it was delivered.
type Outcome struct {
	// Error is why it was not delivered, in one line, without secrets and addresses.
	Error string
	// After is how long the receiver wants to be left alone.
	After time.Duration
	// Refused means that the receiver understood the notification and does not want it,
	// so that another attempt is unlikely to help.
	Refused bool
	// Final means that no attempt can succeed: no message can be made of the event. Another
	// attempt would only hold up the notifications behind it.
	Final bool
	// Gone means that the receiver wants no notifications at all any more.
	Gone bool
	// Skip means that there is nothing to send.
	Skip bool
}

// Event is what happened, with everything that a receiver may want to know. Texts and
// times are empty if they do not apply or are not known any more: the record of the build
// may have been dropped while the receiver could not be reached.
type Event struct {
	// ID identifies the notification. It is the same for each attempt, and for each server.
	ID string
	// Sequence grows from one notification of a job to the next.
	Sequence int64
	// Target is the full name of the notify directive.
	Target string
	// At is when it happened.
	At   time.Time
	Kind queue.Event

	// Job is the full name.
	Job    string
	JobURL string
	// Item is the ID of the queue item.
	Item    int64
	ItemURL string
	// Number is the build number, 0 if there is no build.
	Number   int64
	BuildURL string
	// Node is the name of the server that runs or ran the build.
	Node string

	// Result and Reason are how the build ended. Turn is fixed, regressed or empty. By is who
	// cancelled the item.
	Result queue.Result
	Reason string
	Turn   queue.Condition
	By     string

	// Queued, Started and Ended are the times of the item and the build.
	Queued, Started, Ended time.Time
	// Causes are sentences such as "Started by user alice".
	Causes []string
	// Params are the parameters in the order of the job's definition, without passwords.
	Params []Param
	// Log is the end of the console log.
	Log string
}

// Param is a parameter and its value; of a file, its name.
type Param struct{ Name, Value string }

// Param returns the value of a parameter; "" if the build does not have it or it is a
// password.
func (e *Event) Param(name string) string {
	for _, p := range e.Params {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// URL returns the most specific address that there is: of the build, the item or the job.
func (e *Event) URL() string {
	switch {
	case e.BuildURL != "":
		return e.BuildURL
	case e.ItemURL != "":
		return e.ItemURL
	}
	return e.JobURL
}

// Took returns the duration of the build, 0 if it has not ended.
func (e *Event) Took() time.Duration {
	if e.Ended.IsZero() || e.Started.IsZero() {
		return 0
	}
	return e.Ended.Sub(e.Started)
}
