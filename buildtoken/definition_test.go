package buildtoken_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

func TestSettingsAreInherited(t *testing.T) {
	env := func(pairs ...string) []job.Var {
		var all []job.Var
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, job.Var{Name: pairs[i], Value: pairs[i+1]})
		}
		return all
	}
	d := define(t, definition.Spec{Root: definition.Folder{
		Settings: job.Settings{QuietPeriod: new(time.Minute), Env: env("A", "root", "B", "root")},
		Jobs:     []definition.Job{{Name: "top", Runner: succeeds()}},
		Folders: []definition.Folder{{
			Name: "team", Settings: job.Settings{Timeout: new(time.Hour), Dir: new("src"), Env: env("B", "team", "C", "team"), KeepBuilds: new(7)},
			Jobs: []definition.Job{
				{Name: "app", Runner: succeeds()},
				{Name: "own", Runner: succeeds(), Settings: job.Settings{
					QuietPeriod: new(time.Duration(0)), Timeout: new(time.Duration(0)), Dir: new(""), Env: env("C", "own"), KeepBuilds: new(0),
				}},
			},
		}},
	}})
	plain := define(t, definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "plain", Runner: succeeds()}}}})
	for _, tt := range []struct {
		in   *definition.Site
		full string
		want job.Settings
	}{
		{d, "top", job.Settings{QuietPeriod: new(time.Minute), Env: env("A", "root", "B", "root")}},
		{d, "team/app", job.Settings{
			QuietPeriod: new(time.Minute), Timeout: new(time.Hour), Dir: new("src"), KeepBuilds: new(7),
			Env: env("A", "root", "B", "team", "C", "team"),
		}},
		{d, "team/own", job.Settings{
			QuietPeriod: new(time.Duration(0)), Timeout: new(time.Duration(0)), Dir: new(""), KeepBuilds: new(0),
			Env: env("A", "root", "B", "team", "C", "own"),
		}},
		{plain, "plain", job.Settings{QuietPeriod: new(definition.DefaultQuietPeriod)}},
	} {
		j, ok := tt.in.Job(tt.full)
		if !ok {
			t.Errorf("Job(%q) is not there", tt.full)
			continue
		}
		if len(j.Settings.Env) == 0 {
			j.Settings.Env = nil
		}
		if diff := cmp.Diff(tt.want, j.Settings); diff != "" {
			t.Errorf("settings of %s (-want +got):\n%s", tt.full, diff)
		}
	}
	if _, ok := d.Job("team"); ok {
		t.Error("Job(team) is there, it is a folder")
	}
}

func TestQuietPeriodIsTheDefaultDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{}, definition.Job{Name: "app", Tokens: opens(), Runner: succeeds()})
		none := s.trigger("app", func(t *buildtoken.Trigger) { t.Delay = nil })
		if got := none.Item.Due.Sub(none.Item.Since); got != 5*time.Second {
			t.Errorf("due after %v, want 5s", got)
		}
	})
}

// Of two tokens with the same secret, the nearest one applies, with its name and grants.
func TestNearestTokenCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{})
		named := func(name string, grants token.Grant, expires time.Time) []definition.Token {
			return []definition.Token{{Name: name, Digest: token.NewSecret(secret).Digest(), Grants: grants, Expires: expires}}
		}
		soon := time.Now().Add(time.Hour)
		s.attach(definition.Spec{Root: definition.Folder{
			Tokens: named("root", token.Status, time.Time{}),
			Folders: []definition.Folder{{
				Name: "team", Tokens: named("team", token.Log, time.Time{}),
				Jobs: []definition.Job{
					{Name: "app", Runner: succeeds()},
					{Name: "own", Runner: succeeds(), Tokens: named("", token.Cancel, soon)},
				},
			}},
			Jobs: []definition.Job{{Name: "top", Runner: succeeds()}},
		}})
		check := func(full, name string, grant token.Grant) {
			t.Helper()
			by := definition.Caller{Secret: token.NewSecret(secret), Presented: true}
			_, opened, err := s.Opens(t.Context(), s.def, full, by, grant)
			if err != nil || opened.Name != name || opened.Grants != grant {
				t.Errorf("Opens(%s) = %q %v, %v; want token %q, %v", full, opened.Name, opened.Grants, err, name, grant)
			}
		}
		check("top", "root", token.Status)
		check("team/app", "team", token.Log)
		check("team/own", "default", token.Cancel)
		time.Sleep(time.Hour) // the nearest has expired
		check("team/own", "team", token.Log)
	})
}

// refers is a runner whose arguments refer to parameters.
type refers struct {
	runs
	params []string
}

func (r refers) Params() []string { return r.params }

func (r refers) Poll(context.Context, runner.Build, io.Writer) (bool, error) { return false, nil }

func TestBadDefinitions(t *testing.T) {
	good := definition.Job{Name: "app", Runner: succeeds()}
	with := func(change func(*definition.Job)) definition.Spec {
		j := good
		change(&j)
		return definition.Spec{Root: definition.Folder{Folders: []definition.Folder{{Name: "team", Jobs: []definition.Job{j}}}}}
	}
	in := func(f definition.Folder) definition.Spec {
		return definition.Spec{Root: definition.Folder{Folders: []definition.Folder{f}}}
	}
	digest := token.NewSecret("x").Digest()
	password := []job.Param{{Name: "P", Kind: job.KindPassword}}
	for _, tt := range []struct {
		name string
		spec definition.Spec
		want error
		text string
	}{
		{"no runner", with(func(j *definition.Job) { j.Runner = nil }), nil, "team/app"},
		{"bad name of a job", with(func(j *definition.Job) { j.Name = ".." }), job.ErrBadName, "team/.."},
		{"no name of a job", with(func(j *definition.Job) { j.Name = "" }), job.ErrBadName, "team"},
		{"bad name of a folder", in(definition.Folder{Name: "a/b"}), job.ErrBadName, "a/b"},
		{"reserved parameter", with(func(j *definition.Job) { j.Params = stringParams("PATH") }), job.ErrBadParam, "team/app"},
		{"parameters that differ in case", with(func(j *definition.Job) { j.Params = stringParams("A", "a") }), job.ErrDuplicate, "team/app"},
		{"bad setting", with(func(j *definition.Job) { j.Settings.Timeout = new(-time.Second) }), job.ErrBadSetting, "team/app"},
		{"bad setting of the folder", in(definition.Folder{Name: "team", Settings: job.Settings{QuietPeriod: new(-time.Second)}, Jobs: []definition.Job{good}}), job.ErrBadSetting, "team/app"},
		{"bad coalesce", with(func(j *definition.Job) { j.Coalesce = "sometimes" }), job.ErrBadSetting, "team/app"},
		{"the same job twice", in(definition.Folder{Name: "team", Jobs: []definition.Job{good, good}}), job.ErrDuplicate, "team/app"},
		{"a job and a folder", definition.Spec{Root: definition.Folder{
			Jobs: []definition.Job{good}, Folders: []definition.Folder{{Name: "app", Jobs: []definition.Job{good}}},
		}}, job.ErrDuplicate, `"app"`},
		{"a token without a secret", with(func(j *definition.Job) { j.Tokens = []definition.Token{{}} }), token.ErrEmpty, "team/app"},
		{"two tokens of a name", with(func(j *definition.Job) {
			j.Tokens = []definition.Token{{Name: "a", Digest: digest}, {Name: "a", Digest: digest}}
		}), token.ErrDuplicate, "team/app"},
		{"bad name of a token", with(func(j *definition.Job) { j.Tokens = []definition.Token{{Name: "a/b", Digest: digest}} }), token.ErrBadName, "team/app"},
		{"a rule that is no CEL", with(func(j *definition.Job) { j.Allow = rulesOf("true", "job =") }), nil, "team/app allow 2"},
		{"a rule that is not bool", with(func(j *definition.Job) { j.Allow = rulesOf("job.name") }), nil, "team/app allow 1"},
		{"a rule of a token", with(func(j *definition.Job) {
			j.Tokens = []definition.Token{{Name: "ci", Digest: digest, Allow: rulesOf("nobody")}}
		}), nil, "team/app token ci allow 1"},
		{"a rule of a folder", in(definition.Folder{Name: "team", Allow: rulesOf("1")}), nil, "team allow 1"},
		{"a rule of the top", definition.Spec{Root: definition.Folder{Allow: rulesOf("1")}}, nil, "top level allow 1"},
		{"an access rule", definition.Spec{Access: definition.Access{Build: "params.X == ''"}}, nil, "access build"},
		{"an unknown parameter in an argument", with(func(j *definition.Job) { j.Runner = refers{params: []string{"X"}} }), nil, "team/app: {param.X}"},
		{"a password in an argument", with(func(j *definition.Job) { j.Params, j.Runner = password, refers{params: []string{"P"}} }), nil, "team/app: {param.P}"},
		{"a password in an argument of the poll", with(func(j *definition.Job) { j.Params, j.Poller = password, refers{params: []string{"P"}} }), nil, "team/app: {param.P}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := definition.Compile(tt.spec)
			if d != nil || !errors.Is(err, definition.ErrInvalid) || tt.want != nil && !errors.Is(err, tt.want) {
				t.Fatalf("Define = %v, %v; want ErrDefinition and %v", d, err, tt.want)
			}
			if !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %q does not contain %q", err, tt.text)
			}
		})
	}
}

func TestAllMistakesAreNamed(t *testing.T) {
	_, err := definition.Compile(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{
		{Name: "a"},
		{Name: "b", Runner: succeeds(), Params: stringParams("PATH")},
		{Name: "c", Runner: succeeds(), Settings: job.Settings{Timeout: new(-time.Second)}},
		{Name: "d", Runner: succeeds(), Allow: rulesOf("1")},
		{Name: "e", Runner: succeeds()},
	}}})
	for _, name := range []string{"a", `"b"`, `"c"`, "d"} {
		if err == nil || !strings.Contains(err.Error(), name+":") && !strings.Contains(err.Error(), name+" allow") {
			t.Errorf("Define = %v, does not name %s", err, name)
		}
	}
}

func TestAFolderMayStandTwice(t *testing.T) {
	d := define(t, definition.Spec{Root: definition.Folder{Folders: []definition.Folder{
		{Name: "team", Jobs: []definition.Job{{Name: "b", Runner: succeeds()}}},
		{Name: "team", Jobs: []definition.Job{{Name: "a", Runner: succeeds()}}},
	}}})
	var got []string
	for _, j := range d.Tree().Jobs() {
		got = append(got, j.FullName)
	}
	if !slices.Equal(got, []string{"team/a", "team/b"}) {
		t.Errorf("jobs = %v", got)
	}
}

// Rules are evaluated from the top down; the error names the first that denies.
func TestRulesFromTheTopDown(t *testing.T) {
	s := openSite(t, buildtoken.Config{})
	rule := func(level string) []policy.Rule { return rulesOf(fmt.Sprintf("!cause.contains(%q)", level)) }
	s.attach(definition.Spec{Root: definition.Folder{
		Allow: rule("root"),
		Folders: []definition.Folder{{
			Name: "team", Allow: rule("team"),
			Tokens: []definition.Token{{Name: "ci", Digest: token.NewSecret(secret).Digest(), Allow: rule("token")}},
			Jobs:   []definition.Job{{Name: "app", Allow: rule("job"), Runner: succeeds()}},
		}},
	}})
	for _, tt := range []struct{ cause, want string }{
		{"root team job token", "top level allow 1"},
		{"team job token", "team allow 1"},
		{"job token", "team/app allow 1"},
		{"token", "team token ci allow 1"},
		{"", ""},
	} {
		_, err := s.Trigger(t.Context(), s.def, ask("team/app", func(t *buildtoken.Trigger) { t.Cause = &tt.cause }))
		var denied *policy.Denied
		if errors.As(err, &denied) != (tt.want != "") || denied != nil && denied.Rule.Name != tt.want {
			t.Errorf("cause %q: Trigger = %v, want it denied by %q", tt.cause, err, tt.want)
		}
	}
	entries := s.logs.FilterMessage("trigger refused").All()
	if len(entries) != 4 || entries[2].ContextMap()["rule"] != "team/app allow 1" {
		t.Errorf("%d refusals were logged, want 4 that name their rule", len(entries))
	}
}

func BenchmarkDefine(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		root := definition.Folder{Tokens: opens(), Allow: rulesOf(`user == ""`)}
		for f := range n / 100 {
			folder := definition.Folder{Name: fmt.Sprintf("folder%d", f)}
			for j := range 100 {
				folder.Jobs = append(folder.Jobs, definition.Job{Name: fmt.Sprintf("job%d", j), Tokens: opens(), Runner: succeeds(), Params: stringParams("A", "B")})
			}
			root.Folders = append(root.Folders, folder)
		}
		b.Run(fmt.Sprintf("jobs=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := definition.Compile(definition.Spec{Root: root}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
