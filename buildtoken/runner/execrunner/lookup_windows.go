package execrunner

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const pathSeparators = `/\:`

// program returns path, or path with one of the extensions of PATHEXT, if it is a file.
func program(path string, env []string) (string, error) {
	extensions := value(env, "PATHEXT")
	if extensions == "" {
		extensions = ".com;.exe;.bat;.cmd"
	}
	candidates := []string{}
	if filepath.Ext(path) != "" {
		candidates = append(candidates, path)
	}
	for e := range strings.SplitSeq(extensions, ";") {
		if e != "" {
			candidates = append(candidates, path+"."+strings.TrimPrefix(e, "."))
		}
	}
	for _, c := range candidates {
		if st, err := os.Stat(c); err == nil && !st.IsDir() {
			return c, nil
		}
	}
	return "", &fs.PathError{Op: "exec", Path: path, Err: fs.ErrNotExist}
}

// checkProgram refuses to pass parameters to a batch file as arguments: cmd.exe interprets them as a shell does, and no
// quoting prevents that. In the environment they are safe.
func (r *Runner) checkProgram(path string) error {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".bat", ".cmd":
		if len(r.Params()) > 0 {
			return fmt.Errorf("%s is a batch file: {param.%s} in an argument is not safe there, use the environment variable", path, r.Params()[0])
		}
	}
	return nil
}
