package boltqueue_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// makeQueue makes a closed queue file with some of everything.
func makeQueue(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path})
	for n := range 120 {
		r := request(fmt.Sprint("job", n%3), fmt.Sprint(n))
		r.Values = []queue.Value{{Name: "TEXT", Kind: "text", Text: strings.Repeat("x", 20*n)}}
		schedule(t, q, r)
	}
	for range 5 {
		builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0, 1, 2})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range builds {
			if b.Item.Job == "job0" {
				continue // runs on
			}
			if _, err := q.Finish(t.Context(), start, b.Item.Job, b.Number, queue.Success, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := q.Cancel(t.Context(), start, "job0", 100, "alice"); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// edit changes a closed file with bbolt alone.
func edit(t *testing.T, path string, change func(tx *bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(change), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func request(job, key string) queue.Request {
	r := queue.Request{Job: job, Cause: queue.Cause{Kind: queue.CauseRemote, Note: key, Noted: true}}
	copy(r.Digest[:], key)
	return r
}

func schedule(t *testing.T, q *boltqueue.DB, r queue.Request) queue.Item {
	t.Helper()
	it, _, err := q.Schedule(t.Context(), start, r)
	if err != nil {
		t.Fatal(err)
	}
	return it
}

// An operator sees how many builds a restart has ended.
func TestLostBuildsAreLogged(t *testing.T) {
	core, logged := observer.New(zap.WarnLevel)
	q := open(t, boltqueue.Options{Path: filepath.Join(t.TempDir(), "queue.db"), Log: zap.New(core)})
	schedule(t, q, request("app", "k"))
	if builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0}); err != nil || len(builds) != 1 {
		t.Fatalf("Claim = %v, %v, want one build", builds, err)
	}
	for want := range 2 { // builds that a second call finds
		lost, err := q.Reclaim(t.Context(), start, "gone", nil)
		if err != nil || len(lost) != 1-want || logged.FilterField(zap.Int("builds", 1)).Len() != 1 || logged.Len() != 1 {
			t.Errorf("Reclaim = %v, %v; logged %v, want one line with one build", lost, err, logged.All())
		}
	}
}

// TestUnusableFiles checks that a file which is not a usable queue is refused,
// and left as it was.
func TestUnusableFiles(t *testing.T) {
	template := makeQueue(t)
	number := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	edited := func(change func(tx *bolt.Tx) error) func(t *testing.T) string {
		return func(t *testing.T) string {
			path := copyFile(t, template)
			edit(t, path, change)
			return path
		}
	}
	written := func(raw []byte) func(t *testing.T) string {
		return func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "queue.db")
			if err := os.WriteFile(path, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	// truncated cuts the last pages off, those at the end that were never used before.
	truncated := func(pages int64) func(t *testing.T) string {
		return func(t *testing.T) string {
			path := copyFile(t, template)
			var used int64
			edit(t, path, func(tx *bolt.Tx) error {
				used = tx.Size()
				return nil
			})
			if err := os.Truncate(path, max(used-pages*int64(os.Getpagesize()), 5000)); err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	for _, tt := range []struct {
		name string
		make func(t *testing.T) string
		want string // in the error
	}{
		{"an empty file", written(nil), "is empty"},
		{"one byte", written([]byte{1}), "or of another program"},
		{"text", written([]byte(strings.Repeat("this is not a queue\n", 3000))), "or of another program"},
		{"zeros", written(make([]byte, 1<<16)), "or of another program"},
		{"a file without its last pages", truncated(20), "bytes instead of"},
		{"the first page of a file", truncated(1 << 20), "is damaged"},
		{"a file without its last page", truncated(1), "bytes instead of"},
		{"a folder", func(t *testing.T) string { return t.TempDir() }, "not a regular file"},
		{"a bbolt file of another program", func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "other.db")
			edit(t, path, func(tx *bolt.Tx) error {
				b, err := tx.CreateBucket([]byte("meta"))
				if err != nil {
					return err
				}
				return b.Put([]byte("x"), []byte("y"))
			})
			return path
		}, "format 0"},
		{"a bbolt file that does not keep its free list", func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "other.db")
			db, err := bolt.Open(path, 0o600, &bolt.Options{NoFreelistSync: true})
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("users")); return err })
			if err := errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
			return path
		}, "or of another program"},
		{"a newer format", edited(func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("format"), number(3)) }), "format 3"},
		{"no format", edited(func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Delete([]byte("format")) }), "format 0"},
		{"a missing bucket", edited(func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("left")) }), "no bucket left"},
		{"an item with a short key", edited(func(tx *bolt.Tx) error { return tx.Bucket([]byte("items")).Put([]byte("k"), []byte("v")) }), "key of 1 bytes"},
		{"an item of a newer version", edited(func(tx *bolt.Tx) error {
			return tx.Bucket([]byte("items")).Put(number(50), bytes.Repeat([]byte{2}, 99))
		}), "version 2"},
		{"a lost item", edited(func(tx *bolt.Tx) error { return tx.Bucket([]byte("items")).Delete(number(50)) }), "counts"},
		{"a lost lane", edited(func(tx *bolt.Tx) error { return tx.Bucket([]byte("lanes")).Delete([]byte("job1")) }), "no lane"},
		{"a lane under another name", edited(func(tx *bolt.Tx) error {
			lanes := tx.Bucket([]byte("lanes"))
			return lanes.Put([]byte("other"), bytes.Clone(lanes.Get([]byte("job1"))))
		}), "holds"},
		{"a lane that is not JSON", edited(func(tx *bolt.Tx) error { return tx.Bucket([]byte("lanes")).Put([]byte("job1"), []byte("{")) }), "lane"},
		{"a lost running build", edited(func(tx *bolt.Tx) error {
			return tx.Bucket([]byte("builds")).Delete(append([]byte("job0\x00"), number(1)...))
		}), "no record"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := tt.make(t)
			before, _ := os.ReadFile(path) // a folder has no bytes
			for range 2 {                  // the second attempt fails if the first one kept the lock
				q, err := boltqueue.Open(boltqueue.Options{Path: path, LockTimeout: 50 * time.Millisecond})
				if !errors.Is(err, boltqueue.ErrForeign) || errors.Is(err, boltqueue.ErrLocked) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Open = %v, %v; want %v with %q", q, err, boltqueue.ErrForeign, tt.want)
				}
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Errorf("the file changed: %d bytes before, %d after", len(before), len(after))
			}
		})
	}
}

func TestOpenErrors(t *testing.T) {
	path := makeQueue(t)
	first := open(t, boltqueue.Options{Path: path})
	began := time.Now()
	if _, err := boltqueue.Open(boltqueue.Options{Path: path, LockTimeout: 60 * time.Millisecond}); !errors.Is(err, boltqueue.ErrLocked) {
		t.Errorf("Open of an open file: %v, want %v", err, boltqueue.ErrLocked)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("Open of an open file took %v", took)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, boltqueue.Options{Path: path}).Close(); err != nil {
		t.Errorf("Open after Close: %v", err)
	}
	folder := t.TempDir()
	if _, err := boltqueue.Open(boltqueue.Options{Path: folder}); !errors.Is(err, boltqueue.ErrForeign) || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("Open of a folder: %v, want %v with the reason", err, boltqueue.ErrForeign)
	}
	for name, bad := range map[string]string{
		"below a file":           filepath.Join(path, "queue.db"),
		"in a folder that isn't": filepath.Join(t.TempDir(), "missing", "queue.db"),
	} {
		if _, err := boltqueue.Open(boltqueue.Options{Path: bad}); err == nil || errors.Is(err, boltqueue.ErrForeign) {
			t.Errorf("Open %s: %v, want an error of the system", name, err)
		}
	}
}

// A link that leads nowhere, as to a disk that is not mounted, is neither followed nor removed.
func TestOpenOfALinkThatLeadsNowhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	if err := os.Symlink(filepath.Join(t.TempDir(), "missing.db"), path); err != nil {
		t.Fatal(err)
	}
	if _, err := boltqueue.Open(boltqueue.Options{Path: path}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Open = %v, want %v", err, fs.ErrExist)
	}
	if _, err := os.Readlink(path); err != nil {
		t.Errorf("the link: %v", err)
	}
}

func TestOpenWritesNothing(t *testing.T) {
	path := makeQueue(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := open(t, boltqueue.Options{Path: path}).Close(); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("opening and closing changed the file, %v", err)
	}
}

// A maker that died between making the file and filling it left this.
func TestOpenFillsFileWithoutBuckets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	edit(t, path, func(*bolt.Tx) error { return nil })
	q := open(t, boltqueue.Options{Path: path})
	if it := schedule(t, q, request("j", "k")); it.ID != 1 {
		t.Errorf("first item is %d", it.ID)
	}
}

// A file whose name may not survive a power failure is not used, or triggers would be lost with it.
func TestNewFileThatMayNotLast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q, err := boltqueue.Open(boltqueue.Options{Path: path, SyncDir: func(string) error { return fs.ErrInvalid }})
	if !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("Open = %v, %v, want the error of the directory", q, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

// TestDamagedPages spoils each page of a file in turn. Whether that page is
// needed or not: nothing panics, and the file stays as it was found.
func TestDamagedPages(t *testing.T) {
	path := makeQueue(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	size := os.Getpagesize()
	refused := 0
	for at := 2 * size; at < len(whole); at += size {
		for name, fill := range map[string]byte{"zeros": 0, "ones": 0xff} {
			damaged := bytes.Clone(whole)
			copy(damaged[at:], bytes.Repeat([]byte{fill}, size))
			if bytes.Equal(damaged, whole) {
				continue
			}
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			q, err := boltqueue.Open(boltqueue.Options{Path: path, LockTimeout: 50 * time.Millisecond})
			switch {
			case err == nil:
				if _, err := q.Items(t.Context(), start, "", 1000); err != nil && !errors.Is(err, boltqueue.ErrForeign) {
					t.Errorf("page %d full of %s: Items: %v", at/size, name, err)
				}
				if err := q.Close(); err != nil {
					t.Errorf("page %d full of %s: Close: %v", at/size, name, err)
				}
			case errors.Is(err, boltqueue.ErrForeign):
				refused++
			default:
				t.Errorf("page %d full of %s: Open: %v, want %v", at/size, name, err, boltqueue.ErrForeign)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(damaged, after) {
				t.Errorf("page %d full of %s: the file changed, %v", at/size, name, err)
			}
		}
	}
	if refused == 0 {
		t.Error("no damage was found")
	}
	t.Logf("%d pages, %d kinds of damage found", len(whole)/size, refused)
}
