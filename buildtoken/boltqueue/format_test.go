package boltqueue_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/queuetest"
)

// sample is a queue of format 1 with a record of every kind. Once format 1 is released,
// it is never written again, or the test would prove nothing: -update creates it only
// where it is missing. A new format gets a new folder.
const sample = "testdata/format-1/everything.db"

// TestReadsFormat1 reads all of a file of format 1.
func TestReadsFormat1(t *testing.T) {
	if _, err := os.Stat(sample); queuetest.Update() && errors.Is(err, os.ErrNotExist) {
		writeSample(t)
	}
	q := open(t, boltqueue.Options{Path: copyFile(t, sample)})
	ctx := t.Context()
	cause := queue.Cause{Kind: queue.CauseRemote, Addr: "192.0.2.7", Note: "push", Noted: true, Token: "ci", Count: 2}
	values := []queue.Value{
		{Name: "ENV", Kind: "choice", Text: "staging"},
		{Name: "PIN", Kind: "password", Sealed: []byte{0, 1, 0xff}},
		{Name: "PATCH", Kind: "file", Text: "fix it.diff", Ref: "3f2a"},
	}
	waiting := queue.Item{
		ID: 4, Job: "app/deploy", Since: start, Due: start.Add(time.Hour), Digest: queue.Digest{'w'}, Values: values, Root: "https://ci.example.com",
		Causes: []queue.Cause{cause, {Kind: queue.CauseUser, User: "alice", Count: 1}},
	}
	entries, err := q.Items(ctx, start, "", 10)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d items, %v; want 1", len(entries), err)
	}
	if diff := cmp.Diff(waiting, entries[0].Item); diff != "" {
		t.Errorf("queued item (-want +got):\n%s", diff)
	}
	builds, err := q.Builds(ctx, "app/deploy", 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	item := func(id int64, digest byte) queue.Item {
		return queue.Item{ID: id, Job: "app/deploy", Since: start, Due: start, Digest: queue.Digest{digest}, Causes: []queue.Cause{{Kind: queue.CauseSCM, Count: 1}}}
	}
	want := []queue.Build{
		{Item: item(3, 'r'), Number: 2, Node: "ci-1", Executor: 1, Started: start, Abort: "alice"},
		{Item: item(1, 'e'), Number: 1, Node: "ci-1", Executor: 0, Started: start, Ended: start.Add(time.Minute), Result: queue.Failure, Reason: "exit status 1"},
	}
	if diff := cmp.Diff(want, builds); diff != "" {
		t.Errorf("builds (-want +got):\n%s", diff)
	}
	if e, err := q.Entry(ctx, start, 2); err != nil || e.Cancelled == nil || e.Cancelled.By != "bob" || !e.Cancelled.At.Equal(start.Add(time.Second)) {
		t.Errorf("cancelled item: %+v, %v", e, err)
	}
	if wished, err := q.Aborts(ctx); err != nil || len(wished) != 1 || wished[0].Abort != "alice" {
		t.Errorf("Aborts = %v, %v", wished, err)
	}
	lane := queue.Lane{
		Job: "app/deploy", Rules: queue.Rules{Concurrent: true, KeepBuilds: 7, Label: "gpu"}, Queued: 1, Running: []int64{2}, LastNumber: 2,
		Kept: 1, KeptCancelled: 1, Last: queue.Failure, LastEnded: 1,
	}
	if got, err := laneOf(ctx, q, "app/deploy"); err != nil || !cmp.Equal(lane, got) {
		t.Errorf("lane %v (-want +got):\n%s", err, cmp.Diff(lane, got))
	}
	if it := schedule(t, q, request("app/deploy", "new")); it.ID != 5 {
		t.Errorf("next item is %d, want 5", it.ID)
	}
}

// TestUpgrade checks the mechanism that carries files over to later formats.
func TestUpgrade(t *testing.T) {
	enough := errors.New("enough")
	rename := func(from, to string) func(tx *bolt.Tx) error {
		return func(tx *bolt.Tx) error {
			items := tx.Bucket([]byte("meta"))
			return errors.Join(items.Put([]byte(to), items.Get([]byte(from))), items.Delete([]byte(from)))
		}
	}
	fails := func(*bolt.Tx) error { return enough }
	first, second := rename("format-1", "format-2"), rename("format-2", "format-3")
	for _, tt := range []struct {
		name  string
		from  byte
		steps []func(*bolt.Tx) error
		want  string // the format, and the key that the steps rename
		err   error
	}{
		{"a current file is left alone", 3, []func(*bolt.Tx) error{fails, fails}, "3 format-1", nil},
		{"the steps run in order", 1, []func(*bolt.Tx) error{first, second}, "3 format-3", nil},
		{"steps that the file has had are left out", 2, []func(*bolt.Tx) error{fails, rename("format-1", "format-3")}, "3 format-3", nil},
		{"a step that fails changes nothing", 1, []func(*bolt.Tx) error{first, fails}, "1 format-1", enough},
	} {
		t.Run(tt.name, func(t *testing.T) {
			db, err := bolt.Open(filepath.Join(t.TempDir(), "queue.db"), 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			err = db.Update(func(tx *bolt.Tx) error {
				meta, err := tx.CreateBucket([]byte("meta"))
				return errors.Join(err, meta.Put([]byte("format"), []byte{0, 0, 0, 0, 0, 0, 0, tt.from}), meta.Put([]byte("format-1"), []byte("x")))
			})
			if err != nil {
				t.Fatal(err)
			}
			err = boltqueue.Upgrade(db, tt.steps, (*bolt.Tx).Commit)
			if !errors.Is(err, tt.err) || err != nil && !strings.Contains(err.Error(), "from format 2:") {
				t.Errorf("upgrade: %v, want %v and the format of the step", err, tt.err)
			}
			var got string
			err = db.View(func(tx *bolt.Tx) error {
				return tx.Bucket([]byte("meta")).ForEach(func(k, v []byte) error {
					if string(k) == "format" {
						got = fmt.Sprint(v[7])
					} else {
						got += " " + string(k)
					}
					return nil
				})
			})
			if err != nil || got != tt.want {
				t.Errorf("after the upgrade the file holds %q, want %q; %v", got, tt.want, err)
			}
		})
	}
}

func writeSample(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(sample), 0o755); err != nil {
		t.Fatal(err)
	}
	q := open(t, boltqueue.Options{Path: sample})
	ctx := t.Context()
	try := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	scm := func(digest byte) queue.Request {
		return queue.Request{Job: "app/deploy", Digest: queue.Digest{digest}, Cause: queue.Cause{Kind: queue.CauseSCM}}
	}
	try(q.SetRules(ctx, start, queue.Config{Rules: map[string]queue.Rules{"app/deploy": {Concurrent: true, KeepBuilds: 7, Label: "gpu"}}}))
	schedule(t, q, scm('e'))
	_, _, err := q.Claim(ctx, start, queue.Node{Name: "ci-1", Labels: []string{"gpu"}}, []int{0})
	try(err)
	_, err = q.Finish(ctx, start.Add(time.Minute), "app/deploy", 1, queue.Failure, "exit status 1")
	try(err)
	schedule(t, q, scm('c'))
	try(q.Cancel(ctx, start.Add(time.Second), "app/deploy", 2, "bob"))
	schedule(t, q, scm('r'))
	_, _, err = q.Claim(ctx, start, queue.Node{Name: "ci-1", Labels: []string{"gpu"}}, []int{1})
	try(err)
	try(q.Abort(ctx, "app/deploy", 2, "alice"))
	waits := queue.Request{
		Job: "app/deploy", Digest: queue.Digest{'w'}, Delay: time.Hour, Root: "https://ci.example.com",
		Values: []queue.Value{
			{Name: "ENV", Kind: "choice", Text: "staging"},
			{Name: "PIN", Kind: "password", Sealed: []byte{0, 1, 0xff}},
			{Name: "PATCH", Kind: "file", Text: "fix it.diff", Ref: "3f2a"},
		},
		Cause: queue.Cause{Kind: queue.CauseRemote, Addr: "192.0.2.7", Note: "push", Noted: true, Token: "ci"},
	}
	schedule(t, q, waits)
	schedule(t, q, waits)
	waits.Cause = queue.Cause{Kind: queue.CauseUser, User: "alice"}
	schedule(t, q, waits)
	closeCompact(t, q, sample)
}

// closeCompact closes a queue and cuts off the unused end of its file, which is most of it.
func closeCompact(t *testing.T, q *boltqueue.DB, path string) {
	t.Helper()
	try := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	try(q.Close())
	db, err := bolt.Open(path, 0o600, nil)
	try(err)
	small, err := bolt.Open(path+".small", 0o600, nil)
	try(err)
	try(bolt.Compact(small, db, 0))
	try(errors.Join(db.Close(), small.Close(), os.Rename(path+".small", path)))
}
