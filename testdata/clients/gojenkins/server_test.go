// Package gojenkins_test uses the real program through gojenkins, as users of
// that client do.
package gojenkins_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/bndr/gojenkins"
)

// patience is the longest time that a test waits for anything.
const patience = 30 * time.Second

// binary is the program under test, and caddyfile what it runs.
var binary, caddyfile string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

// run uses the program that BUILDTOKEN_BINARY names, or builds one.
func run(m *testing.M) int {
	var err error
	if caddyfile, err = filepath.Abs("../Caddyfile"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if binary = os.Getenv("BUILDTOKEN_BINARY"); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "buildtoken-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "caddy")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	build := exec.Command("go", "build", "-o", binary, "./cmd/caddy")
	build.Dir = "../../.." // the program is in another module
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// server is one Caddy with a separate data directory. It ends with its test.
type server struct {
	url string // without a slash at its end
	dir string // for files of the test
}

func start(t *testing.T) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	s := &server{url: "http://" + address, dir: t.TempDir()}

	logs, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close() // the process has its own
	caddy := exec.Command(binary, "run", "--config", caddyfile, "--adapter", "caddyfile")
	caddy.Dir = s.dir
	caddy.Env = append(os.Environ(), "BUILDTOKEN_ADDRESS="+address, "HOME="+s.dir,
		"XDG_DATA_HOME="+filepath.Join(s.dir, "data"), "XDG_CONFIG_HOME="+filepath.Join(s.dir, "config"))
	caddy.Stdout, caddy.Stderr = logs, logs
	if err := caddy.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // the clean-up waits for it
		_ = caddy.Wait() // the clean-up checks the state
		close(ended)
	}()
	t.Cleanup(func() {
		_ = caddy.Process.Signal(os.Interrupt) // not Kill, so that it ends its builds too
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("Caddy does not end when asked to")
			_ = caddy.Process.Kill()
			<-ended
		}
		if text, err := os.ReadFile(logs.Name()); t.Failed() && err == nil {
			t.Logf("the end of what Caddy wrote:\n%s", text[max(0, len(text)-4000):])
		}
	})
	eventually(t, "Caddy answers", func() bool {
		select {
		case <-ended:
			t.Fatal("Caddy has ended")
		default:
		}
		resp, err := http.Get(s.url + "/")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return true
	})
	return s
}

// client returns gojenkins, created as its documentation describes.
func (s *server) client(ctx context.Context, t *testing.T, root, user string) *gojenkins.Jenkins {
	t.Helper()
	j, err := gojenkins.CreateJenkins(nil, s.url+root, user, user+"-password").Init(ctx)
	if err != nil {
		t.Fatalf("Init as %s: %v", user, err)
	}
	return j
}

// eventually repeats a question until the answer is yes. Only asking reveals
// what another process has done.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !so(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so after %v: %s", patience, what)
		}
	}
}

// bounded returns the context for all requests of a test, so that a client
// that waits for ever fails.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	return ctx
}
