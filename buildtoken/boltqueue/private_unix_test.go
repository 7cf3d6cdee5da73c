//go:build !windows

package boltqueue_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
)

func TestFileIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	open(t, boltqueue.Options{Path: path})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of a new file = %v, %v; want that only its owner can read it", info.Mode(), err)
	}
}
