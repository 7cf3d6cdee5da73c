package execrunner

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroup is the control group (version 2) of one build, named by its directory. A process cannot leave it by any means
// that a build without root's rights has: not by a new session, nor by changing its environment.
type cgroup string

// ownCgroup returns the directory of the control group of this process, or "" if the system has no version 2 groups.
func ownCgroup() string {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	return cgroupDir(groups, mounts)
}

// cgroupDir finds the directory in the contents of /proc/self/cgroup and /proc/self/mountinfo.
func cgroupDir(groups, mounts []byte) string {
	var path string
	for line := range strings.Lines(string(groups)) {
		if p, ok := strings.CutPrefix(line, "0::"); ok && !strings.HasPrefix(p, "/..") { // outside our namespace
			path = strings.TrimSuffix(p, "\n")
		}
	}
	if path == "" {
		return ""
	}
	for lines := bufio.NewScanner(bytes.NewReader(mounts)); lines.Scan(); {
		// id parent device root mountpoint options … - type source options
		before, after, _ := strings.Cut(lines.Text(), " - ")
		mount := strings.Fields(before)
		if len(mount) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		below, err := filepath.Rel(mount[3], path)
		if err == nil && filepath.IsLocal(below) {
			return filepath.Join(mount[4], below)
		}
	}
	return ""
}

// newCgroup creates a control group below parent for a build with these marks. It fails if none can be created that can
// also be killed as a whole, which takes Linux 5.14 and the right to write to parent.
func newCgroup(parent string, marks [][]byte) (cgroup, error) {
	if parent == "" {
		return "", errors.ErrUnsupported
	}
	c := cgroup(filepath.Join(parent, cgroupPrefix(marks)+rand.Text()[:8]))
	if err := os.Mkdir(string(c), 0o755); err != nil { //nolint:gosec // like every control group, readable by all
		return "", err
	}
	if err := unix.Access(c.file("cgroup.kill"), unix.W_OK); err != nil {
		c.remove()
		return "", err
	}
	return c, nil
}

// cgroupPrefix is how the names of a build's control groups begin, on every server.
func cgroupPrefix(marks [][]byte) string {
	sum := sha256.Sum256(bytes.Join(marks, []byte{0}))
	return "buildtoken-" + hex.EncodeToString(sum[:8]) + "-"
}

// cgroupsOf returns the control groups below parent that a server which died left of a build.
func cgroupsOf(parent string, marks [][]byte) []cgroup {
	entries, err := os.ReadDir(parent)
	if len(marks) == 0 || err != nil {
		return nil
	}
	var found []cgroup
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), cgroupPrefix(marks)) {
			found = append(found, cgroup(filepath.Join(parent, e.Name())))
		}
	}
	return found
}

func (c cgroup) file(name string) string { return filepath.Join(string(c), name) }

// processes returns the ids of the processes in the group and in those below it. Zombies are not among them.
func (c cgroup) processes() []int {
	events, err := os.ReadFile(c.file("cgroup.events"))
	if err != nil || bytes.Contains(events, []byte("populated 0")) {
		return nil
	}
	var pids []int
	for _, dir := range c.tree() {
		list, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs")) //nolint:gosec // below the group
		for line := range strings.Lines(string(list)) {
			if pid, err := strconv.Atoi(strings.TrimSuffix(line, "\n")); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// tree returns the directories of the group, each after the one that holds it. A build can create more groups.
func (c cgroup) tree() []string {
	var dirs []string
	_ = filepath.WalkDir(string(c), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	return dirs
}

// kill kills all processes of the group, those too that are being started.
func (c cgroup) kill() {
	_ = os.WriteFile(c.file("cgroup.kill"), []byte("1"), 0) // an error means that the group is gone
}

// remove removes the group. One that still has a process stays.
func (c cgroup) remove() {
	for _, dir := range slices.Backward(c.tree()) {
		_ = unix.Rmdir(dir)
	}
}
