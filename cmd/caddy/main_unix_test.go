//go:build unix

package main_test

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestBuildsDieOfBrokenPipes verifies that builds get SIGPIPE, as in a shell, although Caddy
// ignores it and its children would inherit that.
func TestBuildsDieOfBrokenPipes(t *testing.T) {
	s := newServer(t, "job x {\n quiet_period 0\n token secret {\n grant trigger log\n }\n run sh -c `(yes; echo \"status $?\" >&2) | head -n 1`\n}\n")
	s.start()
	if status, _, body := s.get("/buildByToken/build?job=x&token=secret"); status != http.StatusCreated {
		t.Fatalf("trigger: got %d %q", status, body)
	}
	if _, _, log := s.get("/buildByToken/log?job=x&token=secret&item=1"); !strings.Contains(log, "status 141\n") {
		t.Errorf("log: got %q, want yes to end with 141, because of SIGPIPE", log)
	}
}

// TestTerminatedServerEnds stops the server while a client follows a log and a build runs: the
// stream must end, and the build must get its shutdown timeout and be on record.
func TestTerminatedServerEnds(t *testing.T) {
	s := newServer(t, "job x {\n quiet_period 0\n token secret {\n grant trigger status log\n }\n run sh -c `echo started; exec sleep 1000`\n}\n")
	s.option("shutdown_timeout 100ms")
	s.start()
	if status, _, body := s.get("/buildByToken/build?job=x&token=secret"); status != http.StatusCreated {
		t.Fatalf("trigger: got %d %q", status, body)
	}
	resp, err := http.Get("http://" + s.site + "/buildByToken/log?job=x&token=secret&item=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 1)
	if _, err := resp.Body.Read(first); err != nil { // the build runs and is followed
		t.Fatal(err)
	}
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.ended:
	case <-time.After(patience):
		t.Fatalf("Caddy has not ended %v after SIGTERM", patience)
	}
	if code := s.process.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit status: got %d, want 0", code)
	}
	s.start()
	if _, _, body := s.get("/buildByToken/status?job=x&token=secret&item=1"); !strings.Contains(body, "ABORTED") {
		t.Errorf("status: got %s, want ABORTED", body)
	}
}
