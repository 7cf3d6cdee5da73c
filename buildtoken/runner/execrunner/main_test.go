package execrunner_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/runner/execrunner"
	"github.com/buildtoken/buildtoken/internal/runnertest"
)

// TestMain makes the test program the command of its own builds: with the argument play=SCRIPT, it plays a script.
func TestMain(m *testing.M) {
	script, ok := strings.CutPrefix(os.Args[len(os.Args)-1], "play=")
	if !ok {
		os.Exit(m.Run())
	}
	var s runnertest.Script
	if err := json.Unmarshal([]byte(script), &s); err != nil {
		panic(err)
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	os.Exit(s.Play(stop, os.Stdout, os.Stderr))
}

func newRunner(t testing.TB, c execrunner.Config) *execrunner.Runner {
	t.Helper()
	r, err := execrunner.New(c)
	if err != nil {
		t.Fatalf("New(%+v) = %v", c, err)
	}
	return r
}

// newBuild returns build 3 of app/deploy with a new workspace.
func newBuild(t testing.TB, env ...string) runner.Build {
	ws := t.TempDir()
	return runner.Build{
		Job: "app/deploy", Number: 3, QueueID: 7, Workspace: ws,
		Env: append([]string{"JOB_NAME=app/deploy", "BUILD_NUMBER=3", "QUEUE_ID=7", "WORKSPACE=" + ws}, env...),
	}
}

// run runs the command and returns the result with the log.
func run(t testing.TB, c execrunner.Config, b runner.Build) (runner.Result, string) {
	t.Helper()
	var log strings.Builder
	res := newRunner(t, c).Run(t.Context(), b, &log)
	return res, log.String()
}

func want(t testing.TB, got runner.Result, outcome runner.Outcome, reason string) {
	t.Helper()
	if got.Outcome != outcome || !strings.Contains(got.Reason, reason) || (reason == "") != (got.Reason == "") {
		t.Errorf("Run = %+v, want %s, reason with %q", got, outcome, reason)
	}
}

func TestMissingCommandIsReported(t *testing.T) {
	res, _ := run(t, execrunner.Config{Command: "no-such-command"}, newBuild(t))
	want(t, res, runner.NotBuilt, fmt.Sprint(&exec.Error{Name: "no-such-command", Err: exec.ErrNotFound}))
}
