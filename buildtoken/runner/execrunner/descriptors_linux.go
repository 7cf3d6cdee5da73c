package execrunner

import (
	"math"

	"golang.org/x/sys/unix"
)

// closeOnExec keeps every descriptor but 0, 1 and 2 from the processes that are started from now on: those too that
// this process was started with, such as a listening socket from systemd. Go marks only those that it opens itself.
func closeOnExec() {
	if unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) != nil { // before Linux 5.11
		closeListedOnExec("/proc/self/fd")
	}
}
