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
				"token":      `(umask 077; rm -f token.header; printf 'Token: '; read -rs secret && printf 'Authorization: Bearer %s\n' "$secret" >token.header; echo)`,
				"secret-KEY": `(umask 077; rm -f KEY.secret; printf 'KEY: '; IFS= read -rs secret && printf '%s' "$secret" >KEY.secret; echo)`,
				"build": `ls token.header KEY.secret >/dev/null && curl -H @token.header --data-urlencode 'BRANCH=it'\''s <main>' \
  --data-urlencode 'STAGE=dev' \
  --data-urlencode 'DRY=false' \
  --data-urlencode 'KEY@KEY.secret' \
  'https://ci.example.com/ci/buildByToken/buildWithParameters?job=site/it%27s'`,
				"status":  "curl -H @token.header 'https://ci.example.com/ci/buildByToken/status?job=site/it%27s&item=ITEM'",
				"log":     "curl -H @token.header -N 'https://ci.example.com/ci/buildByToken/log?job=site/it%27s&item=ITEM'",
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
		s.holds(copied(s.page("/job/it's/"))["build"], "--form-string 'V=@x'", "ls token.header F.upload KEY.secret >/dev/null && curl", "-F 'F=@F.upload'", "-F 'KEY=<KEY.secret'")
		s.holds(s.page("/job/it's/"), "Start a build, with your own files for F.upload<")
	})
}

// The line uses a method that the site takes.
func TestHowToTriggerWithTheMethodsOfTheSite(t *testing.T) {
	none, some := howtoJob(t), howtoJob(t, job.Param{Name: "V", Kind: job.KindString})
	file := howtoJob(t, job.Param{Name: "F", Kind: job.KindFile})
	none.Name, some.Name, file.Name = "none", "some", "file"
	onSite(t, jobs(none, some, file), func(s *site) {
		const get, post = http.MethodGet, http.MethodPost
		for _, tt := range []struct {
			methods          []string
			none, some, file string
		}{
			{nil, "'https", "--data", "-F"},
			{[]string{get, post}, "'https", "--data", "-F"},
			{[]string{post}, "-X POST 'https", "--data", "-F"},
			{[]string{get}, "'https", "-G --data", "-F"},
		} {
			s.pages.site.Methods = tt.methods
			for path, want := range map[string]string{"/job/none/": tt.none, "/job/some/": tt.some, "/job/file/": tt.file} {
				s.holds(copied(s.page(path))["build"], "curl -H @token.header "+want)
			}
			s.holds(copied(s.page("/job/none/"))["build"], "/buildByToken/build?job=none'")
			s.holds(copied(s.page("/job/some/"))["build"], "/buildByToken/buildWithParameters?job=some'")
		}
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

// The lines for secrets make files that only their owner can read, and the line that starts a
// build does nothing if one of them is missing.
func TestHowToTriggerKeepsSecrets(t *testing.T) {
	onSite(t, jobs(howtoJob(t, job.Param{Name: "KEY", Kind: job.KindPassword})), func(s *site) {
		lines := copied(s.page("/job/it's/"))
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "curl"), []byte("#!/bin/sh\ntouch called\n"), 0o700); err != nil {
			s.Fatal(err)
		}
		shell := func(line, input string) (string, error) {
			cmd := exec.CommandContext(s.Context(), "bash", "-c", line)
			cmd.Dir, cmd.Env, cmd.Stdin = dir, []string{"PATH=" + dir + ":/usr/bin:/bin"}, strings.NewReader(input)
			out, err := cmd.CombinedOutput()
			return string(out), err
		}
		called := func() bool {
			_, err := os.Stat(filepath.Join(dir, "called"))
			return err == nil
		}
		const secret = ` it's $HOME \n %s `
		for id, file := range map[string]string{"token": "token.header", "secret-KEY": "KEY.secret"} {
			if out, err := shell(lines["build"], ""); err == nil || called() || !strings.Contains(out, file) {
				s.Errorf("without %s: %v, curl is called: %v, output %q", file, err, called(), out)
			}
			// A file that others could read does not stay one.
			if err := os.WriteFile(filepath.Join(dir, file), nil, 0o644); err != nil {
				s.Fatal(err)
			}
			if out, err := shell(lines[id], secret+"\n"); err != nil || strings.Contains(out, "HOME") {
				s.Errorf("%s: %v, %q", id, err, out)
			}
			info, err := os.Stat(filepath.Join(dir, file))
			if err != nil || info.Mode() != 0o600 {
				s.Errorf("%s: %v, %v, want a file of the mode 600", file, info, err)
			}
		}
		for file, want := range map[string]string{"token.header": "Authorization: Bearer " + strings.TrimSpace(secret) + "\n", "KEY.secret": secret} {
			if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != want {
				s.Errorf("%s has %q, %v; want %q", file, got, err, want)
			}
		}
		if out, err := shell(lines["build"], ""); err != nil || !called() {
			s.Errorf("with all files: %v, curl is called: %v, output %q", err, called(), out)
		}
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
		if err := os.WriteFile(filepath.Join(dir, "token.header"), nil, 0o600); err != nil {
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
