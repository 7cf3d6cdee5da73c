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
		var receipts [][]byte
		_ = b.access(func() error { // a damaged page breaks the batch
			for k := range prefixed(b.bucket(bucketReceipts()).Cursor(), jobPrefix(job)) {
				receipts = append(receipts, bytes.Clone(k))
			}
			return nil
		})
		for _, key := range receipts {
			b.put(bucketReceipts(), key, nil)
		}
		l.receipts = nil
		b.apply(l, change)
		return nil
	}})
}
