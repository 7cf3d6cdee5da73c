//go:build unix

package main_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestPruneCommand renames a job, and removes what is left of the old name.
func TestPruneCommand(t *testing.T) {
	job := func(name string) string {
		return "job " + name + " {\n quiet_period 0\n token secret {\n grant trigger status log\n }\n run sh -c `echo hello >file`\n}\n"
	}
	s := newServer(t, job("before")+job("stays"))
	s.start()
	for item, name := range []string{"before", "stays"} {
		s.get("/buildByToken/build?token=secret&job=" + name)
		if _, _, log := s.get(fmt.Sprintf("/buildByToken/log?token=secret&job=%s&item=%d", name, item+1)); !strings.HasSuffix(log, "Finished: SUCCESS\n") {
			t.Fatalf("log of %s: %q", name, log)
		}
	}
	s.write(job("after") + job("stays"))
	if out, errs, err := s.command("", "reload", "--config", s.file, "--adapter", "caddyfile", "--address", s.admin); err != nil {
		t.Fatalf("reload: %v\n%s%s", err, out, errs)
	}
	prune := func(want string, flags ...string) {
		t.Helper()
		out, errs, err := s.command("", append([]string{"build-token", "prune", "--address", s.admin}, flags...)...)
		if err != nil || !strings.Contains(out, want) || strings.Contains(out, "stays") {
			t.Errorf("prune %v: %v\n%s%s\nwant %q", flags, err, out, errs, want)
		}
	}
	files := func(want int) {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(s.dir, "data", "caddy", "build_token", "[lw]o*s", "*"))
		if err != nil || len(found) != want {
			t.Errorf("directories: %v, %v; want %d", found, err, want)
		}
	}
	prune("found: 1 job, 3 files, ", "--dry-run")
	prune(`"job":"before"`, "--dry-run", "--json")
	files(4)
	prune("removed: 1 job, 3 files, ")
	files(2)
	prune("nothing is left of removed jobs")
}
