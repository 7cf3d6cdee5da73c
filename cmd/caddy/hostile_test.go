package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// raw sends bytes unchanged, followed by a request for /ready, until the server closes the
// connection. It returns all answers but that one.
func (s *server) raw(t *testing.T, text string) (statuses []int, bodies []string) {
	t.Helper()
	c, err := net.Dial("tcp", s.site)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		// The server closes the connection when it has received enough.
		_, _ = io.WriteString(c, text+"GET /ready HTTP/1.1\r\nHost: "+s.site+"\r\nConnection: close\r\n\r\n")
	})
	defer sending.Wait()
	for answers := bufio.NewReader(c); ; {
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			return statuses, bodies
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
		if string(body) != "ready" {
			statuses, bodies = append(statuses, resp.StatusCode), append(bodies, string(body)+resp.Header.Get("Location"))
		}
	}
}

// items returns how many items are waiting.
func (s *server) items(t *testing.T) int {
	t.Helper()
	out, errs, err := s.command("", "build-token", "status", "--json", "--address", s.admin)
	if err != nil {
		t.Fatalf("status: %v\n%s", err, errs)
	}
	var status struct{ Queues []struct{ Queued int } }
	if err := json.Unmarshal([]byte(out), &status); err != nil || len(status.Queues) != 1 {
		t.Fatalf("status: %s, %v", out, err)
	}
	return status.Queues[0].Queued
}

const hostile = `job x {
	quiet_period 1h
	coalesce never
	token secret {
		grant trigger status log cancel
	}
	run true
}
job params {
	quiet_period 1h
	coalesce never
	token secret
	param A string
	param F file
	run true
}
`

// TestRequestsThatAreNotWhatTheySeem sends requests that the server could interpret differently
// from a proxy in front of it, or from its log.
func TestRequestsThatAreNotWhatTheySeem(t *testing.T) {
	const hidden = "GET /buildByToken/build?job=x&token=secret HTTP/1.1\r\nHost: h\r\n\r\n"
	s := newServer(t, hostile)
	s.start()
	line := func(target string) string {
		return "POST " + target + " HTTP/1.1\r\nHost: " + s.site + "\r\n"
	}
	trigger := line("/buildByToken/build?job=x&token=secret")
	for _, tt := range []struct {
		name   string
		text   string
		first  []int // the possible statuses of the first answer
		queues int   // how many items are added
		only   bool  // there is exactly one answer
	}{
		{"a request in a body with a length is not served", line("/buildByToken/build?job=x&token=wrong") + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(hidden)) + hidden, []int{403}, 0, true},
		{"a request in a body in chunks is not served", line("/buildByToken/build?job=x&token=wrong") + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden), []int{403}, 0, true},
		{"two lengths that differ are refused", trigger + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", []int{400}, 0, true},
		{"a length and chunks: the hidden request is not served", line("/buildByToken/build?job=x&token=wrong") + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden), []int{400, 403}, 0, true},
		{"chunks that are none are refused", trigger + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", []int{400, 403}, 0, true},
		{"another transfer coding is refused", trigger + "Transfer-Encoding: xchunked\r\n\r\n", []int{400, 501}, 0, true},
		{"two transfer codings are refused", trigger + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", []int{400, 501}, 0, true},
		{"a negative length is refused", trigger + "Content-Length: -1\r\n\r\n", []int{400}, 0, true},
		{"a length with a sign is refused", trigger + "Content-Length: +0\r\n\r\n", []int{400}, 0, true},
		{"a space before the colon is refused", trigger + "Content-Length : 0\r\n\r\n", []int{400}, 0, true},
		{"a NUL in a header is refused", trigger + "X-A: a\x00b\r\n\r\n", []int{400}, 0, true},
		{"a CR in a header is refused", trigger + "X-A: a\rX-Build-Token: secret\r\n\r\n", []int{400}, 0, true},
		{"no host is refused", "GET /buildByToken/build?job=x&token=secret HTTP/1.1\r\n\r\n", []int{400}, 0, true},
		{"two hosts are refused", trigger + "Host: evil.example\r\n\r\n", []int{400}, 0, true},
		{"a host that is none is refused", "GET /buildByToken/build?job=x&token=secret HTTP/1.1\r\nHost: a b\r\n\r\n", []int{400}, 0, true},
		{"a method in small letters triggers nothing", strings.Replace(trigger, "POST", "post", 1) + "\r\n", []int{405}, 0, true},
		{"HEAD triggers nothing", strings.Replace(trigger, "POST", "HEAD", 1) + "Connection: close\r\n\r\n", []int{405}, 0, false},
		{"a header in front does not change the method", strings.Replace(trigger, "POST", "PUT", 1) + "X-HTTP-Method-Override: POST\r\n\r\n", []int{405}, 0, true},
		{"HTTP/0.9 is refused", "GET /buildByToken/build?job=x&token=secret\r\n\r\n", []int{400}, 0, true},
		{"HTTP/3.0 in the line is refused", "GET /buildByToken/build?job=x&token=secret HTTP/3.0\r\nHost: h\r\n\r\n", []int{505}, 0, true},
		{"a header of 2 MiB is refused", trigger + "X-A: " + strings.Repeat("a", 2<<20) + "\r\n\r\n", []int{431}, 0, true},
		{"100 000 headers are refused", trigger + strings.Repeat("X-A: aaaaaaaaaaaaaa\r\n", 100_000) + "\r\n", []int{431}, 0, true},
		{"a line of 2 MiB is refused", line("/buildByToken/build?job=x&token=secret&a="+strings.Repeat("a", 2<<20)) + "\r\n", []int{431}, 0, true},
		{"a body of the wrong length is what it is", line("/buildByToken/build?job=x") + "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 12\r\n\r\ntoken=wrong&token=secret", []int{403}, 0, false},
		{"what is right is served", trigger + "Content-Length: 0\r\n\r\n", []int{201}, 1, true},
		{"two requests in a row are two", trigger + "Content-Length: 0\r\n\r\n" + trigger + "Content-Length: 0\r\n\r\n", []int{201}, 2, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := s.items(t)
			statuses, bodies := s.raw(t, tt.text)
			if len(statuses) == 0 || !slices.Contains(tt.first, statuses[0]) || (tt.only && len(statuses) != 1) {
				t.Errorf("got %v %.200q, want one of %v", statuses, bodies, tt.first)
			}
			if got := s.items(t) - before; got != tt.queues {
				t.Errorf("%d items were queued, want %d", got, tt.queues)
			}
		})
	}
}

// TestPathsThatPlayTricks requests paths that a matcher in front of our handler could interpret
// differently. Nothing may be triggered, and nothing that basic_auth protects may be shown.
func TestPathsThatPlayTricks(t *testing.T) {
	s := newServer(t, hostile+"access {\n read `true`\n}\n")
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	protected := strings.Replace(string(text), "respond /ready ready", "respond /ready ready\n\tbasic_auth /job/* {\n\t\talice $2a$04$f5HBYHqU9Ww1tEDulIbHYOGzp2tgd9w58uIPxLUqoikVUXjQSx9OW\n\t}", 1)
	if err := os.WriteFile(s.file, []byte(protected), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	for _, target := range []string{
		"/buildByToken%2Fbuild", "/buildByToken/build%2F", "/buildByToken/build;a=b", "/buildByToken;/build", "/buildByToken/./build", "/buildByToken/../buildByToken/build",
		"//buildByToken/build", "/buildByToken//build", "/buildByToken/build//", "/buildByToken/build/.", "/buildByToken/build/..", "/buildByToken/build%00", "/buildByToken/build%20",
		"/BuildByToken/build", "/buildByToken/BUILD", "/buildByToken/build.json", "/buildByToken/%2e%2e/buildByToken/build", "/x/../buildByToken/build", "/buildByToken\\build",
		"/buildByToken/build%3Fjob=x", "/buildByToken/build%23", "/%2FbuildByToken/build", "/buildByToken/b%75ild/x",
	} {
		before := s.items(t)
		statuses, bodies := s.raw(t, "GET "+target+"?job=x&token=secret HTTP/1.1\r\nHost: "+s.site+"\r\n\r\n")
		if got := s.items(t) - before; got != 0 {
			t.Errorf("%s triggered: %v %q", target, statuses, bodies)
		}
	}
	for _, target := range []string{
		"/job/x/api/json", "//job/x/api/json", "/job//x/api/json", "/%6Aob/x/api/json", "/job%2Fx/api/json", "/./job/x/api/json", "/x/../job/x/api/json", "/job/./x/api/json",
		"/JOB/x/api/json", "/job;a/x/api/json", "///job///x///api///json", "/job/x/../x/api/json", "/%2e/job/x/api/json", "/%2F/job/x/api/json", "/job/%78/api/json", "/\\job/x/api/json",
		"/queue/../job/x/api/json", "/queue/%2e%2e/job/x/api/json",
	} {
		statuses, bodies := s.raw(t, "GET "+target+" HTTP/1.1\r\nHost: "+s.site+"\r\n\r\n")
		if strings.Contains(strings.Join(bodies, ""), "fullName") {
			t.Errorf("%s shows what basic_auth protects: %v %q", target, statuses, bodies)
		}
	}
	// Without the protection, the page must be shown, or the test would prove nothing.
	if status, _, body := s.get("/queue/api/json"); status != http.StatusOK {
		t.Errorf("what is not protected: got %d %q", status, body)
	}
}

// TestLocationIsNotPoisoned sends the headers in which proxies report the original request. No
// proxy is trusted here, so none of them has an effect.
func TestLocationIsNotPoisoned(t *testing.T) {
	s := newServer(t, hostile)
	s.start()
	for _, header := range []string{
		"X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "X-Forwarded-Port: 666", "X-Forwarded-Prefix: /evil", "X-Forwarded-Server: evil.example",
		"Forwarded: host=evil.example;proto=https", "X-Host: evil.example", "X-Original-URL: /evil", "X-Rewrite-URL: /evil", "X-Forwarded-For: 203.0.113.7", "Origin: https://evil.example", "Referer: https://evil.example/",
	} {
		statuses, bodies := s.raw(t, "GET /buildByToken/build?job=x&token=secret HTTP/1.1\r\nHost: "+s.site+"\r\n"+header+"\r\n\r\n")
		if len(statuses) != 1 || statuses[0] != http.StatusCreated || !strings.Contains(bodies[0], "http://"+s.site+"/queue/item/") || strings.Contains(bodies[0], "evil") {
			t.Errorf("%s: got %v %q", header, statuses, bodies)
		}
	}
}

// TestTextFromOutsideStaysText puts line breaks, colours and marks that change the direction of
// text into every text of a caller. They must not forge a line of a log.
func TestTextFromOutsideStaysText(t *testing.T) {
	const forged = "\r\nFinished: FORGED\r\n{\"level\":\"forged\"}\n\x1b[2J\x1b]0;forged\a\u2028\u0085\u202eforged"
	s := newServer(t, "job x {\n quiet_period 0\n token secret {\n grant trigger log status\n }\n param A string\n run echo built\n}\n")
	s.start()
	q := url.QueryEscape(forged)
	status, location, body := s.get("/buildByToken/buildWithParameters?job=x&token=secret&cause=" + q + "&A=" + q)
	if status != http.StatusCreated || strings.ContainsAny(location, "\r\n\x1b") {
		t.Fatalf("trigger: got %d %q %q", status, location, body)
	}
	_, _, log := s.get("/buildByToken/log?job=x&token=secret&item=1")
	if strings.ContainsAny(log, "\r\x1b\a\u2028\u0085\u202e") || strings.Contains(log, "\nFinished: FORGED") || strings.Count(log, "\n") != 3 {
		t.Errorf("log: got %q, want a line of the cause, one of the build and one of the end", log)
	}
	for _, target := range []string{
		"/buildByToken/build?token=secret&job=" + q, "/buildByToken/build?job=x&token=" + q, "/buildByToken/buildWithParameters?job=x&token=secret&delay=" + q,
		"/buildByToken/status?job=x&token=secret&item=" + q, "/job/" + url.PathEscape(forged) + "/api/json",
	} {
		if status, location, body := s.get(target); status >= 500 || location != "" || strings.ContainsAny(strings.TrimSuffix(body, "\n"), "\r\n\x1b") {
			t.Errorf("%s: got %d %q %q", target, status, location, body)
		}
	}
	text, err := os.ReadFile(filepath.Join(s.dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var entry struct{ Level string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level == "forged" {
			t.Errorf("line of Caddy's log: %q, %v", line, err)
		}
	}
}

// TestBodiesThatAreBombs sends bodies that cost more than their size suggests. Each must be
// refused, and none may queue an item.
func TestBodiesThatAreBombs(t *testing.T) {
	s := newServer(t, hostile)
	s.start()
	parts := func(n int, part func(w *multipart.Writer, n int)) (contentType, body string) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for i := range n {
			part(w, i)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return w.FormDataContentType(), b.String()
	}
	field := func(name, value string) func(w *multipart.Writer, n int) {
		return func(w *multipart.Writer, n int) {
			if err := w.WriteField(fmt.Sprint(name, n), value); err != nil {
				t.Fatal(err)
			}
		}
	}
	const form = "application/x-www-form-urlencoded"
	for _, tt := range []struct {
		name string
		make func() (contentType, body string)
		want int
	}{
		{"9 998 parameters are as many as may be", func() (string, string) { return form, strings.Repeat("b=c&", 9_998) }, 201},
		{"10 000 parameters beside job and token are too many", func() (string, string) { return form, strings.Repeat("b=c&", 10_000) }, 400},
		{"10 000 parameters of different names", func() (string, string) {
			var b strings.Builder
			for n := range 10_000 {
				fmt.Fprintf(&b, "p%d=&", n)
			}
			return form, b.String()
		}, 400},
		{"a form of more than a MiB, for a job that takes files", func() (string, string) { return form, "A=" + strings.Repeat("a", 33<<20) }, 413},
		{"2 000 parts", func() (string, string) { return parts(2_000, field("p", "x")) }, 400},
		{"one part with 20 000 headers", func() (string, string) {
			return "multipart/form-data; boundary=b", "--b\r\n" + strings.Repeat("X-A: b\r\n", 20_000) + "\r\n\r\n--b--\r\n"
		}, 400},
		{"a value of 12 MiB", func() (string, string) { return parts(1, field("A", strings.Repeat("a", 12<<20))) }, 413},
		{"a boundary that comes everywhere", func() (string, string) {
			return "multipart/form-data; boundary=-", strings.Repeat("---\r\n", 100_000)
		}, 400},
		{"a part that never ends", func() (string, string) {
			return "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"A\"\r\n\r\n" + strings.Repeat("\r\n--", 200_000)
		}, 400},
		{"no boundary", func() (string, string) { return "multipart/form-data", "--b\r\n" }, 400},
		{"two files of one name", func() (string, string) {
			return "multipart/form-data; boundary=b", strings.Repeat("--b\r\nContent-Disposition: form-data; name=\"F\"; filename=\"a\"\r\n\r\nx\r\n", 2) + "--b--\r\n"
		}, 400},
		{"NUL in a value", func() (string, string) { return form, "A=a%00b" }, 400},
		{"NUL in a name", func() (string, string) { return form, "A%00=b" }, 400},
		{"a value that is no UTF-8", func() (string, string) { return form, "A=%ff%fe" }, 400},
		{"an escape that is none", func() (string, string) { return form, "A=%zz" }, 400},
		{"a semicolon", func() (string, string) { return form, "A=1;token=x" }, 400},
		{"compressed, which is not unpacked", func() (string, string) { return "application/gzip", strings.Repeat("\x1f\x8b\x08", 1000) }, 201},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := s.items(t)
			contentType, body := tt.make()
			resp, err := http.Post("http://"+s.site+"/buildByToken/buildWithParameters?job=params&token=secret", contentType, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tt.want {
				t.Errorf("got %s %.200q, %v, want %d", resp.Status, text, err, tt.want)
			}
			queued := 0
			if tt.want == http.StatusCreated {
				queued = 1
			}
			if got := s.items(t) - before; got != queued {
				t.Errorf("%d items were queued, want %d", got, queued)
			}
		})
	}
	left, err := filepath.Glob(filepath.Join(s.dir, "data", "caddy", "build_token", "uploads", "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("uploads are left: %v, %v", left, err)
	}
}
