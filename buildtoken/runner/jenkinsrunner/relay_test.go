package jenkinsrunner_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/runner/jenkinsrunner"
	"github.com/buildtoken/buildtoken/internal/jenkinstest"
)

// ends returns the work of a build that ends at once.
func ends(result string) func(*jenkinstest.Build) string {
	return func(b *jenkinstest.Build) string {
		fmt.Fprintln(b, "working")
		return result
	}
}

// TestParametersAndFilesArrive checks what Jenkins gets, and that secrets are in no URL.
func TestParametersAndFilesArrive(t *testing.T) {
	file := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(file, []byte("two\r\nlines"), 0o600); err != nil {
		t.Fatal(err)
	}
	const nasty = "a&b=c %41 \"'<>\n\u2028ü"
	text := []runner.Param{{Name: "VERSION", Value: nasty}, {Name: "PASS", Value: "hunter2", Secret: true}, {Name: "EMPTY"}}
	for _, tt := range []struct {
		name   string
		job    jenkinstest.Job
		params []runner.Param
		want   map[string]string
		files  map[string]jenkinstest.File
		log    string
	}{
		{"none to a job without", jenkinstest.Job{}, nil, nil, nil, ""},
		{
			"some to a job with",
			jenkinstest.Job{Params: map[string]string{"VERSION": "v0", "PASS": "", "EMPTY": "full", "OTHER": "default"}},
			text,
			map[string]string{"VERSION": nasty, "PASS": "hunter2", "EMPTY": "", "OTHER": "default"},
			nil, "",
		},
		{
			"none to a job with",
			jenkinstest.Job{Params: map[string]string{"OTHER": "default"}},
			nil,
			map[string]string{"OTHER": "default"},
			nil, "",
		},
		{
			"some to a job without",
			jenkinstest.Job{},
			text, nil, nil,
			"Jenkins: the job app/deploy-prod has no parameter VERSION, PASS, EMPTY; the value is not used\n",
		},
		{
			"more than the job has",
			jenkinstest.Job{Params: map[string]string{"VERSION": ""}},
			text[:2],
			map[string]string{"VERSION": nasty},
			nil,
			"Jenkins: the job app/deploy-prod has no parameter PASS; the value is not used\n",
		},
		{
			"files",
			jenkinstest.Job{Params: map[string]string{"VERSION": ""}, Files: []string{"UPLOAD", "MISSING"}},
			[]runner.Param{text[0], {Name: "UPLOAD", Value: "a \"name\".txt", File: file}, {Name: "MISSING"}},
			map[string]string{"VERSION": nasty},
			map[string]jenkinstest.File{"UPLOAD": {Name: "a \"name\".txt", Content: "two\r\nlines"}},
			"",
		},
	} {
		for _, token := range []string{"", jobToken} {
			t.Run(tt.name+", job token "+token, func(t *testing.T) {
				tt.job.Name, tt.job.Run, tt.job.Token = "app/deploy-prod", ends("SUCCESS"), token
				j, c := jenkins(t, tt.job)
				c.JobToken = token
				var mu sync.Mutex
				var urls []string
				j.Set(func(f *jenkinstest.Faults) {
					f.Intercept = func(_ http.ResponseWriter, r *http.Request) bool {
						mu.Lock()
						defer mu.Unlock()
						urls = append(urls, r.Method+" "+r.RequestURI)
						if posts(r) && r.ContentLength < 0 {
							t.Error("the trigger has no Content-Length, which some proxies need")
						}
						return false
					}
				})
				var log strings.Builder
				if res := newRunner(t, c).Run(t.Context(), runner.Build{Params: tt.params}, &log); res != (runner.Result{Outcome: runner.Success}) {
					t.Fatalf("Run = %+v", res)
				}
				if !strings.HasPrefix(log.String(), tt.log+"Jenkins: queued app/deploy-prod as item ") || !strings.HasSuffix(log.String(), "\nworking\nFinished: SUCCESS\n") {
					t.Errorf("log = %q, want %q and the output", log.String(), tt.log)
				}
				builds := j.Builds()
				if len(builds) != 1 || j.Triggers() != 1 {
					t.Fatalf("%d builds and %d triggers, want one", len(builds), j.Triggers())
				}
				if diff := cmp.Diff(tt.want, builds[0].Params); diff != "" {
					t.Errorf("parameters (-want +got):\n%s", diff)
				}
				if got := builds[0].Files; !maps.Equal(got, tt.files) {
					t.Errorf("files = %v, want %v", got, tt.files)
				}
				mu.Lock()
				defer mu.Unlock()
				if n := len(slices.DeleteFunc(slices.Clone(urls), func(u string) bool { return !strings.HasPrefix(u, "POST ") })); n != 1 {
					t.Errorf("%d requests to trigger it, want one: %q", n, urls)
				}
				for _, secret := range []string{apiToken, jobToken, "hunter2"} {
					if all := fmt.Sprint(urls, log.String()); strings.Contains(all, secret) {
						t.Errorf("%s is in a URL or in the log: %s", secret, all)
					}
				}
			})
		}
	}
}

func TestResults(t *testing.T) {
	for word, want := range map[string]runner.Outcome{
		"SUCCESS": runner.Success, "UNSTABLE": runner.Unstable, "FAILURE": runner.Failure, "ABORTED": runner.Aborted,
		"NOT_BUILT": runner.NotBuilt, "GREEN": runner.Failure,
	} {
		_, c := jenkins(t, jenkinstest.Job{Name: "x", Run: ends(word)})
		res := newRunner(t, c).Run(t.Context(), runner.Build{}, io.Discard)
		if res.Outcome != want || (res.Reason == "") != (want == runner.Success) || want != runner.Success && !strings.Contains(res.Reason, "x #1 ended as "+word) {
			t.Errorf("%s: Run = %+v, want %s", word, res, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	good := jenkinsrunner.Config{URL: "https://jenkins.internal/ci", Job: "app/deploy", User: "edge", APIToken: apiToken}
	for _, tt := range []struct {
		name   string
		change func(c *jenkinsrunner.Config)
		want   string
	}{
		{"no scheme", func(c *jenkinsrunner.Config) { c.URL = "jenkins.internal" }, "http:// or https://"},
		{"another scheme", func(c *jenkinsrunner.Config) { c.URL = "ftp://x/" }, "http:// or https://"},
		{"a malformed URL", func(c *jenkinsrunner.Config) { c.URL = "http://edge:" + apiToken + "@x:y/" }, "malformed"},
		{"an account in the URL", func(c *jenkinsrunner.Config) { c.URL = "http://edge:" + apiToken + "@x/" }, "must not have a user"},
		{"a query", func(c *jenkinsrunner.Config) { c.URL += "?token=" + apiToken }, "no query"},
		{"a fragment", func(c *jenkinsrunner.Config) { c.URL += "#a" }, "no fragment"},
		{"a user without an API token", func(c *jenkinsrunner.Config) { c.APIToken = "" }, "name and an API token"},
		{"an API token without a user", func(c *jenkinsrunner.Config) { c.User = "" }, "name and an API token"},
		{"a user with a colon", func(c *jenkinsrunner.Config) { c.User = "a:b" }, "colon"},
		{"no job", func(c *jenkinsrunner.Config) { c.Job = "/" }, "bad job"},
		{"an empty folder", func(c *jenkinsrunner.Config) { c.Job = "a//b" }, "bad job"},
		{"a dot", func(c *jenkinsrunner.Config) { c.Job = "a/../b" }, "bad job"},
		{"a delete character", func(c *jenkinsrunner.Config) { c.Job = "a\x7fb" }, "bad job"},
		{"a line end", func(c *jenkinsrunner.Config) { c.Job = "a\nb" }, "bad job"},
		{"an endless job", func(c *jenkinsrunner.Config) { c.Job = strings.Repeat("a", 2000) }, "longer than 2000 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			tt.change(&c)
			if _, err := jenkinsrunner.New(c); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), apiToken) {
				t.Errorf("New = %v, want an error with %q and without the token", err, tt.want)
			}
		})
	}
	odd := good
	odd.Job = "my folder/a~b\u0080"
	newRunner(t, odd)
	long := good
	long.Job = strings.Repeat("a", 2000-len("https://jenkins.internal/ci/job/"))
	newRunner(t, long)
	long.Job += "a"
	if _, err := jenkinsrunner.New(long); err == nil {
		t.Error("New of a URL with 2001 bytes = nil, want an error")
	}
	r := newRunner(t, good)
	if text := fmt.Sprintf("%v %+v %#v", r, r, *r); strings.Contains(text, apiToken) {
		t.Errorf("the runner prints as %s", text)
	}
}
