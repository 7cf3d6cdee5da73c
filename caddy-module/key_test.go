package caddymodule_test

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func (s *site) stop() {
	s.t.Helper()
	if err := caddy.Stop(); err != nil {
		s.t.Fatal(err)
	}
}

func TestKeyIsMadeOnceAndKept(t *testing.T) {
	s := newSite(t)
	text := s.caddyfile("", jobs(named("secret")))
	s.load(text)
	key, err := os.ReadFile(s.path + ".key")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^[0-9a-f]{64}\n$`).Match(key) {
		t.Errorf("key: got %q, want 64 hexadecimal digits", key)
	}
	info, err := os.Stat(s.path + ".key")
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode: got %04o, want 0600", info.Mode().Perm())
	}
	s.stop()
	s.load(text)
	if again, err := os.ReadFile(s.path + ".key"); err != nil || string(again) != string(key) {
		t.Errorf("after a restart: got %q, %v, want the same key", again, err)
	}
	if others, err := filepath.Glob(s.path + ".key?*"); err != nil || len(others) != 0 {
		t.Errorf("beside the key: got %v, %v", others, err)
	}
}

func TestKeyThatCannotBeUsed(t *testing.T) {
	digits := strings.Repeat("c0ffee00", 8)
	for _, tt := range []struct {
		name, text string
		mode       os.FileMode
		want       string
	}{
		{"too short", digits[:62], 0o600, "62 characters, want 64"},
		{"too long", digits + "00", 0o600, "66 characters, want 64"},
		{"empty", "", 0o600, "0 characters"},
		{"not hexadecimal", "x" + digits[1:], 0o600, "something else than hexadecimal digits"},
		{"readable for the group", digits, 0o640, ""},
		{"as fsGroup of Kubernetes leaves it", digits, 0o660, ""},
		{"read-only, for the group too", digits, 0o440, ""},
		{"readable for all", digits, 0o604, "chmod 600"},
		{"readable for the group and all", digits, 0o644, "chmod 600"},
		{"writable for all", digits, 0o602, "chmod 600"},
		{"executable for all", digits, 0o601, "chmod 600"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if runtime.GOOS == "windows" && tt.mode != 0o600 {
				tt.mode, tt.want = 0o600, "" // the system has no such modes
			}
			s := newSite(t)
			if err := os.WriteFile(s.path+".key", []byte(tt.text), tt.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(s.path+".key", tt.mode); err != nil { // independent of the umask
				t.Fatal(err)
			}
			text := s.caddyfile("", jobs(named("secret")))
			if err := s.try(text); (err == nil) != (tt.want == "") {
				t.Errorf("load: got %v", err)
			} else if err != nil {
				for _, want := range []string{tt.want, s.path + ".key"} {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("load: got %q, want %q in it", err, want)
					}
				}
				if strings.Contains(err.Error(), "c0ffee") {
					t.Errorf("load: got %q, which shows the key", err)
				}
			}
			// The failed load must have released the queue.
			if err := os.Chmod(s.path+".key", 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.path+".key", []byte(digits+"\r\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			s.load(text)
			s.trigger("echo", "secret")
		})
	}
}

func TestFolderInPlaceOfTheKey(t *testing.T) {
	s := newSite(t)
	if err := os.Mkdir(s.path+".key", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.try(s.caddyfile("", jobs(named("secret")))); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("load: got %v", err)
	}
}

// TestLostQueue expects a warning: the URL of build 1 now leads to a different build.
func TestLostQueue(t *testing.T) {
	s := newSite(t)
	text := s.caddyfile("", jobs(named("secret")))
	s.load(text)
	s.mustNotLog("new queue")
	s.stop()
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	s.load(text)
	if !s.warned("new queue beside the key") {
		t.Error("no warning about the new queue")
	}
}

// warned reports whether there was a warning with this text.
func (s *site) warned(text string) bool {
	s.t.Helper()
	return slices.ContainsFunc(s.logged("build_token"), func(line map[string]any) bool {
		message, _ := line["msg"].(string)
		return line["level"] == "warn" && strings.Contains(message, text)
	})
}

// TestLostKey expects a warning, and that builds end if their passwords cannot be opened.
func TestLostKey(t *testing.T) {
	s := newSite(t)
	job := "job x {\n quiet_period %s\n token secret {\n grant trigger log status\n }\n param PASS password\n run true\n}"
	s.load(s.caddyfile("executors 1", jobs(strings.Replace(job, "%s", "3s", 1))))
	a := s.get("/buildByToken/buildWithParameters?job=x&PASS=hush&token=secret")
	if a.status != 201 {
		t.Fatalf("trigger: got %d %q", a.status, a.body)
	}
	s.stop()
	if err := os.Remove(s.path + ".key"); err != nil {
		t.Fatal(err)
	}
	s.load(s.caddyfile("executors 1", jobs(strings.Replace(job, "%s", "3s", 1))))
	if !s.warned("new key") {
		t.Error("no warning about the new key")
	}
	if log := s.follow("x", "secret", "1"); !strings.Contains(log, "Finished: NOT_BUILT") {
		t.Errorf("log: got %q", log)
	}
	s.mustNotLog("hush")
}
