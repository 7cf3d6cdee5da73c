package caddymodule_test

import (
	"net/http"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/internal/filetest"
)

// No request of the admin API, and no backup, leaves a file open. Without the garbage collector, none is closed by chance.
func TestAdminClosesFiles(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("", jobs(named("SECRET"))))
	s.follow("echo", "SECRET", s.trigger("echo", "SECRET"))
	data := strings.TrimSuffix(s.path, ".db")
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for _, request := range []string{"GET console?job=echo", "GET console?job=echo&number=1", "POST backup", "POST backup?key=no"} {
		if code, text := adminAnswer(t, request); code != http.StatusOK {
			t.Errorf("%s: %d %s", request, code, text)
		}
		for _, path := range []string{filepath.Join(data, "logs"), filepath.Join(data, "uploads"), s.path + ".key"} {
			if open := filetest.Open(t, path); len(open) > 0 {
				t.Errorf("after %s, %s is open", request, open)
			}
		}
	}
	backup := filepath.Join(filepath.Dir(s.path), "backup")
	if got := run(t, "backup", backup, "--address", serveAdmin(t)); got.Status != 0 {
		t.Errorf("backup: %+v", got)
	}
	if open := filetest.Open(t, backup); len(open) > 0 {
		t.Errorf("after a backup, %s is open", open)
	}
}

// No command leaves a file open that it has read.
func TestCommandsCloseFiles(t *testing.T) {
	dir := home(t)
	files := filesOf(t, newBackup(t, map[string]string{"logs/a/1.log": "hello\n"}))
	files["Caddyfile"] = explained
	files["delivery"] = "POST / HTTP/1.1\r\nHost: x\r\n\r\n"
	files["good"] = "rule a allow 1\n    true\n\n> \nallowed\n"
	files["home/jobs/a/config.xml"] = "<project/>"
	files["token"] = "secret"
	writeFiles(t, dir, files)
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for _, args := range []string{
		"restore {dir}/b --to {dir}/q/queue.db", "restore {dir}/b --to {dir}/q/queue.db", "policy-test {dir}/good {dir}/Caddyfile",
		"explain {dir}/Caddyfile site/deploy --webhook {dir}/delivery", "explain {dir}/Caddyfile site/deploy ENV=staging", "check {dir}/Caddyfile",
		"import-jenkins {dir}/home --out {dir}/out", "import-jenkins {dir}/home --out {dir}/out --overwrite",
		"trigger a F=@{dir}/good --url http://127.0.0.1:x --token-file {dir}/token",
	} {
		_ = run(t, strings.Fields(strings.ReplaceAll(args, "{dir}", dir))...) // other tests check what it does
		if open := filetest.Open(t, dir); len(open) > 0 {
			t.Errorf("after %s, %s is open", args, open)
		}
	}
}
