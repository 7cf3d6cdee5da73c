//go:build !(linux || darwin)

package main

import (
	"errors"
	"os"
	"os/exec"
)

// ownGroup does nothing where there are no process groups.
func ownGroup(*exec.Cmd) {}

// killGroup kills the server alone.
func killGroup(p *os.Process) error { return p.Kill() }

// terminate kills the process: not every system has a gentler way.
func terminate(p *os.Process) error { return p.Kill() }

// takeLock never sees another build here.
func takeLock(string, int64) (holder int64, ok bool) { return 0, true }

// pauseProcess is not possible here.
func pauseProcess(*os.Process) error { return errors.ErrUnsupported }

func resumeProcess(*os.Process) error { return errors.ErrUnsupported }
