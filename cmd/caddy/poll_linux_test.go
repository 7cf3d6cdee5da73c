package main_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPollAsAnotherUserThanTheBuilds lets both write a file of the same name in their workspaces.
func TestPollAsAnotherUserThanTheBuilds(t *testing.T) {
	if os.Geteuid() != 0 {
		return // only root can switch users
	}
	s := newServer(t, "")
	if err := errors.Join(os.Chmod(filepath.Dir(s.dir), 0o755), os.Chmod(s.dir, 0o755)); err != nil { // for both users
		t.Fatal(err)
	}
	s.write("job watch {\n quiet_period 0\n token secret {\n grant trigger log\n }\n" +
		" run sh -c `id -un >by; cat by` {\n user nobody\n }\n poll sh -c `id -un >by; cat by` {\n user daemon\n }\n}\n")
	s.option("queue bolt " + filepath.Join(s.dir, "queue.db"))
	s.start()
	for i := 1; i <= 2; i++ { // each finds its workspace again
		if status, _, body := s.get("/buildByToken/polling?job=watch&token=secret"); status != http.StatusOK {
			t.Fatalf("poll: got %d %q", status, body)
		}
		path := fmt.Sprintf("/buildByToken/log?job=watch&token=secret&item=%d", i)
		s.eventually("the poll has queued a build", func() bool {
			status, _, _ := s.get(path)
			return status == http.StatusOK
		})
		if _, _, log := s.get(path); log != "Started by an SCM change\nnobody\nFinished: SUCCESS\n" {
			t.Errorf("log of build %d: got %q, want one as the user nobody", i, log)
		}
	}
	logs, err := filepath.Glob(filepath.Join(s.dir, "queue", "polling", "*.log"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	if text, err := os.ReadFile(logs[0]); err != nil || !strings.Contains(string(text), "\ndaemon\n") {
		t.Errorf("log of the poll: %q, %v; want one as the user daemon", text, err)
	}
}

// TestPollDoesNotFollowLinksAsRoot makes a build of another user plant a link in the workspace,
// to which a poll writes.
func TestPollDoesNotFollowLinksAsRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		return // only root can switch users
	}
	s := newServer(t, "")
	victim := filepath.Join(t.TempDir(), "victim")
	if err := errors.Join(os.WriteFile(victim, []byte("root's\n"), 0o600), os.Chmod(filepath.Dir(filepath.Dir(victim)), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.dir, 0o755); err != nil { // the build's user must be able to enter it
		t.Fatal(err)
	}
	s.write(fmt.Sprintf("job watch {\n quiet_period 0\n token secret {\n grant trigger log\n }\n"+
		" run sh -c `ln -sfn %s stamp; id -un` {\n user nobody\n }\n poll sh -c `id -un; echo owned >stamp; exit 1`\n}\n", victim))
	s.option("queue bolt " + filepath.Join(s.dir, "queue.db"))
	s.start()
	if status, _, body := s.get("/buildByToken/build?job=watch&token=secret"); status != http.StatusCreated {
		t.Fatalf("trigger: got %d %q", status, body)
	}
	if _, _, log := s.get("/buildByToken/log?job=watch&token=secret&item=1"); !strings.HasSuffix(log, "nobody\nFinished: SUCCESS\n") {
		t.Fatalf("log: got %q, want a build as the user nobody", log)
	}
	if status, _, body := s.get("/buildByToken/polling?job=watch&token=secret"); status != http.StatusOK {
		t.Fatalf("poll: got %d %q", status, body)
	}
	var log string
	s.eventually("the poll has ended", func() bool {
		logs, err := filepath.Glob(filepath.Join(s.dir, "queue", "polling", "*.log"))
		if err != nil || len(logs) != 1 {
			return false
		}
		text, err := os.ReadFile(logs[0])
		log = string(text)
		return err == nil && strings.Contains(log, "Done. Took")
	})
	if text, err := os.ReadFile(victim); err != nil || string(text) != "root's\n" || !strings.Contains(log, "nobody\n") {
		t.Errorf("victim: %q, %v; log of the poll: %q; want it untouched by a poll as nobody", text, err, log)
	}
}
