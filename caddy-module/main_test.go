package caddymodule_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

// home sets separate directories for the data of Caddy, and returns their parent.
func home(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", dir)
	t.Setenv("XDG_DATA_HOME", filepath.Join(dir, "data"))
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	return dir
}

// site is a Caddy in this process: there can be one at a time.
type site struct {
	t    *testing.T
	addr string // host and port at which it listens
	path string // of the queue
	logs string // file to which Caddy logs, including the access log
}

// newSite finds a free port and a place for the data. It stops Caddy when the test ends.
func newSite(t *testing.T) *site {
	t.Helper()
	dir := home(t)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if refs := caddymodule.References(filepath.Join(dir, "queue.db")); refs != 0 {
			t.Errorf("after the stop, the pool has %d references", refs)
		}
	})
	return &site{t: t, addr: freeAddress(t), path: filepath.Join(dir, "queue.db"), logs: filepath.Join(dir, "caddy.log")}
}

// freeAddress returns an unused port of the loopback interface.
func freeAddress(t testing.TB) string {
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

// caddyfile returns a file with these contents of the global option and of the site.
func (s *site) caddyfile(option, body string) string {
	return fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	order respond after build_token
	debug
	log {
		output file %[1]s
	}
	build_token {
		queue bolt %[2]s
		%[3]s
	}
}
http://%[4]s {
	log
	%[5]s
	respond "nothing here" 418
}
`, s.logs, s.path, option, s.addr, body)
}

// jobs returns the body of a site with these jobs.
func jobs(text string) string { return "build_token {\n quiet_period 0\n" + text + "\n}\n" }

// try loads a Caddyfile and returns the error.
func (s *site) try(text string) error {
	s.t.Helper()
	config, err := adapt(text)
	if err != nil {
		s.t.Fatalf("adapt: %v\n%s", err, text)
	}
	return caddy.Load(config, true)
}

// load loads a Caddyfile, which must be valid.
func (s *site) load(text string) {
	s.t.Helper()
	if err := s.try(text); err != nil {
		s.t.Fatalf("load: %v\n%s", err, text)
	}
}

// answer is the response to a request.
type answer struct {
	status int
	proto  int // 1 or 2, as in HTTP/2
	header http.Header
	body   string
}

// do sends a request to the site.
func (s *site) do(method, target string, header ...string) answer {
	s.t.Helper()
	return request(s.t, http.DefaultTransport, method, "http://"+s.addr+target, header...)
}

func (s *site) get(target string, header ...string) answer {
	s.t.Helper()
	return s.do(http.MethodGet, target, header...)
}

// request sends a request over a separate connection and does not follow redirects. Headers are
// alternating names and values. After a reload or a failed load, a listener of Caddy that is
// being closed can accept a connection and drop it. Such a request was not answered, and is
// sent again.
func request(t *testing.T, transport http.RoundTripper, method, url string, header ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Add(header[i], header[i+1])
	}
	resp, err := transport.RoundTrip(r)
	for range 3 {
		if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			break
		}
		resp, err = transport.RoundTrip(r)
	}
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return answer{status: resp.StatusCode, proto: resp.ProtoMajor, header: resp.Header, body: string(body)}
}

// insecure accepts the certificates of Caddy's own authority.
func insecure() *http.Transport {
	return &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
}

// trigger queues a build and returns the ID of the item.
func (s *site) trigger(job, token string) string {
	s.t.Helper()
	a := s.get("/buildByToken/build?job=" + job + "&token=" + token)
	if a.status != http.StatusCreated {
		s.t.Fatalf("trigger %s: got %d %q, want 201", job, a.status, a.body)
	}
	parts := strings.Split(strings.TrimSuffix(a.header.Get("Location"), "/"), "/")
	return parts[len(parts)-1]
}

// follow returns the log of the item's build, once it has ended.
func (s *site) follow(job, token, item string) string {
	s.t.Helper()
	a := s.get("/buildByToken/log?job=" + job + "&token=" + token + "&item=" + item)
	if a.status != http.StatusOK {
		s.t.Fatalf("log of %s: got %d %q, want 200", job, a.status, a.body)
	}
	return a.body
}

// status queries the admin API in this process.
func status(t *testing.T) caddymodule.Status {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/build_token/", nil)
	if err := new(caddymodule.Admin).Routes()[0].Handler.ServeHTTP(w, r); err != nil {
		t.Fatalf("admin API: %v", err)
	}
	var status caddymodule.Status
	if err := json.Unmarshal(w.Body.Bytes(), &status); err != nil {
		t.Fatalf("admin API: %v in %s", err, w.Body)
	}
	return status
}
