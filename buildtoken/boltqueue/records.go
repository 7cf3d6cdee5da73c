package boltqueue

import (
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Export passes all records of a file, as of one instant, to use. The file is only read,
// and cannot be opened for writing meanwhile; if it already is, and stays so for lockTimeout
// (zero: 1 s), Export returns [ErrLocked]. Of a file of an older format, a temporary copy is
// brought up to date. use may keep the records, but not their sequences,
// which read the file.
//
// A damaged record ends its sequence with an error that names it.
func Export(path string, lockTimeout time.Duration, use func(queue.Records) error) error {
	return inspect(path, lockTimeout, func(tx *bolt.Tx) error {
		var records queue.Records
		err := guard(path, func() error {
			records = recordsOf(tx, path)
			return nil
		})
		if err == nil {
			err = use(records)
		}
		return err
	})
}

// inspect opens a file read-only, and passes it to use unless it is not a queue of this program.
func inspect(path string, lockTimeout time.Duration, use func(*bolt.Tx) error) error {
	if err := isFile(path); err != nil {
		return err
	}
	if lockTimeout <= 0 {
		lockTimeout = time.Second
	}
	db, err := openBolt(Options{Path: path, LockTimeout: lockTimeout}, bolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // it was only read
	tx, err := db.Begin(false)
	if err != nil {
		return fmt.Errorf("boltqueue: %s: %w", path, err)
	}
	defer func() { _ = tx.Rollback() }() // it was only read
	err = guard(path, func() error {
		isNew, err := db.examine(tx, path)
		if err == nil && isNew {
			return fmt.Errorf("%w: %s is empty: the process that created it died before it could fill it", ErrForeign, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	if readUint(tx.Bucket(bucketMeta()).Get(keyFormat())) < format {
		return inspectUpgraded(tx, path, use)
	}
	return use(tx)
}

// inspectUpgraded passes a temporary copy of a file of an older format to use.
func inspectUpgraded(tx *bolt.Tx, path string, use func(*bolt.Tx) error) error {
	dir, err := os.MkdirTemp("", "buildtoken-queue-")
	if err != nil {
		return fmt.Errorf("boltqueue: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // the temporary folder is emptied by others too
	copied := filepath.Join(dir, "queue.db")
	var db *opened
	err = guard(path, func() (err error) {
		if err = tx.CopyFile(copied, 0o600); err == nil {
			db, err = openBolt(Options{Path: copied}, bolt.Options{NoSync: true})
		}
		if err == nil {
			_, err = upgrade(db.DB, upgrades(), (*bolt.Tx).Commit)
		}
		return err
	})
	if db != nil {
		defer func() { _ = db.Close() }() // it is removed
	}
	if err != nil {
		return fmt.Errorf("boltqueue: copy %s, which has an older format: %w", path, err)
	}
	return db.View(use)
}

func recordsOf(tx *bolt.Tx, path string) queue.Records {
	return queue.Records{
		NextID:           max(1, int64(readUint(tx.Bucket(bucketMeta()).Get(keyNextID())))), //nolint:gosec // written from an int64
		LastNotification: int64(tx.Bucket(bucketNotifications()).Sequence()),                //nolint:gosec // far below 2^63
		Lanes: records(tx, path, bucketLanes(), func(k, raw []byte) (queue.Lane, error) {
			return exported(raw, fmt.Sprintf("lane of %q", k), func(l *queue.Lane) bool { return l.Job == string(k) })
		}),
		Items: records(tx, path, bucketItems(), func(k, raw []byte) (queue.Item, error) {
			id, err := keyID(k)
			if err != nil {
				return queue.Item{}, fmt.Errorf("an item: %w", err)
			}
			it, err := decodeItem(raw, id)
			if err != nil {
				return queue.Item{}, fmt.Errorf("item %d: %w", id, err)
			}
			return *it, nil
		}),
		Builds: records(tx, path, bucketBuilds(), func(k, raw []byte) (queue.Build, error) {
			job, number, err := splitJobKey(k)
			if err != nil {
				return queue.Build{}, fmt.Errorf("a build: %w", err)
			}
			return exported(raw, fmt.Sprintf("build %s #%d", job, number), func(b *queue.Build) bool {
				return b.Item.Job == job && b.Number == number
			})
		}),
		Cancelled: records(tx, path, bucketCancelled(), func(k, raw []byte) (queue.Cancelled, error) {
			job, id, err := splitJobKey(k)
			if err != nil {
				return queue.Cancelled{}, fmt.Errorf("a cancelled item: %w", err)
			}
			return exported(raw, fmt.Sprintf("cancelled item %d of %s", id, job), func(c *queue.Cancelled) bool {
				return c.Item.Job == job && c.Item.ID == id
			})
		}),
		Receipts: records(tx, path, bucketReceipts(), exportedReceipt),
		Summaries: records(tx, path, bucketSummaries(), func(k, raw []byte) (queue.Summary, error) {
			return decodeSummary(raw, string(k))
		}),
		Notifications: records(tx, path, bucketNotifications(), decodeNotification),
		TokenUses:     records(tx, path, bucketTokenUses(), decodeTokenUse),
	}
}

func exportedReceipt(k, raw []byte) (queue.JobReceipt, error) {
	r, err := decodeReceipt(k, raw)
	if err != nil {
		return queue.JobReceipt{}, err
	}
	job, _, _ := splitReceiptKey(k) // decodeReceipt has checked it
	return queue.JobReceipt{Job: job, Receipt: *r}, nil
}

// exported decodes a record and checks that it belongs to its key.
func exported[T any](raw []byte, what string, isIt func(*T) bool) (T, error) {
	v, err := decodeJSON[T](raw, what)
	if err == nil && !isIt(v) {
		err = fmt.Errorf("%w: %s: another record is in its place", errRecord, what)
	}
	if err != nil {
		var none T
		return none, err
	}
	return *v, nil
}

// records walks a bucket.
func records[T any](tx *bolt.Tx, path string, name []byte, decode func(k, raw []byte) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		c := tx.Bucket(name).Cursor()
		step := c.First
		for {
			var record T
			found := false
			// Each step is guarded alone: a panic in the loop body is not damage.
			err := guard(path, func() (err error) {
				k, raw := step()
				if k == nil {
					return nil
				}
				found = true
				record, err = decode(k, raw)
				return err
			})
			if err == nil && !found {
				return
			}
			if !yield(record, err) || err != nil {
				return
			}
			step = c.Next
		}
	}
}
