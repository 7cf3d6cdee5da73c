package boltqueue_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

func key(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// spoil replaces the end of a record by bytes that are not JSON.
func spoil(tx *bolt.Tx, bucket string, at []byte) error {
	raw := bytes.Clone(tx.Bucket([]byte(bucket)).Get(at))
	if len(raw) == 0 {
		return errors.New("no such record")
	}
	copy(raw[len(raw)-3:], "!!!")
	return tx.Bucket([]byte(bucket)).Put(at, raw)
}

// An item that cannot be read must not block the others of its job, other jobs, or
// readers.
func TestDamagedItemIsSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path})
	for _, r := range []queue.Request{request("a", "bad"), request("a", "good"), request("b", "good")} {
		schedule(t, q, r)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(tx *bolt.Tx) error { return spoil(tx, "items", key(1)) })

	core, logs := observer.New(zap.ErrorLevel)
	q = open(t, boltqueue.Options{Path: path, Log: zap.New(core)})
	ctx := t.Context()
	for want := range 2 {
		builds, next, err := q.Claim(ctx, start, queue.Node{Name: "node"}, []int{0, 1, 2})
		if err != nil || len(builds) != 2*(1-want) || !next.IsZero() {
			t.Fatalf("Claim %d: %v, next %v, %v; want the two good items once", want, builds, next, err)
		}
	}
	if got := logs.Len(); got != 1 {
		t.Errorf("%d lines in the log, want one", got)
	}
	entries, err := q.Items(ctx, start, "", 10)
	if err != nil || len(entries) != 1 || entries[0].Blockage.Reason != queue.RecordDamaged {
		t.Fatalf("items: %+v, %v; want the remains of item 1", entries, err)
	}
	remains := queue.Item{ID: 1, Job: "a", Since: start, Due: start, Digest: request("a", "bad").Digest}
	if diff := cmp.Diff(remains, entries[0].Item); diff != "" {
		t.Errorf("the remains of item 1 (-want +got):\n%s", diff)
	}
	if e, err := q.Entry(ctx, start, 1); err != nil || e.State != queue.Blocked {
		t.Errorf("Entry = %+v, %v", e, err)
	}
	if l, err := laneOf(ctx, q, "a"); err != nil || l.Queued != 1 {
		t.Errorf("lane %+v, %v; want the damaged item counted", l, err)
	}
	if it := schedule(t, q, request("a", "bad")); it.ID != 4 {
		t.Errorf("an equal trigger joined item %d", it.ID)
	}
	if err := q.Cancel(ctx, start, "a", 1, "alice"); err != nil {
		t.Errorf("Cancel of the damaged item: %v", err)
	}
	if entries, err := q.Items(ctx, start, "", 10); err != nil || len(entries) != 1 || entries[0].Item.ID != 4 {
		t.Errorf("items after Cancel: %+v, %v; want item 4", entries, err)
	}
	if e, err := q.Entry(ctx, start, 1); err != nil || e.Cancelled == nil || e.Cancelled.By != "alice" || e.Item.Job != "a" {
		t.Errorf("Entry after Cancel = %+v, %v", e, err)
	}
	if _, err := q.Finish(ctx, start, "a", 1, queue.Success, ""); err != nil {
		t.Fatal(err)
	}
	if builds, _, err := q.Claim(ctx, start, queue.Node{Name: "node"}, []int{0}); err != nil || len(builds) != 1 || builds[0].Item.ID != 4 {
		t.Errorf("Claim = %v, %v; want item 4", builds, err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err := laneOf(ctx, open(t, boltqueue.Options{Path: path}), "a"); err != nil || l.Queued != 0 {
		t.Errorf("lane after a restart: %+v, %v", l, err)
	}
}

// A trigger that equals a damaged item detects the damage, as a claim does.
func TestTriggerEqualToDamagedItemMakesNewOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path})
	schedule(t, q, request("a", "bad"))
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(tx *bolt.Tx) error { return spoil(tx, "items", key(1)) })
	q = open(t, boltqueue.Options{Path: path, Log: zap.NewNop()})
	for range 2 {
		if it := schedule(t, q, request("a", "bad")); it.ID != 2 {
			t.Errorf("item %d, want 2", it.ID)
		}
	}
	if refs, err := q.Refs(t.Context()); err != nil || len(refs) != 0 {
		t.Errorf("Refs = %v, %v", refs, err)
	}
	// It is still there after a restart, and set aside again.
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, boltqueue.Options{Path: path, Log: zap.NewNop()})
	if builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0, 1}); err != nil || len(builds) != 1 || builds[0].Item.ID != 2 {
		t.Errorf("Claim = %v, %v; want item 2", builds, err)
	}
}

// The remains of an item whose record ends after its header tell what the index has, and claims go
// on although the lane has no other item.
func TestDamagedItemAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path})
	bad := request("a", "bad")
	bad.Solo = true
	schedule(t, q, bad)
	later := request("b", "good")
	later.Delay = time.Hour
	schedule(t, q, later)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(tx *bolt.Tx) error {
		items := tx.Bucket([]byte("items"))
		return items.Put(key(1), bytes.Clone(items.Get(key(1))[:28+len(bad.Job)]))
	})
	q = open(t, boltqueue.Options{Path: path, Log: zap.NewNop()})
	for range 2 {
		builds, next, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0, 1})
		if err != nil || len(builds) != 0 || !next.Equal(start.Add(time.Hour)) {
			t.Errorf("Claim = %v, next %v, %v; want nothing until the good item is due", builds, next, err)
		}
	}
	want := queue.Item{ID: 1, Job: "a", Since: start, Due: start, Digest: bad.Digest, Solo: true}
	if e, err := q.Entry(t.Context(), start, 1); err != nil || !cmp.Equal(want, e.Item) {
		t.Errorf("Entry: %v (-want +got):\n%s", err, cmp.Diff(want, e.Item))
	}
}

// The record of another job in the place of an item is damage: the item must not be built.
func TestItemOfAnotherJobInItsPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path})
	schedule(t, q, request("before", "k"))
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	core, logged := observer.New(zap.ErrorLevel)
	q = open(t, boltqueue.Options{Path: path, Log: zap.New(core)})
	replaceInPlace(t, path, "before")
	builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0})
	if err != nil || len(builds) != 0 || logged.FilterMessageSnippet("cannot read queued item").Len() != 1 {
		t.Errorf("Claim = %v, %v, and logged %v; want no build, and a line about the item", builds, err, logged.All())
	}
}

// An item that leaves the queue while a reader looks for its record has none. The reader gets what
// became of it, and lists leave it out; should it still be in the queue, it blocks nothing else.
func TestItemWithoutARecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	if err := open(t, boltqueue.Options{Path: path}).Close(); err != nil {
		t.Fatal(err)
	}
	const letters = "zzzzzzzz" // the key of an item, so that it can be replaced
	edit(t, path, func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("next_id"), []byte(letters)) })
	q := open(t, boltqueue.Options{Path: path})
	missing, whole := schedule(t, q, request("a", "1")), schedule(t, q, request("b", "2"))
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(tx *bolt.Tx) error {
		cancelled, err := json.Marshal(queue.Cancelled{Item: missing, At: start, By: "alice"})
		return errors.Join(err, tx.Bucket([]byte("left")).Put([]byte(letters), append([]byte("a\x00"), key(0)...)),
			tx.Bucket([]byte("cancelled")).Put([]byte("a\x00"+letters), cancelled))
	})
	core, logged := observer.New(zap.ErrorLevel)
	q = open(t, boltqueue.Options{Path: path, Log: zap.New(core)})
	replaceInPlace(t, path, letters+"\x01") // with the version of the record behind the key
	if e, err := q.Entry(t.Context(), start, missing.ID); err != nil || e.State != queue.Left || e.Cancelled == nil || e.Cancelled.By != "alice" {
		t.Errorf("Entry = %+v, %v; want it cancelled by alice", e, err)
	}
	if diff := cmp.Diff([]int64{whole.ID}, itemIDs(t, q, 10)); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0, 1})
	if err != nil || len(builds) != 1 || builds[0].Item.ID != whole.ID || logged.FilterMessageSnippet("cannot read queued item").Len() != 1 {
		t.Errorf("Claim = %v, %v, and logged %v; want the other item, and a line about the one", builds, err, logged.All())
	}
}

// An item that left the queue is not found if the record of what became of it is lost.
func TestLostRecordOfWhatAnItemBecame(t *testing.T) {
	path := everyKind(t)
	edit(t, path, func(tx *bolt.Tx) error {
		return errors.Join(tx.Bucket([]byte("builds")).Delete(append([]byte("a\x00"), key(1)...)),
			tx.Bucket([]byte("cancelled")).Delete(append([]byte("a\x00"), key(3)...)))
	})
	q := open(t, boltqueue.Options{Path: path})
	for _, id := range []int64{1, 3} {
		if e, err := q.Entry(t.Context(), start, id); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("Entry(%d) = %+v, %v; want %v", id, e, err, queue.ErrNotFound)
		}
	}
}

// Files that only a damaged item needs may be dropped, which is logged. An item without files is
// not even decoded.
func TestFilesOfADamagedItem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path})
	schedule(t, q, request("a", "no file"))
	for _, name := range []string{"damaged", "whole"} {
		r := request("a", name)
		r.Values = []queue.Value{{Name: "FILE", Kind: "file", Text: "f", Ref: name}}
		schedule(t, q, r)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(tx *bolt.Tx) error { return errors.Join(spoil(tx, "items", key(1)), spoil(tx, "items", key(2))) })
	core, logged := observer.New(zap.ErrorLevel)
	q = open(t, boltqueue.Options{Path: path, Log: zap.New(core)})
	if refs, err := q.Refs(t.Context()); err != nil || !slices.Equal(refs, []string{"whole"}) {
		t.Errorf("Refs = %v, %v; want that of the item that can be read", refs, err)
	}
	if logged.FilterMessageSnippet("its files may be dropped").FilterField(zap.Int64("id", 2)).Len() != 1 || logged.Len() != 1 {
		t.Errorf("logged %v, want a line about item 2", logged.All())
	}
}

// Several damaged items of a job do not hide the others from a list with a limit, and each of them
// is cancelled alone.
func TestSeveralDamagedItems(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path})
	for hours, name := range []string{"bad 0", "good 1", "bad 2", "good 3"} {
		r := request("a", name)
		r.Delay = time.Duration(hours) * time.Hour
		schedule(t, q, r)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(tx *bolt.Tx) error { return errors.Join(spoil(tx, "items", key(1)), spoil(tx, "items", key(3))) })
	q = open(t, boltqueue.Options{Path: path, Log: zap.NewNop()})
	for _, name := range []string{"bad 0", "bad 2"} { // an equal trigger finds out, and makes a new item
		r := request("a", name)
		r.Delay = 4 * time.Hour
		schedule(t, q, r)
	}
	for limit, want := range [][]int64{nil, {1}, {1, 2}, {1, 2, 3}, {1, 2, 3, 4}} {
		if diff := cmp.Diff(want, itemIDs(t, q, limit)); diff != "" {
			t.Errorf("items with a limit of %d (-want +got):\n%s", limit, diff)
		}
	}
	if err := q.Cancel(t.Context(), start, "a", 3, "alice"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int64{1, 2, 4, 5, 6}, itemIDs(t, q, 10)); diff != "" {
		t.Errorf("items after Cancel of item 3 (-want +got):\n%s", diff)
	}
}

// itemIDs returns the IDs of the items that are due first.
func itemIDs(t *testing.T, q *boltqueue.DB, limit int) (ids []int64) {
	t.Helper()
	entries, err := q.Items(t.Context(), start, "", limit)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		ids = append(ids, e.Item.ID)
	}
	return ids
}

// If the next ID is lost, no queued item shares its ID with a new one.
func TestNextIDIsLost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path})
	for n := range 3 {
		schedule(t, q, request("a", fmt.Sprint(n)))
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Delete([]byte("next_id")) })
	q = open(t, boltqueue.Options{Path: path})
	if it := schedule(t, q, request("a", "next")); it.ID != 4 {
		t.Errorf("the next item is %d, want 4", it.ID)
	}
}

// Files that running builds may need must not look unused because a record is damaged.
func TestDamagedRecordsOfARunningBuild(t *testing.T) {
	for name, damage := range map[string]string{"the lane": `"running":[1]`, "the build": `"executor":7`} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "queue.db")
			q := open(t, boltqueue.Options{Path: path, Log: zap.NewNop()})
			r := request("a", "k")
			r.Values = []queue.Value{{Name: "FILE", Kind: "file", Text: "f", Ref: "ref"}}
			schedule(t, q, r)
			if builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{7}); err != nil || len(builds) != 1 {
				t.Fatalf("Claim = %v, %v", builds, err)
			}
			if refs, err := q.Refs(t.Context()); err != nil || len(refs) != 1 {
				t.Fatalf("Refs = %v, %v; want one", refs, err)
			}
			replaceInPlace(t, path, damage)
			if refs, err := q.Refs(t.Context()); !errors.Is(err, boltqueue.ErrRecord) {
				t.Errorf("Refs = %v, %v; want %v", refs, err, boltqueue.ErrRecord)
			}
		})
	}
}

// An old build that cannot be read must not prevent newer ones from ending.
func TestDamagedHistoryIsTrimmed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	rules := map[string]queue.Rules{"a": {KeepBuilds: 2}}
	setRules := func(q *boltqueue.DB) {
		if err := q.SetRules(t.Context(), start, queue.Config{Rules: rules}); err != nil {
			t.Fatal(err)
		}
	}
	round := func(q *boltqueue.DB) {
		t.Helper()
		schedule(t, q, request("a", "k"))
		builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0})
		if err != nil || len(builds) != 1 {
			t.Fatalf("Claim = %v, %v", builds, err)
		}
		if _, err := q.Finish(t.Context(), start, "a", builds[0].Number, queue.Success, ""); err != nil {
			t.Fatal(err)
		}
		cancelled := schedule(t, q, request("a", "k"))
		if err := q.Cancel(t.Context(), start, "a", cancelled.ID, "alice"); err != nil {
			t.Fatal(err)
		}
	}
	q := open(t, boltqueue.Options{Path: path})
	setRules(q)
	round(q)
	round(q)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(tx *bolt.Tx) error {
		return errors.Join(spoil(tx, "builds", append([]byte("a\x00"), key(1)...)), spoil(tx, "cancelled", append([]byte("a\x00"), key(2)...)))
	})
	core, logged := observer.New(zap.ErrorLevel)
	q = open(t, boltqueue.Options{Path: path, Log: zap.New(core)})
	setRules(q)
	if builds, err := q.Builds(t.Context(), "a", 0, 10); err != nil || len(builds) != 1 || builds[0].Number != 2 {
		t.Errorf("Builds = %v, %v; want the one that can be read", builds, err)
	}
	if logged.FilterMessage("cannot read a build").FilterField(zap.String("job", "a")).Len() != 1 {
		t.Errorf("logged %v, want a line about the other one", logged.All())
	}
	if _, err := q.Build(t.Context(), "a", 1); err == nil || errors.Is(err, queue.ErrNotFound) {
		t.Errorf("Build of a damaged record: %v", err)
	}
	round(q)
	round(q)
	if builds, err := q.Builds(t.Context(), "a", 0, 10); err != nil || len(builds) != 2 || builds[1].Number != 3 {
		t.Errorf("Builds = %v, %v; want 4 and 3", builds, err)
	}
	if _, err := q.Entry(t.Context(), start, 1); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("item of the dropped build: %v, want %v", err, queue.ErrNotFound)
	}
}

// TestOneOfSeveralBuildsIsDamaged adopts and reclaims two builds, of which the record of the second
// has an end that its lane does not know of. The error must not hide that the first was changed.
func TestOneOfSeveralBuildsIsDamaged(t *testing.T) {
	for name, do := range map[string]func(*boltqueue.DB, []queue.Build) error{
		"Adopt": func(q *boltqueue.DB, builds []queue.Build) error {
			_, err := q.Adopt(t.Context(), builds, queue.Node{Name: "next"}, []int{5, 6})
			return err
		},
		"Reclaim": func(q *boltqueue.DB, _ []queue.Build) error {
			_, err := q.Reclaim(t.Context(), start, "lost", nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "queue.db")
			q := open(t, boltqueue.Options{Path: path})
			schedule(t, q, request("a", "k"))
			schedule(t, q, request("b", "k"))
			builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0, 1})
			if err != nil || len(builds) != 2 {
				t.Fatalf("Claim = %v, %v; want two builds", builds, err)
			}
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			edit(t, path, func(tx *bolt.Tx) error {
				ended := builds[1]
				ended.Ended, ended.Result = start, queue.Success
				raw, err := json.Marshal(ended)
				return errors.Join(err, tx.Bucket([]byte("builds")).Put(append([]byte("b\x00"), key(1)...), raw))
			})
			q = open(t, boltqueue.Options{Path: path})
			before := read(t, q)
			if err := do(q, builds); !errors.Is(err, queue.ErrNotRunning) {
				t.Errorf("%s: %v, want %v", name, err, queue.ErrNotRunning)
			}
			if diff := same(before, read(t, q)); diff != "" {
				t.Errorf("%s failed and changed something (-before +after):\n%s", name, diff)
			}
			sameOnDisk(t, q, path)
		})
	}
}

// A damaged page is reported as damage, even where the only thing on it is the use of tokens.
func TestDamagedTokenUses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path, Log: zap.NewNop()})
	var uses []queue.TokenUse
	for n := range 30 { // too many for a bucket that is part of another page
		uses = append(uses, queue.TokenUse{Place: "a", Name: fmt.Sprint("token", n), Uses: 1, First: start, Last: start})
	}
	if err := q.SaveTokenUses(t.Context(), start, uses); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	var page int64
	edit(t, path, func(tx *bolt.Tx) error {
		page = int64(tx.Bucket([]byte("token_uses")).Root()) * int64(tx.DB().Info().PageSize)
		return nil
	})
	if page == 0 {
		t.Fatal("the bucket has no page of its own")
	}
	q = open(t, boltqueue.Options{Path: path, Log: zap.NewNop()})
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt(make([]byte, 16), page); err != nil { // the header
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	err = q.SaveTokenUses(t.Context(), start, uses)
	if !errors.Is(err, queue.ErrStorage) || !errors.Is(err, boltqueue.ErrForeign) {
		t.Errorf("SaveTokenUses: %v, want %v and %v", err, queue.ErrStorage, boltqueue.ErrForeign)
	}
}

// A summary or a notification that cannot be read must not prevent builds from ending, or
// other notifications from being sent.
func TestDamagedSummaryAndNotification(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	rules := queue.Config{Rules: map[string]queue.Rules{"a": {Notify: []queue.Target{{Name: "t", On: []queue.Condition{queue.OnAlways}}}}}}
	build := func(q *boltqueue.DB, key string) {
		t.Helper()
		schedule(t, q, request("a", key))
		builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0})
		if err != nil || len(builds) != 1 {
			t.Fatalf("Claim: %v, %v", builds, err)
		}
		if _, err := q.Finish(t.Context(), start, "a", builds[0].Number, queue.Success, ""); err != nil {
			t.Fatal(err)
		}
	}
	q := open(t, boltqueue.Options{Path: path})
	if err := q.SetRules(t.Context(), start, rules); err != nil {
		t.Fatal(err)
	}
	build(q, "1")
	build(q, "2")
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(tx *bolt.Tx) error {
		return errors.Join(
			tx.Bucket([]byte("summaries")).Put([]byte("a"), []byte("{")),
			tx.Bucket([]byte("notifications")).Put([]byte{0, 0, 0, 0, 0, 0, 0, 1}, []byte(`{"id": 7}`)),
			tx.Bucket([]byte("notifications")).Put([]byte("short"), []byte(`{"target": "t"}`)),
		)
	})
	core, logged := observer.New(zap.ErrorLevel)
	q = open(t, boltqueue.Options{Path: path, Log: zap.New(core)})
	if err := q.SetRules(t.Context(), start, rules); err != nil {
		t.Fatal(err)
	}
	all, err := q.Overviews(t.Context(), []string{"a"})
	if diff := cmp.Diff(queue.Summary{Job: "a"}, all[0].Summary); diff != "" || err != nil {
		t.Errorf("the summary of the job that starts again: %v (-want +got):\n%s", err, diff)
	}
	build(q, "3")
	all, err = q.Overviews(t.Context(), []string{"a"})
	if err != nil || len(all[0].Summary.Recent) != 1 || all[0].Summary.Recent[0].Number != 3 || all[0].Oldest != 1 || all[0].Summary.Job != "a" {
		t.Errorf("Overviews = %+v, %v; want the build that has ended since, and that the first one is on record", all, err)
	}
	due, _, err := q.TakeNotifications(t.Context(), start, []string{"t"}, 10)
	if err != nil || len(due) != 1 || due[0].ID != 2 {
		t.Errorf("TakeNotifications = %+v, %v; want the second one", due, err)
	}
	if list, err := q.Notifications(t.Context(), queue.NotificationFilter{}); err != nil || len(list) != 2 {
		t.Errorf("Notifications = %+v, %v; want the two that can be read", list, err)
	}
	for _, message := range []string{"cannot read the summary of a job; it starts again", "cannot read a notification; it is not sent", "cannot read a notification"} {
		if logged.FilterMessage(message).Len() == 0 {
			t.Errorf("nothing is logged like %q: %v", message, logged.All())
		}
	}
}

// A notification whose record is damaged while the queue is open does not keep others of its
// channel that were sent.
func TestDamagedSettledNotification(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path, Log: zap.NewNop()})
	if err := q.SetRules(t.Context(), start, queue.Config{Rules: map[string]queue.Rules{"a": {Notify: []queue.Target{{Name: "t", On: []queue.Condition{queue.OnQueued}}}}}}); err != nil {
		t.Fatal(err)
	}
	settle := func(why string) {
		t.Helper()
		schedule(t, q, request("a", why))
		due, _, err := q.TakeNotifications(t.Context(), start, []string{"t"}, 10)
		if err != nil || len(due) != 1 {
			t.Fatalf("TakeNotifications = %v, %v; want one", due, err)
		}
		if _, err := q.SettleNotification(t.Context(), start, due[0].ID, queue.Attempt{Error: why, GiveUp: true}); err != nil {
			t.Fatal(err)
		}
	}
	settle("unique damage")
	for n := range queue.KeepSettled - 1 {
		settle(fmt.Sprint("failed ", n))
	}
	replaceInPlace(t, path, `"unique damage"`)
	settle("one more")
	settle("two more")
	list, err := q.Notifications(t.Context(), queue.NotificationFilter{})
	if err != nil || len(list) != queue.KeepSettled || list[len(list)-1].ID != 3 {
		t.Errorf("Notifications = %d, %v; want the last %d", len(list), err, queue.KeepSettled)
	}
}

// replaceInPlace damages all records of a file that contain a text, where the queue that has the
// file open reads them.
func replaceInPlace(t *testing.T, path, damage string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(content, []byte(damage)) {
		t.Fatalf("the file has no %s, %v", damage, err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt(bytes.ReplaceAll(content, []byte(damage), bytes.Repeat([]byte("!"), len(damage))), 0)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}
