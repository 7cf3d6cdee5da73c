package queue

import (
	"errors"
	"fmt"
)

// ErrInUse is returned for a job whose records are still needed: a configuration has the
// job, or something of it is queued or runs.
var ErrInUse = errors.New("queue: job is in use")

// HasRecords reports whether there is anything on record about the job that [Forget] drops.
func (l Lane) HasRecords() bool {
	return l.Kept > 0 || l.KeptCancelled > 0 || l.Receipts > 0
}

// Forget drops the builds, cancelled items and summary of a job that no configuration has.
// The backend drops its receipts. The numbers of its builds stay used. For a job that is
// in use it returns [ErrInUse]. Unlike [Finish] and [Cancel], it drops everything in one
// commit: a job is forgotten rarely, and its records are gone as a whole or not at all.
func Forget(l Lane) (Change, error) {
	if l.GoneUntil.IsZero() || l.Queued > 0 || len(l.Running) > 0 {
		return Change{}, fmt.Errorf("%w: %s", ErrInUse, l.Job)
	}
	c := Change{Trim: l.Kept, TrimCancelled: l.KeptCancelled, Summary: &Summary{Job: l.Job}}
	l.Kept, l.KeptCancelled, l.Receipts, l.Last, l.LastEnded = 0, 0, 0, "", 0
	c.Lane = l
	return c, nil
}
