package boltqueue_test

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// everyKind returns a file that holds one record of each kind. Item 1 is build 1, which has
// ended and is to be notified of, item 2 is build 2, which is running, item 3 is cancelled, and
// item 4, of a trigger with a key, is queued. The token ci of the job was used once.
func everyKind(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path})
	ctx := t.Context()
	claim := func() {
		if builds, _, err := q.Claim(ctx, start, queue.Node{Name: "node"}, []int{0}); err != nil || len(builds) != 1 {
			t.Fatalf("Claim = %v, %v", builds, err)
		}
	}
	notify := []queue.Target{{Name: "chat", On: []queue.Condition{queue.OnSuccess}}}
	if err := q.SetRules(ctx, start, queue.Config{Rules: map[string]queue.Rules{"a": {Notify: notify}}}); err != nil {
		t.Fatal(err)
	}
	schedule(t, q, request("a", "1"))
	claim()
	if _, err := q.Finish(ctx, start, "a", 1, queue.Success, ""); err != nil {
		t.Fatal(err)
	}
	schedule(t, q, request("a", "2"))
	claim()
	gone := schedule(t, q, request("a", "3"))
	if err := q.Cancel(ctx, start, "a", gone.ID, "alice"); err != nil {
		t.Fatal(err)
	}
	r := request("a", "4")
	r.Key = &queue.Digest{'k'}
	schedule(t, q, r)
	if err := q.SaveTokenUses(ctx, start, []queue.TokenUse{{Place: "a", Name: "ci", Uses: 1, First: start, Last: start}}); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// export lists the records of a file.
func export(path string) (found []string, err error) {
	err = boltqueue.Export(path, time.Millisecond, func(from queue.Records) error {
		found = append(found, fmt.Sprint("next ", from.NextID, ", last notification ", from.LastNotification))
		return errors.Join(
			list(&found, from.Lanes, func(l queue.Lane) string {
				return fmt.Sprintf("lane %s: %d queued, %v run, last %d", l.Job, l.Queued, l.Running, l.LastNumber)
			}),
			list(&found, from.Items, func(it queue.Item) string { return fmt.Sprintf("item %d of %s", it.ID, it.Job) }),
			list(&found, from.Builds, func(b queue.Build) string {
				return fmt.Sprintf("build %s #%d of item %d: %s", b.Item.Job, b.Number, b.Item.ID, b.Result)
			}),
			list(&found, from.Cancelled, func(c queue.Cancelled) string { return fmt.Sprintf("cancelled %d by %s", c.Item.ID, c.By) }),
			list(&found, from.Receipts, func(r queue.JobReceipt) string { return fmt.Sprintf("receipt of %s: item %d", r.Job, r.Item) }),
			list(&found, from.Summaries, func(s queue.Summary) string { return fmt.Sprintf("summary of %s: %d builds", s.Job, len(s.Recent)) }),
			list(&found, from.Notifications, func(n queue.Notification) string { return fmt.Sprintf("notification %d of item %d", n.ID, n.Item) }),
			list(&found, from.TokenUses, func(u queue.TokenUse) string { return fmt.Sprintf("token %s of %s: %d uses", u.Name, u.Place, u.Uses) }))
	})
	return found, err
}

func list[T any](to *[]string, from iter.Seq2[T, error], line func(T) string) error {
	for record, err := range from {
		if err != nil {
			return err
		}
		*to = append(*to, line(record))
	}
	return nil
}

func TestExportLendsEveryRecordAndChangesNothing(t *testing.T) {
	path := everyKind(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	got, err := export(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"next 5, last notification 1", "lane a: 1 queued, [2] run, last 2", "item 4 of a", "build a #1 of item 1: SUCCESS", "build a #2 of item 2: ",
		"cancelled 3 by alice", "receipt of a: item 4", "summary of a: 1 builds", "notification 1 of item 1", "token ci of a: 1 uses",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if now, err := os.Stat(path); err != nil || !bytes.Equal(before, after) || !now.ModTime().Equal(info.ModTime()) {
		t.Errorf("the file was changed, %v", err)
	}
}

func TestExportHasTheFileForItself(t *testing.T) {
	path := everyKind(t)
	q := open(t, boltqueue.Options{Path: path})
	if _, err := export(path); !errors.Is(err, boltqueue.ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Errorf("Export of an open file: %v, want %v and its name", err, boltqueue.ErrLocked)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	err := boltqueue.Export(path, 0, func(queue.Records) error {
		_, err := boltqueue.Open(boltqueue.Options{Path: path, LockTimeout: time.Millisecond})
		return err
	})
	if !errors.Is(err, boltqueue.ErrLocked) {
		t.Errorf("Open during an Export: %v, want %v", err, boltqueue.ErrLocked)
	}
	if err := open(t, boltqueue.Options{Path: path}).Close(); err != nil {
		t.Error(err)
	}
}

func TestExportNamesDamagedRecord(t *testing.T) {
	whole := everyKind(t)
	ofA := func(n uint64) []byte { return append([]byte("a\x00"), key(n)...) }
	receipt := slices.Concat(ofA(uint64(start.Add(queue.KeepReceipts).UnixNano())), []byte("k"), make([]byte, len(queue.Digest{})-1))
	for _, tt := range []struct {
		name, bucket string
		key          []byte
		want         string
	}{
		{"a lane", "lanes", []byte("a"), `lane of "a"`},
		{"an item", "items", key(4), "item 4"},
		{"a build", "builds", ofA(1), "build a #1"},
		{"a cancelled item", "cancelled", ofA(3), "cancelled item 3 of a"},
		{"a receipt", "receipts", receipt, "a receipt of a"},
		{"a summary", "summaries", []byte("a"), "summary of a"},
		{"a notification", "notifications", key(1), "notification 1"},
		{"the use of a token", "token_uses", []byte("a\x00ci"), "use of token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := copyFile(t, whole)
			edit(t, path, func(tx *bolt.Tx) error { return spoil(tx, tt.bucket, tt.key) })
			if _, err := export(path); !errors.Is(err, boltqueue.ErrRecord) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Export: %v, want %v that names %q", err, boltqueue.ErrRecord, tt.want)
			}
			// The same record in another place does not belong there.
			path = copyFile(t, whole)
			elsewhere := bytes.Clone(tt.key)
			elsewhere[len(elsewhere)-1]++
			edit(t, path, func(tx *bolt.Tx) error {
				b := tx.Bucket([]byte(tt.bucket))
				return errors.Join(b.Put(elsewhere, bytes.Clone(b.Get(tt.key))), b.Delete(tt.key))
			})
			if _, err := export(path); !errors.Is(err, boltqueue.ErrRecord) {
				t.Errorf("Export of a record in a wrong place: %v, want %v", err, boltqueue.ErrRecord)
			}
		})
	}
}

// A damaged record ends its sequence, and a caller may end one at any record.
func TestExportEndsAtDamage(t *testing.T) {
	path := everyKind(t)
	edit(t, path, func(tx *bolt.Tx) error { return spoil(tx, "builds", append([]byte("a\x00"), key(1)...)) })
	err := boltqueue.Export(path, 0, func(from queue.Records) error {
		var errs []error
		for _, err := range from.Builds {
			errs = append(errs, err)
		}
		if len(errs) != 1 || !errors.Is(errs[0], boltqueue.ErrRecord) {
			t.Errorf("builds %v, want the error of the first, and none after it", errs)
		}
		for l, err := range from.Lanes {
			if err != nil || l.Job != "a" {
				t.Errorf("lane %v, %v", l, err)
			}
			break
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestExportOfANewQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	if err := open(t, boltqueue.Options{Path: path}).Close(); err != nil {
		t.Fatal(err)
	}
	got, err := export(path)
	if diff := cmp.Diff([]string{"next 1, last notification 0"}, got); diff != "" || err != nil {
		t.Errorf("records of a new queue: %v (-want +got):\n%s", err, diff)
	}
}

// A file that is in use is waited for as long as the caller says, or else a second.
func TestWaitsForTheFile(t *testing.T) {
	path := everyKind(t)
	open(t, boltqueue.Options{Path: path})
	openFor := func(limit time.Duration) error {
		_, err := boltqueue.Open(boltqueue.Options{Path: path, LockTimeout: limit})
		return err
	}
	exportFor := func(limit time.Duration) error {
		return boltqueue.Export(path, limit, func(queue.Records) error { return nil })
	}
	for _, tt := range []struct {
		name        string
		use         func() error
		least, most time.Duration
	}{
		{"Open", func() error { return openFor(0) }, 900 * time.Millisecond, time.Second},
		{"Open for a nanosecond", func() error { return openFor(1) }, 0, time.Millisecond},
		{"Verify", func() error { return boltqueue.Verify(path) }, 900 * time.Millisecond, time.Second},
		{"Export", func() error { return exportFor(0) }, 900 * time.Millisecond, time.Second},
		{"Export for a nanosecond", func() error { return exportFor(1) }, 0, time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			if err := tt.use(); !errors.Is(err, boltqueue.ErrLocked) {
				t.Errorf("%s: %v, want %v", tt.name, err, boltqueue.ErrLocked)
			}
			if waited := time.Since(began); waited < tt.least || waited > tt.most {
				t.Errorf("%s waited %v, want %v to %v", tt.name, waited, tt.least, tt.most)
			}
		})
	}
}

// Each key is checked too: a record under a key of another form belongs to nothing.
func TestVerifyChecksKeys(t *testing.T) {
	whole, receipt := everyKind(t), strings.Repeat("8", 8+len(queue.Digest{}))
	for _, bucket := range []string{"items", "builds", "cancelled", "receipts", "notifications"} {
		for _, key := range []string{"short", "a\x00short", "\x0012345678", "a12345678", "ab12345678", "\x00" + receipt, "a" + receipt, "ab" + receipt} {
			path := copyFile(t, whole)
			edit(t, path, func(tx *bolt.Tx) error { return tx.Bucket([]byte(bucket)).Put([]byte(key), []byte("{}")) })
			if err := boltqueue.Verify(path); !errors.Is(err, boltqueue.ErrForeign) || !strings.Contains(err.Error(), fmt.Sprintf("key of %d bytes", len(key))) {
				t.Errorf("Verify with the key %q in %s: %v, want an error about the key", key, bucket, err)
			}
		}
	}
}

// A backup that an older version made can be restored and moved.
func TestExportOfAnOlderFormat(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	path := copyFile(t, samples()[0])
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := boltqueue.Verify(path); err != nil {
		t.Errorf("Verify: %v", err)
	}
	got, err := export(path)
	if err != nil || len(got) == 0 {
		t.Errorf("Export = %v, %v", got, err)
	}
	noneOpen(t, os.Getenv("TMPDIR"))
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) != 0 {
		t.Errorf("temporary files %v, %v; want none", left, err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file has changed, %v", err)
	}
	edit(t, path, func(tx *bolt.Tx) error { return spoil(tx, "items", key(4)) })
	if err := boltqueue.Verify(path); !errors.Is(err, boltqueue.ErrForeign) {
		t.Errorf("Verify of a damaged file: %v, want %v", err, boltqueue.ErrForeign)
	}
}

// Without a temporary folder, a file of an older format cannot be exported.
func TestExportWithoutATemporaryFolder(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	if got, err := export(copyFile(t, samples()[0])); !errors.Is(err, os.ErrNotExist) || len(got) != 0 {
		t.Errorf("Export = %v, %v; want %v", got, err, os.ErrNotExist)
	}
}

func TestExportOfWhatIsNoQueue(t *testing.T) {
	dir := t.TempDir()
	at := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	unborn := filepath.Join(dir, "unborn.db") // the process that created it died before it wrote a queue
	edit(t, unborn, func(*bolt.Tx) error { return nil })
	whole, err := os.ReadFile(everyKind(t))
	if err != nil {
		t.Fatal(err)
	}
	torn := bytes.Clone(whole)
	for i := 2 * os.Getpagesize(); i < len(torn); i++ {
		torn[i] = 0xff
	}
	for _, tt := range []struct {
		name, path string
		want       error
	}{
		{"no file", filepath.Join(dir, "missing.db"), os.ErrNotExist},
		{"a folder", dir, boltqueue.ErrForeign},
		{"an empty file", at("empty.db", nil), boltqueue.ErrForeign},
		{"a text", at("text.db", bytes.Repeat([]byte("text\n"), 10_000)), boltqueue.ErrForeign},
		{"a queue without its end", at("short.db", whole[:3*os.Getpagesize()]), boltqueue.ErrForeign},
		{"a queue whose pages are damaged", at("torn.db", torn), boltqueue.ErrForeign},
		{"an empty file", unborn, boltqueue.ErrForeign},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := export(tt.path); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.path) {
				t.Errorf("Export: %v, want %v and the name of the file", err, tt.want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "missing.db")); !errors.Is(err, os.ErrNotExist) {
		t.Error("Export has made a file")
	}
}
