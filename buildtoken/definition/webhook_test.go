package definition_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/hook"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

type nothing struct{}

func (nothing) Run(context.Context, runner.Build, io.Writer) runner.Result {
	return runner.Result{Outcome: runner.Success}
}

func github(t testing.TB, name string) definition.WebhookSpec {
	t.Helper()
	s, err := hook.ParseSecret(event.GitHub, "secret-of-"+name+".")
	if err != nil {
		t.Fatal(err)
	}
	return definition.WebhookSpec{Name: name, Config: hook.Config{Kind: event.GitHub, Secrets: []hook.Secret{s}}}
}

var params = []job.Param{
	{Name: "BRANCH", Kind: job.KindString, Default: "main"},
	{Name: "FLAG", Kind: job.KindBoolean},
	{Name: "ENV", Kind: job.KindChoice, Choices: []string{"staging", "production"}},
	{Name: "FILE", Kind: job.KindFile},
}

// oneJob is a site with the job shop/test, below a webhook in its folder.
func oneJob(t testing.TB, on ...definition.OnSpec) (*definition.Site, error) {
	t.Helper()
	return definition.Compile(definition.Spec{Root: definition.Folder{Folders: []definition.Folder{{
		Name: "shop", Webhooks: []definition.WebhookSpec{github(t, "")},
		Jobs: []definition.Job{{Name: "test", Runner: nothing{}, Params: params, On: on}},
	}}}})
}

func TestOnIsCheckedWhenItIsLoaded(t *testing.T) {
	delay := func(d time.Duration) definition.OnSpec { return definition.OnSpec{Webhook: "github", Delay: &d} }
	for _, tt := range []struct {
		name string
		on   definition.OnSpec
		want string // "" is no error
	}{
		{"an event without more", definition.OnSpec{Webhook: "github", Events: []string{"push"}}, ""},
		{"everything", definition.OnSpec{
			Webhook: "github", When: `event.branch == "main"`, Cause: `event.sender`, Include: []string{"deletions", "skips", "forks"},
			Set: []definition.SetSpec{{"BRANCH", "event.branch"}, {"FLAG", "event.fork"}, {"ENV", "body.?env"}},
		}, ""},
		{"an unknown webhook", definition.OnSpec{Webhook: "gitlab"}, "shop/test: on gitlab: neither the job nor a folder above it has a webhook of this name"},
		{"a misspelt field", definition.OnSpec{Webhook: "github", When: `event.brnach == ""`}, "shop/test: on 1: policy: bad rule: on github when: 1:6: undefined field 'brnach'"},
		{"a condition that is a text", definition.OnSpec{Webhook: "github", When: `event.branch`}, "want bool"},
		{"a parameter that does not exist", definition.OnSpec{Webhook: "github", Set: []definition.SetSpec{{"BRNACH", "event.branch"}}}, "on github set BRNACH: the job has no such parameter"},
		{"a parameter that is set twice", definition.OnSpec{Webhook: "github", Set: []definition.SetSpec{{"BRANCH", "event.branch"}, {"BRANCH", "event.tag"}}}, "it is set twice"},
		{"a file", definition.OnSpec{Webhook: "github", Set: []definition.SetSpec{{"FILE", "event.branch"}}}, "a delivery cannot set a file"},
		{"a list for a boolean", definition.OnSpec{Webhook: "github", Set: []definition.SetSpec{{"FLAG", "event.files"}}}, "does not fit a boolean"},
		{"a list for a choice", definition.OnSpec{Webhook: "github", Set: []definition.SetSpec{{"ENV", "event.files"}}}, "does not fit a choice"},
		{"a list for a text", definition.OnSpec{Webhook: "github", Set: []definition.SetSpec{{"BRANCH", "event.files"}}}, ""},
		{"an unknown thing to include", definition.OnSpec{Webhook: "github", Include: []string{"fork"}}, `include: "fork" is none of`},
		{"no delay", delay(0), ""},
		{"a delay of a year", delay(365 * 24 * time.Hour), ""},
		{"a delay of more than a year", delay(365*24*time.Hour + 1), "delay"},
		{"a delay into the past", delay(-1), "delay"},
		{"a cause of no text", definition.OnSpec{Webhook: "github", Cause: "event"}, "want a value that has a text"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := oneJob(t, tt.on)
			if tt.want == "" {
				if err != nil {
					t.Fatalf("Compile = %v, want nil", err)
				}
				return
			}
			if !errors.Is(err, definition.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Compile = %v, want ErrInvalid with %q", err, tt.want)
			}
		})
	}
}

func TestWebhooksAreChecked(t *testing.T) {
	for _, tt := range []struct {
		name  string
		hooks []definition.WebhookSpec
		want  string
	}{
		{"two of one kind without names", []definition.WebhookSpec{github(t, ""), github(t, "")}, "webhook github: there are two of this name"},
		{"one that is named like the other's kind", []definition.WebhookSpec{github(t, ""), github(t, "github")}, "two of this name"},
		{"two names", []definition.WebhookSpec{github(t, "a"), github(t, "b")}, ""},
		{"no secret", []definition.WebhookSpec{{Config: hook.Config{Kind: event.GitHub}}}, "no secret"},
		{"a name that is none", []definition.WebhookSpec{github(t, "a/b")}, "slash"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := definition.Compile(definition.Spec{Root: definition.Folder{Webhooks: tt.hooks}})
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Compile = %v, want %q", err, tt.want)
			}
		})
	}
}

// A webhook of a folder applies to the jobs below it, and the nearest of a name has precedence.
func TestNearestWebhookCounts(t *testing.T) {
	on := []definition.OnSpec{{Webhook: "github"}}
	site, err := definition.Compile(definition.Spec{Root: definition.Folder{
		Webhooks: []definition.WebhookSpec{github(t, "")},
		Jobs:     []definition.Job{{Name: "top", Runner: nothing{}, On: on}, {Name: "none", Runner: nothing{}}},
		Folders: []definition.Folder{
			{Name: "a", Jobs: []definition.Job{{Name: "j", Runner: nothing{}, On: on}}},
			{Name: "b", Webhooks: []definition.WebhookSpec{github(t, "")}, Jobs: []definition.Job{{Name: "j", Runner: nothing{}, On: on}}},
			{Name: "bb", Jobs: []definition.Job{{Name: "j", Runner: nothing{}, On: on, Webhooks: []definition.WebhookSpec{github(t, "")}}}},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	jobs := site.Jobs()
	top := jobs["top"].On[0].Webhook
	if jobs["a/j"].On[0].Webhook != top || jobs["b/j"].On[0].Webhook == top || jobs["bb/j"].On[0].Webhook == top {
		t.Error("On does not use the nearest webhook of the name")
	}
	for given, want := range map[string][]string{
		"": {"a/j", "b/j", "bb/j", "top"}, "b": {"b/j"}, "b/j": {"b/j"}, "top": {"top"}, "none": nil, "c": nil, "b/k": nil, "../a": nil,
	} {
		found, err := site.Hooked(given)
		var names []string
		for _, j := range found {
			names = append(names, j.FullName)
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("Hooked(%q) (-want +got):\n%s", given, diff)
		}
		if (err == nil) != (want != nil) || err != nil && !errors.Is(err, definition.ErrUnknownJob) {
			t.Errorf("Hooked(%q) = %v", given, err)
		}
	}
}

func TestDecide(t *testing.T) {
	push := definition.OnSpec{Webhook: "github", Events: []string{"push"}, When: `event.branch == "main"`, Set: []definition.SetSpec{{"BRANCH", "event.branch"}}}
	event1 := event.Event{Kind: event.GitHub, Name: "push", Branch: "main", Repo: "shop/api", Sender: "octavia"}
	with := func(change func(*event.Event)) event.Event {
		e := event1
		change(&e)
		return e
	}
	for _, tt := range []struct {
		name    string
		on      []definition.OnSpec
		event   event.Event
		ignored string
		values  map[string][]string
		cause   string
		delay   time.Duration
		err     string
		warning string
	}{
		{name: "it counts", on: []definition.OnSpec{push}, event: event1, values: map[string][]string{"BRANCH": {"main"}}, cause: "push to main of shop/api by octavia"},
		{name: "a delay", on: []definition.OnSpec{{Webhook: "github", Delay: new(3 * time.Second)}}, event: event1, values: map[string][]string{}, cause: "push to main of shop/api by octavia", delay: 3 * time.Second},
		{name: "another event", on: []definition.OnSpec{push}, event: with(func(e *event.Event) { e.Name = "release" }), ignored: "event"},
		{name: "another branch", on: []definition.OnSpec{push}, event: with(func(e *event.Event) { e.Branch = "x" }), ignored: "when"},
		{name: "a deletion", on: []definition.OnSpec{push}, event: with(func(e *event.Event) { e.Deleted = true }), ignored: "deletion"},
		{name: "a skip", on: []definition.OnSpec{push}, event: with(func(e *event.Event) { e.Skip = true }), ignored: "skip"},
		{name: "a fork", on: []definition.OnSpec{{Webhook: "github"}}, event: with(func(e *event.Event) { e.Fork = true }), ignored: "fork"},
		{
			name: "all of it, included", on: []definition.OnSpec{{Webhook: "github", Include: []string{"deletions", "skips", "forks"}}},
			event: with(func(e *event.Event) { e.Fork, e.Skip, e.Deleted = true, true, true }), values: map[string][]string{}, cause: "push to main of shop/api by octavia",
		},
		{
			name: "the first that matches counts", on: []definition.OnSpec{
				{Webhook: "github", Events: []string{"release"}},
				{Webhook: "github", When: `event.tag != ""`, Cause: `"a"`},
				{Webhook: "github", When: `event.tag == ""`, Cause: `"b"`},
				{Webhook: "github", Cause: `"c"`},
			}, event: event1, values: map[string][]string{}, cause: "b",
		},
		{
			name: "the check that came furthest is the reason", on: []definition.OnSpec{{Webhook: "github", When: "false"}, {Webhook: "github", Events: []string{"release"}}},
			event: event1, ignored: "when",
		},
		{name: "a condition that fails", on: []definition.OnSpec{{Webhook: "github", When: `body.missing`}}, event: event1, ignored: "when", warning: "on github when: no such key"},
		{
			name: "a value that fails", on: []definition.OnSpec{{Webhook: "github", Set: []definition.SetSpec{{"BRANCH", "body.missing"}}}}, event: event1,
			values: map[string][]string{}, err: "parameter BRANCH: the expression failed",
		},
		{
			name: "a value that is absent", on: []definition.OnSpec{{Webhook: "github", Set: []definition.SetSpec{{"BRANCH", "body.?missing"}, {"ENV", "null"}}}},
			event: event1, values: map[string][]string{}, cause: "push to main of shop/api by octavia",
		},
		{
			name: "a cause that fails", on: []definition.OnSpec{{Webhook: "github", Cause: "body.missing"}}, event: event1,
			values: map[string][]string{}, cause: "push to main of shop/api by octavia", warning: "on github cause: no such key",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			site, err := oneJob(t, tt.on...)
			if err != nil {
				t.Fatal(err)
			}
			j := site.Jobs()["shop/test"]
			in := policy.Delivery{Event: &tt.event, Body: func() (any, error) { return map[string]any{"env": "staging"}, nil }}
			d := j.Decide(t.Context(), []*definition.Webhook{j.On[0].Webhook}, in)
			if d.Ignored != tt.ignored || d.Cause != tt.cause || (d.Webhook == "") != (tt.ignored != "") {
				t.Errorf("Decide = %+v", d)
			}
			if (d.Delay != nil) != (tt.delay != 0) || d.Delay != nil && *d.Delay != tt.delay {
				t.Errorf("Delay = %v, want %v", d.Delay, tt.delay)
			}
			if diff := cmp.Diff(tt.values, d.Values); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
			if (d.Err != nil) != (tt.err != "") || d.Err != nil && (!errors.Is(d.Err, job.ErrValue) || !strings.Contains(d.Err.Error(), tt.err)) {
				t.Errorf("Err = %v, want %q", d.Err, tt.err)
			}
			if (d.Warning != nil) != (tt.warning != "") || d.Warning != nil && !strings.Contains(d.Warning.Error(), tt.warning) {
				t.Errorf("Warning = %v, want %q", d.Warning, tt.warning)
			}
			if d.Ignored != "" && len(d.Steps) == 0 {
				t.Error("an ignored event has no steps with the reason")
			}
			if other := j.Decide(t.Context(), nil, in); other.Webhook != "" {
				t.Error("a webhook that verified nothing counts")
			}
			if !j.Takes([]*definition.Webhook{{}, j.On[0].Webhook}) || j.Takes([]*definition.Webhook{{}}) {
				t.Error("Takes does not look for the webhooks of the job")
			}
		})
	}
}

func TestSummaryOfAnEvent(t *testing.T) {
	for want, e := range map[string]event.Event{
		"push":                           {Name: "push"},
		"push to main of o/r by u":       {Name: "push", Branch: "main", Repo: "o/r", Sender: "u"},
		"push of tag v1 of o/r":          {Name: "push", Tag: "v1", Repo: "o/r"},
		"pull_request opened #1 by u":    {Name: "pull_request", Action: "opened", Number: 1, Branch: "topic", Sender: "u"},
		"release published of tag v1":    {Name: "release", Action: "published", Tag: "v1"},
		"issue_comment created #7 of r":  {Name: "issue_comment", Action: "created", Number: 7, Repo: "r"},
		"workflow_run completed to main": {Name: "workflow_run", Action: "completed", Branch: "main"},
	} {
		if got := definition.Summary(&e); got != want {
			t.Errorf("Summary = %q, want %q", got, want)
		}
	}
}

func TestDisabledJobIgnoresDeliveries(t *testing.T) {
	site, err := definition.Compile(definition.Spec{Root: definition.Folder{Webhooks: []definition.WebhookSpec{github(t, "")}, Jobs: []definition.Job{
		{Name: "off", Disabled: true, Runner: nothing{}, On: []definition.OnSpec{{Webhook: "github"}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	j := site.Jobs()["off"]
	if d := j.Decide(t.Context(), []*definition.Webhook{j.On[0].Webhook}, policy.Delivery{Event: new(event.Event)}); d.Ignored != "disabled" || d.Webhook != "" {
		t.Errorf("Decide = %+v, want it ignored", d)
	}
}

func TestStepsNameEveryCheck(t *testing.T) {
	site, err := oneJob(t, definition.OnSpec{Webhook: "github", Events: []string{"release"}},
		definition.OnSpec{Webhook: "github", Events: []string{"push"}, When: "true", Set: []definition.SetSpec{{"BRANCH", "event.branch"}, {"ENV", "null"}}})
	if err != nil {
		t.Fatal(err)
	}
	j := site.Jobs()["shop/test"]
	d := j.Decide(t.Context(), []*definition.Webhook{j.On[0].Webhook}, policy.Delivery{Event: &event.Event{Name: "push", Branch: "main"}})
	want := []definition.Step{
		{Check: "on github release event", Found: `it is "push"`, OtherEvent: true},
		{Check: "on github push when", Found: "true", OK: true, Rule: policy.Rule{Source: "true"}},
		{Check: "on github push set BRANCH", Found: "4 bytes", OK: true},
		{Check: "on github push set ENV", Found: "absent, the default", OK: true},
	}
	if diff := cmp.Diff(want, d.Steps); diff != "" {
		t.Errorf("Steps (-want +got):\n%s", diff)
	}
	site, err = oneJob(t, definition.OnSpec{Webhook: "github", Set: []definition.SetSpec{{"BRANCH", "body.missing"}, {"ENV", "null"}}})
	if err != nil {
		t.Fatal(err)
	}
	j = site.Jobs()["shop/test"]
	d = j.Decide(t.Context(), []*definition.Webhook{j.On[0].Webhook}, policy.Delivery{Event: new(event.Event), Body: func() (any, error) { return map[string]any{}, nil }})
	want = []definition.Step{{Check: "on github set BRANCH", Found: "it failed: no such key: missing"}}
	if diff := cmp.Diff(want, d.Steps); diff != "" {
		t.Errorf("Steps of a value that fails (-want +got):\n%s", diff)
	}
}

// The value that a delivery sets a password to is never shown, whichever job and webhook set it.
func TestSetsPassword(t *testing.T) {
	secret := []job.Param{{Name: "A", Kind: job.KindString}, {Name: "PASSWORD", Kind: job.KindPassword}}
	on := func(webhook string, set ...string) definition.OnSpec {
		spec := definition.OnSpec{Webhook: webhook}
		for _, name := range set {
			spec.Set = append(spec.Set, definition.SetSpec{Param: name, Value: "event.branch"})
		}
		return spec
	}
	for name, tt := range map[string]struct {
		on    []definition.OnSpec
		wants bool
	}{
		"nothing":                   {[]definition.OnSpec{on("x")}, false},
		"a string":                  {[]definition.OnSpec{on("x", "A")}, false},
		"a password":                {[]definition.OnSpec{on("x", "PASSWORD")}, true},
		"a password and a string":   {[]definition.OnSpec{on("x", "PASSWORD", "A")}, true},
		"in the second on":          {[]definition.OnSpec{on("x", "A"), on("x", "PASSWORD")}, true},
		"by another webhook":        {[]definition.OnSpec{on("x", "A"), on("y", "PASSWORD")}, false},
		"by another webhook, first": {[]definition.OnSpec{on("y", "PASSWORD"), on("x", "A")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			site, err := definition.Compile(definition.Spec{Root: definition.Folder{
				Webhooks: []definition.WebhookSpec{github(t, "x"), github(t, "y")},
				Jobs:     []definition.Job{{Name: "app", Runner: nothing{}, Params: secret, On: tt.on}, {Name: "x", Runner: nothing{}, On: []definition.OnSpec{on("x")}}},
			}})
			if err != nil {
				t.Fatal(err)
			}
			x := site.Jobs()["x"].On[0].Webhook
			if got := site.Jobs()["app"].SetsPassword([]*definition.Webhook{x}); got != tt.wants {
				t.Errorf("SetsPassword = %v, want %v", got, tt.wants)
			}
		})
	}
}
