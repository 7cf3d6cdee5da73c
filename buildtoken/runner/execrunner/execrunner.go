// Package execrunner runs a build as a local command, without a shell, in a process group of its own.
//
// The build gets exactly the environment that the configuration and the [runner.Build] name. What it leaves running
// when it ends is ended too, on Linux also what left the process group (a daemon), as long as it kept the environment.
//
// What will bite: a parameter that stands in an argument is visible to all users of the machine in the process list,
// and may look like an option to the command if it begins with "-"; in the environment it is neither. On systems other
// than Linux and Windows, a process that leaves its group is not found. Windows has no polite way to end most programs,
// so there KillDelay only helps console programs that handle CTRL+BREAK; and SYSTEMROOT is always set.
package execrunner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// DefaultKillDelay is the [Config.KillDelay] that zero stands for.
const DefaultKillDelay = 5 * time.Second

// Config says what to run. Only Command is required.
type Config struct {
	// Command is the program: a path, relative to the directory where the build starts, or a name that is looked up in
	// the PATH that the build gets.
	Command string
	// Args are its arguments. {param.NAME} becomes the parameter's value inside that one argument, whatever the value
	// holds, and is not looked at again.
	Args []string
	// Dir is where the build starts, before [runner.Build.Dir]; relative to the workspace, which it may not leave then.
	Dir string
	// Env are more variables, as NAME=value. They win over the inherited ones and those of the build, and
	// lose against parameters and what tells this build from others (JOB_NAME, BUILD_NUMBER, QUEUE_ID, WORKSPACE).
	Env []string
	// InheritEnv names the variables that are taken from this process, with the values they have when the build
	// starts; one that is not set stays unset. Nil means PATH, HOME, LANG and TZ; empty means none.
	InheritEnv []string
	// KillDelay is how long what is left of a build may go on after it was asked to end, before it is killed. Zero
	// means [DefaultKillDelay]; there is no "never".
	KillDelay time.Duration
	// User is the name of the user to run as; this process needs the right to switch. The workspace is given to that
	// user, and an inherited HOME is that user's. Empty means the user of this process. Not on Windows.
	User string
}

// Runner runs one configured command. Its methods may be called at the same time. Make one with [New].
type Runner struct {
	config Config
	args   []template
}

// New checks the configuration. It looks at nothing outside it: the command, the directory and the user are looked up
// when a build starts. No error holds the value of a variable.
func New(c Config) (*Runner, error) {
	r := &Runner{config: c}
	if c.Command == "" || strings.ContainsRune(c.Command, 0) {
		return nil, fmt.Errorf("execrunner: bad command %q", c.Command)
	}
	for i, a := range c.Args {
		t, err := parseTemplate(a)
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

// Params returns the names of the parameters that the arguments refer to, each once, in order. A build without one of
// them is not started.
func (r *Runner) Params() []string {
	var names []string
	seen := make(map[string]bool)
	for _, t := range r.args {
		for _, p := range t {
			if p.param != "" && !seen[p.param] {
				seen[p.param] = true
				names = append(names, p.param)
			}
		}
	}
	return names
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

// Run implements [runner.Runner]. Exit status 0 is a success, any other and a death by signal a failure. When ctx
// ends, the process group gets SIGTERM, and SIGKILL after the kill delay.
func (r *Runner) Run(ctx context.Context, b runner.Build, log io.Writer) runner.Result {
	return r.run(ctx, b, log).Result
}

// Poll implements [runner.Poller]: exit status 0 means that something changed, 1 that nothing did, anything else is an
// error.
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
