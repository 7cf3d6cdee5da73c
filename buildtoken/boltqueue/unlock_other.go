//go:build !unix || aix || solaris || illumos

package boltqueue

import "os"

// unlock does nothing: on these systems closing the file lets go of the lock.
func unlock(*os.File) error { return nil }
