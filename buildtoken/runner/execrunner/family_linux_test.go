package execrunner_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/runner/execrunner"
)

// counter returns a function that counts the processes that were started with the variable.
func counter(variable string) func() int {
	return func() int {
		n := 0
		files, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, f := range files {
			env, _ := os.ReadFile(f)
			if strings.Contains("\x00"+string(env), "\x00"+variable+"\x00") {
				n++
			}
		}
		return n
	}
}

// bothWays runs a test with control groups, if this process may create them, and with a search through all processes.
func bothWays(t *testing.T, test func(t *testing.T, newRunner func(*testing.T, execrunner.Config) *execrunner.Runner)) {
	if execrunner.HasCgroups() {
		t.Run("by control group", func(t *testing.T) {
			test(t, func(t *testing.T, c execrunner.Config) *execrunner.Runner { return newRunner(t, c) })
		})
	}
	t.Run("by search", func(t *testing.T) {
		test(t, func(t *testing.T, c execrunner.Config) *execrunner.Runner {
			return execrunner.SearchOnly(newRunner(t, c))
		})
	})
}

func TestDaemonsAreFoundOutsideTheGroup(t *testing.T) {
	bothWays(t, func(t *testing.T, newRunner func(*testing.T, execrunner.Config) *execrunner.Runner) {
		for name, prefix := range map[string]string{
			"in a session of its own":     "setsid sh",
			"in a session without leader": `setsid sh -c 'sh "$@" &' sh`,
			"in a group of its own":       "set -m; sh",
			"in a group, without environ": `set -m; env -i "$(command -v sh)"`,
		} {
			daemon := prefix + ` -c 'echo pid=$$; : >up; while :; do /bin/sleep 0.1; done' & until [ -e up ]; do sleep 0.01; done; `
			t.Run(name+" after a normal exit", func(t *testing.T) {
				var log strings.Builder
				want(t, newRunner(t, shell(daemon)).Run(t.Context(), newBuild(t), &log), runner.Success, "")
				if p := pids(t, log.String()); !strings.Contains(log.String(), " left-over process") || len(p) != 1 || !dead(p[0]) {
					t.Errorf("log = %q, want one process that was ended", log.String())
				}
			})
			t.Run(name+" when the build is stopped", func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				log := &watch{on: "ready", call: func() { cancel(errors.New("enough")) }}
				want(t, newRunner(t, shell(daemon+"echo ready; sleep 1000")).Run(ctx, newBuild(t), log), runner.Aborted, "enough")
				if p := pids(t, log.String()); len(p) != 1 || !dead(p[0]) {
					t.Errorf("log = %q, want one process that was ended", log.String())
				}
			})
		}
	})
}

// Many programs end without cleaning up when they get a second SIGTERM.
func TestEachProcessGetsOneSIGTERM(t *testing.T) {
	const script = `setsid sh -c 'trap "echo asked outside" TERM; sleep 1000 & : >up; while :; do wait; done' &
		trap 'echo asked' TERM; until [ -e up ]; do sleep 0.01; done; echo ready; while :; do wait; done`
	bothWays(t, func(t *testing.T, newRunner func(*testing.T, execrunner.Config) *execrunner.Runner) {
		ctx, cancel := context.WithCancelCause(t.Context())
		log := &watch{on: "ready", call: func() { cancel(errors.New("enough")) }}
		want(t, newRunner(t, shell(script)).Run(ctx, newBuild(t), log), runner.Aborted, "enough")
		lines := strings.Split(log.String(), "\n")
		slices.Sort(lines)
		if diff := cmp.Diff([]string{"", "asked", "asked outside", "ready"}, lines); diff != "" {
			t.Errorf("lines of the log (-want +got):\n%s", diff)
		}
	})
}

// So that it does not get two signals, each process is in one of two sets: the group, and those outside.
func TestProcessesOutsideTheGroup(t *testing.T) {
	gone := exec.CommandContext(t.Context(), "true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	group, other := startProcess(t, nil, "exec sleep 1000"), startProcess(t, nil, "exec sleep 1000")
	for g, want := range map[int][]int{group: {other}, other: {group}, -1: {group, other}} {
		if got := execrunner.Outside(g, group, gone.Process.Pid, other); !slices.Equal(got, want) {
			t.Errorf("outside of group %d: %v, want %v", g, got, want)
		}
	}
}

// TestControlGroupEndsWhatHides leaves processes that neither their session nor their variables identify. A control
// group ends them. Where none can be created they are not found, and the build must end without them.
func TestControlGroupEndsWhatHides(t *testing.T) {
	const script = `for i in 1 2 3; do env -i "$(command -v setsid)" "$(command -v sh)" -c 'trap "" TERM; echo pid=$$; : >up'$i'; while :; do /bin/sleep 0.1; done' & done
		until [ -e up1 ] && [ -e up2 ] && [ -e up3 ]; do sleep 0.01; done`
	for _, tt := range []struct {
		name  string
		r     *execrunner.Runner
		found bool
	}{
		{"with the rights of this process", newRunner(t, shell(script)), execrunner.HasCgroups()},
		{"without control groups", execrunner.SearchOnly(newRunner(t, shell(script))), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBuild(t)
			var log strings.Builder
			want(t, tt.r.Run(t.Context(), b, &log), runner.Success, "")
			p := pids(t, log.String())
			if len(p) != 3 || strings.HasSuffix(log.String(), " left-over processes were ended.\n") != tt.found {
				t.Errorf("log = %q, want three processes, ended: %v", log.String(), tt.found)
			}
			for _, pid := range p {
				if dead(pid) != tt.found {
					t.Errorf("process %d is gone: %v, want %v", pid, !tt.found, tt.found)
				}
				if !tt.found {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
			if n := execrunner.CgroupsOf(b.Env); n > 0 {
				t.Errorf("%d control groups are left after the build", n)
			}
		})
	}
}

// TestHidingProcessesDoNotDelayOtherBuilds starts busy processes without variables while a build runs. The search must
// not take them for processes in the middle of an exec, and wait for each.
func TestHidingProcessesDoNotDelayOtherBuilds(t *testing.T) {
	b := newBuild(t)
	var hiding []*exec.Cmd
	t.Cleanup(func() {
		for _, cmd := range hiding {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	var began time.Time
	log := &watch{on: "ready", call: func() {
		for range 8 {
			cmd := exec.CommandContext(t.Context(), "sh", "-c", "while :; do :; done")
			cmd.Env, cmd.SysProcAttr = []string{}, &syscall.SysProcAttr{Setsid: true}
			if err := cmd.Start(); err != nil {
				t.Error(err)
				break
			}
			hiding = append(hiding, cmd)
		}
		began = time.Now()
		if err := os.WriteFile(filepath.Join(b.Workspace, "go"), nil, 0o600); err != nil {
			t.Error(err)
		}
	}}
	r := execrunner.SearchOnly(newRunner(t, shell("echo ready; until [ -e go ]; do sleep 0.01; done")))
	want(t, r.Run(t.Context(), b, log), runner.Success, "")
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the build took %v to end beside eight processes that hide", took)
	}
}

func TestBuildHasItsOwnSessionWithoutTerminal(t *testing.T) {
	res, log := run(t, shell(`echo $$; cut -d" " -f6,7 /proc/$$/stat; (: </dev/tty) 2>/dev/null || echo no terminal`), newBuild(t))
	want(t, res, runner.Success, "")
	pid, rest, _ := strings.Cut(log, "\n")
	if rest != pid+" 0\nno terminal\n" {
		t.Errorf("log = %q, want the shell's own session and no terminal", log)
	}
}

func TestCgroupDir(t *testing.T) {
	const plain = "24 1 0:22 / /proc rw - proc proc rw\n31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
	for _, tt := range []struct{ name, groups, mounts, want string }{
		{"one hierarchy", "0::/system.slice/caddy.service\n", plain, "/sys/fs/cgroup/system.slice/caddy.service"},
		{"beside version 1", "9:pids:/x\n0::/\n", "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/unified"},
		{"a part of it mounted", "0::/a/b\n", "31 24 0:27 /a /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/b"},
		{"another part mounted", "0::/a/b\n", "31 24 0:27 /c /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", ""},
		{"a line that is cut off", "0::/\n", "31 24 0:27 / - cgroup2 cgroup2 rw\n" + plain, "/sys/fs/cgroup"},
		{"no options", "0::/\n", "31 24 0:27 / /sys/fs/cgroup - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup"},
		{"outside the namespace", "0::/../x\n", plain, ""},
		{"version 1 only", "9:pids:/x\n", plain, ""},
		{"not mounted", "0::/\n", "24 1 0:22 / /proc rw - proc proc rw\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := execrunner.CgroupDir(tt.groups, tt.mounts); got != tt.want {
				t.Errorf("CgroupDir = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestOwnControlGroup(t *testing.T) {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := execrunner.OwnCgroup(), execrunner.CgroupDir(string(groups), string(mounts)); got != want {
		t.Errorf("OwnCgroup = %q, want %q", got, want)
	}
}

// A build that nothing identifies has no control group that another server could have left.
func TestControlGroupsOfABuild(t *testing.T) {
	parent := t.TempDir()
	env := []string{"JOB_NAME=app/deploy", "BUILD_NUMBER=3", "QUEUE_ID=7", "WORKSPACE=/ws"}
	for _, of := range [][]string{env, env, append(env[:3:3], "WORKSPACE=/elsewhere"), nil} {
		if err := os.Mkdir(filepath.Join(parent, execrunner.CgroupPrefix(of)+filepath.Base(t.TempDir())), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		parent string
		env    []string
		want   int
	}{{parent, env, 2}, {parent, env[:2], 0}, {parent, nil, 0}, {filepath.Join(parent, "missing"), env, 0}} {
		if got := execrunner.CgroupsBelow(tt.parent, tt.env); got != tt.want {
			t.Errorf("%q has %d groups in %s, want %d", tt.env, got, tt.parent, tt.want)
		}
	}
}

// The kernel shows a group as a directory, whose directories are the groups below it.
func TestProcessesOfAControlGroup(t *testing.T) {
	for events, want := range map[string][]int{"populated 1\nfrozen 0\n": {12, 13, 14}, "populated 0\nfrozen 0\n": nil, "": nil} {
		dir := t.TempDir()
		for path, content := range map[string]string{"cgroup.events": events, "cgroup.procs": "12\n13\n", "below/cgroup.procs": "14\n", "empty/cgroup.procs": ""} {
			if content == "" && path == "cgroup.events" {
				continue // the group is gone
			}
			path = filepath.Join(dir, path)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, execrunner.CgroupProcesses(dir)); diff != "" {
			t.Errorf("processes with the events %q (-want +got):\n%s", events, diff)
		}
	}
}

// The kernel kills all processes of a group when 1 is written to a file of it. A group can be removed once the groups
// below it are.
func TestControlGroupIsKilledAndRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "group")
	file := filepath.Join(dir, "cgroup.kill")
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "below", "deeper"), 0o700), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	execrunner.KillCgroup(dir)
	if got, err := os.ReadFile(file); err != nil || string(got) != "1" {
		t.Errorf("cgroup.kill = %q, %v, want 1", got, err)
	}
	if err := os.Remove(file); err != nil { // which the kernel does
		t.Fatal(err)
	}
	execrunner.RemoveCgroup(dir)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the group: %v, want it to be gone", err)
	}
}

// A folder that is no control group, or a kernel that cannot kill groups, is found out before a build starts.
func TestFolderWithoutControlGroups(t *testing.T) {
	parent := t.TempDir()
	for p, want := range map[string]error{parent: os.ErrNotExist, filepath.Join(parent, "missing"): os.ErrNotExist, "": errors.ErrUnsupported} {
		if err := execrunner.NewCgroup(p); !errors.Is(err, want) {
			t.Errorf("NewCgroup(%q) = %v, want %v", p, err, want)
		}
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// The search looks at all processes, first at those that began after the build. Numbers begin anew some day, so the
// others may be of the build as well.
func TestSearchListsAllProcesses(t *testing.T) {
	older, newer := exec.CommandContext(t.Context(), "sleep", "1000"), exec.CommandContext(t.Context(), "sleep", "1000")
	for _, cmd := range []*exec.Cmd{older, newer} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}()
	}
	for _, tt := range []struct {
		name    string
		session int
	}{{"both newer", 1}, {"one older", newer.Process.Pid}, {"both older", 1 << 30}} {
		all := execrunner.ProcessesBeside(tt.session)
		at := func(pid int) int { return slices.Index(all, pid) }
		if at(older.Process.Pid) < 0 || at(newer.Process.Pid) < 0 || at(os.Getpid()) >= 0 {
			t.Errorf("%s: %v, want it to have %d and %d but not this process, %d", tt.name, all, older.Process.Pid, newer.Process.Pid, os.Getpid())
		}
		if tt.name == "one older" && newer.Process.Pid > older.Process.Pid && at(newer.Process.Pid) > at(older.Process.Pid) {
			t.Errorf("%s: %v, want %d before %d", tt.name, all, newer.Process.Pid, older.Process.Pid)
		}
	}
}

// A process that vanishes during a search can have left a child that is not in the list. So the search looks again, at
// most twice.
func TestSearchLooksAgain(t *testing.T) {
	type look struct {
		found    []int
		vanished bool
	}
	for _, tt := range []struct {
		name  string
		looks []look
		want  []int
	}{
		{"nothing", []look{{nil, false}}, nil},
		{"a process", []look{{[]int{1}, false}}, []int{1}},
		{"a process beside one that vanished", []look{{[]int{1}, true}}, []int{1}},
		{"a process after one vanished", []look{{nil, true}, {[]int{1}, false}}, []int{1}},
		{"nothing after one vanished", []look{{nil, true}, {nil, false}}, nil},
		{"a process after two vanished", []look{{nil, true}, {nil, true}, {[]int{1}, true}}, []int{1}},
		{"one vanishes each time", []look{{nil, true}, {nil, true}, {nil, true}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := 0
			got := execrunner.LookAgain(func() ([]int, bool) {
				n++
				if n > len(tt.looks) {
					t.Fatalf("it looks %d times, want %d", n, len(tt.looks))
				}
				return tt.looks[n-1].found, tt.looks[n-1].vanished
			})
			if !slices.Equal(got, tt.want) || n != len(tt.looks) {
				t.Errorf("found %v, looked %d times, want %v, %d times", got, n, tt.want, len(tt.looks))
			}
		})
	}
}

func TestSearchNoticesWhatVanished(t *testing.T) {
	b := newBuild(t)
	gone := exec.CommandContext(t.Context(), "true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	there := startProcess(t, b.Env, "exec sleep 1000")
	for _, tt := range []struct {
		name     string
		pids     []int
		vanished bool
	}{
		{"none", []int{there}, false},
		{"the first", []int{gone.Process.Pid, there}, true},
		{"the last", []int{there, gone.Process.Pid}, true},
		{"none beside this process", []int{os.Getpid(), there}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found, vanished := execrunner.Look(0, b.Env, tt.pids...)
			if !slices.Equal(found, []int{there}) || vanished != tt.vanished {
				t.Errorf("found %v, vanished: %v, want %d, %v", found, vanished, there, tt.vanished)
			}
		})
	}
	t.Run("one of the session, whose state cannot be read", func(t *testing.T) {
		var limit syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		none := syscall.Rlimit{Cur: roomFor(t, 0), Max: limit.Max}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
			t.Fatal(err)
		}
		found, vanished := execrunner.Look(there, nil, there)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 || !vanished {
			t.Errorf("without a file: found %v, vanished: %v, want nothing found for certain", found, vanished)
		}
		if found, vanished := execrunner.Look(there, nil, there); !slices.Equal(found, []int{there}) || vanished {
			t.Errorf("found %v, vanished: %v, want %d", found, vanished, there)
		}
	})
}

// A process whose variables cannot belong to a build must not use up the time of the search.
func TestSearchIsNotHeldUp(t *testing.T) {
	const busy = "while :; do :; done"
	b := newBuild(t)
	zombie := startProcess(t, b.Env, "exit 0")
	if err := unix.Waitid(unix.P_PID, zombie, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	last := startProcess(t, b.Env, "exec sleep 1000")
	for name, pid := range map[string]int{
		"without variables":       startProcess(t, []string{}, busy),
		"with an empty variable":  startProcess(t, []string{""}, busy),
		"with other variables":    startProcess(t, []string{"A=B"}, busy),
		"that has ended":          zombie,
		"that sleeps without any": startProcess(t, []string{}, "exec /bin/sleep 1000"),
	} {
		if found, _ := execrunner.Look(0, b.Env, pid, last); !slices.Equal(found, []int{last}) {
			t.Errorf("after a process %s: found %v, want %d", name, found, last)
		}
	}
}

// startProcess starts a shell with these variables in a session that is its own, until the end of the test.
func startProcess(t *testing.T, env []string, script string) (pid int) {
	t.Helper()
	p, err := os.StartProcess("/bin/sh", []string{"sh", "-c", "PATH=/usr/bin:/bin; " + script}, &os.ProcAttr{
		Env: env, Files: []*os.File{nil, nil, nil}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Kill()
		_, _ = p.Wait()
	})
	return p.Pid
}

// In the middle of an exec, a process seems to have no variables, or only the first ones. This one executes itself without a
// pause.
func TestSearchWaitsForAnExec(t *testing.T) {
	for _, tt := range []struct {
		name     string
		first    string
		searches int
	}{
		{"few variables", "A=B", 3000},
		{"variables that take many steps to read", "A=" + strings.Repeat("x", 100<<10), 300},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBuild(t)
			if err := os.WriteFile(filepath.Join(b.Workspace, "again"), []byte("#!/bin/sh\nexec \"$0\"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			pid := startProcess(t, append([]string{tt.first}, b.Env...), `exec "$WORKSPACE/again"`)
			for n := range tt.searches {
				if found, _ := execrunner.Look(0, b.Env, pid); len(found) != 1 {
					t.Fatalf("search %d found %v, want %d", n+1, found, pid)
				}
			}
		})
	}
}

// A process without variables is told from one in the middle of an exec, whose memory has no place yet.
func TestParseStat(t *testing.T) {
	line := func(fields int, start, end string, data ...string) string {
		all := strings.Fields("S 1 4711 4711 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 123456" + strings.Repeat(" 7", 27) + " " + start + " " + end + " 0")
		copy(all[42:], data)
		return "42 (sh) " + strings.Join(all[:fields], " ")
	}
	for _, tt := range []struct {
		name, line string
		began      uint64
		empty      bool
	}{
		{"no variables", line(50, "140737488", "140737488"), 123456, true},
		{"nothing behind them", line(49, "140737488", "140737488"), 123456, true},
		{"variables", line(50, "140737488", "140737999"), 123456, false},
		{"in an exec", line(50, "0", "0"), 123456, false},
		{"in an exec, whose variables have a place but no end", line(50, "140737488", "140737488", "0"), 123456, false},
		{"an older kernel", line(48, "140737488", "140737488"), 123456, false},
		{"no more than the beginning", line(20, "", ""), 123456, false},
		{"cut off", line(19, "", ""), 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, began, empty := execrunner.ParseStat([]byte(tt.line)); began != tt.began || empty != tt.empty {
				t.Errorf("ParseStat = began %d, empty %v, want %d, %v", began, empty, tt.began, tt.empty)
			}
		})
	}
}

func TestOtherBuildsAreLeftAlone(t *testing.T) {
	bothWays(t, func(t *testing.T, newRunner func(*testing.T, execrunner.Config) *execrunner.Runner) {
		b := newBuild(t)
		for name, env := range map[string][]string{
			"another number":    {"JOB_NAME=app/deploy", "BUILD_NUMBER=4", "QUEUE_ID=7", "WORKSPACE=" + b.Workspace},
			"another workspace": {"JOB_NAME=app/deploy", "BUILD_NUMBER=3", "QUEUE_ID=7", "WORKSPACE=/elsewhere"},
			"a longer number":   {"JOB_NAME=app/deploy", "BUILD_NUMBER=33", "QUEUE_ID=7", "WORKSPACE=" + b.Workspace},
		} {
			t.Run(name, func(t *testing.T) {
				// It starts after the build, since the search does not look at older processes.
				var other int
				log := &watch{on: "hello\n"}
				log.call = func() {
					if other == 0 {
						other = startProcess(t, env, "exec sleep 1000")
						if err := os.WriteFile(filepath.Join(b.Workspace, "go"), nil, 0o600); err != nil {
							t.Error(err)
						}
					}
				}
				script := "sleep 1000 & echo hello; until [ -e go ]; do sleep 0.01; done; rm go"
				want(t, newRunner(t, shell(script)).Run(t.Context(), b, log), runner.Success, "")
				if log.String() != "hello\n1 left-over process was ended.\n" {
					t.Errorf("log = %q", log)
				}
				if dead(other) {
					t.Error("the other build's process was ended")
				}
			})
		}
	})
}

// A process from before the build is not of the build, whatever became of its session.
func TestOlderProcessesAreLeftAlone(t *testing.T) {
	older, err := exec.CommandContext(t.Context(), "setsid", "sh", "-c", "sleep 1000 >/dev/null 2>&1 & sleep 0.05; echo pid=$!").Output()
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	res := execrunner.SearchOnly(newRunner(t, shell("sleep 1000 & echo hello"))).Run(t.Context(), newBuild(t), &log)
	want(t, res, runner.Success, "")
	if log.String() != "hello\n1 left-over process was ended.\n" {
		t.Errorf("log = %q, want only the process of the build to be ended", log.String())
	}
	pid := pids(t, string(older))[0]
	if dead(pid) {
		t.Error("the older process was ended")
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

func TestProcessOutOfReachDoesNotHoldTheBuild(t *testing.T) {
	// Neither its session nor its variables identify it, and it holds the output open.
	const script = `env -i "$(command -v setsid)" "$(command -v sh)" -c 'echo pid=$$; : >up; exec /bin/sleep 1000' & until [ -e up ]; do sleep 0.01; done; echo last`
	var log strings.Builder
	want(t, execrunner.SearchOnly(newRunner(t, shell(script))).Run(t.Context(), newBuild(t), &log), runner.Success, "")
	p := pids(t, log.String())
	if len(p) != 1 || !strings.HasSuffix(log.String(), "last\n") {
		t.Fatalf("log = %q", log.String())
	}
	if err := syscall.Kill(p[0], syscall.SIGKILL); err != nil {
		t.Errorf("kill the process: %v; if it is gone, this test shows nothing", err)
	}
}

// Without the variables that identify a build, only its session does.
func TestBuildWithoutVariables(t *testing.T) {
	const script = `setsid sh -c 'echo pid=$$; : >up; exec sleep 1000' & until [ -e up ]; do sleep 0.01; done; sleep 1000 & echo last`
	b := newBuild(t)
	b.Env = nil
	var log strings.Builder
	want(t, execrunner.SearchOnly(newRunner(t, shell(script))).Run(t.Context(), b, &log), runner.Success, "")
	p := pids(t, log.String())
	if len(p) != 1 || !strings.HasSuffix(log.String(), "last\n1 left-over process was ended.\n") {
		t.Fatalf("log = %q, want the process of the session to be ended", log.String())
	}
	if err := syscall.Kill(p[0], syscall.SIGKILL); err != nil {
		t.Errorf("kill the other process: %v", err)
	}
}

// Without a file, this process cannot search for those of a build. It ends those of the process group nevertheless.
func TestGroupEndsWithoutASearch(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	set := func(soft uint64) error {
		return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: soft, Max: limit.Max})
	}
	b := newBuild(t)
	var left unix.PollFd
	log := &watch{on: "ready\n"}
	log.call = func() {
		fd, err := unix.PidfdOpen(pids(t, log.String())[0], 0)
		if err != nil {
			t.Error(err)
		}
		left = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		if err := errors.Join(set(roomFor(t, 0)), os.Mkdir(filepath.Join(b.Workspace, "go"), 0o700)); err != nil {
			t.Error(err)
		}
	}
	r := execrunner.SearchOnly(newRunner(t, shell("sleep 1000 & echo pid=$! ready; until [ -e go ]; do sleep 0.01; done")))
	res := r.Run(t.Context(), b, log)
	if err := set(limit.Cur); err != nil {
		t.Fatal(err)
	}
	want(t, res, runner.Success, "")
	defer unix.Close(int(left.Fd))
	if n, err := unix.Poll([]unix.PollFd{left}, 10_000); n != 1 {
		t.Errorf("the process that was left still runs after 10 s: %v", err)
	}
}

func TestNoFileStaysOpen(t *testing.T) {
	count := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	b := newBuild(t)
	script := filepath.Join(b.Workspace, "script")
	if err := os.WriteFile(script, []byte("#!/no/such/interpreter\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.Params = []runner.Param{{Name: "in/FILE", File: script}}
	run(t, shell("true"), b)
	before := count()
	for range 10 {
		run(t, shell("echo hello; exit 1"), b)
		newRunner(t, shell("sleep 1000 &")).Run(t.Context(), b, io.Discard)
		res, _ := run(t, execrunner.Config{Command: script}, b)
		want(t, res, runner.NotBuilt, "interpreter")
	}
	if n := execrunner.CgroupsOf(b.Env); n > 0 {
		t.Errorf("%d control groups are left after the builds", n)
	}
	daemon := `setsid sh -c ': >up; exec sleep 1000' & until [ -e up ]; do sleep 0.01; done`
	want(t, execrunner.SearchOnly(newRunner(t, shell(daemon))).Run(t.Context(), b, io.Discard), runner.Success, "")
	if after := count(); after > before { // the garbage collector may have closed some of earlier tests
		t.Errorf("%d files are open after the builds, want %d as before", after, before)
	}
}

// Another part of the program may wait for all children, and so take the status of the build.
func TestExitStatusThatIsLost(t *testing.T) {
	waited := make(chan error, 1)
	log := &watch{on: "ready\n"}
	log.call = sync.OnceFunc(func() {
		p := pids(t, log.String())
		go func() { // ends with the process
			_, err := syscall.Wait4(p[0], nil, 0, nil)
			waited <- err
		}()
	})
	// What it leaves makes the runner wait for the kill delay, so the other one is first.
	const script = `sh -c 'trap "" TERM; : >up; exec sleep 1000' & until [ -e up ]; do sleep 0.01; done; echo pid=$$ ready; sleep 0.1`
	want(t, newRunner(t, shell(script)).Run(t.Context(), newBuild(t), log), runner.Failure, "no child processes")
	if err := <-waited; err != nil {
		t.Errorf("Wait4 = %v, so this test shows nothing", err)
	}
}
