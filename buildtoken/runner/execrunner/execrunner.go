// Package execrunner runs a build as a local command, without a shell, in a separate session and without a terminal.
//
// The build gets exactly the environment that the configuration and the [runner.Build] name, an empty standard input, and
// no other descriptor of this process. The processes that it leaves when it ends are ended too, as far as the system can
// tell which these are:
//
//   - On Linux, if the process may create control groups (version 2, Linux 5.14, as root or below a group that systemd
//     delegated), all of them. Only a build that runs as root, or as this process's own user, can move a process out of
//     its group.
//   - Elsewhere on Linux: all that stayed in the session, and those outside it that kept the variables QUEUE_ID, JOB_NAME,
//     BUILD_NUMBER and WORKSPACE. The search takes at most 100 ms. A process that does both, as with env -i setsid, stays.
//   - On Windows, all of them, by a job object. A process that the command starts in its very first instant can escape.
//   - On other systems, those that stayed in the process group.
//
// Parameters in arguments are visible to all users of the machine in the process list, and a value that begins with "-"
// can look like an option to the command; in the environment it is neither. Windows cannot ask most programs to end, so
// KillDelay helps only console programs that handle CTRL+BREAK there; and SYSTEMROOT is always set.
package execrunner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// DefaultKillDelay is used if [Config.KillDelay] is zero.
const DefaultKillDelay = 5 * time.Second

// Config describes the command. Only Command is required.
type Config struct {
	// Command is the program: a path, relative to the directory where the build starts, or a name that is looked up in
	// the PATH that the build gets.
	Command string
	// Args are its arguments. {param.NAME} is replaced by the parameter's value, which stays within that one argument
	// and is not expanded again.
	Args []string
	// Dir is where the build starts, and overrides [runner.Build.Dir]. A relative path is below the workspace and must
	// not leave it.
	Dir string
	// Env are additional variables, as NAME=value. They override inherited variables and those of the build, except for
	// parameters and the variables that identify the build (JOB_NAME, BUILD_NUMBER, QUEUE_ID, WORKSPACE).
	Env []string
	// InheritEnv names the variables that are copied from this process when the build starts; one that is not set stays
	// unset. Nil means PATH, HOME, LANG and TZ; empty means none.
	InheritEnv []string
	// KillDelay is how long the processes of a build may run on after they were asked to end, before they are killed.
	// Zero means [DefaultKillDelay]; there is no "never".
	KillDelay time.Duration
	// Unstable is the exit status that means [runner.Unstable] instead of [runner.Failure]; zero means none.
	Unstable int
	// User is the name of the user to run as; this process needs the right to switch. The workspace is given to that
	// user, and an inherited HOME is that user's. Empty means the user of this process. Not on Windows.
	User string
}

// Runner runs one configured command. It is safe for concurrent use. Create one with [New].
type Runner struct {
	config Config
	args   []runner.Template
	// cgroups returns the directory in which control groups are created, or "" if there is none.
	cgroups func() string
}

// New checks the configuration and returns its runner. The command, the directory and the user are looked up only when a
// build starts. No error contains the value of a variable.
func New(c Config) (*Runner, error) {
	r := &Runner{config: c, cgroups: sync.OnceValue(ownCgroup)}
	if c.Command == "" || strings.ContainsRune(c.Command, 0) {
		return nil, fmt.Errorf("execrunner: bad command %q", c.Command)
	}
	for i, a := range c.Args {
		t, err := runner.ParseTemplate(a)
		if err != nil {
			return nil, fmt.Errorf("execrunner: argument %d: %w", i+1, err)
		}
		r.args = append(r.args, t)
	}
	for _, e := range c.Env {
		name, value, ok := strings.Cut(e, "=")
		if !ok || name == "" || strings.ContainsRune(name, 0) {
			return nil, fmt.Errorf("execrunner: bad name of an environment variable %q", name)
		}
		if strings.ContainsRune(value, 0) {
			return nil, fmt.Errorf("execrunner: environment variable %s holds a NUL byte", name)
		}
	}
	for _, name := range c.InheritEnv {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return nil, fmt.Errorf("execrunner: bad name of an environment variable %q", name)
		}
	}
	if err := checkDir(c.Dir); err != nil {
		return nil, fmt.Errorf("execrunner: %w", err)
	}
	if c.KillDelay < 0 {
		return nil, fmt.Errorf("execrunner: negative kill delay %v", c.KillDelay)
	}
	if c.Unstable < 0 || c.Unstable > 255 {
		return nil, fmt.Errorf("execrunner: unstable exit status %d: it must be from 1 to 255", c.Unstable)
	}
	if c.User != "" && runtime.GOOS == "windows" {
		return nil, errors.New("execrunner: cannot run as another user on windows")
	}
	if c.InheritEnv == nil {
		r.config.InheritEnv = []string{"PATH", "HOME", "LANG", "TZ"}
	}
	if c.KillDelay == 0 {
		r.config.KillDelay = DefaultKillDelay
	}
	return r, nil
}

// Params returns the names of the parameters that the arguments refer to, each once, in order. A build that is missing
// one of them is not started.
func (r *Runner) Params() []string {
	var names []string
	for _, t := range r.args {
		for _, name := range t.Params() {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// expand returns the arguments with the parameters' values in the place of the references.
func (r *Runner) expand(params []runner.Param) ([]string, error) {
	args := make([]string, len(r.args))
	for i, t := range r.args {
		var err error
		if args[i], err = t.Expand(params, nil); err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
	}
	return args, nil
}

// Fits implements [runner.Sizer]: each argument and each NAME=value must be shorter than 128 KiB, and all of them
// together, counted as the kernel does, not larger than 1.5 MiB. No value may hold a NUL byte.
func (r *Runner) Fits(env []string, params []runner.Param) error {
	for _, p := range params {
		if !hasVariable(env, p.Name) {
			env = append(env[:len(env):len(env)], p.Name+"="+p.Value)
		}
	}
	args, err := r.expand(params)
	if err != nil {
		return err
	}
	return checkSize(args, r.environ(env, params, ""), params)
}

// Run implements [runner.Runner]. Exit status 0 is [runner.Success], [Config.Unstable] is [runner.Unstable], and any other
// status or a death by a signal is [runner.Failure]. When ctx ends, all processes of the build get SIGTERM, and SIGKILL
// after the kill delay.
func (r *Runner) Run(ctx context.Context, b runner.Build, log io.Writer) runner.Result {
	return r.run(ctx, b, log).Result
}

// Poll implements [runner.Poller]: exit status 0 means that something changed, 1 that nothing did; any other is an error.
func (r *Runner) Poll(ctx context.Context, b runner.Build, log io.Writer) (bool, error) {
	e := r.run(ctx, b, log)
	switch {
	case e.Outcome == runner.Success:
		return true, nil
	case e.Outcome == runner.Failure && e.status == 1:
		return false, nil
	case e.Outcome == runner.Aborted:
		return false, fmt.Errorf("execrunner: poll: %w", context.Cause(ctx))
	}
	return false, fmt.Errorf("execrunner: poll: %s", e.Reason)
}

// checkDir refuses a relative directory that leads out of the workspace.
func checkDir(dir string) error {
	if strings.ContainsRune(dir, 0) || dir != "" && !filepath.IsAbs(dir) && !filepath.IsLocal(dir) {
		return fmt.Errorf("directory %q leads out of the workspace", dir)
	}
	return nil
}

var (
	_ runner.Runner = (*Runner)(nil)
	_ runner.Sizer  = (*Runner)(nil)
	_ runner.Poller = (*Runner)(nil)
)
