package boltqueue_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/queuetest"
)

// samples are queues of each format with records of many kinds. They are never written again,
// or the test would prove nothing: -update creates the newest only where it is missing.
func samples() []string {
	return []string{"testdata/format-1/everything.db", "testdata/format-2/everything.db"}
}

// TestReadsFormats reads all of a file of each format.
func TestReadsFormats(t *testing.T) {
	newest := samples()[len(samples())-1]
	if _, err := os.Stat(newest); queuetest.Update() && errors.Is(err, os.ErrNotExist) {
		writeSample(t, newest)
	}
	for i, sample := range samples() {
		isNewest := i == len(samples())-1
		t.Run(fmt.Sprint("format ", i+1), func(t *testing.T) { readSample(t, sample, isNewest) })
	}
}

// readSample opens a sample, which is logged if it is not the newest. Only that one has a receipt.
func readSample(t *testing.T, sample string, isNewest bool) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	q := open(t, boltqueue.Options{Path: copyFile(t, sample), Log: zap.New(core)})
	receipts := 0
	if isNewest {
		receipts = 1
	}
	if converted := logs.FilterMessageSnippet("converted to a new format").Len(); (converted == 0) != isNewest {
		t.Errorf("the log has %d lines about a new format", converted)
	}
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
		Kept: 1, KeptCancelled: 1, Last: queue.Failure, LastEnded: 1, Receipts: receipts,
	}
	if got, err := laneOf(ctx, q, "app/deploy"); err != nil || !cmp.Equal(lane, got) {
		t.Errorf("lane %v (-want +got):\n%s", err, cmp.Diff(lane, got))
	}
	if receipts > 0 {
		if got := repeats(t, q, start, queue.Request{Job: "app/deploy", Digest: queue.Digest{'w'}, Key: &queue.Digest{'k'}}); got.Item != 4 {
			t.Errorf("the receipt is %+v, want item 4", got)
		}
	}
	if it := schedule(t, q, request("app/deploy", "new")); it.ID != 5 {
		t.Errorf("next item is %d, want 5", it.ID)
	}
}

// In a file of format 1, a second bucket sorts the receipts by expiry.
func TestReadsReceiptsOfFormat1(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path})
	for key := range byte(4) {
		if _, _, err := q.Schedule(t.Context(), start.Add(-time.Duration(key)*time.Hour), keyedRequest("a", string('0'+key), key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	end := func(key byte) []byte { // job, expiry, key
		k := append([]byte("a\x00"), uint64Key(start.Add(queue.KeepReceipts-time.Duration(key)*time.Hour).UnixNano())...)
		return slices.Concat(k, []byte{key}, make([]byte, 15))
	}
	edit(t, path, func(tx *bolt.Tx) error {
		receipts := tx.Bucket([]byte("receipts"))
		ends, err := tx.CreateBucket([]byte("receipt_ends"))
		for key := range byte(4) {
			raw := bytes.Clone(receipts.Get(end(key)))
			if key == 2 {
				raw = []byte("damaged")
			}
			err = errors.Join(err, receipts.Delete(end(key)), ends.Put(end(key), nil))
			if key != 1 { // as if it were lost
				err = errors.Join(err, receipts.Put(slices.Concat([]byte("a\x00"), []byte{key}, make([]byte, 15)), raw))
			}
		}
		return errors.Join(err, ends.Put([]byte("a\x00short"), nil), tx.Bucket([]byte("meta")).Put([]byte("format"), uint64Key(1)))
	})
	q = open(t, boltqueue.Options{Path: path})
	for _, key := range []byte{0, 3} {
		if got := repeats(t, q, start, keyedRequest("a", string('0'+key), key)); got.Item != int64(key)+1 {
			t.Errorf("the receipt of key %d is %+v, want item %d", key, got, key+1)
		}
	}
	// The others count as missing, and are dropped like any that expire.
	over := start.Add(queue.KeepReceipts)
	for n, want := range []int{3, 2, 3} { // two are dropped at a time
		if _, _, err := q.Schedule(t.Context(), over, keyedRequest("a", fmt.Sprint("new", n), 'n'+byte(n))); err != nil {
			t.Fatal(err)
		}
		if l, err := laneOf(t.Context(), q, "a"); err != nil || l.Receipts != want {
			t.Errorf("after %d new receipts, lane %+v, %v; want %d receipts", n+1, l, err, want)
		}
	}
}

// A file of format 1 that cannot be brought up to date is refused, whoever reads it, and no copy of
// it is left.
func TestRefusesDamagedFileOfFormat1(t *testing.T) {
	for _, bucket := range []string{"receipt_ends", "receipts"} {
		t.Run("without "+bucket, func(t *testing.T) {
			path := copyFile(t, samples()[0])
			edit(t, path, func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte(bucket)) })
			copies := t.TempDir()
			t.Setenv("TMPDIR", copies)
			q, openErr := boltqueue.Open(boltqueue.Options{Path: path})
			exportErr := boltqueue.Export(path, 0, func(queue.Records) error {
				t.Error("Export passed records")
				return nil
			})
			for _, err := range []error{openErr, exportErr, boltqueue.Verify(path)} {
				if err == nil || !strings.Contains(err.Error(), path) {
					t.Errorf("got %v, %v, want an error with the name of the file", q, err)
				}
			}
			if left, err := os.ReadDir(copies); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// The file holds how many batches were written, by which any version that opens it after a failure
// recognises the last one.
func TestBatchesAreNumbered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	for n := range int64(3) {
		q := open(t, boltqueue.Options{Path: path})
		schedule(t, q, request("a", fmt.Sprint(n)))
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		edit(t, path, func(tx *bolt.Tx) error {
			if got := tx.Bucket([]byte("meta")).Get([]byte("batch")); !bytes.Equal(got, uint64Key(n+1)) {
				t.Errorf("after batch %d, the file has %v", n+1, got)
			}
			return nil
		})
	}
}

func uint64Key(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

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
			from, err := boltqueue.Upgrade(db, tt.steps, (*bolt.Tx).Commit)
			if from != uint64(tt.from) {
				t.Errorf("upgrade from format %d, want %d", from, tt.from)
			}
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

func writeSample(t *testing.T, sample string) {
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
	waits.Key = &queue.Digest{'k'}
	schedule(t, q, waits)
	waits.Key = nil
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
