package execrunner_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// counter returns a function that counts the processes that have the variable.
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

func TestDaemonsAreFoundOutsideTheGroup(t *testing.T) {
	const daemon = `setsid sh -c 'echo pid=$$; touch up; exec sleep 1000' & until [ -e up ]; do sleep 0.01; done; `
	t.Run("after a normal exit", func(t *testing.T) {
		res, log := run(t, shell(daemon), newBuild(t))
		want(t, res, runner.Success, "")
		if !strings.HasSuffix(log, "1 left-over process was ended.\n") || len(pids(t, log)) != 1 || !dead(pids(t, log)[0]) {
			t.Errorf("log = %q, want one process that was ended", log)
		}
	})
	t.Run("when the build is stopped", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		log := &watch{on: "ready", call: func() { cancel(errors.New("enough")) }}
		res := newRunner(t, shell(daemon+"echo ready; sleep 1000")).Run(ctx, newBuild(t), log)
		want(t, res, runner.Aborted, "enough")
		if p := pids(t, log.String()); len(p) != 1 || !dead(p[0]) {
			t.Errorf("log = %q, want one process that was ended", log.String())
		}
	})
}

func TestOtherBuildsAreLeftAlone(t *testing.T) {
	b := newBuild(t)
	for name, env := range map[string][]string{
		"another number":    {"JOB_NAME=app/deploy", "BUILD_NUMBER=4", "QUEUE_ID=7", "WORKSPACE=" + b.Workspace},
		"another workspace": {"JOB_NAME=app/deploy", "BUILD_NUMBER=3", "QUEUE_ID=7", "WORKSPACE=/elsewhere"},
		"a longer number":   {"JOB_NAME=app/deploy", "BUILD_NUMBER=33", "QUEUE_ID=7", "WORKSPACE=" + b.Workspace},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "sleep", "1000")
			cmd.Env = env
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			defer cmd.Process.Kill()
			res, log := run(t, shell("sleep 1000 & echo hello"), b)
			want(t, res, runner.Success, "")
			if log != "hello\n1 left-over process was ended.\n" {
				t.Errorf("log = %q", log)
			}
			if dead(cmd.Process.Pid) {
				t.Error("the other build's process was ended")
			}
		})
	}
}

func TestProcessOutOfReachDoesNotHoldTheBuild(t *testing.T) {
	// Neither its group nor its variables tell where it came from, and it holds the output open.
	res, log := run(t, shell(`env -i "$(command -v setsid)" "$(command -v sh)" -c 'echo pid=$$; : >up; exec /bin/sleep 1000' & until [ -e up ]; do sleep 0.01; done; echo last`), newBuild(t))
	want(t, res, runner.Success, "")
	p := pids(t, log)
	if len(p) != 1 || !strings.HasSuffix(log, "last\n") {
		t.Fatalf("log = %q", log)
	}
	if err := syscall.Kill(p[0], syscall.SIGKILL); err != nil {
		t.Errorf("kill the process: %v; if it is gone, this test shows nothing", err)
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
	run(t, shell("true"), b)
	before := count()
	for range 10 {
		run(t, shell("echo hello; exit 1"), b)
		newRunner(t, shell("sleep 1000 &")).Run(t.Context(), b, io.Discard)
	}
	if after := count(); after != before {
		t.Errorf("%d files are open after the builds, want %d as before", after, before)
	}
}
