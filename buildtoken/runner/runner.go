// Package runner states what it means to run a build, and holds nothing else. Package execrunner runs a local command;
// package runnertest has the tests that every runner must pass.
package runner

import (
	"context"
	"errors"
	"io"
)

// ErrTooLarge means that a build with these parameters could never be started, because a value, or all of them
// together, are larger than what the runner can hand over. The text around it names the parameter, never its value.
var ErrTooLarge = errors.New("runner: too large")

// ErrBadValue means that a value holds something that cannot be handed over at all, such as a NUL byte. The text
// around it names the parameter, never its value.
var ErrBadValue = errors.New("runner: bad value")

// Outcome is how a build ended.
type Outcome string

// The outcomes. A runner gives no other.
const (
	// Success means that the build did all it had to do.
	Success Outcome = "SUCCESS"
	// Unstable means that the build ran to its end and reported problems that are no
	// failure, such as failed tests. Jenkins calls it the same.
	Unstable Outcome = "UNSTABLE"
	// Failure means that the build ran and said that it failed, or died.
	Failure Outcome = "FAILURE"
	// Aborted means that the build was stopped, because its context ended.
	Aborted Outcome = "ABORTED"
	// NotBuilt means that the build could not be started: nothing of it ever ran.
	NotBuilt Outcome = "NOT_BUILT"
)

// Param is one parameter value as the build gets it.
type Param struct {
	// Name is the parameter's name.
	Name string
	// Value is its value. It is in [Build.Env] as well.
	Value string
	// Secret marks a value that must not be shown to anybody but the build.
	Secret bool
	// File is the path of an uploaded file that the build finds in its workspace under Name; empty if there is none.
	File string
}

// Build is what a runner is told about one build. A runner changes nothing in it.
type Build struct {
	// Job is the job's full name.
	Job string
	// Number is the build number, from 1.
	Number int64
	// QueueID is the id of the queue item that became this build.
	QueueID int64
	// Env has the variables of this build as NAME=value: those that every build has (CI, JOB_NAME, …), the parameters,
	// and what the job and its folders set. A later one wins. The runner adds only what its own configuration names.
	Env []string
	// Params are the parameters, each name once.
	Params []Param
	// Workspace is the absolute path of the job's directory. It exists, with mode 0700.
	Workspace string
	// Dir is where the build starts if the runner's configuration does not say; relative to Workspace, empty for
	// Workspace itself.
	Dir string
}

// Result is how a build ended, and why.
type Result struct {
	// Outcome is one of the outcomes above.
	Outcome Outcome
	// Reason is one line for the end of the log; empty after a success. It never holds a parameter's value.
	Reason string
}

// Runner runs builds. It may run many at the same time.
type Runner interface {
	// Run runs the build, writes its output to log as it comes, and returns when it has ended. When ctx ends, it stops
	// the build and returns [Aborted] with the text of [context.Cause] as the reason.
	//
	// When Run returns, everything that it started is gone: processes, goroutines, connections. It writes to log from
	// one goroutine at a time and never after it returned. A log that fails makes no build fail: the rest of the output
	// is then read and dropped. A log that is slow makes the build wait.
	Run(ctx context.Context, b Build, log io.Writer) Result
}

// Sizer is a [Runner] that can tell before a trigger is accepted whether it could start such a build.
type Sizer interface {
	// Fits returns an error that wraps [ErrTooLarge] or [ErrBadValue] and names the parameter at fault, or nil. The
	// arguments are what [Build.Env] and [Build.Params] would be. What fits, fits with shorter values too, as long as
	// they hold no NUL byte: it is not asked again for each of them.
	Fits(env []string, params []Param) error
}

// Poller looks whether there is anything to build.
type Poller interface {
	// Poll reports whether something changed since the last build. It gives the same promises as [Runner.Run]; when
	// ctx ends, the error wraps its cause.
	Poll(ctx context.Context, b Build, log io.Writer) (changed bool, err error)
}
