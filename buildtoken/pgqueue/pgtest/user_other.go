//go:build !unix

package pgtest

import (
	"errors"
	"os/exec"
)

func giveAway(string) error { return nil }

func unprivileged(*exec.Cmd) {}

func quit(int) error {
	return errors.New("pgtest: a server can be crashed on Unix only")
}
