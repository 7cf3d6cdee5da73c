//go:build unix

package main_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// TestRemoteBuildSurvivesRestarts kills and stops Caddy while it follows a build on another
// system. The build must be started there once, take no executor, and end with the result of
// the other system.
func TestRemoteBuildSurvivesRestarts(t *testing.T) {
	var started, asked atomic.Int64
	var done atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			fmt.Fprintf(w, `{"id": %d}`, started.Add(1))
			return
		}
		asked.Add(1)
		fmt.Fprintf(w, `{"done": %v}`, done.Load())
	}))
	defer other.Close()
	s := newServer(t, fmt.Sprintf("quiet_period 0\njob remote {\n token secret {\n grant trigger log status\n }\n"+
		" runner http POST %[1]s/builds {\n  follow %[1]s/builds/{response.id} {\n   done body.done\n   every 1s\n  }\n }\n}\n"+
		"job local {\n token secret {\n grant trigger log\n }\n run echo hello\n}\n", other.URL))
	s.option("executors 1")
	s.start()
	if status, _, body := s.get("/buildByToken/build?job=remote&token=secret"); status != http.StatusCreated {
		t.Fatalf("trigger: got %d %q", status, body)
	}
	followed := func() {
		t.Helper()
		before := asked.Load()
		s.eventually("the build is followed", func() bool { return asked.Load() > before+1 })
	}
	followed()
	if status, _, body := s.get("/buildByToken/build?job=local&token=secret"); status != http.StatusCreated {
		t.Fatalf("trigger: got %d %q", status, body)
	}
	if _, _, log := s.get("/buildByToken/log?job=local&token=secret&item=2"); !strings.HasSuffix(log, "hello\nFinished: SUCCESS\n") {
		t.Errorf("log of the local job: got %q, want it to run at the same time as the remote build", log)
	}
	s.kill()
	s.start()
	followed()
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-s.ended
	if out := s.output(); !strings.Contains(out, "build goes on, and will be resumed") {
		t.Error("the stopped server does not log that the build goes on")
	}
	s.start()
	followed()
	done.Store(true)
	_, _, log := s.get("/buildByToken/log?job=remote&token=secret&item=1")
	const resumed = "Resumed after a restart of the server\n"
	if strings.Count(log, resumed) != 2 || !strings.HasSuffix(log, "Finished: SUCCESS\n") || started.Load() != 1 {
		t.Errorf("log: got %q after %d starts, want two resumptions and a success after one start", log, started.Load())
	}
}
