//go:build unix

package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// run runs a program for a test and returns what it prints.
func (s *server) run(dir string, words ...string) string {
	s.t.Helper()
	c := exec.CommandContext(s.t.Context(), words[0], words[1:]...)
	c.Dir = dir
	c.Env = append(os.Environ(), "HOME="+s.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	out, err := c.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%q: %v\n%s", words, err, out)
	}
	return string(out)
}

// repository makes a Git repository with the branches main and other, and returns its URL.
func (s *server) repository() (dir, url string) {
	s.t.Helper()
	dir = filepath.Join(s.dir, "repository")
	s.run(s.dir, "git", "init", "-q", "-b", "main", dir)
	for _, branch := range []string{"main", "other"} {
		if branch != "main" {
			s.run(dir, "git", "checkout", "-q", "-b", branch)
		}
		s.commit(dir, branch)
	}
	s.run(dir, "git", "checkout", "-q", "main")
	return dir, "file://" + dir
}

func (s *server) commit(dir, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "README"), []byte("this is "+text+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.run(dir, "git", "add", "README")
	s.run(dir, "git", "commit", "-q", "-m", "commit "+text)
}

// writeHome writes a JENKINS_HOME.
func writeHome(t *testing.T, home string, jobs []jenkinsJob) {
	t.Helper()
	files := map[string]string{"config.xml": "<hudson><numExecutors>4</numExecutors><label>linux</label><globalNodeProperties><hudson.slaves.EnvironmentVariablesNodeProperty><envVars serialization=\"custom\">" +
		"<unserializable-parents/><tree-map><default/><int>1</int><string>TEAM</string><string>blue sky</string></tree-map></envVars></hudson.slaves.EnvironmentVariablesNodeProperty></globalNodeProperties></hudson>"}
	for _, j := range jobs {
		place := "jobs/" + strings.ReplaceAll(j.name, "/", "/jobs/")
		for up := path.Dir(path.Dir(place)); up != "."; up = path.Dir(path.Dir(up)) {
			files[up+"/config.xml"] = "<com.cloudbees.hudson.plugins.folder.Folder><actions/></com.cloudbees.hudson.plugins.folder.Folder>"
		}
		files[place+"/config.xml"] = j.config()
		files[place+"/nextBuildNumber"] = "8\n"
	}
	for name, text := range files {
		file := filepath.Join(home, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// importReport is import-report.json.
type importReport struct {
	Counts map[string]int `json:"counts"`
	Jobs   []struct {
		Job     string `json:"job"`
		Status  string `json:"status"`
		Reasons []struct {
			Element string `json:"element"`
			Text    string `json:"text"`
		} `json:"reasons"`
		Notes []struct {
			Text string `json:"text"`
		} `json:"notes"`
	} `json:"jobs"`
}

// importHome imports a Jenkins into a directory, and uses its Caddyfile for the server.
func (s *server) importHome(home string, args ...string) (out string, report importReport) {
	s.t.Helper()
	out = filepath.Join(s.dir, "imported")
	if stdout, stderr, err := s.command("", append([]string{"build-token", "import-jenkins", home, "--out", out}, args...)...); err != nil {
		s.t.Fatalf("import-jenkins: %v\n%s%s", err, stdout, stderr)
	}
	text, err := os.ReadFile(filepath.Join(out, "import-report.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal(text, &report); err != nil {
		s.t.Fatal(err)
	}
	s.serveImported(out)
	return out, report
}

// serveImported uses an imported Caddyfile for the server, with other addresses and with access
// for the test.
func (s *server) serveImported(out string) {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(out, "Caddyfile"))
	if err != nil {
		s.t.Fatal(err)
	}
	config := strings.Replace(string(text), "{\n\tbuild_token", "{\n\tadmin "+s.admin+"\n\tauto_https off\n\tbuild_token", 1)
	config = strings.Replace(config, ":8080 {\n\tbuild_token {\n", "http://"+s.site+" {\n\trespond /ready ready\n\tbuild_token {\n\t\tquiet_period 0s\n\t\taccess {\n\t\t\tread `true`\n\t\t\tbuild `true`\n\t\t}\n", 1)
	if err := os.WriteFile(s.file, []byte(config), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// build builds a job, waits for the end, and returns the result and the console.
func (s *server) build(full string, params map[string]string) (result, console string) {
	s.t.Helper()
	at := "/job/" + strings.ReplaceAll(strings.ReplaceAll(url.PathEscape(full), "%2F", "/"), "/", "/job/")
	action, form := "/build", url.Values{}
	for name, value := range params {
		action = "/buildWithParameters"
		form.Set(name, value)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://"+s.site+at+action, strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusCreated {
		s.t.Fatalf("job %s: %s %s", full, resp.Status, body)
	}
	s.eventually("job "+full+" has ended", func() bool {
		_, _, body := s.get(at + "/lastBuild/api/json")
		var b struct{ Result string }
		_ = json.Unmarshal([]byte(body), &b) // there may be no build yet
		result = b.Result
		return result != ""
	})
	_, _, console = s.get(at + "/lastBuild/consoleText")
	return result, console
}

// original runs the scripts of a job as Jenkins does, in an empty directory or a clone of the
// repository, and returns their output and result.
func (j jenkinsJob) original(t *testing.T, s *server, repository string) (result, output string) {
	t.Helper()
	dir := t.TempDir()
	base := path.Base(j.name)
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "WORKSPACE=" + dir, "JOB_NAME=" + j.name, "JOB_BASE_NAME=" + base, "TEAM=blue sky", "CI=true", "BUILD_NUMBER=1", "BUILD_ID=1", "BUILD_DISPLAY_NAME=#1"}
	for _, variables := range []map[string]string{j.wanted, j.given} {
		for name, value := range variables {
			env = append(env, name+"="+value)
		}
	}
	if branch, ok := j.wanted["GIT_BRANCH"]; ok {
		s.run(dir, "git", "clone", "-q", "-b", path.Base(branch), repository, ".")
		env = append(env, "GIT_COMMIT="+strings.TrimSpace(s.run(dir, "git", "rev-parse", "HEAD")))
	}
	result = "SUCCESS"
	var out bytes.Buffer
	for i, script := range j.scripts {
		file := filepath.Join(t.TempDir(), fmt.Sprintf("jenkins%d.sh", i+1))
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		words := []string{"sh", "-xe", file}
		if line, ok := strings.CutPrefix(script, "#!"); ok {
			line, _, _ = strings.Cut(line, "\n")
			words = append(strings.Fields(line), file)
		}
		c := exec.CommandContext(t.Context(), words[0], words[1:]...)
		c.Dir, c.Env, c.Stdout, c.Stderr = dir, env, &out, &out
		err := c.Run()
		output = strings.ReplaceAll(out.String(), file, "SCRIPT")
		out.Reset()
		out.WriteString(output)
		if ended, ok := errors.AsType[*exec.ExitError](err); ok {
			if i == 0 && j.unstable != "" && j.unstable == fmt.Sprint(ended.ExitCode()) {
				result = "UNSTABLE"
				continue
			}
			return "FAILURE", output
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return result, output
}

// TestImportedJobsBuildTheSame imports a Jenkins with jobs of every kind, builds each imported
// job, and compares the result and the console with those of the original scripts.
func TestImportedJobsBuildTheSame(t *testing.T) {
	s := newServer(t, "")
	dir, repository := s.repository()
	jobs := jenkinsJobs(repository)
	home := filepath.Join(s.dir, "jenkins")
	writeHome(t, home, jobs)
	out, report := s.importHome(home)
	if len(jobs) < 60 || len(report.Jobs) != len(jobs) {
		t.Errorf("the report has %d jobs, want %d, which must be 60 or more", len(report.Jobs), len(jobs))
	}
	for _, entry := range report.Jobs {
		at := slices.IndexFunc(jobs, func(j jenkinsJob) bool { return j.name == entry.Job })
		switch {
		case at < 0:
			t.Errorf("the report has a job %q", entry.Job)
		case entry.Status != jobs[at].status:
			t.Errorf("job %s: %s, want %s: %v %v", entry.Job, entry.Status, jobs[at].status, entry.Reasons, entry.Notes)
		case (entry.Status == leftOut) != (len(entry.Reasons) > 0), (entry.Status == noted) != (len(entry.Notes) > 0):
			t.Errorf("job %s: %s with the reasons %v and the notes %v", entry.Job, entry.Status, entry.Reasons, entry.Notes)
		}
	}
	s.start()
	for _, j := range jobs {
		if j.status == leftOut || j.name == "disabled" || j.name == "elsewhere" {
			continue
		}
		t.Run(strings.ReplaceAll(j.name, "/", "_"), func(t *testing.T) {
			result, console := s.build(j.name, j.given)
			wantResult, want := j.original(t, s, repository)
			if j.result != "" && j.result != wantResult {
				t.Errorf("the original ends as %s, want %s", wantResult, j.result)
			}
			if got := outputOf(console, out); result != wantResult || got != want {
				t.Errorf("got %s:\n%s\nwant %s:\n%s\nconsole:\n%s", result, got, wantResult, want, console)
			}
		})
	}
	t.Run("polls", func(t *testing.T) { s.pollImported(dir) })
}

// outputOf returns what the scripts of a build have printed: the console without the lines of
// the server, and without the paths of the scripts, which shells print.
func outputOf(console, out string) string {
	_, console, _ = strings.Cut(console, "\n") // Started by …
	console = console[:strings.LastIndex(console, "Finished: ")]
	console = endedWith.ReplaceAllString(console, "")
	var b strings.Builder
	for {
		before, after, found := strings.Cut(console, out+"/jobs/")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		_, console, _ = strings.Cut(after, ".sh")
		b.WriteString("SCRIPT")
	}
}

// endedWith matches the server's line about a program that failed.
var endedWith = regexp.MustCompile(`(?m)^exit status \d+\n\z`)

// pollImported polls the job that was built before: it is built again only after a commit.
func (s *server) pollImported(repository string) {
	s.t.Helper()
	number := func() int {
		_, _, body := s.get("/job/polled/api/json")
		var j struct{ NextBuildNumber int }
		if err := json.Unmarshal([]byte(body), &j); err != nil {
			s.t.Fatal(err)
		}
		return j.NextBuildNumber
	}
	poll := func() {
		if status := s.post("/buildByToken/polling?job=polled&token=TacoTuesday"); status != http.StatusOK {
			s.t.Errorf("polling: %d, want 200", status)
		}
	}
	before := number()
	s.commit(repository, "new")
	poll()
	s.eventually("the poll has found the commit", func() bool { return number() == before+1 })
	s.eventually("the build has ended", func() bool {
		_, _, console := s.get(fmt.Sprintf("/job/polled/%d/consoleText", before))
		return strings.Contains(console, "this is new\n") && strings.HasSuffix(console, "Finished: SUCCESS\n")
	})
}
