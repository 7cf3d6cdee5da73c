//go:build !unix

package pgserver

import (
	"errors"
	"os/exec"
)

func giveAway(string) error { return nil }

func unprivileged(*exec.Cmd) {}

func quit(int) error { return errUnix }

func kill(int) error { return errUnix }

var errUnix = errors.New("pgserver: a server can be crashed on Unix only")
