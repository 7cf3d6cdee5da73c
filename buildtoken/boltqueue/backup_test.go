package boltqueue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// TestBackup copies a queue while triggers, builds and joins continue. Each copy is a complete
// queue, and contains everything that was answered before.
func TestBackup(t *testing.T) {
	dir := t.TempDir()
	q := open(t, boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
	schedule(t, q, request("counted", "k"))
	var done atomic.Bool
	var busy sync.WaitGroup
	for caller := range 3 {
		busy.Go(func() {
			for n := 0; !done.Load(); n++ {
				job := fmt.Sprint("job", caller)
				if _, _, err := q.Schedule(t.Context(), start, request(job, fmt.Sprint(n))); err != nil {
					t.Errorf("Schedule: %v", err)
				}
				builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{caller})
				if err != nil {
					t.Errorf("Claim: %v", err)
				}
				for _, b := range builds {
					if _, err := q.Finish(t.Context(), start, b.Item.Job, b.Number, queue.Success, ""); err != nil {
						t.Errorf("Finish: %v", err)
					}
				}
			}
		})
	}
	for n := range 5 {
		r := request(fmt.Sprint("before", n), "k")
		r.Delay = 1 << 60 // stays queued
		it := schedule(t, q, r)
		schedule(t, q, r) // a count, which waits for a commit
		path := filepath.Join(dir, fmt.Sprint("copy", n))
		size, err := q.Backup(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() != size || info.Mode().Perm() != 0o600 {
			t.Errorf("copy %d: %v, %v; want %d bytes that only the owner can read", n, info, err, size)
		}
		if err := boltqueue.Verify(path); err != nil {
			t.Errorf("Verify of copy %d: %v", n, err)
		}
		restored := open(t, boltqueue.Options{Path: path})
		if e, err := restored.Entry(t.Context(), start, it.ID); err != nil || e.Item.Triggers() != 2 {
			t.Errorf("copy %d: item %d is %+v, %v; want it with two triggers", n, it.ID, e, err)
		}
		if err := restored.Close(); err != nil {
			t.Fatal(err)
		}
	}
	done.Store(true)
	busy.Wait()
}

func TestBackupReplacesNothing(t *testing.T) {
	dir := t.TempDir()
	q := open(t, boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
	path := filepath.Join(dir, "copy")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Backup(t.Context(), path); !errors.Is(err, os.ErrExist) {
		t.Errorf("Backup over a file: %v, want %v", err, os.ErrExist)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "precious" {
		t.Errorf("the file is now %q, %v", got, err)
	}
	if _, err := q.Backup(t.Context(), filepath.Join(dir, "missing", "copy")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Backup into no directory: %v, want %v", err, os.ErrNotExist)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Backup(t.Context(), filepath.Join(dir, "late")); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("Backup of a closed queue: %v, want %v", err, queue.ErrClosed)
	}
	if _, err := os.Stat(filepath.Join(dir, "late")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it left a file: %v", err)
	}
}

// A backup has the counts that were answered and wait for a commit.
func TestBackupHasCounts(t *testing.T) {
	dir := t.TempDir()
	q := open(t, boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
	schedule(t, q, request("a", "k"))
	schedule(t, q, request("a", "k"))
	path := filepath.Join(dir, "copy")
	if _, err := q.Backup(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if got := onDisk(t, path); got != 2 {
		t.Errorf("the item in the copy has %d triggers, want 2", got)
	}
}

// A backup is reported once a power failure cannot take it any more.
func TestBackupIsDurable(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "copies", "copy")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	q := open(t, boltqueue.Options{Path: filepath.Join(dir, "queue.db"), SyncDir: func(synced string) error {
		if synced == filepath.Dir(path) {
			return os.ErrInvalid
		}
		return nil
	}})
	if _, err := q.Backup(t.Context(), path); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("Backup into a directory that cannot be synced: %v, want %v", err, os.ErrInvalid)
	}
}

// TestVerify damages a copy in ways in which a copy of a file in use can be damaged.
func TestVerify(t *testing.T) {
	path := everyKind(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := boltqueue.Verify(path); err != nil {
		t.Errorf("Verify of a whole queue: %v", err)
	}
	edit(t, path, func(tx *bolt.Tx) error { return spoil(tx, "token_uses", []byte("a\x00ci")) })
	if err := boltqueue.Verify(path); !errors.Is(err, boltqueue.ErrForeign) {
		t.Errorf("Verify where the use of a token cannot be read: %v, want %v", err, boltqueue.ErrForeign)
	}
	page := os.Getpagesize()
	for name, raw := range map[string][]byte{
		"its end is missing":  whole[:len(whole)/2],
		"only its first page": whole[:page],
		"pages are zero":      append(append(bytes.Clone(whole[:2*page]), make([]byte, 4*page)...), whole[6*page:]...),
		"it is empty":         nil,
	} {
		copied := filepath.Join(t.TempDir(), "copy.db")
		if err := os.WriteFile(copied, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := boltqueue.Verify(copied); !errors.Is(err, boltqueue.ErrForeign) {
			t.Errorf("Verify where %s: %v, want %v", name, err, boltqueue.ErrForeign)
		}
	}
}

// A backup that is cancelled, before or while it is written, is an error and leaves no file behind.
func TestBackupGivenUp(t *testing.T) {
	dir := t.TempDir()
	q := open(t, boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
	path := filepath.Join(dir, "copy")
	enough := errors.New("enough")
	for _, written := range []bool{false, true} {
		ctx, cancel := context.WithCancelCause(t.Context())
		if !written {
			cancel(enough)
		}
		if _, err := q.Backup(&endsWithFile{ctx, path, func() { cancel(enough) }}, path); err == nil || !strings.Contains(err.Error(), enough.Error()) {
			t.Errorf("Backup: %v, want %v", err, enough) // bbolt keeps the text only
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it left a file: %v", err)
		}
	}
}

// TestBackupEndsWhenACommitFails lets a commit fail during a backup, which must not delay the
// triggers that need the file to be read again until its copy is complete.
func TestBackupEndsWhenACommitFails(t *testing.T) {
	dir, d, failed := t.TempDir(), &disk{}, make(chan struct{})
	core, _ := observer.New(zap.ErrorLevel)
	log := zap.New(core, zap.Hooks(func(zapcore.Entry) error { close(failed); return nil }))
	q := open(t, boltqueue.Options{Path: filepath.Join(dir, "queue.db"), Commit: d.commit(nil), Log: log})
	schedule(t, q, request("a", "1"))
	path, answer := filepath.Join(dir, "copy"), make(chan error, 1)
	fail := sync.OnceFunc(func() {
		d.next(full)
		go func() {
			_, _, err := q.Schedule(context.WithoutCancel(t.Context()), start, request("a", "2"))
			answer <- err
		}()
		<-failed
	})
	if _, err := q.Backup(&endsWithFile{t.Context(), path, fail}, path); err == nil || !strings.Contains(err.Error(), "could not be written") {
		t.Errorf("Backup while a commit fails: %v, want that error", err)
	}
	if err := <-answer; !errors.Is(err, queue.ErrStorage) {
		t.Errorf("Schedule: %v, want %v", err, queue.ErrStorage)
	}
	schedule(t, q, request("a", "3"))
	if _, err := q.Backup(t.Context(), path); err != nil {
		t.Errorf("Backup once commits succeed again: %v", err)
	}
}

// endsWithFile is a context that ends once there is a file.
type endsWithFile struct {
	context.Context

	path string
	end  func()
}

func (c *endsWithFile) Err() error {
	if _, err := os.Stat(c.path); err == nil {
		c.end()
	}
	return c.Context.Err()
}

// TestTornCopy copies files piecewise while they are written, as cp does. Each copy is either a
// complete queue, or refused as a copy that was made during a write.
func TestTornCopy(t *testing.T) {
	refused := 0
	for seed := range 8 {
		dir := t.TempDir()
		path := filepath.Join(dir, "queue.db")
		q := open(t, boltqueue.Options{Path: path})
		work := func(n int) {
			for i := range n {
				schedule(t, q, request(fmt.Sprint("job", i%7), fmt.Sprint(seed, "/", n, "/", i)))
				if i%3 == 0 {
					builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{i % 5})
					if err != nil {
						t.Fatal(err)
					}
					for _, b := range builds {
						if _, err := q.Finish(t.Context(), start, b.Item.Job, b.Number, queue.Success, ""); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
		work(20 + seed)
		var copied []byte
		for part := 0; ; part++ {
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if len(copied) >= len(whole) {
				break
			}
			copied = append(copied, whole[len(copied):min(len(copied)+8<<10, len(whole))]...)
			if part < 10 {
				work(3 + part/2)
			}
		}
		torn := filepath.Join(dir, "torn.db")
		if err := os.WriteFile(torn, copied, 0o600); err != nil {
			t.Fatal(err)
		}
		err := boltqueue.Verify(torn)
		if err == nil {
			continue
		}
		refused++
		if !errors.Is(err, boltqueue.ErrForeign) || !strings.Contains(err.Error(), "a copy that was made while it was written") {
			t.Errorf("copy %d: %v, want an error about a copy that was made while the file was written", seed, err)
		}
	}
	t.Logf("%d of 8 copies were refused", refused)
	if refused == 0 {
		t.Error("no copy was torn: the test proves nothing")
	}
}
