package queue

import (
	"cmp"
	"iter"
	"slices"
	"strings"
	"time"
)

// Target is a target of notifications as the configuration names it, and when it is
// notified. Where and how to send them is not part of the queue.
type Target struct {
	Name string      `json:"name"`
	On   []Condition `json:"on"`
}

func (n Target) equal(o Target) bool { return n.Name == o.Name && slices.Equal(n.On, o.On) }

// Condition is when a target is notified.
type Condition string

// The conditions.
const (
	OnQueued    Condition = "queued" // also if the item is cancelled later
	OnStarted   Condition = "started"
	OnSuccess   Condition = "success"
	OnUnstable  Condition = "unstable"
	OnFailure   Condition = "failure"
	OnAborted   Condition = "aborted" // also an item that was cancelled
	OnNotBuilt  Condition = "not_built"
	OnFixed     Condition = "fixed"     // success, and the last verdict was FAILURE or UNSTABLE
	OnRegressed Condition = "regressed" // failure or unstable, and the last verdict was SUCCESS
	OnAlways    Condition = "always"    // every end of a build, and every cancelled item
)

// Conditions returns all conditions.
func Conditions() []Condition {
	return []Condition{OnQueued, OnStarted, OnSuccess, OnUnstable, OnFailure, OnAborted, OnNotBuilt, OnFixed, OnRegressed, OnAlways}
}

// on returns the condition of a result.
func on(r Result) Condition {
	switch r {
	case Success:
		return OnSuccess
	case Unstable:
		return OnUnstable
	case Failure:
		return OnFailure
	case Aborted:
		return OnAborted
	case NotBuilt:
		return OnNotBuilt
	}
	return ""
}

// Event is what a notification reports.
type Event string

// The events.
const (
	EventQueued    Event = "queued"
	EventStarted   Event = "started"
	EventEnded     Event = "ended"
	EventCancelled Event = "cancelled" // the item left the queue without a build
)

// Limits of notifications.
const (
	// KeepTrying is how long a notification is retried before it is given up.
	KeepTrying = 72 * time.Hour
	// MaxWaiting is the maximum number of waiting notifications of one target. Beyond
	// that, the oldest one is given up.
	MaxWaiting = 1000
	// MaxSending is the maximum number of notifications of one target that are sent at the
	// same time, so that a slow target does not take the places of all others.
	MaxSending = 4
	// KeepSettled is how many notifications that were sent, skipped or given up are kept
	// for each target and job.
	KeepSettled = 30
	// maxDeliveryError is the maximum size of [Notification.Error] in bytes.
	maxDeliveryError = 200
)

// Delivery is the state of a notification.
type Delivery string

// The states of a notification.
const (
	DeliveryWaiting Delivery = "waiting"
	DeliverySent    Delivery = "sent"
	DeliveryGivenUp Delivery = "given up"
	// DeliverySkipped means that there was nothing to send, such as a commit status of a
	// build without a commit.
	DeliverySkipped Delivery = "skipped"
	// DeliveryReplaced means that an attempt failed while there was a notification about a
	// later state of the same item. Such a notification is not kept.
	DeliveryReplaced Delivery = "replaced"
)

// Notification is the record that a target is to be notified, written in the commit
// that causes it. It holds no address, secret or text; those come from the
// configuration when it is sent.
type Notification struct {
	// ID is unique and grows. Receivers may use it to recognise repetitions.
	ID int64 `json:"id"`
	// Target is the [Target.Name] of the target that is notified.
	Target string `json:"target"`
	// Job is the full name; Item is what happened to which item.
	Job  string `json:"job"`
	Item int64  `json:"item"`
	// Build is the build number; 0 if there is none.
	Build int64 `json:"build,omitempty"`
	Event Event `json:"event"`
	// Result is set for [EventEnded]; Turn is [OnFixed], [OnRegressed] or empty.
	Result Result    `json:"result,omitempty"`
	Turn   Condition `json:"turn,omitempty"`
	// At is when it happened.
	At time.Time `json:"at"`

	State Delivery `json:"state"`
	// Tries counts the attempts to send it.
	Tries int `json:"tries,omitempty"`
	// Next is when the next attempt is due, Until when the last one is.
	Next  time.Time `json:"next"`
	Until time.Time `json:"until"`
	// Settled is when it was sent, skipped or given up.
	Settled time.Time `json:"settled,omitzero"`
	// Error is why the last attempt failed, in one line.
	Error string `json:"error,omitempty"`
}

// Channel is the order in which notifications are sent: those of one channel one after
// the other, different channels independently of each other. Job is the full name.
type Channel struct{ Target, Job string }

// Channel returns the channel of the notification.
func (n Notification) Channel() Channel { return Channel{n.Target, n.Job} }

// Replaces reports whether a waiting earlier notification is obsolete once n exists: it
// is about an earlier state of the same item.
func (n Notification) Replaces(earlier Notification) bool {
	return n.Channel() == earlier.Channel() && n.Item == earlier.Item && n.ID > earlier.ID
}

// notify returns a notification for each target that wants one of some conditions.
func (l Lane) notify(now time.Time, it Item, event Event, conditions ...Condition) []Notification {
	var all []Notification
	for _, target := range l.Rules.Notify {
		if slices.ContainsFunc(conditions, func(c Condition) bool { return slices.Contains(target.On, c) }) {
			all = append(all, Notification{
				Target: target.Name, Job: l.Job, Item: it.ID, Event: event, At: now,
				State: DeliveryWaiting, Next: now, Until: now.Add(KeepTrying),
			})
		}
	}
	return all
}

// Attempt is the outcome of an attempt to send a notification.
type Attempt struct {
	// Error is why the notification was not delivered, such as "503 Service Unavailable",
	// without secrets and addresses. It is empty if the notification was delivered.
	Error string
	// After is the pause that the receiver asked for (Retry-After).
	After time.Duration
	// Skip means that there was nothing to send; Error is the reason.
	Skip bool
	// GiveUp means that another attempt makes no sense. It needs an Error.
	GiveUp bool
	// Jitter spreads the retries of many servers: a random number from 0 to 1.
	Jitter float64
}

// backoff returns the pause after a number of failed attempts.
func backoff(tries int) time.Duration {
	pauses := [...]time.Duration{
		5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
		10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
	}
	return pauses[min(max(tries, 1), len(pauses))-1]
}

// Settle returns the notification after an attempt to send it: sent, skipped, given up, or
// waiting for the next attempt. The pause between attempts grows from 5 s to 24 h and
// varies by 20 %; a receiver may ask for a longer one.
func (n Notification) Settle(now time.Time, a Attempt) Notification {
	n.Tries++
	n.Error = strings.ToValidUTF8(a.Error[:min(len(a.Error), maxDeliveryError)], "")
	if a.Skip {
		n.State, n.Settled = DeliverySkipped, now
		return n
	}
	if a.Error == "" {
		n.State, n.Settled = DeliverySent, now
		return n
	}
	pause := time.Duration(float64(backoff(n.Tries)) * (0.8 + 0.4*min(max(a.Jitter, 0), 1)))
	n.Next = now.Add(max(pause, min(a.After, 24*time.Hour)))
	if a.GiveUp || n.Next.After(n.Until) {
		return n.GiveUp(now, n.Error)
	}
	return n
}

// GiveUp returns the notification after it was given up for a reason.
func (n Notification) GiveUp(now time.Time, reason string) Notification {
	n.State, n.Settled, n.Error = DeliveryGivenUp, now, reason
	return n
}

// Retry returns the notification with all attempts ahead of it again.
func (n Notification) Retry(now time.Time) Notification {
	n.State, n.Tries, n.Next, n.Until, n.Settled = DeliveryWaiting, 0, now, now.Add(KeepTrying), time.Time{}
	return n
}

// Deliverable returns which waiting notifications can be sent at an instant, the oldest
// first, at most limit and at most [MaxSending] of one target, and when to look again
// (zero: only after an event). Notifications that are due but exceed a limit do not count
// for that: look again after one is settled. heads has a waiting notification of each
// channel, in any order: the one that is being sent, or else the first. leased reports whether
// one is being sent. A notification to a target for which wanted returns false is returned
// only after its Until, so that the caller can give it up.
func Deliverable(now time.Time, heads iter.Seq[*Notification], leased func(id int64) bool, wanted func(target string) bool, limit int) (due []Notification, next time.Time) {
	sending := map[string]int{}
	for n := range heads {
		at := n.Next
		if !wanted(n.Target) {
			at = n.Until
		}
		switch {
		case leased(n.ID):
			sending[n.Target]++
		case !at.After(now):
			due = append(due, *n)
		case next.IsZero() || at.Before(next):
			next = at
		}
	}
	slices.SortFunc(due, func(a, b Notification) int { return cmp.Compare(a.ID, b.ID) })
	fit := due[:0]
	for _, n := range due {
		if len(fit) < limit && sending[n.Target] < MaxSending {
			fit = append(fit, n)
			sending[n.Target]++
		}
	}
	return fit, next
}

// NotificationFilter selects notifications. Its zero value selects all.
type NotificationFilter struct {
	// Job and Item restrict the list, if set.
	Job  string
	Item int64
	// State restricts it to one state, if set.
	State Delivery
	// Limit is the maximum number of notifications; 0 means no limit, unlike for lists of
	// items and builds.
	Limit int
}

// Fits reports whether the filter selects a notification.
func (f NotificationFilter) Fits(n Notification) bool {
	return (f.Job == "" || f.Job == n.Job) && (f.Item == 0 || f.Item == n.Item) && (f.State == "" || f.State == n.State)
}

// Backlog is how much waits to be sent to a target.
type Backlog struct {
	Target string
	// Waiting is the number of waiting notifications, Oldest when the oldest of them happened.
	Waiting int
	Oldest  time.Time
	// GivenUp is the number of notifications on record that were given up.
	GivenUp int
}
