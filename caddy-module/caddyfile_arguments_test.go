package caddymodule_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestDirectivesRefuseOtherArguments reads each directive as it should be, then without its
// arguments, with one too many, and twice. Otherwise a forgotten quote would cut a value short
// in silence, and the first of two values would be lost.
func TestDirectivesRefuseOtherArguments(t *testing.T) {
	const (
		option  = "{\nbuild_token {\n%s\n}\n}\n"
		site    = ":80\nbuild_token {\n%s\n}\n"
		inJob   = ":80\nbuild_token {\nwebhook w github secret\njob hello {\nparam A string\n%s\n}\n}\n"
		job     = ":80\nbuild_token {\njob hello {\nrun true\n%s\n}\n}\n"
		webhook = ":80\nbuild_token {\nwebhook w hmac secret {\n%s\n}\n}\n"
		notify  = ":80\nbuild_token {\nnotify n https://hooks.example.com/ {\n%s\n}\n}\n"
		github  = ":80\nbuild_token {\njob hello {\nrun true\nparam A string\nnotify n https://api.github.com/ {\nformat github\n%s\n}\n}\n}\n"
	)
	scope := []string{"quiet_period 5s", "timeout 1m", "keep_builds 3", "dir a", "label a"}
	command := []string{"dir a", "kill_delay 5s", "user ci", "unstable 3"}
	for _, tt := range []struct {
		where, context string
		// once are lines that can stand there once, with as many arguments as possible. Those of
		// many can have more arguments, and those of repeated can stand there more than once.
		once, many, repeated []string
	}{
		{
			where: "option", context: option,
			once: []string{
				"queue bolt a", "executors 2", "remote_builds 2", "queue_limit 5", "orphan_timeout 1h", "keep_removed 1h", "keep_builds 3",
				"shutdown_timeout 1m", "wrong_tokens 3 1m", "audit", "node a",
			},
		},
		{where: "node", context: fmt.Sprintf(option, "node a {\n%s\n}"), once: []string{"executors 2"}, many: []string{"labels a b"}},
		{
			where: "site", context: site,
			once:     append([]string{"root_url https://ci.example.com", "methods GET POST", "joined 201", "ready", "access"}, scope...),
			repeated: []string{"env A b", "allow true message", "token a b", "notify n https://hooks.example.com/"},
		},
		{where: "access", context: fmt.Sprintf(site, "access {\n%s\n}"), once: []string{"read true", "build true", "cancel true"}},
		{where: "folder", context: fmt.Sprintf(site, "folder a {\n%s\n}"), once: scope, repeated: []string{"env A b", "allow true message", "token a b"}},
		{
			where: "job", context: job,
			once: append([]string{"description a", "disabled", "concurrent", "badge", "coalesce never"}, scope...), many: []string{"poll true"},
			repeated: []string{"env A b", "allow true message", "token a b", "param A string b"},
		},
		{where: "what runs", context: inJob, many: []string{"run true"}},
		{where: "run", context: fmt.Sprintf(inJob, "run true {\n%s\n}"), once: command, repeated: []string{"env A b"}},
		{where: "runner exec", context: fmt.Sprintf(inJob, "runner exec true {\n%s\n}"), once: command, repeated: []string{"env A b"}},
		{
			where: "queue postgres", context: fmt.Sprintf(option, "queue postgres postgres:///ci {\n%s\n}"),
			once: []string{"schema ci", "key 00", "takeover_after 1m", "fail_start"},
		},
		{where: "runners", context: inJob, once: []string{"runner jenkins https://jenkins.example.com/ a", "runner http POST https://a.example.com/"}},
		{where: "queues", context: option, once: []string{"queue postgres postgres:///ci"}},
		{
			where: "runner jenkins", context: fmt.Sprintf(inJob, "runner jenkins https://jenkins.example.com/ a {\n%s\n}"),
			once: []string{"user ci {env.X}", "job_token {env.X}", "retry_for 1m", "lost_after 1h"},
		},
		{
			where: "runner http", context: fmt.Sprintf(inJob, "runner http POST https://a.example.com/ {\n%s\n}"),
			once: []string{"body a", "follow https://a.example.com/"}, repeated: []string{"header A b"},
		},
		{
			where: "follow", context: fmt.Sprintf(inJob, "runner http POST https://a.example.com/ {\nfollow https://a.example.com/ {\n%s\n}\n}"),
			once: []string{"done true", "result `\"SUCCESS\"`", "every 5s"},
		},
		{where: "poll", context: fmt.Sprintf(job, "poll true {\n%s\n}"), once: command, repeated: []string{"env A b"}},
		{where: "param", context: fmt.Sprintf(job, "param A string {\n%s\n}"), once: []string{"description a", "trim", "link https://a.example.com/{value}"}},
		{
			where: "token", context: fmt.Sprintf(site, "token a {\n%s\n}"),
			once: []string{"expires 2100-01-01T00:00:00Z"}, many: []string{"grant trigger"}, repeated: []string{"allow true message"},
		},
		{
			where: "webhook", context: fmt.Sprintf(webhook, "header X-Sum\n%s"),
			once: []string{"prefix a", "algorithm sha512", "encoding base64", "max_size 1MiB"},
		},
		{where: "the header of a webhook", context: webhook, once: []string{"header X-Sum"}},
		{where: "a signed time", context: strings.ReplaceAll(webhook, "hmac secret", "standard whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"), once: []string{"tolerance 1m"}},
		{where: "notify", context: notify, once: []string{"format slack", "body 1"}, many: []string{"on failure"}, repeated: []string{"header A b"}},
		{where: "repository", context: fmt.Sprintf(github, "commit {param.A}\n%s"), once: []string{"repository a/b"}},
		{where: "commit", context: fmt.Sprintf(github, "repository a/b\n%s"), once: []string{"commit {param.A}"}},
		{where: "schedule", context: fmt.Sprintf(inJob, "run true\npoll true\nschedule @daily {\n%s\n}"), once: []string{"timezone UTC", "poll", "catch_up once"}},
		{where: "parameters of a schedule", context: fmt.Sprintf(inJob, "run true\nschedule @daily {\n%s\n}"), repeated: []string{"param A b"}},
		{
			where: "on", context: fmt.Sprintf(inJob, "run true\non w {\n%s\n}"),
			once: []string{"when true", "cause `\"a\"`", "delay 5s"}, many: []string{"include deletions"}, repeated: []string{"set A `\"a\"`"},
		},
	} {
		refused := func(what, line, lines string) {
			name, _, _ := strings.Cut(line, " ")
			if _, err := adapt(fmt.Sprintf(tt.context, lines)); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %s %s: error %v, want one with the name", tt.where, line, what, err)
			}
		}
		for _, lines := range [][]string{tt.once, tt.many, tt.repeated} {
			for _, line := range lines {
				if _, err := adapt(fmt.Sprintf(tt.context, line)); err != nil {
					t.Errorf("%s: %s: %v", tt.where, line, err)
				}
				if name, _, arguments := strings.Cut(line, " "); arguments {
					refused("without arguments", line, name)
				}
			}
		}
		for _, line := range slices.Concat(tt.once, tt.repeated) {
			refused("with one argument more", line, line+" a")
		}
		for _, line := range slices.Concat(tt.once, tt.many) {
			refused("twice", line, line+"\n"+line)
		}
	}
	if _, err := adapt(fmt.Sprintf(site, "methods GET POST POST")); err == nil || !strings.Contains(err.Error(), "methods: got 3 arguments") {
		t.Errorf("three methods: error %v, want one with their number", err)
	}
}
