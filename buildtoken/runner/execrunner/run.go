package execrunner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

const (
	// settle is how long what is left after a normal exit may take to end by itself, as the reader of a pipe does,
	// before it counts as left over.
	settle = 250 * time.Millisecond
	// unkillable is how long processes may take to die after SIGKILL, before we go on without them.
	unkillable = 5 * time.Second
)

// ending is a result with the exit status, which is -1 if there is none.
type ending struct {
	runner.Result
	status int
}

func notBuilt(err error) ending {
	return ending{runner.Result{Outcome: runner.NotBuilt, Reason: oneLine(err)}, -1}
}

func aborted(ctx context.Context) ending {
	return ending{runner.Result{Outcome: runner.Aborted, Reason: oneLine(context.Cause(ctx))}, -1}
}

func oneLine(err error) string {
	return strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ").Replace(err.Error())
}

// run does what Run promises. Its two goroutines, which wait for the process and copy its output, end before it
// returns, unless the process can't be ended at all.
func (r *Runner) run(ctx context.Context, b runner.Build, log io.Writer) ending {
	if ctx.Err() != nil {
		return aborted(ctx)
	}
	f, out, err := r.launch(b)
	for said := false; runner.Scarce(err); f, out, err = r.launch(b) {
		if !said {
			said = true
			_, _ = fmt.Fprintf(log, "Waiting, because the system lacks something: %s\n", oneLine(err)) // as any output
		}
		pause(ctx, runner.ScarceRetry)
		if ctx.Err() != nil {
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
	// Whoever wrote to the pipe is gone, so what is in it now is all. Only a process out of our reach can still hold
	// it open, and the build does not wait for that.
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
		return ending{runner.Result{Outcome: runner.Failure, Reason: oneLine(err)}, -1}
	case state.Success():
		return ending{runner.Result{Outcome: runner.Success}, 0}
	}
	return ending{runner.Result{Outcome: runner.Failure, Reason: state.String()}, state.ExitCode()}
}

// launch starts the process, and gives what it writes.
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
		return nil, nil, startError(err, cmd.Dir, as)
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
	f, err = start(cmd, as)
	_ = in.Close() // the build has its own
	if err != nil {
		_ = out.Close()
		return nil, nil, startError(err, cmd.Dir, as)
	}
	return f, out, nil
}

// errUnkillable says that a process did not end, although it was killed: it runs as somebody whom this process may not
// send signals.
var errUnkillable = errors.New("the process could not be ended")

// conclude returns how the process ended. One that can't be ended must not hold an executor for ever: what waits for it
// then stays behind until it ends by itself.
func (f *family) conclude(exited <-chan struct{}) (*os.ProcessState, error) {
	select {
	case <-exited:
		defer f.close()
		return f.reap()
	default:
	}
	go func() {
		defer f.close()
		<-exited
		_, _ = f.reap() // nobody is left to be told
	}()
	return nil, errUnkillable
}

// command makes everything ready that can be decided without touching the workspace.
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
	dir, err := r.dir(b)
	if err != nil {
		return nil, err
	}
	path, err := lookup(r.config.Command, dir, env)
	if err != nil {
		return nil, err
	}
	if err := r.checkProgram(path); err != nil {
		return nil, err
	}
	return &exec.Cmd{Path: path, Args: append([]string{r.config.Command}, args...), Env: env, Dir: dir}, nil
}

// dir returns the absolute directory where the build starts, which exists.
func (r *Runner) dir(b runner.Build) (string, error) {
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
	st, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if !st.IsDir() {
		return "", fmt.Errorf("%s is not a directory", dir)
	}
	return dir, nil
}

// startError says what another user may lack.
func startError(err error, dir string, as *account) error {
	if as == nil || !as.other || !errors.Is(err, os.ErrPermission) {
		return err
	}
	return fmt.Errorf("run as user %s: %w (this process needs the right to switch users, and the user the right to enter %s)",
		as.name, err, dir)
}

// end sees to it that the process and all that came from it are gone. If the build was stopped, they are asked to end
// now; if it ended by itself, then only what is left after a moment. Who has not ended killDelay later is killed. It
// returns how many were left after a normal exit, and how many survived even the kill.
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
	ctx, cancel := context.WithTimeout(ctx, unkillable)
	defer cancel()
	for {
		f.kill()
		if f.gone(ctx, exited, 100*time.Millisecond) { // a fork may have slipped through: kill again
			return left, 0
		}
		if ctx.Err() != nil {
			return left, f.living()
		}
	}
}

// gone waits until the process has exited and nothing else is left, at most for the limit, and reports whether it is
// so. Nobody tells when somebody else's child ends, so for those it looks again in growing steps.
func (f *family) gone(ctx context.Context, exited <-chan struct{}, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case <-exited:
	case <-ctx.Done():
		return false
	}
	for step := time.Millisecond; f.living() > 0; step = min(2*step, 50*time.Millisecond) {
		if ctx.Err() != nil {
			return false
		}
		pause(ctx, step)
	}
	return true
}

func pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
