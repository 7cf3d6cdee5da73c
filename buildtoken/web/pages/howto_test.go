package pages_test

import (
	"html"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	webhookevent "github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/hook"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// copied returns the lines of a page that can be copied, by their names.
func copied(page string) map[string]string {
	lines := map[string]string{}
	for _, part := range strings.Split(page, `<pre class="value" id="how-`)[1:] {
		id, rest, _ := strings.Cut(part, `"`)
		_, rest, _ = strings.Cut(rest, ">")
		text, _, _ := strings.Cut(rest, "</pre>")
		lines[id] = html.UnescapeString(text)
	}
	return lines
}

// howtoJob is a job that can be triggered in all ways.
func howtoJob(t *testing.T, params ...job.Param) definition.Job {
	t.Helper()
	secret, err := hook.ParseSecret(webhookevent.GitHub, "the-hook-secret.")
	if err != nil {
		t.Fatal(err)
	}
	j := at("it's", writes(""), params...)
	j.Tokens = []definition.Token{{Name: "ci", Digest: token.NewSecret("TheSecretItself").Digest()}}
	j.Webhooks = []definition.WebhookSpec{{Config: hook.Config{Kind: webhookevent.GitHub, Secrets: []hook.Secret{secret}}}}
	j.On = []definition.OnSpec{{Webhook: "github"}, {Webhook: "github", Events: []string{"push"}}}
	j.Badge = true
	return j
}

func TestPageShowsHowToTrigger(t *testing.T) {
	spec := jobs()
	spec.Root.Folders = []definition.Folder{{Name: "site", Jobs: []definition.Job{howtoJob(t,
		job.Param{Name: "BRANCH", Kind: job.KindString, Default: "it's <main>"},
		job.Param{Name: "STAGE", Kind: job.KindChoice, Choices: []string{"dev", "prod"}},
		job.Param{Name: "DRY", Kind: job.KindBoolean},
		job.Param{Name: "KEY", Kind: job.KindPassword},
		job.Param{Name: "PIN", Kind: job.KindPassword, Default: "hunter2"})}}}
	onSite(t, spec, func(s *site) {
		for _, user := range []string{"alice", "rita"} {
			page := s.get("/job/site/job/it's/", user).Body.String()
			want := map[string]string{
				"build": `curl -H @token.header --data-urlencode 'BRANCH=it'\''s <main>' \
  --data-urlencode 'STAGE=dev' \
  --data-urlencode 'DRY=false' \
  --data-urlencode 'KEY@FILE' \
  'https://ci.example.com/ci/buildByToken/buildWithParameters?job=site/it%27s'`,
				"status":  "curl -H @token.header 'https://ci.example.com/ci/buildByToken/status?job=site/it%27s&item=7'",
				"log":     "curl -H @token.header -N 'https://ci.example.com/ci/buildByToken/log?job=site/it%27s&item=7'",
				"webhook": "https://ci.example.com/ci/buildByToken/webhook?job=site/it%27s",
				"badge":   "[![build](https://ci.example.com/ci/job/site/job/it%27s/badge/icon.svg)](https://ci.example.com/ci/job/site/job/it%27s/)",
			}
			if diff := cmp.Diff(want, copied(page)); diff != "" {
				s.Errorf("%s (-want +got):\n%s", user, diff)
			}
			s.holds(page, "Address for webhooks: github<", `<img src="/ci/job/site/job/it%27s/badge/icon.svg"`)
			s.lacks(page, "TheSecretItself", "the-hook-secret", "hunter2", `"ci"`)
		}
		if w := s.get("/job/site/job/it's/", "blind"); w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "token.header") {
			s.Errorf("without read = %d\n%s", w.Code, w.Body)
		}
	})
}

func TestHowToTriggerWithFiles(t *testing.T) {
	spec := jobs(howtoJob(t, job.Param{Name: "V", Kind: job.KindString, Default: "@x"},
		job.Param{Name: "F", Kind: job.KindFile}, job.Param{Name: "KEY", Kind: job.KindPassword}))
	onSite(t, spec, func(s *site) {
		s.holds(copied(s.page("/job/it's/"))["build"], "--form-string 'V=@x'", "-F 'F=@FILE'", "-F 'KEY=<FILE'")
	})
}

func TestHowToTriggerWithoutTokenWebhookOrBadge(t *testing.T) {
	onSite(t, jobs(at("plain", writes(""))), func(s *site) {
		page := s.page("/job/plain/")
		if lines := copied(page); len(lines) > 0 {
			s.Errorf("lines %v, want none", lines)
		}
		s.holds(page, "No token opens this job.")
		s.lacks(page, "token.header", "<img")
	})
	// Two landmarks with the same name cannot be distinguished.
	onSite(t, jobs(howtoJob(t)), func(s *site) {
		s.lacks(s.page("/job/it's/"), `role="region"`)
	})
}

// A shell must parse the line as intended.
func TestHowToTriggerIsQuotedForShells(t *testing.T) {
	value := "$(touch evil) `touch evil` \"'\\ ; & \n two"
	onSite(t, jobs(howtoJob(t, job.Param{Name: "V", Kind: job.KindText, Default: value})), func(s *site) {
		line := copied(s.page("/job/it's/"))["build"]
		dir := t.TempDir()
		program := "#!/bin/sh\nprintf '%s' \"$4\"\n"
		if err := os.WriteFile(filepath.Join(dir, "curl"), []byte(program), 0o700); err != nil {
			s.Fatal(err)
		}
		cmd := exec.CommandContext(s.Context(), "/bin/sh", "-c", line)
		cmd.Dir, cmd.Env = dir, []string{"PATH=" + dir + ":/usr/bin:/bin"}
		got, err := cmd.Output()
		if err != nil || string(got) != "V="+value {
			s.Errorf("curl got %q, %v; want %q", got, err, "V="+value)
		}
		if _, err := os.Stat(filepath.Join(dir, "evil")); err == nil {
			s.Error("a command in the value was run")
		}
	})
}
