//go:build unix

package caddymodule_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// asJSON parses a body, which must be JSON with exactly these fields at its top.
func asJSON(t *testing.T, d delivery, fields ...string) map[string]any {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal(d.body, &body); err != nil || d.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%v: %s %s", err, d.header.Get("Content-Type"), d.body)
	}
	var names []string
	for name := range body {
		names = append(names, name)
	}
	slices.Sort(names)
	slices.Sort(fields)
	if !slices.Equal(names, fields) {
		t.Errorf("fields %q, want %q", names, fields)
	}
	return body
}

// wants are the requirements of the fake of each receiver, by the headings of the recipes.
var wants = map[string]func(*testing.T, delivery){
	"Slack and Mattermost": func(t *testing.T, d delivery) {
		if text, _ := asJSON(t, d, "text")["text"].(string); !strings.Contains(text, "docs #1") {
			t.Errorf("text %q", text)
		}
	},
	"Discord": func(t *testing.T, d delivery) {
		if content, _ := asJSON(t, d, "content", "allowed_mentions")["content"].(string); content == "" || len(content) > 2000 {
			t.Errorf("content %q", content)
		}
	},
	"Microsoft Teams": func(t *testing.T, d delivery) {
		asJSON(t, d, "type", "attachments")
		var body struct {
			Attachments []struct {
				ContentType string
				Content     struct{ Type string }
			}
		}
		if err := json.Unmarshal(d.body, &body); err != nil || len(body.Attachments) != 1 ||
			body.Attachments[0].ContentType != "application/vnd.microsoft.card.adaptive" || body.Attachments[0].Content.Type != "AdaptiveCard" {
			t.Errorf("%v: %s", err, d.body)
		}
	},
	"ntfy": func(t *testing.T, d delivery) {
		if d.path != "/builds" || d.header.Get("Title") == "" || d.header.Get("Authorization") != "Bearer secret" || !strings.HasPrefix(string(d.body), "docs #1 failed") {
			t.Errorf("%s %v %s", d.path, d.header, d.body)
		}
	},
	"Commit status of GitHub, Gitea or Forgejo": func(t *testing.T, d delivery) {
		body := asJSON(t, d, "state", "target_url", "description", "context")
		description, _ := body["description"].(string)
		if d.path != "/repos/octo/site/statuses/c0ffee" || d.header.Get("Authorization") != "Bearer secret" ||
			!slices.Contains([]any{"pending", "failure"}, body["state"]) || body["context"] != "docs" || description == "" || len(description) > 140 {
			t.Errorf("%s %v %s", d.path, d.header, d.body)
		}
	},
	"Commit status of GitLab": func(t *testing.T, d delivery) {
		body := asJSON(t, d, "state", "target_url", "description", "name")
		if d.path != "/api/v4/projects/group%2Fproject/statuses/c0ffee" || d.header.Get("Private-Token") != "secret" ||
			!slices.Contains([]any{"pending", "running", "failed"}, body["state"]) {
			t.Errorf("%s %v %s", d.path, d.header, d.body)
		}
	},
	"Receivers for Jenkins' notification plugin": func(t *testing.T, d delivery) {
		build, _ := asJSON(t, d, "name", "display_name", "url", "build")["build"].(map[string]any)
		if !slices.Contains([]any{"QUEUED", "STARTED", "FINALIZED"}, build["phase"]) || d.path != "/jenkins" {
			t.Errorf("%s %s", d.path, d.body)
		}
	},
	"Another program": func(t *testing.T, d delivery) {
		asJSON(t, d, "type", "timestamp", "data")
		if d.path != "/builds" || !strings.HasPrefix(d.header.Get("Webhook-Signature"), "v1,") || d.header.Get("Webhook-Id") == "" {
			t.Errorf("%s %v", d.path, d.header)
		}
	},
	"Bodies": func(t *testing.T, d delivery) {
		asJSON(t, d, "title", "link", "branch")
	},
}

// TestNotificationRecipes runs each recipe of docs/notifications.md against a fake of its
// receiver. The recipe for mail runs with a mail server in testdata/clients.
func TestNotificationRecipes(t *testing.T) {
	document := filepath.Join("..", "docs", "notifications.md")
	raw, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	heading := func(line int) string {
		lines := strings.Split(string(raw), "\n")[:line]
		for _, l := range slices.Backward(lines) {
			if strings.HasPrefix(l, "## ") || strings.HasPrefix(l, "### ") {
				return strings.TrimLeft(l, "# ")
			}
		}
		return ""
	}
	secret := filepath.Join(t.TempDir(), "events.whsec")
	if err := os.WriteFile(secret, []byte(whsec+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var tested []string
	for _, f := range fences(t, document) {
		name := heading(f.line)
		if f.info != "caddyfile folder" && f.info != "caddyfile job" || name == "Mail" {
			continue
		}
		want := wants[name]
		if want == nil {
			t.Errorf("%s has no test", name)
			continue
		}
		tested = append(tested, name)
		t.Run(name, func(t *testing.T) {
			url, got := newReceiver(t)
			for _, env := range regexp.MustCompile(`\{env\.(\w+)\}`).FindAllStringSubmatch(f.text, -1) {
				value := "secret"
				if strings.HasSuffix(env[1], "_URL") {
					value = url + "/hook"
				}
				t.Setenv(env[1], value)
			}
			text := regexp.MustCompile(`https://[a-z.]+`).ReplaceAllString(f.text, url)
			text = strings.ReplaceAll(text, "{file./run/secrets/events.whsec}", "{file."+secret+"}")
			if f.info == "caddyfile job" {
				text = "job docs {\n" + text + "token SECRET\nrun false\n}\n"
			} else {
				text += "job docs {\ntoken SECRET\nrun false\n}\n"
			}
			s := newSite(t)
			s.load(s.caddyfile("", jobs(text)))
			target := "/buildByToken/build?job=docs&token=SECRET"
			if strings.Contains(text, "param COMMIT") {
				target = "/buildByToken/buildWithParameters?job=docs&token=SECRET&COMMIT=c0ffee"
			}
			if a := s.get(target); a.status != http.StatusCreated {
				t.Fatalf("trigger: %d %s", a.status, a.body)
			}
			want(t, next(t, got))
		})
	}
	if len(tested) != len(wants) {
		t.Errorf("tested %q, want %d recipes", tested, len(wants))
	}
}
