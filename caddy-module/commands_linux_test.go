package caddymodule_test

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

// TestRestoreNoticesFilesThatCannotBeRead restores a backup with a log that fails at the first
// read, as on a damaged disk: the memory of a process has nothing at address 0.
func TestRestoreNoticesFilesThatCannotBeRead(t *testing.T) {
	dir := newBackup(t, map[string]string{"logs/a/1.log": "hello\n"})
	log := filepath.Join(dir, "logs/a/1.log")
	if err := errors.Join(os.Remove(log), os.Symlink("/proc/self/mem", log)); err != nil {
		t.Fatal(err)
	}
	err := caddymodule.Restore(dir, filepath.Join(t.TempDir(), "queue.db"))
	if err == nil || !strings.Contains(err.Error(), "not a complete backup: read "+log) {
		t.Errorf("restore: %v, want the log that cannot be read", err)
	}
}

// TestImportThatDoesNotFit imports where files cannot grow, as on a full disk. Half an import would be in the way of
// the next one. The limit holds for a whole process, so the command runs in another one.
func TestImportThatDoesNotFit(t *testing.T) {
	const variable = "BUILDTOKEN_TEST_LIMITED"
	if os.Getenv(variable) == "" {
		again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestImportThatDoesNotFit$", "-test.v",
			"-test.gocoverdir="+flag.Lookup("test.gocoverdir").Value.String()) // what it reaches counts too
		again.Env = append(os.Environ(), variable+"=1")
		if out, err := again.CombinedOutput(); err != nil || strings.Count(string(out), "    --- PASS") != 2 {
			t.Errorf("%v, want two cases that pass\n%s", err, out)
		}
		return
	}
	dir := home(t)
	writeFiles(t, dir, map[string]string{
		"home/jobs/a/config.xml": "<project><builders><hudson.tasks.Shell><command>true\ntrue</command></hudson.tasks.Shell></builders></project>",
	})
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, flag string
		left       int // the script, which fits
	}{{"what is new is removed", "", 0}, {"what is replaced stays", " --overwrite", 1}} {
		t.Run(tt.name, func(t *testing.T) {
			if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 150, Max: before.Max}); err != nil {
				t.Fatal(err)
			}
			got := run(t, strings.Fields("import-jenkins "+dir+"/home --out "+dir+"/out"+tt.flag)...)
			if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
				t.Fatal(err)
			}
			if got.Status != 1 || !strings.HasSuffix(got.Err, ": file too large") {
				t.Errorf("import: %+v, want the file that is too large", got)
			}
			if files := filesOf(t, filepath.Join(dir, "out")); len(files) != tt.left {
				t.Errorf("left behind: %q, want %d files", files, tt.left)
			}
		})
	}
}

// TestImportWithoutAWorkingDirectory runs the command in a directory that was removed, from which no relative path
// leads anywhere.
func TestImportWithoutAWorkingDirectory(t *testing.T) {
	dir := home(t)
	for args, want := range map[string]string{
		"import-jenkins home":                       "--out: getwd: no such file or directory",
		"import-jenkins home --out " + dir + "/out": "read home: getwd: no such file or directory",
	} {
		t.Run(args, func(t *testing.T) {
			gone := filepath.Join(dir, "gone")
			if err := os.Mkdir(gone, 0o700); err != nil {
				t.Fatal(err)
			}
			t.Chdir(gone)
			if err := os.Remove(gone); err != nil {
				t.Fatal(err)
			}
			if got := run(t, strings.Fields(args)...); got != (ran{1, "", want}) {
				t.Errorf("%+v, want %q", got, want)
			}
		})
	}
}
