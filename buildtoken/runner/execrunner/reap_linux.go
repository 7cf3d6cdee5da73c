package execrunner

import (
	"context"
	"errors"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// Reap ends the processes of a build whose server died without ending them, and returns how many it found. It finds
// them by their control group, and by the variables JOB_NAME, BUILD_NUMBER, QUEUE_ID and WORKSPACE of b.Env; a build
// without these variables has none. The processes get SIGTERM, and SIGKILL after the kill delay or when ctx ends. An
// error means that some could not be ended.
//
// On systems other than Linux, Reap finds nothing.
func (r *Runner) Reap(ctx context.Context, b runner.Build) (found int, err error) {
	m := marks(b.Env)
	f := &family{marks: m, cgroups: cgroupsOf(r.cgroups(), m), search: &search{marks: m, limit: reapLimit}}
	defer f.close()
	if found = f.living(); found == 0 {
		return 0, nil
	}
	f.terminate()
	exited := make(chan struct{})
	close(exited) // the process is no child of this one, so nothing waits for it
	if f.gone(ctx, exited, r.config.KillDelay) {
		return found, nil
	}
	if alive := f.killAll(context.WithoutCancel(ctx), exited); alive > 0 {
		return found, errors.New("a process could not be ended")
	}
	return found, nil
}
