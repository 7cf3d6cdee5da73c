//go:build unix

package caddymodule_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/job"
)

// TestCommandsOfARunningServer runs commands, one after another, against a server with two sites.
func TestCommandsOfARunningServer(t *testing.T) {
	s := newSite(t)
	const second = "folder second {\n job later {\n quiet_period 1h\n run true\n}\n job off {\n disabled\n run true\n}\n job form {\n param N string 1\n run sh -c `echo N=$N`\n}\n}\n"
	s.load(s.caddyfile("", "handle_path /a/* {\n"+jobs(named("SECRET"))+"}\nhandle_path /b/* {\n"+jobs(second)+"}\n"))
	address := serveAdmin(t)
	for _, tt := range []struct {
		line     string
		status   int
		out, err string // in the output and in the errors
	}{
		{"status", 0, "second/off    0       0        none (disabled)\n", ""},
		{"log echo", 2, "", "echo: the job has no build yet (404)"},
		{"trigger echo --json", 0, `"url":"http://` + s.addr + `/a/queue/item/1/"`, ""},
		{"log echo --item 1", 0, "Started by user of the admin API\n", ""},
		{"log echo", 0, "hello\nFinished: SUCCESS\n", ""},
		{"log echo 1", 0, "hello\nFinished: SUCCESS\n", ""},
		{"log echo 1 -f", 0, "hello\nFinished: SUCCESS\n", ""},
		{"log echo 2", 2, "", "echo: it has no build #2 (404)"},
		{"log echo two", 2, "", `echo: "two" is not the number of a build (400)`},
		{"log second", 2, "", `unknown job: "second" (404)`},
		{"trigger second/later", 0, "", "queued as item 2 of second/later\n"},
		{"trigger second/later", 0, "", "joined item 2 of second/later\n"},
		{"status", 0, "second/later  1       0        none; item 2 waits: In the quiet period. Expires in ", ""},
		{"cancel second/later 2", 0, "", ""},
		{"cancel second/later 2", 2, "", "second/later: item 2: "},
		{"cancel echo #1", 2, "", "echo: item 1: "},
		{"cancel none 2", 2, "", "none: item 2: "},
		{"trigger second/off", 2, "", "second/off: "},
		{"trigger second/form -f", 0, "N=1\nFinished: SUCCESS\n", "queued as item 3 of second/form\n"},
		{"trigger second/form N=2 -f", 0, "N=2\nFinished: SUCCESS\n", "queued as item 4 of second/form\n"},
		{"trigger none", 2, "", "none: "},
		{"deliveries", 0, "no webhook deliveries since the start\n", ""},
		{"notifications", 0, "no notify is configured\n", ""},
		{"notify test ops", 1, "", "no notify 'ops'; none is configured (404)"},
	} {
		got := run(t, append(strings.Fields(tt.line), "--address", address)...)
		if got.Status != tt.status || !strings.Contains(got.Out, tt.out) || !strings.Contains(got.Err, tt.err) || (got.Err == "") != (tt.err == "") {
			t.Errorf("%s: %+v, want status %d, %q and %q", tt.line, got, tt.status, tt.out, tt.err)
		}
	}
	if err := os.RemoveAll(filepath.Join(strings.TrimSuffix(s.path, ".db"), "logs", job.PathElement("echo"))); err != nil {
		t.Fatal(err)
	}
	if got := run(t, "log", "echo", "--address", address); got.Status != 2 || !strings.HasSuffix(got.Err, " (404)") || got.Out != "" {
		t.Errorf("a log that is lost: %+v", got)
	}
}

// ages matches the ages in the output of a command.
var ages = regexp.MustCompile(`\b\d+m?s ago\b`)

// TestStatesOfTokens shows tokens that are used, not used, expired and removed.
func TestStatesOfTokens(t *testing.T) {
	s := newSite(t)
	file := func(more string) string {
		return s.caddyfile("", "build_token {\nquiet_period 1h\ntoken top TOPSECRET\nfolder site {\ntoken old OLDSECRET {\nexpires 2020-01-01T00:00:00Z\n}\ntoken idle IDLESECRET {\nexpires 2090-01-01T00:00:00Z\ngrant trigger log\n}\n"+
			"job deploy {\ntoken shown SHOWNSECRET {\nexpires 2020-01-01T00:00:00Z\n}\n"+more+"run true\n}\n}\n}\n")
	}
	trigger := func(secret string, want int) {
		t.Helper()
		if a := s.get("/buildByToken/build?job=site/deploy&token=" + secret); a.status != want {
			t.Fatalf("trigger with %s: %d %q, want %d", secret, a.status, a.body, want)
		}
	}
	s.load(file("token left LEFTSECRET\ntoken leaves LEAVESECRET\n"))
	trigger("TOPSECRET", http.StatusCreated)
	trigger("TOPSECRET", http.StatusSeeOther)
	trigger("LEFTSECRET", http.StatusSeeOther)
	trigger("LEAVESECRET", http.StatusSeeOther)
	s.load(file(""))
	trigger("SHOWNSECRET", http.StatusForbidden)
	trigger("LEAVESECRET", http.StatusForbidden)
	got := run(t, "tokens", "--address", serveAdmin(t))
	var lines []string
	for line := range strings.Lines(ages.ReplaceAllString(got.Out, "… ago")) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	if diff := cmp.Diff([]string{
		"DEFINED IN TOKEN STATE GRANTS EXPIRES USES FIRST USE LAST USE FROM",
		"(top level) top valid trigger never 2 … ago … ago 127.0.0.1",
		"site/ idle valid trigger log 2090-01-01T00:00:00Z 0 - -",
		"site/ old expired trigger 2020-01-01T00:00:00Z 0 - -",
		"site/deploy leaves dead trigger never 1 + 1 dead … ago … ago 127.0.0.1",
		"site/deploy left removed trigger never 1 … ago … ago 127.0.0.1",
		"site/deploy shown dead trigger 2020-01-01T00:00:00Z 0 + 1 dead … ago … ago 127.0.0.1",
	}, lines); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}
	s.load(strings.Replace(file(""), "build_token {\nquiet", "handle /metrics {\nmetrics\n}\nbuild_token {\nquiet", 1))
	metrics := s.get("/metrics").body
	for _, want := range []string{`{place="site/deploy",token="leaves"} 1`, `{place="site/deploy",token="shown"} 1`} {
		if !strings.Contains(metrics, "caddy_build_token_dead_token_uses_total"+want+"\n") {
			t.Errorf("metrics have no dead_token_uses_total%s", want)
		}
	}
	if n := strings.Count(metrics, "\ncaddy_build_token_dead_token_uses_total{"); n != 2 {
		t.Errorf("metrics have %d tokens with dead uses, want 2", n)
	}
}

// TestPruneOfARunningServer removes what is left of a job, but not the job whose item waits.
func TestPruneOfARunningServer(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("", jobs(named("SECRET")+"job held {\n quiet_period 1h\n token SECRET\n run true\n}\n")))
	s.follow("echo", "SECRET", s.trigger("echo", "SECRET"))
	s.trigger("held", "SECRET")
	s.load(s.caddyfile("", jobs("job stays {\n token SECRET\n run true\n}\n")))
	address := serveAdmin(t)
	for _, tt := range []struct {
		line string
		want []string // the lines, with single spaces
	}{
		{"prune --dry-run", []string{"JOB TIMED OUT BUILDS FILES KIB", "echo - 1 2 1", "held - 0 0 0 stays: 1 queued, 0 running", "", "found: 2 jobs, 2 files, 1 KiB"}},
		{"prune", []string{"JOB TIMED OUT BUILDS FILES KIB", "echo - 1 2 1", "", "removed: 1 job, 2 files, 1 KiB"}},
		{"prune", []string{"nothing is left of removed jobs"}},
		{"prune --dry-run", []string{"JOB TIMED OUT BUILDS FILES KIB", "held - 0 0 0 stays: 1 queued, 0 running", "", "found: 1 job, 0 files, 0 KiB"}},
	} {
		got := run(t, append(strings.Fields(tt.line), "--address", address)...)
		var lines []string
		for line := range strings.Lines(got.Out) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		if diff := cmp.Diff(tt.want, lines); diff != "" || got.Status != 0 {
			t.Errorf("%s (-want +got): %d %s\n%s", tt.line, got.Status, got.Err, diff)
		}
	}
}

// TestReadyEndpoint asks whether the server is ready, on the site, if that is configured, and on
// the admin API.
func TestReadyEndpoint(t *testing.T) {
	s := newSite(t)
	check := func(a answer) {
		t.Helper()
		if a.status != http.StatusOK || a.body != "ready\n" || a.header.Get("Content-Type") != "text/plain; charset=utf-8" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("ready: got %+v", a)
		}
	}
	admin := "http://" + serveAdmin(t) + "/build_token/ready"
	if a := request(t, http.DefaultTransport, http.MethodGet, admin); a.status != http.StatusServiceUnavailable {
		t.Errorf("without a configuration: got %+v, want 503", a)
	}
	s.load(s.caddyfile("", "build_token {\nready\n"+named("SECRET")+"}\n"))
	check(s.get("/build_token/ready"))
	check(request(t, http.DefaultTransport, http.MethodGet, admin))
	if a := s.get("/build_token/"); a.status != http.StatusTeapot {
		t.Errorf("another path of the site: got %d, want 418 from the next handler", a.status)
	}
	s.load(s.caddyfile("", jobs(named("SECRET"))))
	if a := s.get("/build_token/ready"); a.status != http.StatusTeapot {
		t.Errorf("a site without ready: got %d, want 418 from the next handler", a.status)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"ready", "tokens", "backup"} {
		if a := request(t, http.DefaultTransport, http.MethodGet, strings.TrimSuffix(admin, "ready")+path); a.status != http.StatusServiceUnavailable {
			t.Errorf("%s of a server that has stopped: got %+v, want 503", path, a)
		}
	}
}

// gaugeOf returns the value of a metric.
func gaugeOf(t *testing.T, metrics, name string) float64 {
	t.Helper()
	_, after, _ := strings.Cut(metrics, "\ncaddy_build_token_"+name+" ")
	line, _, _ := strings.Cut(after, "\n")
	value, err := strconv.ParseFloat(line, 64)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return value
}

// TestMetricsOfWhatWaits has an item of a removed job, one that waits for an executor, and a
// notification that was not accepted.
func TestMetricsOfWhatWaits(t *testing.T) {
	s := newSite(t)
	refused := make(chan bool, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		refused <- true
	}))
	defer receiver.Close()
	head := "handle /metrics {\n metrics\n}\n"
	notified := "job told {\n notify ops " + receiver.URL + " {\n on queued\n}\n notify idle http://127.0.0.1:1 {\n on fixed\n}\n quiet_period 1h\n token SECRET\n run true\n}\n"
	notified += "job busy {\n token SECRET {\n grant trigger log\n }\n run sh -c `echo hello; exec sleep 1000`\n}\njob behind {\n token SECRET\n run true\n}\n"
	const option = "executors 1\nshutdown_timeout 0"
	s.load(s.caddyfile(option, head+jobs(notified+"job gone {\n quiet_period 1h\n token SECRET\n run true\n}\n")))
	s.begun("busy", "SECRET", s.trigger("busy", "SECRET"), "hello\n")
	began := time.Now()
	s.trigger("behind", "SECRET")
	s.trigger("gone", "SECRET")
	s.trigger("told", "SECRET")
	<-refused
	s.load(s.caddyfile(option, head+jobs(notified)))
	metrics := s.get("/metrics").body
	for _, want := range []string{
		"queued_items 3", "orphaned_items 1", `job_queued_items{job="told"} 1`, "queue_up 1", "running_builds 1",
		`notifications_waiting{target="told/ops"} 1`, `notifications_waiting{target="told/idle"} 0`,
		`notifications_oldest_seconds{target="told/idle"} 0`, `notifications_given_up{target="told/ops"} 0`,
	} {
		if !strings.Contains(metrics, "\ncaddy_build_token_"+want+"\n") {
			t.Errorf("metrics have no %s", want)
		}
	}
	most := time.Since(began).Seconds()
	for _, name := range []string{`notifications_oldest_seconds{target="told/ops"}`, "oldest_due_item_age_seconds"} {
		if age := gaugeOf(t, metrics, name); age <= 0 || age > most {
			t.Errorf("%s is %v, want at most the %v since the triggers", name, age, most)
		}
	}
	got := run(t, "notifications", "--address", serveAdmin(t))
	if lines := strings.Split(got.Out, "\n"); len(lines) < 6 || !strings.HasPrefix(lines[1], "told/idle  0 ") || !strings.HasPrefix(lines[2], "told/ops   1 ") || !strings.HasPrefix(lines[5], "1   told/ops") {
		t.Errorf("notifications: %+v", got)
	}
	if got := run(t, "notifications", "retry", "1", "--address", serveAdmin(t)); got != (ran{}) {
		t.Errorf("retry: %+v, want success", got)
	}
}

// TestInterruptAsksWhetherToCancel interrupts a command that follows a build.
func TestInterruptAsksWhetherToCancel(t *testing.T) {
	const asked = "queued as item 7 of a\n\nCancel the build? It goes on otherwise. [y/N] "
	for _, tt := range []struct {
		name, input string
		cancel      int // the status of the answer; 0: it must not be cancelled
		want        ran
	}{
		{"no answer", "", 0, ran{2, "", asked + "a: item 7: interrupted; the build goes on"}},
		{"no", "no\n", 0, ran{2, "", asked + "a: item 7: interrupted; the build goes on"}},
		{"yes", " Yes\n", http.StatusNoContent, ran{4, "", asked + "a #3: ABORTED"}},
		{"yes, but it cannot be cancelled", "y\n", http.StatusConflict, ran{2, "", asked + "a: item 7: cancel: ended (409)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cancelled := make(chan bool)
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch _, endpoint, _ := strings.Cut(r.URL.Path, "/buildByToken/"); endpoint {
				case "build":
					w.WriteHeader(http.StatusCreated)
					_, _ = w.Write([]byte(queuedAnswer))
				case "log":
					if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
						t.Error(err)
					}
					select { // the log goes on
					case <-cancelled:
					case <-r.Context().Done():
					}
				case "cancel":
					if tt.cancel == 0 {
						t.Error("the build is cancelled")
					}
					w.WriteHeader(tt.cancel)
					if tt.cancel == http.StatusNoContent {
						close(cancelled)
					} else {
						_, _ = w.Write([]byte(`{"error":"ended"}`))
					}
				case "status":
					_, _ = w.Write([]byte(endedAs("ABORTED")))
				}
			}))
			defer s.Close()
			if got := runWith(t, tt.input, "trigger", "a", "-f", "--address", s.Listener.Addr().String()); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
