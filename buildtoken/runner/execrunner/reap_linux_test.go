package execrunner_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner/execrunner"
)

func TestReapEndsWhatADeadServerLeft(t *testing.T) {
	b := newBuild(t)
	start := func(env []string) *exec.Cmd {
		t.Helper()
		// It ignores the first signal, so that only the second one ends it.
		cmd := exec.CommandContext(t.Context(), "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.01; done")
		cmd.Env = append(env, "PATH=/usr/bin:/bin")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	ours := start(b.Env)
	other := newBuild(t)
	strangers := start(other.Env)
	defer func() {
		_ = strangers.Process.Kill()
		_ = strangers.Wait()
	}()
	waited := make(chan error, 1)
	go func() { waited <- ours.Wait() }() // ends with the process

	r := newRunner(t, execrunner.Config{Command: "true", KillDelay: 10 * time.Millisecond})
	found, err := r.Reap(t.Context(), b)
	if err != nil || found < 1 {
		t.Errorf("Reap = %d, %v; want the processes of the build", found, err)
	}
	<-waited
	if s, ok := ours.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGKILL {
		t.Errorf("the process ended with %v, want SIGKILL", ours.ProcessState)
	}
	if dead(strangers.Process.Pid) {
		t.Error("the process of an equal build in another workspace is gone")
	}
	if found, err := r.Reap(t.Context(), b); found != 0 || err != nil {
		t.Errorf("Reap again = %d, %v; want nothing", found, err)
	}
}

// A process that is in a control group and has the variables of the build counts once.
func TestReapCountsEachProcessOnce(t *testing.T) {
	b, parent := newBuild(t), t.TempDir()
	events := filepath.Join(parent, execrunner.CgroupPrefix(b.Env)+"1", "cgroup.events")
	if err := errors.Join(os.Mkdir(filepath.Dir(events), 0o700), os.WriteFile(events, []byte("populated 1\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	var list string
	for range 2 {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", `trap 'echo populated 0 >"$EVENTS"; exit' TERM; echo ready; read line`) // without a child
		cmd.Env = append(b.Env, "PATH=/usr/bin:/bin", "EVENTS="+events)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = in.Close() // which ends it at the latest
			_ = cmd.Wait()
		}()
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		list += fmt.Sprintln(cmd.Process.Pid)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(events), "cgroup.procs"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	r := execrunner.CgroupsIn(newRunner(t, execrunner.Config{Command: "true"}), parent)
	if found, err := r.Reap(t.Context(), b); found != 2 || err != nil {
		t.Errorf("Reap = %d, %v, want 2", found, err)
	}
}

// A group without processes that end, since this process may not signal them or they hang in the kernel.
func TestReapReportsWhatStays(t *testing.T) {
	b, parent := newBuild(t), t.TempDir()
	group := filepath.Join(parent, execrunner.CgroupPrefix(b.Env)+"1")
	if err := errors.Join(os.Mkdir(group, 0o700), os.WriteFile(filepath.Join(group, "cgroup.events"), []byte("populated 1\n"), 0o600),
		os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("1000000000\n"), 0o600)); err != nil { // larger than every number
		t.Fatal(err)
	}
	r := execrunner.CgroupsIn(newRunner(t, execrunner.Config{Command: "true", KillDelay: time.Millisecond}), parent)
	if found, err := r.Reap(t.Context(), b); found != 1 || err == nil || !strings.Contains(err.Error(), "could not be ended") {
		t.Errorf("Reap = %d, %v, want 1 and an error", found, err)
	}
}

// What a dead server left can end in its own way.
func TestReapTerminatesBeforeItKills(t *testing.T) {
	b := newBuild(t)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "trap 'sleep 0.1; exit 7' TERM; echo ready; while :; do sleep 0.01; done")
	cmd.Env = append(b.Env, "PATH=/usr/bin:/bin")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- cmd.Wait() }() // ends with the process
	found, err := newRunner(t, execrunner.Config{Command: "true", KillDelay: 10 * time.Second}).Reap(t.Context(), b)
	<-waited
	if status := cmd.ProcessState.ExitCode(); found < 1 || err != nil || status != 7 {
		t.Errorf("Reap = %d, %v, and the process ended with %v, want its own status 7", found, err, cmd.ProcessState)
	}
}
