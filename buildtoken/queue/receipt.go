package queue

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// KeepReceipts is how long a trigger with a key is answered as it was the
// first time. A client that lost the answer asks again within minutes; a day
// also serves one whose own queue stood still overnight.
const KeepReceipts = 24 * time.Hour

// MaxReceipts is how many receipts a lane keeps. They are small, but a client
// may make any number of them, and unlike an item none of them goes away with
// a build. Beyond that the oldest goes before its time.
const MaxReceipts = 100_000

// MaxForget is how many old receipts a trigger drops at most. More than one,
// so that they get fewer, and few, so that no trigger pays for a day's worth.
const MaxForget = 2

// ErrKeyReused says that the key of a request was given before, with other
// parameter values.
var ErrKeyReused = errors.New("queue: key was used with other parameter values")

// RepeatedError is the answer to a request whose key was given before: nothing
// was queued now, and how the first one was answered.
type RepeatedError struct{ Receipt Receipt }

// Error names the item.
func (e *RepeatedError) Error() string {
	return fmt.Sprintf("queue: repeats the trigger of item %d", e.Receipt.Item)
}

// Receipt is what is kept of a trigger with a key. It does not hang on the
// item, which may be gone before.
type Receipt struct {
	// Key is that of the request; a lane has one receipt under a key.
	Key Digest `json:"key"`
	// Values is the request's digest of the parameter values.
	Values Digest `json:"values"`
	// Item and Created are the answer: the item's ID, and whether it was new.
	Item    int64 `json:"item"`
	Created bool  `json:"created,omitempty"`
	// Until is when the receipt is over.
	Until time.Time `json:"until"`
}

// over says that the receipt counts no more.
func (r Receipt) over(now time.Time) bool { return !r.Until.After(now) }

// ScheduleOnce is [Schedule] for a request with a key. first is the lane's
// receipt under that key, or nil; oldest are the receipts of the lane that are
// over first (ties: in any order), at most [MaxForget]. What Schedule changes
// and the receipt are one change.
//
// It answers a [RepeatedError] to a key that was given before, whatever has
// become of the item, and [ErrKeyReused] if the values are others, unless the request accepts that. A trigger
// that is refused leaves no receipt: it may succeed when it comes again.
func ScheduleOnce(now time.Time, l Lane, equal *Item, r Request, room Room, first *Receipt, oldest []Receipt) (Change, error) {
	if first != nil && !first.over(now) {
		if first.Values != r.Digest && !r.AnyValues {
			return Change{}, ErrKeyReused
		}
		return Change{}, &RepeatedError{*first}
	}
	change, err := Schedule(now, l, equal, r, room)
	if err != nil {
		return Change{}, err
	}
	for _, old := range oldest[:min(len(oldest), MaxForget)] {
		if old.over(now) || change.Lane.Receipts >= MaxReceipts {
			change.Forget = append(change.Forget, old)
			change.Lane.Receipts--
		}
	}
	if first != nil && !slices.ContainsFunc(change.Forget, func(old Receipt) bool { return old.Key == first.Key }) {
		change.Forget = append(change.Forget, *first) // the new one takes its place
		change.Lane.Receipts--
	}
	change.Lane.Receipts++
	change.Receipt = &Receipt{Key: *r.Key, Values: r.Digest, Item: change.Item.ID, Created: change.Created, Until: now.Add(KeepReceipts)}
	change.Lazy = false // a count may be lost in a crash, an answer must not be
	return change, nil
}
