package caddymodule_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

var (
	explainSeed     = flag.Uint64("explain.seed", 0, "the seed of TestExplainAgreesWithTheServer; 0 chooses one")
	explainTriggers = flag.Int("explain.triggers", 10_000, "how many triggers it sends")
)

// tree creates a random configuration, and records what triggers can name.
type tree struct {
	*rand.Rand

	text     strings.Builder
	jobs     []string
	tokens   map[string]string // secret by name, the same at every level
	onlyPost bool              // the site accepts no other method; otherwise it does by chance
}

func (g *tree) one(of ...string) string { return of[g.IntN(len(of))] }

func (g *tree) maybe(percent int) bool { return g.IntN(100) < percent }

func (g *tree) rule() string {
	return g.one(
		`params.?ENV.orValue("staging") == "staging"`, `params.?N.orValue("1") != "2"`, `int(params.?N.orValue("0")) < 5`, `"ENV" in params`,
		`request.method == "POST"`, `token.name != "b"`, `token.name in ["a", "b"]`, `cause == "" || cause.startsWith("ok")`,
		`delay <= duration("1h")`, `job.folder != "f"`, `job.name != "two" || params.size() < 3`, `ip(request.remote_ip).isLoopback()`,
		`user == ""`, `now > timestamp("2020-01-01T00:00:00Z")`, `params.?FLAG.orValue("false") == "false"`, `false`, `true`,
	)
}

// level writes what a folder and a job can contain.
func (g *tree) level() {
	for range g.IntN(2) {
		fmt.Fprintf(&g.text, "allow `%s`\n", g.rule())
	}
	names := []string{"a", "b", "c"}
	g.Shuffle(len(names), func(i, k int) { names[i], names[k] = names[k], names[i] })
	for _, name := range names[:g.IntN(3)] {
		fmt.Fprintf(&g.text, "token %s %s {\n", name, g.tokens[name])
		if g.maybe(20) {
			fmt.Fprintf(&g.text, "expires %s\n", g.one("2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z"))
		}
		if g.maybe(20) {
			fmt.Fprintf(&g.text, "grant %s\n", g.one("status", "log status", "trigger status"))
		}
		if g.maybe(20) {
			fmt.Fprintf(&g.text, "allow `%s`\n", g.rule())
		}
		g.text.WriteString("}\n")
	}
}

func (g *tree) folder(full string, depth int) {
	g.level()
	for _, name := range []string{"one", "two"} {
		fmt.Fprintf(&g.text, "job %s {\nrun true\n", name)
		g.jobs = append(g.jobs, full+name)
		g.level()
		if g.maybe(10) {
			g.text.WriteString("disabled\n")
		}
		if g.maybe(15) {
			g.text.WriteString("poll false\n")
		}
		if g.maybe(60) {
			g.text.WriteString("param ENV choice staging production\n")
		}
		if g.maybe(40) {
			g.text.WriteString("param N string 1\nparam SECRET password\n")
		}
		if g.maybe(30) {
			g.text.WriteString("param FLAG boolean\n")
		}
		g.text.WriteString("}\n")
	}
	if depth == 0 {
		return
	}
	for _, name := range []string{"f", "g"} {
		fmt.Fprintf(&g.text, "folder %s {\n", name)
		g.folder(full+name+"/", depth-1)
		g.text.WriteString("}\n")
	}
}

// asked creates a random trigger, as it is sent and as it is explained.
func (g *tree) asked() (caddymodule.Asked, string, []string) {
	a := caddymodule.Asked{
		Job: g.one(g.jobs...), Method: g.one("POST", "POST", "GET"), Remote: "127.0.0.1", Params: map[string][]string{},
		Action: g.one("build", "buildWithParameters", "buildWithParameters", "buildWithParameters", "polling"), Token: new(string),
	}
	if g.maybe(3) {
		a.Job = g.one("nope", "f", "f/nope", "../one")
	}
	query := url.Values{"job": {a.Job}}
	var header []string
	if g.maybe(90) {
		*a.Token = g.one("a", "b", "c")
		if query.Set("token", g.tokens[*a.Token]); g.maybe(50) {
			query.Del("token")
			header = []string{"Authorization", "Bearer " + g.tokens[*a.Token]}
		}
	}
	text := func(name string, values ...string) *string {
		if !g.maybe(30) {
			return nil
		}
		value := g.one(values...)
		query.Set(name, value)
		return &value
	}
	a.Cause, a.Delay = text("cause", "ok, then", "because", ""), text("delay", "5sec", "100", "2h", "soon", "9000h", "-1s")
	for name, values := range map[string][]string{
		"ENV": {"staging", "staging", "production", "nowhere", ""}, "N": {"1", "2", "7", "many", ""}, "FLAG": {"true", "off", "maybe"},
		"SECRET": {"Hush77"}, "OTHER": {"x"},
	} {
		for range max(0, g.IntN(12)-9) {
			a.Params[name] = append(a.Params[name], g.one(values...))
		}
		if len(a.Params[name]) > 0 {
			query[name] = a.Params[name]
		}
	}
	return a, "/buildByToken/" + a.Action + "?" + query.Encode(), header
}

// The running server must do with a trigger what explain predicts: over random trees, the same
// decision for the same reason. The server receives a request with a secret, explain the name
// of a token.
func TestExplainAgreesWithTheServer(t *testing.T) {
	const each = 1000
	seed := *explainSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	outcomes := map[string]int{}
	for round := range max(1, *explainTriggers/each) {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("again: go test ./caddy-module -run TestExplainAgreesWithTheServer/%d -explain.seed %d", round, seed)
				}
			}()
			agree(t, &tree{Rand: rand.New(rand.NewPCG(seed, uint64(round))), onlyPost: round == 0}, each, outcomes)
		})
	}
	for _, check := range []string{"accepted", "method", "job", "token", "grant", "enabled", "endpoint", "delay", "parameters", "rule"} {
		if outcomes[check] == 0 && *explainTriggers >= 10_000 {
			t.Errorf("no trigger was decided by %s: %v", check, outcomes)
		}
	}
	t.Logf("decided by: %v", outcomes)
}

func agree(t *testing.T, g *tree, triggers int, outcomes map[string]int) {
	g.tokens = map[string]string{"a": "SecretOfA", "b": "SecretOfB", "c": "SecretOfC"}
	g.text.WriteString("build_token {\nquiet_period 24h\n")
	if g.maybe(20) || g.onlyPost {
		g.text.WriteString("methods POST\n")
	}
	if g.maybe(30) {
		fmt.Fprintf(&g.text, "access {\nbuild `%s`\n}\n", g.one(`job.name == "one"`, `user == "alice"`, `request.method == "POST"`))
	}
	g.folder("", 1)
	g.text.WriteString("}\n")
	s := newSite(t)
	file := strings.Replace(s.caddyfile("wrong_tokens off\nqueue_limit 100000", g.text.String()), "\tdebug\n", "", 1)
	s.load(file)
	e := newExplainer(t, file)

	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	type expected struct {
		caddymodule.Explained
		target string
	}
	var refused []expected
	for range triggers {
		a, target, header := g.asked()
		r, err := http.NewRequestWithContext(t.Context(), a.Method, "http://"+s.addr+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if header != nil {
			r.Header.Set(header[0], header[1])
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		x := e.Trigger(t.Context(), a)
		status := resp.StatusCode
		if status == http.StatusSeeOther {
			status = http.StatusCreated // whether it joins depends on the queue
		}
		if x.Status != status || (x.Decision == "accepted") != (status < 300) {
			t.Fatalf("%s %s %v: the server answers %d, explain returns %+v\n%s", a.Method, target, header, resp.StatusCode, x, g.text.String())
		}
		if x.Check != "" {
			outcomes[x.Check]++
		} else {
			outcomes["accepted"]++
		}
		if x.Decision == "refused" && x.Check != "method" {
			refused = append(refused, expected{x, a.Method + " " + target})
		}
	}
	lines := slices.DeleteFunc(s.logged(""), func(line map[string]any) bool { return line["msg"] != "trigger refused" })
	if len(lines) != len(refused) {
		t.Fatalf("%d refusals are logged, want %d", len(lines), len(refused))
	}
	for i, line := range lines {
		rule, _ := line["rule"].(string)
		at, _ := line["at"].(string)
		want := refused[i]
		if want.Check != "rule" {
			want.Rule, want.At = "", "" // the place of an access rule
		}
		if line["check"] != want.Check || rule != want.Rule || at != want.At {
			t.Errorf("%s: the server logs %v, explain returns %s %s %s", want.target, line, want.Check, want.Rule, want.At)
		}
	}
}
