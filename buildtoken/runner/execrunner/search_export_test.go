//go:build linux

package execrunner

import "time"

// ParseStat returns what is read from the content of /proc/PID/stat.
func ParseStat(content []byte) (state byte, began uint64, empty bool) {
	p := parseStat(content)
	return p.state, p.began, p.empty
}

// ProcessesBeside lists all other processes, as the search for those of a build with this session does.
func ProcessesBeside(session int) []int { return (&search{session: session}).processes() }

// LookAgain repeats a look at the processes until it is sure of what it found.
func LookAgain(look func() (found []int, vanished bool)) []int { return lookAgain(look) }

// Look returns the processes of a build with this session and these variables among pids, and whether one of them has
// vanished. It takes at most ten seconds.
func Look(session int, env []string, pids ...int) (found []int, vanished bool) {
	return (&search{session: session, marks: marks(env)}).look(pids, time.Now().Add(10*time.Second))
}

// Outside returns the processes that are not in the process group.
func Outside(group int, pids ...int) []int { return outside(group, pids) }

// CgroupDir finds the directory of a control group in the contents of /proc/self/cgroup and /proc/self/mountinfo.
func CgroupDir(groups, mounts string) string { return cgroupDir([]byte(groups), []byte(mounts)) }

// OwnCgroup returns the directory of the control group of this process.
func OwnCgroup() string { return ownCgroup() }

// CgroupsOf returns how many control groups a build with these variables has.
func CgroupsOf(env []string) int { return len(cgroupsOf(ownCgroup(), marks(env))) }

// CgroupsBelow returns how many control groups below parent a build with these variables has.
func CgroupsBelow(parent string, env []string) int { return len(cgroupsOf(parent, marks(env))) }

// CgroupProcesses returns the ids of the processes in the control group with this directory.
func CgroupProcesses(dir string) []int { return cgroup(dir).processes() }

// NewCgroup creates a control group below parent.
func NewCgroup(parent string) error {
	_, err := newCgroup(parent, nil)
	return err
}

// KillCgroup kills the processes of the control group with this directory.
func KillCgroup(dir string) { cgroup(dir).kill() }

// RemoveCgroup removes the control group with this directory.
func RemoveCgroup(dir string) { cgroup(dir).remove() }

// CgroupPrefix returns how the names of the control groups of a build with these variables begin.
func CgroupPrefix(env []string) string { return cgroupPrefix(marks(env)) }

// HasCgroups reports whether builds of this process get control groups.
func HasCgroups() bool {
	c, err := newCgroup(ownCgroup(), nil)
	if err == nil {
		c.remove()
	}
	return err == nil
}

// CgroupsIn makes the runner look for control groups in a directory.
func CgroupsIn(r *Runner, parent string) *Runner {
	r.cgroups = func() string { return parent }
	return r
}

// SearchOnly makes the runner find processes by a search only, as where no control group can be created.
func SearchOnly(r *Runner) *Runner {
	r.cgroups = func() string { return "" }
	return r
}
