package buildtoken_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/throttle"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

var guesser = netip.MustParseAddr("192.0.2.1")

// guess sends n triggers with a wrong token.
func (s *site) guess(full string, from netip.Addr, n int) {
	s.t.Helper()
	for range n {
		s.refused(token.ErrMismatch, ask(full, func(t *buildtoken.Trigger) {
			t.Secret, t.Remote = token.NewSecret("wrong"), from
		}))
	}
}

// errThrottled stands for a ThrottledError with any waiting time.
var errThrottled = errors.New("throttled")

// The trigger is wrong in every way at first, and each step corrects one mistake: the error of
// each step has precedence over all later ones.
func TestTriggerChecksInThisOrder(t *testing.T) {
	number := []job.Param{{Name: "N", Kind: job.KindChoice, Choices: []string{"1", "2"}}}
	closed := definition.Job{Name: "closed", Disabled: true, Tokens: opens(), Params: number, Allow: rulesOf("false"), Runner: succeeds()}
	denied, plain, allowed := closed, closed, closed
	denied.Name, denied.Disabled = "denied", false
	plain.Name, plain.Disabled, plain.Params = "plain", false, nil
	allowed.Name, allowed.Disabled, allowed.Allow = "allowed", false, nil
	s := openSite(t, buildtoken.Config{QueueLimit: 1}, closed, denied, plain, allowed, definition.Job{Name: "tokenless", Runner: succeeds()})
	s.guess("closed", guesser, 20)
	s.trigger("allowed", values("N", "2"), delayed("1h")) // the queue is full now

	now := ask("nowhere", values("N", "3"), delayed("soon"), func(t *buildtoken.Trigger) {
		t.Secret, t.Remote, t.Action = token.NewSecret("wrong"), guesser, buildtoken.Build
	})
	for _, step := range []struct {
		name   string
		repair func()
		want   error
	}{
		{"the job is unknown", func() {}, definition.ErrUnknownJob},
		{"no token opens the job", func() { now.Job = "tokenless" }, definition.ErrUnknownJob},
		{"the client has to wait", func() { now.Job = "closed" }, errThrottled},
		{"the token is wrong", func() { now.Remote = netip.MustParseAddr("192.0.2.2") }, token.ErrMismatch},
		{"the job is disabled", func() { now.Secret = token.NewSecret(secret) }, definition.ErrNotBuildable},
		{"parameters on build", func() { now.Job = "denied" }, definition.ErrTakesParameters},
		{"none on buildWithParameters", func() { now.Job, now.Action = "plain", buildtoken.BuildWithParameters }, definition.ErrTakesNoParameters},
		{"the delay is malformed", func() { now.Job = "denied" }, job.ErrDelay},
		{"a value is illegal", func() { now.Delay = new("5sec") }, job.ErrValue},
		{"a policy says no", func() { now.Values["N"] = []string{"1"} }, policy.ErrDenied},
		{"the queue is full", func() { now.Job = "allowed" }, queue.ErrFull},
		{"an equal item needs no room", func() { now.Values["N"] = []string{"2"} }, nil},
	} {
		step.repair()
		_, err := s.Trigger(context.Background(), s.def, now)
		var throttled *definition.ThrottledError
		if errors.As(err, &throttled) && throttled.Wait > 0 {
			err = errThrottled
		}
		if !errors.Is(err, step.want) {
			t.Errorf("%s: Trigger = %v, want %v", step.name, err, step.want)
		}
	}
}

func TestShuttingDownIsTheLastCheck(t *testing.T) {
	s := openSite(t, buildtoken.Config{},
		definition.Job{Name: "app", Tokens: opens(), Runner: succeeds()},
		definition.Job{Name: "denied", Tokens: opens(), Runner: succeeds(), Allow: rulesOf("false")})
	s.detach()
	s.refused(definition.ErrUnknownJob, ask("nowhere"))
	s.refused(policy.ErrDenied, ask("denied"))
	s.refused(buildtoken.ErrShuttingDown, ask("app"))
	if !s.ShuttingDown() {
		t.Error("ShuttingDown = false, nothing is attached")
	}
}

func TestTriggersThatNameNoJob(t *testing.T) {
	s := openSite(t, buildtoken.Config{}, definition.Job{Name: "tokenless", Runner: succeeds()})
	s.attach(definition.Spec{Root: definition.Folder{
		Jobs: []definition.Job{{Name: "tokenless", Runner: succeeds()}},
		Folders: []definition.Folder{{
			Name: "team", Tokens: opens(), Jobs: []definition.Job{{Name: "app", Runner: succeeds()}},
		}},
	}})
	for _, name := range []string{
		"nowhere", "team", "tokenless", "TEAM/app", "team/app/x", "app", "", "/", "..", "team/../team/app", "a\x00b", "\xff", strings.Repeat("x", 5000),
	} {
		for _, presented := range []bool{true, false} {
			s.refused(definition.ErrUnknownJob, ask(name, func(t *buildtoken.Trigger) { t.Presented = presented }))
		}
	}
	if out := s.trigger("/team//app/"); out.Job != "team/app" {
		t.Errorf("job = %q, want team/app", out.Job)
	}
	// A user needs no token of the job for the endpoints of Jenkins itself.
	s.refused(token.ErrMissing, ask("tokenless", func(t *buildtoken.Trigger) { t.Presented, t.UserMayTrigger = false, true }))
	s.refused(token.ErrMismatch, ask("tokenless", func(t *buildtoken.Trigger) { t.UserMayTrigger = true }))
}

func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		soon := time.Now().Add(time.Minute)
		digest := func(s string) token.Digest { return token.NewSecret(s).Digest() }
		s := openSite(t, buildtoken.Config{}, definition.Job{Name: "app", Runner: succeeds(), Tokens: []definition.Token{
			{Name: "ci", Digest: digest("ci")},
			{Name: "temp", Digest: digest("temp"), Expires: soon},
			{Name: "viewer", Digest: digest("viewer"), Grants: token.Status | token.Log},
		}}, definition.Job{Name: "tokenless", Runner: succeeds()})
		with := func(text string) buildtoken.Trigger {
			return ask("app", func(t *buildtoken.Trigger) { t.Secret = token.NewSecret(text) })
		}
		s.refused(token.ErrMismatch, with("wrong"))
		s.refused(token.ErrMismatch, with("")) // presented, but empty
		s.refused(token.ErrMissing, ask("app", func(t *buildtoken.Trigger) { t.Presented = false }))
		s.refused(definition.ErrNotGranted, with("viewer"))
		s.refused(nil, with("ci"))
		s.refused(nil, with("temp"))
		time.Sleep(time.Minute - 1)
		s.refused(nil, with("temp"))
		time.Sleep(time.Nanosecond)
		s.refused(token.ErrExpired, with("temp"))
		synctest.Wait()

		for _, tt := range []struct {
			secret string
			need   token.Grant
			want   error
		}{
			{"viewer", token.Status, nil},
			{"viewer", token.Log, nil},
			{"viewer", token.Cancel, definition.ErrNotGranted},
			{"ci", token.Status, definition.ErrNotGranted},
			{"temp", token.Status, token.ErrExpired},
			{"wrong", token.Status, token.ErrMismatch},
		} {
			by := definition.Caller{Secret: token.NewSecret(tt.secret), Presented: true}
			full, opened, err := s.Opens(t.Context(), s.def, "/app", by, tt.need)
			if !errors.Is(err, tt.want) {
				t.Errorf("Opens(%s, %v) = %v, want %v", tt.secret, tt.need, err, tt.want)
			}
			if err == nil && (full != "app" || opened.Name != tt.secret) {
				t.Errorf("Opens(%s) = %q, token %q", tt.secret, full, opened.Name)
			}
		}
		for _, full := range []string{"nowhere", "tokenless", ""} {
			by := definition.Caller{Secret: token.NewSecret("ci"), Presented: true, User: "alice"}
			if got, _, err := s.Opens(t.Context(), s.def, full, by, token.Status); !errors.Is(err, definition.ErrUnknownJob) || got != "" {
				t.Errorf("Opens(%q) = %q, %v, want ErrUnknownJob", full, got, err)
			}
		}
		for _, full := range []string{"app", "tokenless"} {
			if got, opened, err := s.Opens(t.Context(), s.def, full, definition.Caller{User: "operator", Operator: true}, token.Cancel); err != nil || got != full || opened.Name != "" {
				t.Errorf("Opens(%q) by the operator = %q, token %q, %v; want the job", full, got, opened.Name, err)
			}
		}
		if _, _, err := s.Opens(t.Context(), s.def, "app", definition.Caller{User: "alice", Post: true}, token.Status); !errors.Is(err, token.ErrMissing) {
			t.Errorf("Opens without a token = %v, want ErrMissing", err)
		}
		refused := s.logs.FilterMessage("request refused").All()
		if len(refused) != 5 {
			t.Fatalf("%d refusals were logged, want 5: %v", len(refused), refused)
		}
		if first := refused[0].ContextMap(); first["job"] != "app" || first["token"] != "viewer" || first["action"] != "cancel" {
			t.Errorf("logged %v, want the job, the token and what it does not grant", first)
		}
	})
}

func byPost() policy.Request { return policy.Request{Method: "POST"} }

func TestUserWithoutToken(t *testing.T) {
	s := openSite(t, buildtoken.Config{})
	s.attach(definition.Spec{
		Root:   definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: succeeds()}, {Name: "tokenless", Runner: succeeds()}}},
		Access: definition.Access{Build: `user == "alice" && job.name != "x" && request.method == "POST"`},
	})
	as := func(user string, post bool) func(*buildtoken.Trigger) {
		return func(t *buildtoken.Trigger) {
			t.Presented, t.Secret, t.User, t.Post = false, token.Secret{}, user, post
			t.Request, t.Cause = byPost, new("by hand")
		}
	}
	s.refused(token.ErrMissing, ask("app", as("bob", true)))
	s.refused(token.ErrMissing, ask("app", as("", true)))
	s.refused(token.ErrMissing, ask("app", as("bob", false)))
	s.refused(definition.ErrNeedsPost, ask("app", as("alice", false)))
	out := s.trigger("app", as("alice", true), delayed("1h"))
	want := []queue.Cause{{Kind: queue.CauseUser, User: "alice", Note: "by hand", Noted: true, Count: 1}}
	if diff := cmp.Diff(want, out.Item.Causes); diff != "" {
		t.Errorf("causes (-want +got):\n%s", diff)
	}
	// A wrong token is refused whoever presents it.
	s.refused(token.ErrMismatch, ask("app", as("alice", true), func(t *buildtoken.Trigger) {
		t.Presented, t.Secret = true, token.NewSecret("wrong")
	}))
	s.refused(definition.ErrUnknownJob, ask("tokenless", as("alice", true)))
	s.refused(nil, ask("tokenless", as("alice", true), func(t *buildtoken.Trigger) { t.UserMayTrigger = true }))
	for _, tt := range []struct {
		user  string
		right definition.Right
		want  bool
	}{
		{"alice", definition.Read, true},
		{"", definition.Read, false},
		{"alice", definition.Start, true},
		{"bob", definition.Start, false},
		{"alice", definition.Stop, false},
		{"alice", "fly", false},
	} {
		by := definition.Caller{User: tt.user, Request: byPost}
		if got := s.def.May(t.Context(), by, tt.right, "app"); got != tt.want {
			t.Errorf("May(%q, %s) = %v, want %v", tt.user, tt.right, got, tt.want)
		}
	}
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{WrongTokens: throttle.Limit{Max: 3, Window: time.Minute}},
			definition.Job{Name: "app", Tokens: opens(), Runner: succeeds()}, definition.Job{Name: "other", Tokens: opens(), Runner: succeeds()})
		from := func(addr string) func(*buildtoken.Trigger) {
			return func(t *buildtoken.Trigger) { t.Remote = netip.MustParseAddr(addr) }
		}
		// A right token that lacks the grant is not remembered, so it reveals whether the
		// client is throttled.
		wait := func(addr string) time.Duration {
			t.Helper()
			by := definition.Caller{Secret: token.NewSecret(secret), Presented: true, Remote: netip.MustParseAddr(addr)}
			_, _, err := s.Opens(t.Context(), s.def, "app", by, token.Cancel)
			var throttled *definition.ThrottledError
			switch {
			case errors.As(err, &throttled):
				return throttled.Wait
			case !errors.Is(err, definition.ErrNotGranted):
				t.Fatalf("Opens = %v", err)
			}
			return 0
		}
		s.guess("app", netip.MustParseAddr("2001:db8::1"), 2)
		if got := wait("2001:db8::1"); got != 0 {
			t.Errorf("after 2 of 3 wrong tokens: wait %v, want none", got)
		}
		time.Sleep(20 * time.Second)
		s.guess("app", netip.MustParseAddr("2001:db8::ffff:1"), 1) // the same /64
		if got := wait("2001:db8:0:0:1::9"); got != 40*time.Second {
			t.Errorf("the right token of a throttled client waits %v, want 40s", got)
		}
		if got := wait("2001:db8:0:1::1"); got != 0 {
			t.Errorf("another /64 waits %v, want none", got)
		}
		s.guess("app", netip.MustParseAddr("192.0.2.1"), 3)
		if got := wait("::ffff:192.0.2.1"); got != time.Minute {
			t.Errorf("the same IPv4 address inside an IPv6 one waits %v, want 1m", got)
		}
		if got := wait("192.0.2.2"); got != 0 {
			t.Errorf("another IPv4 address waits %v, want none", got)
		}
		other := definition.Caller{Secret: token.NewSecret(secret), Presented: true, Remote: guesser}
		if _, _, err := s.Opens(t.Context(), s.def, "other", other, token.Cancel); !errors.Is(err, definition.ErrNotGranted) {
			t.Errorf("another job of a throttled client: %v", err)
		}
		if _, err := s.Trigger(t.Context(), s.def, ask("app", from("192.0.2.1"))); !errors.As(err, new(*definition.ThrottledError)) {
			t.Errorf("Trigger of a throttled client = %v, want a ThrottledError", err)
		}
		time.Sleep(time.Minute)
		if got := wait("192.0.2.1"); got != 0 {
			t.Errorf("after the window: wait %v, want none", got)
		}
		s.guess("app", guesser, 3) // the count starts again
		if got := wait("192.0.2.1"); got != time.Minute {
			t.Errorf("in the next window: wait %v, want 1m", got)
		}

		s.cfg.WrongTokens = throttle.Limit{Max: -1}
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: succeeds()}}}})
		s.guess("app", guesser, 100)
		if got := wait("192.0.2.1"); got != 0 {
			t.Errorf("switched off: wait %v, want none", got)
		}
	})
}

// Several clients can share an address: wrong tokens of one client must not lock out the
// others, nor users without a token.
func TestRightTokenOfAThrottledClientStillWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{WrongTokens: throttle.Limit{Max: 3, Window: time.Minute}})
		const day = 24 * time.Hour
		late := opens()[0]
		late.Name, late.Digest = "late", token.NewSecret("Late").Digest()
		s.attach(definition.Spec{
			Root:   definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: append(opens(), late), Runner: succeeds()}}},
			Access: definition.Access{Build: `user == "alice"`},
		})
		with := func(text string) buildtoken.Trigger {
			return ask("app", func(t *buildtoken.Trigger) { t.Secret, t.Remote = token.NewSecret(text), guesser })
		}
		works := func(what string, want bool, trigger buildtoken.Trigger) {
			t.Helper()
			_, err := s.Trigger(t.Context(), s.def, trigger)
			if works := err == nil; works != want || !works && !errors.As(err, new(*definition.ThrottledError)) {
				t.Errorf("%s: %v, want it to work: %v", what, err, want)
			}
		}
		works("the token, before anybody guessed", true, with(secret))
		for range 10 {
			_, _ = s.Trigger(t.Context(), s.def, with("wrong"))
		}
		works("the token, while the client waits", true, with(secret))
		works("a token that was not used before", false, with("Late"))
		works("a wrong token", false, with("wrong"))
		elsewhere := with(secret)
		elsewhere.Remote = netip.MustParseAddr("192.0.2.77")
		works("the token of a client that does not wait", true, elsewhere)
		alice := with(secret)
		alice.Secret, alice.Presented, alice.User, alice.Post = token.Secret{}, false, "alice", true
		works("a user without a token", true, alice)

		time.Sleep(6 * day)
		works("the token, six days later", true, with(secret))
		time.Sleep(6 * day)
		s.guess("app", guesser, 3)
		works("the token that was used within seven days", true, with(secret))
		time.Sleep(7*day + time.Second)
		s.guess("app", guesser, 3)
		works("the token that was not used for more than seven days", false, with(secret))
	})
}

// Wrong tokens for a folder's token count together, whichever job they name. For a job without
// tokens they do not count, because the answer reveals nothing.
func TestWrongTokensCountWhereTokensAreDefined(t *testing.T) {
	s := openSite(t, buildtoken.Config{WrongTokens: throttle.Limit{Max: 3, Window: time.Minute}})
	run := func(name string, tokens ...definition.Token) definition.Job {
		return definition.Job{Name: name, Tokens: tokens, Runner: succeeds()}
	}
	own := opens()[0]
	own.Digest = token.NewSecret("Own").Digest()
	s.attach(definition.Spec{Root: definition.Folder{Folders: []definition.Folder{
		{Name: "team", Tokens: opens(), Jobs: []definition.Job{run("a"), run("b"), run("c"), run("own", own)}},
		{Name: "other", Jobs: []definition.Job{run("a", own), run("none")}},
	}}})
	throttled := func(full string) bool {
		_, err := s.Trigger(t.Context(), s.def, ask(full, func(t *buildtoken.Trigger) { t.Remote = guesser }))
		return errors.As(err, new(*definition.ThrottledError))
	}
	for _, full := range []string{"team/a", "team/b", "team/own"} {
		s.guess(full, guesser, 1)
	}
	for full, want := range map[string]bool{"team/a": true, "team/c": true, "team/own": true, "other/a": false} {
		if got := throttled(full); got != want {
			t.Errorf("after three guesses at the token of team: %s throttled=%v, want %v", full, got, want)
		}
	}
	for n := range 30 {
		_, err := s.Trigger(t.Context(), s.def, ask("other/none", func(t *buildtoken.Trigger) {
			t.Secret, t.Remote, t.UserMayTrigger = token.NewSecret("wrong"), guesser, true
		}))
		if !errors.Is(err, token.ErrMismatch) {
			t.Fatalf("guess %d at a job without tokens = %v, want ErrMismatch each time", n, err)
		}
	}
}

// The throttle remembers 65536 pairs of client and job, and forgets the oldest first. A flood
// can erase counts, but neither use more memory nor lock out other clients.
func TestThrottleForgetsTheOldest(t *testing.T) {
	s := openSite(t, buildtoken.Config{})
	s.cfg.Log = nil // there are too many lines
	s.cfg.WrongTokens = throttle.Limit{Max: 1, Window: time.Hour}
	s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: succeeds()}}}})
	right := ask("app", delayed("1h"), func(t *buildtoken.Trigger) { t.Remote = guesser })
	s.guess("app", guesser, 1)
	addr := netip.MustParseAddr("10.0.0.0")
	flood := func(n int) {
		for range n {
			addr = addr.Next()
			s.guess("app", addr, 1)
		}
	}
	throttled := func() bool {
		_, err := s.Trigger(t.Context(), s.def, right)
		return errors.As(err, new(*definition.ThrottledError))
	}
	flood(1<<16 - 1)
	if !throttled() {
		t.Error("the client was forgotten while there was room")
	}
	flood(1)
	if throttled() {
		t.Error("the oldest of 65537 clients is still remembered")
	}
	right.Remote = addr
	if !throttled() {
		t.Error("the newest client is not remembered")
	}
}

func TestCoalescing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		params := []job.Param{{Name: "S", Kind: job.KindString}, {Name: "P", Kind: job.KindPassword}, {Name: "B", Kind: job.KindBoolean}}
		s := openSite(t, buildtoken.Config{},
			definition.Job{Name: "app", Tokens: opens(), Runner: succeeds(), Params: params},
			definition.Job{Name: "never", Tokens: opens(), Runner: succeeds(), Coalesce: job.Never})
		trigger := func(delay string, pairs ...string) buildtoken.Outcome {
			return s.trigger("app", values(pairs...), delayed(delay), func(t *buildtoken.Trigger) { t.Cause = new("after " + delay) })
		}
		first := trigger("1h", "S", "a", "P", "one", "B", "yes")
		for _, tt := range []struct {
			name  string
			pairs []string
			joins bool
		}{
			{"the same values", []string{"S", "a", "P", "one", "B", "true"}, true},
			{"what no parameter asks for", []string{"S", "a", "P", "one", "B", "1", "X", "y"}, true},
			{"another password", []string{"S", "a", "P", "two", "B", "yes"}, false},
			{"no password", []string{"S", "a", "B", "yes"}, false},
			{"another text", []string{"S", "b", "P", "one", "B", "yes"}, false},
			{"values that only look the same when they are put together", []string{"S", "aP", "P", "ne", "B", "yes"}, false},
		} {
			out := trigger("2h", tt.pairs...)
			if joined := out.Item.ID == first.Item.ID && !out.Created; joined != tt.joins {
				t.Errorf("%s: item %d created=%v, first is %d; want joined=%v", tt.name, out.Item.ID, out.Created, first.Item.ID, tt.joins)
			}
		}
		early := trigger("10s", "S", "a", "P", "one", "B", "on")
		if want := time.Now().Add(10 * time.Second); !early.Item.Due.Equal(want) {
			t.Errorf("due %v after an earlier join, want %v", early.Item.Due, want)
		}
		late := trigger("3h", "S", "a", "P", "one", "B", "on")
		if !late.Item.Due.Equal(early.Item.Due) {
			t.Errorf("due %v after a later join, want %v", late.Item.Due, early.Item.Due)
		}
		if got := late.Item.Triggers(); got != 5 {
			t.Errorf("the item stands for %d triggers, want 5", got)
		}
		a, b := s.trigger("never", delayed("1h")), s.trigger("never", delayed("1h"))
		if a.Item.ID == b.Item.ID || !b.Created {
			t.Errorf("coalesce never: items %d and %d", a.Item.ID, b.Item.ID)
		}
	})
}

func TestCauseIsOneLineOfTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{}, definition.Job{Name: "app", Tokens: opens(), Runner: succeeds()})
		for _, tt := range []struct{ name, given, want string }{
			{"plain text", "push by alice", "push by alice"},
			{"empty", "", ""},
			{"line breaks", "a\r\nFinished: SUCCESS\u2028b\u0085c", "a  Finished: SUCCESS b c"},
			{"escapes", "\x1b[31mred\x00\x7f", " [31mred  "},
			{"not UTF-8", "a\xffb", "a\uFFFDb"},
			{"too long", strings.Repeat("ü", 1000), strings.Repeat("ü", 500)},
			{"a limit within a character", "x" + strings.Repeat("ü", 1000), "x" + strings.Repeat("ü", 499)},
		} {
			out := s.trigger("app", func(t *buildtoken.Trigger) { t.Cause, t.Remote = &tt.given, guesser })
			synctest.Wait()
			want := "Started by remote host 192.0.2.1 with note: " + tt.want
			entry, err := s.Entry(t.Context(), s.def, out.Item.ID)
			if err != nil || entry.Build == nil {
				t.Fatalf("%s: Entry = %+v, %v", tt.name, entry, err)
			}
			if got := s.log("app", entry.Build.Number)[0]; got != want {
				t.Errorf("%s: first line %q, want %q", tt.name, got, want)
			}
		}
	})
}

func TestPoliciesSeeTheTrigger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().UTC().Format(time.RFC3339)
		rules := []string{
			`job.full_name == "team/app" && job.name == "app" && job.folder == "team"`,
			`token.name == "ci"`,
			`params == {"S": "text", "P": "hidden", "B": "true"}`,
			`delay == duration("90s")`,
			`cause == "a b"`,
			`user == "alice"`,
			`now == timestamp("` + now + `")`,
			`request.method == "POST" && request.headers["x-event"] == "push" && request.remote_ip == "192.0.2.1"`,
		}
		params := []job.Param{{Name: "S", Kind: job.KindString}, {Name: "P", Kind: job.KindPassword}, {Name: "B", Kind: job.KindBoolean}}
		s := openSite(t, buildtoken.Config{})
		good := ask("team/app", values("S", "text", "P", "hidden", "B", "yes"), delayed("90s"), func(t *buildtoken.Trigger) {
			t.Cause, t.User = new("a\nb"), "alice"
			t.Request = func() policy.Request {
				return policy.Request{Method: "POST", RemoteIP: "192.0.2.1", Headers: map[string]string{"x-event": "push"}}
			}
		})
		for at := range rules {
			// Each rule allows at each level, and its opposite denies.
			for _, level := range []string{"top", "folder", "job", "token"} {
				for _, allow := range []bool{true, false} {
					rule := rules[at]
					if !allow {
						rule = "!(" + rule + ")"
					}
					ci := definition.Token{Name: "ci", Digest: token.NewSecret(secret).Digest()}
					app := definition.Job{Name: "app", Params: params, Runner: succeeds()}
					team, root := definition.Folder{Name: "team"}, definition.Folder{}
					switch level {
					case "top":
						root.Allow = rulesOf(rule)
					case "folder":
						team.Allow = rulesOf(rule)
					case "job":
						app.Allow = rulesOf("true", rule)
					case "token":
						ci.Allow = rulesOf(rule)
					}
					team.Tokens, team.Jobs = []definition.Token{ci}, []definition.Job{app}
					root.Folders = []definition.Folder{team}
					d := define(t, definition.Spec{Root: root})
					_, err := s.Trigger(t.Context(), d, good)
					if allow && err != nil || !allow && !errors.Is(err, policy.ErrDenied) {
						t.Errorf("%s, %s: Trigger = %v", level, rule, err)
					}
				}
			}
		}
	})
}

// The rules of one token must not apply to another token of the job.
func TestRulesOfATokenAreItsOwn(t *testing.T) {
	s := openSite(t, buildtoken.Config{})
	digest := func(s string) token.Digest { return token.NewSecret(s).Digest() }
	s.attach(definition.Spec{Root: definition.Folder{
		Tokens: []definition.Token{{Name: "ci", Digest: digest("outer"), Allow: rulesOf(`cause == "outer"`)}},
		Jobs: []definition.Job{{Name: "app", Runner: succeeds(), Tokens: []definition.Token{
			{Name: "ci", Digest: digest("inner"), Allow: rulesOf(`cause == "inner"`)},
			{Name: "free", Digest: digest("free")},
		}}},
	}})
	for _, shown := range []string{"outer", "inner", "free"} {
		for _, cause := range []string{"outer", "inner"} {
			var want error
			if shown != "free" && shown != cause {
				want = policy.ErrDenied
			}
			s.refused(want, ask("app", func(t *buildtoken.Trigger) { t.Secret, t.Cause = token.NewSecret(shown), &cause }))
		}
	}
}

// upload returns a file with this content.
func upload(name, content string) buildtoken.Upload {
	return buildtoken.Upload{Name: name, Size: int64(len(content)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(content)), nil
	}}
}

func (s *site) uploads() []string {
	s.t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.dir, "uploads"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(s.dir, "uploads", e.Name()))
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, string(text))
	}
	return all
}

func TestUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []runner.Param
		var content []byte
		app := definition.Job{
			Name: "app", Tokens: opens(), Params: []job.Param{{Name: "S", Kind: job.KindString}, {Name: "F", Kind: job.KindFile}, {Name: "G", Kind: job.KindFile}},
			Runner: runs(func(_ context.Context, b runner.Build, _ io.Writer) runner.Result {
				seen = b.Params
				content, _ = os.ReadFile(b.Params[1].File)
				return runner.Result{Outcome: runner.Success}
			}),
		}
		denied := app
		denied.Name, denied.Allow = "denied", rulesOf("false")
		s := openSite(t, buildtoken.Config{QueueLimit: 2}, app, denied)
		with := func(content string) func(*buildtoken.Trigger) {
			return func(t *buildtoken.Trigger) {
				values("S", "x")(t)
				t.Files = map[string]buildtoken.Upload{"F": upload(`C:\dir\notes.txt`, content), "unknown": upload("x", "x")}
			}
		}
		want := func(where string, files ...string) {
			t.Helper()
			if diff := cmp.Diff(files, s.uploads()); diff != "" {
				t.Errorf("%s: stored files (-want +got):\n%s", where, diff)
			}
		}

		s.refused(policy.ErrDenied, ask("denied", with("no")))
		want("refused by a policy")
		first := s.trigger("app", with("one"), delayed("10s"))
		want("queued", "one")
		second := s.trigger("app", with("one"), delayed("10s"))
		if first.Item.ID == second.Item.ID || !second.Created {
			t.Errorf("uploads coalesced into item %d", first.Item.ID)
		}
		want("queued again", "one", "one")
		s.refused(queue.ErrFull, ask("app", with("two")))
		want("refused because the queue is full", "one", "one")
		if err := s.Cancel(t.Context(), "denied", second.Item.ID, "user alice"); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("Cancel of an item of another job = %v, want ErrNotFound", err)
		}
		want("another job's item cancelled", "one", "one")
		if err := s.Cancel(t.Context(), "app", second.Item.ID, "user alice"); err != nil {
			t.Errorf("Cancel = %v", err)
		}
		want("cancelled", "one")
		time.Sleep(10 * time.Second)
		s.wantResult("app", 1, queue.Success, "")
		if string(content) != "one" {
			t.Errorf("the build read %q, want one", content)
		}
		for i := range seen {
			if seen[i].Name == "F" {
				seen[i].File = ""
			}
		}
		if diff := cmp.Diff([]runner.Param{{Name: "S", Value: "x"}, {Name: "F", Value: "notes.txt"}, {Name: "G"}}, seen); diff != "" {
			t.Errorf("parameters of the build (-want +got):\n%s", diff)
		}
		want("the build has ended")

		broken := errors.New("the body ended early")
		s.refused(buildtoken.ErrUpload, ask("app", values("S", "x"), func(t *buildtoken.Trigger) {
			t.Files = map[string]buildtoken.Upload{"F": upload("a", "a"), "G": {Open: func() (io.ReadCloser, error) { return nil, broken }}}
		}))
		want("one of two could not be read")
		if refused := s.logs.FilterMessage("trigger refused").FilterLevelExact(zap.ErrorLevel); refused.Len() != 1 {
			t.Errorf("errors for a file that could not be stored: %v, want one", refused.All())
		} else if check, ok := refused.All()[0].ContextMap()["check"]; ok {
			t.Errorf("the line about a file that could not be stored blames the check %q, want none", check)
		}

		// When the controller opens, it removes files that no item refers to, and keeps the
		// others.
		s.trigger("app", with("kept"), delayed("1h"))
		if err := os.WriteFile(filepath.Join(s.dir, "uploads", "ORPHAN"), []byte("orphan"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s.open()
		want("opened again", "kept")
	})
}

// forgetful is a queue that does not tell which builds it has.
type forgetful struct{ buildtoken.Queue }

func (forgetful) Oldest(context.Context, string) (int64, error) { return 0, queue.ErrStorage }

// The files of a build that has ended are removed even if the queue fails then.
func TestUploadsAreRemovedIfTheQueueFailsAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{})
		s.reopenShared(func(q cutOff) buildtoken.Queue { return forgetful{q} })
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: succeeds(), Params: []job.Param{{Name: "F", Kind: job.KindFile}}}}}})
		s.trigger("app", values(), delayed("1m"), func(t *buildtoken.Trigger) { t.Files = map[string]buildtoken.Upload{"F": upload("f", "one")} })
		if got := s.uploads(); len(got) != 1 {
			t.Fatalf("stored files %q, want one", got)
		}
		time.Sleep(time.Minute)
		s.wantResult("app", 1, queue.Success, "")
		if got := s.uploads(); len(got) != 0 {
			t.Errorf("stored files %q after the end of the build, want none", got)
		}
		if n := s.logs.FilterMessage("logs of dropped builds could not be removed").Len(); n != 1 {
			t.Errorf("%d log lines about logs that could not be removed, want 1", n)
		}
	})
}

// If a client disconnects while its upload is being queued, either the item and its file exist,
// or neither.
func TestUploadOfAClientThatWentAway(t *testing.T) {
	s := openSite(t, buildtoken.Config{}, definition.Job{
		Name: "app", Tokens: opens(), Runner: succeeds(), Params: []job.Param{{Name: "F", Kind: job.KindFile}},
	})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.Trigger(ctx, s.def, ask("app", values(), delayed("1h"), func(t *buildtoken.Trigger) {
		t.Files = map[string]buildtoken.Upload{"F": {Name: "a", Open: func() (io.ReadCloser, error) {
			cancel()
			return io.NopCloser(strings.NewReader("a")), nil
		}}}
	}))
	items, listErr := s.Items(t.Context(), s.def, "app", 10)
	if listErr != nil {
		t.Fatal(listErr)
	}
	if len(items) != len(s.uploads()) {
		t.Errorf("Trigger = %v; %d items and %d files, want as many", err, len(items), len(s.uploads()))
	}
}

// leaving is a queue whose callers have gone before it answers what it has queued.
type leaving struct {
	buildtoken.Queue
	leave context.CancelFunc
}

func (q leaving) Schedule(ctx context.Context, now time.Time, r queue.Request) (queue.Item, bool, error) {
	it, created, err := q.Queue.Schedule(ctx, now, r)
	q.leave()
	if ctx.Err() != nil {
		return queue.Item{}, false, ctx.Err()
	}
	return it, created, err
}

// If the client disconnects when the item is queued, its build still has the file.
func TestUploadIsKeptForTheItemOfAClientThatWentAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		s := openSite(t, buildtoken.Config{})
		s.reopenShared(func(q cutOff) buildtoken.Queue { return leaving{q, leave} })
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: succeeds(), Params: []job.Param{{Name: "F", Kind: job.KindFile}}}}}})
		_, _ = s.Trigger(ctx, s.def, ask("app", values(), delayed("1h"), func(t *buildtoken.Trigger) { t.Files = map[string]buildtoken.Upload{"F": upload("f", "one")} })) // with or without an error
		items, err := s.Items(t.Context(), s.def, "app", 10)
		if err != nil || len(items) != 1 || len(s.uploads()) != 1 {
			t.Errorf("%d items, %v, and %d files; want one each", len(items), err, len(s.uploads()))
		}
		time.Sleep(2 * time.Hour)
		s.wantResult("app", 1, queue.Success, "")
	})
}

// A refused token may be the right one of another job, or one with a typing error. The log must
// not contain it in any form.
func TestRejectedTokenIsNotLogged(t *testing.T) {
	expired := opens()
	expired[0].Expires = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	s := openSite(t, buildtoken.Config{},
		definition.Job{Name: "app", Tokens: opens(token.Status), Runner: succeeds()},
		definition.Job{Name: "old", Tokens: expired, Runner: succeeds()})
	for _, text := range []string{secret, "WrongGuess77", secret + " ", "sha256:" + strings.Repeat("ab", 32)} {
		shown := token.NewSecret(text)
		for _, full := range []string{"app", "old", "nowhere", "app?token=" + text, "nowhere&token=" + text, "a/../#" + text} {
			for range 25 { // the last ones are throttled
				if _, err := s.Trigger(t.Context(), s.def, ask(full, func(t *buildtoken.Trigger) { t.Secret = shown })); err == nil {
					t.Fatalf("%q opened %s", text, full)
				}
			}
		}
		sum := shown.Digest()
		for _, entry := range s.logs.TakeAll() {
			line := fmt.Sprintf("%s %+v", entry.Message, entry.ContextMap())
			for _, form := range []string{
				strings.TrimSpace(text), fmt.Sprintf("%x", text), base64.RawStdEncoding.EncodeToString([]byte(text)),
				fmt.Sprintf("%x", sum[:8]), base64.RawStdEncoding.EncodeToString(sum[:9]),
			} {
				if strings.Contains(line, form) {
					t.Errorf("the log shows %q of %q: %s", form, text, line)
				}
			}
		}
	}
}

// Whatever happens to a trigger, its secret and passwords appear in no log and no answer.
func TestSecretsAreNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := definition.Job{
			Name: "app", Tokens: opens(), Runner: succeeds(), Params: []job.Param{{Name: "P", Kind: job.KindPassword}, {Name: "N", Kind: job.KindChoice, Choices: []string{"1"}}},
		}
		denied := app
		denied.Name, denied.Allow = "denied", rulesOf(`int(params.P) > 0`)
		s := openSite(t, buildtoken.Config{}, app, denied)
		const wrong, password = "WrongGuess77", "Pa55word!"
		for _, full := range []string{"app", "denied", "nowhere"} {
			for _, shown := range []string{secret, wrong} {
				for _, n := range []string{"1", "2"} {
					out, err := s.Trigger(t.Context(), s.def, ask(full, values("P", password, "N", n), func(t *buildtoken.Trigger) {
						t.Secret = token.NewSecret(shown)
					}))
					if text := fmt.Sprintf("%v %+v", err, out); strings.Contains(text, password) || strings.Contains(text, shown) {
						t.Errorf("the answer shows a secret: %s", text)
					}
				}
			}
		}
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s.logs.Len() == 0 {
			t.Fatal("nothing was logged")
		}
		for _, entry := range s.logs.All() {
			line := fmt.Sprintf("%s %+v", entry.Message, entry.ContextMap())
			for _, hidden := range []string{secret, wrong, password} {
				if strings.Contains(line, hidden) {
					t.Errorf("a log line shows %q: %s", hidden, line)
				}
			}
		}
		err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			raw, err := os.ReadFile(path)
			for _, hidden := range []string{secret, wrong, password} {
				if strings.Contains(string(raw), hidden) {
					t.Errorf("file %s holds %q", filepath.Base(path), hidden)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if text := fmt.Sprintf("%+v", s.Stats()); strings.Contains(text, password) {
			t.Errorf("Stats shows a password: %s", text)
		}
	})
}
