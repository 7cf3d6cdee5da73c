//go:build unix

package caddymodule_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"
)

// TestModes shows who may do what with the files that the server and the commands make. Builds can run as other users,
// which must be able to reach their workspaces; everything else is only for Caddy, or for the user of the command.
func TestModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	s := newSite(t)
	dir := filepath.Dir(s.path)
	s.path = filepath.Join(dir, "server", "ci.db")
	s.load(s.caddyfile("", jobs(uploading)))
	address := serveAdmin(t)
	if got := run(t, "backup", filepath.Join(dir, "first"), "--address", address); got.Status != 0 { // makes the folder of uploads
		t.Fatalf("backup: %+v", got)
	}
	s.follow("done", "SECRET", s.upload("job=done&token=SECRET", "x"))
	s.upload("job=waits&token=SECRET", "of an item")
	if got := run(t, "backup", filepath.Join(dir, "backup"), "--address", address); got.Status != 0 {
		t.Fatalf("backup: %+v", got)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if got := run(t, "restore", filepath.Join(dir, "backup"), "--to", filepath.Join(dir, "restored", "ci.db")); got.Status != 0 {
		t.Fatalf("restore: %+v", got)
	}
	writeFiles(t, dir, map[string]string{"a.xml": "<project><authToken>Token-of-Jenkins</authToken><builders><hudson.tasks.Shell><command>true\ntrue</command></hudson.tasks.Shell></builders></project>"})
	if got := run(t, "import-jenkins", filepath.Join(dir, "a.xml"), "--tokens", "file", "--out", filepath.Join(dir, "import", "out")); got.Status != 0 {
		t.Fatalf("import: %+v", got)
	}
	random := regexp.MustCompile(`[A-Z2-7]{26}|-[0-9a-f]{16}\b`)
	var got []string
	for _, root := range []string{"server", "backup", "restored", "import"} {
		err := filepath.WalkDir(filepath.Join(dir, root), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			below, _ := filepath.Rel(dir, path)
			got = append(got, fmt.Sprintf("%s %04o", random.ReplaceAllString(below, "?"), info.Mode().Perm()))
			if entry.Name() == "workspaces" { // what is in them belongs to builds
				return fs.SkipDir
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{
		"server 0711",
		"server/ci 0711",
		"server/ci/logs 0700",
		"server/ci/logs/done? 0700",
		"server/ci/logs/done?/1.log 0600",
		"server/ci/logs/done?/1.log.times 0600",
		"server/ci/uploads 0700",
		"server/ci/uploads/? 0600",
		"server/ci/workspaces 0711",
		"server/ci.db 0600",
		"server/ci.db.key 0600",
		"backup 0700",
		"backup/SHA256SUMS 0600",
		"backup/logs 0700",
		"backup/logs/done? 0700",
		"backup/logs/done?/1.log 0600",
		"backup/queue.db 0600",
		"backup/queue.db.key 0600",
		"backup/uploads 0700",
		"backup/uploads/? 0600",
		"restored 0711",
		"restored/ci 0711",
		"restored/ci/logs 0700",
		"restored/ci/logs/done? 0700",
		"restored/ci/logs/done?/1.log 0600",
		"restored/ci/uploads 0700",
		"restored/ci/uploads/? 0600",
		"restored/ci.db 0600",
		"restored/ci.db.key 0600",
		"import 0750",
		"import/out 0750",
		"import/out/Caddyfile 0640",
		"import/out/import-report.json 0640",
		"import/out/import-report.md 0640",
		"import/out/jobs 0750",
		"import/out/jobs/a.sh 0640",
		"import/out/tokens 0750",
		"import/out/tokens/a.token 0600",
	}, got); diff != "" {
		t.Errorf("modes (-want +got):\n%s", diff)
	}
}
