package execrunner

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// The limits of Linux: MAX_ARG_STRLEN for one string with its NUL, and for all of them a quarter of the stack, usually of
// 8 MiB, in which the pointers to the strings count too. maxTotal stays well below that.
const (
	maxString = 128 << 10
	maxTotal  = 1<<20 + 512<<10
	pointer   = 8
)

// environ returns the whole environment of a build: inherited variables, then those of the build, then those of the
// configuration. A later variable overrides an earlier one, but the configuration overrides neither parameters nor the
// variables that identify the build. home, if not empty, is the HOME of the user that the build runs as.
func (r *Runner) environ(own []string, params []runner.Param, home string) []string {
	var all []string
	for _, name := range r.config.InheritEnv {
		if name == "HOME" && home != "" {
			all = append(all, "HOME="+home)
		} else if v, ok := os.LookupEnv(name); ok {
			all = append(all, name+"="+v)
		}
	}
	all = append(all, own...)
	for _, e := range r.config.Env {
		name := variable(e)
		if !slices.ContainsFunc(params, func(p runner.Param) bool { return variable(p.Name) == name }) && !identity(name, own) {
			all = append(all, e)
		}
	}

	at := make(map[string]int, len(all))
	env := make([]string, 0, len(all))
	for _, e := range all {
		name := variable(e)
		if i, ok := at[name]; ok {
			env[i] = e
			continue
		}
		at[name] = len(env)
		env = append(env, e)
	}
	return env
}

// identity reports whether the build has this variable, and its processes are found by it.
func identity(name string, own []string) bool {
	return slices.Contains([]string{"QUEUE_ID", "JOB_NAME", "BUILD_NUMBER", "WORKSPACE"}, name) && hasVariable(own, name)
}

// variable returns the name in NAME=value. On Windows, which ignores case in names, it is in upper case.
func variable(entry string) string {
	name, _, _ := strings.Cut(entry, "=")
	if runtime.GOOS == "windows" {
		return strings.ToUpper(name)
	}
	return name
}

func hasVariable(env []string, name string) bool {
	for _, e := range env {
		if variable(e) == variable(name) {
			return true
		}
	}
	return false
}

// value returns the value of the variable, or "".
func value(env []string, name string) string {
	for _, e := range env {
		if variable(e) == variable(name) {
			_, v, _ := strings.Cut(e, "=")
			return v
		}
	}
	return ""
}

// checkSize refuses arguments and variables that the system cannot pass to a process. An error names the parameter, or
// else the variable or argument at fault, and contains no value.
func checkSize(args, env []string, params []runner.Param) error {
	for _, p := range params {
		switch {
		case strings.ContainsRune(p.Value, 0):
			return fmt.Errorf("parameter %s holds a NUL byte: %w", p.Name, runner.ErrBadValue)
		case len(p.Name)+len("=")+len(p.Value) >= maxString:
			return fmt.Errorf("parameter %s is longer than %d bytes: %w", p.Name, maxString, runner.ErrTooLarge)
		}
	}
	total := 0
	check := func(s string, what func() string) error {
		total += len(s) + 1 + pointer
		switch {
		case strings.ContainsRune(s, 0):
			return fmt.Errorf("%s holds a NUL byte: %w", what(), runner.ErrBadValue)
		case len(s) >= maxString:
			return fmt.Errorf("%s is longer than %d bytes%s: %w", what(), maxString, largest(params), runner.ErrTooLarge)
		}
		return nil
	}
	for i, e := range env {
		if strings.IndexByte(e, '=') <= 0 {
			return fmt.Errorf("environment variable %d is not of the form NAME=value: %w", i+1, runner.ErrBadValue)
		}
		if err := check(e, func() string { return "environment variable " + variable(e) }); err != nil {
			return err
		}
	}
	for i, a := range args {
		if err := check(a, func() string { return fmt.Sprintf("argument %d", i+1) }); err != nil {
			return err
		}
	}
	if total > maxTotal {
		return fmt.Errorf("all arguments and variables take %d bytes together, more than %d%s: %w",
			total, maxTotal, largest(params), runner.ErrTooLarge)
	}
	return nil
}

// largest names the largest parameter for an error about the total size, if there is one.
func largest(params []runner.Param) string {
	if len(params) == 0 {
		return ""
	}
	l := params[0]
	for _, p := range params[1:] {
		if len(p.Value) > len(l.Value) {
			l = p
		}
	}
	return fmt.Sprintf(" (the largest parameter is %s, %d bytes)", l.Name, len(l.Value))
}
