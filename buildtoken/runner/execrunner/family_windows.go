package execrunner

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// family is the process of a build and the job object that holds it and all its descendants.
type family struct {
	cmd *exec.Cmd
	job windows.Handle
	err error // returned by waiting for the process
}

// accounting is JOBOBJECT_BASIC_ACCOUNTING_INFORMATION.
type accounting struct {
	times          [4]int64
	pageFaults     uint32
	total          uint32
	active         uint32
	terminatedOver uint32
}

// accountingClass is JobObjectBasicAccountingInformation.
const accountingClass = 1

// start starts the process and puts it into a job object, which ends all its processes when the handle is closed, even by
// the death of this process. A process that the command starts before it is in the job object escapes. The caller calls
// waitExit once, then reap once, then close.
func start(cmd *exec.Cmd, _ *account, _ string) (*family, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return nil, os.NewSyscallError("CreateJobObject", err)
	}
	limits := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{}
	limits.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits)))
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("SetInformationJobObject", err), windows.CloseHandle(job))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, windows.CloseHandle(job))
	}
	if err := cmd.Process.WithHandle(func(h uintptr) {
		err = windows.AssignProcessToJobObject(job, windows.Handle(h))
	}); err != nil {
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait(), windows.CloseHandle(job))
	}
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("AssignProcessToJobObject", err),
			cmd.Process.Kill(), cmd.Wait(), windows.CloseHandle(job))
	}
	return &family{cmd: cmd, job: job}, nil
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

// living returns how many processes are in the job object.
func (f *family) living() int {
	var a accounting
	err := windows.QueryInformationJobObject(f.job, accountingClass, uintptr(unsafe.Pointer(&a)), uint32(unsafe.Sizeof(a)), nil)
	if err != nil {
		return 0
	}
	return int(a.active)
}

// terminate sends CTRL+BREAK, on which console programs end.
func (f *family) terminate() {
	_ = windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(f.cmd.Process.Pid)) // an error means that there is no console
}

// kill ends all processes of the job object.
func (f *family) kill() {
	_ = windows.TerminateJobObject(f.job, 1) // an error means that none is left
}

// close ends the processes that are left.
func (f *family) close() { _ = windows.CloseHandle(f.job) }

// defaultSIGPIPE does nothing: there is no such signal on Windows.
func defaultSIGPIPE() {}

// readNow is never reached: pipes have no deadlines on Windows.
func readNow(*os.File, []byte) (int, error) { return 0, nil }
