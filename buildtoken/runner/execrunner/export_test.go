package execrunner

import (
	"os/exec"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// Expand returns the arguments as a build with these parameters gets them.
func Expand(r *Runner, params []runner.Param) ([]string, error) { return r.expand(params) }

// StartError explains an error of the start of a program.
func StartError(err error, program string) error {
	return startError(err, &exec.Cmd{Path: program}, nil)
}
