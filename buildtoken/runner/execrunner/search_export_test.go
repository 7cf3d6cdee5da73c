//go:build linux

package execrunner

// ParseStat returns what is read from the content of /proc/PID/stat.
func ParseStat(content []byte) (state byte, began uint64, empty bool) {
	p := parseStat(content)
	return p.state, p.began, p.empty
}

// CgroupDir finds the directory of a control group in the contents of /proc/self/cgroup and /proc/self/mountinfo.
func CgroupDir(groups, mounts string) string { return cgroupDir([]byte(groups), []byte(mounts)) }

// OwnCgroup returns the directory of the control group of this process.
func OwnCgroup() string { return ownCgroup() }

// HasCgroups reports whether builds of this process get control groups.
func HasCgroups() bool {
	c, err := newCgroup(ownCgroup(), nil)
	if err == nil {
		c.remove()
	}
	return err == nil
}

// SearchOnly makes the runner find processes by a search only, as where no control group can be created.
func SearchOnly(r *Runner) *Runner {
	r.cgroups = func() string { return "" }
	return r
}
