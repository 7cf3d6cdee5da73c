//go:build unix

package execrunner_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/runner/execrunner"
)

// TestInheritableDescriptorsStayHere gives this process a descriptor as a parent could, without close-on-exec.
func TestInheritableDescriptorsStayHere(t *testing.T) {
	file, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd, err := syscall.Dup(int(file.Fd())) // which does not copy close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	script := fmt.Sprintf("if (: <&%d) 2>/dev/null; then echo inherited; else echo closed; fi", fd)
	res, log := run(t, shell(script), newBuild(t))
	want(t, res, runner.Success, "")
	if log != "closed\n" {
		t.Errorf("descriptor %d: log = %q, want it closed", fd, log)
	}
}

// TestListedDescriptorsAreMarked covers the way without close_range.
func TestListedDescriptorsAreMarked(t *testing.T) {
	for _, dir := range []string{"/dev/fd", "/no/such/directory"} {
		fd, err := syscall.Dup(1)
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(fd)
		execrunner.CloseListedOnExec(dir)
		flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
		if errno != 0 || flags&syscall.FD_CLOEXEC == 0 {
			t.Errorf("by %s: flags of descriptor %d = %d, %v; want close-on-exec", dir, fd, flags, errno)
		}
	}
}
