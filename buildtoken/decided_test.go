package buildtoken_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/stats"
	"github.com/buildtoken/buildtoken/buildtoken/throttle"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// logged returns the lines of a log as text, without their errors.
func logged(lines []observer.LoggedEntry) []string {
	var all []string
	for _, l := range lines {
		text := l.Level.String() + " " + l.Message + ":"
		fields := l.ContextMap()
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if name != "error" {
				text += fmt.Sprintf(" %s=%v", name, fields[name])
			}
		}
		all = append(all, text)
	}
	return all
}

// What became of a trigger is in the log, in the counters, and remembered if the caller was known.
func TestDecisionsAreLoggedCountedAndRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		digest := func(s string) token.Digest { return token.NewSecret(s).Digest() }
		ci := []definition.Token{
			{Name: "ci", Digest: digest("ci")},
			{Name: "viewer", Digest: digest("viewer"), Grants: token.Status},
			{Name: "temp", Digest: digest("temp"), Expires: time.Now()},
		}
		s := openSite(t, buildtoken.Config{QueueLimit: 1, WrongTokens: throttle.Limit{Max: 2, Window: time.Minute}})
		s.attach(definition.Spec{
			Access: definition.Access{Build: `user == "alice"`},
			Root: definition.Folder{Folders: []definition.Folder{{Name: "team", Tokens: ci, Jobs: []definition.Job{
				{Name: "app", Runner: succeeds(), Params: stringParams("ENV"), Allow: []policy.Rule{{Source: `params.ENV != "prod"`, At: "Caddyfile:7"}, {Source: `params.ENV != "live"`}}},
				{Name: "off", Runner: succeeds(), Disabled: true},
			}}}},
		})
		type change = func(*buildtoken.Trigger)
		with := func(secret string) change {
			return func(t *buildtoken.Trigger) { t.Secret = token.NewSecret(secret) }
		}
		as := func(user string) change {
			return func(t *buildtoken.Trigger) { t.Caller = definition.Caller{User: user, Post: true, Remote: t.Remote} }
		}
		to := func(full string) change { return func(t *buildtoken.Trigger) { t.Job = full } }
		env := func(value string) change { return values("ENV", value) }
		for _, tt := range []struct {
			name       string
			change     []change
			log        string
			reason     stats.Reason // "" if it was accepted
			remembered string       // "" if it was not
		}{
			{
				"a new item",
				[]change{with("ci"), delayed("1h")},
				"debug trigger accepted: action=buildWithParameters created=true item=1 job=team/app remote=192.0.2.1 token=ci",
				"", "ci of team/, admitted",
			},
			{
				"a joined item of a user",
				[]change{as("alice"), delayed("1h")},
				"debug trigger accepted: action=buildWithParameters created=false item=1 job=team/app remote=192.0.2.1 token=",
				"", "user alice by POST, admitted",
			},
			{
				"the operator",
				[]change{delayed("1h"), func(t *buildtoken.Trigger) {
					t.Caller = definition.Caller{Operator: true, User: "operator", Remote: t.Remote}
				}},
				"debug trigger accepted: action=buildWithParameters created=false item=1 job=team/app remote=192.0.2.1 token=",
				"", "user operator, the operator, admitted",
			},
			{
				"a webhook",
				[]change{delayed("1h"), func(t *buildtoken.Trigger) { t.Caller, t.Webhook = definition.Caller{Remote: t.Remote}, "github" }},
				"debug trigger accepted: action=buildWithParameters created=false item=1 job=team/app remote=192.0.2.1 token=",
				"", "webhook github, admitted",
			},
			{
				"a full queue",
				[]change{with("ci"), env("other")},
				"info trigger refused: action=buildWithParameters job=team/app remote=192.0.2.1 token=ci user=",
				stats.Full, "ci of team/, admitted",
			},
			{
				"a rule with a place",
				[]change{with("ci"), env("prod")},
				"info trigger refused: action=buildWithParameters at=Caddyfile:7 check=rule job=team/app remote=192.0.2.1 rule=team/app allow 1 token=ci user=",
				stats.Policy, "ci of team/, rule team/app allow 1",
			},
			{
				"a rule without a place",
				[]change{with("ci"), env("live")},
				"info trigger refused: action=buildWithParameters check=rule job=team/app remote=192.0.2.1 rule=team/app allow 2 token=ci user=",
				stats.Policy, "ci of team/, rule team/app allow 2",
			},
			{
				"a delay",
				[]change{with("ci"), delayed("soon")},
				"info trigger refused: action=buildWithParameters check=delay job=team/app remote=192.0.2.1 token=ci user=",
				stats.Other, "ci of team/, delay",
			},
			{
				"a disabled job",
				[]change{with("ci"), to("team/off")},
				"info trigger refused: action=buildWithParameters check=enabled job=team/off remote=192.0.2.1 token=ci user=",
				stats.Other, "ci of team/, enabled",
			},
			{
				"a missing grant",
				[]change{with("viewer")},
				"info trigger refused: action=buildWithParameters check=grant job=team/app remote=192.0.2.1 token=viewer user=",
				stats.Token, "viewer of team/, grant",
			},
			{
				"a token that has expired",
				[]change{with("temp")},
				"info trigger refused: action=buildWithParameters check=token job=team/app remote=192.0.2.1 token=temp user=",
				stats.Token, "temp of team/, token",
			},
			{
				"a user who may not",
				[]change{as("bob")},
				"info trigger refused: action=buildWithParameters check=token job=team/app remote=192.0.2.1 token= user=bob",
				stats.Token, "",
			},
			{
				"a user by GET",
				[]change{as("alice"), func(t *buildtoken.Trigger) { t.Post = false }},
				"info trigger refused: action=buildWithParameters check=post job=team/app remote=192.0.2.1 token= user=alice",
				stats.Other, "user alice, post",
			},
			{
				"an unknown job",
				[]change{with("ci"), to("team/none\n?token=x")},
				"info trigger refused: action=buildWithParameters check=job job=team/none  remote=192.0.2.1 token= user=",
				stats.Unknown, "",
			},
			{
				"a wrong token",
				[]change{with("wrong")},
				"info trigger refused: action=buildWithParameters check=token job=team/app remote=192.0.2.1 token= user=",
				stats.Token, "",
			},
			{
				"a guess too many",
				[]change{with("wrong")},
				"debug trigger refused: action=buildWithParameters check=wrong tokens job=team/app remote=192.0.2.1 token= user=",
				stats.Throttled, "",
			},
		} {
			s.logs.TakeAll()
			before, refused := len(s.Decisions()), maps.Clone(s.Stats().Refused)
			trigger := ask("team/app", append([]change{values(), func(t *buildtoken.Trigger) { t.Remote = guesser }}, tt.change...)...)
			_, err := s.Trigger(t.Context(), s.def, trigger)
			if accepted := err == nil; accepted != (tt.reason == "") {
				t.Errorf("%s: Trigger = %v", tt.name, err)
			}
			var log []string
			for _, line := range logged(s.logs.All()) {
				if strings.Contains(line, " trigger ") {
					log = append(log, line)
				}
			}
			if diff := cmp.Diff([]string{tt.log}, log); diff != "" {
				t.Errorf("%s: log (-want +got):\n%s", tt.name, diff)
			}
			if tt.reason != "" {
				refused[tt.reason]++
			}
			if diff := cmp.Diff(refused, s.Stats().Refused); diff != "" {
				t.Errorf("%s: refused triggers (-want +got):\n%s", tt.name, diff)
			}
			got := ""
			for _, d := range s.Decisions()[before:] {
				for _, part := range []struct {
					is   bool
					text string
				}{
					{d.Token != "", d.Token + " of " + d.Place},
					{d.Webhook != "", "webhook " + d.Webhook},
					{d.User != "", "user " + d.User},
					{d.Post, "by POST"},
					{d.Operator, "the operator"},
					{d.Admitted, "admitted"},
					{d.Check != "" && d.Rule == "", d.Check},
					{d.Rule != "", d.Check + " " + d.Rule},
				} {
					if part.is {
						got = strings.TrimPrefix(strings.ReplaceAll(got+", "+part.text, ", by", " by"), ", ")
					}
				}
				if d.Job != trigger.Job || d.Remote != guesser || !d.Time.Equal(time.Now()) {
					t.Errorf("%s: remembered %+v, want the job, the address and the time", tt.name, d)
				}
			}
			if got != tt.remembered {
				t.Errorf("%s: remembered %q, want %q", tt.name, got, tt.remembered)
			}
		}
		if got, want := s.Stats().Jobs[0], (stats.Job{Name: "team/app", Created: 1, Joined: 3, Refused: 10}); got.Created != want.Created || got.Joined != want.Joined || got.Refused != want.Refused {
			t.Errorf("counters %+v, want %+v", got, want)
		}
	})
}

// A request other than a trigger is logged and audited if it is refused.
func TestRefusedRequestsAreLogged(t *testing.T) {
	core, lines := observer.New(zapcore.InfoLevel)
	s := openSite(t, buildtoken.Config{Audit: zap.New(core)}, definition.Job{Name: "app", Tokens: opens(token.Trigger, token.Log), Runner: succeeds()})
	for _, tt := range []struct {
		name  string
		by    definition.Caller
		need  token.Grant
		audit string // the log is the same, with the names of the token and the user apart
	}{
		{"granted", definition.Caller{Secret: token.NewSecret(secret), Presented: true}, token.Log, ""},
		{"not granted", definition.Caller{Secret: token.NewSecret(secret), Presented: true, User: "alice"}, token.Cancel, "cancel app token default"},
		{"wrong", definition.Caller{Secret: token.NewSecret("wrong"), Presented: true}, token.Status, "status app anonymous"},
		{"a user", definition.Caller{User: "alice"}, token.Status, "status app user alice"},
		{"of a trigger, which follows", definition.Caller{Secret: token.NewSecret("wrong"), Presented: true}, token.Trigger, ""},
		{"of any token", definition.Caller{Secret: token.NewSecret("wrong"), Presented: true}, token.Any, ""},
	} {
		lines.TakeAll()
		s.logs.TakeAll()
		tt.by.Remote = netip.MustParseAddr("192.0.2.7")
		_, _, err := s.Opens(t.Context(), s.def, "app", tt.by, tt.need)
		if (err == nil) != (tt.name == "granted") {
			t.Errorf("%s: Opens = %v", tt.name, err)
		}
		audited, log := lines.All(), s.logs.FilterMessage("request refused").All()
		if tt.audit == "" {
			if len(audited)+len(log) > 0 {
				t.Errorf("%s: %v and %v, want no line", tt.name, audited, log)
			}
			continue
		}
		if len(audited) != 1 || len(log) != 1 {
			t.Errorf("%s: %d and %d lines, want one each", tt.name, len(audited), len(log))
			continue
		}
		m := audited[0].ContextMap()
		if got := fmt.Sprint(m["action"], " ", m["job"], " ", m["who"]); audited[0].Message != "refused" || got != tt.audit || m["remote"] != "192.0.2.7" || m["reason"] != err.Error() {
			t.Errorf("%s: audited %v, want %s and %v", tt.name, logged(audited), tt.audit, err)
		}
		who := map[string]string{"not granted": "token=default user=alice", "wrong": "token= user=", "a user": "token= user=alice"}[tt.name]
		want := fmt.Sprintf("info request refused: action=%s job=app remote=192.0.2.7 %s", tt.need, who)
		if diff := cmp.Diff([]string{want}, logged(log)); diff != "" {
			t.Errorf("%s: log (-want +got):\n%s", tt.name, diff)
		}
	}
	var uses uint64
	for _, u := range s.TokenUses() {
		uses += u.Uses
	}
	if uses != 2 {
		t.Errorf("%d uses were counted, want those of the two requests with a token", uses)
	}
}

// The warning of a token that is dead names it.
func TestWarningOfADeadToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		expires := time.Now().Add(time.Hour)
		tokens := []definition.Token{{Name: "temp", Digest: token.NewSecret(secret).Digest(), Expires: expires}}
		spec := definition.Spec{Root: definition.Folder{Folders: []definition.Folder{{Name: "team", Tokens: tokens, Jobs: []definition.Job{{Name: "app", Runner: succeeds()}}}}}}
		s := openSite(t, buildtoken.Config{})
		s.attach(spec)
		show := func() []string {
			t.Helper()
			s.logs.TakeAll()
			if _, err := s.Trigger(t.Context(), s.def, ask("team/app", func(t *buildtoken.Trigger) { t.Remote = guesser })); err == nil {
				t.Error("a dead token opened the job")
			}
			return logged(s.logs.FilterLevelExact(zapcore.WarnLevel).All())
		}
		time.Sleep(time.Hour)
		want := []string{fmt.Sprintf("warn a token that has expired is still shown: expired=%v job=team/app place=team/ remote=192.0.2.1 token=temp", expires)}
		if diff := cmp.Diff(want, show()); diff != "" {
			t.Errorf("of an expired token (-want +got):\n%s", diff)
		}
		time.Sleep(time.Hour)
		spec.Root.Folders[0].Tokens = nil
		spec.Root.Folders[0].Jobs[0].Tokens = []definition.Token{{Name: "other", Digest: token.NewSecret("other").Digest()}}
		s.attach(spec)
		want = []string{"warn a token that the last reload removed is still shown: job=team/app place=team/ remote=192.0.2.1 token=temp"}
		if diff := cmp.Diff(want, show()); diff != "" {
			t.Errorf("of a removed token (-want +got):\n%s", diff)
		}
	})
}
