package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// binary is the program under test. TestMain builds it once.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
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
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// patience bounds how long a test waits for one event.
const patience = 30 * time.Second

// server is a sequence of Caddy processes with the same addresses and data.
type server struct {
	t                *testing.T
	dir, site, admin string
	file             string // the Caddyfile
	environment      []string
	wrapper          []string      // a command that starts the program
	inherit          []*os.File    // file descriptors, from 3 up, that the program inherits
	process          *exec.Cmd     // nil if none runs
	ended            chan struct{} // closed when process has ended
}

// newServer writes a Caddyfile with the body of a site.
func newServer(t *testing.T, body string) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), site: freeAddress(t), admin: freeAddress(t)}
	s.file = filepath.Join(s.dir, "Caddyfile")
	s.environment = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+filepath.Join(s.dir, "data"), "XDG_CONFIG_HOME="+filepath.Join(s.dir, "config"))
	s.write(body)
	t.Cleanup(func() {
		if s.process != nil {
			s.kill()
		}
		if text, err := os.ReadFile(filepath.Join(s.dir, "output")); t.Failed() && err == nil {
			t.Logf("the end of what Caddy wrote:\n%s", text[max(0, len(text)-5000):])
		}
	})
	return s
}

func (s *server) write(body string) {
	s.t.Helper()
	text := fmt.Sprintf("{\n\tadmin %s\n\tauto_https off\n}\nhttp://%s {\n\tlog\n\trespond /ready ready\n\tbuild_token {\n%s\n}\n}\n", s.admin, s.site, body)
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// option adds a line to the global option.
func (s *server) option(line string) {
	s.t.Helper()
	text, err := os.ReadFile(s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.file, bytes.Replace(text, []byte("{\n"), []byte("{\n\tbuild_token {\n\t\t"+line+"\n\t}\n"), 1), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		// From 32768 on, the system gives the port to an outgoing connection before it is used.
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 20_000+rand.IntN(12_000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("found no unused port")
	return ""
}

// start runs Caddy and returns once it is started completely and answers. The site can answer
// before the controller exists.
func (s *server) start() {
	s.t.Helper()
	s.launch()
	s.eventually("Caddy was started", func() bool { // the admin endpoint reveals no configuration before
		resp, err := http.Get("http://" + s.admin + "/config/")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		config, err := io.ReadAll(resp.Body)
		return err == nil && resp.StatusCode == http.StatusOK && string(bytes.TrimSpace(config)) != "null"
	})
	s.eventually("Caddy answers", func() bool {
		resp, err := http.Get("http://" + s.site + "/ready")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// output returns what Caddy has written so far.
func (s *server) output() string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "output"))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// launch runs Caddy.
func (s *server) launch() {
	s.t.Helper()
	output, err := os.OpenFile(filepath.Join(s.dir, "output"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer output.Close() // the process has its own
	command := append(slices.Clone(s.wrapper), binary, "run", "--config", s.file, "--adapter", "caddyfile")
	s.process = exec.Command(command[0], command[1:]...)
	s.process.Env, s.process.Dir = s.environment, s.dir
	s.process.Stdout, s.process.Stderr, s.process.ExtraFiles = output, output, s.inherit
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.ended = make(chan struct{})
	go func(process *exec.Cmd, ended chan struct{}) {
		_ = process.Wait() // kill and stop check the state
		close(ended)
	}(s.process, s.ended)
}

// eventually repeats a check until it succeeds. The state of another process can only be
// polled.
func (s *server) eventually(what string, so func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !so(); {
		select {
		case <-s.ended:
			s.t.Fatalf("Caddy has ended before this was so: %s", what)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("not so after %v: %s", patience, what)
		}
	}
}

// kill ends Caddy without warning, as a power failure would.
func (s *server) kill() {
	s.t.Helper()
	if err := s.process.Process.Kill(); err != nil && !strings.Contains(err.Error(), "finished") {
		s.t.Fatal(err)
	}
	<-s.ended
	s.process = nil
}

// get sends a GET request without following redirects.
func (s *server) get(target string) (status int, location, body string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.site+target, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Fatalf("GET %s: %v", target, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("GET %s: %v", target, err)
	}
	return resp.StatusCode, resp.Header.Get("Location"), string(text)
}

// command runs another command of the program and returns what it prints.
func (s *server) command(stdin string, args ...string) (stdout, stderr string, err error) {
	s.t.Helper()
	c := exec.CommandContext(s.t.Context(), binary, args...)
	var out, errs bytes.Buffer
	c.Env, c.Dir, c.Stdin, c.Stdout, c.Stderr = s.environment, s.dir, strings.NewReader(stdin), &out, &errs
	err = c.Run()
	return out.String(), errs.String(), err
}

const echo = "job RevolutionTest {\n quiet_period %s\n token TacoTuesday {\n grant trigger status log\n }\n run echo hello\n}\n"

// TestKilledServerForgetsNothing tests the main promise of the project: a trigger that was
// answered 201 becomes a build, whatever happens to the server.
func TestKilledServerForgetsNothing(t *testing.T) {
	const trigger = "/buildByToken/build?job=RevolutionTest&token=TacoTuesday"
	s := newServer(t, fmt.Sprintf(echo, "1h"))
	s.start()
	status, location, body := s.get(trigger)
	if want := "http://" + s.site + "/queue/item/1/"; status != http.StatusCreated || location != want {
		t.Fatalf("first trigger: got %d, Location %q, %q, want 201 and %s", status, location, body, want)
	}
	if status, again, body := s.get(trigger); status != http.StatusSeeOther || again != location {
		t.Fatalf("second trigger: got %d, Location %q, %q, want 303 and %s", status, again, body, location)
	}
	s.kill()
	s.start()
	if status, again, body := s.get(trigger + "&delay=0"); status != http.StatusSeeOther || again != location {
		t.Fatalf("trigger after the crash: got %d, Location %q, %q, want 303 and %s", status, again, body, location)
	}
	// The earlier due time has precedence: the build runs now, and the log ends with it.
	if _, _, log := s.get("/buildByToken/log?job=RevolutionTest&token=TacoTuesday&item=1"); !strings.Contains(log, "hello\n") || !strings.HasSuffix(log, "Finished: SUCCESS\n") {
		t.Errorf("log: got %q", log)
	}
	files, err := filepath.Glob(filepath.Join(s.dir, "data", "caddy", "build_token", "logs", "RevolutionTest*", "1.log"))
	if err != nil || len(files) != 1 {
		t.Fatalf("console files: got %v, %v, want one", files, err)
	}
	if text, err := os.ReadFile(files[0]); err != nil || !strings.Contains(string(text), "hello\n") {
		t.Errorf("console file: got %q, %v", text, err)
	}
	// The triggers that were answered 303 have one build together, not three.
	if status, _, body := s.get(trigger); status != http.StatusCreated {
		t.Errorf("trigger after the build: got %d %q, want 201", status, body)
	}
}

// TestKilledServerRecordsTheLostBuild kills the server while a build runs.
func TestKilledServerRecordsTheLostBuild(t *testing.T) {
	s := newServer(t, "job x {\n quiet_period 0\n token secret {\n grant trigger status log\n }\n run sleep 1000\n}\n")
	s.start()
	if status, _, body := s.get("/buildByToken/build?job=x&token=secret"); status != http.StatusCreated {
		t.Fatalf("trigger: got %d %q", status, body)
	}
	ask := "/buildByToken/status?job=x&token=secret&item=1"
	s.eventually("the build runs", func() bool {
		_, _, body := s.get(ask)
		return strings.Contains(body, `"running"`)
	})
	s.kill()
	s.start()
	if _, _, body := s.get(ask); !strings.Contains(body, "ABORTED") {
		t.Errorf("status: got %s, want ABORTED", body)
	}
	if _, _, log := s.get("/buildByToken/log?job=x&token=secret&item=1"); !strings.HasSuffix(log, "Finished: ABORTED\n") {
		t.Errorf("log: got %q", log)
	}
}

// TestReloadUnderLoad sends triggers while configurations are reloaded: no answer may be
// anything but 201, and every answered trigger must be queued once.
//
// A connection can be reset: when Caddy closes the old listener, the connections that it has
// not accepted yet are lost. Such a client knows that it got no answer.
func TestReloadUnderLoad(t *testing.T) {
	body := func(n int) string {
		return fmt.Sprintf("job x {\n description \"version %d\"\n coalesce never\n quiet_period 1h\n token secret\n run true\n}\n", n)
	}
	s := newServer(t, body(0))
	s.start()
	const clients, reloads = 4, 20
	var answered, unanswered atomic.Int64
	var triggering sync.WaitGroup
	stop := make(chan struct{})
	for range clients {
		triggering.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := http.Get("http://" + s.site + "/buildByToken/build?job=x&token=secret")
				if err != nil {
					unanswered.Add(1)
					continue
				}
				text, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusCreated {
					t.Errorf("trigger: got %s %q, %v, want 201", resp.Status, text, err)
				}
				answered.Add(1)
			}
		})
	}
	for n := range reloads {
		s.write(body(n + 1))
		if out, errs, err := s.command("", "reload", "--config", s.file, "--adapter", "caddyfile", "--address", s.admin); err != nil {
			t.Errorf("reload: %v\n%s%s", err, out, errs)
		}
	}
	close(stop)
	triggering.Wait()
	out, errs, err := s.command("", "build-token", "status", "--json", "--address", s.admin)
	if err != nil {
		t.Fatalf("status: %v\n%s", err, errs)
	}
	var status struct {
		Queues []struct{ Queued int64 }
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil || len(status.Queues) != 1 {
		t.Fatalf("status: got %s, %v", out, err)
	}
	queued, least := status.Queues[0].Queued, answered.Load()
	if most := least + unanswered.Load(); least == 0 || queued < least || queued > most {
		t.Errorf("got %d queued items, want %d to %d", queued, least, most)
	}
}

func TestValidateBesideTheServer(t *testing.T) {
	s := newServer(t, fmt.Sprintf(echo, "1h"))
	s.start()
	if out, errs, err := s.command("", "validate", "--config", s.file, "--adapter", "caddyfile"); err != nil {
		t.Errorf("validate: %v\n%s%s", err, out, errs)
	}
}

func TestStatusCommand(t *testing.T) {
	s := newServer(t, fmt.Sprintf(echo, "1h"))
	s.start()
	s.get("/buildByToken/build?job=RevolutionTest&token=TacoTuesday")
	out, errs, err := s.command("", "build-token", "status", "--address", s.admin)
	if err != nil {
		t.Fatalf("%v\n%s", err, errs)
	}
	for _, want := range []string{"queued   1\n", "running  0 of 2\n", "RevolutionTest  1"} {
		if !strings.Contains(out, want) {
			t.Errorf("got %q, want %q in it", out, want)
		}
	}
	if strings.Contains(out, "TacoTuesday") {
		t.Errorf("got %q, which shows the token", out)
	}
	s.kill()
	if _, errs, err := s.command("", "build-token", "status", "--address", s.admin); err == nil || !strings.Contains(errs, "admin API") {
		t.Errorf("without a server: got %v, %q", err, errs)
	}
}

func TestUnknownCommandFails(t *testing.T) {
	s := &server{t: t, dir: t.TempDir(), environment: os.Environ()}
	if out, errs, err := s.command("", "build-token", "statsu"); err == nil || out != "" || !strings.Contains(errs, `unknown command \"statsu\"`) {
		t.Errorf("build-token statsu: got %q, %q, %v", out, errs, err)
	}
	if out, errs, err := s.command("", "build-token"); err != nil || !strings.Contains(out, "policy-test") {
		t.Errorf("build-token: got %q, %q, %v, want its help", out, errs, err)
	}
}

func TestDigestCommand(t *testing.T) {
	const digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n" // the digest of "test"
	s := &server{t: t, dir: t.TempDir(), environment: os.Environ()}
	for _, tt := range []struct {
		name, stdin string
		args        []string
		want        string
		fails       bool
	}{
		{"from standard input", "test", nil, digest, false},
		{"without the line end", "test\n", nil, digest, false},
		{"without the line end of Windows", "test\r\n", nil, digest, false},
		{"of the first line", "test\nmore\n", nil, digest, false},
		{"from the flag", "", []string{"--plaintext", "test"}, digest, false},
		{"of a digest, which stays", digest, nil, digest, false},
		{"of nothing", "", nil, "", true},
		{"of an empty line", "\n", nil, "", true},
		{"with arguments", "", []string{"test"}, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, err := s.command(tt.stdin, append([]string{"build-token", "digest"}, tt.args...)...)
			if (err != nil) != tt.fails || out != tt.want {
				t.Errorf("got %q, %v, %q, want %q", out, err, errs, tt.want)
			}
		})
	}
}

func TestPolicyTestCommand(t *testing.T) {
	s := &server{t: t, dir: t.TempDir(), environment: os.Environ()}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const rule = "rule a allow 1\n    params.ENV == \"test\"\n\n> params.ENV=test\nallowed\n> params.ENV=live\n"
	write("good.txt", rule+"denied by a allow 1\n")
	write("wrong.txt", rule+"allowed\n")
	write("bad.txt", "rule a\n    params.ENV =\n\n>\nallowed\n")
	write("broken.txt", "no case file\n")
	for _, tt := range []struct {
		name     string
		files    []string
		out, err string
	}{
		{"all as wanted", []string{"good.txt"}, "good.txt: ok, 2 requests\n", ""},
		{"a different result", []string{"good.txt", "wrong.txt"}, "good.txt: ok, 2 requests\n", "wrong.txt: line 6: got \"denied by a allow 1\", want \"allowed\""},
		{"a rule that does not compile", []string{"bad.txt"}, "", "bad.txt: policy: bad rule"},
		{"no case file", []string{"broken.txt"}, "", "broken.txt: read: policy: bad case file: line 1"},
		{"no file at all", []string{"missing.txt"}, "", "missing.txt: open:"},
		{"no arguments", nil, "", "requires at least 1 arg"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, err := s.command("", append([]string{"build-token", "policy-test"}, tt.files...)...)
			if out != tt.out || !strings.Contains(errs, tt.err) || (err != nil) != (tt.err != "") {
				t.Errorf("got %q, %q, %v, want %q and %q", out, errs, err, tt.out, tt.err)
			}
			if strings.Count(errs, "missing.txt") > 1 {
				t.Errorf("got %q, which names the file twice", errs)
			}
		})
	}
}
