//go:build !(linux || darwin)

package main

import (
	"os"
	"os/exec"
)

// ownGroup does nothing where there are no groups.
func ownGroup(*exec.Cmd) {}

// killGroup kills the server alone.
func killGroup(p *os.Process) error { return p.Kill() }

// terminate kills: not every system has a gentle way.
func terminate(p *os.Process) error { return p.Kill() }

// takeLock never sees another build here.
func takeLock(string) bool { return true }
