package boltqueue_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// disk commits, or fails as planned.
type disk struct {
	mu      sync.Mutex
	commits int
	// fail is what happens to the next commits, in order.
	fail []fault
}

// fault is what happens to a commit.
type fault int

const (
	works       fault = iota
	full              // nothing is written: the disk is full
	syncFails         // all is written, and then the system reports an error
	pageIsTorn        // bbolt panics
	heldForever       // waits until the test releases it, and then works
)

func (d *disk) next(faults ...fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = faults
}

func (d *disk) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.commits
}

// commit returns a Commit for Options. A held commit continues after goOn is closed.
func (d *disk) commit(goOn <-chan struct{}) func(*bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		d.mu.Lock()
		d.commits++
		what := works
		if len(d.fail) > 0 {
			what, d.fail = d.fail[0], d.fail[1:]
		}
		d.mu.Unlock()
		switch what {
		case full:
			return fmt.Errorf("write: %w", syscall.ENOSPC)
		case syncFails:
			return errors.Join(tx.Commit(), fmt.Errorf("fsync: %w", syscall.EIO))
		case pageIsTorn:
			panic("page 7 is torn")
		case heldForever:
			<-goOn
		case works:
		}
		return tx.Commit()
	}
}

// facts is everything that the queue reports about the jobs of these tests.
type facts struct {
	Lanes   []queue.Lane
	Items   []queue.Entry
	Builds  []queue.Build
	Aborts  []queue.Build
	Entries []queue.Entry
}

func read(t *testing.T, q *boltqueue.DB) facts {
	t.Helper()
	var f facts
	var errs [4]error
	f.Lanes, errs[0] = q.Lanes(t.Context(), []string{"a", "b", "c"})
	f.Items, errs[1] = q.Items(t.Context(), start, "", 1000)
	f.Builds, errs[2] = q.Builds(t.Context(), "a", 0, 1000)
	f.Aborts, errs[3] = q.Aborts(t.Context())
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	for id := int64(1); id < 40; id++ {
		e, err := q.Entry(t.Context(), start, id)
		if err != nil && !errors.Is(err, queue.ErrNotFound) {
			t.Fatal(err)
		}
		f.Entries = append(f.Entries, e)
	}
	return f
}

func same(before, after facts) string { return cmp.Diff(before, after, cmpopts.EquateEmpty()) }

// sameOnDisk compares the answers of the queue with those of another one that opens a
// copy of the file.
func sameOnDisk(t *testing.T, q *boltqueue.DB, path string) {
	t.Helper()
	again := open(t, boltqueue.Options{Path: copyFile(t, path)})
	defer again.Close()
	if diff := same(read(t, q), read(t, again)); diff != "" {
		t.Errorf("memory differs from the file (-memory +file):\n%s", diff)
	}
}

// TestFailedBatch lets twenty callers share a commit that fails.
func TestFailedBatch(t *testing.T) {
	for name, what := range map[string]fault{
		"the disk is full": full, "the commit happens but is reported as failed": syncFails, "bbolt panics": pageIsTorn,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "queue.db")
			synctest.Test(t, func(t *testing.T) {
				goOn, d := make(chan struct{}), &disk{}
				q := open(t, boltqueue.Options{Path: path, Commit: d.commit(goOn)})
				schedule(t, q, request("a", "runs"))
				if _, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0}); err != nil {
					t.Fatal(err)
				}
				waits := request("a", "waits")
				waits.Delay = time.Hour
				schedule(t, q, waits)
				schedule(t, q, request("b", "is cancelled"))

				// One commit is held, so that the other triggers gather behind it.
				d.next(heldForever, what)
				var held, batch sync.WaitGroup
				held.Go(func() { schedule(t, q, request("b", "held")) })
				synctest.Wait()
				answers := make([]error, 23)
				for i := range 20 {
					batch.Go(func() { _, _, answers[i] = q.Schedule(t.Context(), start, request("c", fmt.Sprint(i%10))) })
				}
				batch.Go(func() { _, _, answers[20] = q.Schedule(t.Context(), start, request("a", "waits")) })
				batch.Go(func() { answers[21] = q.Cancel(t.Context(), start, "b", 3, "alice") })
				batch.Go(func() { _, answers[22] = q.Finish(t.Context(), start, "a", 1, queue.Success, "") })
				synctest.Wait()
				commits := d.count()
				close(goOn)
				held.Wait()
				batch.Wait()
				for i, err := range answers {
					if !errors.Is(err, queue.ErrStorage) {
						t.Errorf("caller %d of the batch got %v, want %v", i, err, queue.ErrStorage)
					}
				}
				if what == syncFails {
					commits++ // what became visible is taken back
				}
				if got := d.count(); got != commits+1 {
					t.Errorf("%d commits for one batch", got-commits+1)
				}
				after := read(t, q)
				var ids []int64
				for _, e := range after.Items {
					ids = append(ids, e.Item.ID)
					if n := e.Item.Triggers(); n != 1 {
						t.Errorf("item %d counts %d triggers, want 1", e.Item.ID, n)
					}
				}
				if !slices.Equal(ids, []int64{3, 4, 2}) || after.Lanes[2].Queued != 0 || len(after.Lanes[0].Running) != 1 {
					t.Errorf("items %v, %d of c, a runs %v; want what was before the batch: [3 4 2], none, one build", ids, after.Lanes[2].Queued, after.Lanes[0].Running)
				}
				sameOnDisk(t, q, path)
				if it := schedule(t, q, request("c", "next")); it.ID <= 4+10 {
					t.Errorf("identifier %d was handed out before", it.ID)
				}
				if _, err := q.Finish(t.Context(), start, "a", 1, queue.Success, ""); err != nil {
					t.Errorf("Finish after the failure: %v", err)
				}
				sameOnDisk(t, q, path)
			})
		})
	}
}

// TestFailedBatchThatWroteARecordTwice lets one batch store the handle of a build twice, and
// fail. The record must be again what it was before the batch, not what its first write made of it.
func TestFailedBatchThatWroteARecordTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	synctest.Test(t, func(t *testing.T) {
		goOn, d := make(chan struct{}), &disk{}
		q := open(t, boltqueue.Options{Path: path, Commit: d.commit(goOn)})
		schedule(t, q, request("a", "runs"))
		if _, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0}); err != nil {
			t.Fatal(err)
		}
		if err := q.SetHandle(t.Context(), "a", 1, []byte("before")); err != nil {
			t.Fatal(err)
		}
		d.next(heldForever, syncFails)
		var all sync.WaitGroup
		all.Go(func() { schedule(t, q, request("b", "held")) })
		synctest.Wait()
		for _, handle := range []string{"first", "second"} {
			all.Go(func() {
				if err := q.SetHandle(t.Context(), "a", 1, []byte(handle)); !errors.Is(err, queue.ErrStorage) {
					t.Errorf("SetHandle(%s) = %v, want %v", handle, err, queue.ErrStorage)
				}
			})
		}
		synctest.Wait()
		close(goOn)
		all.Wait()
		if b, err := q.Build(t.Context(), "a", 1); err != nil || string(b.Handle) != "before" {
			t.Errorf("the handle after the batch failed is %q, %v; want before", b.Handle, err)
		}
		sameOnDisk(t, q, path)
	})
}

// An item that one batch creates, joins and cancels is not on record afterwards.
func TestItemThatLeavesInItsBatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	synctest.Test(t, func(t *testing.T) {
		goOn, d := make(chan struct{}), &disk{}
		q := open(t, boltqueue.Options{Path: path, Commit: d.commit(goOn)})
		d.next(heldForever)
		var all sync.WaitGroup
		all.Go(func() { schedule(t, q, request("b", "held")) })
		synctest.Wait()
		other := request("a", "k")
		other.Cause.Note = "another"
		for _, do := range []func() error{
			func() error { _, _, err := q.Schedule(t.Context(), start, request("a", "k")); return err },
			func() error { _, _, err := q.Schedule(t.Context(), start, other); return err },
			func() error { return q.Cancel(t.Context(), start, "a", 2, "alice") },
		} {
			all.Go(func() {
				if err := do(); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait() // so that they come in this order
		}
		commits := d.count()
		close(goOn)
		all.Wait()
		if got := d.count() - commits; got != 1 {
			t.Errorf("%d commits, want one batch", got)
		}
		if e, err := q.Entry(t.Context(), start, 2); err != nil || e.Cancelled == nil || e.Item.Triggers() != 2 {
			t.Errorf("Entry = %+v, %v; want it cancelled", e, err)
		}
		sameOnDisk(t, q, path)
	})
}

// No build may run that is not on record, and each build that is recorded as running must
// have been returned to a caller.
func TestFailedClaimStartsNothing(t *testing.T) {
	for name, what := range map[string]fault{"the disk is full": full, "the commit happens but is reported as failed": syncFails} {
		t.Run(name, func(t *testing.T) {
			path, d := filepath.Join(t.TempDir(), "queue.db"), &disk{}
			q := open(t, boltqueue.Options{Path: path, Commit: d.commit(nil)})
			schedule(t, q, request("a", "1"))
			schedule(t, q, request("b", "2"))
			before := read(t, q)
			d.next(what)
			if builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0, 1}); !errors.Is(err, queue.ErrStorage) || len(builds) != 0 {
				t.Fatalf("Claim = %v, %v; want %v", builds, err, queue.ErrStorage)
			}
			if diff := same(before, read(t, q)); diff != "" {
				t.Errorf("a claim that failed changed something (-before +after):\n%s", diff)
			}
			sameOnDisk(t, q, path)
			builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0, 1})
			if err != nil || len(builds) != 2 || builds[0].Number != 1 {
				t.Errorf("next Claim = %v, %v; want both builds", builds, err)
			}
		})
	}
}

// While a failed commit cannot be reverted, every request fails, because an answer might be
// wrong. As soon as it can be reverted, the queue recovers by itself.
func TestDiskHealsAfterManyFailures(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		q := open(t, boltqueue.Options{Path: path, Commit: d.commit(nil)})
		rules := map[string]queue.Rules{"a": {Disabled: true}}
		schedule(t, q, request("a", "1"))
		before := read(t, q)
		d.next(syncFails, full, syncFails, full, pageIsTorn)
		ctx := t.Context()
		if _, _, err := q.Schedule(ctx, start, request("b", "2")); !errors.Is(err, queue.ErrStorage) {
			t.Fatalf("Schedule on the bad disk: %v", err)
		}
		<-q.Changed() // of the first item
		failures := d.count()
		for name, do := range map[string]func() error{
			"Schedule": func() error { _, _, err := q.Schedule(ctx, start, request("c", "3")); return err },
			"a join":   func() error { _, _, err := q.Schedule(ctx, start, request("a", "1")); return err },
			"Claim":    func() error { _, _, err := q.Claim(ctx, start, queue.Node{Name: "node"}, []int{0}); return err },
			"Cancel":   func() error { return q.Cancel(ctx, start, "a", 1, "alice") },
			"Lost":     func() error { _, err := q.Lost(ctx); return err },
			"Reclaim":  func() error { _, err := q.Reclaim(ctx, start, "lost", nil); return err },
			"Lane":     func() error { _, err := laneOf(ctx, q, "b"); return err },
			"Items":    func() error { _, err := q.Items(ctx, start, "", 10); return err },
			"Entry":    func() error { _, err := q.Entry(ctx, start, 2); return err },
			"Build":    func() error { _, err := q.Build(ctx, "a", 1); return err },
			"Builds":   func() error { _, err := q.Builds(ctx, "a", 0, 10); return err },
			"Refs":     func() error { _, err := q.Refs(ctx); return err },
			"Aborts":   func() error { _, err := q.Aborts(ctx); return err },
		} {
			if err := do(); !errors.Is(err, queue.ErrStorage) {
				t.Errorf("%s on the bad disk: %v, want %v", name, err, queue.ErrStorage)
			}
		}
		if err := q.Refuses(); !errors.Is(err, queue.ErrStorage) {
			t.Errorf("Refuses on the bad disk = %v, want %v", err, queue.ErrStorage)
		}
		if d.count() != failures {
			t.Errorf("the bad disk was tried %d times within one second", d.count()-failures+1)
		}
		if err := q.SetRules(ctx, start, queue.Config{Rules: rules}); err != nil {
			t.Errorf("SetRules on the bad disk: %v; rules are not on disk", err)
		}
		<-q.Changed() // of the rules
		time.Sleep(10 * boltqueue.Retry)
		synctest.Wait()
		select {
		case <-q.Changed():
		default:
			t.Error("no value of Changed when the disk healed")
		}
		before.Lanes[0].Rules = rules["a"]
		before.Items[0].State, before.Items[0].Blockage = queue.Blocked, queue.Blockage{Reason: queue.JobDisabled}
		before.Entries[0].State, before.Entries[0].Blockage = before.Items[0].State, before.Items[0].Blockage
		if diff := same(before, read(t, q)); diff != "" {
			t.Errorf("after the disk healed (-before +after):\n%s", diff)
		}
		if it := schedule(t, q, request("b", "2")); it.ID != 3 {
			t.Errorf("identifier %d, want 3: 2 was handed out", it.ID)
		}
		if err := q.Refuses(); err != nil {
			t.Errorf("Refuses after something was written = %v, want nil", err)
		}
	})
}

// While the disk is full and something is due, the queue must not spin: a caller that
// tries again whenever Changed has a value makes one commit and one log line a second.
// Reads go on meanwhile.
func TestFullDiskIsNoBusyLoop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		core, logged := observer.New(zap.InfoLevel)
		q := open(t, boltqueue.Options{Path: path, Commit: d.commit(nil), Log: zap.New(core)})
		schedule(t, q, request("a", "1"))
		ctx, seconds := t.Context(), 30
		d.next(slices.Repeat([]fault{full}, 10*seconds)...)
		commits, claims := d.count(), 0
		end := time.After(time.Duration(seconds) * boltqueue.Retry)
	full:
		for {
			select {
			case <-q.Changed():
				claims++
				if builds, _, err := q.Claim(ctx, start, queue.Node{Name: "node"}, []int{0}); !errors.Is(err, queue.ErrStorage) {
					t.Fatalf("Claim on a full disk: %v, %v", builds, err)
				}
				if _, err := q.Entry(ctx, start, 1); err != nil {
					t.Fatalf("Entry while the disk is full: %v", err)
				}
			case <-end:
				break full
			}
		}
		if tried := d.count() - commits; tried > seconds+2 || tried < seconds-2 {
			t.Errorf("the full disk was tried %d times in %d s, want once a second", tried, seconds)
		}
		if claims > seconds+2 {
			t.Errorf("the executors were woken %d times in %d s, want once a second", claims, seconds)
		}
		for _, message := range []string{"cannot write queue file; its last batch is reverted", "queue file was read again"} {
			if lines := logged.FilterMessage(message).Len(); lines > seconds+2 || lines == 0 {
				t.Errorf("%d lines %q in %d s, want at most one a second", lines, message, seconds)
			}
		}
		d.next()
		time.Sleep(boltqueue.Retry)
		synctest.Wait()
		if builds, _, err := q.Claim(ctx, start, queue.Node{Name: "node"}, []int{0}); err != nil || len(builds) != 1 {
			t.Errorf("Claim after the disk has room: %v, %v; want one build", builds, err)
		}
	})
}

// After writes were refused, the queue finds out by itself that the disk has room again, with
// a growing pause between its attempts.
func TestFullDiskIsProbed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		q := open(t, boltqueue.Options{Path: path, Commit: d.commit(nil)})
		schedule(t, q, request("a", "1"))
		before := read(t, q)
		d.next(slices.Repeat([]fault{full}, 1000)...)
		for range 2 { // after the first failure, the next write is tried at once
			if _, _, err := q.Schedule(t.Context(), start, request("b", "2")); !errors.Is(err, queue.ErrStorage) {
				t.Fatalf("Schedule on a full disk: %v", err)
			}
		}
		failures := d.count()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if err := q.Refuses(); !errors.Is(err, queue.ErrStorage) {
			t.Errorf("Refuses while the disk is full = %v, want %v", err, queue.ErrStorage)
		}
		if tried := d.count() - failures; tried < 15 || tried > 30 {
			t.Errorf("the full disk was tried %d times in ten minutes without a request, want one in 30 s", tried)
		}
		d.next()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if err := q.Refuses(); err != nil {
			t.Errorf("Refuses after the disk has room = %v, want nil", err)
		}
		healed := d.count()
		time.Sleep(time.Hour)
		synctest.Wait()
		if d.count() != healed {
			t.Errorf("the disk was tried %d times after it had room", d.count()-healed)
		}
		if diff := same(before, read(t, q)); diff != "" {
			t.Errorf("after the disk has room (-before +after):\n%s", diff)
		}
	})
}

// A file that cannot be written is tried again after 1 s, 2 s, 4 s and so on, at most 30 s.
func TestPausesBetweenProbes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var tried []time.Time
		isFull := false
		q := open(t, boltqueue.Options{Path: path, Commit: func(tx *bolt.Tx) error {
			mu.Lock()
			defer mu.Unlock()
			tried = append(tried, time.Now())
			if isFull {
				return syscall.ENOSPC
			}
			return tx.Commit()
		}})
		// fill fills the disk, or empties it, and returns when writing was tried until then.
		fill := func(full bool) []time.Time {
			mu.Lock()
			defer mu.Unlock()
			until := tried
			isFull, tried = full, nil
			return until
		}
		fill(true)
		for range 2 {
			if _, _, err := q.Schedule(t.Context(), start, request("a", "1")); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("Schedule on a full disk: %v", err)
			}
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		var pauses []time.Duration
		attempts := fill(false)
		for i := range attempts[1:] {
			pauses = append(pauses, attempts[i+1].Sub(attempts[i])/time.Second)
		}
		if want := []time.Duration{0, 2, 4, 8, 16, 30, 30}; len(pauses) < len(want) || !slices.Equal(pauses[:len(want)], want) {
			t.Errorf("seconds between the attempts: %d, want %d", pauses, want)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if err := q.Refuses(); err != nil {
			t.Fatalf("Refuses after the disk has room = %v, want nil", err)
		}
		// The next time starts with short pauses again.
		fill(true)
		for range 2 {
			if _, _, err := q.Schedule(t.Context(), start, request("a", "1")); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("Schedule on a full disk: %v", err)
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := len(fill(false)); n != 3 {
			t.Errorf("%d attempts within two seconds, want three", n)
		}
	})
}

// What a failed batch has left in the file must be reverted durably: a revert that is visible, but
// whose commit has failed, is repeated before anything is answered.
func TestRevertIsRepeatedUntilItIsDurable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		core, logged := observer.New(zap.ErrorLevel)
		q := open(t, boltqueue.Options{Path: path, Commit: d.commit(nil), Log: zap.New(core)})
		d.next(slices.Repeat([]fault{syncFails}, 4)...)
		if _, _, err := q.Schedule(t.Context(), start, request("a", "1")); !errors.Is(err, queue.ErrStorage) {
			t.Fatalf("Schedule on the bad disk: %v", err)
		}
		for range 2 {
			time.Sleep(boltqueue.Retry)
			synctest.Wait()
			if _, err := q.Items(t.Context(), start, "", 10); !errors.Is(err, queue.ErrStorage) {
				t.Errorf("Items before the revert is durable: %v, want %v", err, queue.ErrStorage)
			}
		}
		if lines := logged.FilterMessage("cannot read queue file again; triggers are refused until it can be read").Len(); lines != 3 {
			t.Errorf("%d lines about a file that cannot be read, want one for each attempt", lines)
		}
		time.Sleep(boltqueue.Retry)
		synctest.Wait()
		if items, err := q.Items(t.Context(), start, "", 10); err != nil || len(items) != 0 {
			t.Errorf("Items after the revert = %v, %v; want none", items, err)
		}
	})
}

// A reader that waits for a batch gets an error if the batch fails and cannot be reverted:
// memory holds what was never written.
func TestReaderOfAFailedBatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	synctest.Test(t, func(t *testing.T) {
		goOn, d := make(chan struct{}), &disk{}
		q := open(t, boltqueue.Options{Path: path, Commit: d.commit(goOn)})
		d.next(heldForever, syncFails, full)
		var callers sync.WaitGroup
		callers.Go(func() { schedule(t, q, request("b", "held")) })
		synctest.Wait()
		callers.Go(func() {
			if _, _, err := q.Schedule(t.Context(), start, request("a", "1")); !errors.Is(err, queue.ErrStorage) {
				t.Errorf("Schedule: %v, want %v", err, queue.ErrStorage)
			}
		})
		synctest.Wait()
		callers.Go(func() {
			if l, err := laneOf(t.Context(), q, "a"); !errors.Is(err, queue.ErrStorage) {
				t.Errorf("lane %+v, %v; want %v", l, err, queue.ErrStorage)
			}
		})
		synctest.Wait()
		close(goOn)
		callers.Wait()
	})
}

// TestErrorsOfAFailedBatch lets requests fail because of what others of their batch did. As the
// batch fails too, none of it happened, and the errors must not be reported.
func TestErrorsOfAFailedBatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	synctest.Test(t, func(t *testing.T) {
		goOn, d := make(chan struct{}), &disk{}
		q := open(t, boltqueue.Options{Path: path, Limit: 3, Commit: d.commit(goOn)})
		schedule(t, q, request("a", "1"))
		before := read(t, q)
		d.next(heldForever, full)
		var callers sync.WaitGroup
		callers.Go(func() { schedule(t, q, request("held", "k")) })
		synctest.Wait()
		requests := []struct {
			name string
			do   func() error
		}{
			{"Schedule", func() error { _, _, err := q.Schedule(t.Context(), start, request("full", "1")); return err }},
			{"Schedule without room", func() error { _, _, err := q.Schedule(t.Context(), start, request("full", "2")); return err }},
			{"Claim", func() error {
				_, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0})
				return err
			}},
			{"Cancel", func() error { return q.Cancel(t.Context(), start, "a", 1, "alice") }},
			{"Finish", func() error { _, err := q.Finish(t.Context(), start, "a", 1, queue.Success, ""); return err }},
			{"Abort", func() error { return q.Abort(t.Context(), "a", 1, "alice") }},
		}
		answers := make([]error, len(requests))
		for i, r := range requests {
			callers.Go(func() { answers[i] = r.do() })
			synctest.Wait() // so that they come in this order
		}
		close(goOn)
		callers.Wait()
		for i, err := range answers {
			if !errors.Is(err, queue.ErrStorage) {
				t.Errorf("%s in a batch that failed: %v, want %v", requests[i].name, err, queue.ErrStorage)
			}
		}
		after := read(t, q)
		if diff := same(facts{Lanes: before.Lanes, Builds: before.Builds}, facts{Lanes: after.Lanes, Builds: after.Builds}); diff != "" {
			t.Errorf("the batch that failed changed something (-before +after):\n%s", diff)
		}
		if err := q.Cancel(t.Context(), start, "a", 1, "alice"); err != nil {
			t.Errorf("Cancel after the failure: %v", err)
		}
	})
}

// A record that cannot be written is an error of its caller, and changes nothing.
func TestRecordThatCannotBeWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path})
	schedule(t, q, request("a", "1"))
	if _, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0}); err != nil {
		t.Fatal(err)
	}
	before := read(t, q)
	for name, do := range map[string]func() error{
		"an instant without a format": func() error {
			_, err := q.Finish(t.Context(), time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC), "a", 1, queue.Success, "")
			return err
		},
		"a key that is too long": func() error {
			return q.SaveTokenUses(t.Context(), start, []queue.TokenUse{{Place: "a", Name: strings.Repeat("x", bolt.MaxKeySize)}})
		},
	} {
		if err := do(); !errors.Is(err, queue.ErrStorage) {
			t.Errorf("%s: %v, want %v", name, err, queue.ErrStorage)
		}
		if diff := same(before, read(t, q)); diff != "" {
			t.Errorf("%s changed something (-before +after):\n%s", name, diff)
		}
		sameOnDisk(t, q, path)
	}
}

// A process that stops while the disk is bad reverts what it can.
func TestCloseTakesBackWhatFailed(t *testing.T) {
	path, d := filepath.Join(t.TempDir(), "queue.db"), &disk{}
	q := open(t, boltqueue.Options{Path: path, Commit: d.commit(nil)})
	schedule(t, q, request("a", "1"))
	d.next(syncFails, full)
	if _, _, err := q.Schedule(t.Context(), start, request("b", "2")); !errors.Is(err, queue.ErrStorage) {
		t.Fatalf("Schedule on the bad disk: %v", err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, boltqueue.Options{Path: path})
	entries, err := again.Items(t.Context(), start, "", 10)
	if err != nil || len(entries) != 1 || entries[0].Item.ID != 1 {
		t.Errorf("items after Close: %v, %v; want the first one only", entries, err)
	}
}

// The file can disappear for a while, as on a network drive.
func TestFileComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		q := open(t, boltqueue.Options{Path: path, Commit: func(tx *bolt.Tx) error {
			err := d.commit(nil)(tx)
			if err != nil {
				_ = os.Rename(path, path+".away") // checked below
			}
			return err
		}})
		schedule(t, q, request("a", "1"))
		d.next(full)
		for range 3 {
			if _, _, err := q.Schedule(t.Context(), start, request("b", "2")); !errors.Is(err, queue.ErrStorage) {
				t.Fatalf("Schedule without a file: %v", err)
			}
			time.Sleep(2 * boltqueue.Retry)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a lost file was made anew: %v", err)
		}
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * boltqueue.Retry)
		schedule(t, q, request("b", "2"))
		sameOnDisk(t, q, path)
	})
}

// A write to a file that was removed or replaced must not be acknowledged, and the file in
// its place must be neither opened nor changed.
func TestFileIsNotInItsPlace(t *testing.T) {
	for _, tt := range []struct {
		name string
		// displace keeps the file under another name, or the test could not put it back.
		displace func(t *testing.T, path, kept string)
	}{
		{"it was removed", func(t *testing.T, path, kept string) {
			if err := errors.Join(os.Link(path, kept), os.Remove(path)); err != nil {
				t.Fatal(err)
			}
		}},
		{"it was renamed", func(t *testing.T, path, kept string) {
			if err := os.Rename(path, kept); err != nil {
				t.Fatal(err)
			}
		}},
		{"a copy has taken its place", func(t *testing.T, path, kept string) {
			copied := copyFile(t, path)
			if err := errors.Join(os.Rename(path, kept), os.Rename(copied, path)); err != nil {
				t.Fatal(err)
			}
		}},
		{"another queue has taken its place", func(t *testing.T, path, kept string) {
			if err := errors.Join(os.Rename(path, kept), os.Rename(makeQueue(t), path)); err != nil {
				t.Fatal(err)
			}
		}},
		{"a folder has taken its place", func(t *testing.T, path, kept string) {
			if err := errors.Join(os.Rename(path, kept), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "queue.db")
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.ErrorLevel)
				q := open(t, boltqueue.Options{Path: path, Log: zap.New(core)})
				schedule(t, q, request("a", "1"))
				before := read(t, q)
				tt.displace(t, path, path+".kept")
				instead, _ := os.ReadFile(path) // there may be none
				for range 3 {
					if _, _, err := q.Schedule(t.Context(), start, request("b", "2")); !errors.Is(err, queue.ErrStorage) {
						t.Errorf("Schedule: %v, want %v", err, queue.ErrStorage)
					}
					if builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0}); !errors.Is(err, queue.ErrStorage) || len(builds) != 0 {
						t.Errorf("Claim = %v, %v; want %v", builds, err, queue.ErrStorage)
					}
					if _, err := q.Builds(t.Context(), "a", 0, 10); !errors.Is(err, queue.ErrStorage) {
						t.Errorf("Builds: %v, want %v", err, queue.ErrStorage)
					}
					time.Sleep(2 * boltqueue.Retry)
				}
				if logs.FilterMessageSnippet("moved or removed").Len() == 0 {
					t.Errorf("the log does not contain what is wrong: %v", logs.All())
				}
				if now, _ := os.ReadFile(path); !slices.Equal(instead, now) {
					t.Error("the file in its place was changed")
				}
				if err := errors.Join(os.RemoveAll(path), os.Rename(path+".kept", path)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * boltqueue.Retry)
				if diff := same(before, read(t, q)); diff != "" {
					t.Errorf("after the file came back (-before +after):\n%s", diff)
				}
				schedule(t, q, request("b", "2"))
				sameOnDisk(t, q, path)
			})
		})
	}
}

// The ways in which the system refuses a write, each with the error that callers get.
func TestRefusedWritesAreNotAcknowledged(t *testing.T) {
	for _, refusal := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EFBIG, syscall.EIO, syscall.ESTALE} {
		t.Run(refusal.Error(), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "queue.db")
			synctest.Test(t, func(t *testing.T) {
				refuse := false
				q := open(t, boltqueue.Options{Path: path, Commit: func(tx *bolt.Tx) error {
					if refuse {
						return &os.PathError{Op: "write", Path: path, Err: refusal}
					}
					return tx.Commit()
				}})
				schedule(t, q, request("a", "1"))
				refuse = true
				for range 3 {
					_, _, err := q.Schedule(t.Context(), start, request("b", "2"))
					if !errors.Is(err, queue.ErrStorage) || !errors.Is(err, refusal) {
						t.Errorf("Schedule: %v, want %v and %v", err, queue.ErrStorage, refusal)
					}
					time.Sleep(2 * boltqueue.Retry)
				}
				refuse = false
				if it := schedule(t, q, request("b", "2")); it.ID < 2 {
					t.Errorf("item %d was there before", it.ID)
				}
				if entries, err := q.Items(t.Context(), start, "", 10); err != nil || len(entries) != 2 {
					t.Errorf("items after the disk took writes again: %v, %v; want two", entries, err)
				}
				sameOnDisk(t, q, path)
			})
		})
	}
}

// An operator can put a backup into the place of a file that cannot be read any more.
func TestFileIsReplacedByABackup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		q := open(t, boltqueue.Options{Path: path, Log: zap.NewNop(), Commit: func(tx *bolt.Tx) error {
			err := d.commit(nil)(tx)
			if err != nil {
				err = errors.Join(err, os.Truncate(path, 100))
			}
			return err
		}})
		schedule(t, q, request("a", "1"))
		backup := filepath.Join(t.TempDir(), "backup.db")
		if _, err := q.Backup(t.Context(), backup); err != nil {
			t.Fatal(err)
		}
		d.next(full)
		if _, _, err := q.Schedule(t.Context(), start, request("a", "2")); !errors.Is(err, queue.ErrStorage) {
			t.Fatalf("Schedule while the file is damaged: %v", err)
		}
		if err := os.Rename(backup, path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * boltqueue.Retry)
		if it := schedule(t, q, request("a", "2")); it.ID != 3 {
			t.Errorf("the next item is %d, want 3: 2 may have been handed out", it.ID)
		}
		sameOnDisk(t, q, path)
	})
}

// A bug must not cost the other callers of the batch their answers, and must not be
// reported as a damaged file.
func TestPanicLeavesNoCallerWithoutAnswer(t *testing.T) {
	bug := func() { panic("bug") }
	for _, tt := range []struct {
		name string
		ask  func(*boltqueue.DB, context.Context) error
		// others is the error that the other callers of the batch get.
		others error
	}{
		{"in a decision", func(q *boltqueue.DB, ctx context.Context) error { return q.Decide(ctx, bug) }, queue.ErrStorage},
		{"in a read", func(q *boltqueue.DB, ctx context.Context) error { return q.Look(ctx, bug) }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "queue.db")
			synctest.Test(t, func(t *testing.T) {
				goOn, d := make(chan struct{}), &disk{}
				core, logged := observer.New(zap.ErrorLevel)
				q := open(t, boltqueue.Options{Path: path, Commit: d.commit(goOn), Log: zap.New(core)})
				d.next(heldForever)
				var callers sync.WaitGroup
				answers := make([]error, 4)
				for i, ask := range []func() error{
					func() error { _, _, err := q.Schedule(t.Context(), start, request("held", "k")); return err },
					func() error { _, _, err := q.Schedule(t.Context(), start, request("a", "k")); return err },
					func() error { return tt.ask(q, t.Context()) },
					func() error { _, _, err := q.Schedule(t.Context(), start, request("b", "k")); return err },
				} {
					callers.Go(func() { answers[i] = ask() })
					synctest.Wait() // so that they come in this order
				}
				close(goOn)
				callers.Wait()
				for i, want := range []error{nil, tt.others, boltqueue.ErrPanic, tt.others} {
					if !errors.Is(answers[i], want) {
						t.Errorf("answer %d is %v, want %v", i, answers[i], want)
					}
					if errors.Is(answers[i], boltqueue.ErrForeign) {
						t.Errorf("answer %d calls the file damaged: %v", i, answers[i])
					}
				}
				entries := logged.FilterMessageSnippet("panic").All()
				if len(entries) != 1 || !strings.Contains(fmt.Sprint(entries[0].ContextMap()["stack"]), "fault_test.go") {
					t.Errorf("logged %v, want one panic with the stack that leads to it", entries)
				}
				schedule(t, q, request("a", "later"))
				if err := tt.ask(q, t.Context()); !errors.Is(err, boltqueue.ErrPanic) { // the only request of its batch
					t.Errorf("alone: %v, want %v", err, boltqueue.ErrPanic)
				}
				schedule(t, q, request("a", "last"))
			})
		})
	}
}
