package queue

import "iter"

// Records is all that a queue holds, to move it to another place. Each sequence
// can be walked once, and only while the queue that lends it says so; an error
// ends it.
type Records struct {
	// NextID is the lowest ID that was never given to an item.
	NextID int64
	// Lanes come in the order of their jobs' names.
	Lanes iter.Seq2[Lane, error]
	// Items are those that are queued, Builds those that run or have ended.
	Items     iter.Seq2[Item, error]
	Builds    iter.Seq2[Build, error]
	Cancelled iter.Seq2[Cancelled, error]
	Receipts  iter.Seq2[JobReceipt, error]
}

// JobReceipt is a receipt and the full name of its job.
type JobReceipt struct {
	Job string
	Receipt
}
