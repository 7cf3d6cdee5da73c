//go:build linux || darwin

package main

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// ownGroup makes the process the leader of a new group, so that it gets only the signals that
// are meant for it.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// killGroup kills the server and all processes in its group.
func killGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// pauseProcess suspends the process, not its children; resumeProcess resumes it.
func pauseProcess(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }

func resumeProcess(p *os.Process) error { return p.Signal(syscall.SIGCONT) }

// takeLock holds a lock until the process ends, however it ends. If another process holds it,
// takeLock returns the item of that process.
func takeLock(path string, item int64) (holder int64, ok bool) {
	fd, err := syscall.Open(path, syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
	must(err)
	line := make([]byte, 32)
	if syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		copy(line, strconv.FormatInt(item, 10))
		_, err := syscall.Pwrite(fd, line, 0)
		must(err)
		return 0, true
	}
	time.Sleep(20 * time.Millisecond) //nolint:forbidigo // it may have started a moment ago, and not have written yet
	_, err = syscall.Pread(fd, line, 0)
	must(err)
	must(syscall.Close(fd))
	holder, err = strconv.ParseInt(string(bytes.TrimRight(line, "\x00")), 10, 64)
	must(err)
	return holder, false
}
