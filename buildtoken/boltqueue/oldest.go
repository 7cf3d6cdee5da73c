package boltqueue

import (
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Oldest returns the lowest number among the builds of a job that are on record. Logs of
// lower numbers are unused. It returns queue.ErrNotFound if there is no build. It does not
// use the context: it never waits.
func (q *DB) Oldest(_ context.Context, job string) (number int64, err error) {
	err = q.view(func(tx *bolt.Tx) error {
		for k := range prefixed(tx.Bucket(bucketBuilds()).Cursor(), jobPrefix(job)) {
			_, number, err = splitJobKey(k)
			return err
		}
		return fmt.Errorf("%w: builds of %s", queue.ErrNotFound, job)
	})
	return number, err
}
