package boltqueue_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
)

// A plain copy of a file in use can have pages that form a circle, which bbolt would follow
// until memory is exhausted.
func TestPagesThatAreNoTree(t *testing.T) {
	const branch = 1
	whole := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: whole})
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, whole, func(tx *bolt.Tx) error {
		for i := range 2000 {
			if err := tx.Bucket([]byte("receipts")).Put(fmt.Appendf(nil, "%040d", i), make([]byte, 40)); err != nil {
				return err
			}
		}
		return nil
	})
	var used uint64 // pages
	edit(t, whole, func(tx *bolt.Tx) error {
		used = uint64(tx.Size() / int64(tx.DB().Info().PageSize))
		return nil
	})
	if err := boltqueue.Verify(whole); err != nil && strings.Contains(err.Error(), "page") {
		t.Fatalf("Verify of a whole file: %v", err)
	}
	content, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	size := os.Getpagesize()
	for _, tt := range []struct {
		name, want string
		damage     func(page []byte, id uint64)
	}{
		{"more elements than the file has room for", "EOF", func(page []byte, _ uint64) { binary.NativeEndian.PutUint16(page[10:], 1<<16-1) }},
		{"a link to the page after the last one", "is outside the file", func(page []byte, _ uint64) { binary.NativeEndian.PutUint64(page[24:], used) }},
		{"a circle", "is linked twice", func(page []byte, id uint64) { binary.NativeEndian.PutUint64(page[24:], id) }},
		{"two links to one page", "is linked twice", func(page []byte, _ uint64) { copy(page[24:32], page[40:48]) }},
		{"a link out of the file", "is outside the file", func(page []byte, _ uint64) { binary.NativeEndian.PutUint64(page[24:], 1<<40) }},
		{"a link to the first page", "is outside the file", func(page []byte, _ uint64) { binary.NativeEndian.PutUint64(page[24:], 0) }},
		{"a link to the second page", "is outside the file", func(page []byte, _ uint64) { binary.NativeEndian.PutUint64(page[24:], 1) }},
		{"a page of another kind", "has another content", func(page []byte, _ uint64) { binary.NativeEndian.PutUint16(page[8:], 0x10) }},
		{"a page that is another", "has another content", func(page []byte, id uint64) { binary.NativeEndian.PutUint64(page, id+1) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			damaged, pages := append([]byte(nil), content...), 0
			for at := 2 * size; at < len(damaged); at += size {
				page := damaged[at : at+size]
				if id := binary.NativeEndian.Uint64(page); id == uint64(at/size) && binary.NativeEndian.Uint16(page[8:]) == branch {
					tt.damage(page, id)
					pages++
				}
			}
			if pages == 0 {
				t.Fatal("the file has no branch")
			}
			path := filepath.Join(t.TempDir(), "queue.db")
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			_, openErr := boltqueue.Open(boltqueue.Options{Path: path})
			for _, err := range []error{boltqueue.Verify(path), openErr} {
				if !errors.Is(err, boltqueue.ErrForeign) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want an error with %q", err, tt.want)
				}
			}
		})
	}
}
