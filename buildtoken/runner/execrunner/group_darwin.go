package execrunner

import "golang.org/x/sys/unix"

// zombie is SZOMB of sys/proc.h.
const zombie = 5

// countGroup returns how many processes of the group still run.
func countGroup(pgrp int) int {
	processes, err := unix.SysctlKinfoProcSlice("kern.proc.pgrp", pgrp)
	if err != nil {
		return 0
	}
	n := 0
	for _, p := range processes {
		if p.Proc.P_stat != zombie {
			n++
		}
	}
	return n
}
