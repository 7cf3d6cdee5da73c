//go:build unix

package main_test

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBuildsInheritNoDescriptors starts Caddy as systemd's socket activation does, with its
// listening socket as descriptor 3 and more descriptors after it. A build with the socket could
// answer clients and read their tokens.
func TestBuildsInheritNoDescriptors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		t.Fatalf("listener is a %T", l)
	}
	socket, err := tcp.File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	secret, err := os.Create(filepath.Join(t.TempDir(), "secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()

	s := newServer(t, "job x {\n quiet_period 0\n token secret {\n grant trigger log\n }\n run sh -c `for fd in 3 4 5 6 7 8 9; do if (: <&$fd) 2>/dev/null; then echo inherited $fd; fi; done; echo looked`\n}\n")
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	s.site = l.Addr().String()
	site := "http://" + s.site + " {\n\tbind fd/3\n"
	_, rest, _ := strings.Cut(string(text), "\n}\nhttp://")
	_, body, _ := strings.Cut(rest, "{\n")
	if err := os.WriteFile(s.file, []byte("{\n\tadmin "+s.admin+"\n\tauto_https off\n}\n"+site+body), 0o600); err != nil {
		t.Fatal(err)
	}
	s.inherit = []*os.File{socket, secret, secret}
	s.start()
	if status, _, body := s.get("/buildByToken/build?job=x&token=secret"); status != http.StatusCreated {
		t.Fatalf("trigger: got %d %q", status, body)
	}
	_, _, log := s.get("/buildByToken/log?job=x&token=secret&item=1")
	if strings.Contains(log, "inherited") || !strings.HasSuffix(log, "looked\nFinished: SUCCESS\n") {
		t.Errorf("log: got %q, want no descriptor beyond 2", log)
	}
}
