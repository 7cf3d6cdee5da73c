package boltqueue_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// filled returns a file of 16 MiB with some items. If shrunk is set, most of its
// items are removed.
func filled(t *testing.T, shrunk bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path, Commit: unsynced})
	if err := q.SetRules(t.Context(), start, queue.Config{Rules: map[string]queue.Rules{"large": {KeepBuilds: 1}, "small": {}}}); err != nil {
		t.Fatal(err)
	}
	for n := range 7 {
		r := request("large", fmt.Sprint(n))
		r.Values = []queue.Value{{Name: "TEXT", Kind: "text", Text: strings.Repeat("x", 1<<20)}}
		schedule(t, q, r)
		r = request("small", fmt.Sprint(n))
		r.Delay = 1 << 60
		schedule(t, q, r)
	}
	for shrunk {
		builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0})
		if err != nil {
			t.Fatal(err)
		}
		if len(builds) == 0 {
			break
		}
		if _, err := q.Finish(t.Context(), start, "large", builds[0].Number, queue.Success, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestOpenCompacts opens, through a link, a file that is mostly free. Afterwards all records
// are there, and the queue continues in a small file.
func TestOpenCompacts(t *testing.T) {
	path := filled(t, true)
	if size := sizeOf(t, path); size != 16<<20 {
		t.Fatalf("the file has %d bytes, want the smallest that is compacted", size)
	}
	want, err := export(path)
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link.db")
	if err := errors.Join(os.Symlink(path, link), os.Chmod(path, 0o640), os.WriteFile(path+".compact", []byte("left by a crash"), 0o600)); err != nil {
		t.Fatal(err)
	}
	synced, compacted := "", int64(0)
	core, logged := observer.New(zap.InfoLevel)
	q := open(t, boltqueue.Options{Path: link, Log: zap.New(core), SyncDir: func(dir string) error {
		compacted = sizeOf(t, path)
		synced += fmt.Sprintln(dir, compacted <= 4<<20)
		return nil
	}})
	if lines := logged.FilterMessage("queue file was compacted"); lines.Len() != 1 ||
		lines.FilterField(zap.Int64("bytes_before", 16<<20)).FilterField(zap.Int64("bytes_after", compacted)).Len() != 1 {
		t.Errorf("logged %v, want a line with the size before and after", logged.All())
	}
	schedule(t, q, request("small", "afterwards"))
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintln(filepath.Dir(path), true); synced != want {
		t.Errorf("synced %q, want the directory of the file when the small one is in place", synced)
	}
	if size := sizeOf(t, path); size > 4<<20 {
		t.Errorf("the file has %d bytes, want it compacted", size)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode().Type() != os.ModeSymlink || info.Mode().Perm() == 0 {
		t.Errorf("the link is now %v, %v", info, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file is now %v, %v; want its mode kept", info, err)
	}
	if _, err := os.Stat(path + ".compact"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the copy is still there: %v", err)
	}
	if err := boltqueue.Verify(path); err != nil {
		t.Error(err)
	}
	got, err := export(path)
	if err != nil {
		t.Fatal(err)
	}
	// One item more, and the identifiers that it took.
	if len(got) != len(want)+1 {
		t.Errorf("%d records, want %d and one more", len(got), len(want))
	}
	known := map[string]bool{}
	for _, line := range got {
		known[line] = true
	}
	var missing []string
	for _, line := range want {
		if !known[line] && !strings.HasPrefix(line, "next ") && !strings.HasPrefix(line, "lane small") {
			missing = append(missing, line)
		}
	}
	if diff := cmp.Diff([]string(nil), missing); diff != "" {
		t.Errorf("records that are missing in the copy:\n%s", diff)
	}
}

// A file is left alone if it is smaller than 16 MiB.
func TestOpenLeavesASmallFile(t *testing.T) {
	path := filled(t, true)
	size := sizeOf(t, path) - int64(os.Getpagesize()) // the last page was never used
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	if err := open(t, boltqueue.Options{Path: path}).Close(); err != nil {
		t.Fatal(err)
	}
	if got := sizeOf(t, path); got != size {
		t.Errorf("the file has %d bytes, want the %d it had", got, size)
	}
}

func TestOpenLeavesAFullFile(t *testing.T) {
	path := filled(t, false)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	core, logged := observer.New(zap.DebugLevel)
	if err := open(t, boltqueue.Options{Path: path, Log: zap.New(core)}).Close(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) || logged.Len() > 0 {
		t.Errorf("the file was replaced: %v; logged %v", err, logged.All())
	}
}

// Half of a file may be free.
func TestOpenLeavesAFileThatIsHalfFree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	if err := open(t, boltqueue.Options{Path: path}).Close(); err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	put := func(tx *bolt.Tx, name string, pages int) error {
		filler, err := tx.CreateBucketIfNotExists([]byte(name))
		return errors.Join(err, filler.Put([]byte("k"), make([]byte, pages*page-100)))
	}
	edit(t, path, func(tx *bolt.Tx) error {
		return errors.Join(put(tx, "goes", 9<<20/page), put(tx, "stays", 5<<20/page))
	})
	edit(t, path, func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("goes")) })
	free := func() int {
		db, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		return db.Stats().FreePageN
	}
	half := int(sizeOf(t, path)) / page / 2
	rest := free() - half
	edit(t, path, func(tx *bolt.Tx) error { return put(tx, "the rest", rest) })
	if got := free(); got != half {
		t.Fatalf("%d pages are free, want %d", got, half)
	}
	before := sizeOf(t, path)
	if err := open(t, boltqueue.Options{Path: path}).Close(); err != nil {
		t.Fatal(err)
	}
	if after := sizeOf(t, path); after != before {
		t.Errorf("the file has %d bytes, want the %d it had", after, before)
	}
}

// If the directory cannot be synced, a power failure may bring the large file back: nothing may be
// accepted that would be lost with the small one.
func TestCompactionThatMayNotLast(t *testing.T) {
	path := filled(t, true)
	q, err := boltqueue.Open(boltqueue.Options{Path: path, SyncDir: func(string) error { return fs.ErrInvalid }})
	if err == nil || !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("Open = %v, %v, want the error of the directory", q, err)
	}
}

// If a file cannot be compacted, it is used as it is.
func TestCompactionThatFails(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, path string)
		copied fs.FileMode // of what is left beside the file; 0: nothing
	}{
		{"a folder is in the place of the copy", func(t *testing.T, path string) {
			if err := os.MkdirAll(filepath.Join(path+".compact", "in the way"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, fs.ModeDir},
		{"a build has a key that is too long", func(t *testing.T, path string) { // of which Open does not notice anything
			damageBuilds(t, path, func(element []byte) { binary.NativeEndian.PutUint32(element[8:], 1<<16) })
		}, 0},
		{"a build is outside the file", func(t *testing.T, path string) { // over which bbolt panics
			damageBuilds(t, path, func(element []byte) { binary.NativeEndian.PutUint32(element[4:], 1<<31) })
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filled(t, true)
			tt.damage(t, path)
			before, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			core, logged := observer.New(zap.DebugLevel)
			q := open(t, boltqueue.Options{Path: path, Log: zap.New(core)})
			if logged.FilterMessage("queue file could not be compacted; it is used as it is").Len() != 1 || logged.Len() != 1 {
				t.Errorf("logged %v, want only that the file was not compacted", logged.All())
			}
			if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("the file is now %v, %v; want the same", after, err)
			}
			if info, err := os.Lstat(path + ".compact"); (err == nil) != (tt.copied != 0) || err == nil && info.Mode().Type() != tt.copied {
				t.Errorf("beside the file there is %v, %v", info, err)
			}
			noneOpen(t, path+".compact")
			schedule(t, q, request("small", "afterwards"))
			if items, err := q.Items(t.Context(), start, "small", 100); err != nil || len(items) != 8 {
				t.Errorf("%d items, %v; want all", len(items), err)
			}
		})
	}
}

// noneOpen checks that this process has no file open whose name starts with prefix.
func noneOpen(t *testing.T, prefix string) {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*") // on Linux; elsewhere there are none
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if name, err := os.Readlink(link); err == nil && strings.HasPrefix(name, prefix) {
			t.Errorf("%s is still open", name)
		}
	}
}

// damageBuilds changes the first element of the page with the builds: flags, position, and sizes
// of key and value, each with 4 bytes.
func damageBuilds(t *testing.T, path string, change func(element []byte)) {
	t.Helper()
	const header = 16
	var at int64
	edit(t, path, func(tx *bolt.Tx) error {
		at = int64(tx.Bucket([]byte("builds")).Root())*int64(tx.DB().Info().PageSize) + header
		return nil
	})
	if at == header {
		t.Fatal("the builds have no page of their own")
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	element := make([]byte, 16)
	if _, err := file.ReadAt(element, at); err != nil {
		t.Fatal(err)
	}
	change(element)
	if _, err := file.WriteAt(element, at); err != nil {
		t.Fatal(err)
	}
}
