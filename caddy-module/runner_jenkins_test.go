package caddymodule_test

import (
	"bufio"
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
	"github.com/buildtoken/buildtoken/internal/jenkinstest"
)

// TestJenkinsRunner triggers a job that is relayed to a job of a Jenkins behind this server.
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
	server, err := os.ReadFile(s.logs)
	if err != nil {
		t.Fatal(err)
	}
	if j.Triggers() != 1 || !strings.Contains(string(server), "build ended") {
		t.Errorf("%d triggers, and Caddy logs %s; want one, and the end of the build", j.Triggers(), server)
	}
	for _, secret := range []string{"s3cret", "j0btoken", "ZWRnZTpzM2NyZXQ"} { // the last one is in the Authorization header
		if strings.Contains(log+string(server)+fmt.Sprint(status(t)), secret) {
			t.Errorf("%s is in a log or in the status", secret)
		}
	}
}

// TestJenkinsRunnerFollowsThisServer relays to another job of this server, as the second kind
// of target.
func TestJenkinsRunnerFollowsThisServer(t *testing.T) {
	s := newSite(t)
	relay := func(name, more string) string {
		return "job " + name + "-relay {\n param VERSION string\n param PASS password\n param NOTES file\n runner jenkins http://" + s.addr + " far/" + name + " {\n" + more + "}\n}\n"
	}
	far := func(name, script string) string {
		return "job " + name + " {\n param VERSION string\n param PASS password\n param NOTES file\n run sh -c `" + script + "` {\n unstable 3\n}\n}\n"
	}
	s.load(s.caddyfile("executors 4", jobs("token secret {\n grant trigger log status\n}\naccess {\n read true\n build true\n cancel true\n}\n"+
		"folder far {\n"+far("good", `printf 'v=%s p=%s\r\n\rhalf ' "$VERSION" "$PASS"; sleep 1.5; echo of a line; cat NOTES; seq 30000`)+far("bad", "exit 3")+far("slow", "echo begun; exec sleep 60")+"}\n"+
		relay("good", "job_token secret\n")+relay("bad", "")+relay("slow", ""))))

	var upload bytes.Buffer
	form := multipart.NewWriter(&upload)
	file, err := form.CreateFormFile("NOTES", "notes.txt")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(file, "some\nnotes\n")
	form.Close()
	resp, err := http.Post("http://"+s.addr+"/buildByToken/buildWithParameters?job=good-relay&VERSION=v%201&PASS=hunter2&token=secret", form.FormDataContentType(), &upload)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("trigger: got %v, %v", resp, err)
	}
	resp.Body.Close()
	log := s.follow("good-relay", "secret", "1")
	var lines strings.Builder
	for i := range 30000 {
		fmt.Fprintln(&lines, i+1)
	}
	if want := "v=v 1 p=hunter2\n\rhalf of a line\nsome\nnotes\n" + lines.String() + "Finished: SUCCESS\nFinished: SUCCESS\n"; !strings.HasSuffix(log, want) {
		t.Errorf("log = %.600q … %.200q", log, log[max(0, len(log)-200):])
	}
	log = s.follow("bad-relay", "secret", s.triggerWith("bad-relay"))
	if !strings.HasSuffix(log, "\nFinished: UNSTABLE\nfar/bad #1 ended as UNSTABLE in Jenkins\nFinished: UNSTABLE\n") {
		t.Errorf("log = %q, want it unstable on both sides", log)
	}

	item := s.triggerWith("slow-relay")
	s.awaitLog("slow-relay", item, "begun\n")
	if a := s.do(http.MethodPost, "/job/slow-relay/1/stop"); a.status != http.StatusFound {
		t.Fatalf("stop: got %d %q", a.status, a.body)
	}
	log = s.follow("slow-relay", "secret", item)
	if a := s.get("/job/far/job/slow/1/api/json?tree=result"); !strings.Contains(a.body, `"ABORTED"`) || !strings.HasSuffix(log, "\nFinished: ABORTED\n") {
		t.Errorf("after a stop, the other side has %s, and the log is %q; want it stopped too", a.body, log)
	}
}

// triggerWith triggers a job that has parameters, with their defaults.
func (s *site) triggerWith(job string) (item string) {
	s.t.Helper()
	a := s.get("/buildByToken/buildWithParameters?token=secret&job=" + job)
	if a.status != http.StatusCreated {
		s.t.Fatalf("trigger %s: got %d %q, want 201", job, a.status, a.body)
	}
	return path.Base(a.header.Get("Location"))
}

// awaitLog reads the log of a build until it contains a text.
func (s *site) awaitLog(job, item, text string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.addr+"/buildByToken/log?token=secret&job="+job+"&item="+item, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	var got strings.Builder
	for line := bufio.NewReader(resp.Body); !strings.Contains(got.String(), text); {
		one, err := line.ReadString('\n')
		if err != nil {
			s.t.Fatalf("log of %s: %v after %q", job, err, got.String())
		}
		got.WriteString(one)
	}
}

// TestRelayedBuildGoesOnAfterARestart stops Caddy while a build runs in Jenkins, and starts it again.
func TestRelayedBuildGoesOnAfterARestart(t *testing.T) {
	release := make(chan struct{})
	j := jenkinstest.New(jenkinstest.Options{Jobs: []jenkinstest.Job{{Name: "far", Run: func(b *jenkinstest.Build) string {
		fmt.Fprintln(b, "begun")
		select {
		case <-release:
			return "SUCCESS"
		case <-b.Context().Done():
			return "ABORTED"
		}
	}}}})
	defer j.Close()
	behind := httptest.NewServer(j)
	defer behind.Close()
	s := newSite(t)
	text := s.caddyfile("shutdown_timeout 20s", jobs("job near {\n token secret {\n grant trigger log\n }\n runner jenkins "+behind.URL+" far\n}\n"))
	s.load(text)
	item := s.trigger("near", "secret")
	s.awaitLog("near", item, "begun\n")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if j.Running() != 1 {
		t.Error("the stop of this server stopped the build in Jenkins")
	}
	s.load(text)
	close(release)
	log := s.follow("near", "secret", item)
	if _, after, _ := strings.Cut(log, "\nbegun\n"); after != "Resumed after a restart of the server\nFinished: SUCCESS\nFinished: SUCCESS\n" {
		t.Errorf("log = %q, want it to continue", log)
	}
	if j.Triggers() != 1 {
		t.Errorf("%d triggers, want 1", j.Triggers())
	}
}

// TestRemoteBuildsAreShown checks a running relayed build and a waiting one in the status, the
// metrics and the remote API.
func TestRemoteBuildsAreShown(t *testing.T) {
	j := jenkinstest.New(jenkinstest.Options{Jobs: []jenkinstest.Job{{Name: "far", Concurrent: true, Run: func(b *jenkinstest.Build) string {
		fmt.Fprintln(b, "begun")
		<-b.Context().Done()
		return "ABORTED"
	}}}})
	defer j.Close()
	behind := httptest.NewServer(j)
	defer behind.Close()
	s := newSite(t)
	s.load(s.caddyfile("executors 3\nremote_builds 1\nshutdown_timeout 1s", "handle /metrics {\nmetrics\n}\n"+
		jobs("access {\n read true\n cancel true\n}\ntoken secret {\n grant trigger log\n}\njob near {\n concurrent\n coalesce never\n runner jenkins "+behind.URL+" far\n}\n")))
	first, second := s.trigger("near", "secret"), s.trigger("near", "secret")
	s.awaitLog("near", first, "begun\n")
	got := status(t).Queues[0]
	if got.RemoteBuilds != 1 || len(got.Running) != 1 || !got.Running[0].Remote || got.Jobs[0].Why != "Waiting for another remote build to end" {
		t.Errorf("status = %+v, want one remote build of one, and one waiting item", got)
	}
	if text := caddymodule.FormatStatus(caddymodule.Status{Queues: []caddymodule.QueueStatus{got}}, time.Now()); !strings.Contains(text, "running\t0 of 3\nremote\t1 of 1\n\tnear #1, item 1, since ") {
		t.Errorf("the status is shown as %s", text)
	}
	for _, line := range []string{"running_builds 0", "executors 3", "running_remote_builds 1", "remote_builds 1", "queued_items 1"} {
		if text := s.get("/metrics").body; !strings.Contains(text, "\ncaddy_build_token_"+line+"\n") {
			t.Errorf("no metric %s", line)
		}
	}
	if a := s.get("/computer/api/json?tree=busyExecutors,computer[oneOffExecutors[currentExecutable[fullDisplayName]]]"); !strings.Contains(a.body, `"busyExecutors":0`) || !strings.Contains(a.body, `"fullDisplayName":"near #1"`) {
		t.Errorf("computer = %s, want the build among oneOffExecutors", a.body)
	}
	for n := range 2 {
		if a := s.do(http.MethodPost, fmt.Sprintf("/job/near/%d/stop", n+1)); a.status != http.StatusFound {
			t.Fatalf("stop: got %d %q", a.status, a.body)
		}
		s.follow("near", "secret", []string{first, second}[n])
		if n == 0 {
			s.awaitLog("near", second, "begun\n")
		}
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
