//go:build unix && !linux

package execrunner

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// family is the process of a build and its process group. A process that leaves the group is not found.
type family struct {
	cmd *exec.Cmd
	err error // returned by waiting for the process
}

// start starts the process. The caller calls waitExit once, then reap once, then close.
func start(cmd *exec.Cmd, as *account, _ string) (*family, error) {
	cmd.SysProcAttr = attributes(as)
	closeListedOnExec("/dev/fd")
	return &family{cmd: cmd}, cmd.Start()
}

// waitExit returns when the process has exited.
func (f *family) waitExit() { f.err = f.cmd.Wait() }

// reap returns how the process ended; an error means that this is unknown.
func (f *family) reap() (*os.ProcessState, error) {
	if f.err != nil && !errors.As(f.err, new(*exec.ExitError)) {
		return nil, f.err
	}
	return f.cmd.ProcessState, nil
}

// living returns how many processes of the group still run.
func (f *family) living() int { return countGroup(f.cmd.Process.Pid) }

// terminate sends SIGTERM to all processes of the group.
func (f *family) terminate() { signalGroup(f.cmd, syscall.SIGTERM) }

// kill kills all processes of the group.
func (f *family) kill() { signalGroup(f.cmd, syscall.SIGKILL) }

func (f *family) close() {}
