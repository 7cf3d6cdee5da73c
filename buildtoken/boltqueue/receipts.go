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

// receiptKey is the key of a receipt. It sorts the receipts of a job by expiry, so that the
// new ones, and those that have expired, are next to each other: a commit changes few pages.
func receiptKey(job string, r queue.Receipt) []byte {
	k := binary.BigEndian.AppendUint64(jobPrefix(job), uint64(r.Until.UnixNano()))
	return append(k, r.Key[:]...)
}

// splitReceiptKey returns the job of a receipt, and the receipt with only its key and expiry set.
func splitReceiptKey(k []byte) (job string, r queue.Receipt, err error) {
	end := len(k) - len(r.Key) - 9
	if end < 1 || k[end] != 0 {
		return "", r, fmt.Errorf("%w: key of %d bytes", errRecord, len(k))
	}
	r.Until = time.Unix(0, numberOf(k[end+1:end+9])).UTC()
	copy(r.Key[:], k[end+9:])
	return string(k[:end]), r, nil
}

// schedule decides a request.
func (b *batch) schedule(now time.Time, l *lane, equal *queue.Item, r queue.Request, room queue.Room) (queue.Change, error) {
	if r.Key == nil {
		return queue.Schedule(now, l.head, equal, r, room)
	}
	first, err := b.receipt(l, *r.Key)
	if err != nil {
		return queue.Change{}, err
	}
	oldest, err := b.oldestReceipts(l)
	if err != nil {
		return queue.Change{}, err
	}
	return queue.ScheduleOnce(now, l.head, equal, r, room, first, oldest)
}

// readReceipts indexes the receipts by key.
func (m *memory) readReceipts(tx *bolt.Tx, log *zap.Logger) {
	_ = tx.Bucket(bucketReceipts()).ForEach(func(k, _ []byte) error { // it returns no error
		job, r, err := splitReceiptKey(k)
		l := m.lanes[job]
		if err == nil && l == nil {
			err = fmt.Errorf("%w: job %q has no lane", errRecord, job)
		}
		if err != nil { // running a trigger is worth more than the proof that it is the first
			log.Error("cannot read key of a receipt; its trigger counts as new", zap.Error(err))
			return nil
		}
		l.setReceipt(r)
		return nil
	})
}

// setReceipt indexes a receipt, which takes the place of an older one with the same key.
func (l *lane) setReceipt(r queue.Receipt) {
	if l.receipts == nil {
		l.receipts = map[queue.Digest]int64{}
	}
	l.receipts[r.Key] = r.Until.UnixNano()
}

// receipt returns the receipt for a key of the job, as the batch sees it, or nil. A
// receipt that cannot be decoded counts as missing: running the trigger is worth more
// than the proof that it is the first.
func (b *batch) receipt(l *lane, key queue.Digest) (r *queue.Receipt, err error) {
	until, ok := l.receipts[key]
	if !ok {
		return nil, nil //nolint:nilnil // the doc comment explains nil
	}
	at := receiptKey(l.head.Job, queue.Receipt{Key: key, Until: time.Unix(0, until)})
	err = b.access(func() (err error) {
		r, err = decodeReceipt(at, b.bucket(bucketReceipts()).Get(at))
		return err
	})
	if errors.Is(err, errRecord) {
		b.log.Error("cannot read receipt of a trigger; the trigger counts as new", zap.String("job", l.head.Job), zap.Error(err))
		return nil, nil //nolint:nilnil // the doc comment explains nil
	}
	return r, err
}

// decodeReceipt decodes a receipt and checks that it belongs to its key.
func decodeReceipt(k, raw []byte) (*queue.Receipt, error) {
	job, want, err := splitReceiptKey(k)
	if err != nil {
		return nil, err
	}
	r, err := exported(raw, "a receipt of "+job, func(r *queue.Receipt) bool {
		return r.Key == want.Key && r.Until.Equal(want.Until)
	})
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// oldestReceipts returns the receipts of a job that expire first, with only their keys
// and expiry set.
func (b *batch) oldestReceipts(l *lane) (oldest []queue.Receipt, err error) {
	if len(l.receipts) == 0 {
		return nil, nil
	}
	err = b.access(func() error {
		for k := range prefixed(b.bucket(bucketReceipts()).Cursor(), jobPrefix(l.head.Job)) {
			_, r, err := splitReceiptKey(k)
			if err != nil {
				b.log.Error("cannot read key of a receipt", zap.String("job", l.head.Job), zap.Error(err))
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

// applyReceipt writes the receipts of a change.
func (b *batch) applyReceipt(l *lane, c queue.Change) {
	for _, old := range c.Forget {
		// If this one could not be read, a newer one may have taken its place.
		if l.receipts[old.Key] == old.Until.UnixNano() {
			delete(l.receipts, old.Key)
		}
		b.put(bucketReceipts(), receiptKey(l.head.Job, old), nil)
	}
	if c.Receipt != nil {
		l.setReceipt(*c.Receipt)
		b.putJSON(bucketReceipts(), receiptKey(l.head.Job, *c.Receipt), c.Receipt)
	}
}
