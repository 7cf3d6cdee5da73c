package boltqueue

import (
	"encoding/binary"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
)

// The format of a page, as in bbolt's package common: a header, then one element for each
// entry. Numbers have the byte order of the machine.
const (
	pageHeader  = 16 // id uint64, flags uint16, count uint16, overflow uint32
	pageElement = 16 // of a branch: pos, ksize uint32, child uint64; of a leaf: flags, pos, ksize, vsize uint32
	flagBranch  = 1
	flagLeaf    = 2
	flagBucket  = 1 // of an element of a leaf, whose value begins with the root uint64 of the bucket
)

// pageTree checks that the pages of a file form a tree. bbolt follows the links between
// pages without end, and without a limit on memory, if a damaged file has a circle.
type pageTree struct {
	file    *os.File
	size    int64 // of a page
	visited []bool
}

// checkPages returns an error unless each page of the file is reached at most once and is
// of the right kind. Of the leaves of named buckets it reads the headers only.
func checkPages(tx *bolt.Tx, f *os.File, path string) error {
	size := int64(tx.DB().Info().PageSize)
	t := pageTree{file: f, size: size, visited: make([]bool, tx.Size()/size)}
	buckets, err := t.bucket(uint64(tx.Cursor().Bucket().Root()), true)
	for _, root := range buckets {
		if err == nil {
			_, err = t.bucket(root, false)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %s %s: %w", ErrForeign, path, torn, err)
	}
	return nil
}

// bucket visits the pages of a bucket. With named set, it returns the roots of the buckets in it.
func (t *pageTree) bucket(root uint64, named bool) (buckets []uint64, err error) {
	for todo := []uint64{root}; len(todo) > 0; {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		isBranch, elements, err := t.page(id, named)
		if err != nil {
			return nil, err
		}
		for at := 0; at < len(elements); at += pageElement {
			element := elements[at : at+pageElement]
			switch {
			case isBranch:
				todo = append(todo, binary.NativeEndian.Uint64(element[8:]))
			case binary.NativeEndian.Uint32(element) == flagBucket:
				// pos and ksize count from the element.
				from := int64(binary.NativeEndian.Uint32(element[4:])) + int64(binary.NativeEndian.Uint32(element[8:])) + int64(at) + pageHeader
				var value [8]byte
				if _, err := t.file.ReadAt(value[:], int64(id)*t.size+from); err != nil { //nolint:gosec // page checked it
					return nil, fmt.Errorf("page %d: %w", id, err)
				}
				if sub := binary.NativeEndian.Uint64(value[:]); sub != 0 { // else it is in the same page
					buckets = append(buckets, sub)
				}
			}
		}
	}
	return buckets, nil
}

// page visits a page and returns its elements: those of a branch, and of a leaf if wanted.
func (t *pageTree) page(id uint64, leaves bool) (isBranch bool, elements []byte, err error) {
	switch {
	case id < 2 || id >= uint64(len(t.visited)): // the first two are those of the file itself
		return false, nil, fmt.Errorf("page %d is outside the file", id)
	case t.visited[id]:
		return false, nil, fmt.Errorf("page %d is linked twice", id)
	}
	t.visited[id] = true
	offset := int64(id) * t.size //nolint:gosec // within the file
	var header [pageHeader]byte
	if _, err := t.file.ReadAt(header[:], offset); err != nil {
		return false, nil, fmt.Errorf("page %d: %w", id, err)
	}
	flags, count := binary.NativeEndian.Uint16(header[8:]), binary.NativeEndian.Uint16(header[10:])
	if binary.NativeEndian.Uint64(header[:]) != id || flags != flagBranch && flags != flagLeaf {
		return false, nil, fmt.Errorf("page %d has another content", id)
	}
	isBranch = flags == flagBranch
	if !isBranch && !leaves {
		return isBranch, nil, nil
	}
	elements = make([]byte, int(count)*pageElement)
	if _, err := t.file.ReadAt(elements, offset+pageHeader); err != nil {
		return false, nil, fmt.Errorf("page %d: %w", id, err)
	}
	return isBranch, elements, nil
}
