package execrunner

import (
	"context"
	"errors"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// Reap ends what is left of a build whose server died without ending it, and returns how many processes it found. They
// are told by the variables JOB_NAME, BUILD_NUMBER, QUEUE_ID and WORKSPACE of b.Env; a build without them has none. They
// get SIGTERM, and SIGKILL after the kill delay or when ctx ends. An error means that some could not be ended.
//
// On other systems than Linux nothing is found.
func (r *Runner) Reap(ctx context.Context, b runner.Build) (found int, err error) {
	f := &family{marks: marks(b.Env)}
	if found = f.living(); found == 0 {
		return 0, nil
	}
	f.terminate()
	exited := make(chan struct{})
	close(exited) // there is no child of ours to wait for
	if f.gone(ctx, exited, r.config.KillDelay) {
		return found, nil
	}
	if _, alive := f.end(context.WithoutCancel(ctx), exited, true, 0); alive > 0 {
		return found, errors.New("a process could not be ended")
	}
	return found, nil
}
