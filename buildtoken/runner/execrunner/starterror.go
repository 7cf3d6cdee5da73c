package execrunner

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// startError adds to an error of the start what the system leaves out of it.
func startError(err error, cmd *exec.Cmd, as *account) error {
	var of *os.PathError
	switch {
	case errors.As(err, &of) && of.Op != "fork/exec": // it names the file: not the program, but /dev/null or the directory
		return err
	case as != nil && as.other && errors.Is(err, os.ErrPermission):
		return fmt.Errorf("run as user %s: %w (this process needs the right to switch users, and the user the right to enter %s)",
			as.name, err, cmd.Dir)
	case as != nil && as.other && errors.Is(err, os.ErrNotExist):
		// This process does not look into files with its own rights that another user can replace by links.
		return fmt.Errorf("run as user %s: %w (one of these does not exist: the program, the interpreter that its first line names, "+
			"the directory %s)", as.name, err, cmd.Dir)
	case as != nil && as.other:
		return err
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission), errors.Is(err, syscall.ENOEXEC):
		if reason := whyNotExecutable(cmd.Path); reason != "" {
			return fmt.Errorf("%w: %s", err, reason)
		}
	}
	return err
}

// whyNotExecutable explains why a file that exists cannot be executed, or returns "".
func whyNotExecutable(path string) string {
	f, err := os.Open(path) //nolint:gosec // the configured program
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // it was only read
	line, err := bufio.NewReader(io.LimitReader(f, 256)).ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	script, ok := bytes.CutPrefix(line, []byte("#!"))
	switch {
	case ok:
		return whyNotInterpreted(string(script))
	case bytes.HasPrefix(line, []byte("\ufeff#!")):
		return "the script begins with a byte order mark, remove it: the file must begin with #!"
	case bytes.HasPrefix(line, []byte("\x7fELF")), bytes.HasPrefix(line, []byte("MZ")):
		return "the file is a program for another system, or its loader is not installed"
	}
	return "the file has no #! line: add one, such as #!/bin/sh"
}

// whyNotInterpreted explains what is wrong with the interpreter in a first line, of which the #! was cut off.
func whyNotInterpreted(line string) string {
	name, _, _ := strings.Cut(strings.Trim(line, " \t\n"), " ")
	name, _, _ = strings.Cut(name, "\t")
	st, err := os.Stat(name)
	switch {
	case strings.TrimSpace(name) == "":
		return "the script's #! line names no interpreter"
	case err != nil && strings.HasSuffix(name, "\r"):
		return fmt.Sprintf("the script exists, but its interpreter %q does not: the lines end in CRLF, convert them to LF", name)
	case err != nil:
		return fmt.Sprintf("the script exists, but its interpreter %q does not", name)
	case st.IsDir() || st.Mode()&0o111 == 0:
		return fmt.Sprintf("the script's interpreter %q is not an executable file", name)
	}
	return ""
}
