package queue

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// KeepReceipts is how long a repeated trigger with an idempotency key gets the first
// answer again. A client that lost the answer repeats within minutes; a day also covers
// a client whose own queue stood still overnight.
const KeepReceipts = 24 * time.Hour

// MaxReceipts is the maximum number of receipts of a lane. They are small, but a client
// can create any number of them, and builds do not remove them. Beyond the limit, the
// oldest is dropped early.
const MaxReceipts = 100_000

// MaxForget is the maximum number of old receipts that one trigger drops: more than one,
// so that their number shrinks, but few, so that no trigger pays for a day's worth.
const MaxForget = 2

// ErrKeyReused is returned when an idempotency key was used before with other parameter
// values.
var ErrKeyReused = errors.New("queue: key was used with other parameter values")

// RepeatedError is returned for a request whose idempotency key was used before. Nothing
// was queued; Receipt is the answer to the first request.
type RepeatedError struct{ Receipt Receipt }

// Error names the item.
func (e *RepeatedError) Error() string {
	return fmt.Sprintf("queue: repeats the trigger of item %d", e.Receipt.Item)
}

// Receipt is the record of a trigger with an idempotency key. It may outlive its item.
type Receipt struct {
	// Key is the key of the request; a lane has one receipt for a key.
	Key Digest `json:"key"`
	// Values is the request's digest of the parameter values.
	Values Digest `json:"values"`
	// Item and Created are the answer: the item's ID, and whether it was new.
	Item    int64 `json:"item"`
	Created bool  `json:"created,omitempty"`
	// Until is when the receipt expires.
	Until time.Time `json:"until"`
}

// expired reports whether the receipt has expired.
func (r Receipt) expired(now time.Time) bool { return !r.Until.After(now) }

// ScheduleOnce is [Schedule] for a request with a key. first is the lane's receipt for
// that key, or nil; oldest are the receipts of the lane that expire first (ties: in any
// order), at most [MaxForget], of which only Key and Until have to be set. The new receipt becomes
// part of the change.
//
// ScheduleOnce returns a [RepeatedError] if the key was used before, whatever has become
// of the item, and [ErrKeyReused] if the values differ, unless the request accepts any
// values. A refused trigger leaves no receipt: it may succeed when it is repeated.
func ScheduleOnce(now time.Time, l Lane, equal *Item, r Request, room Room, first *Receipt, oldest []Receipt) (Change, error) {
	if first != nil && !first.expired(now) {
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
		if old.expired(now) || change.Lane.Receipts >= MaxReceipts {
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
