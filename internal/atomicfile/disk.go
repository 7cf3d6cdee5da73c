package atomicfile

import (
	"io"
	"io/fs"
	"os"
)

// Disk is what this package needs of a file system. Package crashdisk has one that records
// what is durable.
type Disk interface {
	// Mkdir makes one directory. Its parent must exist.
	Mkdir(path string, mode fs.FileMode) error
	// IsDir reports whether there is a directory.
	IsDir(path string) bool
	// CreateTemp creates a file as [os.CreateTemp] does.
	CreateTemp(dir, pattern string) (File, error)
	Rename(from, to string) error
	Remove(path string) error
	// SyncDir makes the entries of a directory durable. It returns an error even if the
	// system cannot do that.
	SyncDir(dir string) error
}

// File is a file that is being written.
type File interface {
	io.Writer
	Name() string
	Sync() error
	Close() error
}

// system is the file system of the operating system.
type system struct{}

func (system) Mkdir(path string, mode fs.FileMode) error { return os.Mkdir(path, mode) }

func (system) IsDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func (system) CreateTemp(dir, pattern string) (File, error) { return os.CreateTemp(dir, pattern) }
func (system) Rename(from, to string) error                 { return os.Rename(from, to) }
func (system) Remove(path string) error                     { return os.Remove(path) }

func (system) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // only synced
	return d.Sync()
}
