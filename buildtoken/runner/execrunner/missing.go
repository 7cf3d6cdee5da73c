package execrunner

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Missing returns why no build could start now: the program or the user does not
// exist. env are variables of the job, as NAME=value. It returns nil if both
// exist, and for a program in the workspace, which a build may create.
func (r *Runner) Missing(env []string) error {
	var as *account
	if r.config.User != "" {
		var err error
		if as, err = lookupAccount(r.config.User); err != nil {
			return fmt.Errorf("user %s: %w", r.config.User, err)
		}
	}
	command, dir := r.config.Command, r.config.Dir
	if strings.ContainsAny(command, pathSeparators) && !filepath.IsAbs(command) && !filepath.IsAbs(dir) {
		return nil
	}
	_, err := lookup(command, dir, r.environ(env, nil, ""), as)
	return err
}
