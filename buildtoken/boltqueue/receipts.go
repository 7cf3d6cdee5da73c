package boltqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// maxKeyedJob is the maximum length of a job's name for triggers with a key: the name,
// an instant and the key together form a key of the file.
const maxKeyedJob = bolt.MaxKeySize - 1 - 8 - len(queue.Digest{})

// checkKeyed is [checkJob] for a request that may have a key.
func checkKeyed(r queue.Request) error {
	if r.Key != nil && len(r.Job) > maxKeyedJob {
		return fmt.Errorf("%w: %d bytes, too long for a trigger with a key", errJob, len(r.Job))
	}
	return checkJob(r.Job)
}

// receiptKey is the key of the receipt for a key of the job.
func receiptKey(job string, key queue.Digest) []byte {
	return append(jobPrefix(job), key[:]...)
}

// endKey sorts the receipts of a job by expiry.
func endKey(job string, r queue.Receipt) []byte {
	k := binary.BigEndian.AppendUint64(jobPrefix(job), uint64(r.Until.UnixNano()))
	return append(k, r.Key[:]...)
}

// schedule decides a request.
func (b *batch) schedule(now time.Time, l *lane, equal *queue.Item, r queue.Request, room queue.Room) (queue.Change, error) {
	if r.Key == nil {
		return queue.Schedule(now, l.head, equal, r, room)
	}
	first, err := b.receipt(r.Job, *r.Key)
	if err != nil {
		return queue.Change{}, err
	}
	oldest, err := b.oldestReceipts(r.Job)
	if err != nil {
		return queue.Change{}, err
	}
	return queue.ScheduleOnce(now, l.head, equal, r, room, first, oldest)
}

// receipt returns the receipt for a key of the job, as the batch sees it, or nil. A
// receipt that cannot be decoded counts as missing: running the trigger is worth more
// than the proof that it is the first.
func (b *batch) receipt(job string, key queue.Digest) (r *queue.Receipt, err error) {
	err = b.access(func() (err error) {
		raw := b.tx.Bucket(bucketReceipts()).Get(receiptKey(job, key))
		if raw == nil {
			return nil
		}
		r, err = decodeJSON[queue.Receipt](raw, "receipt")
		if err == nil && r.Key != key {
			err = fmt.Errorf("%w: the receipt of another key", errRecord)
		}
		return err
	})
	if errors.Is(err, errRecord) {
		b.log.Error("cannot read receipt of a trigger; the trigger counts as new", zap.String("job", job), zap.Error(err))
		return nil, nil //nolint:nilnil // the doc comment explains nil
	}
	return r, err
}

// oldestReceipts returns the receipts of a job that expire first, with only their keys
// and expiry set.
func (b *batch) oldestReceipts(job string) (oldest []queue.Receipt, err error) {
	prefix := jobPrefix(job)
	err = b.access(func() error {
		for k := range prefixed(b.tx.Bucket(bucketReceiptEnds()).Cursor(), prefix) {
			r, err := splitEndKey(k[len(prefix):])
			if err != nil {
				b.log.Error("cannot read expiry of a receipt", zap.String("job", job), zap.Error(err))
				continue
			}
			if oldest = append(oldest, r); len(oldest) == queue.MaxForget {
				break
			}
		}
		return nil
	})
	return oldest, err
}

func splitEndKey(k []byte) (queue.Receipt, error) {
	var r queue.Receipt
	if len(k) != 8+len(r.Key) {
		return r, fmt.Errorf("%w: key of %d bytes", errRecord, len(k))
	}
	r.Until = time.Unix(0, int64(binary.BigEndian.Uint64(k))).UTC() //nolint:gosec // written with the same bits
	copy(r.Key[:], k[8:])
	return r, nil
}

// applyReceipt writes the receipts of a change.
func (b *batch) applyReceipt(job string, c queue.Change) {
	for _, old := range c.Forget {
		// If an expired one could not be read, a newer one may have taken its place.
		r, err := b.receipt(job, old.Key)
		b.note(err)
		if r == nil || r.Until.Equal(old.Until) {
			b.put(bucketReceipts(), receiptKey(job, old.Key), nil)
		}
		b.put(bucketReceiptEnds(), endKey(job, old), nil)
	}
	if c.Receipt == nil {
		return
	}
	b.putJSON(bucketReceipts(), receiptKey(job, c.Receipt.Key), c.Receipt)
	b.put(bucketReceiptEnds(), endKey(job, *c.Receipt), []byte{})
}
