package runner

import (
	"errors"
	"slices"
	"syscall"
	"time"
)

// ScarceRetry is how long to wait before a retry after an error that [Scarce] reports.
const ScarceRetry = time.Second

// Scarce reports whether err is a transient shortage: of open files, processes, memory or disk space. An accepted build
// waits until it is over.
func Scarce(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno) && slices.Contains([]syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.ENOMEM, syscall.ENOSPC, syscall.EDQUOT,
	}, errno)
}
