package boltqueue

// The records' encoding, for tests that check it against bytes.
var (
	EncodeItem = encodeItem
	DecodeItem = decodeItem
	ErrRecord  = errRecord
	ErrJob     = errJob
)

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
