package caddymodule_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/internal/jenkinstest"
)

// TestJenkinsRunner triggers a job here that is a job of a Jenkins behind this server.
func TestJenkinsRunner(t *testing.T) {
	j := jenkinstest.New(jenkinstest.Options{User: "edge", APIToken: "s3cret", Jobs: []jenkinstest.Job{{
		Name: "app/deploy-prod", Token: "j0btoken", Params: map[string]string{"VERSION": ""}, Files: []string{"NOTES"},
		Run: func(b *jenkinstest.Build) string {
			fmt.Fprintf(b, "deploying %s with %q\n", b.Params["VERSION"], b.Files["NOTES"].Content)
			return "UNSTABLE"
		},
	}}})
	defer j.Close()
	behind := httptest.NewServer(j)
	defer behind.Close()
	t.Setenv("JENKINS_API_TOKEN", "s3cret")
	s := newSite(t)
	s.load(s.caddyfile("", jobs("job deploy {\n token secret {\n grant trigger log\n }\n param VERSION string\n param NOTES file\n"+
		" runner jenkins "+behind.URL+" app/deploy-prod {\n  user edge {env.JENKINS_API_TOKEN}\n  job_token j0btoken\n }\n}\n")))
	if a := s.get("/buildByToken/buildWithParameters?job=deploy&token=secret&VERSION=v1"); a.status != 201 {
		t.Fatalf("trigger: got %d %q", a.status, a.body)
	}
	log := s.follow("deploy", "secret", "1")
	if !strings.HasSuffix(log, "\ndeploying v1 with \"\"\nFinished: UNSTABLE\napp/deploy-prod #1 ended as UNSTABLE in Jenkins\nFinished: UNSTABLE\n") {
		t.Errorf("log = %q", log)
	}
	if strings.Contains(log, "s3cret") || strings.Contains(log, "j0btoken") || j.Triggers() != 1 {
		t.Errorf("%d triggers, log = %q; want one, and no secret", j.Triggers(), log)
	}
}

// TestJenkinsRunnerRefuses checks what is refused when the configuration is loaded.
func TestJenkinsRunnerRefuses(t *testing.T) {
	t.Setenv("PADDED", " s3cret")
	for runner, want := range map[string]string{
		"jenkins.internal x":                                                                 "http:// or https://",
		"https://jenkins.internal {param.A}":                                                 "must not depend on a parameter",
		"https://jenkins.internal x {\nuser edge {env.NOT_SET}\n}":                           "user: the API token: placeholder {env.NOT_SET} resolves to nothing",
		"https://jenkins.internal x {\nuser edge {env.PADDED}\n}":                            "white space",
		"https://jenkins.internal x {\njob_token {env.NOT_SET}\n}":                           "job_token: placeholder {env.NOT_SET} resolves to nothing",
		"https://jenkins.internal x {\njob_token sha256:" + strings.Repeat("ab", 32) + "\n}": "a digest cannot be sent",
	} {
		config, err := adapt(":0\nbuild_token {\njob a {\ntoken x\nrunner jenkins " + runner + "\n}\n}\n")
		if err == nil {
			err = provision(config)
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("runner jenkins %s: got %v, want an error with %q", runner, err, want)
		}
	}
}
