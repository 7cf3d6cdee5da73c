package execrunner

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// lookup finds the program as the build would: a path from the directory where it starts, a bare name in its own PATH.
// Relative entries of PATH are ignored, so that write access to the workspace is not enough to decide what runs. A path
// is not checked for another user, for the reason given at [Runner.dir].
func lookup(command, dir string, env []string, as *account) (string, error) {
	if strings.ContainsAny(command, pathSeparators) {
		path := command
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		if as != nil && as.other {
			return path, nil
		}
		found, err := program(path, env)
		if err != nil {
			return "", &exec.Error{Name: command, Err: err}
		}
		return found, nil
	}
	var denied error
	for _, d := range filepath.SplitList(value(env, "PATH")) {
		if !filepath.IsAbs(d) {
			continue
		}
		found, err := program(filepath.Join(d, command), env)
		if err == nil {
			return found, nil
		}
		if errors.Is(err, os.ErrPermission) {
			denied = err
		}
	}
	if denied != nil {
		return "", &exec.Error{Name: command, Err: denied}
	}
	return "", &exec.Error{Name: command, Err: exec.ErrNotFound}
}
