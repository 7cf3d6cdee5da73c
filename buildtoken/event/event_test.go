package event_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/event"
)

func TestIsKnowsTheNamesOfTheSender(t *testing.T) {
	for _, tt := range []struct {
		sample string
		is     []string
		isNot  []string
	}{
		{"github_push", []string{"push", "Push"}, []string{"", "pull_request"}},
		{"gitlab_push", []string{"push", "Push Hook"}, []string{"tag_push"}},
		{"gitlab_tag_push", []string{"push", "tag_push", "Tag Push Hook"}, []string{"release"}},
		{"gitlab_merge_request_open", []string{"pull_request", "merge_request", "Merge Request Hook"}, []string{"push"}},
		{"gitlab_note_on_merge_request", []string{"issue_comment", "note"}, nil},
		{"gitlab_job", []string{"job", "build", "Job Hook"}, nil},
		{"gitlab_system_hook_push", []string{"push", "System Hook"}, nil},
		{"gitea_pull_request_synchronized", []string{"pull_request", "pull_request_sync"}, nil},
		{"bitbucket_push", []string{"push", "repo:push"}, []string{"repo"}},
		{"bitbucket_center_push", []string{"push", "repo:refs_changed"}, nil},
		{"bitbucket_pull_request_created", []string{"pull_request", "pullrequest:created"}, []string{"pullrequest:updated"}},
		{"bitbucket_center_pull_request_opened", []string{"pull_request", "pr:opened"}, nil},
		{"slack_command", []string{"/deploy", "deploy"}, []string{"deploy2"}},
	} {
		t.Run(tt.sample, func(t *testing.T) {
			kind, h, body := read(t, filepath.Join(samples, tt.sample+".http"))
			d, err := event.Read(kind, h, body)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range tt.is {
				if !d.Events[0].Is(name) {
					t.Errorf("Is(%q) = false, want true", name)
				}
			}
			for _, name := range tt.isNot {
				if d.Events[0].Is(name) {
					t.Errorf("Is(%q) = true, want false", name)
				}
			}
		})
	}
}

func TestMalformedBodies(t *testing.T) {
	form := event.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	for _, tt := range []struct {
		name string
		kind event.Kind
		h    event.Header
		body string
	}{
		{"nothing from GitHub", event.GitHub, nil, ""},
		{"half an object", event.GitHub, nil, `{"ref":`},
		{"two objects", event.GitHub, nil, `{} {}`},
		{"a list", event.GitHub, nil, `[]`},
		{"null", event.GitLab, nil, `null`},
		{"a text", event.Bitbucket, nil, `"push"`},
		{"a form without payload", event.GitHub, form, "ref=x"},
		{"a form with two payloads", event.Gitea, form, "payload=%7B%7D&payload=%7B%7D"},
		{"a payload that is no JSON", event.Gitea, form, "payload=x"},
		{"a form that is none", event.GitHub, form, "payload=%zz"},
		{"a form of Slack that is none", event.Slack, nil, "command=%zz"},
		{"two refs", event.GitHub, nil, `{"ref":"refs/heads/main","ref":"refs/heads/x"}`},
		{"two refs and a field of another type", event.GitHub, nil, `{"compare":1,"ref":"refs/heads/main","ref":"refs/heads/x"}`},
		{"two members in what is not read", event.GitLab, nil, `{"object_kind":"push","labels":[{"a":1,"a":2}]}`},
		{"nothing from Stripe", event.Stripe, nil, " "},
		{"JSON of Alertmanager that is none", event.Token, nil, "{"},
		{"a form of an unknown sender that is none", event.HMAC, form, "a=%zz"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := event.Header{"X-Github-Event": {"push"}, "X-Gitea-Event": {"push"}, "X-Event-Key": {"repo:push"}}
			for name, values := range tt.h {
				h[name] = values
			}
			d, err := event.Read(tt.kind, h, []byte(tt.body))
			if !errors.Is(err, event.ErrMalformed) || len(d.Events) > 0 {
				t.Errorf("Read = %v, %v, want ErrMalformed", d, err)
			}
		})
	}
}

// A field of another type must not make a whole delivery useless.
func TestUnexpectedTypesAreLeftOut(t *testing.T) {
	h := event.Header{"X-Github-Event": {"push"}}
	d, err := event.Read(event.GitHub, h, []byte(`{"ref":"refs/heads/main","after":"abc","commits":"many","sender":{"login":7},"repository":{"full_name":"a/b"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if e := d.Events[0]; e.Branch != "main" || e.Repo != "a/b" || e.FilesComplete {
		t.Errorf("Read = %+v, want what could be read", e)
	}
}

// GitLab does not sign the name in the header, so it is not one of another event.
func TestNameInTheHeaderOfGitLab(t *testing.T) {
	for _, tt := range []struct {
		kind, header string
		want         bool
	}{
		{"push", "Push Hook", true},
		{"push", "System Hook", true},
		{"push", "Something New Hook", true},
		{"note", "Confidential Note Hook", true},
		{"build", "Job Hook", true},
		{"work_item", "Issue Hook", true},
		{"", "Pipeline Hook", true},
		{"push", "Pipeline Hook", false},
		{"push", "Merge Request Hook", false},
		{"merge_request", "PUSH Hook", false},
		{"note", "Tag Push Hook", false},
	} {
		d, err := event.Read(event.GitLab, event.Header{"X-Gitlab-Event": {tt.header}}, []byte(`{"object_kind":"`+tt.kind+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Events[0].Is(tt.header); got != tt.want {
			t.Errorf("%q under %q: Is = %v, want %v", tt.kind, tt.header, got, tt.want)
		}
	}
}

// Handwritten tests are short. A missing field is not a deletion.
func TestShortDeliveries(t *testing.T) {
	for _, kind := range []event.Kind{event.GitHub, event.GitLab, event.Gitea} {
		for _, h := range []event.Header{nil, {"X-Github-Event": {"push"}, "X-Gitlab-Event": {"Push Hook"}, "X-Gitea-Event": {"push"}}} {
			d, err := event.Read(kind, h, []byte(`{"ref":"refs/heads/main"}`))
			if err != nil {
				t.Fatal(err)
			}
			if e := d.Events[0]; e.Deleted || e.Created || h != nil && (e.Branch != "main" || e.Name != "push") {
				t.Errorf("%s: %+v", kind, e)
			}
		}
	}
}

// GitHub cuts the list of commits, so a full list proves nothing.
func TestFullListOfCommitsIsNotComplete(t *testing.T) {
	h := event.Header{"X-Github-Event": {"push"}}
	for n, want := range map[int]bool{0: false, 1: true, 2047: true, 2048: false} {
		var commits []string
		for i := range n {
			commits = append(commits, fmt.Sprintf(`{"id":"%040x","modified":["f%d"]}`, i+1, i))
		}
		body := `{"ref":"refs/heads/main","before":"a","after":"b","commits":[` + strings.Join(commits, ",") + `]}`
		d, err := event.Read(event.GitHub, h, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if e := d.Events[0]; e.FilesComplete != want || len(e.Files) != n {
			t.Errorf("%d commits: %d files, FilesComplete = %v, want %v", n, len(e.Files), e.FilesComplete, want)
		}
	}
}

func TestBody(t *testing.T) {
	form := event.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}
	for _, tt := range []struct {
		name string
		kind event.Kind
		h    event.Header
		body string
		want any
	}{
		{"large integers stay as they are", event.Token, nil, `{"id":9007199254740993}`, map[string]any{"id": json.Number("9007199254740993")}},
		{"a form of GitHub is its payload", event.GitHub, form, "payload=%7B%22a%22%3A1%7D", map[string]any{"a": json.Number("1")}},
		{"a form of Slack", event.Slack, form, "text=a+b&x=1&x=2", map[string]any{"text": "a b", "x": []any{"1", "2"}}},
		{"a payload in another form is parsed", event.Token, form, "payload=%7B%22a%22%3A1%7D&b=c", map[string]any{"payload": map[string]any{"a": json.Number("1")}, "b": "c"}},
		{"a payload that is a text stays one", event.Token, form, "payload=hello", map[string]any{"payload": "hello"}},
		{"nothing", event.Token, nil, " \n", nil},
		{"null", event.Token, nil, "null", nil},
		{"a list", event.HMAC, nil, "[1]", []any{json.Number("1")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := event.Body(tt.kind, tt.h, []byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Body (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAmbiguousBodiesAreMalformed(t *testing.T) {
	for _, body := range []string{`{} {}`, `1 2`, `{} x`, `{"a":1,"a":2}`, `[{"a":{},"a":{}}]`} {
		if got, err := event.Body(event.Token, nil, []byte(body)); !errors.Is(err, event.ErrMalformed) {
			t.Errorf("Body(%s) = %v, %v, want ErrMalformed", body, got, err)
		}
	}
}

func TestErrorsShowNothingOfTheBody(t *testing.T) {
	const secret = "hunter2"
	h := event.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "X-Github-Event": {"push"}}
	for _, kind := range event.Kinds() {
		for _, body := range []string{"%" + secret, "payload=" + secret, "{" + secret, `{"` + secret + `"`} {
			for _, headers := range []event.Header{h, {"X-Github-Event": {"push"}, "X-Event-Key": {"repo:push"}}} {
				_, err := event.Read(kind, headers, []byte(body))
				_, bodyErr := event.Body(kind, headers, []byte(body))
				if text := fmt.Sprint(err, bodyErr); strings.Contains(text, secret) {
					t.Errorf("%s: %s shows the body", kind, text)
				}
			}
		}
	}
}

// The same bytes must lead to the same events, and none may cause a panic.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob(filepath.Join(samples, "*.http"))
	if err != nil {
		f.Fatal(err)
	}
	for i, file := range files {
		_, _, body := read(f, file)
		f.Add(i%2 == 0, "push", string(body))
	}
	for _, seed := range []string{"", "null", "[]", `{"push":{"changes":[null,{}]}}`, `{"changes":[{}]}`, `{"pull_request":{}}`, `{"object_kind":"push"}`, "payload=%7B%7D"} {
		f.Add(false, "pullrequest:", seed)
	}
	f.Fuzz(func(t *testing.T, form bool, name, body string) {
		h := event.Header{"X-Github-Event": {name}, "X-Gitea-Event": {name}, "X-Event-Key": {name}, "X-Gitlab-Event": {name}}
		if form {
			h["Content-Type"] = []string{"application/x-www-form-urlencoded"}
		}
		for _, kind := range event.Kinds() {
			d, err := event.Read(kind, h, []byte(body))
			if err != nil && !errors.Is(err, event.ErrMalformed) {
				t.Errorf("%s: Read = %v, want ErrMalformed", kind, err)
			}
			for i := range d.Events {
				e := &d.Events[i]
				if e.Branch != "" && e.Tag != "" || e.FilesComplete && (e.Created || e.Deleted || len(e.Files) > 0 && kind == event.Bitbucket) {
					t.Errorf("%s: impossible event %+v", kind, e)
				}
				_ = d.Once(i)
			}
			if _, err := event.Body(kind, h, []byte(body)); err != nil && !errors.Is(err, event.ErrMalformed) {
				t.Errorf("%s: Body = %v, want ErrMalformed", kind, err)
			}
		}
	})
}

func TestDiagnosticIsOfBitbucketOnly(t *testing.T) {
	h := event.Header{"X-Event-Key": {"diagnostics:ping"}}
	if !event.Diagnostic(event.Bitbucket, h) || event.Diagnostic(event.GitHub, h) || event.Diagnostic(event.Bitbucket, nil) {
		t.Error("Diagnostic does not distinguish the test of Data Center from others")
	}
}
