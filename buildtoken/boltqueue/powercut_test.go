package boltqueue_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/crashdisk"
)

// powercutSeed replays a run.
var powercutSeed = flag.Uint64("powercut", 1, "seed of TestPowerCut")

// sector is the most that a disk writes atomically, in bytes.
const sector = 512

// cut is one commit: the content of the file before and after it, and the triggers and ends
// of builds that were acknowledged before it.
type cut struct {
	before, after []byte
	items         []scheduled // acknowledged, as are
	builds        []queue.Build
	keyed         []keyed
}

// Limits for the number of commits that a run examines. The number depends on how many
// callers share a commit.
const minCuts, maxCuts = 5, 12

type scheduled struct {
	job string
	id  int64
}

// keyed is a trigger with a key, and its answer.
type keyed struct {
	request queue.Request
	receipt queue.Receipt
}

// TestPowerCut runs several callers on a queue, and opens the files that a power cut during
// some of its commits could leave. The seed determines what the callers do, but not the
// order in which they run.
//
// bbolt grows the file and syncs it; writes data pages and syncs; writes one
// meta page and syncs. So before the last sync begins, any of the data pages may
// be old, new or torn, with the old meta page; during it, all data pages are
// new, and the meta page is old, new or torn. Each of those files must open, and must
// contain all of the commit or none of it, and everything that was acknowledged before.
func TestPowerCut(t *testing.T) {
	t.Logf("replay: go test ./buildtoken/boltqueue -run TestPowerCut -powercut %d", *powercutSeed)
	r := rand.New(rand.NewPCG(*powercutSeed, 0))
	cuts := cutsOf(t, r)
	if len(cuts) < minCuts {
		t.Fatalf("only %d commits were examined", len(cuts))
	}
	opened := map[string]int{}
	for n, c := range cuts {
		before, err := shows(t, c.before)
		after, errAfter := shows(t, c.after)
		if err := errors.Join(err, errAfter); err != nil {
			t.Fatal(err)
		}
		acknowledged(t, c, before)
		old, fresh := metaPages(t, c)
		for range 4 {
			left := c.duringData(r)
			expect(t, fmt.Sprintf("commit %d, data pages half written", n), left, before)
			opened["data pages half written"]++
			if !bytes.Equal(left, c.with(old, c.before)) && !bytes.Equal(left, c.with(old, c.after)) {
				opened["really mixed"]++
			}
		}
		for _, m := range []struct {
			name string
			page []byte
			want string
		}{
			{"meta page not written", old, before},
			{"meta page written", fresh, after},
			{"meta page torn between sectors", slices.Concat(fresh[:sector], old[sector:]), after},
			{"meta page torn within a sector", tornMeta(r, old, fresh), ""},
		} {
			want := m.want
			if want == "" {
				want = before
				if bytes.Equal(m.page[:sector], fresh[:sector]) {
					want = after
				}
			}
			expect(t, fmt.Sprintf("commit %d, %s", n, m.name), c.with(m.page, c.after), want)
			opened[m.name]++
		}
	}
	if opened["really mixed"] < len(cuts) {
		t.Errorf("of %d files only %d held old and new pages", opened["data pages half written"], opened["really mixed"])
	}
	t.Logf("%d commits: %v", len(cuts), opened)
}

// TestPowerCutKeepsANewFile inspects what a power failure leaves after Open has created a file:
// the file must exist, because the next triggers are acknowledged.
func TestPowerCutKeepsANewFile(t *testing.T) {
	disk := crashdisk.New(t)
	q := open(t, boltqueue.Options{Path: filepath.Join(disk.Root, "queue.db"), SyncDir: disk.SyncDir})
	opened := disk.Mark()
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	looked := 0
	disk.Cuts(t, func(after int, left, what string) {
		if after < opened {
			return
		}
		looked++
		file, err := os.ReadFile(filepath.Join(left, "queue.db"))
		if err == nil {
			_, err = shows(t, file)
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	})
	if looked == 0 {
		t.Error("no state of the disk was checked")
	}
}

// cutsOf lets callers work on a queue, and copies its file around some commits.
func cutsOf(t *testing.T, r *rand.Rand) []cut {
	t.Helper()
	path := filepath.Join(t.TempDir(), "queue.db")
	var (
		mu     sync.Mutex // guards the following
		cuts   []cut
		items  []scheduled
		builds []queue.Build
		once   []keyed
		seen   int
	)
	commit := func(tx *bolt.Tx) error {
		mu.Lock()
		seen++
		wanted := (seen%12 == 0 || seen < 4) && len(cuts) < maxCuts
		c := cut{items: slices.Clone(items), builds: slices.Clone(builds), keyed: slices.Clone(once)}
		mu.Unlock()
		if !wanted {
			return unsynced(tx)
		}
		var errs [3]error
		c.before, errs[0] = os.ReadFile(path)
		errs[1] = unsynced(tx)
		c.after, errs[2] = os.ReadFile(path)
		mu.Lock()
		cuts = append(cuts, c)
		mu.Unlock()
		return errors.Join(errs[:]...)
	}
	q := open(t, boltqueue.Options{Path: path, Commit: commit})
	rules := map[string]queue.Rules{"a": {KeepBuilds: 3}, "b": {Concurrent: true}, "c": {Concurrent: true, KeepBuilds: 2}}
	if err := q.SetRules(t.Context(), start, queue.Config{Rules: rules}); err != nil {
		t.Fatal(err)
	}
	var callers sync.WaitGroup
	for range 4 {
		mine := rand.New(rand.NewPCG(r.Uint64(), 0))
		callers.Go(func() {
			for range 60 {
				switch n := mine.IntN(10); {
				case n < 6:
					// Values of many sizes, so that pages split and overflow.
					wish := request([]string{"a", "b", "c"}[mine.IntN(3)], fmt.Sprint(mine.IntN(40)))
					wish.Values = []queue.Value{{Name: "V", Kind: "text", Text: string(bytes.Repeat([]byte("x"), mine.IntN(9000)))}}
					wish.Cause.Note = fmt.Sprint(mine.Int64())
					if n < 3 {
						wish.Key = &queue.Digest{byte(mine.IntN(30))}
						wish.Digest = *wish.Key // one key, one trigger
					}
					it, created, err := q.Schedule(t.Context(), start, wish)
					var repeated *queue.RepeatedError
					if errors.As(err, &repeated) {
						mu.Lock()
						once = append(once, keyed{wish, repeated.Receipt})
						mu.Unlock()
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					items = append(items, scheduled{it.Job, it.ID})
					if wish.Key != nil {
						once = append(once, keyed{wish, queue.Receipt{
							Key: *wish.Key, Values: wish.Digest, Item: it.ID, Created: created, Until: start.Add(queue.KeepReceipts),
						}})
					}
					mu.Unlock()
				case n < 7:
					mu.Lock()
					var id int64
					if len(items) > 0 {
						id = items[mine.IntN(len(items))].id
					}
					mu.Unlock()
					if err := q.Cancel(t.Context(), start, "b", id, "me"); err != nil && !errors.Is(err, queue.ErrNotFound) && !errors.Is(err, queue.ErrLeft) {
						t.Error(err)
					}
				default:
					claimed, _, err := q.Claim(t.Context(), start.Add(time.Hour), queue.Node{Name: "node"}, []int{0, 1})
					if err != nil {
						t.Error(err)
						return
					}
					for _, b := range claimed {
						ended, err := q.Finish(t.Context(), start.Add(time.Hour), b.Item.Job, b.Number, queue.Success, "")
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						builds = append(builds, ended)
						mu.Unlock()
					}
				}
			}
		})
	}
	callers.Wait()
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	return cuts
}

func pageSize() int { return os.Getpagesize() }

// metaAt is which of the two meta pages the commit wrote.
func (c cut) metaAt() int {
	size := pageSize()
	if bytes.Equal(c.before[:size], c.after[:size]) {
		return 1
	}
	return 0
}

// metaPages returns the meta page before and after the commit. Exactly one must differ;
// otherwise this test is wrong about the order of writes.
func metaPages(t *testing.T, c cut) (old, fresh []byte) {
	t.Helper()
	size, at := pageSize(), c.metaAt()
	other := (1 - at) * size
	if !bytes.Equal(c.before[other:other+size], c.after[other:other+size]) {
		t.Fatal("a commit wrote both meta pages")
	}
	old, fresh = c.before[at*size:(at+1)*size], c.after[at*size:(at+1)*size]
	if bytes.Equal(old, fresh) {
		t.Fatal("a commit wrote no meta page")
	}
	return old, fresh
}

// with returns a file that has grown to its new size, with some pages and a meta page.
func (c cut) with(meta, pages []byte) []byte {
	file := make([]byte, len(c.after))
	copy(file, pages)
	copy(file[c.metaAt()*pageSize():], meta)
	return file
}

// duringData returns a file whose data pages were being written. It has its new size already,
// because that is synced before.
func (c cut) duringData(r *rand.Rand) []byte {
	size := pageSize()
	left := make([]byte, len(c.after))
	copy(left, c.before)
	share := 1 + r.IntN(9) // of ten pages, how many reached the disk
	for at := 2 * size; at < len(c.after); at += size {
		fresh := c.after[at : at+size]
		if bytes.Equal(left[at:at+size], fresh) || r.IntN(10) >= share {
			continue
		}
		if r.IntN(4) > 0 {
			copy(left[at:], fresh)
			continue
		}
		for in := 0; in < size; in += sector {
			if r.IntN(2) == 0 {
				copy(left[at+in:], fresh[in:in+sector])
			}
		}
	}
	return left
}

// tornMeta mixes the bytes of two meta pages: the start of one, and the end of the other,
// within the part that is used.
func tornMeta(r *rand.Rand, old, fresh []byte) []byte {
	const counts = 16 + 64 // page header and meta
	at := 16 + r.IntN(counts-16)
	return slices.Concat(fresh[:at], old[at:])
}

// expect opens a file and compares its content.
func expect(t *testing.T, name string, file []byte, want string) {
	t.Helper()
	if got, err := shows(t, file); err != nil || got != want {
		t.Fatalf("%s: %v; the file has neither the old nor the new content:\n got %.2000s\nwant %.2000s", name, err, got, want)
	}
}

// shows returns the content of a queue in such a file, after bbolt has checked the file and
// the queue has accepted one more trigger.
func shows(t *testing.T, file []byte) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "left.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(path) // there are hundreds of these files
	if err := consistent(path); err != nil {
		return "", err
	}
	receipts := receiptsIn(t, path)
	q, err := boltqueue.Open(boltqueue.Options{Path: path, Commit: unsynced})
	if err != nil {
		return "", err
	}
	defer q.Close()
	b := bytes.NewBufferString(receipts)
	var errs []error
	note := func(v any, err error) {
		errs = append(errs, err)
		fmt.Fprintf(b, "%+v\n", v)
	}
	items, err := q.Items(t.Context(), start, "", 1000)
	for _, e := range items {
		digest := fnv.New64a() // values are long
		fmt.Fprintf(digest, "%+v", e.Item.Values)
		note(fmt.Sprintf("item %d %s %v %x", e.Item.ID, e.Item.Job, e.Item.Causes, digest.Sum64()), err)
	}
	lanes, err := q.Lanes(t.Context(), []string{"a", "b", "c"})
	note(lanes, err)
	for _, job := range []string{"a", "b", "c"} {
		builds, err := q.Builds(t.Context(), job, 0, 1000)
		for _, build := range builds {
			note(fmt.Sprintf("build %s #%d item %d %s", job, build.Number, build.Item.ID, build.Result), err)
		}
	}
	fresh := request("a", "after the cut")
	fresh.Solo = true
	it, _, err := q.Schedule(t.Context(), start, fresh)
	note(it.ID, err)
	return b.String(), errors.Join(errs...)
}

// receiptsIn returns a line for each receipt in a file.
func receiptsIn(t *testing.T, path string) string {
	t.Helper()
	var b strings.Builder
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("receipts")).ForEach(func(k, v []byte) error {
			fmt.Fprintf(&b, "receipt %x %s\n", k, v)
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// unsynced commits without a sync: only the order of writes matters here, and syncs are slow
// on a busy disk.
func unsynced(tx *bolt.Tx) error {
	tx.DB().NoSync = true
	return tx.Commit()
}

// consistent checks with bbolt that no page is lost or used twice.
func consistent(path string) error {
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bolt.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

// acknowledged checks that everything that was answered before a commit was in the file
// before that commit: items are there, or have left by a rule.
func acknowledged(t *testing.T, c cut, before string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "before.db")
	if err := os.WriteFile(path, c.before, 0o600); err != nil {
		t.Fatal(err)
	}
	q := open(t, boltqueue.Options{Path: path, Commit: unsynced})
	defer q.Close()
	for _, it := range c.items {
		e, err := q.Entry(t.Context(), start, it.id)
		if errors.Is(err, queue.ErrNotFound) && it.job != "b" {
			continue // dropped by keep_builds
		}
		if err != nil || e.Item.ID != it.id {
			t.Fatalf("item %d of %s was acknowledged; on record: %+v, %v in\n%s", it.id, it.job, e, err, before)
		}
	}
	for _, b := range c.builds {
		kept, err := q.Build(t.Context(), b.Item.Job, b.Number)
		if errors.Is(err, queue.ErrNotFound) && b.Item.Job != "b" {
			continue // dropped by keep_builds
		}
		if err != nil || kept.Result != b.Result || kept.Item.ID != b.Item.ID {
			t.Fatalf("the end of %s #%d was acknowledged; on record: %+v, %v", b.Item.Job, b.Number, kept, err)
		}
	}
	for _, k := range c.keyed {
		var repeated *queue.RepeatedError
		if _, _, err := q.Schedule(t.Context(), start, k.request); !errors.As(err, &repeated) || repeated.Receipt != k.receipt {
			t.Fatalf("the receipt %+v was acknowledged; the same trigger is answered %v", k.receipt, err)
		}
	}
}
