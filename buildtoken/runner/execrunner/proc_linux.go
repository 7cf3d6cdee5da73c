package execrunner

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// family is the process of a build and all that came from it: its process group, and what left the group but still has
// the build's variables. The process stays a zombie until reap, so that nobody else can get the number of its group.
type family struct {
	cmd *exec.Cmd
	// marks are the variables that together tell this build from every other.
	marks [][]byte
}

// start starts the process. The caller calls waitExit once, then reap once, then close.
func start(cmd *exec.Cmd, as *account) (*family, error) {
	cmd.SysProcAttr = attributes(as)
	return &family{cmd: cmd, marks: marks(cmd.Env)}, cmd.Start()
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

// living counts the processes of the build that still run.
func (f *family) living() int {
	group, others := f.members()
	return group + len(others)
}

// terminate asks all of them to end.
func (f *family) terminate() { f.signal(syscall.SIGTERM) }

// kill ends all of them.
func (f *family) kill() { f.signal(syscall.SIGKILL) }

func (f *family) close() {}

func (f *family) signal(sig syscall.Signal) {
	signalGroup(f.cmd, sig)
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
		state, pgrp := stat(pid)
		switch {
		case state == 0 || state == 'Z' || state == 'X':
		case pgrp == f.cmd.Process.Pid:
			group++
		case f.marked(pid):
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
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
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

// stat returns the state and the process group of a process; zeros if it is gone.
func stat(pid int) (state byte, pgrp int) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0
	}
	// pid (name) state ppid pgrp …; the name may hold anything, also brackets.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 3 {
		return 0, 0
	}
	pgrp, err = strconv.Atoi(fields[2])
	if err != nil {
		return 0, 0
	}
	return fields[0][0], pgrp
}
