//go:build unix

package pgserver

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// The server refuses to run as root. These users exist on every Unix.
const nobody = "nobody"

// account returns the user that runs the server if this process is root.
func account() (uid, gid int, ok bool) {
	if os.Geteuid() != 0 {
		return 0, 0, false
	}
	u, err := user.Lookup(nobody)
	if err != nil {
		return 0, 0, false
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	return uid, gid, uidErr == nil && gidErr == nil
}

// giveAway makes the user that runs the server the owner of the directory.
func giveAway(dir string) error {
	uid, gid, ok := account()
	if !ok {
		return nil
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	return nil
}

// unprivileged makes the command run as that user.
func unprivileged(cmd *exec.Cmd) {
	if uid, gid, ok := account(); ok {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // an interrupt of the tests must not reach the server
}

// quit makes the server end at once.
func quit(pid int) error { return signal(pid, syscall.SIGQUIT) }

// kill ends a process without its cooperation.
func kill(pid int) error { return signal(pid, syscall.SIGKILL) }

func signal(pid int, which syscall.Signal) error {
	if err := syscall.Kill(pid, which); err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	return nil
}
