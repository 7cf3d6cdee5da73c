//go:build unix

package main_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestShutdownTimeoutCountsFromTheSignal adds a site with a download that never ends, so that
// Caddy's own shutdown waits for it.
func TestShutdownTimeoutCountsFromTheSignal(t *testing.T) {
	s := newServer(t, "job long {\n quiet_period 0s\n token secret\n run sleep 600\n}\n")
	s.option("shutdown_timeout 1s")
	download := freeAddress(t)
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	other := fmt.Sprintf("http://%s {\n\troot %s\n\tfile_server\n}\n", download, s.dir)
	if err := os.WriteFile(s.file, append(text, other...), 0o600); err != nil {
		t.Fatal(err)
	}
	// A sparse file that is larger than all socket buffers.
	if err := os.WriteFile(filepath.Join(s.dir, "big"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(s.dir, "big"), 1<<30); err != nil {
		t.Fatal(err)
	}
	s.start()
	if status, _, body := s.get("/buildByToken/build?job=long&token=secret"); status != 201 {
		t.Fatalf("trigger: got %d %q", status, body)
	}
	s.eventually("the build runs", func() bool { return strings.Contains(s.output(), "build started") })

	conn, err := net.Dial("tcp", download)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET /big HTTP/1.1\r\nHost: %s\r\n\r\n", download); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatalf("download: got %q, %v", line, err)
	}
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.eventually("the build was stopped while the download goes on", func() bool {
		return strings.Contains(s.output(), `"result":"ABORTED"`)
	})
	for _, want := range []string{`"by":"remote","token":"default"`, `"waiting for running builds","builds":1,"shutdown_timeout":1}`} {
		if !strings.Contains(s.output(), want) {
			t.Errorf("the log does not contain %s", want)
		}
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	<-s.ended
}
