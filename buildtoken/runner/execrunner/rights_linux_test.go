package execrunner_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
		return
	case "with chown":
		t.Run("ambient capabilities are not handed on", ambientIsDropped)
		t.Run("a process that can't be ended holds no build", unkillableIsLeft)
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
	program := filepath.Join(dir, "test")
	if out, err := exec.CommandContext(t.Context(), "cp", os.Args[0], program).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v %s", err, out)
	}
	for _, tt := range []struct {
		name, rights string
		cases        int
	}{{"with chown", "+setuid,+setgid,+chown", 2}, {"without chown", "+setuid,+setgid", 1}} {
		again := exec.CommandContext(t.Context(), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
			"--inh-caps="+tt.rights, "--ambient-caps="+tt.rights, program, "-test.run=^TestRightsOfAServer$", "-test.v")
		again.Env = append(os.Environ(), "BUILDTOKEN_TEST_RIGHTS="+tt.name, "TMPDIR="+dir)
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
	want(t, r.Run(ctx, openBuild(t), log), runner.Aborted, "enough; the process could not be ended")
	if took := time.Since(stopped); took < 5*time.Second {
		t.Errorf("the build ended %v after it was stopped, want it to wait for the process", took)
	}
	if !strings.HasSuffix(log.String(), "1 process did not end.\n") {
		t.Errorf("log = %q, want it to say that a process did not end", log)
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
