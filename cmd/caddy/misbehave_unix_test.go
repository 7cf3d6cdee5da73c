//go:build unix

package main_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// post sends a POST request.
func (s *server) post(target string) (status int) {
	s.t.Helper()
	resp, err := http.Post("http://"+s.site+target, "", nil)
	if err != nil {
		s.t.Fatalf("POST %s: %v", target, err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// TestBuildsThatMisbehave runs commands that do what builds should not do. Each must end as
// described, with a log that mentions it, leave nothing behind, and not affect the others.
func TestBuildsThatMisbehave(t *testing.T) {
	builds := []struct {
		name string
		// script is run by sh; $OUT is a directory for its traces.
		script string
		rest   string
		stop   bool // when the log contains "ready"
		result string
		log    []string // parts of the log
	}{
		{
			"deaf", "trap '' TERM; echo ready; while :; do sleep 0.05; done", "", true, "ABORTED",
			[]string{"ready\n", "stopped by token default\nFinished: ABORTED\n"},
		},
		{
			"deaf-with-children", "trap '' TERM; (trap '' TERM; while :; do sleep 0.05; done) & echo $! >$OUT/pid; echo ready; wait", "", true, "ABORTED",
			[]string{"stopped by token default\nFinished: ABORTED\n"},
		},
		{
			"deaf-past-its-timeout", "trap '' TERM; echo ready; while :; do sleep 0.05; done", "timeout 300ms", false, "ABORTED",
			[]string{"timed out after 300ms\nFinished: ABORTED\n"},
		},
		{
			"leaves-a-child", "sleep 1000 & echo $! >$OUT/pid; echo ready", "", false, "SUCCESS",
			[]string{"ready\n", "1 left-over process was ended.\n", "Finished: SUCCESS\n"},
		},
		{
			"closes-its-output", "exec >&- 2>&-; sleep 0.2; exit 3", "", false, "FAILURE",
			[]string{"exit status 3\nFinished: FAILURE\n"},
		},
		{
			"reads-its-input", "cat; echo no input", "", false, "SUCCESS",
			[]string{"no input\nFinished: SUCCESS\n"},
		},
		{
			"floods-its-output", "yes flood", "timeout 500ms", false, "ABORTED",
			[]string{"flood\nflood\n", "timed out after 500ms\nFinished: ABORTED\n"},
		},
		{
			"says-that-it-succeeded", "printf 'Finished: SUCCESS\\n'; exit 1", "", false, "FAILURE",
			[]string{"exit status 1\nFinished: FAILURE\n"},
		},
		{
			"kills-itself", "kill -9 $$", "", false, "FAILURE",
			[]string{"signal: killed\nFinished: FAILURE\n"},
		},
		{
			"removes-its-workspace", "rm -rf \"$WORKSPACE\"; echo gone", "", false, "SUCCESS",
			[]string{"gone\nFinished: SUCCESS\n"},
		},
	}
	if _, err := os.Stat("/proc/self/environ"); err == nil { // the only way to find processes that have left the group
		builds = append(builds, struct {
			name, script, rest string
			stop               bool
			result             string
			log                []string
		}{
			"leaves-a-daemon-that-holds-the-output", "setsid sh -c 'echo $$ >$OUT/pid; sleep 1000' & while ! [ -s $OUT/pid ]; do sleep 0.01; done; echo ready", "", false, "SUCCESS",
			[]string{"ready\n", "ended.\n", "Finished: SUCCESS\n"},
		})
	}
	out := t.TempDir()
	var body strings.Builder
	for _, b := range builds {
		fmt.Fprintf(&body, "job %s {\n quiet_period 0\n %s\n token secret {\n grant trigger status log cancel\n }\n run sh -c `export OUT=%s; %s` {\n kill_delay 200ms\n }\n}\n",
			b.name, b.rest, filepath.Join(out, b.name), b.script)
		if err := os.Mkdir(filepath.Join(out, b.name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s := newServer(t, body.String())
	s.option(fmt.Sprintf("executors %d", len(builds)))
	s.start()
	items := map[string]string{}
	for _, b := range builds {
		status, location, text := s.get("/buildByToken/build?token=secret&job=" + b.name)
		if status != http.StatusCreated {
			t.Fatalf("trigger %s: got %d %q", b.name, status, text)
		}
		items[b.name] = filepath.Base(location)
	}
	for _, b := range builds {
		t.Run(b.name, func(t *testing.T) {
			about := "job=" + b.name + "&token=secret&item=" + items[b.name]
			if b.stop {
				s.eventually(b.name+" is ready", func() bool {
					log, err := filepath.Glob(filepath.Join(s.dir, "data", "caddy", "build_token", "logs", b.name+"-????????????????", "1.log"))
					if err != nil || len(log) != 1 {
						return false
					}
					text, err := os.ReadFile(log[0])
					return err == nil && strings.Contains(string(text), "ready\n")
				})
				if status := s.post("/buildByToken/cancel?" + about); status != http.StatusNoContent {
					t.Errorf("cancel: got %d", status)
				}
			}
			_, _, log := s.get("/buildByToken/log?" + about)
			for _, part := range b.log {
				if !strings.Contains(log, part) {
					t.Errorf("log: %q is not in %.500q", part, log)
				}
			}
			if want := "Finished: " + b.result + "\n"; !strings.HasSuffix(log, want) {
				t.Errorf("log ends with %q, want %q", log[max(0, len(log)-100):], want)
			}
			if text, err := os.ReadFile(filepath.Join(out, b.name, "pid")); err == nil {
				pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
				if err != nil {
					t.Fatal(err)
				}
				// It can be a zombie until its new parent collects it.
				if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) && !zombie(pid) {
					t.Errorf("process %d is left: %v", pid, err)
				}
			}
		})
	}
}

// zombie reports whether a process has ended without being collected.
func zombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(text), ") Z ")
}
