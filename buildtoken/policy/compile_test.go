package policy_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/interpreter"

	"github.com/buildtoken/buildtoken/buildtoken/policy"
)

func TestCompileRefuses(t *testing.T) {
	env, err := policy.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, source, wantText string }{
		{"unknown variable", `tokn.name == "ci"`, "1:1: undeclared reference to 'tokn'"},
		{"misspelt field", `true && token.nmae == "ci"`, "1:14: undefined field 'nmae'"},
		{"mistake in the second line", "true &&\n  job.nam == \"a\"", "2:6: undefined field 'nam'"},
		{"unknown function", `frob(1)`, "1:5: undeclared reference to 'frob'"},
		{"text instead of bool", `params.A`, "of type string, want bool"},
		{"dyn instead of bool", `dyn(true)`, "of type dyn, want bool"},
		{"dyn in one branch", `user == "x" ? true : dyn(1)`, "of type dyn, want bool"},
		{"comparison of a text with a number", `params.N > 3`, "no matching overload for '_>_' applied to '(string, int)'"},
		{"syntax", `params.A == `, "1:13: Syntax error"},
		{"nothing", "  \n", "the expression is empty"},
		{"regular expression that is none", `user.matches("a(b")`, "1:14: error parsing regexp: missing closing )"},
		{"regular expression that is none, as a function", `matches(user, "[")`, "error parsing regexp"},
		{"regular expression that is large", `user.matches("([a-z]{1,400}){2}[0-9]{1,700}")`, "regular expression too large"},
		{"regular expression a little too large", `user.matches("a{999}")`, "regular expression too large: 1001 instructions, the limit is 1000"},
		{"duration that is none", `delay < duration("1 day")`, "invalid duration argument"},
		{"instant that is none", `now < timestamp("tomorrow")`, "invalid timestamp argument"},
		{"address that is none", `ip("10.0.0.256").isLoopback()`, "invalid ip argument"},
		{"value of our own type", `job{}.name == ""`, "1:4: undeclared reference to 'job'"},
		{"pattern from the caller", `user.matches(params.A)`, "1:20: the pattern of matches must be a literal text"},
		{"pattern from the caller in a variable", `user.matches(cause)`, "must be a literal text"},
		{"patterns from the caller in a loop", `params.all(p, user.matches(p))`, "must be a literal text"},
		{"pattern from the caller in a list", `["a", cause].exists(p, user.matches(p))`, "must be a literal text"},
		{"pattern put together", `user.matches("^" + job.name)`, "must be a literal text"},
		{"list with a pattern that is none", `["a", "("].exists(p, user.matches(p))`, "error parsing regexp"},
		{"loop in a loop with a dear body", `params.all(a, params.all(b, a == b || params[a] != params[b]))`, "too dear: it may cost"},
		{"loop in a loop over headers", `request.headers.all(a, request.headers.exists(b, a != b && user.contains(b)))`, "too dear: it may cost"},
		{"loop with a dear function", `params.all(p, json.encode(params) != p)`, "too dear: it may cost"},
		{"loop over a list of unknown size", `[{"a": [user]}].exists(l, l.a.exists(x, x == "a"))`, "too dear: its cost has no bound"},
		{"loops nested three deep", `params.all(a, params.all(b, params.all(c, true)))`, "1:39: comprehension exceeds nesting limit"},
		{"optional element that is not optional", `[?dyn(params.A)].size() == 1`, "a ? in a list or map needs an optional value"},
		{"optional entry that is not optional", `{?"a": dyn(params.A)}.size() == 1`, "a ? in a list or map needs an optional value"},
		{"long source", strings.Repeat("true && ", 1100) + "true", "allow 1: expression code point size exceeds limit"},
		{"deep source", strings.Repeat("(", 2000) + "true" + strings.Repeat(")", 2000), "recursion limit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := env.Compile([]policy.Rule{{Name: "team/app allow 1", Source: tt.source}})
			if !errors.Is(err, policy.ErrBadRule) || p != nil {
				t.Fatalf("Compile(%q) = %v, %v, want nil and ErrBadRule", tt.source, p, err)
			}
			if !strings.HasPrefix(err.Error(), "policy: bad rule: team/app allow 1: ") || !strings.Contains(err.Error(), tt.wantText) {
				t.Errorf("Compile(%q) = %q, want the rule's name and %q", tt.source, err, tt.wantText)
			}
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 1000 {
				t.Errorf("Compile(%q) = %q, want one readable line", tt.source, err)
			}
		})
	}
}

func TestCompileErrorText(t *testing.T) {
	env, err := policy.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	_, err = env.Compile([]policy.Rule{
		{Name: "a", Source: `user == "x"`},
		{Name: "b", Source: `usr == "x" || job.nam == "y"`},
		{Name: "c", Source: `params.A`},
	})
	want := "policy: bad rule: b: 1:1: undeclared reference to 'usr'; 1:18: undefined field 'nam' in `usr == \"x\" || job.nam == \"y\"`\n" +
		"policy: bad rule: c: the expression is of type string, want bool in `params.A`"
	if err == nil || err.Error() != want {
		t.Errorf("Compile = %v, want %s", err, want)
	}
}

// The sizes that the estimate takes for granted show in the costs that it names.
func TestEstimates(t *testing.T) {
	env, err := policy.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		`params.all(a, params.all(b, a == b || params[a] != params[b]))`:                                                "573762",
		`params.all(p, json.encode(params) != p)`:                                                                       "526274",
		`params.A.split(",").all(a, params.B.split(",").all(b, a < b))`:                                                 "509315",
		`request.headers.all(a, user.split(a).all(b, b.contains(cause)))`:                                               "43540867",
		`request.headers.all(a, request.headers.all(b, job == job && a != b && type(a) == string && user.contains(b)))`: "11133315",
	} {
		_, err := env.Compile([]policy.Rule{{Name: "r", Source: source}})
		if err == nil || !strings.Contains(err.Error(), "too dear: it may cost "+want+", the limit is 100000") {
			t.Errorf("Compile = %v, want a cost of %s", err, want)
		}
	}
}

func TestRulesUpTo8192Characters(t *testing.T) {
	env, err := policy.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	for n, takes := range map[int]bool{8192: true, 8193: false} {
		source := strings.Repeat(" ", n-len("true")) + "true"
		if _, err := env.Compile([]policy.Rule{{Name: "r", Source: source}}); takes != (err == nil) {
			t.Errorf("Compile of %d characters = %v", n, err)
		}
	}
}

func TestCompileTakesOrdinaryRules(t *testing.T) {
	compile(t,
		`params.ENV in ["staging", "production"] && params.BRANCH.matches("^(main|release/[0-9.]{1,20})$")`,
		`params.all(k, params[k].matches("^[A-Za-z0-9._/-]{0,255}$"))`,
		`params.VERSION.matches("a{998}")`,
		`["^v[0-9]", "^main$"].exists(p, params.BRANCH.matches(p))`,
		`params.all(a, ["ENV", "TAG"].exists(b, a == b))`,
		`request.headers.exists(h, h.startsWith("x-") && request.headers[h].contains("bot"))`,
		`params.HOSTS.split(",").all(h, h.trim().matches("^web[0-9]+$"))`,
		`request.path.lowerAscii().replace("//", "/").startsWith("/buildbytoken/")`,
		`json.encode(params).contains("nightly") && type(user) == string`,
		`"%s/%s".format([user, params.ENV]) in ["alice/staging", "bob/production"]`,
		`now.getHours("Europe/Berlin") >= 8 && cidr("10.0.0.0/8").containsIP(ip(request.remote_ip))`,
	)
}

func TestAccessEnvKnowsUserJobAndRequestOnly(t *testing.T) {
	env, err := policy.NewAccessEnv()
	if err != nil {
		t.Fatal(err)
	}
	p, err := env.Compile([]policy.Rule{{Name: "read", Source: `user == "alice" && job.folder == "team" && request.method == "GET"`}})
	if err != nil {
		t.Fatal(err)
	}
	in := &policy.Input{User: "alice", Job: policy.JobOf("team/app"), Request: policy.Request{Method: "GET"}}
	if err := p.Decide(t.Context(), in); err != nil {
		t.Errorf("Decide = %v, want nil", err)
	}
	for _, source := range []string{`token.name == ""`, `params.size() == 0`, `delay == duration("0s")`, `cause == ""`, `now > timestamp("2026-01-01T00:00:00Z")`} {
		if _, err := env.Compile([]policy.Rule{{Name: "read", Source: source}}); !errors.Is(err, policy.ErrBadRule) {
			t.Errorf("Compile(%q) = %v, want ErrBadRule", source, err)
		}
	}
}

// A rule that compiles must end within the limit, and small requests must never reach the
// limit.
func FuzzCompile(f *testing.F) {
	for _, source := range []string{
		`params.ENV in ["staging"]`, `user.matches("^a{2,4}$")`, `params.all(k, params[k] != "")`, `now.getHours("+05:30") > 8`,
		`cidr("10.0.0.0/8").containsIP(request.remote_ip)`, `[1, 2].map(i, i * 2).exists(i, i == 4)`, `"%s %.3f".format([user, 1.5]) == cause`,
		`json.encode(params) != ""`, `base64.decode(params.A) == b"x"`, `sets.equivalent([1], [1, 1])`, `dyn(job).name == ""`,
		`math.least([1, 2]) == 1`, `job == job`, `user ==`, `params.A.split("").join("x").reverse() == user`, `type(job) == type(token)`,
		`params.A.replace("", params.B) == ""`, `has(request.headers.x) || has(token.name)`, `{user: 1}[cause] == 1`, `job{name: "x"}.name == "x"`,
	} {
		f.Add(source)
	}
	env, err := policy.NewEnv()
	if err != nil {
		f.Fatal(err)
	}
	in := &policy.Input{
		Job: policy.JobOf("team/app/deploy"), Token: policy.Token{Name: "ci"},
		Params: map[string]string{"A": "aaaa", "B": strings.Repeat("b", 100), "ENV": ""},
		Delay:  time.Minute, Cause: "push", User: "alice", Now: time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC),
		Request: policy.Request{Method: "POST", RemoteIP: "::ffff:10.0.0.1", Headers: map[string]string{"x": "y"}},
	}
	f.Fuzz(func(t *testing.T, source string) {
		p, err := env.Compile([]policy.Rule{{Name: "fuzz", Source: source}})
		if err != nil {
			if !errors.Is(err, policy.ErrBadRule) {
				t.Errorf("Compile(%q) = %v, want ErrBadRule", source, err)
			}
			return
		}
		err = p.Decide(t.Context(), in)
		if err != nil && !errors.Is(err, policy.ErrDenied) {
			t.Errorf("Decide of %q = %v, want nil or ErrDenied", source, err)
		}
		if _, limited := errors.AsType[interpreter.EvalCancelledError](err); limited {
			t.Errorf("%q compiles, but a small request meets the limit: %v", source, err)
		}
		if err != nil && strings.Contains(err.Error(), "internal error") {
			t.Errorf("Decide of %q = %v: a panic was recovered", source, err)
		}
	})
}

// Many jobs have equal rules; a decision must name the rule of its own job.
func TestEqualRulesKeepTheirNames(t *testing.T) {
	env, err := policy.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a allow 1", "b allow 1"} {
		p, err := env.Compile([]policy.Rule{{Name: name, Source: `delay < duration("1m")`}})
		if err != nil {
			t.Fatal(err)
		}
		denied := new(policy.Denied)
		if err := p.Decide(t.Context(), &policy.Input{Delay: time.Hour}); !errors.As(err, &denied) || denied.Rule.Name != name {
			t.Errorf("Decide = %v, want rule %q to deny", err, name)
		}
	}
}

// A site with a thousand jobs inherits the same rules a thousand times.
func TestEqualRulesAreCompiledOnce(t *testing.T) {
	env, err := policy.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	compile := func(source string) float64 {
		return testing.AllocsPerRun(1, func() {
			if _, err := env.Compile([]policy.Rule{{Name: "r", Source: source}}); err != nil {
				t.Fatal(err)
			}
		})
	}
	if again := compile(`params.ENV.matches("^(staging|production)$")`); again > 10 {
		t.Errorf("compiling a known rule takes %v allocations, want 10 or fewer", again)
	}
}
