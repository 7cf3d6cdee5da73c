//go:build unix

package caddymodule_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// The tests of the original plugin, Jenkins' Build Token Root (BuildRootActionTest), under
// their names and as black boxes: a Caddyfile, a Caddy, HTTP. The original runs the same build
// with another kind of job, a workflow. Here there is one kind, so a concurrent job takes its
// place. The original states that it does not test polling; that has a test here too.

// originalJobs is a site where only callers with the header of a reader can read.
const originalJobs = `
	build_token {
		access {
			read ` + "`request.headers[\"x-reader\"] == \"yes\"`" + `
		}
		token secret {
			grant trigger status log
		}
		JOBS
	}
`

// triggerSite is a Caddy that receives triggers.
type triggerSite struct {
	t    *testing.T
	root string
}

func newTriggerSite(t *testing.T, jobs string) triggerSite {
	t.Helper()
	return triggerSite{t, "http://" + serveSite(t, strings.Replace(originalJobs, "JOBS", jobs, 1)) + "/"}
}

// get sends a request without following redirects, and returns status, Location and body.
func (s triggerSite) get(path string) (status int, location, body string) {
	s.t.Helper()
	return s.do(http.MethodGet, path, "", "")
}

func (s triggerSite) do(method, path, contentType, sent string) (status int, location, body string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.root+path, strings.NewReader(sent))
	if err != nil {
		s.t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if strings.HasSuffix(path, "/api/json") {
		r.Header.Set("X-Reader", "yes")
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.StatusCode, answer.Header.Get("Location"), string(got)
}

// created expects 201 with the URL of an item, and follows the build to its end.
func (s triggerSite) created(job, method, path, contentType, sent string) (log string) {
	s.t.Helper()
	status, location, body := s.do(method, path, contentType, sent)
	if status != http.StatusCreated || !strings.Contains(location, "/queue/item/") {
		s.t.Fatalf("%s %s = %d, Location %q, %q; want 201 and an item", method, path, status, location, body)
	}
	return s.follow(job, location)
}

// follow waits for the end of an item's build and returns its log.
func (s triggerSite) follow(job, location string) string {
	s.t.Helper()
	item := filepath.Base(strings.TrimSuffix(location, "/"))
	status, _, log := s.get("buildByToken/log?token=secret&job=" + url.QueryEscape(job) + "&item=" + item)
	if status != http.StatusOK {
		s.t.Fatalf("log of item %s = %d, %q", item, status, log)
	}
	return log
}

// builds returns the numbers of a job's builds, highest first.
func (s triggerSite) builds(job string) []int {
	s.t.Helper()
	_, _, body := s.get("job/" + strings.ReplaceAll(job, "/", "/job/") + "/api/json")
	var seen struct{ Builds []struct{ Number int } }
	if err := json.Unmarshal([]byte(body), &seen); err != nil {
		s.t.Fatalf("job %s: %v in %q", job, err, body)
	}
	numbers := make([]int, 0, len(seen.Builds))
	for _, b := range seen.Builds {
		numbers = append(numbers, b.Number)
	}
	return numbers
}

func (s triggerSite) wantBuilds(job string, want ...int) {
	s.t.Helper()
	if got := s.builds(job); !slices.Equal(got, want) {
		s.t.Fatalf("builds of %s = %v, want %v", job, got, want)
	}
}

func (s triggerSite) build(job string) {
	s.t.Helper()
	path := "job/" + strings.ReplaceAll(job, "/", "/job/") + "/"
	// Here a token also opens the job's own URL; in Jenkins, only accounts that can read the
	// job can use it.
	for query, want := range map[string]int{"": http.StatusMethodNotAllowed, "?token=socket": http.StatusForbidden} {
		if status, _, _ := s.get(path + "build" + query); status != want {
			s.t.Errorf("GET %sbuild%s without an account = %d, want %d", path, query, status, want)
		}
	}
	s.wantBuilds(job)
	right := "buildByToken/build?job=" + job + "&token=secret&delay=0sec"
	s.created(job, http.MethodGet, right, "", "")
	s.wantBuilds(job, 1)
	s.created(job, http.MethodGet, right, "", "")
	s.wantBuilds(job, 2, 1)
	if status, _, _ := s.get("buildByToken/build?job=" + job + "&token=socket&delay=0sec"); status != http.StatusForbidden {
		s.t.Errorf("trigger with a wrong token = %d, want 403", status)
	}
	s.wantBuilds(job, 2, 1)
}

func TestOriginalBuild(t *testing.T) {
	newTriggerSite(t, `job p {
		run true
	}`).build("p")
}

func TestOriginalBuildWorkflow(t *testing.T) {
	newTriggerSite(t, `job p {
		concurrent
		run true
	}`).build("p")
}

func TestOriginalFolders(t *testing.T) {
	newTriggerSite(t, `folder dir {
		job prj {
			run true
		}
	}`).build("dir/prj")
}

func TestOriginalResponseStatus(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "hang")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newTriggerSite(t, `job p {
		quiet_period 0s
		run cat `+pipe+`
	}`)
	trigger := "buildByToken/build?job=p&token=secret"
	status, first, _ := s.get(trigger)
	if status != http.StatusCreated {
		t.Fatalf("first trigger = %d, want 201", status)
	}
	// Opening the pipe for writing waits until the build reads: the first build runs.
	release := func() {
		t.Helper()
		f, err := os.OpenFile(pipe, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	hold, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	status, second, _ := s.get(trigger)
	if status != http.StatusCreated || second == first {
		t.Fatalf("trigger while a build runs = %d %q, want 201 and another item than %q", status, second, first)
	}
	status, joined, _ := s.get(trigger)
	if status != http.StatusSeeOther || joined != second {
		t.Fatalf("trigger while an item is queued = %d %q, want 303 and %q", status, joined, second)
	}
	if err := hold.Close(); err != nil {
		t.Fatal(err)
	}
	s.follow("p", first)
	release()
	s.follow("p", second)
	s.wantBuilds("p", 2, 1)
}

func TestOriginalBuildWithParameters(t *testing.T) {
	s := newTriggerSite(t, `job p {
		quiet_period 0s
		param foo string
		param baz string
		run sh -c "echo foo is $foo, baz is $baz"
	}`)
	log := s.created("p", http.MethodGet, "buildByToken/buildWithParameters?job=p&token=secret&foo=bar&baz=quux", "", "")
	if !strings.Contains(log, "foo is bar, baz is quux\n") {
		t.Errorf("the build did not get its parameters:\n%s", log)
	}
	s.wantBuilds("p", 1)
}

func TestOriginalCrumbBypass(t *testing.T) {
	s := newTriggerSite(t, `job p {
		run true
	}`)
	s.created("p", http.MethodPost, "buildByToken/build", "application/x-www-form-urlencoded", "job=p&token=secret&delay=0sec")
	s.wantBuilds("p", 1)
}

func TestOriginalPolling(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "built")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newTriggerSite(t, `job p {
		quiet_period 0s
		poll true
		run sh -c "echo $BUILD_CAUSE > `+pipe+`"
	}
	job deaf {
		run true
	}`)
	status, _, body := s.get("buildByToken/polling?job=p&token=secret")
	if status != http.StatusOK || body != "Scheduled.\n" {
		t.Fatalf("polling = %d %q, want 200 and Scheduled.", status, body)
	}
	cause, err := os.ReadFile(pipe) // waits for the build
	if err != nil {
		t.Fatal(err)
	}
	if want := "Started by an SCM change\n"; string(cause) != want {
		t.Errorf("cause = %q, want %q", cause, want)
	}
	if status, _, _ := s.get("buildByToken/polling?job=deaf&token=secret"); status != http.StatusBadRequest {
		t.Errorf("polling a job without poll = %d, want 400", status)
	}
}
