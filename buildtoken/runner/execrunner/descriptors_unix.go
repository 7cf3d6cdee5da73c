//go:build unix

package execrunner

import (
	"math"
	"os"
	"strconv"
	"syscall"
)

// closeListedOnExec marks the descriptors from 3 up that the directory lists. If the list is not complete, as on FreeBSD
// without fdescfs, it marks every number that a descriptor can have.
func closeListedOnExec(dir string) {
	list, err := os.Open(dir) //nolint:gosec // a constant
	complete := false
	if err == nil {
		names, _ := list.Readdirnames(-1)
		for _, name := range names {
			if fd, err := strconv.Atoi(name); err == nil && fd > 2 {
				syscall.CloseOnExec(fd)
				complete = complete || fd == int(list.Fd())
			}
		}
		_ = list.Close() // it was only read
	}
	if complete {
		return
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		limit.Cur = math.MaxUint16
	}
	for fd := 3; fd < int(min(limit.Cur, math.MaxUint16)); fd++ {
		syscall.CloseOnExec(fd)
	}
}
