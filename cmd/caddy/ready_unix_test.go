//go:build unix

package main_test

import (
	"bytes"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestServerIsUnreadyBeforeItStopsAccepting stops a server that has a shutdown delay. A load
// balancer sees that it is not ready. Triggers that arrive until the load balancer has noticed
// are built after the next start.
func TestServerIsUnreadyBeforeItStopsAccepting(t *testing.T) {
	s := newServer(t, "ready\njob app {\n quiet_period 0\n token secret {\n grant trigger status\n }\n run true\n}\n")
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.file, bytes.Replace(text, []byte("{\n"), []byte("{\n\tshutdown_delay 2s\n\tgrace_period 5s\n"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	ready := func() int {
		status, _, _ := s.get("/build_token/ready")
		return status
	}
	if got := ready(); got != http.StatusOK {
		t.Errorf("ready: %d, want 200", got)
	}
	resp, err := http.Get("http://" + s.admin + "/build_token/ready")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("ready on the admin endpoint: %d, want 200", resp.StatusCode)
	}
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.eventually("the server is not ready", func() bool { return ready() == http.StatusServiceUnavailable })
	// From here on, the server accepts requests for almost two seconds.
	status, _, body := s.get("/buildByToken/build?job=app&token=secret")
	if status != http.StatusCreated {
		t.Fatalf("trigger of a server that is not ready but accepts: %d %q, want 201", status, body)
	}
	<-s.ended
	s.process = nil
	s.start()
	s.eventually("what was triggered is built", func() bool {
		_, _, body := s.get("/buildByToken/status?job=app&token=secret&item=1")
		return strings.Contains(body, "SUCCESS")
	})
}
