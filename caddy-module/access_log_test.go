package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"
)

// logged returns the lines that Caddy logged, all of them or those of one logger.
func (s *site) logged(logger string) []map[string]any {
	s.t.Helper()
	text, err := os.ReadFile(s.logs)
	if err != nil {
		s.t.Fatal(err)
	}
	var lines []map[string]any
	for line := range strings.Lines(string(text)) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			s.t.Fatalf("log line %q: %v", line, err)
		}
		if name, _ := entry["logger"].(string); logger == "" || name == logger {
			lines = append(lines, entry)
		}
	}
	return lines
}

// loggedRequest returns the request of a log entry; nil if it has none.
func loggedRequest(entry map[string]any) map[string]any {
	request, _ := entry["request"].(map[string]any)
	return request
}

// mustNotLog fails if a text is in any log line.
func (s *site) mustNotLog(secret string) {
	s.t.Helper()
	for _, line := range s.logged("") {
		text, err := json.Marshal(line)
		if err != nil {
			s.t.Fatal(err)
		}
		if strings.Contains(string(text), secret) {
			s.t.Errorf("a secret is in the log: %s", text)
		}
	}
}

const logged = "job x {\n token SECRET\n param PASS password\n run true\n}\njob y {\n token SECRET\n run true\n}\n"

// TestAccessLogShowsNoSecret sends secrets in all places in which they can be sent, and expects
// exactly one entry for each request.
func TestAccessLogShowsNoSecret(t *testing.T) {
	for _, tt := range []struct {
		name, method, target string
		header               []string
		status               int
		uri                  string
	}{
		{"a token", "GET", "/buildByToken/build?job=y&token=SECRET&delay=5sec&cause=a+push", nil, 201, "/buildByToken/build?job=y&token=REDACTED&delay=5sec&cause=a+push"},
		{"a wrong token", "GET", "/buildByToken/build?job=y&token=SECRET2", nil, 403, "/buildByToken/build?job=y&token=REDACTED"},
		{"an unknown job", "GET", "/buildByToken/build?job=z&token=SECRET", nil, 404, "/buildByToken/build?job=z&token=REDACTED"},
		{"a method that never triggers", "PUT", "/buildByToken/build?job=y&token=SECRET", nil, 405, "/buildByToken/build?job=y&token=REDACTED"},
		{"an endpoint that does not exist", "GET", "/buildByToken/nothing?token=SECRET", nil, 404, "/buildByToken/REDACTED?token=REDACTED"},
		{"a token in the path", "GET", "/buildByToken/build/SECRET?job=y", nil, 404, "/buildByToken/REDACTED?job=y"},
		{"a query without its question mark", "GET", "/buildByToken/build&job=y&token=SECRET", nil, 404, "/buildByToken/REDACTED"},
		{"a query that was hung on to another", "GET", "/buildByToken/build?job=y&cause=push?token=SECRET", nil, 403, "/buildByToken/build?job=y&REDACTED"},
		{"a header that we do not read", "POST", "/buildByToken/build?job=y", []string{"Private-Token", "SECRET"}, 403, "/buildByToken/build?job=y"},
		{"parameters", "POST", "/buildByToken/buildWithParameters?job=x&PASS=SECRET&token=SECRET", nil, 201, "/buildByToken/buildWithParameters?job=x&PASS=REDACTED&token=REDACTED"},
		{"an escaped name", "GET", "/buildByToken/build?job=y&%74oken=SECRET", nil, 201, "/buildByToken/build?job=y&%74oken=REDACTED"},
		{"a malformed escape", "GET", "/buildByToken/build?job=y&token=SECRET%zz", nil, 0, "/buildByToken/build?job=y&token=REDACTED"},
		{"a malformed name", "GET", "/buildByToken/build?job=y&%zz=SECRET", nil, 0, "/buildByToken/build?job=y&REDACTED"},
		{"a semicolon", "GET", "/buildByToken/build?job=y;token=SECRET", nil, 0, "/buildByToken/build?REDACTED"},
		{"a token without its name", "GET", "/buildByToken/build?job=y&SECRET", nil, 403, "/buildByToken/build?job=y&REDACTED"},
		{"two question marks", "GET", "/buildByToken/build?job=y&a?token=SECRET", nil, 403, "/buildByToken/build?job=y&REDACTED"},
		{"an empty token", "GET", "/buildByToken/build?job=y&token=", []string{"Cookie", "session=SECRET"}, 403, "/buildByToken/build?job=y&token="},
		{"a bearer token", "POST", "/buildByToken/build?job=y", []string{"Authorization", "Bearer SECRET"}, 201, "/buildByToken/build?job=y"},
		{"a header of ours", "POST", "/buildByToken/build?job=y", []string{"X-Build-Token", "SECRET"}, 201, "/buildByToken/build?job=y"},
		{"a header of GitLab", "POST", "/buildByToken/build?job=y", []string{"X-Gitlab-Token", "SECRET"}, 201, "/buildByToken/build?job=y"},
		{"a page that sent its visitor here", "POST", "/buildByToken/build?job=y", []string{"X-Build-Token", "SECRET", "Referer", "http://ci/job/y?token=SECRET"}, 201, "/buildByToken/build?job=y"},
		{"an original URL of IIS", "POST", "/buildByToken/build?job=y", []string{"X-Build-Token", "SECRET", "X-Original-Url", "/buildByToken/build?job=y&token=SECRET"}, 201, "/buildByToken/build?job=y"},
		{"an original path of Envoy, and nothing else", "POST", "/buildByToken/build?job=y", []string{"X-Envoy-Original-Path", "/ci/buildByToken/build?job=y&token=SECRET"}, 403, "/buildByToken/build?job=y"},
		{"a forwarded URI", "POST", "/buildByToken/build?job=y", []string{"X-Forwarded-Uri", "/buildByToken/build&token=SECRET"}, 403, "/buildByToken/build?job=y"},
		{"a path in any header", "POST", "/buildByToken/build?job=y", []string{"X-Whatever", "/buildByToken/SECRET"}, 403, "/buildByToken/build?job=y"},
		{"a token in any header", "POST", "/buildByToken/build?job=y", []string{"X-Whatever", "Token=SECRET"}, 403, "/buildByToken/build?job=y"},
		{"a URI in any header", "POST", "/buildByToken/build?job=y", []string{"X-Whatever", "<https://ci/build?SECRET>; rel=self"}, 403, "/buildByToken/build?job=y"},
		{"an account in a URI in any header", "POST", "/buildByToken/build?job=y", []string{"Origin", "https://ci:SECRET@ci.test"}, 403, "/buildByToken/build?job=y"},
		{"a second page that sent its visitor here", "POST", "/buildByToken/build?job=y", []string{"Referer", "", "Referer", "http://ci/job/y?token=SECRET"}, 403, "/buildByToken/build?job=y"},
		{"a key of a client, which is no secret", "POST", "/buildByToken/build?job=y", []string{"X-Build-Token", "SECRET", "Idempotency-Key", "shown"}, 201, "/buildByToken/build?job=y"},
		{"Jenkins' own trigger", "POST", "/job/y/build?token=SECRET&cause=push", nil, 201, "/job/y/build?token=REDACTED&cause=push"},
		{"Jenkins' own trigger with parameters", "POST", "/job/x/buildWithParameters?token=SECRET&PASS=SECRET", nil, 201, "/job/x/buildWithParameters?token=REDACTED&PASS=REDACTED"},
		{"a reading request", "GET", "/job/y/api/json?tree=name&token=SECRET", nil, 403, "/job/y/api/json?tree=name&token=REDACTED"},
	} {
		for _, below := range []string{"", "/ci"} {
			t.Run(tt.name+" below "+below+"/", func(t *testing.T) {
				s := newSite(t)
				body := jobs(logged)
				if below != "" {
					body = "handle_path /ci/* {\n" + body + "}\n"
				}
				text := strings.Replace(s.caddyfile("", body), "debug", "servers {\n log_credentials\n}\n debug", 1)
				if below != "" {
					// With debug, handle_path logs separately; see the test of the example.
					text = strings.Replace(text, "\n debug", "", 1)
				}
				s.load(text)
				a := s.do(tt.method, below+tt.target, tt.header...)
				if tt.status != 0 && a.status != tt.status {
					t.Errorf("got %d %q, want %d", a.status, a.body, tt.status)
				}
				s.mustNotLog("SECRET")
				entries := s.logged("http.log.access")
				if len(entries) != 1 {
					t.Fatalf("got %d entries, want 1", len(entries))
				}
				if got := loggedRequest(entries[0])["uri"]; got != below+tt.uri {
					t.Errorf("uri: got %q, want %q", got, below+tt.uri)
				}
				if i := slices.Index(tt.header, "Idempotency-Key"); i >= 0 {
					headers, _ := loggedRequest(entries[0])["headers"].(map[string]any)
					if got, want := fmt.Sprint(headers["Idempotency-Key"]), "["+tt.header[i+1]+"]"; got != want {
						t.Errorf("Idempotency-Key: got %s, want %s", got, want)
					}
				}
				if got := entries[0]["status"]; got != float64(a.status) {
					t.Errorf("status: got %v, want %d", got, a.status)
				}
			})
		}
	}
}

// TestAccessLogEntryIsLikeCaddys compares an entry that Caddy has written with one of ours.
func TestAccessLogEntryIsLikeCaddys(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("", "basic_auth /buildByToken/* {\n alice $2a$04$f5HBYHqU9Ww1tEDulIbHYOGzp2tgd9w58uIPxLUqoikVUXjQSx9OW\n}\n"+jobs(logged)))
	s.get("/whoAmI/api/json", "User-Agent", "curl")
	a := s.do("POST", "/buildByToken/build?job=y&delay=1h&token=SECRET", "User-Agent", "curl", "Authorization", "Basic YWxpY2U6d29uZGVybGFuZA==")
	entries := s.logged("http.log.access")
	if len(entries) != 2 {
		t.Fatalf("got %d entries, want 2", len(entries))
	}
	caddys, ours := entries[0], entries[1]
	if diff := cmp.Diff(slices.Sorted(maps.Keys(caddys)), slices.Sorted(maps.Keys(ours))); diff != "" {
		t.Errorf("fields (-Caddy's +ours):\n%s", diff)
	}
	for name, want := range map[string]any{
		"level": "info", "msg": "handled request", "user_id": "alice", "status": float64(201), "size": float64(len(a.body)), "bytes_read": float64(0),
	} {
		if ours[name] != want {
			t.Errorf("%s: got %v, want %v", name, ours[name], want)
		}
	}
	request := loggedRequest(ours)
	for name, want := range map[string]any{"method": "POST", "host": s.addr, "proto": "HTTP/1.1", "remote_ip": "127.0.0.1", "client_ip": "127.0.0.1"} {
		if request[name] != want {
			t.Errorf("request %s: got %v, want %v", name, request[name], want)
		}
	}
}

func TestAccessLogRespectsOtherDirectives(t *testing.T) {
	const ask = "/buildByToken/build?job=y&token=SECRET"
	for _, tt := range []struct {
		name, body string
		loggers    map[string]int // entries by logger
		level      string
	}{
		{"log_skip", "log_skip\n", map[string]int{"http.log.access": 0}, ""},
		{"log_name", "log_name special\n", map[string]int{"http.log.access": 0, "http.log.access.special": 1}, "info"},
		{"log_name with two names", "log_name special \"\"\n", map[string]int{"http.log.access": 1, "http.log.access.special": 1}, "info"},
		{"log_level", "log_level ERROR\n", map[string]int{"http.log.access": 1}, "error"},
		{"the lowest log_level", "log_level DEBUG\n", map[string]int{"http.log.access": 1}, "debug"},
		{"a log_level that would end the process", "vars log_level FATAL\n", map[string]int{"http.log.access": 1}, "info"},
		{"a log_level that is none", "vars log_level loud\n", map[string]int{"http.log.access": 1}, "info"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			s.load(s.caddyfile("", tt.body+jobs(logged)))
			s.get(ask)
			s.mustNotLog("SECRET")
			for name, want := range tt.loggers {
				got := s.logged(name)
				if len(got) != want {
					t.Errorf("%s: got %d entries, want %d", name, len(got), want)
				}
				for _, entry := range got {
					if entry["level"] != tt.level {
						t.Errorf("level: got %v, want %s", entry["level"], tt.level)
					}
				}
			}
		})
	}
}

// TestAccessLogOfAnError expects the level that Caddy gives to answers of 500 and more.
func TestAccessLogOfAnError(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("queue_limit 1", jobs(logged)))
	for i, tt := range []struct {
		target, level string
		status        int
	}{
		{"/buildByToken/build?job=y&token=SECRET&delay=1h", "info", http.StatusCreated},
		{"/buildByToken/buildWithParameters?job=x&token=SECRET&delay=1h", "error", http.StatusServiceUnavailable},
		{"/buildByToken/build?job=y&token=SECRET2", "info", http.StatusForbidden},
	} {
		if a := s.get(tt.target); a.status != tt.status {
			t.Errorf("GET %s: got %d %q, want %d", tt.target, a.status, a.body, tt.status)
		}
		if got := s.logged("http.log.access"); len(got) != i+1 || got[i]["level"] != tt.level {
			t.Errorf("GET %s: logged %v, want one entry more, of level %s", tt.target, got, tt.level)
		}
	}
}

// TestAccessLogByHost configures a separate logger for each host, and expects our entries where
// Caddy's own go.
func TestAccessLogByHost(t *testing.T) {
	s := newSite(t)
	port := s.addr[strings.LastIndex(s.addr, ":"):]
	config, err := adapt("(body) {\n" + jobs(logged) + "\nrespond hello\n}\n" + strings.Replace(s.caddyfile("", "import body"), "http://"+s.addr+" {\n\tlog\n", "http://a.test"+port+" {\n\tlog a\n", 1) +
		"http://*.b.test" + port + " {\n\tlog b\n\timport body\n}\n" +
		"http://c.test" + port + ", http://*.e.test" + port + " {\n\timport body\n}\n" +
		"http://d.test" + port + " {\n\tlog d {\n\t\tno_hostname\n\t}\n\tlog_name d\n\timport body\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	before, skipped, _ := bytes.Cut(config, []byte("skip_hosts"))
	for _, host := range []string{"*.e.test", "c.test"} { // An adapter writes them in lower case, and with a port, which matches no host.
		written := []byte(`"` + host + port + `"`)
		if !bytes.Contains(skipped, written) {
			t.Fatalf("skip_hosts%s do not have %s", skipped, written)
		}
		skipped = bytes.Replace(skipped, written, []byte(`"`+strings.ToUpper(host)+`"`), 1)
	}
	config = slices.Concat(before, []byte("skip_hosts"), skipped)
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	loggers := func(host, target string) []string {
		before := len(s.logged(""))
		s.get(target, "Host", host)
		var names []string
		for _, entry := range s.logged("")[before:] {
			if name, _ := entry["logger"].(string); strings.HasPrefix(name, "http.log.access") {
				names = append(names, name)
			}
		}
		return names
	}
	seen := map[string]bool{}
	for _, host := range []string{"a.test" + port, "A.test", "x.B.test", "c.test" + port, "d.test", "x.e.test" + port, "x.e.test"} {
		theirs, ours := loggers(host, "/elsewhere"), loggers(host, "/buildByToken/build?job=y&delay=1h&token=SECRET")
		if diff := cmp.Diff(theirs, ours); diff != "" {
			t.Errorf("%s: loggers (-Caddy's +ours):\n%s", host, diff)
		}
		seen[strings.Join(ours, " ")] = true
	}
	for _, want := range []string{"http.log.access.a", "http.log.access.b", "http.log.access.d", ""} {
		if !seen[want] {
			t.Errorf("no host is logged to %q: got %v", want, seen)
		}
	}
	s.mustNotLog("SECRET")
}

// TestEntriesOfTheNextHandlerAreCaddys verifies that requests of the next handler are logged by Caddy
// alone.
func TestEntriesOfTheNextHandlerAreCaddys(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("", jobs(logged)))
	s.get("/elsewhere?token=theirs")
	entries := s.logged("http.log.access")
	if len(entries) != 1 {
		t.Fatalf("got %d entries, want 1", len(entries))
	}
	if got := loggedRequest(entries[0])["uri"]; got != "/elsewhere?token=theirs" {
		t.Errorf("uri: got %q", got)
	}
}

// TestSnippetOfTheExampleCoversTheRest covers what a handler cannot change: entries of other
// handlers, and debug logs.
func TestSnippetOfTheExampleCoversTheRest(t *testing.T) {
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	from := strings.Index(string(example), "(redact_token) {")
	to := strings.Index(string(example), "\n}\n") + 3
	if from < 0 || to < from {
		t.Fatal("the example has no snippet redact_token")
	}
	s := newSite(t)
	text := s.caddyfile("", "handle_path /ci/* {\n basic_auth /job/* {\n alice $2a$04$f5HBYHqU9Ww1tEDulIbHYOGzp2tgd9w58uIPxLUqoikVUXjQSx9OW\n}\n"+jobs(logged)+"}\n")
	text = strings.Replace(text, "output file "+s.logs, "output file "+s.logs+"\n import redact_token", 1)
	s.load(string(example[from:to]) + text)
	if a := s.get("/ci/buildByToken/build?job=y&token=SECRET", "X-Build-Token", "SECRET", "X-Gitlab-Token", "SECRET"); a.status != http.StatusCreated && a.status != http.StatusBadRequest {
		t.Errorf("trigger: got %d %q", a.status, a.body)
	}
	if a := s.get("/ci/job/y/?token=SECRET", "Referer", "http://ci/?token=SECRET"); a.status != http.StatusUnauthorized {
		t.Errorf("without an account: got %d, want 401", a.status)
	}
	s.get("/buildbytoken?token=SECRET")
	s.mustNotLog("SECRET")
	if got := len(s.logged("http.handlers.rewrite")); got == 0 {
		t.Error("handle_path logged nothing, so the test proves nothing")
	}
}

// TestAccessLogShowsNoShareLink triggers with a token in each possible place, including a form,
// which no log shows. Then it follows the link.
func TestAccessLogShowsNoShareLink(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("", jobs("job y {\n token SECRET {\n grant trigger share\n }\n run true\n}\n")))
	form := func(path, body string) answer {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.addr+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := http.DefaultTransport.RoundTrip(r) // follows no redirects
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return answer{status: resp.StatusCode, header: resp.Header}
	}
	var ids []string
	for i, send := range []func() answer{
		func() answer { return s.get("/buildByToken/build?job=y&token=SECRET") },
		func() answer { return s.do("POST", "/buildByToken/build?job=y", "Authorization", "Bearer SECRET") },
		func() answer { return form("/buildByToken/build", "job=y&token=SECRET") },
		func() answer { return form("/job/y/build", "token=SECRET") },
	} {
		a := send()
		link := a.header.Get("Link")
		_, id, _ := strings.Cut(link, "/buildByToken/shared/")
		id, _, ok := strings.Cut(id, ">")
		if !ok {
			t.Fatalf("trigger %d: got %d, Link %q, want a share link", i, a.status, link)
		}
		ids = append(ids, id)
	}
	shared := "/buildByToken/shared/" + ids[0]
	for _, target := range []string{shared, shared + "/", shared + "/log", shared + "x", shared + "/x"} {
		s.get(target, "Accept", "text/html", "Referer", "http://ci.test"+shared)
	}
	for _, id := range ids {
		s.mustNotLog(id)
	}
	if got, want := len(s.logged("http.log.access")), len(ids)+5; got != want {
		t.Errorf("got %d entries, want %d", got, want)
	}
}
