package execrunner

import "os"

// account is the user that a build runs as. A nil account is the user of this process.
type account struct {
	name     string
	uid, gid uint32
	groups   []uint32
	home     string
	// other is false if this is the user of this process all the same, so that nothing needs to be switched.
	other bool
}

// own gives a file below root to the user.
func (a *account) own(root *os.Root, name string) error {
	if a == nil || !a.other {
		return nil
	}
	return root.Lchown(name, int(a.uid), int(a.gid))
}

// takeWorkspace gives the workspace itself, not what is in it, to the user.
func (a *account) takeWorkspace(path string) error {
	if a == nil || !a.other {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}
