//go:build unix

package main_test

import (
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/internal/jenkinstest"
)

// TestImportedRelays imports a Jenkins so that all its jobs are relayed to it, and builds each
// of them, including those that cannot run here.
func TestImportedRelays(t *testing.T) {
	s := newServer(t, "")
	jobs := []jenkinsJob{
		{name: "plain", status: noted, scripts: one("echo x"), xml: "<authToken>0123456789abcdef</authToken>\n"},
		{name: "site/with parameters", status: noted, scripts: one("echo x"), params: jenkinsParam("String", "VERSION", defaultValue("1")) + jenkinsParam("Run", "WHICH", "<projectName>x</projectName>") + jenkinsParam("String", "PATH", "")},
		{name: "batch", status: noted, xml: "<builders><hudson.tasks.BatchFile><command>dir</command></hudson.tasks.BatchFile></builders>\n"},
		{name: "pipeline", status: noted, file: `<flow-definition><definition class="org.jenkinsci.plugins.workflow.cps.CpsFlowDefinition"><script>echo 1</script></definition></flow-definition>`},
		{name: "of_a_plugin", status: noted, file: "<org.example.Job/>"},
		{name: "external", status: leftOut, file: "<hudson.model.ExternalJob/>"},
	}
	options := jenkinstest.Options{User: "edge", APIToken: "s3cret", Prefix: "/ci"}
	for _, j := range jobs {
		params := map[string]string(nil)
		if j.params != "" {
			params = map[string]string{"VERSION": "0", "WHICH": "", "PATH": "/bin"}
		}
		options.Jobs = append(options.Jobs, jenkinstest.Job{Name: j.name, Params: params, Run: func(b *jenkinstest.Build) string {
			fmt.Fprintf(b, "building %s with %v\n", j.name, b.Params)
			return "SUCCESS"
		}})
	}
	jenkins := jenkinstest.New(options)
	defer jenkins.Close()
	behind := httptest.NewServer(jenkins)
	defer behind.Close()

	home := filepath.Join(s.dir, "jenkins")
	writeHome(t, home, jobs)
	_, report := s.importHome(home, "--relay", behind.URL+"/ci", "--relay-all")
	for i, entry := range report.Jobs {
		if want := statusOf(jobs, entry.Job); entry.Status != want {
			t.Errorf("%d: job %s: %s, want %s: %v", i, entry.Job, entry.Status, want, entry.Reasons)
		}
	}
	s.environment = append(s.environment, "JENKINS_USER=edge", "JENKINS_API_TOKEN=s3cret")
	s.start()
	for _, j := range jobs {
		if j.status == leftOut {
			continue
		}
		given, want := map[string]string(nil), "building "+j.name+" with map[]\n"
		if j.params != "" {
			given, want = map[string]string{"VERSION": "2", "WHICH": "x#1"}, "building "+j.name+" with map[PATH:/bin VERSION:2 WHICH:x#1]\n"
		}
		if result, console := s.build(j.name, given); result != "SUCCESS" || !strings.Contains(console, want) {
			t.Errorf("job %s: got %s:\n%s\nwant %q", j.name, result, console, want)
		}
	}
	if got, want := jenkins.Triggers(), len(jobs)-1; got != want {
		t.Errorf("Jenkins got %d triggers, want %d", got, want)
	}
}

func statusOf(jobs []jenkinsJob, name string) string {
	for _, j := range jobs {
		if j.name == name {
			return j.status
		}
	}
	return "not in the report"
}
