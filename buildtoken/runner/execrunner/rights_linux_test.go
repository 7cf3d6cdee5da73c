package execrunner_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/runner/execrunner"
)

// TestRightsOfAServer runs its cases in a process with the rights of a typical server: it is not root, may switch users,
// and may not send them signals. Only root can create such a process; without root, it checks that builds have no rights
// either.
func TestRightsOfAServer(t *testing.T) {
	switch os.Getenv("BUILDTOKEN_TEST_RIGHTS") {
	case "without chown":
		t.Run("a workspace that can't be given away is refused", workspaceIsKept)
		t.Run("an upload that can't be given away is refused", uploadIsKept)
		return
	case "with chown":
		t.Run("ambient capabilities are not handed on", ambientIsDropped)
		t.Run("this process keeps its ambient capabilities", ambientIsKept)
		t.Run("the ids of a build are the user's", idsAreTheUsers)
		t.Run("a process that can't be ended holds no build", unkillableIsLeft)
		t.Run("processes of other users hide nothing from the search", othersHideNothing)
		return
	}
	if os.Getuid() != 0 {
		withoutRights(t, execrunner.Config{})
		return
	}
	dir := t.TempDir()
	// The other user must be able to pass through, and to write.
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	daemon, err := user.Lookup("daemon")
	if err != nil {
		t.Fatal(err)
	}
	// A workspace that was given to the user before.
	workspace := filepath.Join(dir, "workspace")
	uid, _ := strconv.Atoi(daemon.Uid) // it is a number
	if err := errors.Join(os.Mkdir(workspace, 0o700), os.Chmod(workspace, 0o777), os.Chown(workspace, uid, -1)); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "test")
	if out, err := exec.CommandContext(t.Context(), "cp", os.Args[0], program).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v %s", err, out)
	}
	for _, tt := range []struct {
		name, rights string
		cases        int
	}{{"with chown", "+setuid,+setgid,+chown", 5}, {"without chown", "+setuid,+setgid", 2}} {
		again := exec.CommandContext(t.Context(), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
			"--inh-caps="+tt.rights, "--ambient-caps="+tt.rights, program, "-test.run=^TestRightsOfAServer$", "-test.v",
			"-test.gocoverdir="+flag.Lookup("test.gocoverdir").Value.String()) // what it reaches counts too
		again.Env = append(os.Environ(), "BUILDTOKEN_TEST_RIGHTS="+tt.name, "BUILDTOKEN_TEST_WORKSPACE="+workspace, "TMPDIR="+dir)
		out, err := again.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(out), "    --- PASS"); n != tt.cases {
			t.Errorf("%s: %d cases passed, want %d", tt.name, n, tt.cases)
		}
	}
}

func workspaceIsKept(t *testing.T) {
	res, _ := run(t, execrunner.Config{Command: "true", User: "daemon"}, openBuild(t))
	want(t, res, runner.NotBuilt, "operation not permitted")
}

func uploadIsKept(t *testing.T) {
	upload := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(upload, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBuild(t)
	b.Workspace = os.Getenv("BUILDTOKEN_TEST_WORKSPACE")
	if err := os.Mkdir(filepath.Join(b.Workspace, "closed"), 0o500); err != nil {
		t.Fatal(err)
	}
	for name, reason := range map[string]string{
		"FILE": "operation not permitted", "in/FILE": "operation not permitted", "closed/FILE": "permission denied",
	} {
		b.Params = []runner.Param{{Name: name, File: upload}}
		res, _ := run(t, execrunner.Config{Command: "true", User: "daemon"}, b)
		want(t, res, runner.NotBuilt, "parameter "+name+": place the file: ")
		want(t, res, runner.NotBuilt, reason)
	}
}

func ambientIsDropped(t *testing.T) {
	own, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(own), "CapAmb:\t0000000000000000") {
		t.Fatal("this process has no ambient capabilities, so the test shows nothing")
	}
	for _, user := range []string{"", "daemon"} {
		withoutRights(t, execrunner.Config{User: user})
	}
}

// ambientIsKept wants no thread that this process still uses to have lost its capabilities: a program that is started on
// it later, but is no build, would miss them.
func ambientIsKept(t *testing.T) {
	for range 10 {
		run(t, execrunner.Config{Command: "true"}, openBuild(t))
	}
	const threads = 50 // more than there are, so that each is used
	release, status := make(chan struct{}), make(chan string)
	for range threads {
		go func() { // ends when release is closed
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			b, err := os.ReadFile("/proc/thread-self/status")
			status <- fmt.Sprint(string(b), err)
			<-release
		}()
	}
	lost := 0
	for range threads {
		if s := <-status; !strings.Contains(s, "CapAmb:") || strings.Contains(s, "CapAmb:\t0000000000000000") {
			lost++
		}
	}
	close(release)
	if lost > 0 {
		t.Errorf("%d of %d threads have lost their ambient capabilities", lost, threads)
	}
}

// withoutRights wants a build to have no capabilities.
func withoutRights(t *testing.T, c execrunner.Config) {
	t.Helper()
	c.Command, c.Args = "grep", []string{"CapAmb\\|CapEff", "/proc/self/status"}
	res, log := run(t, c, openBuild(t))
	want(t, res, runner.Success, "")
	if want := "CapEff:\t0000000000000000\nCapAmb:\t0000000000000000\n"; log != want {
		t.Errorf("as %q the build has\n%swant\n%s", c.User, log, want)
	}
}

func unkillableIsLeft(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	var stopped time.Time
	log := &watch{on: "ready", call: func() {
		if stopped.IsZero() {
			stopped = time.Now()
		}
		cancel(errors.New("enough"))
	}}
	r := newRunner(t, execrunner.Config{
		Command: "sh", Args: []string{"-c", "echo ready; exec sleep 30"}, // which ends by itself, after the test
		User: "daemon", KillDelay: time.Millisecond,
	})
	used := processorTime(t)
	want(t, r.Run(ctx, openBuild(t), log), runner.Aborted, "enough; the process could not be ended")
	if used = processorTime(t) - used; used > 2*time.Second {
		t.Errorf("the wait took %v of the processor, want almost nothing", used)
	}
	if took := time.Since(stopped); took < 5*time.Second {
		t.Errorf("the build ended %v after it was stopped, want it to wait for the process", took)
	}
	if !strings.HasSuffix(log.String(), "1 process did not end.\n") {
		t.Errorf("log = %q, want it to say that a process did not end", log)
	}
}

// othersHideNothing starts a busy process of another user during a build. This process cannot read the variables of that
// one, and the search must not wait for it until there is no time for those of the build.
func othersHideNothing(t *testing.T) {
	daemon, err := user.Lookup("daemon")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(daemon.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	b := openBuild(t)
	var busy *exec.Cmd
	log := &watch{on: "ready", call: func() {
		if busy != nil {
			return
		}
		busy = exec.Command("sh", "-c", "while [ -e go ]; do :; done")
		busy.Dir = b.Workspace
		busy.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(os.Getgid()), NoSetGroups: true}}
		if err := errors.Join(os.WriteFile(filepath.Join(b.Workspace, "go"), nil, 0o644), busy.Start()); err != nil {
			t.Error(err)
		}
	}}
	// It starts a process in another session, whose number is larger than that of the busy one.
	r := execrunner.SearchOnly(newRunner(t, shell(`echo ready; until [ -e go ]; do sleep 0.01; done; sleep 0.1; setsid sh -c ': >up; exec sleep 1000' &
		until [ -e up ]; do sleep 0.01; done`)))
	want(t, r.Run(t.Context(), b, log), runner.Success, "")
	if err := os.Remove(filepath.Join(b.Workspace, "go")); err != nil { // this process may not send signals to the busy one
		t.Fatal(err)
	}
	_ = busy.Wait()
	if log.String() != "ready\n1 left-over process was ended.\n" {
		t.Errorf("log = %q, want the process of the build to be ended", log)
	}
}

func TestIdsOfEachUser(t *testing.T) {
	if os.Getuid() == 0 { // only root can switch users
		idsAreTheUsers(t)
	}
}

// idsAreTheUsers runs a build as each other user of the machine.
func idsAreTheUsers(t *testing.T) {
	accounts, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(accounts)) {
		name, _, _ := strings.Cut(line, ":")
		u, err := user.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		groups, err := u.GroupIds()
		if err != nil {
			t.Fatal(err)
		}
		if u.Uid == strconv.Itoa(os.Getuid()) {
			continue
		}
		res, log := run(t, execrunner.Config{Command: "grep", Args: []string{"^[UG]id:\\|^Groups:", "/proc/self/status"}, User: name}, openBuild(t))
		want(t, res, runner.Success, "")
		// The kernel sorts the groups by number.
		slices.SortFunc(groups, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
		ids := slices.Concat([]string{"Uid:", u.Uid, u.Uid, u.Uid, u.Uid, "Gid:", u.Gid, u.Gid, u.Gid, u.Gid, "Groups:"}, groups)
		if got := strings.Fields(log); !slices.Equal(got, ids) {
			t.Errorf("a build as %s has %q, want %q", name, got, ids)
		}
	}
}

// openBuild returns a build with a workspace that other users can reach.
func openBuild(t *testing.T) runner.Build {
	t.Helper()
	b := newBuild(t)
	for d := b.Workspace; d != os.Getenv("TMPDIR") && d != filepath.Clean(os.TempDir()); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return b
}
