package execrunner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

const (
	// settle is how long other processes may run on after the first one has exited, as the reader of a pipe does,
	// before they count as left over.
	settle = 250 * time.Millisecond
	// unkillable is how long processes may take to die after SIGKILL before the build ends without them.
	unkillable = 5 * time.Second
)

// ending is a result with the exit status, 0 if there is none.
type ending struct {
	runner.Result
	status int
}

func notBuilt(err error) ending {
	return ending{Result: runner.Result{Outcome: runner.NotBuilt, Reason: runner.OneLine(err.Error())}}
}

func aborted(ctx context.Context) ending { return ending{Result: runner.AbortedBy(ctx)} }

// run runs the build as [Runner.Run] describes. Its two goroutines, which wait for the process and copy its output, end
// before it returns, unless the process cannot be killed.
func (r *Runner) run(ctx context.Context, b runner.Build, log io.Writer) ending {
	if ctx.Err() != nil {
		return aborted(ctx)
	}
	f, out, err := r.launch(b)
	for logged := false; runner.Scarce(err); f, out, err = r.launch(b) {
		if !logged {
			logged = true
			_, _ = fmt.Fprintf(log, "Waiting for system resources: %s\n", runner.OneLine(err.Error())) // fails no build, as any output
		}
		if !runner.Pause(ctx, runner.ScarceRetry) {
			return aborted(ctx)
		}
	}
	if err != nil {
		return notBuilt(err)
	}
	exited, copied := make(chan struct{}), make(chan struct{})
	o := &output{log: log}
	go func() {
		defer close(exited)
		f.waitExit()
	}()
	go func() {
		defer close(copied)
		o.copy(out)
	}()

	stopped := false
	select {
	case <-exited:
	case <-ctx.Done():
		stopped = true
	}
	left, alive := f.end(context.WithoutCancel(ctx), exited, stopped, r.config.KillDelay)
	state, err := f.conclude(exited)
	// All writers of the pipe are gone, so what is in it now is all. Only a process that was not found can still hold
	// it open, and the build does not wait for that one.
	o.finish(out)
	<-copied
	_ = out.Close() // it was only read

	if left > 0 {
		o.line(fmt.Sprintf("%d left-over %s ended.", left, plural(left, "process was", "processes were")))
	}
	if alive > 0 {
		o.line(fmt.Sprintf("%d %s not end.", alive, plural(alive, "process did", "processes did")))
	}
	switch {
	case stopped && errors.Is(err, errUnkillable):
		ended := aborted(ctx)
		ended.Reason += "; " + err.Error()
		return ended
	case stopped:
		return aborted(ctx)
	case err != nil:
		return ending{Result: runner.FailedBy(err)}
	case state.Success():
		return ending{Result: runner.Result{Outcome: runner.Success}}
	case r.config.Unstable != 0 && state.ExitCode() == r.config.Unstable:
		return ending{runner.Result{Outcome: runner.Unstable, Reason: state.String()}, state.ExitCode()}
	}
	return ending{runner.Result{Outcome: runner.Failure, Reason: state.String()}, state.ExitCode()}
}

// launch starts the process and returns the reading end of its output.
func (r *Runner) launch(b runner.Build) (f *family, out *os.File, err error) {
	var as *account
	if r.config.User != "" {
		if as, err = lookupAccount(r.config.User); err != nil {
			return nil, nil, fmt.Errorf("run as user %s: %w", r.config.User, err)
		}
	}
	cmd, err := r.command(b, as)
	if err != nil {
		return nil, nil, err
	}
	if err := as.takeWorkspace(b.Workspace); err != nil {
		return nil, nil, startError(err, cmd, as)
	}
	if err := placeFiles(b.Workspace, b.Params, as); err != nil {
		return nil, nil, err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	cmd.Stdout, cmd.Stderr = in, in // one pipe, so that both keep their order
	defaultSIGPIPE()
	f, err = start(cmd, as, r.cgroups())
	_ = in.Close() // the build has its own
	if err != nil {
		_ = out.Close()
		return nil, nil, startError(err, cmd, as)
	}
	return f, out, nil
}

// errUnkillable means that a process did not end although it was killed, because this process may not send signals to
// its user, or because it hangs in the kernel.
var errUnkillable = errors.New("the process could not be ended")

// conclude returns how the process ended. A process that cannot be killed must not hold an executor forever, so the
// goroutine that waits for it stays behind.
func (f *family) conclude(exited <-chan struct{}) (*os.ProcessState, error) {
	reap := func() (*os.ProcessState, error) {
		defer f.close()
		return f.reap()
	}
	select {
	case <-exited:
		return reap()
	default:
	}
	go func() {
		<-exited
		_, _ = reap() // the build has ended without it
	}()
	return nil, errUnkillable
}

// command prepares the process as far as possible without changing anything in the workspace.
func (r *Runner) command(b runner.Build, as *account) (*exec.Cmd, error) {
	args, err := r.expand(b.Params)
	if err != nil {
		return nil, err
	}
	home := ""
	if as != nil {
		home = as.home
	}
	env := r.environ(b.Env, b.Params, home)
	if err := checkSize(args, env, b.Params); err != nil {
		return nil, err
	}
	dir, err := r.dir(b, as)
	if err != nil {
		return nil, err
	}
	path, err := lookup(r.config.Command, dir, env, as)
	if err != nil {
		return nil, err
	}
	if err := r.checkProgram(path); err != nil {
		return nil, err // only on Windows
	}
	return &exec.Cmd{Path: path, Args: append([]string{r.config.Command}, args...), Env: env, Dir: dir}, nil
}

// dir returns the absolute directory where the build starts. It checks that the directory exists, but not for another
// user: that user can put links into the workspace, and this process would follow them with its own rights.
func (r *Runner) dir(b runner.Build, as *account) (string, error) {
	if !filepath.IsAbs(b.Workspace) {
		return "", fmt.Errorf("workspace %q is not an absolute path", b.Workspace)
	}
	dir := r.config.Dir
	if dir == "" {
		dir = b.Dir
	}
	if err := checkDir(dir); err != nil {
		return "", err
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(b.Workspace, dir)
	}
	if as != nil && as.other {
		return dir, nil
	}
	st, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if !st.IsDir() {
		return "", fmt.Errorf("%s is not a directory", dir)
	}
	return dir, nil
}

// end ends the process and all its descendants. If the build was stopped, they get SIGTERM at once; after a normal
// exit, only those that are still running after a moment. Those that have not ended killDelay later are killed. end returns how
// many were left after a normal exit, and how many survived the kill.
func (f *family) end(ctx context.Context, exited <-chan struct{}, stopped bool, killDelay time.Duration) (left, alive int) {
	if !stopped {
		if f.gone(ctx, exited, settle) {
			return 0, 0
		}
		left = f.living()
	}
	f.terminate()
	if f.gone(ctx, exited, killDelay) {
		return left, 0
	}
	return left, f.killAll(ctx, exited)
}

// killAll kills the process and all its descendants, again and again until they are gone, and returns how many survived.
func (f *family) killAll(ctx context.Context, exited <-chan struct{}) (alive int) {
	ctx, cancel := context.WithTimeout(ctx, unkillable)
	defer cancel()
	for {
		f.kill()
		if f.gone(ctx, exited, 100*time.Millisecond) { // a process may have forked meanwhile: kill again
			return 0
		}
		if ctx.Err() != nil {
			return f.living()
		}
	}
}

// gone waits, at most for the limit, until the process has exited and no other process of the build is left, and reports
// whether that is so. The kernel does not notify us of the end of processes that are not our children, so gone looks for
// them again in growing steps.
func (f *family) gone(ctx context.Context, exited <-chan struct{}, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case <-exited:
	case <-ctx.Done():
		return false
	}
	for step := time.Millisecond; f.living() > 0; step = min(2*step, 50*time.Millisecond) {
		if !runner.Pause(ctx, step) {
			return false
		}
	}
	return true
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
