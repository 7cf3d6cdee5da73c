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

// attributes puts the process into a group of its own, so that a signal reaches all of it, and Ctrl+C at a terminal
// none of it; and makes it run as the user.
func attributes(as *account) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true}
	if as != nil && as.other {
		a.Credential = &syscall.Credential{Uid: as.uid, Gid: as.gid, Groups: as.groups}
	}
	return a
}

// defaultSIGPIPE sees to it that processes which are started from now on die of a broken pipe, as they do in a shell,
// although a server ignores the signal: what is ignored stays ignored in a child, but what is handled does not. This
// process still does not die of it. It stays so, and is done again only if somebody ignores the signal again.
func defaultSIGPIPE() {
	if signal.Ignored(syscall.SIGPIPE) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	}
}

// signalGroup sends a signal to the process group of the process.
func signalGroup(cmd *exec.Cmd, sig syscall.Signal) {
	_ = syscall.Kill(-cmd.Process.Pid, sig) // an error means that there is nobody any more
}

// readNow reads what is in the pipe now; nothing if it is empty.
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
				return true // also if it is empty: do not wait
			}
		}
	})
	return max(n, 0), errors.Join(err, rawErr)
}
