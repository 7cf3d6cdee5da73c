package boltqueue

import (
	"context"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Decide and Look have what a caller asks for done, whatever it is.
func (q *DB) Decide(ctx context.Context, what func()) error {
	return q.ask(ctx, request{decide: func(*batch) error {
		what()
		return nil
	}})
}

// Look is like Decide, for what only reads.
func (q *DB) Look(ctx context.Context, what func()) error {
	return q.ask(ctx, request{look: func(*memory) error {
		what()
		return nil
	}})
}

// The records' encoding, for tests that check it against bytes.
var (
	DecodeItem = decodeItem
	ErrRecord  = errRecord
	ErrJob     = errJob
)

// EncodeItem gives the record of an item.
func EncodeItem(it *queue.Item) ([]byte, error) { return newEncoder().item(it) }

// Flush is how long a count may wait, Retry how long a broken file rests.
const (
	Flush = flushAfter
	Retry = retryAfter
)

// MaxJob is the longest name of a job, MaxKeyedJob the longest if triggers have keys.
const (
	MaxJob      = maxJob
	MaxKeyedJob = maxKeyedJob
)
