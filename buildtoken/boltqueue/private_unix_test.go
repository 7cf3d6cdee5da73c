//go:build !windows

package boltqueue_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

func TestFileIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	open(t, boltqueue.Options{Path: path})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of a new file = %v, %v; want that only its owner can read it", info.Mode(), err)
	}
}

// A file that another program truncates must not end the process, which the system does to one
// that reads memory behind the end of a mapped file. Windows does not truncate such a file.
func TestFileIsTruncatedInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path})
	schedule(t, q, request("a", "1"))
	if err := os.Truncate(path, 2*int64(os.Getpagesize())); err != nil { // the pages that lead to all others
		t.Fatal(err)
	}
	if e, err := q.Entry(t.Context(), start, 1); !errors.Is(err, boltqueue.ErrForeign) {
		t.Errorf("Entry = %+v, %v; want %v", e, err, boltqueue.ErrForeign)
	}
	if it, _, err := q.Schedule(t.Context(), start, request("a", "2")); !errors.Is(err, queue.ErrStorage) {
		t.Errorf("Schedule = %+v, %v; want %v", it, err, queue.ErrStorage)
	}
}
