//go:build unix

package execrunner_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

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
	if _, err := unix.FcntlInt(3, unix.F_SETFD, 0); err != nil && !errors.Is(err, syscall.EBADF) { // the first of them, if it is open
		t.Fatal(err)
	}
	script := fmt.Sprintf("if (: <&%d) 2>/dev/null; then echo inherited; else echo closed; fi", fd)
	res, log := run(t, shell(script), newBuild(t))
	want(t, res, runner.Success, "")
	if log != "closed\n" {
		t.Errorf("descriptor %d: log = %q, want it closed", fd, log)
	}
	for fd, want := range map[int]bool{2: false, 3: true} {
		if got := closesOnExec(t, fd); got != want {
			t.Errorf("descriptor %d of this process is closed on exec: %v, want %v", fd, got, want)
		}
	}
}

// TestListedDescriptorsAreMarked covers the way without close_range.
func TestListedDescriptorsAreMarked(t *testing.T) {
	incomplete := t.TempDir()
	if err := os.WriteFile(filepath.Join(incomplete, "1000"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, dir string
		fd        int
		lowered   bool // the limit of descriptors is 100
		marked    bool
	}{
		{"by the list", "/dev/fd", 3, false, true},
		{"by the list, above a limit that was lowered", "/dev/fd", 200, true, true},
		{"without a list", "/no/such/directory", 3, false, true},
		{"without a list, the last one", "/no/such/directory", 99, true, true},
		{"by a list that is not complete", incomplete, 3, false, true},
		{"not the standard input", "/dev/fd", 0, false, false},
		{"not the standard error", "/dev/fd", 2, false, false},
		{"not the standard error without a list", "/no/such/directory", 2, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.fd > 2 { // then it may not be open yet
				open, err := unix.FcntlInt(1, unix.F_DUPFD, tt.fd)
				if err != nil {
					t.Fatal(err)
				}
				defer syscall.Close(open)
			}
			if _, err := unix.FcntlInt(uintptr(tt.fd), unix.F_SETFD, 0); err != nil {
				t.Fatal(err)
			}
			if tt.lowered {
				var limit syscall.Rlimit
				if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
					t.Fatal(err)
				}
				lowered := limit
				lowered.Cur = 100
				if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lowered); err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
						t.Error(err)
					}
				}()
			}
			execrunner.CloseListedOnExec(tt.dir)
			if got := closesOnExec(t, tt.fd); got != tt.marked {
				t.Errorf("descriptor %d is closed on exec: %v, want %v", tt.fd, got, tt.marked)
			}
		})
	}
}

func closesOnExec(t *testing.T, fd int) bool {
	t.Helper()
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil {
		t.Fatal(err)
	}
	return flags&unix.FD_CLOEXEC != 0
}
