//go:build unix

package caddymodule_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// fifo is a named pipe: a build that reads it waits for the test.
func fifo(t *testing.T) (path string, release func()) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, func() {
		t.Helper()
		if err := os.WriteFile(path, []byte("go on\n"), 0o600); err != nil { // waits for the reader
			t.Fatal(err)
		}
	}
}

func TestReloadKeepsRunningBuildAndQueuedItem(t *testing.T) {
	s := newSite(t)
	path, release := fifo(t)
	body := jobs("job wait {\n token secret {\n grant trigger log\n }\n run cat " + path + "\n}\n" +
		"job later {\n quiet_period 1h\n token secret {\n grant trigger status\n }\n run true\n}\n")
	s.load(s.caddyfile("", body))
	running, queued := s.trigger("wait", "secret"), s.trigger("later", "secret")

	log := make(chan string, 1)
	s.load(s.caddyfile("executors 5", body))
	go func() { log <- s.follow("wait", "secret", running) }()
	release()
	if got := <-log; !strings.Contains(got, "go on\n") || !strings.Contains(got, "Finished: SUCCESS") {
		t.Errorf("log of the build that ran over the reload: got %q", got)
	}
	if a := s.get("/buildByToken/status?job=later&token=secret&item=" + queued); a.status != http.StatusOK || !strings.Contains(a.body, "waiting") {
		t.Errorf("item that was queued over the reload: got %d %s", a.status, a.body)
	}
	if got := status(t).Queues[0].Executors; got != 5 {
		t.Errorf("executors: got %d, want the 5 of the new configuration", got)
	}
}
