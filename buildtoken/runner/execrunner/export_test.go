package execrunner

import (
	"io/fs"
	"os"
	"os/exec"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// Expand returns the arguments as a build with these parameters gets them.
func Expand(r *Runner, params []runner.Param) ([]string, error) { return r.expand(params) }

// StartError explains an error of the start of a program.
func StartError(err error, program string) error {
	return startError(err, &exec.Cmd{Path: program}, nil)
}

// OpenSeen opens a folder as Lstat has seen it.
func OpenSeen(folder *os.Root, name string, seen fs.FileInfo) (*os.Root, error) {
	return openSeen(folder, name, seen)
}

// PlaceFiles places the files of a build that runs as this process's user.
func PlaceFiles(workspace string, params []runner.Param) error {
	return placeFiles(workspace, params, nil)
}
