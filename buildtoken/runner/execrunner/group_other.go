//go:build unix && !linux && !darwin

package execrunner

import "syscall"

// countGroup returns 1 if the group has any process. These systems have no common way to count them.
func countGroup(pgrp int) int {
	if syscall.Kill(-pgrp, 0) == nil {
		return 1
	}
	return 0
}
