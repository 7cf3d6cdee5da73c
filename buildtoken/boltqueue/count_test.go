package boltqueue_test

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// onDisk returns how many triggers the file counts for the first item.
func onDisk(t *testing.T, path string) int {
	t.Helper()
	q := open(t, boltqueue.Options{Path: copyFile(t, path)})
	defer q.Close()
	e, err := q.Entry(t.Context(), start, 1)
	if err != nil {
		t.Fatal(err)
	}
	return e.Item.Triggers()
}

func TestRepeatedCauseIsCountedWithoutCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		q := open(t, boltqueue.Options{Path: path, Commit: d.commit(nil)})
		triggers := func() int {
			e, err := q.Entry(t.Context(), start, 1)
			if err != nil {
				t.Fatal(err)
			}
			return e.Item.Triggers()
		}
		expect := func(when string, commits, inMemory, inFile int) {
			t.Helper()
			synctest.Wait()
			if got := d.count(); got != commits {
				t.Errorf("%s: %d commits, want %d", when, got, commits)
			}
			if got := triggers(); got != inMemory {
				t.Errorf("%s: %d triggers counted, want %d", when, got, inMemory)
			}
			if got := onDisk(t, path); got != inFile {
				t.Errorf("%s: the file counts %d triggers, want %d", when, got, inFile)
			}
		}
		r := request("j", "push")
		r.Delay = time.Hour
		schedule(t, q, r)
		for range 10 {
			schedule(t, q, r)
		}
		// The count in the file is what remains after a crash: only counts can be lost.
		expect("after ten equal triggers", 1, 11, 1)
		time.Sleep(boltqueue.Flush - 1)
		expect("just before the flush", 1, 11, 1)
		time.Sleep(time.Nanosecond)
		expect("after the flush", 2, 11, 11)
		time.Sleep(time.Hour)
		expect("with nothing to write", 2, 11, 11)

		schedule(t, q, r)
		schedule(t, q, request("other", "push"))
		expect("with the next commit of another job", 3, 12, 12)

		for range 3 { // many triggers do not postpone the flush
			schedule(t, q, r)
			time.Sleep(boltqueue.Flush * 2 / 5)
		}
		expect("in a storm, a flush after the first", 4, 15, 15)

		schedule(t, q, r)
		expect("before Close", 4, 16, 15)
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		if got := onDisk(t, path); got != 16 {
			t.Errorf("after Close the file counts %d triggers, want 16", got)
		}
	})
}

// Triggers that share a commit with the one that makes the item are counted too.
func TestCountsWithinOneBatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	synctest.Test(t, func(t *testing.T) {
		goOn, d := make(chan struct{}), &disk{}
		q := open(t, boltqueue.Options{Path: path, Commit: d.commit(goOn)})
		d.next(heldForever)
		ask := func(r queue.Request) {
			go func() { // ends when goOn is closed
				if _, _, err := q.Schedule(t.Context(), start, r); err != nil {
					t.Error(err)
				}
			}()
			synctest.Wait() // so that they come in this order
		}
		ask(request("held", "k"))
		for range 5 {
			ask(request("j", "push"))
		}
		user := request("j", "push")
		user.Cause = queue.Cause{Kind: queue.CauseUser, User: "alice"}
		ask(user)
		ask(request("j", "push"))
		close(goOn)
		synctest.Wait()
		if got := d.count(); got != 2 {
			t.Errorf("%d commits, want one for each batch", got)
		}
		again := open(t, boltqueue.Options{Path: copyFile(t, path)})
		e, err := again.Entry(t.Context(), start, 2)
		if err != nil || e.Item.Triggers() != 7 || len(e.Item.Causes) != 2 || e.Item.Causes[0].Count != 6 {
			t.Errorf("item %+v, %v; want 6 pushes and alice", e.Item, err)
		}
	})
}

// Counts that are not written yet are part of the item when its build starts.
func TestCountsGoIntoTheBuild(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path})
	for range 4 {
		schedule(t, q, request("j", "push"))
	}
	builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0})
	if err != nil || len(builds) != 1 || builds[0].Item.Triggers() != 4 {
		t.Fatalf("Claim = %+v, %v; want 4 triggers", builds, err)
	}
	again := open(t, boltqueue.Options{Path: copyFile(t, path)})
	if b, err := again.Build(t.Context(), "j", 1); err != nil || b.Item.Triggers() != 4 {
		t.Errorf("build on disk %+v, %v; want 4 triggers", b, err)
	}
}
