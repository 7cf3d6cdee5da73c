//go:build unix

package execrunner

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
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
	uid, err := id(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := id(u.Gid)
	if err != nil {
		return nil, err
	}
	a := &account{name: name, uid: uid, gid: gid, home: u.HomeDir, other: int64(uid) != int64(os.Geteuid())}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of user %s: %w", name, err)
	}
	for _, g := range groups {
		n, err := id(g)
		if err != nil {
			return nil, err
		}
		a.groups = append(a.groups, n)
	}
	return a, nil
}

func id(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}
