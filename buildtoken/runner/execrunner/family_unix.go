//go:build unix

package execrunner

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// attributes starts a new session for the process, without a terminal: a program that would ask there fails at once, and
// Ctrl+C does not reach it. The session is a process group as well, so a signal reaches all of it.
func attributes(as *account) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true}
	if as != nil && as.other {
		a.Credential = &syscall.Credential{Uid: as.uid, Gid: as.gid, Groups: as.groups}
	}
	return a
}

// defaultSIGPIPE makes processes that are started from now on die of a broken pipe, as they do in a shell, even if this
// process ignores the signal. A child inherits an ignored signal, but not a handled one, so the signal is handled here
// and dropped.
func defaultSIGPIPE() {
	if signal.Ignored(syscall.SIGPIPE) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	}
}

// signalGroup sends a signal to the process group of the process.
func signalGroup(cmd *exec.Cmd, sig syscall.Signal) {
	_ = syscall.Kill(-cmd.Process.Pid, sig) // an error means that the group is empty
}

// readNow reads what is in the pipe without waiting; n is 0 if it is empty.
func readNow(pipe *os.File, buf []byte) (n int, err error) {
	if err := pipe.SetReadDeadline(time.Time{}); err != nil {
		return 0, err
	}
	raw, err := pipe.SyscallConn()
	if err != nil {
		return 0, err
	}
	rawErr := raw.Read(func(fd uintptr) bool {
		for {
			n, err = unix.Read(int(fd), buf)
			if !errors.Is(err, unix.EINTR) {
				return true // an empty pipe too: do not wait
			}
		}
	})
	return max(n, 0), errors.Join(err, rawErr)
}
