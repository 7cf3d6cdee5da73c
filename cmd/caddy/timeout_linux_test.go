package main_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTimeoutEndsWhatTheShellStarted lets a build time out that has a child, a grandchild, a
// child that ignores SIGTERM, and a daemon. When its end is on record, none of them may be
// left.
func TestTimeoutEndsWhatTheShellStarted(t *testing.T) {
	s := newServer(t, `job x {
	quiet_period 0
	timeout 5s
	token secret {
		grant trigger status log
	}
	run sh -c "sleep 1000 & (sleep 1000 & sleep 1000) & (trap '' TERM; sleep 1000; sleep 1000) & setsid sleep 1000 & echo started; wait" {
		kill_delay 200ms
	}
}
`)
	s.start()
	if status, _, body := s.get("/buildByToken/build?job=x&token=secret"); status != http.StatusCreated {
		t.Fatalf("trigger: got %d %q", status, body)
	}
	living := func() (n int) {
		folders, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			t.Fatal(err)
		}
		for _, folder := range folders {
			variables, err := os.ReadFile(filepath.Join(folder, "environ"))
			if err == nil && bytes.Contains(variables, []byte("WORKSPACE="+s.dir)) {
				n++
			}
		}
		return n
	}
	s.eventually("the build and its five sleepers run", func() bool { return living() >= 6 })
	if _, _, log := s.get("/buildByToken/log?job=x&token=secret&item=1"); !strings.HasSuffix(log, "timed out after 5s\nFinished: ABORTED\n") {
		t.Errorf("log: got %q", log)
	}
	s.eventually("the end is on record", func() bool {
		_, _, body := s.get("/buildByToken/status?job=x&token=secret&item=1")
		return strings.Contains(body, `"ABORTED"`)
	})
	if n := living(); n != 0 {
		t.Errorf("%d processes of the build are left", n)
	}
}
