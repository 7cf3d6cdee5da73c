package execrunner

import "github.com/buildtoken/buildtoken/buildtoken/runner"

// Expand returns the arguments as a build with these parameters gets them.
func Expand(r *Runner, params []runner.Param) ([]string, error) { return r.expand(params) }
