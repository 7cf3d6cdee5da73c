//go:build unix

package execrunner

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// lookupAccount finds a user by name or number, with all groups.
func lookupAccount(name string) (*account, error) {
	u, err := user.Lookup(name)
	if errors.As(err, new(user.UnknownUserError)) {
		if byID, idErr := user.LookupId(name); idErr == nil {
			u, err = byID, nil
		}
	}
	if err != nil {
		return nil, err
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of user %s: %w", name, err)
	}
	var ids []uint32
	for _, text := range append([]string{u.Uid, u.Gid}, groups...) {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("ids of user %s: %w", name, err)
		}
		ids = append(ids, uint32(id))
	}
	return &account{name: name, uid: ids[0], gid: ids[1], groups: ids[2:], home: u.HomeDir, other: int64(ids[0]) != int64(os.Geteuid())}, nil
}

// takeWorkspace gives the workspace itself, not what is in it, to the user. It refuses a workspace that belongs to a
// third user: that user may have left links in it, which the build would follow with its own rights.
func (a *account) takeWorkspace(path string) (err error) {
	if (a == nil || !a.other) && os.Geteuid() != 0 {
		return nil // this process has no rights that could be misused
	}
	above, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, above.Close()) }()
	parent, err := above.Stat(".")
	if err != nil {
		return err
	}
	workspace, err := above.Lstat(filepath.Base(path))
	if err != nil {
		return err
	}
	user, name := os.Geteuid(), "Caddy's own user"
	if a != nil && a.other {
		user, name = int(a.uid), "user "+a.name
	}
	switch owner := ownerOf(workspace); owner {
	case user:
		return nil
	case os.Geteuid(), ownerOf(parent): // made by this process; some file systems show another owner for all files
		return a.own(above, filepath.Base(path))
	default:
		return fmt.Errorf("the workspace %s belongs to the user with id %d, as which earlier builds ran: "+
			"remove it, or give it and everything in it to %s", path, owner, name)
	}
}

func ownerOf(st os.FileInfo) int {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return -1
}
