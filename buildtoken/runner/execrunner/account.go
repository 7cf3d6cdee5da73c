package execrunner

import "os"

// account is the user that a build runs as. A nil account is the user of this process.
type account struct {
	name     string
	uid, gid uint32
	groups   []uint32
	home     string
	// other is false if this is the user of this process anyway, so that nothing has to be switched.
	other bool
}

// own gives a directory to the user: name in dir, or dir itself if name is ".".
func (a *account) own(dir *os.Root, name string) error {
	if a == nil || !a.other {
		return nil
	}
	return dir.Lchown(name, int(a.uid), int(a.gid))
}
