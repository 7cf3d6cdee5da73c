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

// maxKeyedJob is how long a job's name may be if a trigger has a key: with that
// and an instant behind it, it is a key of the file.
const maxKeyedJob = bolt.MaxKeySize - 1 - 8 - len(queue.Digest{})

// checkKeyed is checkJob for a request that may have a key.
func checkKeyed(r queue.Request) error {
	if r.Key != nil && len(r.Job) > maxKeyedJob {
		return fmt.Errorf("%w: %d bytes, too long for a trigger with a key", errJob, len(r.Job))
	}
	return checkJob(r.Job)
}

// receiptKey is where the receipt under a key of the job is.
func receiptKey(job string, key queue.Digest) []byte {
	return append(jobPrefix(job), key[:]...)
}

// endKey sorts the receipts of a job by when they are over.
func endKey(job string, r queue.Receipt) []byte {
	k := binary.BigEndian.AppendUint64(jobPrefix(job), uint64(r.Until.UnixNano()))
	return append(k, r.Key[:]...)
}

// schedule is the decision about a request.
func (b *batch) schedule(now time.Time, l *lane, equal *queue.Item, r queue.Request, room queue.Room) (queue.Change, error) {
	if r.Key == nil {
		return queue.Schedule(now, l.head, equal, r, room)
	}
	if err := b.begin(); err != nil {
		return queue.Change{}, err
	}
	return queue.ScheduleOnce(now, l.head, equal, r, room, b.receipt(r.Job, *r.Key), b.oldestReceipts(r.Job))
}

// receipt reads the receipt under a key of the job, as the batch sees it; nil
// if there is none. One that can't be read is none: the trigger is worth more
// than the proof that it is the first.
func (b *batch) receipt(job string, key queue.Digest) *queue.Receipt {
	raw := b.tx.Bucket(bucketReceipts()).Get(receiptKey(job, key))
	if raw == nil {
		return nil
	}
	r, err := decodeJSON[queue.Receipt](raw, "receipt")
	if err == nil && r.Key != key {
		err = fmt.Errorf("%w: a receipt stands where another one is", errRecord)
	}
	if err != nil {
		b.log.Error("receipt of a trigger can't be read; the trigger counts as a new one", zap.String("job", job), zap.Error(err))
		return nil
	}
	return r
}

// oldestReceipts are those that are over first. Only their keys and ends are set.
func (b *batch) oldestReceipts(job string) []queue.Receipt {
	var oldest []queue.Receipt
	prefix := jobPrefix(job)
	for k := range prefixed(b.tx.Bucket(bucketReceiptEnds()).Cursor(), prefix) {
		r, err := splitEndKey(k[len(prefix):])
		if err != nil {
			b.log.Error("end of a receipt can't be read", zap.String("job", job), zap.Error(err))
			continue
		}
		if oldest = append(oldest, r); len(oldest) == queue.MaxForget {
			break
		}
	}
	return oldest
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

// applyReceipt writes what a change says about receipts.
func (b *batch) applyReceipt(job string, c queue.Change) {
	for _, old := range c.Forget {
		// Where one could not be read, a younger one may have taken its place.
		if r := b.receipt(job, old.Key); r == nil || r.Until.Equal(old.Until) {
			b.put(bucketReceipts(), receiptKey(job, old.Key), nil)
		}
		b.put(bucketReceiptEnds(), endKey(job, old), nil)
	}
	if c.Receipt == nil {
		return
	}
	value, err := encodeJSON(c.Receipt, "receipt")
	b.note(err)
	b.put(bucketReceipts(), receiptKey(job, c.Receipt.Key), value)
	b.put(bucketReceiptEnds(), endKey(job, *c.Receipt), []byte{})
}

// answersFirst says that an error answers a request as an earlier one was. That
// one may be of the same batch, and then fails with it.
func answersFirst(err error) bool {
	var repeated *queue.RepeatedError
	return errors.As(err, &repeated) || errors.Is(err, queue.ErrKeyReused)
}
