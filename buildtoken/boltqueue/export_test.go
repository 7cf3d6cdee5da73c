package boltqueue

import "github.com/buildtoken/buildtoken/buildtoken/queue"

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
