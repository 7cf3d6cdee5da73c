//go:build unix

package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// exit returns the exit status of a command.
func exit(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	ended, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatal(err)
	}
	return ended.ExitCode()
}

const commandJobs = `
	access {
		read ` + "`true`" + `
	}
	quiet_period 0s
	token secret {
		grant trigger status log cancel
	}
	job good {
		run echo hello
	}
	job bad {
		run false
	}
	job shaky {
		run sh -c ` + "`exit 3`" + ` {
			unstable 3
		}
	}
	job missing {
		run /no/such/program
	}
	job greet {
		param NAME string world
		param FILE file
		run sh -c ` + "`echo \"hello, $NAME\"; if [ -f FILE ]; then cat FILE; fi`" + `
	}
	job later {
		quiet_period 1h
		run true
	}
	job denied {
		allow ` + "`cause != \"\"` `say why`" + `
		run true
	}
	job gate {
		run sh -c ` + "`echo before; until [ -e \"$GATE\" ]; do sleep 0.05; done; echo after`" + ` {
			inherit_env PATH GATE
		}
	}
`

// TestTriggerCommand triggers over the admin API, over a Unix socket, and over
// HTTP with a token, and compares exit statuses and output.
func TestTriggerCommand(t *testing.T) {
	s := newServer(t, commandJobs)
	s.start()
	secret := filepath.Join(s.dir, "token")
	if err := os.WriteFile(secret, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	upload := filepath.Join(s.dir, "upload.txt")
	if err := os.WriteFile(upload, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	admin := []string{"--address", s.admin}
	overHTTP := []string{"--url", "http://" + s.site, "--token-file", secret}
	for _, tt := range []struct {
		name   string
		args   []string
		exit   int
		stdout string
		stderr string
	}{
		{"no wait", []string{"later"}, 0, "", "item"},
		{"success", []string{"good", "--follow"}, 0, "hello\nFinished: SUCCESS\n", "queued as item"},
		{"failure", []string{"bad", "--follow"}, 1, "Finished: FAILURE\n", ""},
		{"unstable", []string{"shaky", "--wait", "30s"}, 3, " UNSTABLE\n", ""},
		{"not built", []string{"missing", "--wait", "30s"}, 5, " NOT_BUILT\n", ""},
		{"parameters", []string{"greet", "NAME=you", "FILE=@" + upload, "--follow"}, 0, "hello, you\nfrom a file\n", ""},
		{"defaults of parameters", []string{"greet", "--follow"}, 0, "hello, world\n", ""},
		{"a parameter that is misspelt", []string{"greet", "NAMME=you", "--wait", "30s"}, 0, " SUCCESS\n", "ignored, because the job has no such parameter: NAMME\n"},
		{"refused by a rule", []string{"denied"}, 2, "", "say why"},
		{"allowed by a rule", []string{"denied", "--cause", "a reason", "--wait", "30s"}, 0, " SUCCESS\n", ""},
		{"no such job", []string{"nothing"}, 2, "", "nothing"},
		{"not a parameter", []string{"good", "NAME"}, 2, "", "NAME=VALUE"},
		{"no such file", []string{"greet", "FILE=@/no/such/file"}, 2, "", "no such file"},
	} {
		for over, flags := range map[string][]string{"admin": admin, "http": overHTTP} {
			t.Run(tt.name+" over "+over, func(t *testing.T) {
				out, errs, err := s.command("", append(append([]string{"build-token", "trigger"}, tt.args...), flags...)...)
				if got := exit(t, err); got != tt.exit {
					t.Errorf("exit status %d, want %d\n%s", got, tt.exit, errs)
				}
				if !strings.Contains(out, tt.stdout) || !strings.Contains(errs, tt.stderr) {
					t.Errorf("got %q and on standard error %q, want %q and %q", out, errs, tt.stdout, tt.stderr)
				}
				if strings.Contains(out+errs, "secret") {
					t.Errorf("the output shows the token: %s%s", out, errs)
				}
			})
		}
	}
	t.Run("as JSON", func(t *testing.T) {
		out, _, err := s.command("", append([]string{"build-token", "trigger", "good", "--wait", "30s", "--json"}, admin...)...)
		var got struct {
			ID     int64
			Status struct{ Result string }
		}
		if exit(t, err) != 0 || json.Unmarshal([]byte(out), &got) != nil || got.ID == 0 || got.Status.Result != "SUCCESS" {
			t.Errorf("got %q", out)
		}
	})
	t.Run("without a token", func(t *testing.T) {
		_, errs, err := s.command("", "build-token", "trigger", "good", "--url", "http://"+s.site)
		if exit(t, err) != 2 || !strings.Contains(errs, "BUILD_TOKEN") {
			t.Errorf("exit status %d, %q", exit(t, err), errs)
		}
	})
	t.Run("nothing listens", func(t *testing.T) {
		for _, tt := range []struct {
			args []string
			url  bool // the command has this flag
		}{{[]string{"status"}, false}, {[]string{"cancel", "good", "1"}, true}} {
			_, errs, err := s.command("", append(append([]string{"build-token"}, tt.args...), "--address", freeAddress(t))...)
			if exit(t, err) == 0 || !strings.Contains(errs, "admin off") || strings.Contains(errs, "--url") != tt.url {
				t.Errorf("%s: exit status %d, %q", tt.args[0], exit(t, err), errs)
			}
		}
	})
	t.Run("cancel a queued item", func(t *testing.T) {
		_, errs, err := s.command("", append([]string{"build-token", "trigger", "later", "--cause", "x"}, admin...)...)
		if exit(t, err) != 0 {
			t.Fatal(errs)
		}
		item := strings.Fields(errs[strings.Index(errs, "item "):])[1]
		if _, errs, err := s.command("", append([]string{"build-token", "cancel", "later", item}, admin...)...); exit(t, err) != 0 {
			t.Errorf("cancel: %s", errs)
		}
		if _, _, err := s.command("", append([]string{"build-token", "cancel", "later", item}, admin...)...); exit(t, err) != 2 {
			t.Errorf("cancel again: exit status %d, want 2", exit(t, err))
		}
		if _, _, err := s.command("", append([]string{"build-token", "log", "later", "--item", item, "-f"}, admin...)...); exit(t, err) != 4 {
			t.Errorf("log of a cancelled item: exit status %d, want 4", exit(t, err))
		}
	})
	t.Run("stop a running build", func(t *testing.T) {
		if _, errs, err := s.command("", append([]string{"build-token", "trigger", "gate"}, admin...)...); exit(t, err) != 0 {
			t.Fatal(errs)
		}
		status := func() string {
			out, _, err := s.command("", append([]string{"build-token", "status"}, admin...)...)
			if err != nil {
				t.Errorf("status: %v", err)
			}
			return out
		}
		s.eventually("the build runs", func() bool { return strings.Contains(status(), "#1 running") })
		if _, errs, err := s.command("", append([]string{"build-token", "cancel", "gate", "#1"}, admin...)...); exit(t, err) != 0 {
			t.Errorf("cancel: %s", errs)
		}
		s.eventually("it was stopped", func() bool { return strings.Contains(status(), "#1 ABORTED") })
		for _, args := range [][]string{{"gate", "#2"}, {"gate", "first"}, {"gate", "#"}, {"gate"}} {
			if _, errs, err := s.command("", append(append([]string{"build-token", "cancel"}, args...), admin...)...); exit(t, err) == 0 || !strings.Contains(errs, strings.Join(args[1:], "")) {
				t.Errorf("cancel %q: exit status %d, %s", args, exit(t, err), errs)
			}
		}
		// What is shown as completed is so while the next build runs.
		if _, errs, err := s.command("", append([]string{"build-token", "trigger", "gate"}, admin...)...); exit(t, err) != 0 {
			t.Fatal(errs)
		}
		s.eventually("the second build runs", func() bool { return strings.Contains(status(), "gate #2, item ") })
		if got := status(); !strings.Contains(got, "#1 ABORTED") || strings.Contains(got, "#2 ABORTED") {
			t.Errorf("status while the second build runs:\n%s", got)
		}
		if _, errs, err := s.command("", append([]string{"build-token", "cancel", "gate", "#2"}, admin...)...); exit(t, err) != 0 {
			t.Errorf("cancel: %s", errs)
		}
	})
	t.Run("log", func(t *testing.T) {
		for _, tt := range []struct {
			args []string
			exit int
			want string
		}{
			{[]string{"good", "1"}, 0, "hello\nFinished: SUCCESS\n"},
			{[]string{"bad"}, 0, "Finished: FAILURE\n"},
			{[]string{"bad", "1", "--follow"}, 1, "Finished: FAILURE\n"},
			{[]string{"good", "99"}, 2, ""},
			{[]string{"nothing"}, 2, ""},
		} {
			out, errs, err := s.command("", append(append([]string{"build-token", "log"}, tt.args...), admin...)...)
			if exit(t, err) != tt.exit || !strings.HasSuffix(out, tt.want) {
				t.Errorf("log %q: exit status %d, %q, %s; want %d, %q", tt.args, exit(t, err), out, errs, tt.exit, tt.want)
			}
		}
	})
}

// TestFollowSurvivesReloadAndRestart reloads and restarts the server while a
// command follows a build.
func TestFollowSurvivesReloadAndRestart(t *testing.T) {
	s := newServer(t, commandJobs)
	s.option("shutdown_timeout 0s")
	gate := filepath.Join(s.dir, "gate")
	s.environment = append(s.environment, "GATE="+gate, "BUILD_TOKEN=secret")
	s.start()
	follow := func(args ...string) (output func() string, end func() (int, string)) {
		c := exec.CommandContext(t.Context(), binary, args...)
		var mu sync.Mutex
		var out bytes.Buffer
		w := writerFunc(func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return out.Write(p)
		})
		c.Env, c.Dir, c.Stdout, c.Stderr = s.environment, s.dir, w, w
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		output = func() string {
			mu.Lock()
			defer mu.Unlock()
			return out.String()
		}
		return output, func() (int, string) { return exit(t, c.Wait()), output() }
	}
	output, end := follow("build-token", "trigger", "gate", "--follow", "--url", "http://"+s.site)
	overAdmin, endAdmin := follow("build-token", "trigger", "later", "--follow", "--address", s.admin)
	s.eventually("the log begins", func() bool { return strings.Contains(output(), "before\n") })
	for range 2 {
		if _, errs, err := s.command("", "reload", "--config", s.file, "--adapter", "caddyfile", "--address", s.admin, "--force"); err != nil {
			t.Fatalf("reload: %v\n%s", err, errs)
		}
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := end(); code != 0 || strings.Count(out, "before\n") != 1 || strings.Count(out, "after\n") != 1 || !strings.HasSuffix(out, "Finished: SUCCESS\n") {
		t.Errorf("after reloads: exit status %d, output %q", code, out)
	}
	// The other item waits; the server restarts, and then the item is cancelled.
	s.eventually("the item is queued", func() bool { return strings.Contains(overAdmin(), "item ") })
	item := strings.Fields(overAdmin()[strings.Index(overAdmin(), "item "):])[1]
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-s.ended
	s.start()
	if _, errs, err := s.command("", "build-token", "cancel", "later", item, "--address", s.admin); err != nil {
		t.Fatalf("cancel: %v\n%s", err, errs)
	}
	if code, out := endAdmin(); code != 4 {
		t.Errorf("after a restart: exit status %d, output %q", code, out)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestCheckCommand checks a file without mistakes, and one with mistakes.
func TestCheckCommand(t *testing.T) {
	s := newServer(t, "token outer secret\nwebhook github secret\nallow `user != \"bob\"`\njob good {\n run echo hello\n on github push {\n when `event.branch == \"main\"`\n include forks\n}\n schedule \"30 4 1 1 *\" {\n timezone UTC\n}\n notify chat http://127.0.0.1:9/ {\n on failure fixed\n}\n}\n")
	out, errs, err := s.command("", "build-token", "check", s.file, "--adapter", "caddyfile")
	if exit(t, err) != 0 {
		t.Errorf("exit status %d, %s", exit(t, err), errs)
	}
	year := time.Now().UTC().Year() + 1
	if first := time.Date(year-1, 1, 1, 4, 30, 0, 0, time.UTC); first.After(time.Now()) {
		year--
	}
	times := make([]string, 3)
	for i := range times {
		times[i] = time.Date(year+i, 1, 1, 4, 30, 0, 0, time.UTC).Format("Mon 2006-01-02 15:04 MST")
	}
	for _, want := range []string{"good\n", "runs      echo hello\n", "schedule  30 4 1 1 *: next " + strings.Join(times, ", ") + "\n", "token     outer of top level: trigger\n", "webhook   github: deliveries to /buildByToken/webhook?job=good, or without job\n              push, with forks only if event.branch == \"main\" (" + s.file + ":", "rule      top level: user != \"bob\" (" + s.file + ":", "notifies  good/chat: failure fixed\n", "1 job, 0 warnings\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if strings.Contains(out, "secret") {
		t.Errorf("the output shows a secret:\n%s", out)
	}
	s.write("job bad {\n run echo $HOME && true\n token secret {\n expires 2020-01-01T00:00:00Z\n}\n}\n")
	out, _, failed := s.command("", "build-token", "check", s.file, "--adapter", "caddyfile", "--json")
	var got struct {
		Jobs     []struct{ Job string }
		Warnings []struct{ Code, At, Job string }
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if exit(t, failed) != 1 || len(got.Jobs) != 1 || len(got.Warnings) != 2 || got.Warnings[0].Code != "no-shell" || !strings.HasSuffix(got.Warnings[0].At, "Caddyfile:10") || got.Warnings[1].Code != "token-expired" {
		t.Errorf("exit status %d, %s", exit(t, failed), out)
	}
}

// TestExplainCommand explains a trigger offline, and then which decisions of the running server
// a stricter rule would change.
func TestExplainCommand(t *testing.T) {
	rule := func(text string) string {
		return "job good {\n token ci secret\n param ENV string staging\n allow `" + text + "`\n run true\n}\n"
	}
	s := newServer(t, rule(`params.ENV != "nowhere"`))
	s.environment = append(s.environment, "BUILD_TOKEN=secret")
	s.start()
	for _, tt := range []struct {
		args []string
		exit int
		want string
	}{
		{[]string{s.file, "good"}, 0, "accepted: 201\n"},
		{[]string{s.file, "good", "ENV=nowhere", "--token", "ci"}, 1, "refused: 403 not allowed, by good allow 1 (" + s.file + ":"},
		{[]string{s.file, "good", "--token", "ci", "--at", "soon"}, 2, ""},
		{[]string{s.file}, 2, ""},
	} {
		out, errs, err := s.command("", append([]string{"build-token", "explain", "--adapter", "caddyfile"}, tt.args...)...)
		if exit(t, err) != tt.exit || !strings.Contains(out, tt.want) {
			t.Errorf("explain %q: exit status %d, want %d\n%s%s", tt.args, exit(t, err), tt.exit, out, errs)
		}
	}
	for range 3 {
		if _, errs, err := s.command("", "build-token", "trigger", "good", "ENV=production", "--url", "http://"+s.site); err != nil {
			t.Fatalf("trigger: %v\n%s", err, errs)
		}
	}
	history := []string{"build-token", "explain", "--adapter", "caddyfile", s.file, "--history", "--address", s.admin}
	if out, errs, err := s.command("", history...); exit(t, err) != 0 || !strings.Contains(out, "0 of 3 decisions would change\n") {
		t.Errorf("the same configuration: exit status %d\n%s%s", exit(t, err), out, errs)
	}
	s.write(rule(`params.ENV == "staging"`))
	if out, errs, err := s.command("", history...); exit(t, err) != 1 || !strings.Contains(out, "good by token ci of good: accepted → refused by good allow 1") || !strings.Contains(out, "3 of 3 decisions would change\n") {
		t.Errorf("a stricter rule: exit status %d\n%s%s", exit(t, err), out, errs)
	}
}
