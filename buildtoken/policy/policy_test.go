package policy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"cel.dev/cel-go/interpreter"
	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/policy"
)

func compile(t testing.TB, sources ...string) *policy.Policy {
	t.Helper()
	env, err := policy.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	var rules []policy.Rule
	for i, s := range sources {
		rules = append(rules, policy.Rule{Name: fmt.Sprintf("rule %d", i+1), Source: s})
	}
	p, err := env.Compile(rules)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func denied(t *testing.T, err error) *policy.Denied {
	t.Helper()
	d, ok := errors.AsType[*policy.Denied](err)
	if !ok || !errors.Is(err, policy.ErrDenied) {
		t.Fatalf("Decide = %v, want a Denied", err)
	}
	return d
}

func TestJobOf(t *testing.T) {
	for _, tt := range []struct {
		name string
		want policy.Job
	}{
		{"team/app/deploy", policy.Job{Name: "deploy", Folder: "team/app", FullName: "team/app/deploy"}},
		{"deploy", policy.Job{Name: "deploy", FullName: "deploy"}},
		{"", policy.Job{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, policy.JobOf(tt.name)); diff != "" {
				t.Errorf("JobOf (-want +got):\n%s", diff)
			}
		})
	}
}

// Each expression is true for this input, so every documented variable and function exists.
func TestRulesSeeAllVariablesAndFunctions(t *testing.T) {
	in := &policy.Input{
		Job: policy.JobOf("team/app/deploy"), Token: policy.Token{Name: "ci"},
		Params: map[string]string{"ENV": "staging", "N": "3"},
		Delay:  90 * time.Second, Cause: "push", User: "alice",
		Now: time.Date(2026, 11, 24, 15, 30, 0, 0, time.FixedZone("", 5*3600)),
		Request: policy.Request{
			Method: "POST", Host: "ci.example.com", Path: "/buildByToken/build", Scheme: "https",
			RemoteIP: "192.0.2.7", UserAgent: "curl/8", Headers: map[string]string{"x-event": "push"},
		},
	}
	for _, source := range []string{
		`job.name == "deploy" && job.folder == "team/app" && job.full_name == job.folder + "/" + job.name`,
		`token.name == "ci"`,
		`params.ENV == "staging" && params["N"] == "3" && size(params) == 2 && "ENV" in params && !("X" in params)`,
		`delay == duration("90s") && delay.getSeconds() == 90`,
		`cause == "push" && user == "alice"`,
		`now == timestamp("2026-11-24T10:30:00Z") && now.getHours() == 10 && string(now) == "2026-11-24T10:30:00Z"`,
		`timestamp("2026-11-24T01:30:00+05:00").getHours() == 20`,
		`request.method == "POST" && request.host == "ci.example.com" && request.path == "/buildByToken/build"`,
		`request.scheme == "https" && request.remote_ip == "192.0.2.7" && request.user_agent == "curl/8"`,
		`request.headers["x-event"] == "push" && has(request.headers) && has(token.name)`,
		`params.ENV.matches("^s") && params.ENV.startsWith("st") && params.ENV.contains("agi") && int(params.N) > 2`,
		`params.ENV.upperAscii() == "STAGING" && params.ENV.split("a").size() == 2 && "%s".format([user]) == "alice"`,
		`sets.contains(["a", "staging"], [params.ENV])`,
		`math.greatest(int(params.N), 2) == 3`,
		`base64.encode(bytes(user)) == "YWxpY2U=" && json.encode([user]) == "[\"alice\"]"`,
		`ip(request.remote_ip).family() == 4 && cidr("192.0.2.0/24").containsIP(request.remote_ip)`,
		`params.exists(k, k == "ENV") && params.all(k, params[k] != "") && [1, 2].map(i, i * 2) == [2, 4]`,
		`job == job && dyn(job) != dyn(request) && dyn(job) != dyn(user) && type(user) == string && [job].all(j, j.name == "deploy")`,
	} {
		t.Run(source, func(t *testing.T) {
			if err := compile(t, source).Decide(t.Context(), in); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEmptyInputHasEmptyValues(t *testing.T) {
	p := compile(t,
		`params.size() == 0 && request.headers.size() == 0 && !has(request.headers)`,
		`job.name == "" && token.name == "" && !has(token.name) && user == "" && delay == duration("0s")`)
	if err := p.Decide(t.Context(), &policy.Input{}); err != nil {
		t.Error(err)
	}
}

func TestPolicyWithoutRulesAllows(t *testing.T) {
	for _, p := range []*policy.Policy{{}, compile(t)} {
		if err := p.Decide(t.Context(), &policy.Input{}); err != nil {
			t.Errorf("Decide = %v, want nil", err)
		}
	}
}

func TestMentions(t *testing.T) {
	p := compile(t, `user == "job"`, `request.headers.exists(h, h == "x" && job.name != "")`)
	for variable, want := range map[string]bool{"user": true, "job": true, "request": true, "params": false, "token": false} {
		if got := p.Mentions(variable); got != want {
			t.Errorf("Mentions(%q) = %v, want %v", variable, got, want)
		}
	}
}

func TestDeniedNamesTheRule(t *testing.T) {
	p := compile(t, `true`, `user == "alice"`, `params.ENV == "x"`)

	d := denied(t, p.Decide(t.Context(), &policy.Input{User: "bob"}))
	if d.Err != nil || d.Rule != (policy.Rule{Name: "rule 2", Source: `user == "alice"`}) {
		t.Errorf("Denied = %+v, want rule 2 without an error", d)
	}
	if got, want := d.Error(), "policy: denied by rule 2"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}

	d = denied(t, p.Decide(t.Context(), &policy.Input{User: "alice"}))
	if d.Err == nil || d.Rule.Name != "rule 3" || !errors.Is(d, d.Err) {
		t.Errorf("Denied = %+v, want rule 3 with an error that it unwraps to", d)
	}
	if got, want := d.Error(), "policy: denied by rule 3: no such key: ENV"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}

func TestDeniedShowsNoValues(t *testing.T) {
	in := &policy.Input{
		Params: map[string]string{"SHORT": "ab1", "PASSWORD": "hunter2", "QUOTED": `hunt"er2`, "CUT": "1hunter2", "PIN": "4711"},
		Request: policy.Request{
			Headers: map[string]string{"authorization": "Bearer hunter2", "x": "2026-hunter2"},
		},
	}
	for _, source := range []string{
		`int(params.PASSWORD) > 1`, `int(params.QUOTED) > 1`, `double(params.SHORT) > 1.0`,
		`ip(params.PASSWORD).family() == 4`, `ip(params.QUOTED).family() == 4`, `cidr(params.SHORT).prefixLength() == 4`,
		`duration(params.CUT) > delay`, `timestamp(request.headers.x) > now`, `bool(params.PASSWORD)`,
		`ip(request.headers.authorization).family() == 4`,
		`{"a": 1}[params.PASSWORD] == 1`, `{"a": 1}[params.PIN] == 1`, `"abc".substring(int(params.PIN), 2) == ""`, `{"a": 1}[params.QUOTED] == 1`, `{"a": 1}[params.SHORT] == 1`,
	} {
		t.Run(source, func(t *testing.T) {
			d := denied(t, compile(t, source).Decide(t.Context(), in))
			if d.Err == nil {
				t.Fatal("the rule did not fail")
			}
			for _, secret := range []string{"unt", "r2", "ab1", "4711"} {
				if strings.Contains(d.Error(), secret) {
					t.Errorf("Error() = %q, shows %q", d.Error(), secret)
				}
			}
		})
	}
	err := compile(t, `ip(params.QUOTED).family() == 4`).Decide(t.Context(), in)
	if want := "policy: denied by rule 1: IP Address \"…\" parse error during conversion from string: ParseAddr(\"…\"): unable to parse IP"; err == nil || err.Error() != want {
		t.Errorf("Decide = %v, want %s", err, want)
	}
}

func TestCancelledContextEndsTheDecision(t *testing.T) {
	cause := errors.New("client went away")
	params := map[string]string{}
	for i := range 1000 {
		params[fmt.Sprint("P", i)] = "value"
	}
	in := &policy.Input{Params: params}
	p := compile(t, `params.all(k, params[k] == "value")`)
	if err := p.Decide(t.Context(), in); err != nil {
		t.Fatalf("Decide = %v, want nil before it is cancelled", err)
	}

	t.Run("before the first rule", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		d := denied(t, p.Decide(ctx, in))
		if !errors.Is(d.Err, cause) {
			t.Errorf("Denied.Err = %v, want %v", d.Err, cause)
		}
	})
	t.Run("in the middle of a loop", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		d := denied(t, p.Decide(&noticedLate{Context: ctx}, in))
		if _, interrupted := errors.AsType[interpreter.InterruptError](d.Err); !interrupted {
			t.Errorf("Denied.Err = %v, want that of an interrupted evaluation", d.Err)
		}
		if !errors.Is(d.Err, cause) {
			t.Errorf("Denied.Err = %v, want %v", d.Err, cause)
		}
	})
}

// noticedLate is a context that ended just after the first check.
type noticedLate struct {
	context.Context
	looked bool
}

func (c *noticedLate) Err() error {
	if !c.looked {
		c.looked = true
		return nil
	}
	return c.Context.Err()
}

func TestCostLimitAtRunTime(t *testing.T) {
	// Both rules are cheap for the sizes that the estimate assumes.
	for _, tt := range []struct {
		name, source string
		params       map[string]string
	}{
		{"long text and a pattern", `params.A.matches("^[a-z0-9._/-]*$")`, map[string]string{"A": strings.Repeat("a", 400_000)}},
		{"long text to look in", `params.A.contains("0123456789012345678901234567890123456789")`, map[string]string{"A": strings.Repeat("a", 1<<20)}},
		{"long text to write as JSON", `json.encode(params) != ""`, map[string]string{"A": strings.Repeat("a", 1<<20)}},
		{"many parameters", `params.all(k, params[k].matches("^[a-z]+$"))`, func() map[string]string {
			m := map[string]string{}
			for i := range 1000 {
				m[fmt.Sprint("P", i)] = strings.Repeat("a", 1024)
			}
			return m
		}()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := denied(t, compile(t, tt.source).Decide(t.Context(), &policy.Input{Params: tt.params}))
			cancelled, ok := errors.AsType[interpreter.EvalCancelledError](d.Err)
			if !ok || cancelled.Cause != interpreter.CostLimitExceeded {
				t.Errorf("Denied.Err = %v, want the cost limit", d.Err)
			}
		})
	}
}

func TestMatchesRefusesTextTooLongForThePattern(t *testing.T) {
	for _, source := range []string{
		`params.A.matches("[a-z]{1,450}[0-9]")`,
		`matches(params.A, "[a-z]{1,450}[0-9]")`,
		`["[a-z]{1,450}[0-9]"].exists(p, params.A.matches(p))`,
	} {
		t.Run(source, func(t *testing.T) {
			p := compile(t, source)
			short := &policy.Input{Params: map[string]string{"A": strings.Repeat("a", 1000) + "1"}}
			if err := p.Decide(t.Context(), short); err != nil {
				t.Errorf("Decide of 1 kB = %v, want nil", err)
			}
			long := &policy.Input{Params: map[string]string{"A": strings.Repeat("a", 50_000)}}
			d := denied(t, p.Decide(t.Context(), long))
			if d.Err == nil || !strings.Contains(d.Err.Error(), "too long for this pattern") {
				t.Errorf("Decide of 50 kB = %v, want the reason that the text is too long", d)
			}
		})
	}
}

// The error names the limit, up to which a text is matched.
func TestMatchesTakesTextUpToItsLimit(t *testing.T) {
	p := compile(t, `params.A.matches("[a-z]{1,450}[0-9]")`)
	decide := func(n int) error {
		return p.Decide(t.Context(), &policy.Input{Params: map[string]string{"A": strings.Repeat("a", n-1) + "1"}})
	}
	var size, limit int
	_, text, _ := strings.Cut(fmt.Sprint(decide(50_000)), "matches: ")
	if _, err := fmt.Sscanf(text, "a text of %d bytes is too long for this pattern, the limit is %d", &size, &limit); err != nil || size != 50_000 {
		t.Fatalf("the error ends with %q: %v", text, err)
	}
	if err := decide(limit); err != nil {
		t.Errorf("a text of %d bytes: %v", limit, err)
	}
	if err := decide(limit + 1); err == nil {
		t.Errorf("a text of %d bytes is matched", limit+1)
	}
}

func TestDecideConcurrently(t *testing.T) {
	p := compile(t,
		`params.N.matches("^[0-9]+$")`,
		`params.all(k, params[k] == user)`,
		`request.headers.exists(k, request.headers[k] == user)`,
		`int(user) % 2 == 0`)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			user := fmt.Sprint(i)
			in := &policy.Input{
				User: user, Params: map[string]string{"N": user},
				Request: policy.Request{Headers: map[string]string{"x": user}},
			}
			for range 200 {
				if err := p.Decide(t.Context(), in); (err == nil) != (i%2 == 0) {
					t.Errorf("Decide for user %d = %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestEnvCompilesConcurrently(t *testing.T) {
	env, err := policy.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			p, err := env.Compile([]policy.Rule{{Name: "r", Source: `token.name.startsWith("c") && job.name != ""`}})
			if err != nil {
				t.Error(err)
				return
			}
			if err := p.Decide(t.Context(), &policy.Input{Token: policy.Token{Name: "ci"}, Job: policy.JobOf("a")}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func BenchmarkDecide(b *testing.B) {
	sources := []string{
		`params.ENV in ["staging", "production"]`,
		`params.BRANCH.matches("^(main|release/[0-9.]+)$")`,
		`now.getHours() >= 8 && now.getHours() < 18`,
		`cidr("10.0.0.0/8").containsIP(request.remote_ip)`,
		`request.method == "POST"`,
		`delay <= duration("1h") && token.name == "ci"`,
	}
	in := &policy.Input{
		Token: policy.Token{Name: "ci"}, Params: map[string]string{"ENV": "staging", "BRANCH": "release/1.2"},
		Now:     time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC),
		Request: policy.Request{RemoteIP: "10.1.2.3", Method: "POST"},
	}
	for _, n := range []int{0, 1, 6} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			p := compile(b, sources[:n]...)
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Decide(ctx, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestMatchesTakesTextAndPattern uses both forms of the call, with a pattern that is known when
// the rule is compiled, and with elements of a list. Text and pattern must not be confused.
func TestMatchesTakesTextAndPattern(t *testing.T) {
	for _, tt := range []struct {
		rule, text string
		want       bool
	}{
		{`params.T.matches("^a")`, "ab", true},
		{`params.T.matches("^b")`, "ab", false},
		{`params.T.matches("ab")`, "^a", false},
		{`matches(params.T, "^a")`, "ab", true},
		{`matches(params.T, "^b")`, "ab", false},
		{`matches(params.T, "ab")`, "^a", false},
		{`"ab".matches("^b")`, "", false},
		{`matches("ab", "^b")`, "", false},
		{`["^a"].exists(p, params.T.matches(p))`, "ab", true},
		{`["^b"].exists(p, params.T.matches(p))`, "ab", false},
		{`["ab"].exists(p, params.T.matches(p))`, "^a", false},
		{`["ab"].exists(p, matches(params.T, p))`, "^a", false},
	} {
		in := &policy.Input{Params: map[string]string{"T": tt.text}}
		if err := compile(t, tt.rule).Decide(t.Context(), in); (err == nil) != tt.want {
			t.Errorf("%s with T=%q: Decide = %v, want it to allow: %v", tt.rule, tt.text, err, tt.want)
		}
	}
}

// TestBudgetIsUsedUp evaluates one rule repeatedly within one budget.
func TestBudgetIsUsedUp(t *testing.T) {
	p := compile(t, `params.T.contains("x")`)
	in := &policy.Input{Params: map[string]string{"T": strings.Repeat("x", 1000)}}
	budget := policy.Budget{Left: 1000}
	before := budget.Left
	if err := p.DecideWithin(t.Context(), in, &budget); err != nil || budget.Left >= before {
		t.Fatalf("DecideWithin = %v, %d of the budget left, want less than %d", err, budget.Left, before)
	}
	for n := 0; budget.Left > 0; n++ {
		if n > 1000 {
			t.Fatalf("the budget has %d left after %d decisions", budget.Left, n)
		}
		if err := p.DecideWithin(t.Context(), in, &budget); err != nil {
			break
		}
	}
	if err := p.DecideWithin(t.Context(), in, &budget); !errors.Is(err, policy.ErrBudget) {
		t.Errorf("DecideWithin with %d of the budget left = %v, want ErrBudget", budget.Left, err)
	}
	if err := p.Decide(t.Context(), in); err != nil {
		t.Errorf("Decide without a budget = %v", err)
	}
	free := policy.Budget{Left: 10}
	if err := compile(t, `true`).DecideWithin(t.Context(), in, &free); err != nil || free.Left != 9 {
		t.Errorf("DecideWithin of a rule that costs nothing = %v, %d of 10 left, want 9", err, free.Left)
	}
}

// CEL's next version may write values into its errors in another way. Those of a trigger are looked for
// wherever they stand; a short one could be part of a word.
func TestNoErrorShowsAValue(t *testing.T) {
	in := &policy.Input{
		Params:  map[string]string{"PW": "hunter2", "LONG": "hunter2 and more", "SHORT": "is"},
		Request: policy.Request{Headers: map[string]string{"x-secret": "s3cret"}},
	}
	for text, want := range map[string]string{
		"hunter2 is not valid":                "… is not valid",
		"cannot use hunter2 and more, s3cret": "cannot use …, …",
		"bad text `hunter` in it":             "bad text `…` in it",
		`bad text "a\"b" and "hunter`:         `bad text "…" and …`,
		"bad text `a\\` in it":                "bad text `…` in it", // no escape
	} {
		if got := policy.WithoutValues(errors.New(text), in); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
