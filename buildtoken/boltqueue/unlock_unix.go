//go:build unix && !aix && !solaris && !illumos

package boltqueue

import (
	"os"
	"syscall"
)

// unlock releases bbolt's lock. Closing the file is not enough while it is
// mapped into memory, and the mapping is lost with a bolt.DB that never opened.
func unlock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
}
