//go:build linux || darwin

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup has the process lead a group of its own, so that it gets only the
// signals that are meant for it.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// killGroup kills the server and whatever is in its group.
func killGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// takeLock holds a lock until the process ends, however it ends. It says false
// if another process holds it.
func takeLock(path string) bool {
	fd, err := syscall.Open(path, syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
	must(err)
	return syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
