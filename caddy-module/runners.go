package caddymodule

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/runner/execrunner"
)

func init() {
	caddy.RegisterModule(new(ExecRunner))
	caddy.RegisterModule(new(ExecPoller))
}

// Exec is a command and how it is run. There is no shell; one argument stays
// one argument, and the command gets only those variables of Caddy's environment that are named here.
//
// In the command, its arguments, the directory and the variables, placeholders
// like `{env.NAME}` and `{file./path}` are replaced once, when the configuration is loaded; one
// that resolves to nothing is an error. All other braces are text.
type Exec struct {
	// The program: a path, or a name to be looked up in the PATH of the build.
	Command string `json:"command"`

	// Its arguments. `{param.NAME}` becomes the value of a parameter; all users
	// of the machine can see it in the list of processes.
	Args []string `json:"args,omitempty"`

	// Where it starts; a relative path is one in the job's workspace. Default:
	// that of the job, else the workspace.
	Dir string `json:"dir,omitempty"`

	// More environment variables.
	Env map[string]string `json:"env,omitempty"`

	// The variables that it gets of Caddy's own environment; an empty list: none.
	// Default: PATH, HOME, LANG and TZ.
	InheritEnv []string `json:"inherit_env,omitzero"`

	// How long it has to end after SIGTERM, before it is killed. Default: 5s.
	KillDelay caddy.Duration `json:"kill_delay,omitempty"`

	// The name of the user to run as; Caddy needs the right to switch. Default: Caddy's own user; for a command that looks
	// for changes, the user of the job's runner. If it names another one, it has a separate workspace.
	User string `json:"user,omitempty"`

	// The exit status that means UNSTABLE instead of FAILURE. Default: none.
	Unstable int `json:"unstable,omitempty"`

	config execrunner.Config
	runner *execrunner.Runner
}

// ExecRunner runs a local command as the build.
type ExecRunner struct {
	Exec
}

// ExecPoller runs a local command to see whether there is something to build:
// it exits with 0 if there is, with 1 if there is not.
type ExecPoller struct {
	Exec

	separate bool
}

// CaddyModule returns the Caddy module information.
func (*ExecRunner) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "build_token.runners.exec",
		New: func() caddy.Module { return new(ExecRunner) },
	}
}

// CaddyModule returns the Caddy module information.
func (*ExecPoller) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "build_token.pollers.exec",
		New: func() caddy.Module { return new(ExecPoller) },
	}
}

// Provision checks the command. It starts nothing and looks nothing up.
func (e *Exec) Provision(caddy.Context) error {
	replaced, err := replaceAll(append([]string{e.Command, e.Dir}, e.Args...))
	if err != nil {
		return err
	}
	e.config = execrunner.Config{
		Command: replaced[0], Dir: replaced[1], Args: replaced[2:],
		InheritEnv: e.InheritEnv, KillDelay: time.Duration(e.KillDelay), User: e.User, Unstable: e.Unstable,
	}
	for _, name := range slices.Sorted(maps.Keys(e.Env)) {
		value, err := placeholders{}.replace(e.Env[name])
		if err != nil {
			return fmt.Errorf("env %s: %w", name, err)
		}
		e.config.Env = append(e.config.Env, name+"="+value)
	}
	e.runner, err = execrunner.New(e.config)
	return err
}

// beside makes the poller run as the user of the job's runner, unless it names one. Another user has a separate workspace:
// in a common one, each could leave links that the other follows with its own rights.
func (e *ExecPoller) beside(r runner.Runner) (err error) {
	run, ok := r.(*ExecRunner)
	if !ok || run.User == e.User {
		return nil
	}
	if e.User != "" {
		e.separate = true
		return nil
	}
	e.config.User = run.User
	e.runner, err = execrunner.New(e.config)
	return err
}

// Separate implements [runner.Separate].
func (e *ExecPoller) Separate() bool { return e.separate }

func replaceAll(texts []string) ([]string, error) {
	replaced := make([]string, len(texts))
	for i, text := range texts {
		var err error
		if replaced[i], err = (placeholders{}).replace(text); err != nil {
			return nil, err
		}
	}
	return replaced, nil
}

// Params are the parameters that the arguments refer to.
func (e *Exec) Params() []string { return e.runner.Params() }

// Missing returns why no build could start now; see [execrunner.Runner.Missing].
func (e *Exec) Missing(env []string) error { return e.runner.Missing(env) }

// Run implements [runner.Runner].
func (e *ExecRunner) Run(ctx context.Context, b runner.Build, log io.Writer) runner.Result {
	return e.runner.Run(ctx, b, log)
}

// Fits implements [runner.Sizer].
func (e *ExecRunner) Fits(env []string, params []runner.Param) error {
	return e.runner.Fits(env, params)
}

// Reap ends what is left of a build whose server died; see [execrunner.Runner.Reap].
func (e *ExecRunner) Reap(ctx context.Context, b runner.Build) (found int, err error) {
	return e.runner.Reap(ctx, b)
}

// Poll implements [runner.Poller].
func (e *ExecPoller) Poll(ctx context.Context, b runner.Build, log io.Writer) (bool, error) {
	return e.runner.Poll(ctx, b, log)
}

var (
	_ caddy.Provisioner = (*Exec)(nil)
	_ runner.Runner     = (*ExecRunner)(nil)
	_ runner.Sizer      = (*ExecRunner)(nil)
	_ runner.Poller     = (*ExecPoller)(nil)
	_ runner.Separate   = (*ExecPoller)(nil)
)
