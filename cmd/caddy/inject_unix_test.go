//go:build unix

package main_test

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// built triggers a build and returns its log.
func (s *server) built(job string, form url.Values) string {
	s.t.Helper()
	resp, err := http.PostForm("http://"+s.site+"/buildByToken/buildWithParameters?token=secret&job="+job, form)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusCreated {
		s.t.Fatalf("trigger: got %s %q, %v", resp.Status, text, err)
	}
	_, _, log := s.get("/buildByToken/log?job=" + job + "&token=secret&item=" + filepath.Base(strings.TrimSuffix(resp.Header.Get("Location"), "/")))
	return log
}

// obeyed are variables that control loaders, shells and our own builds.
func obeyed() []string {
	return []string{
		"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "BASH_ENV", "ENV", "BASH_FUNC_echo%%", "BASH_FUNC_echo()", "SHELLOPTS", "BASHOPTS", "PS4", "IFS",
		"PATH", "HOME", "USER", "SHELL", "CDPATH", "PYTHONPATH", "PYTHONSTARTUP", "PERL5OPT", "RUBYOPT", "NODE_OPTIONS", "JAVA_TOOL_OPTIONS", "GIT_SSH_COMMAND", "GIT_CONFIG_COUNT",
		"JOB_NAME", "BUILD_NUMBER", "BUILD_ID", "WORKSPACE", "QUEUE_ID", "CI", "EXECUTOR_NUMBER", "NODE_NAME", "A=B", "A\nB", "a", "",
	}
}

// TestParametersDoNotBecomeOtherVariables sends parameters that a job does not have, with the
// names of variables that programs obey, in the query and in the body.
func TestParametersDoNotBecomeOtherVariables(t *testing.T) {
	s := newServer(t, "job x {\n quiet_period 0\n coalesce never\n token secret {\n grant trigger log status\n }\n param A string\n run env\n}\n")
	s.start()
	// These variables of the build's own differ from build to build.
	names := func(log string) (names []string) {
		for line := range strings.Lines(log) {
			if name, _, ok := strings.Cut(line, "="); ok {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	want := names(s.built("x", url.Values{"A": {"1"}}))
	form, query := url.Values{"A": {"1"}}, url.Values{}
	for _, name := range obeyed() {
		form.Set(name, "injected-"+name)
		query.Set(name, "injected-"+name)
	}
	for how, log := range map[string]string{"body": s.built("x", form), "query": s.built("x&"+query.Encode(), url.Values{"A": {"1"}})} {
		if strings.Contains(log, "injected") {
			t.Errorf("from the %s, something reached the build: %s", how, log)
		}
		if got := names(log); !slices.Equal(got, want) {
			t.Errorf("from the %s: the build has variables %v, want %v", how, got, want)
		}
	}
}

// TestParametersOfSuchNamesAreRefused verifies that a configuration cannot define such
// parameters.
func TestParametersOfSuchNamesAreRefused(t *testing.T) {
	s := newServer(t, "")
	for _, name := range obeyed() {
		if name == "a" || name == "ENV" || name == "" || name == "A\nB" { // ordinary names, or names that a Caddyfile cannot contain
			continue
		}
		s.write("job x {\n token secret\n param `" + name + "` string\n run true\n}\n")
		if out, errs, err := s.command("", "validate", "--config", s.file, "--adapter", "caddyfile"); err == nil || !strings.Contains(errs, "param") {
			t.Errorf("param %s: got %v, %s%s", name, err, out, errs)
		}
	}
}

// TestValuesAreNoCode sends values that would be executed by a shell, or by bash when it
// imports functions from variables.
func TestValuesAreNoCode(t *testing.T) {
	s := newServer(t, `job x {
	quiet_period 0
	coalesce never
	token secret {
		grant trigger log status
	}
	param A string
	run sh -c `+"`"+`printf '%s\n' "$A" "$1"; bash -c 'echo through bash' 2>&1 || true`+"`"+` sh {param.A}
}
`)
	s.start()
	marker := filepath.Join(t.TempDir(), "marker")
	for _, value := range []string{
		"() { :; }; touch " + marker, "$(touch " + marker + ")", "`touch " + marker + "`", "; touch " + marker, "| touch " + marker, "&& touch " + marker, "' ; touch " + marker + " ; '",
		"\" ; touch " + marker + " ; \"", "\ntouch " + marker + "\n", "${IFS}touch${IFS}" + marker, "-c touch " + marker, "--help", "{param.A}", "{env.HOME}", "{file." + s.file + "}", "%s%n", "\\",
	} {
		log := s.built("x", url.Values{"A": {value}})
		if want := value + "\n" + value + "\n"; !strings.Contains(log, want) {
			t.Errorf("value %q: got %q, want it twice as it is", value, log)
		}
		if _, err := os.Stat(marker); err == nil {
			t.Fatalf("value %q was run", value)
		}
	}
}

// TestWorkspaceFullOfLinks leaves links in the workspace where the next build's file and its
// other paths are. No file outside may be written or read through them.
func TestWorkspaceFullOfLinks(t *testing.T) {
	outside := t.TempDir()
	precious := filepath.Join(outside, "precious")
	if err := os.WriteFile(precious, []byte("as it was"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, fmt.Sprintf(`job x {
	quiet_period 0
	coalesce never
	token secret {
		grant trigger log status
	}
	param PATCH file
	run sh -c `+"`"+`cat PATCH; ls -l PATCH; rm -f PATCH; ln -s %[1]s PATCH; for n in 1 2 3 4 5; do ln -sf %[1]s ".PATCH.$n"; done; ln -sfn %[2]s dir`+"`"+`
}
`, precious, outside))
	s.start()
	for n := range 3 {
		var body bytes.Buffer
		w := multipart.NewWriter(&body)
		// The client's name of the file is not used as a path.
		part, err := w.CreateFormFile("PATCH", "../../../../"+precious)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(part, "content %d\n", n); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		resp, err := http.Post("http://"+s.site+"/buildByToken/buildWithParameters?job=x&token=secret", w.FormDataContentType(), &body)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			t.Fatalf("trigger: got %s", resp.Status)
		}
		_, _, log := s.get(fmt.Sprintf("/buildByToken/log?job=x&token=secret&item=%d", n+1))
		if !strings.Contains(log, fmt.Sprintf("content %d\n-rw-------", n)) || !strings.HasSuffix(log, "Finished: SUCCESS\n") {
			t.Errorf("build %d: got %q, want its file, which is not a link", n+1, log)
		}
	}
	if text, err := os.ReadFile(precious); err != nil || string(text) != "as it was" {
		t.Errorf("the file outside: %q, %v", text, err)
	}
}
