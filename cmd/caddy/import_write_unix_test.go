//go:build unix

package main_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestImportKeepsOtherFiles imports into directories that have files already.
func TestImportKeepsOtherFiles(t *testing.T) {
	s := newServer(t, "")
	home, out := filepath.Join(s.dir, "jenkins"), filepath.Join(s.dir, "imported")
	writeHome(t, home, []jenkinsJob{
		{name: "a", scripts: one("echo a"), xml: "<authToken>{AQAAABAAAAAgAAECAwQFBgcICQoLDA0OD5uS7j+xQcQU0B1s8XTvIOe7TF8ZinhsFk36xJWmcB6H}</authToken>\n"},
		{name: "b", scripts: one("echo b")},
	})
	run := func(args ...string) (stdout, stderr string, status int) {
		t.Helper()
		stdout, stderr, err := s.command("", append([]string{"build-token", "import-jenkins", home, "--out", out}, args...)...)
		return stdout, stderr, exit(t, err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(out, "jobs"), 0o750))
	mine := filepath.Join(out, "jobs", "b.sh")
	must(os.WriteFile(mine, []byte("mine"), 0o600))
	if _, stderr, status := run(); status != 1 || !strings.Contains(stderr, mine+" exists already") {
		t.Errorf("got %d %s, want 1 and the name of the file", status, stderr)
	}
	if entries, err := os.ReadDir(out); err != nil || len(entries) != 1 {
		t.Errorf("the directory has %v, %v, want only jobs", entries, err)
	}
	// A link must be replaced and not followed.
	target := filepath.Join(s.dir, "target")
	must(os.WriteFile(target, []byte("target"), 0o600))
	must(os.Symlink(target, filepath.Join(out, "Caddyfile")))
	stdout, stderr, status := run("--overwrite")
	if status != 0 || !strings.Contains(stdout, "2 jobs: 1 imported, 1 imported with notes, 0 left out") {
		t.Errorf("got %d %s%s, want 0", status, stdout, stderr)
	}
	if text, err := os.ReadFile(target); err != nil || string(text) != "target" {
		t.Errorf("the target of the link is %q, %v", text, err)
	}
	for name, want := range map[string]fs.FileMode{"Caddyfile": 0o640, "jobs/a.sh": 0o640, "jobs/b.sh": 0o640, "import-report.md": 0o640, "import-report.json": 0o640, "new-tokens.txt": 0o600} {
		info, err := os.Lstat(filepath.Join(out, name))
		must(err)
		if got := info.Mode(); got != want {
			t.Errorf("%s has the mode %v, want %v", name, got, want)
		}
	}
	tokens, err := os.ReadFile(filepath.Join(out, "new-tokens.txt"))
	must(err)
	job, secret, _ := strings.Cut(strings.TrimSpace(string(tokens)), "\t")
	if job != "a" || len(secret) != 64 || strings.Contains(stdout+stderr, secret) {
		t.Errorf("new-tokens.txt is %q, and the output %q", tokens, stdout)
	}
	for _, name := range []string{"Caddyfile", "import-report.md", "import-report.json"} {
		if text, err := os.ReadFile(filepath.Join(out, name)); err != nil || strings.Contains(string(text), secret) || strings.Contains(string(text), "AQAAABAAAA") {
			t.Errorf("%s has the secret or the encrypted token, or cannot be read: %v", name, err)
		}
	}
	// The new token opens the job.
	s.serveImported(out)
	s.start()
	if status, _, body := s.get("/buildByToken/build?job=a&token=" + secret); status != 201 {
		t.Errorf("trigger with the new token: %d %s", status, body)
	}
	// A directory in the way of a file.
	must(os.RemoveAll(out))
	must(os.WriteFile(out, nil, 0o600))
	if _, stderr, status := run(); status != 1 || !strings.Contains(stderr, "not a directory") {
		t.Errorf("into a file: got %d %s, want 1", status, stderr)
	}
}
