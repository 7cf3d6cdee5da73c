package boltqueue

import (
	"bytes"
	"context"
	"fmt"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Forget drops the builds, cancelled items, summary and receipts of a job that no configuration
// has, as [queue.Forget] decides. The lane stays, for its numbers, and so do notifications and
// the uses of tokens. All records are dropped in one commit, which other requests wait for.
func (q *DB) Forget(ctx context.Context, job string) error {
	return q.ask(ctx, request{decide: func(b *batch) error {
		l, ok := b.mem.lanes[job]
		if !ok {
			return fmt.Errorf("%w: job %q", queue.ErrNotFound, job)
		}
		change, err := queue.Forget(l.head)
		if err != nil {
			return err
		}
		var receipts, ends [][]byte
		_ = b.access(func() error { // a damaged page breaks the batch
			receipts = b.keys(bucketReceipts(), job)
			ends = b.keys(bucketReceiptEnds(), job)
			return nil
		})
		for _, key := range receipts {
			b.put(bucketReceipts(), key, nil)
		}
		for _, key := range ends {
			b.put(bucketReceiptEnds(), key, nil)
		}
		b.apply(l, change)
		return nil
	}})
}

// keys returns the keys of a job's records in a bucket.
func (b *batch) keys(bucket []byte, job string) (keys [][]byte) {
	for k := range prefixed(b.bucket(bucket).Cursor(), jobPrefix(job)) {
		keys = append(keys, bytes.Clone(k))
	}
	return keys
}
