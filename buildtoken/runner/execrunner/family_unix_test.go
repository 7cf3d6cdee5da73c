//go:build unix

package execrunner_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/runner/execrunner"
)

func shell(script string) execrunner.Config {
	return execrunner.Config{Command: "sh", Args: []string{"-c", script}, KillDelay: 300 * time.Millisecond}
}

// dead reports whether the process is gone, or a zombie that waits for its parent.
func dead(pid int) bool {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// pids returns the process ids in the log, which the scripts write as pid=N.
func pids(t *testing.T, log string) []int {
	t.Helper()
	var all []int
	for _, f := range strings.Fields(log) {
		if s, ok := strings.CutPrefix(f, "pid="); ok {
			n, err := strconv.Atoi(s)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, n)
		}
	}
	return all
}

// TestClosedOutputIsNotTheEnd runs builds that close or redirect their output and go on. The build ends when its process
// ends, with the exit status of the process.
func TestClosedOutputIsNotTheEnd(t *testing.T) {
	for _, close := range []string{"exec >&- 2>&-", "exec >/dev/null 2>&1", "exec >&- 2>&- <&-"} {
		t.Run(close, func(t *testing.T) {
			b := newBuild(t)
			used := processorTime(t)
			res, log := run(t, shell("echo before; "+close+"; sleep 0.5; touch after; exit 3"), b)
			if used = processorTime(t) - used; used > 250*time.Millisecond {
				t.Errorf("the wait took %v of the processor, want almost nothing", used)
			}
			want(t, res, runner.Failure, "exit status 3")
			if log != "before\n" {
				t.Errorf("log = %q, want what came before the output was closed", log)
			}
			if _, err := os.Stat(filepath.Join(b.Workspace, "after")); err != nil {
				t.Errorf("the build did not go on: %v", err)
			}
		})
	}
}

func TestLeftoversAreEnded(t *testing.T) {
	for _, tt := range []struct {
		name, script, want string
	}{
		{"one that holds the output", `sleep 1000 & echo pid=$!`, "1 left-over process was ended.\n"},
		{"one without the variables of the build", `env -i "$(command -v sleep)" 1000 & echo pid=$!`, "1 left-over process was ended.\n"},
		{"two", `sleep 1000 & echo pid=$!; sleep 1000 & echo pid=$!`, "2 left-over processes were ended.\n"},
		{"one that ignores SIGTERM", `sh -c 'trap "" TERM; echo pid=$$; touch up; exec sleep 1000' & until [ -e up ]; do sleep 0.01; done`, "1 left-over process was ended.\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res, log := run(t, shell(tt.script), newBuild(t))
			want(t, res, runner.Success, "")
			if !strings.HasSuffix(log, "\n"+tt.want) {
				t.Errorf("log = %q, want %q at its end", log, tt.want)
			}
			for _, pid := range pids(t, log) {
				if !dead(pid) {
					t.Errorf("process %d still runs", pid)
				}
			}
		})
	}
	t.Run("of a build without variables that identify it", func(t *testing.T) {
		b := newBuild(t)
		b.Env = nil
		_, log := run(t, shell("sleep 1000 & echo pid=$!"), b)
		if p := pids(t, log); len(p) != 1 || !dead(p[0]) {
			t.Errorf("log = %q, want one process that was ended", log)
		}
	})
	t.Run("the note starts on its own line", func(t *testing.T) {
		_, log := run(t, shell("sleep 1000 & printf x"), newBuild(t))
		if log != "x\n1 left-over process was ended.\n" {
			t.Errorf("log = %q", log)
		}
	})
	t.Run("one that ends at once is not counted", func(t *testing.T) {
		_, log := run(t, shell("(sleep 0.02; echo last words) & echo first"), newBuild(t))
		if log != "first\nlast words\n" {
			t.Errorf("log = %q", log)
		}
	})
}

func TestStopEndsTheWholeGroup(t *testing.T) {
	for _, tt := range []struct{ name, script, want string }{
		{"politely", `trap 'echo bye; exit 0' TERM; sleep 1000 & echo pid=$! pid=$$ ready; wait`, "bye\n"},
		{"by force", `trap '' TERM; sleep 1000 & echo pid=$! pid=$$ ready; wait; while :; do sleep 1000; done`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			log := &watch{on: "ready", call: func() { cancel(errors.New("timed out after 1m0s")) }}
			res := newRunner(t, shell(tt.script)).Run(ctx, newBuild(t), log)
			if want := (runner.Result{Outcome: runner.Aborted, Reason: "timed out after 1m0s"}); res != want {
				t.Errorf("Run = %+v, want %+v", res, want)
			}
			if !strings.HasSuffix(log.String(), tt.want) {
				t.Errorf("log = %q, want %q at its end", log.String(), tt.want)
			}
			for _, pid := range pids(t, log.String()) {
				if !dead(pid) {
					t.Errorf("process %d still runs", pid)
				}
			}
		})
	}
}

// Without a kill delay in the configuration, processes have time to end in their own way.
func TestBuildCanEndInItsOwnWayByDefault(t *testing.T) {
	c := shell(`trap 'sleep 0.1; echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done`)
	c.KillDelay = 0
	ctx, cancel := context.WithCancelCause(t.Context())
	log := &watch{on: "ready", call: func() { cancel(errors.New("enough")) }}
	want(t, newRunner(t, c).Run(ctx, newBuild(t), log), runner.Aborted, "enough")
	if !strings.HasSuffix(log.String(), "bye\n") {
		t.Errorf("log = %q, want the build's last words", log.String())
	}
}

// A process that ignores SIGTERM writes a line every few milliseconds. The time between its
// first line after the signal and its last one must be the kill delay, and not twice that.
func TestKillDelayCountsOnce(t *testing.T) {
	const delay = 1500 * time.Millisecond
	c := shell(`trap 'echo asked' TERM; echo ready; while :; do sleep 0.01; echo tick; done`)
	c.KillDelay = delay
	ctx, cancel := context.WithCancelCause(t.Context())
	var asked, last time.Time
	log := &watch{on: "ready", call: func() {
		cancel(errors.New("stopped"))
		if last = time.Now(); asked.IsZero() {
			asked = last
		}
	}}
	res := newRunner(t, c).Run(ctx, newBuild(t), log)
	if want := (runner.Result{Outcome: runner.Aborted, Reason: "stopped"}); res != want {
		t.Errorf("Run = %+v, want %+v", res, want)
	}
	if ran := last.Sub(asked); ran < delay/2 || ran > delay+time.Second {
		t.Errorf("the process ran for %v after SIGTERM, want the kill delay of %v", ran, delay)
	}
}

// processorTime returns how long this process has used a processor so far.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// watch is a log that calls a function on each write after a text has appeared.
type watch struct {
	strings.Builder
	on   string
	call func()
}

func (w *watch) Write(p []byte) (int, error) {
	w.Builder.Write(p)
	if strings.Contains(w.String(), w.on) {
		w.call()
	}
	return len(p), nil
}

func TestChildrenDieOfABrokenPipeAlthoughTheServerIgnoresIt(t *testing.T) {
	signal.Ignore(syscall.SIGPIPE)
	t.Cleanup(func() { signal.Reset(syscall.SIGPIPE) })
	for range 2 {
		res, _ := run(t, shell("kill -PIPE $$; echo survived"), newBuild(t))
		want(t, res, runner.Failure, "signal: broken pipe")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	if _, err := w.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Write of the server = %v, want EPIPE, and no signal", err)
	}
}

// A file whose owner is unknown does not count as one of root's.
func TestUnknownOwnerIsNobody(t *testing.T) {
	st, err := fs.Stat(fstest.MapFS{"file": {}}, "file")
	if err != nil {
		t.Fatal(err)
	}
	if got := execrunner.OwnerOf(st); got != -1 {
		t.Errorf("OwnerOf = %d, want -1", got)
	}
}

func TestUser(t *testing.T) {
	t.Run("that does not exist", func(t *testing.T) {
		res, _ := run(t, execrunner.Config{Command: "id", User: "no-such-user"}, newBuild(t))
		want(t, res, runner.NotBuilt, "run as user no-such-user: user: unknown user no-such-user")
	})
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("of this process needs no rights", func(t *testing.T) {
		t.Setenv("HOME", "/somewhere/else")
		res, log := run(t, execrunner.Config{Command: "sh", Args: []string{"-c", "id -u; echo $HOME"}, User: me.Username}, newBuild(t))
		want(t, res, runner.Success, "")
		if log != me.Uid+"\n"+me.HomeDir+"\n" {
			t.Errorf("log = %q, want the user and home of %s", log, me.Username)
		}
	})
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Run("without the right to switch", func(t *testing.T) {
			res, _ := run(t, execrunner.Config{Command: "id", User: "nobody"}, newBuild(t))
			want(t, res, runner.NotBuilt, "run as user nobody: ")
		})
		return
	}
	t.Run("gets the workspace, the home and the files", func(t *testing.T) {
		b := newBuild(t)
		upload := filepath.Join(t.TempDir(), "upload")
		if err := errors.Join(os.Chmod(filepath.Dir(b.Workspace), 0o755), os.Chmod(b.Workspace, 0o700),
			os.WriteFile(upload, []byte("uploaded\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
		b.Params = []runner.Param{{Name: "in/FILE", File: upload}, {Name: "old/FILE", File: upload}}
		old := filepath.Join(b.Workspace, "old") // which is not the build's
		if err := os.Mkdir(old, 0o755); err != nil {
			t.Fatal(err)
		}
		res, log := run(t, execrunner.Config{
			Command: "sh", User: "nobody",
			Args: []string{"-c", "id -u; id -g; echo $HOME; cat in/FILE; touch in/new; ls -ld . in in/FILE | cut -d' ' -f1,3"},
		}, b)
		want(t, res, runner.Success, "")
		wantLog := strings.Join([]string{
			nobody.Uid, nobody.Gid, nobody.HomeDir, "uploaded", "drwx------ nobody", "drwx------ nobody", "-rw------- nobody", "",
		}, "\n")
		if log != wantLog {
			t.Errorf("log = %q, want %q", log, wantLog)
		}
		if st, err := os.Stat(old); err != nil || execrunner.OwnerOf(st) != 0 {
			t.Errorf("the folder that was there: %v, %v; want it to belong to root still", st, err)
		}
	})
	t.Run("whose group has another number", func(t *testing.T) {
		games, err := user.Lookup("games")
		if err != nil || games.Uid == games.Gid {
			t.Skip("there is no such user")
		}
		b := newBuild(t)
		if err := os.Chmod(filepath.Dir(b.Workspace), 0o755); err != nil {
			t.Fatal(err)
		}
		res, log := run(t, execrunner.Config{Command: "sh", Args: []string{"-c", "id -u; id -g"}, User: "games"}, b)
		want(t, res, runner.Success, "")
		if log != games.Uid+"\n"+games.Gid+"\n" {
			t.Errorf("log = %q, want user %s and group %s", log, games.Uid, games.Gid)
		}
	})
	t.Run("by number, and stopped like any other", func(t *testing.T) {
		b := newBuild(t)
		if err := os.Chmod(filepath.Dir(b.Workspace), 0o755); err != nil {
			t.Fatal(err)
		}
		c := shell("sleep 1000 & echo pid=$!; echo ready; sleep 1000")
		c.User = nobody.Uid
		ctx, cancel := context.WithCancelCause(t.Context())
		log := &watch{on: "ready", call: func() { cancel(errors.New("enough")) }}
		want(t, newRunner(t, c).Run(ctx, b, log), runner.Aborted, "enough")
		for _, pid := range pids(t, log.String()) {
			if !dead(pid) {
				t.Errorf("process %d still runs", pid)
			}
		}
	})
	t.Run("does not get what took the place of an upload", func(t *testing.T) {
		b := newBuild(t)
		upload, victim := filepath.Join(t.TempDir(), "upload"), filepath.Join(t.TempDir(), "victim")
		if err := errors.Join(os.Chmod(filepath.Dir(b.Workspace), 0o755), os.WriteFile(victim, []byte("root's\n"), 0o600), syscall.Mkfifo(upload, 0o600)); err != nil {
			t.Fatal(err)
		}
		swapped := make(chan error, 1)
		go func() { // ends when the upload has been read
			in, err := os.OpenFile(upload, os.O_WRONLY, 0) // waits until the runner reads
			if err != nil {
				swapped <- err
				return
			}
			defer in.Close()
			names, err := filepath.Glob(filepath.Join(b.Workspace, ".FILE.*"))
			for err == nil && len(names) == 0 {
				names, err = filepath.Glob(filepath.Join(b.Workspace, ".FILE.*"))
			}
			swapped <- errors.Join(err, os.Remove(names[0]), os.Link(victim, names[0]))
		}()
		b.Params = []runner.Param{{Name: "FILE", File: upload}}
		run(t, execrunner.Config{Command: "true", User: "nobody"}, b)
		if err := <-swapped; err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(victim); err != nil || execrunner.OwnerOf(st) != 0 {
			t.Errorf("the file outside: %v, %v; want it to belong to root still", st, err)
		}
	})
	t.Run("is refused the workspace of another user", func(t *testing.T) {
		b := newBuild(t)
		if err := errors.Join(os.Chmod(filepath.Dir(b.Workspace), 0o755), os.Chmod(b.Workspace, 0o700)); err != nil {
			t.Fatal(err)
		}
		res, _ := run(t, execrunner.Config{Command: "true", User: "nobody"}, b)
		want(t, res, runner.Success, "")
		for _, user := range []string{"", "daemon", "root"} {
			res, _ := run(t, execrunner.Config{Command: "true", User: user}, b)
			want(t, res, runner.NotBuilt, "belongs to the user with id "+nobody.Uid)
		}
		res, _ = run(t, execrunner.Config{Command: "true", User: "nobody"}, b)
		want(t, res, runner.Success, "")
	})
	t.Run("does not learn from errors what only root can see", func(t *testing.T) {
		b := newBuild(t)
		secret := filepath.Join(t.TempDir(), "deploy")
		if err := errors.Join(os.Chmod(filepath.Dir(b.Workspace), 0o755), os.WriteFile(secret, []byte("#!/no/such/secret\n"), 0o700),
			os.Symlink(secret, filepath.Join(b.Workspace, "deploy")), os.Symlink(filepath.Dir(secret), filepath.Join(b.Workspace, "dir")),
			os.Chmod(filepath.Dir(secret), 0o700)); err != nil {
			t.Fatal(err)
		}
		var reasons []string
		for _, target := range []string{secret, secret + "-missing"} {
			link := filepath.Join(b.Workspace, "deploy")
			if err := errors.Join(os.Remove(link), os.Symlink(target, link)); err != nil {
				t.Fatal(err)
			}
			res, _ := run(t, execrunner.Config{Command: "./deploy", User: "nobody"}, b)
			want(t, res, runner.NotBuilt, "permission denied")
			reasons = append(reasons, res.Reason)
		}
		if reasons[0] != reasons[1] {
			t.Errorf("reasons: got %q, want the same whether the file exists or not", reasons)
		}
	})
	t.Run("without a workspace", func(t *testing.T) {
		b := newBuild(t)
		if err := errors.Join(os.Chmod(filepath.Dir(b.Workspace), 0o755), os.Remove(b.Workspace)); err != nil {
			t.Fatal(err)
		}
		for _, missing := range []string{b.Workspace, filepath.Join(b.Workspace, "below")} {
			b.Workspace = missing
			res, _ := run(t, execrunner.Config{Command: "/bin/pwd", User: "nobody"}, b)
			want(t, res, runner.NotBuilt, "no such file or directory")
			if strings.Contains(res.Reason, "the program") {
				t.Errorf("reason = %q, want it not to blame the program", res.Reason)
			}
		}
	})
	t.Run("without the program", func(t *testing.T) {
		b := newBuild(t)
		if err := os.Chmod(filepath.Dir(b.Workspace), 0o755); err != nil {
			t.Fatal(err)
		}
		res, _ := run(t, execrunner.Config{Command: "./missing", User: "nobody"}, b)
		want(t, res, runner.NotBuilt, "run as user nobody: fork/exec "+filepath.Join(b.Workspace, "missing")+": no such file or directory (one of these does not exist: ")
	})
	t.Run("without access to the workspace", func(t *testing.T) {
		b := newBuild(t)
		if err := os.Chmod(filepath.Dir(b.Workspace), 0o700); err != nil {
			t.Fatal(err)
		}
		res := newRunner(t, execrunner.Config{Command: "/bin/pwd", User: "nobody"}).Run(t.Context(), b, io.Discard)
		want(t, res, runner.NotBuilt, "the right to enter "+b.Workspace)
	})
}

func Example() {
	r, err := execrunner.New(execrunner.Config{
		Command: "sh",
		Args:    []string{"-c", `echo "deploying $1 for $JOB_NAME"`, "sh", "{param.VERSION}"},
	})
	if err != nil {
		panic(err)
	}
	workspace, err := os.MkdirTemp("", "workspace")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(workspace)
	result := r.Run(context.Background(), runner.Build{
		Job: "app/deploy", Number: 1, QueueID: 1, Workspace: workspace,
		Env:    []string{"JOB_NAME=app/deploy", "BUILD_NUMBER=1", "QUEUE_ID=1", "VERSION=v1.2"},
		Params: []runner.Param{{Name: "VERSION", Value: "v1.2"}},
	}, os.Stdout)
	fmt.Println(result.Outcome)
	// Output:
	// deploying v1.2 for app/deploy
	// SUCCESS
}
