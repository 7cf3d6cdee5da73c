// Package crashdisk shows what a power failure can leave of files.
//
// A [Disk] carries out every operation on a real directory, and records it. [Disk.Cuts]
// then returns what can be left after each of them. Until it is synced, an entry of a
// directory (a new file, a rename, a removal) may be on the disk or not, each independently
// of the others; and of what was written to a file, all, half or nothing may be there.
// Syncing a file does not sync its entry, as on the strictest of file systems.
package crashdisk

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/buildtoken/buildtoken/internal/atomicfile"
)

// Disk records operations below one directory, which is durable itself. It is safe for
// concurrent use.
type Disk struct {
	// Root is the real directory.
	Root string

	// mu guards the following, and keeps the order of the record that of the operations.
	mu  sync.Mutex
	ops []op
}

// New returns a Disk on an empty directory.
func New(t testing.TB) *Disk {
	t.Helper()
	return &Disk{Root: t.TempDir()}
}

// op is an operation that has been carried out. Paths are relative to the root.
type op struct {
	what     string // mkdir, create, write, sync, rename, remove or syncdir
	path, to string
	data     []byte
}

// String describes the operation in a line.
func (o op) String() string {
	if o.what == "write" {
		return fmt.Sprintf("write %d bytes to %s", len(o.data), o.path)
	}
	return strings.TrimSpace(o.what + " " + o.path + " " + o.to)
}

func (d *Disk) relative(path string) string {
	rel, err := filepath.Rel(d.Root, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		panic(fmt.Sprintf("crashdisk: %s is not below %s", path, d.Root))
	}
	return rel
}

// do carries out an operation and records it if it succeeds.
func (d *Disk) do(o op, f func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := f()
	if err == nil {
		d.ops = append(d.ops, o)
	}
	return err
}

// Mkdir implements [atomicfile.Disk].
func (d *Disk) Mkdir(path string, mode fs.FileMode) error {
	return d.do(op{what: "mkdir", path: d.relative(path)}, func() error { return os.Mkdir(path, mode) })
}

// IsDir implements [atomicfile.Disk].
func (*Disk) IsDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// CreateTemp implements [atomicfile.Disk].
func (d *Disk) CreateTemp(dir, pattern string) (atomicfile.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, err
	}
	d.ops = append(d.ops, op{what: "create", path: d.relative(f.Name())})
	return &file{disk: d, real: f, at: d.relative(f.Name())}, nil
}

// Rename implements [atomicfile.Disk].
func (d *Disk) Rename(from, to string) error {
	return d.do(op{what: "rename", path: d.relative(from), to: d.relative(to)}, func() error { return os.Rename(from, to) })
}

// Remove implements [atomicfile.Disk].
func (d *Disk) Remove(path string) error {
	return d.do(op{what: "remove", path: d.relative(path)}, func() error { return os.Remove(path) })
}

// SyncDir implements [atomicfile.Disk]. Entries that were not made through the Disk, such as
// the file of a database, are recorded now, with what they hold: other tests have to show that
// this is durable by itself.
func (d *Disk) SyncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	known := newState(d.ops).current
	for _, e := range entries {
		path := d.relative(filepath.Join(dir, e.Name()))
		if known[path] != nil {
			continue
		}
		if e.IsDir() {
			d.ops = append(d.ops, op{what: "mkdir", path: path})
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		d.ops = append(d.ops, op{what: "create", path: path}, op{what: "write", path: path, data: text}, op{what: "sync", path: path})
	}
	d.ops = append(d.ops, op{what: "syncdir", path: d.relative(dir)})
	return nil
}

// file is a file of a Disk that is being written.
type file struct {
	real *os.File
	disk *Disk
	at   string
}

func (f *file) Name() string { return f.real.Name() }

func (f *file) Close() error { return f.real.Close() }

func (f *file) Write(p []byte) (int, error) {
	err := f.disk.do(op{what: "write", path: f.at, data: slices.Clone(p)}, func() error {
		_, err := f.real.Write(p)
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *file) Sync() error {
	return f.disk.do(op{what: "sync", path: f.at}, func() error { return nil })
}

// Mark returns the number of operations so far. What is promised from a moment on must hold
// in all cuts with at least that number.
func (d *Disk) Mark() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ops)
}

// node is a directory or the content of a file.
type node struct {
	dir          bool
	data, synced []byte
}

// entry is a change of a directory that is not synced.
type entry struct {
	remove string // "" for none
	add    string // "" for none
	node   *node
}

// state is the result of operations.
type state struct {
	current, durable map[string]*node
	pending          []entry
}

func newState(ops []op) *state {
	s := &state{current: map[string]*node{}, durable: map[string]*node{}}
	for _, o := range ops {
		s.apply(o)
	}
	return s
}

func (s *state) apply(o op) {
	switch o.what {
	case "mkdir", "create":
		n := &node{dir: o.what == "mkdir"}
		s.current[o.path] = n
		s.pending = append(s.pending, entry{add: o.path, node: n})
	case "write":
		n := s.current[o.path]
		n.data = append(n.data, o.data...)
	case "sync":
		n := s.current[o.path]
		n.synced = slices.Clone(n.data)
	case "rename":
		n := s.current[o.path]
		delete(s.current, o.path)
		s.current[o.to] = n
		s.pending = append(s.pending, entry{remove: o.path, add: o.to, node: n})
	case "remove":
		delete(s.current, o.path)
		s.pending = append(s.pending, entry{remove: o.path})
	case "syncdir":
		s.pending = slices.DeleteFunc(s.pending, func(e entry) bool {
			if filepath.Dir(max(e.add, e.remove)) != o.path {
				return false
			}
			e.on(s.durable)
			return true
		})
	}
}

func (e entry) on(files map[string]*node) {
	if e.remove != "" {
		delete(files, e.remove)
	}
	if e.add != "" {
		files[e.add] = e.node
	}
}

// maxPending bounds how many unsynced entries are combined with each other.
const maxPending = 8

// Cuts calls check for everything that a power failure can leave after each operation, with the
// number of operations, a directory that holds what is left, and a description. The directory is
// removed afterwards.
func (d *Disk) Cuts(t testing.TB, check func(after int, left, what string)) {
	t.Helper()
	d.mu.Lock()
	ops := slices.Clone(d.ops)
	d.mu.Unlock()
	for after := 0; after <= len(ops); after++ {
		s := newState(ops[:after])
		if len(s.pending) > maxPending {
			t.Fatalf("crashdisk: %d entries are not synced, at most %d", len(s.pending), maxPending)
		}
		last := "before anything"
		if after > 0 {
			last = "after " + ops[after-1].String()
		}
		seen := map[string]bool{}
		for chosen := range 1 << len(s.pending) {
			for _, data := range []string{"all", "half", "none"} {
				files := maps.Clone(s.durable)
				for i, e := range s.pending {
					if chosen>>i&1 == 1 {
						e.on(files)
					}
				}
				dir, shown := leave(t, files, data)
				if !seen[shown] {
					check(after, dir, fmt.Sprintf("%s, with %b of the unsynced entries and %s of the unsynced data", last, chosen, data))
				}
				seen[shown] = true
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// leave writes what is left into a new directory, and describes it.
func leave(t testing.TB, files map[string]*node, data string) (dir, shown string) {
	t.Helper()
	dir = t.TempDir()
	var err error
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(files)) { // parents first
		n, to := files[path], filepath.Join(dir, path)
		if _, err := os.Stat(filepath.Dir(to)); err != nil {
			continue // its directory is not there
		}
		text := n.data
		switch data {
		case "half":
			text = n.data[:(len(n.synced)+len(n.data))/2]
		case "none":
			text = n.synced
		}
		if n.dir {
			err = os.Mkdir(to, 0o700)
		} else {
			err = os.WriteFile(to, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%q %v %q\n", path, n.dir, text)
	}
	return dir, b.String()
}

var _ atomicfile.Disk = (*Disk)(nil)
