//go:build unix

package execrunner

import (
	"io/fs"
	"os"
	"syscall"
)

const pathSeparators = "/"

// program returns path if it is an executable file of someone; whether this user may run it is seen at the start.
func program(path string, _ []string) (string, error) {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return "", err
	case st.IsDir():
		return "", &fs.PathError{Op: "exec", Path: path, Err: syscall.EISDIR}
	case st.Mode()&0o111 == 0:
		return "", &fs.PathError{Op: "exec", Path: path, Err: fs.ErrPermission}
	}
	return path, nil
}

// checkProgram accepts every program: on Unix an argument reaches it unchanged.
func (r *Runner) checkProgram(string) error { return nil }
