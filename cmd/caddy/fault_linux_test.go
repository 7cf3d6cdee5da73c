package main_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// many is a job for which every trigger with a different N creates an item.
const many = "job many {\n quiet_period 1h\n token secret\n param N string\n run true\n}\n"

func (s *server) triggerMany(n int) (status int, body string) {
	s.t.Helper()
	status, _, body = s.get(fmt.Sprintf("/buildByToken/buildWithParameters?job=many&token=secret&N=%d-%s", n, strings.Repeat("x", 1000)))
	return status, body
}

// queued returns how many items the admin API counts.
func (s *server) queued() int {
	s.t.Helper()
	out, errs, err := s.command("", "build-token", "status", "--address", s.admin)
	if err != nil {
		s.t.Fatalf("status: %v\n%s", err, errs)
	}
	m := regexp.MustCompile(`(?m)^queued +(\d+)$`).FindStringSubmatch(out)
	if m == nil {
		s.t.Fatalf("status: got %q", out)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *server) wantLogged(what string) {
	s.t.Helper()
	if !strings.Contains(s.output(), what) {
		s.t.Errorf("the log does not contain %q", what)
	}
}

// limit changes a resource limit of the running process.
func (s *server) limit(resource int, n uint64) (before uint64) {
	s.t.Helper()
	var old unix.Rlimit
	if err := unix.Prlimit(s.process.Process.Pid, resource, nil, &old); err != nil {
		s.t.Fatal(err)
	}
	if err := unix.Prlimit(s.process.Process.Pid, resource, &unix.Rlimit{Cur: n, Max: old.Max}, nil); err != nil {
		s.t.Fatal(err)
	}
	return old.Cur
}

// TestDiskThatIsFull fills the file system of the queue's file until triggers are refused,
// makes room, and verifies that nothing acknowledged is missing.
//
// Where nothing can be mounted, a limit on the size of files replaces a full disk. For Caddy,
// the only difference is the error number.
func TestDiskThatIsFull(t *testing.T) {
	for _, tt := range []struct {
		name string
		// disk prepares the directory of the queue, and returns functions that fill it and make
		// room.
		disk func(t *testing.T, dir string) (fill, empty func(*server))
	}{
		{"a file that may not grow", func(t *testing.T, dir string) (fill, empty func(*server)) {
			var before uint64
			fill = func(s *server) {
				info, err := os.Stat(filepath.Join(dir, "queue.db"))
				if err != nil {
					t.Fatal(err)
				}
				before = s.limit(unix.RLIMIT_FSIZE, uint64(info.Size()))
			}
			return fill, func(s *server) { s.limit(unix.RLIMIT_FSIZE, before) }
		}},
		{"a file system without room", func(t *testing.T, dir string) (fill, empty func(*server)) {
			if err := unix.Mount("none", dir, "tmpfs", 0, "size=2m"); err != nil {
				t.Skipf("mount: %v; the other case shows the same", err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			filler := filepath.Join(dir, "filler")
			fill = func(*server) {
				f, err := os.Create(filler)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if _, err := io.Copy(f, zeros{}); !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("fill: %v, want %v", err, syscall.ENOSPC)
				}
			}
			return fill, func(*server) {
				if err := os.Remove(filler); err != nil {
					t.Fatal(err)
				}
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, many+"job runs {\n quiet_period 0\n token secret {\n grant trigger status log\n }\n run sh -c `echo started; exec cat go`\n}\n")
			dir := filepath.Join(s.dir, "disk")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			fill, empty := tt.disk(t, dir)
			s.option("queue bolt " + filepath.Join(dir, "queue.db"))
			s.start()
			if status, body := s.triggerMany(0); status != http.StatusCreated {
				t.Fatalf("trigger on a disk with room: got %d %q", status, body)
			}
			fill(s)
			acknowledged := 1
			for n := 1; ; n++ {
				status, body := s.triggerMany(n)
				if status == http.StatusServiceUnavailable {
					if body != "the queue is not available now, try again later\n" {
						t.Errorf("refused with %q", body)
					}
					break
				}
				if status != http.StatusCreated || n == 5000 {
					t.Fatalf("trigger %d on a full disk: got %d %q, want 503 in the end", n, status, body)
				}
				acknowledged++
			}
			s.wantLogged("cannot write queue file; its last batch is reverted")
			empty(s)
			s.eventually("triggers are taken again, by itself", func() bool {
				status, _ := s.triggerMany(100_000)
				return status == http.StatusCreated
			})
			if got := s.queued(); got != acknowledged+1 {
				t.Errorf("%d items are queued, %d were acknowledged", got, acknowledged+1)
			}
			s.kill()
			s.start()
			if got := s.queued(); got != acknowledged+1 {
				t.Errorf("after a crash, %d items are queued, %d were acknowledged", got, acknowledged+1)
			}
		})
	}
}

// zeros is an endless reader.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestDiskThatIsReadOnly starts the server on a read-only directory.
func TestDiskThatIsReadOnly(t *testing.T) {
	for _, tt := range []struct {
		name     string
		readOnly func(t *testing.T, s *server, dir string)
	}{
		{"a file without the right to write", func(t *testing.T, s *server, dir string) {
			if err := errors.Join(os.Chmod(filepath.Join(dir, "queue.db"), 0o400), os.Chmod(dir, 0o500)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Chmod(dir, 0o700) }) // so that it can be removed
			if os.Geteuid() == 0 {
				// Root can write nevertheless, unless it gives up that capability.
				s.wrapper = []string{"setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"}
			}
		}},
		{"a file system that is mounted read-only", func(t *testing.T, _ *server, dir string) {
			if err := errors.Join(unix.Mount(dir, dir, "", unix.MS_BIND, ""), unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")); err != nil {
				t.Skipf("mount: %v; the other case shows the same", err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, many)
			dir := filepath.Join(s.dir, "disk")
			s.option("queue bolt " + filepath.Join(dir, "queue.db"))
			s.start()
			if status, body := s.triggerMany(0); status != http.StatusCreated {
				t.Fatalf("trigger: got %d %q", status, body)
			}
			s.kill()
			before, err := os.ReadFile(filepath.Join(dir, "queue.db"))
			if err != nil {
				t.Fatal(err)
			}
			tt.readOnly(t, s, dir)
			s.launch()
			<-s.ended
			if code := s.process.ProcessState.ExitCode(); code == 0 {
				t.Error("Caddy started, although it cannot write")
			}
			s.process = nil
			if said := regexp.MustCompile(`open queue: .*queue\.db: (permission denied|read-only file system)`); !said.MatchString(s.output()) {
				t.Error("the log does not contain which file cannot be written, and why")
			}
			if after, err := os.ReadFile(filepath.Join(dir, "queue.db")); err != nil || string(after) != string(before) {
				t.Errorf("the file was changed, %v", err)
			}
		})
	}
}

// TestQueueFileThatIsLost removes the queue's file under a running server: nothing more may be
// acknowledged, and the content of the open file must not be lost.
func TestQueueFileThatIsLost(t *testing.T) {
	s := newServer(t, many)
	path := filepath.Join(s.dir, "data", "caddy", "build_token", "queue.db")
	s.start()
	if status, body := s.triggerMany(0); status != http.StatusCreated {
		t.Fatalf("trigger: got %d %q", status, body)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if status, body := s.triggerMany(n + 1); status != http.StatusServiceUnavailable {
			t.Errorf("trigger without a file: got %d %q, want 503", status, body)
		}
	}
	s.wantLogged("queue file was moved or removed")
	// See docs/operations.md.
	open, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.process.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var saved []byte
	for _, fd := range open {
		if target, err := os.Readlink(fd); err == nil && target == path+" (deleted)" {
			if saved, err = os.ReadFile(fd); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.kill()
	if err := os.WriteFile(path, saved, 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	if got := s.queued(); got != 1 {
		t.Errorf("%d items are queued, want the 1 that was acknowledged", got)
	}
}

// openFiles returns how many open files the server has.
func (s *server) openFiles() uint64 {
	s.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.process.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	return uint64(len(entries))
}

// TestNoMoreOpenFiles takes away file descriptors while a client is connected: triggers are
// accepted as before, builds wait, and both continue without help.
func TestNoMoreOpenFiles(t *testing.T) {
	s := newServer(t, "job x {\n quiet_period 0\n concurrent\n coalesce never\n token secret {\n grant trigger status log\n }\n run echo hello\n}\n")
	s.option("executors 4")
	s.start()
	http.DefaultClient.CloseIdleConnections()
	c, err := net.Dial("tcp", s.site)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answers := bufio.NewReader(c)
	ask := func(target string) (int, string) {
		t.Helper()
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, s.site); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	if status, _ := ask("/ready"); status != http.StatusOK {
		t.Fatalf("ready: got %d", status)
	}
	before := s.limit(unix.RLIMIT_NOFILE, 0)
	for range 3 {
		if status, body := ask("/buildByToken/build?job=x&token=secret"); status != http.StatusCreated {
			t.Errorf("trigger without descriptors: got %d %q, want 201", status, body)
		}
	}
	s.eventually("builds wait for their logs", func() bool {
		return strings.Contains(s.output(), "build waits for system resources") && strings.Contains(s.output(), "too many open files")
	})
	if _, body := ask("/buildByToken/status?job=x&token=secret&item=1"); !strings.Contains(body, `"running"`) {
		t.Errorf("status: got %s, want the build running", body)
	}
	// A client that connects now waits, and is not refused.
	late, err := net.Dial("tcp", s.site)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if _, err := fmt.Fprintf(late, "GET /buildByToken/build?job=x&token=secret HTTP/1.1\r\nHost: %s\r\n\r\n", s.site); err != nil {
		t.Fatal(err)
	}
	// A few more: enough for a log, too few for a process.
	s.limit(unix.RLIMIT_NOFILE, s.openFiles()+2)
	s.eventually("a build that has a log says what it waits for", func() bool {
		logs, err := filepath.Glob(filepath.Join(s.dir, "data", "caddy", "build_token", "logs", "x*", "*.log"))
		if err != nil {
			t.Fatal(err)
		}
		for _, log := range logs {
			if text, err := os.ReadFile(log); err == nil && strings.Contains(string(text), "Waiting for system resources") {
				return true
			}
		}
		return false
	})
	s.limit(unix.RLIMIT_NOFILE, before)
	resp, err := http.ReadResponse(bufio.NewReader(late), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Errorf("the late client: got %s, want 201", resp.Status)
	}
	for item := range 4 {
		log := ""
		_, log = ask(fmt.Sprintf("/buildByToken/log?job=x&token=secret&item=%d", item+1))
		if !strings.HasSuffix(log, "hello\nFinished: SUCCESS\n") {
			t.Errorf("log of item %d: got %q, want the log of its build", item+1, log)
		}
	}
}

// peak returns the peak memory use of the server, in bytes.
func (s *server) peak() int64 {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		s.t.Fatalf("no peak in %s", text)
	}
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return n << 10
}

// TestBuildThatWritesOneGiB fills its log. The log must mention that the rest is dropped, and
// the rest must cost neither memory nor disk.
func TestBuildThatWritesOneGiB(t *testing.T) {
	s := newServer(t, "job x {\n quiet_period 0\n token secret {\n grant trigger status log\n }\n run sh -c `head -c 1073741824 /dev/zero; echo; echo last >&2`\n}\n")
	s.start()
	before := s.peak()
	if status, _, body := s.get("/buildByToken/build?job=x&token=secret"); status != http.StatusCreated {
		t.Fatalf("trigger: got %d %q", status, body)
	}
	s.eventually("the build ends", func() bool {
		_, _, body := s.get("/buildByToken/status?job=x&token=secret&item=1")
		return strings.Contains(body, `"SUCCESS"`)
	})
	logs, err := filepath.Glob(filepath.Join(s.dir, "data", "caddy", "build_token", "logs", "x*", "1.log"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("logs %v, %v", logs, err)
	}
	info, err := os.Stat(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	if size := info.Size(); size < 64<<20 || size > 64<<20+1000 {
		t.Errorf("the log has %d bytes, want 64 MiB and a few lines", size)
	}
	text, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	if want := "[output limit of 67108864 bytes reached, the rest is dropped]\nFinished: SUCCESS\n"; !strings.HasSuffix(string(text), want) {
		t.Errorf("the log ends with %q, want %q", text[len(text)-100:], want)
	}
	if grown := s.peak() - before; grown > 64<<20 {
		t.Errorf("memory grew by %d bytes", grown)
	}
}
