package policy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cel.dev/cel-go/common/types"

	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
)

func eventEnv(t testing.TB) *policy.EventEnv {
	t.Helper()
	env, err := policy.NewEventEnv()
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func delivery(t testing.TB) *policy.Delivery {
	t.Helper()
	body, err := event.Body(event.Token, nil, []byte(`{
		"number": 1234567, "big": 9007199254740993, "huge": 1e300, "much": 1e999, "rate": 0.5, "draft": false, "nothing": null,
		"labels": ["bug", "<ui>"], "head_commit": null, "payload": {"env": "staging", "n": [1, null]},
		"commits": [{"id": "a", "modified": ["api/x.go", "README.md"]}]
	}`))
	if err != nil {
		t.Fatal(err)
	}
	return &policy.Delivery{
		Job: policy.JobOf("shop/test"), User: "mona", Now: time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC),
		Request: policy.Request{Method: "POST", Headers: map[string]string{"x-github-event": "push"}},
		Event: &event.Event{
			Kind: event.GitHub, Name: "push", Repo: "shop/api", Ref: "refs/heads/main", Branch: "main", SHA: "abc", Sender: "octavia", Message: "\xff",
			Number: 7, Files: []string{"README.md", "api/x.go"}, FilesComplete: true, DefaultBranch: "main",
		},
		Body: func() (any, error) { return body, nil },
	}
}

func TestExpressionText(t *testing.T) {
	env, in := eventEnv(t), delivery(t)
	for _, tt := range []struct {
		source, want string
		absent       bool
	}{
		{source: `event.branch`, want: "main"},
		{source: `"push by " + event.sender`, want: "push by octavia"},
		{source: `body.number`, want: "1234567"},
		{source: `string(body.number)`, want: "1234567"},
		{source: `body.big`, want: "9007199254740993"},
		{source: `body.number + 1`, want: "1234568"},
		{source: `event.number`, want: "7"},
		{source: `body.rate`, want: "0.5"},
		{source: `body.draft`, want: "false"},
		{source: `event.files_complete`, want: "true"},
		{source: `body.nothing`, absent: true},
		{source: `null`, absent: true},
		{source: `body.?missing`, absent: true},
		{source: `body.?head_commit.?message`, absent: true},
		{source: `body.?head_commit.?message.orValue("")`, want: ""},
		{source: `body.?payload.?env`, want: "staging"},
		{source: `event.tag != "" ? optional.of(event.tag) : optional.none()`, absent: true},
		{source: `body.labels`, want: `["bug","<ui>"]`},
		{source: `body.payload`, want: `{"env":"staging","n":[1,null]}`},
		{source: `{"id": body.big, "files": dyn(event.files)}`, want: `{"files":["README.md","api/x.go"],"id":9007199254740993}`},
		{source: `event.files`, want: `["README.md","api/x.go"]`},
		{source: `event.ref.replace("refs/heads/", "")`, want: "main"},
		{source: `duration("90s")`, want: "1m30s"},
		{source: `now`, want: "2026-11-28T10:00:00Z"},
		{source: `job.full_name + request.headers["x-github-event"]`, want: "shop/testpush"},
		{source: `body.commits.map(c, c.id)`, want: `["a"]`},
		{source: `1070u`, want: "1070"},
		{source: `user + "@" + job.folder`, want: "mona@shop"},
		{source: `[dyn(1u), dyn(true), dyn(0.5), dyn(now), dyn(duration("90s")), dyn(optional.of("a")), dyn(optional.none()), dyn(null)]`, want: `[1,true,0.5,"2026-11-28T10:00:00Z","1m30s","a",null,null]`},
	} {
		t.Run(tt.source, func(t *testing.T) {
			x, err := env.Value(policy.Rule{Name: "set P", Source: tt.source})
			if err != nil {
				t.Fatal(err)
			}
			got, ok, err := x.Text(t.Context(), in)
			if err != nil || ok == tt.absent || got != tt.want {
				t.Errorf("Text = %q, %v, %v, want %q, %v", got, ok, err, tt.want, !tt.absent)
			}
		})
	}
}

// Every field of an event can be read, and has() is true only for one that has a value.
func TestExpressionsReadAllFieldsOfAnEvent(t *testing.T) {
	env := eventEnv(t)
	all := policy.Delivery{Event: &event.Event{
		Kind: "a kind", Name: "a name", Action: "an action", ID: "an id", Repo: "a repo", Ref: "a ref", Branch: "a branch", Tag: "a tag",
		SHA: "a sha", Before: "a before", Sender: "a sender", Message: "a message", Title: "a title", URL: "a url", DefaultBranch: "a default_branch",
		Created: true, Deleted: true, Fork: true, FilesComplete: true, Files: []string{"a file"}, Number: 1,
	}}
	none := policy.Delivery{Event: &event.Event{}}
	text := func(in *policy.Delivery, source string) string {
		t.Helper()
		x, err := env.Value(policy.Rule{Name: "set P", Source: source})
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := x.Text(t.Context(), in)
		if err != nil {
			t.Errorf("%s: %v", source, err)
		}
		return got
	}
	for name, want := range map[string][2]string{
		"kind": {"a kind"}, "name": {"a name"}, "action": {"an action"}, "id": {"an id"}, "repo": {"a repo"}, "ref": {"a ref"},
		"branch": {"a branch"}, "tag": {"a tag"}, "sha": {"a sha"}, "before": {"a before"}, "sender": {"a sender"},
		"message": {"a message"}, "title": {"a title"}, "url": {"a url"}, "default_branch": {"a default_branch"},
		"created": {"true", "false"}, "deleted": {"true", "false"}, "fork": {"true", "false"}, "files_complete": {"true", "false"},
		"files": {`["a file"]`, "[]"}, "number": {"1", "0"},
	} {
		if got := [2]string{text(&all, "event."+name), text(&none, "event."+name)}; got != want {
			t.Errorf("event.%s = %q, want %q", name, got, want)
		}
		if with, without := text(&all, "has(event."+name+")"), text(&none, "has(event."+name+")"); with != "true" || without != "false" {
			t.Errorf("has(event.%s) = %s with a value and %s without", name, with, without)
		}
	}
}

func TestExpressionTextFails(t *testing.T) {
	env, in := eventEnv(t), delivery(t)
	for _, tt := range []struct{ source, want string }{
		{`body.missing`, "no such key: missing"},
		{`body.payload.env.name`, "no such"},
		{`body.number.matches("^$")`, "no such overload"},
		{`{1: 2}`, "want string"},
		{`int(body.payload.env)`, ""},
		{`[event]`, "has no text"},
		{`{"a": [event]}`, "has no text"},
		{`json.encode([event])`, "<event> has no other form"},
		{`{"a": 1}[body.payload.env]`, "no such key: …"},
		{`now.getHours(body.payload.env)`, "unknown time zone …"},
		{`now.getHours("+" + string(body.number) + ":00")`, "hours out of range [-23, 23]: …"},
		{`now.getHours("+01:" + string(body.number))`, "minutes out of range [0, 59]: …"},
		{`body.labels[int(body.number)]`, "out of bounds: …"},
		{`body.labels[double(body.number) + 0.5]`, "index value …"},
		{`"short".substring(0, int(body.number))`, "…"},
		{`{"a": 1}["unclosed \"" + body.payload.env]`, "no such key: …"},
		{`{"a": {1: 2}}`, "want string"},
		{`[1.0 / 0.0]`, "cannot be written as JSON"},
		{`[event.message]`, "not valid UTF-8"},
		{`body.much`, "too large"},
	} {
		t.Run(tt.source, func(t *testing.T) {
			x, err := env.Value(policy.Rule{Name: "set P", Source: tt.source})
			if err != nil {
				t.Fatal(err)
			}
			_, ok, err := x.Text(t.Context(), in)
			if err == nil || ok || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("Text = %v, %v, want an error with %q", ok, err, tt.want)
			}
			if strings.Contains(err.Error(), "staging") || strings.Contains(err.Error(), "1234567") {
				t.Errorf("the error shows a value: %v", err)
			}
		})
	}
}

// The time and memory of one call do not grow with the product of what a sender wrote.
func TestCallsAreBounded(t *testing.T) {
	env, in := eventEnv(t), delivery(t)
	var numbers, others []any
	for n := range 3000 {
		numbers, others = append(numbers, float64(n)), append(others, float64(-n-1))
	}
	in.Body = func() (any, error) {
		return map[string]any{"a": numbers, "b": others, "few": numbers[:1000], "half": numbers[:2000], "halfOthers": others[:2000], "many": make([]any, 2<<10), "page": strings.Repeat("1", 4<<10), "text": strings.Repeat("a-", 3000), "long": strings.Repeat("b", 3000)}, nil
	}
	for _, tt := range []struct{ source, want, fails string }{
		{`sets.intersects(body.a, body.b)`, "", "lists of 3000 and 3000 elements are too long"},
		{`sets.contains(body.a, body.b)`, "", "too long to compare"},
		{`sets.equivalent(body.a, body.b)`, "", "too long to compare"},
		{`sets.intersects(body.half, body.halfOthers)`, "false", ""},
		{`sets.intersects(body.half, body.halfOthers + [1.0])`, "", "lists of 2000 and 2001 elements are too long"},
		{`sets.contains([], body.a)`, "false", ""},
		{`sets.intersects(body.few, body.b)`, "false", ""},
		{`sets.intersects(body.few, [5, 9999])`, "true", ""},
		{`sets.contains(body.a, body.few)`, "true", ""},
		{`sets.contains(body.few, body.a)`, "false", ""},
		{`sets.equivalent(body.few, body.few)`, "true", ""},
		{`sets.equivalent([1, 2], [2, 1, 1])`, "true", ""},
		{`sets.equivalent([1, 2], [1])`, "false", ""},
		{`sets.contains([], [])`, "true", ""},
		{`body.text.replace("-", body.long)`, "", "replace: the result would have"},
		{`body.text.replace("-", body.long, 2).size()`, "11998", ""},
		{`"a-b-c".replace("-", "+", -1)`, "a+b+c", ""},
		{`"a-b-c".replace("-", "+", 1)`, "a+b-c", ""},
		{`"äb".replace("", "_")`, "_ä_b_", ""},
		{`"a-b-c".replace("-", "+", 0)`, "a-b-c", ""},
		{`body.page.replace("1", body.page + "2", 1023).size()`, "4194304", ""},
		{`(body.page + "1").replace("1", body.page + "2", 1023)`, "", "the result would have 4194305 bytes, the limit is 4194304"},
		{`"abc".replace("b", "")`, "ac", ""},
		{`body.few.map(x, body)`, "", "the result has more than"},
		{`body.few.map(x, body.long)`, "", ""},
		{`body.many.map(x, {body.page: 1})`, "", "the result has more than 4194304 bytes"},
		{`body.many.map(x, body.many)`, "", "the result has more than 4194304 bytes"},
	} {
		x, err := env.Value(policy.Rule{Name: "set P", Source: tt.source})
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := x.Text(t.Context(), in)
		if (err != nil) != (tt.fails != "") || err != nil && !strings.Contains(err.Error(), tt.fails) || tt.want != "" && got != tt.want {
			t.Errorf("%s = %.40q, %v; want %q, an error with %q", tt.source, got, err, tt.want, tt.fails)
		}
	}
}

// However an expression repeats what a sender wrote, the texts and lists that it makes are bounded.
func TestMemoryOfAnEvaluationIsBounded(t *testing.T) {
	env, in := eventEnv(t), delivery(t)
	numbers := make([]any, 5000)
	for n := range numbers {
		numbers[n] = float64(n)
	}
	// Each element counts for 4 bytes more, as does the list.
	most := strings.Repeat("x", 32<<20-8)
	body := map[string]any{
		"numbers": numbers, "few": numbers[:400], "text": strings.Repeat("a,", 500_000),
		"most": most, "one": []any{most}, "two": []any{most, ""},
		"three": map[string]any{"a": most[16<<20+3:], "b": most[16<<20+3:], "c": most[16<<20+3:]}, // two are the most
	}
	in.Body = func() (any, error) { return body, nil }
	const quarter = `(body.most + "12345678").size()`
	const total, written = "the texts and lists that the expression makes have more than", "the text would have more than"
	for _, tt := range []struct{ source, want, fails string }{
		{`body.few.map(x, body.text).join("")`, "", "join: " + written},
		{`body.few.map(x, "").join(body.text)`, "", "join: " + written},
		{`json.encode(body.few.map(x, {"key": [body.text]}))`, "", "json.encode: " + written},
		{`json.encode(body.few.map(x, {"key": optional.of(body.text)}))`, "", "json.encode: " + written},
		{`"%s".format([body.few.map(x, body.text)])`, "", "format: " + written},
		{`json.encode(body.one).size()`, fmt.Sprint(32<<20 - 8 + len(`[""]`)), ""},
		{`json.encode(body.two).size()`, "", "json.encode: the text would have more than 33554432 bytes"},
		{`json.encode(body.three).size()`, "", written},
		{quarter + " + " + quarter + " + " + quarter + " + " + quarter, fmt.Sprint(128 << 20), ""},
		{quarter + " + " + quarter + " + " + quarter + " + " + quarter + ` + (body.few.size() == 400 ? "x" + string(body.few[0]) : "").size()`, "", total},
		{`body.few.map(x, body.text + "!").size()`, "", total},
		{`body.few.map(x, bytes(body.text)).size()`, "", total},
		{`body.few.map(x, body.text.split(",")).size()`, "", total},
		{`body.few.map(x, x >= 0.0 ? body.text + "!" : "").size()`, "", total},
		{`body.few.exists(x, body.text + body.text == "") || true`, "", ""},
		{strings.Repeat("(body.text + ", 100) + `""` + strings.Repeat(")", 100) + `.size()`, "", total},
		{`body.numbers.map(x, string(x)).join(", ").size()`, "28888", ""},
		{`body.numbers.map(x, x + 1.0).size()`, "5000", ""},
		{`body.numbers.filter(x, x > 10.0).size()`, "4989", ""},
		{`json.encode([{"a": [1, 2]}, {"b": []}])`, `[{"a":[1,2]},{"b":[]}]`, ""},
		{`["a", "b"].join() + ["a", "b"].join("-") + "%d-%s".format([7, ["x"]])`, "aba-b7-[x]", ""},
		{`body.text.split(",").size()`, "500001", ""},
	} {
		x, err := env.Value(policy.Rule{Name: "set P", Source: tt.source})
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, _, err := x.Text(t.Context(), in)
		runtime.ReadMemStats(&after)
		if (err != nil) != (tt.fails != "") || err != nil && !strings.Contains(err.Error(), tt.fails) || tt.want != "" && got != tt.want {
			t.Errorf("%.200s = %.40q, %v; want %q, an error with %q", tt.source, got, err, tt.want, tt.fails)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 2<<30 {
			t.Errorf("%.200s allocates %d MB", tt.source, used>>20)
		}
	}
}

// A body that cannot be parsed is the reason, where an expression refers to it.
func TestExpressionsFailWithTheBody(t *testing.T) {
	env, in := eventEnv(t), delivery(t)
	in.Body = func() (any, error) { return nil, event.ErrMalformed }
	for source, fails := range map[string]bool{`body.number == 1`: true, `event.branch == "main"`: false} {
		x, err := env.Condition(policy.Rule{Name: "when", Source: source})
		if err != nil {
			t.Fatal(err)
		}
		if holds, err := x.Holds(t.Context(), in); holds == fails || fails != (err != nil) || fails && !strings.Contains(err.Error(), event.ErrMalformed.Error()) {
			t.Errorf("%s: Holds = %v, %v, want an error: %v", source, holds, err, fails)
		}
	}
}

func TestEventEnvRefuses(t *testing.T) {
	env := eventEnv(t)
	for _, tt := range []struct {
		name, source, want string
		condition          bool
	}{
		{"a misspelt field", `event.brnach`, "undefined field 'brnach'", false},
		{"parameters, which are not known yet", `params.A`, "undeclared reference to 'params'", false},
		{"the event as a whole", `event`, "want a value that has a text", false},
		{"a list as a condition", `[true]`, "of type list(bool), want bool", true},
		{"an address", `ip("10.0.0.1")`, "want a value that has a text", false},
		{"what may cost too much", `event.files.exists(a, event.files.exists(b, a == b || event.branch.contains(b)))`, "it may cost 27130000700003, the limit is 1000000000", true},
		{"a text as a condition", `event.branch`, "want bool", true},
		{"a comparison of types that differ", `event.number == "7"`, "no matching overload", true},
		{"a pattern from the sender", `event.branch.matches(body.pattern)`, "must be a literal text", true},
		{"files compared with files", `event.files.exists(a, event.files.exists(b, a == b))`, "too dear", true},
		{"nothing", ` `, "empty", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			compile := env.Value
			if tt.condition {
				compile = env.Condition
			}
			_, err := compile(policy.Rule{Name: "job shop/test on github", Source: tt.source})
			if !errors.Is(err, policy.ErrBadRule) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "job shop/test on github: ") {
				t.Errorf("compile = %v, want ErrBadRule with the name and %q", err, tt.want)
			}
		})
	}
}

func TestCondition(t *testing.T) {
	env, in := eventEnv(t), delivery(t)
	for source, want := range map[string]bool{
		`event.branch == "main"`: true,
		`event.branch == "main" && (!event.files_complete || event.files.exists(f, f.startsWith("api/")))`: true,
		`event.files.exists(f, f.startsWith("web/"))`:                                                      false,
		`event.files.all(f, f.endsWith(".md"))`:                                                            false,
		`body.draft`:                                                                                       false,
		`!body.draft`:                                                                                      true,
		`body.?missing`:                                                                                    false,
		`body.draft == false`:                                                                              true,
		`body.number > 1000`:                                                                               true,
		`body.rate == 0.5`:                                                                                 true,
		`body.number == 7.0`:                                                                               false,
		`has(body.payload.env)`:                                                                            true,
		`has(event.tag)`:                                                                                   false,
		`body.labels.exists(l, l == "bug")`:                                                                true,
		`body.commits.exists(c, c.modified.exists(f, f.startsWith("api/")))`: true,
		`"bug" in body.labels`: true,
		`event == event`:       true,
		`type(body.big) == int && type(body.huge) == double`: true,
	} {
		t.Run(source, func(t *testing.T) {
			x, err := env.Condition(policy.Rule{Name: "when", Source: source})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := x.Holds(t.Context(), in); err != nil || got != want {
				t.Errorf("Holds = %v, %v, want %v", got, err, want)
			}
		})
	}
	x, err := env.Condition(policy.Rule{Name: "when", Source: `body.payload.env`})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := x.Holds(t.Context(), in); err == nil || got {
		t.Errorf("Holds of a text = %v, %v, want an error", got, err)
	}
}

func TestExpressionKinds(t *testing.T) {
	env := eventEnv(t)
	for source, want := range map[string]types.Kind{
		`event.branch`: types.StringKind, `body.x`: types.BoolKind, `body.?x`: types.IntKind,
		`event.fork`: types.BoolKind, `event.files`: types.ListKind, `null`: types.StringKind,
		`event.fork ? optional.of(1) : optional.none()`: types.IntKind,
	} {
		x, err := env.Value(policy.Rule{Name: "set P", Source: source})
		if err != nil {
			t.Fatal(err)
		}
		if !x.Is(want) || source == "event.branch" && x.Is(types.BoolKind) {
			t.Errorf("Is does not know the kind of %s", source)
		}
	}
}

// largest is about the largest delivery of a forge: 25 MB of paths.
func largest(n int) *policy.Delivery {
	files := make([]string, n)
	for i := range files {
		files[i] = fmt.Sprintf("services/component-%04d/internal/package%02d/file_number_%06d.go", i%1000, i%50, i)
	}
	return &policy.Delivery{Event: &event.Event{Name: "push", Files: files, FilesComplete: true}}
}

// pathFilters are typical filters, none of which matches.
var pathFilters = []string{
	`event.files.exists(f, f.startsWith("api/"))`,
	`["api/", "web/", "lib/", "go.mod", "tools/", "deploy/", "proto/", "charts/", "Makefile", ".ci/"].exists(p, event.files.exists(f, f.startsWith(p)))`,
	`event.files.exists(f, f.matches("^(api|web)/.*[.](go|ts)$"))`,
	`event.files.exists(f, f.startsWith("api/") || f.startsWith("web/") || f.startsWith("lib/") || f.endsWith(".md"))`,
	`!event.files.all(f, !f.startsWith("api/") && f != "go.mod" && !f.contains("/testdata/api/"))`,
}

// If a path filter were too expensive for a large push, the push would be ignored.
func TestPathFiltersStayWithinTheirCost(t *testing.T) {
	env, in := eventEnv(t), largest(300_000)
	for _, source := range pathFilters {
		x, err := env.Condition(policy.Rule{Name: "when", Source: source})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := x.Holds(t.Context(), in); err != nil || got {
			t.Errorf("%s = %v, %v, want false", source, got, err)
		}
	}
}

// An endless loop is stopped, and the event ignored.
func TestSlowExpressionIsEnded(t *testing.T) {
	x, err := eventEnv(t).Condition(policy.Rule{Name: "when", Source: `body.a.exists(x, body.a.exists(y, y == x + 1))`})
	if err != nil {
		t.Fatal(err)
	}
	in := delivery(t)
	same := make([]any, 2_000)
	for i := range same {
		same[i] = json.Number("1")
	}
	in.Body = func() (any, error) { return map[string]any{"a": same}, nil }
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the client has gone"))
	if got, err := x.Holds(ctx, in); err == nil || got || !strings.Contains(err.Error(), "the client has gone") {
		t.Errorf("Holds = %v, %v, want the cause", got, err)
	}
	synctest.Test(t, func(t *testing.T) {
		// The fake clock stands still while the loop runs, so the time is spent in the body.
		in.Body = func() (any, error) {
			time.Sleep(31 * time.Second)
			return map[string]any{"a": same}, nil
		}
		if got, err := x.Holds(t.Context(), in); err == nil || got || !strings.Contains(err.Error(), "longer than 30s") {
			t.Errorf("Holds = %v, %v, want an error about the time", got, err)
		}
	})
}

func BenchmarkPathFilter(b *testing.B) {
	env := eventEnv(b)
	for _, n := range []int{20, 300_000} {
		in := largest(n)
		for i, source := range pathFilters {
			x, err := env.Condition(policy.Rule{Name: "when", Source: source})
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("files=%d/filter=%d", n, i), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := x.Holds(b.Context(), in); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// An expression that compiles must end with a result or an error, and the error must not
// contain a value.
func FuzzExpression(f *testing.F) {
	for _, seed := range append(pathFilters, `body.a.b`, `body.?a[?0]`, `event.files.map(f, f)`, `{"a": body}`, `json.encode(body)`, `optional.of(optional.none())`) {
		f.Add(seed, `{"a": {"b": [1, 2.5, null]}}`)
	}
	env := eventEnv(f)
	f.Fuzz(func(t *testing.T, source, text string) {
		x, err := env.Value(policy.Rule{Name: "set P", Source: source})
		if err != nil {
			if !errors.Is(err, policy.ErrBadRule) {
				t.Errorf("Value = %v, want ErrBadRule", err)
			}
			return
		}
		in := delivery(t)
		in.Body = func() (any, error) { return event.Body(event.Token, nil, []byte(text)) }
		got, ok, err := x.Text(t.Context(), in)
		if err == nil && ok && strings.HasPrefix(got, "{") && !json.Valid([]byte(got)) && strings.HasPrefix(source, "{") {
			t.Errorf("%s = %s, which is no JSON", source, got)
		}
		if err != nil && strings.Contains(err.Error(), "internal error") {
			t.Errorf("%s: a panic was recovered: %v", source, err)
		}
	})
}
