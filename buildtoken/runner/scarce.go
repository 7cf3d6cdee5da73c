package runner

import (
	"errors"
	"slices"
	"syscall"
	"time"
)

// ScarceRetry is how long to wait before another try at what [Scarce] says may work later.
const ScarceRetry = time.Second

// Scarce says whether something failed only for want of what others give back in time, or somebody can make more of:
// open files, processes, memory, room on the disk. A build that was accepted waits for these.
func Scarce(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno) && slices.Contains([]syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.ENOMEM, syscall.ENOSPC, syscall.EDQUOT,
	}, errno)
}
