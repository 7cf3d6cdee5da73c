package queue

import "iter"

// Records is the whole content of a queue, for moving it to another backend. Each
// sequence can be iterated once, and only while the queue that provides it allows it.
// An error ends a sequence.
type Records struct {
	// NextID is the lowest ID that was never assigned to an item, LastNotification the highest
	// that was ever assigned to a notification.
	NextID           int64
	LastNotification int64
	// Lanes are sorted by job.
	Lanes iter.Seq2[Lane, error]
	// Items are queued; Builds are running or have ended.
	Items     iter.Seq2[Item, error]
	Builds    iter.Seq2[Build, error]
	Cancelled iter.Seq2[Cancelled, error]
	Receipts  iter.Seq2[JobReceipt, error]
	Summaries iter.Seq2[Summary, error]
	// Notifications are sorted by ID.
	Notifications iter.Seq2[Notification, error]
	// TokenUses are sorted by place and name.
	TokenUses iter.Seq2[TokenUse, error]
}

// JobReceipt is a receipt and the full name of its job.
type JobReceipt struct {
	Job string
	Receipt
}
