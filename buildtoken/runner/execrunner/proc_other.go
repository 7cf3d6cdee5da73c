//go:build unix && !linux

package execrunner

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// family is the process of a build and its process group. What leaves the group is out of reach here.
type family struct {
	cmd *exec.Cmd
	err error // what waiting for the process gave
}

// start starts the process. The caller calls waitExit once, then reap once, then close.
func start(cmd *exec.Cmd, as *account) (*family, error) {
	cmd.SysProcAttr = attributes(as)
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

// living counts the processes of the group that still run.
func (f *family) living() int { return countGroup(f.cmd.Process.Pid) }

// terminate asks all of them to end.
func (f *family) terminate() { signalGroup(f.cmd, syscall.SIGTERM) }

// kill ends all of them.
func (f *family) kill() { signalGroup(f.cmd, syscall.SIGKILL) }

func (f *family) close() {}
