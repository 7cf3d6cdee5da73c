package execrunner

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// search looks through all processes for those of a build: those of its session, and those outside that kept its
// variables. A process that left the session and dropped the variables is not found.
type search struct {
	session int // 0: the session is not known
	// began is when the session began, in the kernel's ticks. An older process cannot belong to the build.
	began uint64
	// marks identify the build in the variables of its processes; without them only the session is found.
	marks [][]byte
	limit time.Duration
}

// find returns the running processes of the build. It stops after the limit, so that neither a machine with many
// processes nor some that hide can delay the end of a build. Without /proc it finds nothing.
func (s *search) find() []int {
	deadline := time.Now().Add(s.limit)
	return lookAgain(func() ([]int, bool) { return s.look(s.processes(), deadline) })
}

// lookAgain looks until it is sure of what it found, but at most three times. A process that forks and exits meanwhile can
// hide its child, so it looks again if one vanished. If none did, then nothing is hidden: a child that is not in the list
// of processes has a parent that is.
func lookAgain(look func() (found []int, vanished bool)) []int {
	for range 3 {
		found, vanished := look()
		if len(found) > 0 || !vanished {
			return found
		}
	}
	return nil
}

// look returns the processes of the build among these, and whether one of them has vanished since they were listed.
func (s *search) look(pids []int, deadline time.Time) (found []int, vanished bool) {
	foreign := map[int]bool{0: true, unix.Getpid(): true} // the kernel's own have session 0
	if own, err := unix.Getsid(0); err == nil {
		foreign[own] = s.session != 0 // a build has a new session, so nothing of it is in ours
	}
	for _, pid := range pids {
		if time.Now().After(deadline) {
			break
		}
		session, err := unix.Getsid(pid)
		switch {
		case err != nil:
			vanished = vanished || errors.Is(err, unix.ESRCH)
		case session == s.session && session != 0:
			switch stat(pid).state {
			case 0:
				vanished = true
			case 'Z', 'X':
			default:
				found = append(found, pid)
			}
		case foreign[session] || len(s.marks) == 0:
		case s.older(session):
			foreign[session] = true
		case s.marked(pid, deadline):
			found = append(found, pid)
		}
	}
	return found, vanished
}

// older reports whether the session began before the build, so that none of its processes can be of the build.
func (s *search) older(session int) bool {
	leader := stat(session)
	return leader.state != 0 && leader.began < s.began
}

// processes lists all processes but this one, first those with higher numbers than the session, which are most likely
// the newer ones.
func (s *search) processes() []int {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	names, _ := proc.Readdirnames(-1)
	_ = proc.Close() // it was only read
	var newer, older []int
	for _, name := range names {
		switch pid, err := strconv.Atoi(name); {
		case err != nil || pid == os.Getpid():
		case pid >= s.session:
			newer = append(newer, pid)
		default:
			older = append(older, pid)
		}
	}
	return append(newer, older...)
}

// marked reports whether the process has the variables of the build. A zombie has none.
func (s *search) marked(pid int, deadline time.Time) bool {
	if stat(pid).began < s.began {
		return false
	}
	env := environOf(pid, deadline)
	if !bytes.Contains(env, s.marks[0]) {
		return false
	}
	found := 0
	for e := range bytes.SplitSeq(env, []byte{0}) {
		for _, m := range s.marks {
			if bytes.Equal(e, m) {
				found++
			}
		}
	}
	return found >= len(s.marks)
}

// environOf returns the variables that the process started with, nil if it cannot read them. In the middle of an exec there
// seem to be none, or no process, so it waits until the process has its memory or the deadline has passed.
func environOf(pid int, deadline time.Time) []byte {
	for {
		env, err := readEnviron(pid)
		if len(env) > 0 || err != nil && !errors.Is(err, unix.ESRCH) {
			return env
		}
		p := stat(pid)
		if p.empty || p.state != 'R' && p.state != 'D' || time.Now().After(deadline) {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}

// readEnviron reads the variables of a process. If the process executes a program meanwhile, the kernel breaks off between
// two reads. So when the size is known, all of them are read at once; there are none if they broke off before.
func readEnviron(pid int) ([]byte, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	env, err := io.ReadAll(f)
	n, _ := f.ReadAt(env, 0)
	return env[:n], err
}

// process is what /proc/PID/stat has of a process; zero if the process is gone.
type process struct {
	state byte
	began uint64
	// empty is true if the process surely has no variables.
	empty bool
}

func stat(pid int) process {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return process{}
	}
	return parseStat(b)
}

// parseStat reads the content of such a file. The process chose the name in it.
func parseStat(b []byte) process {
	// pid (name) state ppid pgrp session … starttime (the 22nd) … start_data (the 45th) … env_start env_end (the 50th and
	// 51st); the name may hold anything, also brackets.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 {
		return process{}
	}
	began, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return process{}
	}
	p := process{state: fields[0][0], began: began}
	if len(fields) > 48 {
		// In an exec they are all 0 at first. Then the two ends of the variables are equal until the kernel has counted
		// the variables, and the data is the last to get its place.
		data, start, end := fields[42], fields[47], fields[48]
		p.empty = start == end && start != "0" && data != "0"
	}
	return p
}
