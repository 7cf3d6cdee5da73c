package execrunner

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// family is the process of a build and all that came from it: its process group, and what left the group but still has
// the build's variables. The process stays a zombie until reap, so that nobody else can get the number of its group.
type family struct {
	cmd *exec.Cmd // nil: of the process nothing is known but its variables
	// marks are the variables that together tell this build from every other.
	marks [][]byte
	// began is when the process started, in the kernel's ticks. Whoever is older cannot have come from it.
	began uint64
}

// start starts the process. The caller calls waitExit once, then reap once, then close.
func start(cmd *exec.Cmd, as *account) (*family, error) {
	cmd.SysProcAttr = attributes(as)
	started := make(chan error)
	go func() { // ends at once
		// The thread loses rights that it must not get back, so it is never unlocked and ends with its goroutine.
		runtime.LockOSThread()
		started <- startWithoutAmbient(cmd)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return &family{cmd: cmd, marks: marks(cmd.Env), began: stat(cmd.Process.Pid).began}, nil
}

// startWithoutAmbient starts the process without the ambient capabilities of this one, which the kernel would hand on,
// over a change of the user too: what a server needs to listen on port 443, or to switch users, is not for builds.
func startWithoutAmbient(cmd *exec.Cmd) error {
	err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	if err != nil && !errors.Is(err, unix.EINVAL) { // a kernel before 4.3 has none
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	return cmd.Start()
}

// marks returns the variables that a process of this build has, or nil if the build has none that make it unique.
// WORKSPACE tells two servers on one machine apart, which may have equal jobs.
func marks(env []string) [][]byte {
	var m [][]byte
	for _, name := range []string{"QUEUE_ID", "JOB_NAME", "BUILD_NUMBER"} {
		if value(env, name) == "" {
			return nil
		}
		m = append(m, []byte(name+"="+value(env, name)))
	}
	if w := value(env, "WORKSPACE"); w != "" {
		m = append(m, []byte("WORKSPACE="+w))
	}
	return m
}

// waitExit returns when the process has exited, and leaves it to be reaped.
func (f *family) waitExit() {
	for {
		err := unix.Waitid(unix.P_PID, f.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// reap returns how the process ended; an error means that this is unknown. Before that it kills the group once more,
// for whom a look at all processes has missed.
func (f *family) reap() (*os.ProcessState, error) {
	signalGroup(f.cmd, syscall.SIGKILL)
	if err := f.cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		return nil, err
	}
	return f.cmd.ProcessState, nil
}

// living counts the processes of the build that still run. A process that forks and ends while we look hides its child
// from us, so nobody counts only as nobody when seen twice.
func (f *family) living() int {
	for range 2 {
		group, others := f.members()
		if n := group + len(others); n > 0 {
			return n
		}
	}
	return 0
}

// terminate asks all of them to end.
func (f *family) terminate() { f.signal(syscall.SIGTERM) }

// kill ends all of them.
func (f *family) kill() { f.signal(syscall.SIGKILL) }

func (f *family) close() {}

func (f *family) signal(sig syscall.Signal) {
	if f.cmd != nil {
		signalGroup(f.cmd, sig)
	}
	_, others := f.members()
	for _, pid := range others {
		f.signalOther(pid, sig)
	}
}

// signalOther sends the signal to a process outside the group. Between the look and the signal its number may have
// gone to somebody else, so it is held by a descriptor and looked at again.
func (f *family) signalOther(pid int, sig syscall.Signal) {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ENOSYS) { // before Linux 5.3
		_ = syscall.Kill(pid, sig)
		return
	}
	if err != nil {
		return // gone
	}
	if f.marked(pid) {
		_ = unix.PidfdSendSignal(fd, sig, nil, 0) // an error means that it is gone, or not ours to end
	}
	_ = unix.Close(fd)
}

// members looks through all processes. Without /proc it sees nobody.
func (f *family) members() (group int, others []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		switch p := stat(pid); {
		case p.state == 0 || p.state == 'Z' || p.state == 'X':
		case f.cmd != nil && p.group == f.cmd.Process.Pid:
			group++
		case p.group != 0 && p.began >= f.began && f.marked(pid): // group 0 is the kernel's
			others = append(others, pid)
		}
	}
	return group, others
}

// marked reports whether the process started with the variables of this build.
func (f *family) marked(pid int) bool {
	if len(f.marks) == 0 {
		return false
	}
	env, err := environOf(pid)
	if err != nil || !bytes.Contains(env, f.marks[0]) {
		return false
	}
	found := 0
	for e := range bytes.SplitSeq(env, []byte{0}) {
		for _, m := range f.marks {
			if bytes.Equal(e, m) {
				found++
			}
		}
	}
	return found >= len(f.marks)
}

// environOf returns the variables that the process started with. In the middle of an exec there seem to be none, or no
// process, for as long as a busy machine lets it wait; but then it runs or waits for the disk, while a process that
// really has none mostly sleeps.
func environOf(pid int) ([]byte, error) {
	path := "/proc/" + strconv.Itoa(pid) + "/environ"
	for range 500 {
		env, err := os.ReadFile(path) //nolint:gosec // a number below /proc
		if len(env) > 0 || err != nil && !errors.Is(err, unix.ESRCH) {
			return env, err
		}
		if s := stat(pid).state; s != 'R' && s != 'D' {
			return nil, err
		}
		if _, err := unix.Poll(nil, 1); err != nil && !errors.Is(err, unix.EINTR) { // a millisecond
			return nil, err
		}
	}
	return nil, nil
}

// process is what /proc/PID/stat says; zero if the process is gone.
type process struct {
	state byte
	group int
	began uint64
}

func stat(pid int) process {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return process{}
	}
	return parseStat(b)
}

// parseStat reads one such line. Its process chose the name in it.
func parseStat(b []byte) process {
	// pid (name) state ppid pgrp … starttime, the 22nd; the name may hold anything, also brackets.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 {
		return process{}
	}
	group, err := strconv.Atoi(fields[2])
	if err != nil {
		return process{}
	}
	began, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return process{}
	}
	return process{fields[0][0], group, began}
}
