package boltqueue_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// keyedRequest is a trigger with a key.
func keyedRequest(job, values string, key byte) queue.Request {
	r := request(job, values)
	r.Key = &queue.Digest{key}
	return r
}

// repeats repeats a trigger with a key.
func repeats(t *testing.T, q *boltqueue.DB, now time.Time, r queue.Request) queue.Receipt {
	t.Helper()
	it, _, err := q.Schedule(t.Context(), now, r)
	var repeated *queue.RepeatedError
	if !errors.As(err, &repeated) {
		t.Fatalf("Schedule with a key that was given = item %d, %v; want a RepeatedError", it.ID, err)
	}
	return repeated.Receipt
}

func TestTriggerWithoutAKeyWritesNoReceipt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path})
	schedule(t, q, request("a", "1"))
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if got := receiptsIn(t, path); got != "" {
		t.Errorf("receipts of a trigger without a key:\n%s", got)
	}
}

func TestExpiredReceiptsLeaveNothingBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path})
	for key := range byte(4) {
		schedule(t, q, keyedRequest("a", "old", key))
	}
	over := start.Add(queue.KeepReceipts)
	for key := range byte(2) { // the first takes the place of one, and drops another
		if _, _, err := q.Schedule(t.Context(), over, keyedRequest("a", "new", 2*key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if got := receiptsIn(t, path); strings.Count(got, "receipt ") != 2 {
		t.Errorf("in the file there is, want two receipts:\n%s", got)
	}
}

func TestRepeatedTriggerCostsNoCommit(t *testing.T) {
	d := &disk{}
	q := open(t, boltqueue.Options{Path: filepath.Join(t.TempDir(), "queue.db"), Commit: d.commit(nil)})
	schedule(t, q, keyedRequest("a", "1", 'k'))
	before := d.count()
	for range 5 {
		repeats(t, q, start, keyedRequest("a", "1", 'k'))
	}
	if _, _, err := q.Schedule(t.Context(), start, keyedRequest("a", "2", 'k')); !errors.Is(err, queue.ErrKeyReused) {
		t.Errorf("other values: %v, want %v", err, queue.ErrKeyReused)
	}
	if got := d.count(); got != before {
		t.Errorf("%d commits for triggers that change nothing", got-before)
	}
}

// A caller that repeats a trigger of the same batch must get an error when the batch fails.
func TestRepeatedTriggerOfAFailedBatchFails(t *testing.T) {
	for name, what := range map[string]fault{"the disk is full": full, "the commit happens but is reported as failed": syncFails} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "queue.db")
			synctest.Test(t, func(t *testing.T) {
				goOn, d := make(chan struct{}), &disk{}
				q := open(t, boltqueue.Options{Path: path, Commit: d.commit(goOn)})
				old := keyedRequest("a", "old", 'o')
				schedule(t, q, old)
				d.next(heldForever, what)
				var callers sync.WaitGroup
				callers.Go(func() { schedule(t, q, request("b", "held")) })
				synctest.Wait()
				answers := make([]error, 3)
				for i, values := range []string{"1", "1", "2"} {
					callers.Go(func() { _, _, answers[i] = q.Schedule(t.Context(), start, keyedRequest("a", values, 'k')) })
					synctest.Wait() // so that they come in this order
				}
				close(goOn)
				callers.Wait()
				for i, err := range answers {
					if !errors.Is(err, queue.ErrStorage) {
						t.Errorf("caller %d of the batch heard %v, want %v", i, err, queue.ErrStorage)
					}
				}
				sameOnDisk(t, q, path)
				if got := repeats(t, q, start, old); got.Item != 1 {
					t.Errorf("the receipt from before the failure is %+v, want item 1", got)
				}
				// The client tries again, with any values.
				schedule(t, q, keyedRequest("a", "2", 'k'))
				repeats(t, q, start, keyedRequest("a", "2", 'k'))
				sameOnDisk(t, q, path)
				if l, err := laneOf(t.Context(), q, "a"); err != nil || l.Receipts != 2 || l.Queued != 2 {
					t.Errorf("lane %+v, %v; want two items, two receipts", l, err)
				}
			})
		})
	}
}

// The keys of a job whose records were dropped are new, at once and without a complaint.
func TestKeysOfAForgottenJob(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	q := open(t, boltqueue.Options{Path: filepath.Join(t.TempDir(), "queue.db"), Log: zap.New(core)})
	it := schedule(t, q, keyedRequest("a", "1", 'k'))
	if err := errors.Join(q.Cancel(t.Context(), start, "a", it.ID, "alice"), q.SetRules(t.Context(), start, queue.Config{}), q.Forget(t.Context(), "a")); err != nil {
		t.Fatal(err)
	}
	schedule(t, q, keyedRequest("a", "2", 'k'))
	if logs.Len() > 0 {
		t.Errorf("logged %v", logs.All())
	}
}

// A key that is not that of a receipt does not count as one, and is logged.
func TestDamagedKeyOfAReceiptIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path})
	schedule(t, q, keyedRequest("a", "1", 'k'))
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(tx *bolt.Tx) error {
		nobody := append([]byte("nobody\x00"), make([]byte, 8+len(queue.Digest{}))...)
		return errors.Join(tx.Bucket([]byte("receipts")).Put([]byte("a\x00short"), []byte{}), tx.Bucket([]byte("receipts")).Put(nobody, []byte{}))
	})
	core, logs := observer.New(zap.ErrorLevel)
	q = open(t, boltqueue.Options{Path: path, Log: zap.New(core)})
	if logs.Len() != 2 {
		t.Errorf("%d lines in the log, want one for each key that cannot be read", logs.Len())
	}
	schedule(t, q, keyedRequest("a", "2", 'l'))
	if logs.FilterMessage("cannot read key of a receipt").Len() != 1 {
		t.Errorf("logged %v, want a line about the key of the job", logs.All())
	}
	repeats(t, q, start, keyedRequest("a", "1", 'k'))
	if l, err := laneOf(t.Context(), q, "a"); err != nil || l.Receipts != 2 {
		t.Errorf("lane %+v, %v; want two receipts", l, err)
	}
}

// A receipt that cannot be read is logged; the trigger is accepted.
func TestDamagedReceiptIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path})
	schedule(t, q, keyedRequest("a", "1", 'k'))
	schedule(t, q, keyedRequest("a", "2", 'l'))
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	at := slices.Concat([]byte("a\x00"), uint64Key(start.Add(queue.KeepReceipts).UnixNano()), []byte("k"), make([]byte, 15))
	edit(t, path, func(tx *bolt.Tx) error { return spoil(tx, "receipts", at) })
	core, logs := observer.New(zap.ErrorLevel)
	q = open(t, boltqueue.Options{Path: path, Log: zap.New(core)})
	later := start.Add(time.Hour)
	it, created, err := q.Schedule(t.Context(), later, keyedRequest("a", "3", 'k'))
	if err != nil || it.ID != 3 || !created || logs.Len() == 0 {
		t.Errorf("Schedule = item %d, %v, %v, with %d lines in the log; want the new item 3 and a line", it.ID, created, err, logs.Len())
	}
	repeats(t, q, later, keyedRequest("a", "3", 'k'))
	repeats(t, q, later, keyedRequest("a", "2", 'l'))
	// When the damaged receipt expires, it is dropped, but not the one that took its place.
	over := start.Add(queue.KeepReceipts)
	for n := range byte(3) {
		schedule(t, q, keyedRequest("a", "n", 'n'+n))
	}
	if _, _, err := q.Schedule(t.Context(), over, keyedRequest("a", "4", 'm')); err != nil {
		t.Fatal(err)
	}
	repeats(t, q, over, keyedRequest("a", "3", 'k'))
}
