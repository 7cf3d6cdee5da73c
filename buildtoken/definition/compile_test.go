package definition_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// TestTokensOfEveryLevel compiles tokens at the top level, in two folders and in a job. The job
// must have all of them unchanged, the nearest first.
func TestTokensOfEveryLevel(t *testing.T) {
	day := time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)
	at := func(level int) []definition.Token {
		name := string(rune('a' + level))
		return []definition.Token{
			{Name: name, Digest: token.NewSecret(name).Digest(), Expires: day.AddDate(0, 0, level), Grants: token.Trigger | token.Grant(1<<level)},
			{Digest: token.NewSecret(name + " forever").Digest()},
		}
	}
	site, err := definition.Compile(definition.Spec{Root: definition.Folder{
		Tokens: at(3),
		Folders: []definition.Folder{{Name: "x", Tokens: at(2), Folders: []definition.Folder{
			{Name: "y", Tokens: at(1), Jobs: []definition.Job{{Name: "app", Runner: nothing{}, Tokens: at(0)}}},
		}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	j, err := site.Find("x/y/app")
	if err != nil {
		t.Fatal(err)
	}
	var want []token.Token
	for level := range 4 {
		named, unnamed := at(level)[0], at(level)[1]
		want = append(
			want,
			token.Token{Name: named.Name, Digest: named.Digest, Expires: named.Expires, Grants: named.Grants, Level: level},
			token.Token{Name: "default", Digest: unnamed.Digest, Grants: token.Trigger, Level: level},
		)
	}
	if diff := cmp.Diff(want, slices.Collect(j.Tokens.All())); diff != "" {
		t.Errorf("tokens of x/y/app (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"", "x/", "x/y/", "x/y/app"}, slices.Sorted(slices.Values(j.Places))); diff != "" {
		t.Errorf("places of these tokens (-want +got):\n%s", diff)
	}
}

// Wrong tokens count where there are tokens, however few.
func TestPlacesAreWhereTokensAre(t *testing.T) {
	one := func(name string) []definition.Token {
		return []definition.Token{{Digest: token.NewSecret(name).Digest()}}
	}
	site, err := definition.Compile(definition.Spec{Root: definition.Folder{Tokens: one("all"), Folders: []definition.Folder{{
		Name: "x", Jobs: []definition.Job{{Name: "app", Runner: nothing{}, Tokens: one("app")}},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := site.Jobs()["x/app"].Places; len(got) != 2 {
		t.Errorf("Places = %v, want the job and the root", got)
	}
}

// refers is a runner and a receiver of notifications that refer to parameters.
type refers struct {
	nothing
	visible, hidden string // one name each, if not empty
}

func (r *refers) Params() []string       { return one(r.visible) }
func (r *refers) HiddenParams() []string { return one(r.hidden) }

func (*refers) UsesLog() bool { return false }
func (*refers) Send(context.Context, *notify.Event, func() bool) notify.Outcome {
	return notify.Outcome{}
}

func one(name string) []string {
	if name == "" {
		return nil
	}
	return []string{name}
}

// A mistake is refused with the place where it is, and all mistakes are reported at once.
func TestCompileRefuses(t *testing.T) {
	secrets := []job.Param{{Name: "PW", Kind: job.KindPassword}, {Name: "ENV", Kind: job.KindString}}
	inFolder := func(f definition.Folder) definition.Folder {
		f.Name = "team"
		return definition.Folder{Folders: []definition.Folder{f}}
	}
	app := func(change func(*definition.Job)) definition.Folder {
		j := definition.Job{Name: "app", Runner: nothing{}, Params: secrets}
		change(&j)
		return inFolder(definition.Folder{Jobs: []definition.Job{j}})
	}
	for _, tt := range []struct {
		name string
		root definition.Folder
		want string
		is   error // nil: only ErrInvalid
	}{
		{"name of a folder", definition.Folder{Folders: []definition.Folder{{Name: "a/b"}}}, "a/b: folder: ", job.ErrBadName},
		{"name of a folder with another mistake in it", definition.Folder{Folders: []definition.Folder{{Name: "a/b", Jobs: []definition.Job{{Name: "x"}}}}}, "a/b: folder: ", job.ErrBadName},
		{"name of a job", app(func(j *definition.Job) { j.Name = ".." }), "team/..: job: ", job.ErrBadName},
		{"two jobs of one name", inFolder(definition.Folder{Jobs: []definition.Job{{Name: "app", Runner: nothing{}}, {Name: "app", Runner: nothing{}}}}), "team/app: ", job.ErrDuplicate},
		{"a job and a folder of one name", definition.Folder{
			Jobs:    []definition.Job{{Name: "app", Runner: nothing{}}},
			Folders: []definition.Folder{{Name: "app", Jobs: []definition.Job{{Name: "x", Runner: nothing{}}}}},
		}, "app", nil},
		{"nothing to run", app(func(j *definition.Job) { j.Runner = nil }), "team/app: nothing to run", nil},
		{"two parameters of one name", app(func(j *definition.Job) { j.Params = append(j.Params, j.Params[1]) }), "ENV", job.ErrDuplicate},
		{"two tokens of one name", app(func(j *definition.Job) { j.Tokens = []definition.Token{opens("a", 0), opens("a", 0)} }), "team/app: ", token.ErrDuplicate},
		{"a rule of a folder", inFolder(definition.Folder{Allow: []policy.Rule{{Source: "true"}, {Source: "nme"}}}), "team allow 2: ", policy.ErrBadRule},
		{"a rule of the top level", definition.Folder{Allow: []policy.Rule{{Source: "nme"}}}, "top level allow 1: ", policy.ErrBadRule},
		{"a rule of a job", app(func(j *definition.Job) { j.Allow = []policy.Rule{{Source: "nme"}} }), "team/app allow 1: ", policy.ErrBadRule},
		{"a rule of a token", app(func(j *definition.Job) { j.Tokens = []definition.Token{opens("", 0, "nme")} }), "team/app token default allow 1: ", policy.ErrBadRule},
		{"a parameter that a command does not have", app(func(j *definition.Job) { j.Runner = &refers{visible: "EVN"} }), "team/app: {param.EVN}: the job has no such parameter", nil},
		{"a password in a command", app(func(j *definition.Job) { j.Runner = &refers{visible: "PW"} }), "team/app: {param.PW}: others could see a password", nil},
		{"a hidden parameter that is not there", app(func(j *definition.Job) { j.Runner = &refers{hidden: "EVN"} }), "team/app: {param.EVN}: the job has no such parameter", nil},
		{"a receiver without a name", inFolder(definition.Folder{Notify: []definition.NotifySpec{{To: &refers{}}}}), "team: notify : ", token.ErrBadName},
		{"two receivers of one name", app(func(j *definition.Job) { j.Notify = []definition.NotifySpec{{Name: "a"}, {Name: "a"}} }), "team/app: notify a: there are two", nil},
		{"an unknown condition", app(func(j *definition.Job) {
			j.Notify = []definition.NotifySpec{{Name: "a", On: []queue.Condition{queue.OnFixed, "broken"}}}
		}), `team/app: notify a: on: "broken" is no condition`, nil},
		{"a receiver with a parameter that is not there", app(func(j *definition.Job) {
			j.Notify = []definition.NotifySpec{{Name: "a", To: &refers{visible: "EVN"}}}
		}), "team/app: notify team/app/a: {param.EVN}: the job has no such parameter", nil},
		{"a receiver with a password", app(func(j *definition.Job) { j.Notify = []definition.NotifySpec{{Name: "a", To: &refers{visible: "PW"}}} }), "notify team/app/a: {param.PW}: a password", nil},
		{"a receiver of a folder with a password of a job", inFolder(definition.Folder{
			Notify: []definition.NotifySpec{{Name: "a", To: &refers{visible: "PW"}}}, Jobs: []definition.Job{{Name: "app", Runner: nothing{}, Params: secrets}},
		}), "team/app: notify team/a: {param.PW}: a password", nil},
		{"a schedule", app(func(j *definition.Job) { j.Schedules = []definition.ScheduleSpec{{Spec: "61 * * * *"}} }), "team/app: ", nil},
		{"a zone", app(func(j *definition.Job) {
			j.Schedules = []definition.ScheduleSpec{{Spec: "@daily", Zone: "Mars/Olympus"}}
		}), "Mars/Olympus", nil},
		{"polls of a job that has none", app(func(j *definition.Job) { j.Schedules = []definition.ScheduleSpec{{Spec: "@daily", Poll: true}} }), "team/app: schedule: poll: the job has no poll directive", nil},
		{"parameters of a poll", app(func(j *definition.Job) {
			j.Poller = watcher{}
			j.Schedules = []definition.ScheduleSpec{{Spec: "@daily", Poll: true, Params: map[string]string{"ENV": "x"}}}
		}), "team/app: schedule: param: a poll has no parameters", nil},
		{"a parameter of a schedule that is not there", app(func(j *definition.Job) {
			j.Schedules = []definition.ScheduleSpec{{Spec: "@daily", Params: map[string]string{"EVN": "x"}}}
		}), "schedule: param EVN: the job has no such parameter", nil},
		{"a file of a schedule", app(func(j *definition.Job) {
			j.Params = params
			j.Schedules = []definition.ScheduleSpec{{Spec: "@daily", Params: map[string]string{"FILE": "x"}}}
		}), "schedule: param FILE: a schedule has no file", nil},
		{"a value of a schedule", app(func(j *definition.Job) {
			j.Params = params
			j.Schedules = []definition.ScheduleSpec{{Spec: "@daily", Params: map[string]string{"ENV": "moon"}}}
		}), "team/app: schedule: ", job.ErrValue},
	} {
		t.Run(tt.name, func(t *testing.T) {
			site, err := definition.Compile(definition.Spec{Root: tt.root})
			if site != nil || !errors.Is(err, definition.ErrInvalid) || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("Compile = %v, %v, want ErrInvalid and %q", site, err, tt.want)
			}
			if strings.Contains(fmt.Sprint(err), "\n") {
				t.Errorf("Compile reports one mistake more than once: %v", err)
			}
		})
	}
	_, err := definition.Compile(definition.Spec{
		Root:   definition.Folder{Folders: []definition.Folder{{Name: ".."}}, Jobs: []definition.Job{{Name: ".."}, {Name: "app", Runner: nothing{}}, {Name: "app"}, {Name: "twice", Runner: nothing{}, Params: []job.Param{{Name: "SAME", Kind: job.KindText}, {Name: "SAME", Kind: job.KindText}}}}},
		Access: definition.Access{Read: "nme", Build: "params.A == \"\"", Cancel: "1"},
	})
	for _, want := range []string{"folder: ", "job: ", "app: job: duplicate", "app: nothing to run", "SAME", "access read: ", "access build: ", "access cancel: "} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("Compile = %v, without %q", err, want)
		}
	}
}

// What a runner refers to and has, and what a folder sends that one of its jobs does not have, is
// not refused.
func TestCompileTakes(t *testing.T) {
	site, err := definition.Compile(definition.Spec{URL: "http://ci.example.com/", Root: definition.Folder{Folders: []definition.Folder{{
		Name: "team", Notify: []definition.NotifySpec{{Name: "ops", To: &refers{visible: "ENV"}}},
		Jobs: []definition.Job{
			{
				Name: "app", Params: []job.Param{{Name: "ENV", Kind: job.KindString, Default: "x"}, {Name: "PW", Kind: job.KindPassword}, {Name: "FILE", Kind: job.KindFile}},
				Runner: &refers{visible: "ENV", hidden: "PW"}, Poller: watcher{}, Badge: true,
				Notify:    []definition.NotifySpec{{Name: "own", On: []queue.Condition{queue.OnStarted}, To: &refers{visible: "ENV"}}},
				Schedules: []definition.ScheduleSpec{{Spec: "0 13 * * *", Zone: "UTC", Params: map[string]string{"ENV": "y"}}, {Spec: "0 9 * * *", Zone: "Etc/GMT-1", Poll: true}, {Spec: "0 12 * * *", Zone: "UTC"}},
			},
			{Name: "plain", Runner: nothing{}, Disabled: true, Schedules: []definition.ScheduleSpec{{Spec: "@daily"}}},
		},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	app, _ := site.Find("team/app")
	plain, _ := site.Find("team/plain")
	var targets []string
	for _, n := range app.Notify {
		targets = append(targets, fmt.Sprint(n.Target, n.On))
	}
	if want := []string{"team/ops[failure fixed]", "team/app/own[started]"}; !slices.Equal(targets, want) || len(plain.Notify) != 1 {
		t.Errorf("app notifies %v, want %v; plain %v", targets, want, plain.Notify)
	}
	if got := fmt.Sprint(app.Schedules[0].Values, app.Schedules[1].Values, app.Schedules[2].Values); got != "[ENV=y PW=****] [] [ENV=x PW=****]" {
		t.Errorf("values of the schedules: %s", got)
	}
	for now, want := range map[time.Time]time.Time{
		noon.Add(-time.Second): noon, noon: noon.Add(time.Hour), noon.Add(time.Hour): noon.Add(20 * time.Hour),
	} {
		if at, ok := app.NextScheduled(now); !ok || !at.Equal(want) {
			t.Errorf("NextScheduled(%v) = %v, %v, want %v", now, at, ok, want)
		}
	}
	if at, ok := plain.NextScheduled(noon); ok {
		t.Errorf("NextScheduled of a disabled job = %v", at)
	}
	for _, full := range []string{"team/app", "team/plain", "team/none", "team/.."} {
		isApp, exists := full == "team/app", full == "team/app" || full == "team/plain"
		j, found := site.Job(full)
		if site.Pollable(full) != isApp || site.Badged(full) != isApp || site.Has(full) != exists || found != exists || exists && j.FullName != full {
			t.Errorf("%s: pollable %v, badged %v, has %v, found %v", full, site.Pollable(full), site.Badged(full), site.Has(full), found)
		}
	}
	if app.Remote() || app.URL != "http://ci.example.com/" || len(site.Jobs()) != 2 || len(site.Tree().Jobs()) != 2 {
		t.Errorf("Remote = %v, URL = %q, jobs %v", app.Remote(), app.URL, site.Jobs())
	}
	if *app.Settings.QuietPeriod != 5*time.Second {
		t.Errorf("the quiet period is %v by default, want 5s", *app.Settings.QuietPeriod)
	}
}

// bounded is a runner that starts builds with an environment up to a limit.
type bounded struct {
	nothing
	limit int
	asked *int
}

func (b bounded) Fits(env []string, _ []runner.Param) error {
	*b.asked++
	if size := len(strings.Join(env, "")); size > b.limit {
		return runner.ErrTooLarge
	}
	return nil
}

// inspecting is a runner for another system, which refuses some small values.
type inspecting struct{ nothing }

func (inspecting) Remote() {}

func (inspecting) Fits(_ []string, params []runner.Param) error {
	if params[0].Value == ".." {
		return runner.ErrBadValue
	}
	return nil
}

// For another system, what a value holds counts, and not its length alone.
func TestSmallValuesThatARemoteRunnerCannotTake(t *testing.T) {
	site, err := definition.Compile(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{
		{Name: "app", Params: []job.Param{{Name: "V", Kind: job.KindString}}, Runner: inspecting{}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	app, _ := site.Find("app")
	for value, want := range map[string]error{"x": nil, "..": runner.ErrBadValue} {
		if err := app.Fits("http://x/", []job.Value{{Name: "V", Kind: job.KindString, Text: value}}); !errors.Is(err, want) {
			t.Errorf("Fits with %q = %v, want %v", value, err, want)
		}
	}
}

// A runner is asked about large values, and about all if it could not start the largest small ones.
func TestValuesThatARunnerCannotTake(t *testing.T) {
	const small = 4 << 10
	for _, tt := range []struct {
		name        string
		limit       int
		root, value string
		fits        bool
		asked       int // by the second of two equal triggers
	}{
		{"small values", 100 << 10, "http://x/", strings.Repeat("v", small), true, 0},
		{"a large value that fits", 100 << 10, "http://x/", strings.Repeat("v", small+1), true, 1},
		{"a large value that does not", 5 << 10, "http://x/", strings.Repeat("v", 6<<10), false, 1},
		{"a large root", 100 << 10, strings.Repeat("r", small+1), "v", true, 1},
		{"a zero byte", 100 << 10, "http://x/", "a\x00", true, 1},
		{"a small value that does not fit", 1 << 10, "http://x/", strings.Repeat("v", 2<<10), false, 1},
		{"a small value that fits a small runner", 1 << 10, "http://x/", "v", true, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			site, err := definition.Compile(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{
				{Name: "app", Params: []job.Param{{Name: "V", Kind: job.KindString}}, Runner: bounded{limit: tt.limit, asked: &asked}},
			}}})
			if err != nil {
				t.Fatal(err)
			}
			app, _ := site.Find("app")
			values := []job.Value{{Name: "V", Kind: job.KindString, Text: tt.value}}
			_ = app.Fits(tt.root, values) // the first one computes what small values need
			asked = 0
			if err := app.Fits(tt.root, values); tt.fits != (err == nil) || err != nil && !errors.Is(err, runner.ErrTooLarge) || asked != tt.asked {
				t.Errorf("Fits = %v after %d questions, want %v after %d", err, asked, tt.fits, tt.asked)
			}
			if strings.Contains(tt.value, "\x00") {
				return // no value of a trigger has one
			}
			ask := definition.Trigger{
				Caller: definition.Caller{Operator: true}, Action: definition.BuildWithParameters, Job: "app", Root: tt.root,
				Values: map[string][]string{"V": {tt.value}}, UserMayTrigger: true,
			}
			if a, err := site.Admit(t.Context(), noon, definition.Guard{}, &ask, nil); a.Admitted != tt.fits || !tt.fits && !errors.Is(err, runner.ErrTooLarge) {
				t.Errorf("Admit = %+v, %v, want %v", a, err, tt.fits)
			}
		})
	}
}

func TestRightsWithoutAToken(t *testing.T) {
	site, err := definition.Compile(definition.Spec{Access: definition.Access{Read: `user == "r"`, Build: `user == "b" && job.name == "app"`, Cancel: `user == "c"`}})
	if err != nil {
		t.Fatal(err)
	}
	byDefault, err := definition.Compile(definition.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		site  *definition.Site
		user  string
		right definition.Right
		may   bool
	}{
		{site, "r", definition.Read, true},
		{site, "r", definition.Start, false},
		{site, "r", definition.Stop, false},
		{site, "b", definition.Read, false},
		{site, "b", definition.Start, true},
		{site, "b", definition.Stop, false},
		{site, "c", definition.Read, false},
		{site, "c", definition.Start, false},
		{site, "c", definition.Stop, true},
		{site, "r", "other", false},
		{byDefault, "a", definition.Read, true},
		{byDefault, "a", definition.Start, false},
		{byDefault, "a", definition.Stop, false},
		{byDefault, "", definition.Read, false},
	} {
		if may := tt.site.May(t.Context(), definition.Caller{User: tt.user}, tt.right, "app"); may != tt.may {
			t.Errorf("user %q may %s: %v, want %v", tt.user, tt.right, may, tt.may)
		}
		if !tt.site.May(t.Context(), definition.Caller{User: tt.user, Operator: true}, tt.right, "app") {
			t.Errorf("the operator may not %s", tt.right)
		}
	}
	if site.May(t.Context(), definition.Caller{User: "b"}, definition.Start, "other") {
		t.Error("a rule about one job opens another")
	}
}
