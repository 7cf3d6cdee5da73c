package execrunner

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lookLimit bounds one search through all processes of the machine at the end of a build.
	lookLimit = 100 * time.Millisecond
	// reapLimit bounds one search for what a server that died left, which happens only at a start.
	reapLimit = 5 * time.Second
)

// family is the process of a build and all its descendants. They are found by their control group, or, if none could be
// created, by a search through /proc. The process stays a zombie until reap, so its number, which is also that of its
// session and process group, cannot be reused before.
type family struct {
	cmd *exec.Cmd // nil if the process is no child of this one
	// marks are the variables that together identify the build.
	marks [][]byte
	// cgroups are the control groups of the build.
	cgroups []cgroup
	// search has the processes found in /proc.
	search *search
}

// start starts the process, if possible in a control group below cgroups; "" means without one. The caller calls waitExit once, then reap once, then close.
func start(cmd *exec.Cmd, as *account, cgroups string) (*family, error) {
	f := &family{marks: marks(cmd.Env)}
	if err := f.startInCgroup(cmd, as, cgroups); err == nil {
		return f, nil
	} // else start it without: a container may forbid clone3, for example
	f.cmd = again(cmd, as)
	if err := startIsolated(f.cmd); err != nil {
		return nil, err
	}
	pid := f.cmd.Process.Pid
	f.search = &search{session: pid, began: stat(pid).began, marks: f.marks, limit: lookLimit}
	return f, nil
}

// again returns a copy of a command that has not been started.
func again(cmd *exec.Cmd, as *account) *exec.Cmd {
	return &exec.Cmd{
		Path: cmd.Path, Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir, Stdout: cmd.Stdout, Stderr: cmd.Stderr,
		SysProcAttr: attributes(as),
	}
}

func (f *family) startInCgroup(cmd *exec.Cmd, as *account, cgroups string) error {
	c, err := newCgroup(cgroups, f.marks)
	if err != nil {
		return err
	}
	dir, err := os.Open(string(c))
	if err == nil {
		f.cmd = again(cmd, as)
		f.cmd.SysProcAttr.UseCgroupFD, f.cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
		err = errors.Join(startIsolated(f.cmd), dir.Close())
	}
	if err != nil {
		c.remove()
		return err
	}
	f.cgroups = []cgroup{c}
	return nil
}

// startIsolated starts the process on a thread without the ambient capabilities of this process, which the kernel would
// pass on even over a change of the user: the right to listen on port 443, or to switch users, is not for builds.
func startIsolated(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() { // ends at once
		// The thread must not get back the rights it loses, so it is never unlocked and ends with its goroutine.
		runtime.LockOSThread()
		err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		if err != nil && !errors.Is(err, unix.EINVAL) { // a kernel before 4.3 has none
			started <- fmt.Errorf("drop ambient capabilities: %w", err)
			return
		}
		closeOnExec()
		started <- cmd.Start()
	}()
	return <-started
}

// marks returns the variables that identify a build, or nil if it has none that make it unique. WORKSPACE distinguishes
// two servers on one machine, which can have equal jobs.
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

// reap returns how the process ended; an error means that this is unknown. First it kills the process group once more,
// in case a search missed a process that was being started.
func (f *family) reap() (*os.ProcessState, error) {
	signalGroup(f.cmd, syscall.SIGKILL)
	if err := f.cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		return nil, err
	}
	return f.cmd.ProcessState, nil
}

// living returns how many processes of the build still run.
func (f *family) living() int { return len(f.members()) }

func (f *family) members() []int {
	var pids []int
	for _, c := range f.cgroups {
		pids = append(pids, c.processes()...)
	}
	if f.search != nil {
		pids = append(pids, f.search.find()...)
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}

// terminate sends SIGTERM to all processes of the build.
func (f *family) terminate() { f.signal(syscall.SIGTERM) }

// kill kills all processes of the build.
func (f *family) kill() {
	for _, c := range f.cgroups {
		c.kill()
	}
	if f.search != nil {
		f.signal(syscall.SIGKILL)
	}
}

// signal sends a signal to the process group as a whole, and to each process outside it. Between the search and the
// signal a process may end and its number go to another, so each is held by a descriptor and looked for once more.
func (f *family) signal(sig syscall.Signal) {
	group := -1
	if f.cmd != nil {
		group = f.cmd.Process.Pid
		signalGroup(f.cmd, sig)
	}
	held := map[int]int{}
	for _, pid := range outside(group, f.members()) {
		fd, err := unix.PidfdOpen(pid, 0)
		switch {
		case err == nil:
			held[pid] = fd
		case errors.Is(err, unix.ENOSYS): // before Linux 5.3
			_ = syscall.Kill(pid, sig)
		}
	}
	if len(held) > 0 {
		for _, pid := range f.members() {
			if fd, ok := held[pid]; ok {
				_ = unix.PidfdSendSignal(fd, sig, nil, 0) // an error means that it is gone, or that we lack the right
			}
		}
	}
	for _, fd := range held {
		_ = unix.Close(fd)
	}
}

// outside returns the processes that are not in the process group, without those that are gone.
func outside(group int, pids []int) []int {
	return slices.DeleteFunc(pids, func(pid int) bool {
		g, err := unix.Getpgid(pid)
		return err != nil || g == group
	})
}

func (f *family) close() {
	for _, c := range f.cgroups {
		c.remove()
	}
}
