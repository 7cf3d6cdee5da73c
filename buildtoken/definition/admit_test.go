package definition_test

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/throttle"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func opens(name string, grants token.Grant, allow ...string) definition.Token {
	t := definition.Token{Name: name, Digest: token.NewSecret("secret of " + name).Digest(), Grants: grants}
	for _, source := range allow {
		t.Allow = append(t.Allow, policy.Rule{Source: source})
	}
	return t
}

// guarded is a site with a job for each thing that a check looks at.
func guarded(t testing.TB) *definition.Site {
	t.Helper()
	old := opens("old", token.Trigger)
	old.Expires = noon
	quiet := 7 * time.Second
	site, err := definition.Compile(definition.Spec{
		Access: definition.Access{Build: `user == "alice" || user == "" && request.method == "local"`},
		Root: definition.Folder{
			Jobs: []definition.Job{{Name: "closed", Runner: nothing{}}},
			Folders: []definition.Folder{{
				Name: "team", Settings: job.Settings{QuietPeriod: &quiet},
				Tokens: []definition.Token{opens("team", 0, `delay >= duration("7s") && delay < duration("1h")`)},
				Allow:  []policy.Rule{{Source: `cause != "bad"`, Message: "ask the team\nfirst"}},
				Jobs: []definition.Job{
					{Name: "app", Runner: nothing{}, Tokens: []definition.Token{opens("app", 0), opens("view", token.Status), old}},
					{Name: "params", Runner: nothing{}, Poller: watcher{}, Params: append([]job.Param{{Name: "PW", Kind: job.KindPassword}}, params...), Allow: []policy.Rule{{Source: `params.PW != "no"`}}},
					{Name: "one", Runner: nothing{}, Params: params[:1]},
					{Name: "off", Runner: nothing{}, Disabled: true},
				},
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return site
}

type watcher struct{}

func (watcher) Poll(context.Context, runner.Build, io.Writer) (bool, error) {
	return false, nil
}

// trigger is a POST with the token of the job team/app for that job.
func trigger(change ...func(*definition.Trigger)) *definition.Trigger {
	t := &definition.Trigger{
		Caller: definition.Caller{Secret: token.NewSecret("secret of app"), Presented: true, Post: true, Remote: netip.MustParseAddr("::ffff:192.0.2.7")},
		Action: definition.Build, Job: "team/app", Root: "http://ci.example.com/",
	}
	for _, f := range change {
		f(t)
	}
	return t
}

func TestAdmit(t *testing.T) {
	site := guarded(t)
	secret := func(name string) func(*definition.Trigger) {
		return func(t *definition.Trigger) { t.Secret = token.NewSecret("secret of " + name) }
	}
	at := func(full string) func(*definition.Trigger) {
		return func(t *definition.Trigger) { t.Job, t.Secret = full, token.NewSecret("secret of team") }
	}
	text := func(s string) *string { return &s }
	user := func(t *definition.Trigger) { t.Secret, t.Presented, t.User = token.Secret{}, false, "alice" }
	parameters := func(pairs ...string) func(*definition.Trigger) {
		return func(t *definition.Trigger) {
			t.Action, t.Values = definition.BuildWithParameters, map[string][]string{}
			for i := 0; i < len(pairs); i += 2 {
				t.Values[pairs[i]] = []string{pairs[i+1]}
			}
		}
	}
	for _, tt := range []struct {
		name  string
		ask   *definition.Trigger
		check definition.Check
		want  error  // nil: admitted
		text  string // of the error
	}{
		{"a token of the job", trigger(), definition.CheckRule, nil, ""},
		{"a token of the folder", trigger(secret("team")), definition.CheckRule, nil, ""},
		{"another token", trigger(secret("nobody")), definition.CheckToken, token.ErrMismatch, ""},
		{"an empty token is a wrong one", trigger(func(t *definition.Trigger) { t.Secret = token.Secret{} }), definition.CheckToken, token.ErrMismatch, ""},
		{"no token", trigger(func(t *definition.Trigger) { t.Secret, t.Presented = token.Secret{}, false }), definition.CheckToken, token.ErrMissing, ""},
		{"a token that expired", trigger(secret("old")), definition.CheckToken, token.ErrExpired, ""},
		{"a token without the grant", trigger(secret("view")), definition.CheckGrant, definition.ErrNotGranted, "trigger"},
		{"a job that is not there", trigger(at("team/none")), definition.CheckJob, definition.ErrUnknownJob, ""},
		{"a name that is none", trigger(at("team/../app")), definition.CheckJob, definition.ErrUnknownJob, "bad"},
		{"a job that no token opens", trigger(at("closed")), definition.CheckJob, definition.ErrUnknownJob, "no token opens closed"},
		{"a user at a job that no token opens", trigger(at("closed"), user), definition.CheckJob, definition.ErrUnknownJob, ""},
		{"the same where users may trigger", trigger(at("closed"), user, func(t *definition.Trigger) { t.UserMayTrigger = true }), definition.CheckParameters, nil, ""},
		{"a user", trigger(user), definition.CheckRule, nil, ""},
		{"a user without POST", trigger(user, func(t *definition.Trigger) { t.Post = false }), definition.CheckPost, definition.ErrNeedsPost, ""},
		{"another user", trigger(user, func(t *definition.Trigger) { t.User = "bob" }), definition.CheckToken, token.ErrMissing, ""},
		{"the right user with a wrong token", trigger(user, secret("nobody"), func(t *definition.Trigger) { t.Presented = true }), definition.CheckToken, token.ErrMismatch, ""},
		{"a rule that lets anyone in", trigger(user, func(t *definition.Trigger) {
			t.User, t.Request = "", func() policy.Request { return policy.Request{Method: "local"} }
		}), definition.CheckRule, nil, ""},
		{"the operator needs no token", trigger(at("closed"), func(t *definition.Trigger) { t.Operator, t.Secret = true, token.Secret{} }), definition.CheckParameters, nil, ""},
		{"a webhook needs no token", trigger(func(t *definition.Trigger) { t.Webhook, t.Secret = "github", token.Secret{} }), definition.CheckRule, nil, ""},
		{"a webhook at a job without tokens", trigger(at("closed"), func(t *definition.Trigger) { t.Webhook = "github" }), definition.CheckParameters, nil, ""},
		{"a webhook that a rule of the job denies", trigger(at("team/params"), parameters("PW", "no"), func(t *definition.Trigger) { t.Webhook = "github" }), definition.CheckRule, policy.ErrDenied, "team/params allow 1"},
		{"a webhook at no job", trigger(at("none"), func(t *definition.Trigger) { t.Webhook = "github" }), definition.CheckJob, definition.ErrUnknownJob, ""},
		{"a disabled job", trigger(at("team/off")), definition.CheckEnabled, definition.ErrNotBuildable, "team/off is not buildable"},
		{"a disabled job with a wrong token", trigger(at("team/off"), secret("nobody")), definition.CheckToken, token.ErrMismatch, ""},
		{"polling a job without a poller", trigger(func(t *definition.Trigger) { t.Action = definition.Polling }), definition.CheckEndpoint, definition.ErrNotPollable, "team/app is not"},
		{"polling", trigger(at("team/params"), func(t *definition.Trigger) { t.Action = definition.Polling }), definition.CheckRule, policy.ErrDenied, ""},
		{"parameters for a job without", trigger(parameters()), definition.CheckEndpoint, definition.ErrTakesNoParameters, ""},
		{"the same where the kind does not matter", trigger(parameters(), func(t *definition.Trigger) { t.AnyKind = true }), definition.CheckRule, nil, ""},
		{"no parameters for a job with some", trigger(at("team/params")), definition.CheckEndpoint, definition.ErrTakesParameters, ""},
		{"the same for a job with one", trigger(at("team/one")), definition.CheckEndpoint, definition.ErrTakesParameters, ""},
		{"the same with defaults", trigger(at("team/params"), func(t *definition.Trigger) { t.AnyKind = true }), definition.CheckRule, nil, ""},
		{"parameters", trigger(at("team/params"), parameters("ENV", "production")), definition.CheckRule, nil, ""},
		{"a value that is none", trigger(at("team/params"), parameters("ENV", "moon")), definition.CheckParameters, job.ErrValue, ""},
		{"a rule of the job", trigger(at("team/params"), parameters("PW", "no")), definition.CheckRule, policy.ErrDenied, "team/params allow 1"},
		{"a delay that is none", trigger(func(t *definition.Trigger) { t.Delay = text("soon") }), definition.CheckDelay, job.ErrDelay, ""},
		{"a rule of the folder", trigger(func(t *definition.Trigger) { t.Cause = text("bad") }), definition.CheckRule, policy.ErrDenied, "team allow 1"},
		{"a rule of another token", trigger(func(t *definition.Trigger) { t.Delay = text("3600sec") }), definition.CheckRule, nil, ""},
		{"a rule of the token", trigger(secret("team"), func(t *definition.Trigger) { t.Delay = text("3600sec") }), definition.CheckRule, policy.ErrDenied, "team token team allow 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, x := range []*definition.Explanation{nil, {}} {
				a, err := site.Admit(t.Context(), noon, definition.Guard{}, tt.ask, x)
				refused := tt.want != nil
				if a.Check != tt.check || a.Admitted == refused || !errors.Is(err, tt.want) || refused && !strings.Contains(err.Error(), tt.text) {
					t.Errorf("Admit = %+v, %v, want %s and %v with %q", a, err, tt.check, tt.want, tt.text)
				}
				if known := tt.check != definition.CheckJob; known != (a.Job != nil) {
					t.Errorf("Job = %v after the check of the %s", a.Job, tt.check)
				}
				if x == nil {
					continue
				}
				last := x.Steps[len(x.Steps)-1]
				if last.OK == refused || last.Check != string(tt.check) {
					t.Errorf("the last step is %+v, want the check %s", last, tt.check)
				}
				for _, step := range x.Steps[:len(x.Steps)-1] {
					if !step.OK {
						t.Errorf("%+v is followed by another step", step)
					}
				}
			}
		})
	}
}

// What is admitted is what the caller sent, and for the rest what the job has.
func TestAdmissionIsThatOfTheTrigger(t *testing.T) {
	site := guarded(t)
	text := func(s string) *string { return &s }
	for _, tt := range []struct {
		name   string
		change func(*definition.Trigger)
		delay  time.Duration
		cause  queue.Cause
		values string
	}{
		{"nothing", func(*definition.Trigger) {}, 7 * time.Second, queue.Cause{Kind: queue.CauseRemote, Token: "app", Addr: "192.0.2.7"}, ""},
		{"no address", func(t *definition.Trigger) { t.Remote = netip.Addr{} }, 7 * time.Second, queue.Cause{Kind: queue.CauseRemote, Token: "app"}, ""},
		{
			"a delay and a cause", func(t *definition.Trigger) {
				t.Delay, t.Cause = text("90sec"), text("a\npush "+strings.Repeat("x", 1000))
			}, 90 * time.Second,
			queue.Cause{Kind: queue.CauseRemote, Token: "app", Addr: "192.0.2.7", Noted: true, Note: "a push " + strings.Repeat("x", 993)},
			"",
		},
		{
			"an empty cause", func(t *definition.Trigger) { t.Cause = text("") }, 7 * time.Second,
			queue.Cause{Kind: queue.CauseRemote, Token: "app", Addr: "192.0.2.7", Noted: true},
			"",
		},
		{"a user", func(t *definition.Trigger) { t.User, t.Presented = "alice", false }, 7 * time.Second, queue.Cause{Kind: queue.CauseUser, User: "alice"}, ""},
		{"a user with a token", func(t *definition.Trigger) { t.User = "alice" }, 7 * time.Second, queue.Cause{Kind: queue.CauseRemote, Token: "app", Addr: "192.0.2.7"}, ""},
		{"a webhook", func(t *definition.Trigger) { t.Webhook = "github" }, 7 * time.Second, queue.Cause{Kind: queue.CauseWebhook, Webhook: "github"}, ""},
		{
			"parameters", func(t *definition.Trigger) {
				t.Job, t.Secret, t.Action = "team/params", token.NewSecret("secret of team"), definition.BuildWithParameters
				t.Values = map[string][]string{"PW": {"hidden"}, "BRANCH": {strings.Repeat("é", 50)}, "OTHER": {"x"}}
				t.Files = map[string]definition.Upload{"FILE": {Name: "x" + strings.Repeat("é", 50), Size: 3}}
			}, 7 * time.Second,
			queue.Cause{Kind: queue.CauseRemote, Token: "team", Addr: "192.0.2.7"},
			"PW=**** BRANCH=" + strings.Repeat("é", 50) + " FLAG=false ENV=staging FILE=x" + strings.Repeat("é", 49) + "…",
		},
		{
			"what the endpoint build ignores", func(t *definition.Trigger) {
				t.Job, t.Secret, t.AnyKind = "team/params", token.NewSecret("secret of team"), true
				t.Values = map[string][]string{"BRANCH": {"x"}}
				t.Files = map[string]definition.Upload{"FILE": {Name: "a.txt", Size: 3}}
			}, 7 * time.Second,
			queue.Cause{Kind: queue.CauseRemote, Token: "team", Addr: "192.0.2.7"},
			"PW=**** BRANCH=main FLAG=false ENV=staging",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var x definition.Explanation
			a, err := site.Admit(t.Context(), noon, definition.Guard{}, trigger(tt.change), &x)
			if err != nil || !a.Admitted {
				t.Fatalf("Admit = %+v, %v", a, err)
			}
			if diff := cmp.Diff(tt.cause, a.Cause); diff != "" || a.Delay != tt.delay {
				t.Errorf("Delay = %v, want %v; Cause (-want +got):\n%s", a.Delay, tt.delay, diff)
			}
			for _, step := range x.Steps {
				if step.Check == string(definition.CheckParameters) && step.Found != tt.values {
					t.Errorf("the explanation shows %q, want %q", step.Found, tt.values)
				}
			}
		})
	}
}

func TestExplanationShowsEachCheck(t *testing.T) {
	site := guarded(t)
	var x definition.Explanation
	ask := trigger(func(t *definition.Trigger) {
		t.Job, t.Secret, t.Action = "team/params", token.NewSecret("secret of team"), definition.BuildWithParameters
		t.Values = map[string][]string{"PW": {"no"}}
	})
	_, err := site.Admit(t.Context(), noon, definition.Guard{}, ask, &x)
	want := []string{
		"job: team/params", "token: team of team/", "grant: trigger", "enabled: ", "endpoint: buildWithParameters", "delay: 7s",
		"parameters: PW=**** BRANCH=main FLAG=false ENV=staging",
		`rule: true; cause = ""`, `REFUSED rule: false; params.PW = "****"`,
	}
	var got []string
	for _, step := range x.Steps {
		line := step.Check + ": " + step.Found
		if !step.OK {
			line = "REFUSED " + line
		}
		got = append(got, line)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	last := x.Steps[len(x.Steps)-1]
	if last.Rule.Name != "team/params allow 1" || cmp.Diff([]string{"params.PW"}, last.Reads) != "" {
		t.Errorf("the rule that decided is %+v, which reads %v", last.Rule, last.Reads)
	}
	denied, _ := errors.AsType[*policy.Denied](err)
	if denied == nil || denied.Rule.Name != last.Rule.Name {
		t.Errorf("Admit = %v", err)
	}
	if msg := x.Steps[len(x.Steps)-2].Rule.Message; msg != "ask the team first" {
		t.Errorf("the message of the folder's rule is %q, want one line", msg)
	}
	x = definition.Explanation{}
	if _, err := site.Admit(t.Context(), noon, definition.Guard{}, trigger(func(t *definition.Trigger) { t.Operator = true }), &x); err != nil || x.Steps[1].Found != "not needed at the admin API" {
		t.Errorf("Admit for the operator = %v, %+v", err, x.Steps)
	}
}

// The operator may do everything with a job but share it.
func TestOperatorNeedsNoToken(t *testing.T) {
	site := guarded(t)
	j := site.Jobs()["team/app"]
	got, check, err := site.Authorize(t.Context(), noon, definition.Guard{}, j, &definition.Caller{Operator: true}, token.Trigger, nil)
	if want := token.Trigger | token.Status | token.Log | token.Cancel; err != nil || check != definition.CheckToken || got.Grants != want {
		t.Errorf("Authorize = %v, %s, %v, want the grants %v", got.Grants, check, err, want)
	}
}

// A client that showed too many wrong tokens waits, with a wrong token, with none, and with a right
// one that it has not used before. Rules that let it in without a token still do.
func TestGuardedClientsWait(t *testing.T) {
	site := guarded(t)
	guard := definition.Guard{Limiter: throttle.New(), Limit: throttle.Limit{Max: 2, Window: time.Minute}}
	present := func(name string, change ...func(*definition.Trigger)) (definition.Check, error) {
		ask := trigger(append(change, func(t *definition.Trigger) {
			t.Secret, t.Presented = token.NewSecret("secret of "+name), name != ""
		})...)
		a, err := site.Admit(t.Context(), noon, guard, ask, nil)
		return a.Check, err
	}
	if check, err := present("app"); err != nil {
		t.Fatalf("Admit = %s, %v", check, err)
	}
	for range 2 {
		if check, err := present("nobody"); check != definition.CheckToken || !errors.Is(err, token.ErrMismatch) {
			t.Errorf("a wrong token: %s, %v", check, err)
		}
	}
	alice := func(t *definition.Trigger) { t.User = "alice" }
	elsewhere := func(t *definition.Trigger) { t.Remote = netip.MustParseAddr("192.0.2.8") }
	for _, tt := range []struct {
		name, secret string
		change       func(*definition.Trigger)
		want         definition.Check
	}{
		{"a wrong token", "nobody", func(*definition.Trigger) {}, definition.CheckGuesses},
		{"no token", "", func(*definition.Trigger) {}, definition.CheckGuesses},
		{"a right token that it has not used", "view", func(*definition.Trigger) {}, definition.CheckGuesses},
		{"a right token that it has used", "app", func(*definition.Trigger) {}, definition.CheckRule},
		{"a user without a token", "", alice, definition.CheckRule},
		{"another client", "view", elsewhere, definition.CheckGrant},
		{"a webhook", "nobody", func(t *definition.Trigger) { t.Webhook = "github" }, definition.CheckRule},
		{"the operator", "nobody", func(t *definition.Trigger) { t.Operator = true }, definition.CheckRule},
	} {
		check, err := present(tt.secret, tt.change)
		wait, throttled := errors.AsType[*definition.ThrottledError](err)
		if check != tt.want || throttled != (tt.want == definition.CheckGuesses) || throttled && (wait.Wait != time.Minute || !strings.Contains(err.Error(), "wait 1m0s")) {
			t.Errorf("%s: %s, %v, want %s", tt.name, check, err, tt.want)
		}
	}
}
