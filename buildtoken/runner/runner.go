// Package runner defines what it means to run a build. Package execrunner runs a local command; internal/runnertest has the
// tests that every runner must pass.
package runner

import (
	"context"
	"errors"
	"io"
)

// ErrTooLarge means that a build with these parameters can never be started, because one value, or all of them together,
// are larger than what the runner can pass on. The text around it names the parameter, never its value.
var ErrTooLarge = errors.New("runner: too large")

// ErrBadValue means that a value contains something that cannot be passed on at all, such as a NUL byte. The text around
// it names the parameter, never its value.
var ErrBadValue = errors.New("runner: bad value")

// ErrDetached is the cause with which the context of a [Remote] build ends when the server stops and the build will be
// resumed.
var ErrDetached = errors.New("runner: the server stops, the build will be resumed")

// Outcome is how a build ended.
type Outcome string

// The outcomes. A runner returns no other.
const (
	// Success means that the build did everything it had to do.
	Success Outcome = "SUCCESS"
	// Unstable means that the build did its work and found problems, such as failed tests.
	Unstable Outcome = "UNSTABLE"
	// Failure means that the build reported a failure, or died.
	Failure Outcome = "FAILURE"
	// Aborted means that the build was stopped, because its context ended.
	Aborted Outcome = "ABORTED"
	// NotBuilt means that the build could not be started: no part of it ran.
	NotBuilt Outcome = "NOT_BUILT"
)

// Param is one parameter value as the build gets it.
type Param struct {
	// Name is the parameter's name.
	Name string
	// Value is its value. It is also in [Build.Env].
	Value string
	// Secret marks a value that must be shown only to the build.
	Secret bool
	// File is the path of an uploaded file that the build finds in its workspace under Name; empty if there is none.
	File string
}

// Build describes one build to its runner, which must not change it.
type Build struct {
	// Job is the job's full name.
	Job string
	// Number is the build number, from 1.
	Number int64
	// QueueID is the id of the queue item that became this build.
	QueueID int64
	// Env has the variables of this build as NAME=value: those of every build (CI, JOB_NAME, …), those that the job and
	// its folders set, and the parameters. A later entry overrides an earlier one. The runner adds only what its own
	// configuration names.
	Env []string
	// Params are the parameters, each name once.
	Params []Param
	// Workspace is the absolute path of the job's directory. It exists, with mode 0700.
	Workspace string
	// Dir is where the build starts if the runner's configuration does not name a directory; relative to Workspace,
	// empty for Workspace itself.
	Dir string
	// Handle is what the runner saved for this build before the server was restarted; nil if the build starts now. Only
	// a [Remote] runner gets one.
	Handle []byte
	// Save stores a handle of at most 4 KiB durably, in the place of an earlier one. From then on a restart of the server
	// does not end the build: it is run again with the handle. Nil if the server cannot resume builds.
	Save func(handle []byte) error
}

// Result is how a build ended, and why.
type Result struct {
	// Outcome is one of the constants.
	Outcome Outcome
	// Reason is one line for the end of the log; empty after a success. It never contains a parameter's value.
	Reason string
}

// Runner runs builds. It must be safe for concurrent use.
type Runner interface {
	// Run runs the build, writes its output to log as it comes, and returns when it has ended. When ctx ends, it stops
	// the build and returns [Aborted] with the text of [context.Cause] as the reason.
	//
	// When Run returns, everything that it started has ended: processes, goroutines, connections. It writes to log from
	// one goroutine at a time and never after it has returned. A failing log does not fail the build: the rest of the
	// output is read and dropped. A slow log makes the build wait.
	Run(ctx context.Context, b Build, log io.Writer) Result
}

// Remote is a [Runner] whose builds do their work on another system and only follow it here. They take no executor.
//
// If the runner has saved a handle when the server stops, ctx ends with [ErrDetached] as its cause. Run must then return
// without stopping the work, and its result is ignored. After the restart, Run is called with the handle: it must follow
// the work to its end and never start it again. Without a handle, a build that the server's end interrupts is recorded as
// aborted.
type Remote interface {
	Runner
	// Remote does nothing; it marks the runner.
	Remote()
}

// Sizer is a [Runner] that can decide before a trigger is accepted whether it could start such a build.
type Sizer interface {
	// Fits returns nil, or an error that wraps [ErrTooLarge] or [ErrBadValue] and names the parameter at fault. The
	// arguments are what [Build.Env] and [Build.Params] would be. If values fit, shorter values without NUL bytes must
	// fit too: Fits is not called again for each of them, unless the runner is [Remote].
	Fits(env []string, params []Param) error
}

// Poller decides whether there is anything to build.
type Poller interface {
	// Poll reports whether something changed since the last build. It keeps the promises of [Runner.Run]; when ctx ends,
	// the error wraps its cause.
	Poll(ctx context.Context, b Build, log io.Writer) (changed bool, err error)
}

// Separate is implemented by a [Poller] that can need another workspace than the builds of its job, because it runs as
// another user: each of the two could leave links in a common one that the other follows with its own rights.
type Separate interface {
	// Separate reports whether the poller has a separate workspace.
	Separate() bool
}
