package boltqueue

import (
	"context"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Decide runs what as a decision of a batch.
func (q *DB) Decide(ctx context.Context, what func()) error {
	return q.ask(ctx, request{decide: func(*batch) error {
		what()
		return nil
	}})
}

// Look is like Decide, for a request that only reads.
func (q *DB) Look(ctx context.Context, what func()) error {
	return q.ask(ctx, request{look: func(*memory) { what() }})
}

// The encoding of records, for tests that check it against bytes.
var (
	DecodeItem = decodeItem
	ErrRecord  = errRecord
	ErrJob     = errJob
	ErrPanic   = errPanic
	Upgrade    = upgrade
)

// EncodeItem returns the record of an item.
func EncodeItem(it *queue.Item) ([]byte, error) { return newEncoder().item(it) }

// Flush is how long a count may wait, Retry the pause between attempts to reopen a file.
const (
	Flush = flushAfter
	Retry = retryAfter
)
