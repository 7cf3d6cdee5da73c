package main_test

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// systemd is the other side of Type=notify: the socket at which a service reports its state.
type systemd struct {
	t     *testing.T
	conn  *net.UnixConn
	heard []string
}

func listenAsSystemd(t *testing.T, s *server) *systemd {
	t.Helper()
	path := filepath.Join(s.dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // only read
	s.environment = append(s.environment, "NOTIFY_SOCKET="+path)
	return &systemd{t: t, conn: conn}
}

// wait reads until the service has sent a message.
func (d *systemd) wait(want string) {
	d.t.Helper()
	if err := d.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		d.t.Fatal(err)
	}
	for !slices.Contains(d.heard, want) {
		d.read()
	}
	d.heard = nil
}

func (d *systemd) read() {
	d.t.Helper()
	text := make([]byte, 4096)
	n, err := d.conn.Read(text)
	if err != nil {
		d.t.Fatalf("received %q and then %v", d.heard, err)
	}
	d.heard = append(d.heard, strings.Fields(string(text[:n]))...)
}

// all reads what the service has sent until it ended.
func (d *systemd) all() []string {
	d.t.Helper()
	const end = "END=1"
	last, err := net.Dial("unixgram", d.conn.LocalAddr().String())
	if err != nil {
		d.t.Fatal(err)
	}
	defer last.Close()
	if _, err := last.Write([]byte(end)); err != nil {
		d.t.Fatal(err)
	}
	for !slices.Contains(d.heard, end) {
		d.read()
	}
	return d.heard
}

// TestSystemdIsNotifiedOfTheState starts, reloads and stops the program like a unit with
// Type=notify. It must be ready when it accepts triggers, and not before.
func TestSystemdIsNotifiedOfTheState(t *testing.T) {
	s := newServer(t, fmt.Sprintf(echo, "1h"))
	d := listenAsSystemd(t, s)
	s.launch()
	d.wait("READY=1")
	// This is the first request.
	if status, _, body := s.get("/buildByToken/build?job=RevolutionTest&token=TacoTuesday"); status != 201 {
		t.Errorf("trigger at once: got %d %q, want 201", status, body)
	}
	s.write(fmt.Sprintf(echo, "2h"))
	if out, errs, err := s.command("", "reload", "--config", s.file, "--adapter", "caddyfile", "--address", s.admin); err != nil {
		t.Errorf("reload: %v\n%s%s", err, out, errs)
	}
	d.wait("RELOADING=1")
	d.wait("READY=1")
	// systemctl reload sends SIGUSR1, as docs/operations.md describes for a server without
	// admin API.
	s.write(fmt.Sprintf(echo, "3h"))
	if err := s.process.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	d.wait("RELOADING=1")
	d.wait("READY=1")
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	d.wait("STOPPING=1")
	<-s.ended
	if code := s.process.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit status: got %d, want 0", code)
	}
	// The queued item must still be there.
	s.launch()
	d.wait("READY=1")
	if status, _, body := s.get("/buildByToken/build?job=RevolutionTest&token=TacoTuesday"); status != 303 {
		t.Errorf("trigger after a restart: got %d %q, want 303", status, body)
	}
}

// TestSystemdShowsWhyAStartFails starts a second server on the same queue.
func TestSystemdShowsWhyAStartFails(t *testing.T) {
	first := newServer(t, fmt.Sprintf(echo, "1h"))
	first.start()
	s := newServer(t, fmt.Sprintf(echo, "1h"))
	d := listenAsSystemd(t, s)
	s.option("queue bolt " + filepath.Join(first.dir, "data", "caddy", "build_token", "queue.db"))
	s.launch()
	<-s.ended
	if code := s.process.ProcessState.ExitCode(); code == 0 {
		t.Error("exit status 0, although another server has the queue")
	}
	s.process = nil
	// After a load, Caddy sends READY=1 even if it failed; STATUS and the exit status show the
	// error.
	if heard := strings.Join(d.all(), " "); !strings.Contains(heard, "STATUS=loading") || !strings.Contains(heard, "file is used by another process") {
		t.Errorf("systemd received %q, want the reason", heard)
	}
	s.wantLogged("does another Caddy run with the same file?")
	if status, _, body := first.get("/buildByToken/build?job=RevolutionTest&token=TacoTuesday"); status != 201 {
		t.Errorf("the first server: got %d %q, want 201", status, body)
	}
}
