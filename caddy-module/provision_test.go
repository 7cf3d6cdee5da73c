package caddymodule_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

// TestProvisioningErrors has mistakes that only provisioning can detect, and mistakes in JSON
// configurations. The error must name the job and must not contain a secret.
func TestProvisioningErrors(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"lines": "c0ffee\n\n", "blank": "c0ffee \n", "bom": "\uFEFFc0ffee\n"} {
		if err := os.WriteFile(empty+"."+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const run = ` "run": {"runner": "exec", "command": "true"}`
	for _, tt := range []struct {
		name, handler string
		want          []string
	}{
		{"empty secret", `{"jobs": [{"name": "x", "tokens": [{"secret": ""}],` + run + `}]}`, []string{`job "x"`, "token default", "empty secret"}},
		{"secret of spaces", `{"jobs": [{"name": "x", "tokens": [{"name": "ci", "secret": "  "}],` + run + `}]}`, []string{`job "x"`, "token ci", "empty secret"}},
		{"variable that is not set", `{"jobs": [{"name": "x", "tokens": [{"secret": "{env.BUILD_TOKEN_MISSING}"}],` + run + `}]}`, []string{`job "x"`, "token default", "{env.BUILD_TOKEN_MISSING} resolves to nothing: the environment variable BUILD_TOKEN_MISSING is not set"}},
		{"variable that is empty", `{"tokens": [{"secret": "{env.BUILD_TOKEN_EMPTY}"}]}`, []string{"top level", "resolves to nothing: the environment variable BUILD_TOKEN_EMPTY is empty"}},
		{"parameter of a schedule that resolves to nothing", `{"jobs": [{"name": "x", "params": [{"name": "A", "kind": "string"}], "schedules": [{"spec": "0 4 * * *", "params": {"A": "{env.BUILD_TOKEN_MISSING}"}}],` + run + `}]}`, []string{`job "x"`, "schedule: param A", "resolves to nothing"}},
		{"receiver that resolves to nothing", `{"folders": [{"name": "a", "notify": [{"name": "ops", "url": "{env.BUILD_TOKEN_MISSING}", "on": ["failure"]}]}]}`, []string{`folder "a" notify ops`, "resolves to nothing"}},
		{"secret of a webhook that resolves to nothing", `{"webhooks": [{"kind": "github", "secrets": ["{env.BUILD_TOKEN_MISSING}"]}]}`, []string{"top level webhook github", "resolves to nothing"}},
		{"file that is not there", `{"folders": [{"name": "a", "jobs": [{"name": "x", "tokens": [{"secret": "{file.` + empty + `.missing}"}],` + run + `}]}]}`, []string{`job "a/x"`, "token default", "resolves to nothing: open " + empty + ".missing: no such file"}},
		{"file that is empty", `{"folders": [{"name": "a", "tokens": [{"secret": "{file.` + empty + `}"}]}]}`, []string{`folder "a"`, "token default", "resolves to nothing: the file is empty"}},
		{"file with two line ends", `{"tokens": [{"secret": "{file.` + empty + `.lines}"}]}`, []string{"top level", "token default", "white space"}},
		{"file with a blank", `{"tokens": [{"secret": "{file.` + empty + `.blank}"}]}`, []string{"top level", "token default", "white space"}},
		{"file with a byte order mark", `{"tokens": [{"secret": "{file.` + empty + `.bom}"}]}`, []string{"top level", "token default", "byte order mark"}},
		{"placeholder of a request", `{"tokens": [{"secret": "{http.request.host}"}]}`, []string{"top level", "token default", "only known while a request"}},
		{"placeholder that is unknown", `{"tokens": [{"secret": "{system.nothing}"}]}`, []string{"top level", "{system.nothing}", "is unknown"}},
		{"half a digest", `{"jobs": [{"name": "x", "tokens": [{"secret": "sha256:c0ffee"}],` + run + `}]}`, []string{`job "x"`, "token default", "malformed digest"}},
		{"digest of nothing", `{"tokens": [{"secret": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]}`, []string{"empty secret"}},
		{"secret in place of the name", `{"jobs": [{"name": "x", "tokens": [{"name": "sha256:c0ffee", "secret": "a"}],` + run + `}]}`, []string{`job "x"`, "bad name"}},
		{"two tokens of one name", `{"jobs": [{"name": "x", "tokens": [{"secret": "a-secret"}, {"secret": "b-secret"}],` + run + `}]}`, []string{"x", "default"}},
		{"unknown grant", `{"jobs": [{"name": "x", "tokens": [{"secret": "a-secret", "grants": ["all"]}],` + run + `}]}`, []string{`job "x"`, "token default", "unknown grant"}},
		{"nothing to run", `{"jobs": [{"name": "x"}]}`, []string{"x", "nothing to run"}},
		{"unknown runner", `{"jobs": [{"name": "x", "run": {"runner": "ssh"}}]}`, []string{`job "x"`, "build_token.runners.ssh"}},
		{"poller that is a runner", `{"jobs": [{"name": "x", "poll": {"runner": "exec"},` + run + `}]}`, []string{`job "x"`, "poller"}},
		{"unknown setting of the runner", `{"jobs": [{"name": "x", "run": {"runner": "exec", "command": "true", "shell": true}}]}`, []string{`job "x"`, "shell"}},
		{"unstable that is no exit status", `{"jobs": [{"name": "x", "run": {"runner": "exec", "command": "true", "unstable": 256}}]}`, []string{`job "x"`, "unstable exit status 256"}},
		{"no command", `{"jobs": [{"name": "x", "run": {"runner": "exec"}}]}`, []string{`job "x"`, "command"}},
		{"directory outside of the workspace", `{"jobs": [{"name": "x", "run": {"runner": "exec", "command": "true", "dir": "../y"}}]}`, []string{`job "x"`, "workspace"}},
		{"variable of the runner that resolves to nothing", `{"jobs": [{"name": "x", "run": {"runner": "exec", "command": "true", "env": {"A": "{env.BUILD_TOKEN_MISSING}"}}}]}`, []string{`job "x"`, "env A", "resolves to nothing"}},
		{"argument that resolves to nothing", `{"jobs": [{"name": "x", "run": {"runner": "exec", "command": "rm", "args": ["-r", "{env.BUILD_TOKEN_MISSING}/x"]}}]}`, []string{`job "x"`, "resolves to nothing"}},
		{"variable of the job that resolves to nothing", `{"jobs": [{"name": "x", "env": {"A": "{env.BUILD_TOKEN_MISSING}"},` + run + `}]}`, []string{`job "x"`, "env A", "resolves to nothing"}},
		{"directory that resolves to nothing", `{"dir": "{env.BUILD_TOKEN_MISSING}"}`, []string{"top level", "dir", "resolves to nothing"}},
		{"parameter that the job does not have", `{"jobs": [{"name": "x", "run": {"runner": "exec", "command": "echo", "args": ["{param.NAME}"]}}]}`, []string{"x", "{param.NAME}", "no such parameter"}},
		{"password in an argument", `{"jobs": [{"name": "x", "params": [{"name": "PASS", "kind": "password"}], "run": {"runner": "exec", "command": "echo", "args": ["{param.PASS}"]}}]}`, []string{"x", "{param.PASS}", "password"}},
		{"bad parameter", `{"jobs": [{"name": "x", "params": [{"name": "PATH", "kind": "string"}],` + run + `}]}`, []string{"x", "PATH", "reserved"}},
		{"rule that does not compile", `{"jobs": [{"name": "x", "allow": ["params.X"],` + run + `}]}`, []string{"x allow 1", "bool"}},
		{"rule of a token", `{"jobs": [{"name": "x", "tokens": [{"name": "ci", "secret": "a-secret", "allow": ["nothing"]}],` + run + `}]}`, []string{"x token ci allow 1", "nothing"}},
		{"rule of a folder", `{"folders": [{"name": "a", "allow": ["true", "1"]}]}`, []string{"a allow 2"}},
		{"rule of access", `{"access": {"build": "token.name == ''"}}`, []string{"access build", "token"}},
		{"name with a slash", `{"jobs": [{"name": "a/b",` + run + `}]}`, []string{"a/b", "slash"}},
		{"two jobs of one name", `{"jobs": [{"name": "x",` + run + `}, {"name": "x",` + run + `}]}`, []string{"x", "duplicate"}},
		{"job and folder of one name", `{"jobs": [{"name": "x",` + run + `}], "folders": [{"name": "x", "jobs": [{"name": "y",` + run + `}]}]}`, []string{`"x"`, "a job and a folder"}},
		{"quiet period of two years", `{"quiet_period": "730d", "jobs": [{"name": "x",` + run + `}]}`, []string{"x", "quiet period"}},
		{"negative timeout", `{"timeout": "-1s", "jobs": [{"name": "x",` + run + `}]}`, []string{"x", "timeout"}},
		{"unknown way to coalesce", `{"jobs": [{"name": "x", "coalesce": "always",` + run + `}]}`, []string{"x", "always"}},
		{"method that never triggers", `{"methods": ["PUT"]}`, []string{"methods", "PUT"}},
		{"root URL without a scheme", `{"root_url": "ci.example.com"}`, []string{"root_url", "absolute"}},
		{"root URL with a query", `{"root_url": "https://ci.example.com/?x"}`, []string{"root_url", "query"}},
		{"root URL with a password", `{"root_url": "https://a:b@ci.example.com/"}`, []string{"root_url", "user"}},
		{"root URL that resolves to nothing", `{"root_url": "https://{env.BUILD_TOKEN_MISSING}/"}`, []string{"root_url", "resolves to nothing"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home(t)
			t.Setenv("BUILD_TOKEN_EMPTY", "")
			err := provision([]byte(`{"admin": {"disabled": true}, "apps": {"http": {"servers": {"s": {"listen": ["127.0.0.1:0"], "routes": [{"handle": [` +
				strings.Replace(tt.handler, "{", `{"handler": "build_token", `, 1) + `]}]}}}}}`))
			if err == nil {
				t.Fatal("got no error")
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want one error", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			for _, secret := range []string{"c0ffee", "a-secret", "b-secret"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("got %q, which shows a secret", err)
				}
			}
		})
	}
}

// A module of another kind in place of a queue or a runner is an error that names it.
func TestModulesOfAnotherKind(t *testing.T) {
	for _, tt := range []struct{ name, apps, want string }{
		{"queue", `"build_token": {"queue": {"queue": "another-kind"}}`, "build_token: *caddymodule_test.otherQueue is not a queue"},
		{"runner", `"http": {"servers": {"s": {"routes": [{"handle": [{"handler": "build_token", "jobs": [{"name": "x", "run": {"runner": "another-kind"}}]}]}]}}}`, `job "x": module *caddymodule_test.otherRunner can't be used here`},
		{"mistakes in two jobs", `"http": {"servers": {"s": {"routes": [{"handle": [{"handler": "build_token", "jobs": [{"name": "x", "run": {"runner": "exec"}}, {"name": "y", "run": {"runner": "another-kind"}}]}]}]}}}`, `job "y": module`},
		{"mistakes in two jobs", `"http": {"servers": {"s": {"routes": [{"handle": [{"handler": "build_token", "jobs": [{"name": "x", "run": {"runner": "exec"}}, {"name": "y", "run": {"runner": "another-kind"}}]}]}]}}}`, `job "x": `},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home(t)
			if err := provision([]byte(`{"admin": {"disabled": true}, "apps": {` + tt.apps + `}}`)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

func init() {
	caddy.RegisterModule(otherQueue{})
	caddy.RegisterModule(otherRunner{})
	caddy.RegisterModule(new(wrappedQueue))
}

// otherQueue and otherRunner are modules in our namespaces that do not do what is needed there.
type (
	otherQueue  struct{}
	otherRunner struct{}
)

func (otherQueue) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "build_token.queues.another-kind", New: func() caddy.Module { return new(otherQueue) }}
}

func (otherRunner) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "build_token.runners.another-kind", New: func() caddy.Module { return new(otherRunner) }}
}

// TestHandlersThatCannotBeEncoded provisions handlers that a program has made, and not a
// configuration.
func TestHandlersThatCannotBeEncoded(t *testing.T) {
	s := newSite(t)
	ctx, err := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{"build_token": json.RawMessage(`{"queue": {"queue": "bolt", "path": "` + s.path + `"}}`)}})
	if err != nil {
		t.Fatal(err)
	}
	broken := []caddymodule.Job{{Name: "x", RunRaw: json.RawMessage("{")}}
	late := caddymodule.Scope{Tokens: []caddymodule.Token{{Secret: "secret", Expires: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}}}
	for _, tt := range []struct {
		name    string
		handler *caddymodule.Handler
		want    string
	}{
		{"a job", &caddymodule.Handler{Jobs: broken}, `build_token: job "x": `},
		{"a job in a folder", &caddymodule.Handler{Folders: []caddymodule.Folder{{Name: "a", Jobs: broken}}}, `build_token: job "a/x": `},
		{"a folder", &caddymodule.Handler{Folders: []caddymodule.Folder{{Name: "a", Scope: late}}}, `build_token: folder "a": `},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.handler.Provision(ctx); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v, want %s…", err, tt.want)
			}
		})
	}
	if err := appOf(t, ctx).Cleanup(); err != nil {
		t.Error(err)
	}
}

// A handler reports why its app could not be loaded.
func TestHandlerWithoutAnApp(t *testing.T) {
	home(t)
	ctx, err := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{"build_token": json.RawMessage(`{"executors": -1}`)}})
	if err == nil {
		t.Fatal("the app was loaded")
	}
	if err := new(caddymodule.Handler).Provision(ctx); err == nil || !strings.Contains(err.Error(), "executors is -1") {
		t.Errorf("got %v, want the error of the app", err)
	}
}

// An app reports why it cannot hear of the end of its configuration, or show its metrics.
func TestAppBesideOthersThatFail(t *testing.T) {
	for _, tt := range []struct {
		name, events, want string
		prepare            func(*testing.T, caddy.Context)
	}{
		{"events that cannot be loaded", `{"subscriptions": 1}`, "build_token: loading events app module: ", func(*testing.T, caddy.Context) {}},
		{"events that were started", `{}`, "build_token: events already started", func(t *testing.T, ctx caddy.Context) {
			t.Helper()
			events, err := ctx.App("events")
			if app, ok := events.(caddy.App); ok {
				err = app.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
		{"another metric of the same name", `{}`, "build_token: register metrics: ", func(_ *testing.T, ctx caddy.Context) {
			ctx.GetMetricsRegistry().MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "caddy_build_token_queue_up"}))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home(t)
			ctx, _ := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{"events": json.RawMessage(tt.events)}})
			tt.prepare(t, ctx)
			app := new(caddymodule.App)
			if err := app.Provision(ctx); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v, want %s…", err, tt.want)
			}
			if err := app.Cleanup(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAppErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, app, want string }{
		{"executors", `{"executors": -1}`, "executors is -1"},
		{"queue limit", `{"queue_limit": -1}`, "queue_limit is -1"},
		{"orphan timeout", `{"orphan_timeout": -1}`, "orphan_timeout is -1ns"},
		{"builds kept", `{"keep_builds": -1}`, "keep_builds is -1"},
		{"shutdown timeout", `{"shutdown_timeout": "-1s"}`, "shutdown_timeout is -1s"},
		{"wrong tokens", `{"wrong_tokens": {"max": -1}}`, "wrong_tokens"},
		{"wrong tokens in no time", `{"wrong_tokens": {"window": -1}}`, "wrong_tokens can't be negative"},
		{"name of the node", `{"node": {"name": "a b"}}`, "build_token: node: "},
		{"label of the node", `{"node": {"name": "me", "labels": ["a", "b c"]}}`, "build_token: node: "},
		{"remote builds", `{"remote_builds": -1}`, "remote_builds is -1, want at least 1"},
		{"builds of removed jobs", `{"keep_removed": "-1s"}`, "keep_removed is -1s, want more than 0"},
		{"path below a file", `{"queue": {"queue": "bolt", "path": "` + file + `/x/queue.db"}}`, `path "` + file + `/x/queue.db": `},
		{"unknown queue", `{"queue": {"queue": "sqlite"}}`, "build_token.queues.sqlite"},
		{"path that resolves to nothing", `{"queue": {"queue": "bolt", "path": "{env.BUILD_TOKEN_MISSING}/queue.db"}}`, "resolves to nothing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home(t)
			err := provision([]byte(`{"admin": {"disabled": true}, "apps": {"build_token": ` + tt.app + `}}`))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

// The default of keep_builds is 100; 0 keeps all. Cancelled items count like builds.
func TestKeepBuilds(t *testing.T) {
	for option, first := range map[string]int{"": http.StatusNotFound, "keep_builds 100": http.StatusNotFound, "keep_builds 0": http.StatusOK, "keep_builds 101": http.StatusOK} {
		t.Run(option, func(t *testing.T) {
			s := newSite(t)
			s.load(s.caddyfile(option, "build_token {\n access {\n read true\n cancel true\n}\n job later {\n quiet_period 1h\n token SECRET\n run true\n}\n}\n"))
			for range 101 {
				item := s.trigger("later", "SECRET")
				if got := s.do(http.MethodPost, "/queue/cancelItem?id="+item); got.status != http.StatusNoContent {
					t.Fatalf("cancel item %s: got %d %s", item, got.status, got.body)
				}
			}
			if got := s.get("/queue/item/1/api/json"); got.status != first {
				t.Errorf("the first of 101 cancelled items: got %d, want %d", got.status, first)
			}
			if got := s.get("/queue/item/2/api/json"); got.status != http.StatusOK {
				t.Errorf("the second of 101 cancelled items: got %d, want 200", got.status)
			}
		})
	}
}

// TestSecrets has the forms in which a configuration can contain a secret.
func TestSecrets(t *testing.T) {
	s := newSite(t)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from-a-file\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BUILD_TOKEN_TEST", "from-{env.HOME}")
	const digest = "sha256:9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08" // the digest of "test"
	s.load(s.caddyfile("", jobs("job x {\n token a plain\n token b {env.BUILD_TOKEN_TEST}\n token c {file."+file+"}\n token d "+digest+
		"\n token e `with{braces}{}\\{`\n token f `{\"a\": 1}`\n token g a-{env.BUILD_TOKEN_TEST}-b\n run true\n}")))
	for _, tt := range []struct {
		name, secret string
		want         int
	}{
		{"plain", "plain", 303},
		{"of a variable, which is not expanded again", "from-%7Benv.HOME%7D", 303},
		{"of a file", "from-a-file", 303},
		{"of a digest", "test", 303},
		{"with braces that are no placeholder", `with%7Bbraces%7D%7B%7D%5C%7B`, 303},
		{"that is JSON", "%7B%22a%22:%201%7D", 303},
		{"around a placeholder", "a-from-%7Benv.HOME%7D-b", 303},
		{"the digest itself opens nothing", strings.ToLower(digest), 403},
		{"the placeholder itself opens nothing", "%7Benv.BUILD_TOKEN_TEST%7D", 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.get("/buildByToken/build?job=x&token=plain&delay=1h") // so that there is an item to join
			if a := s.get("/buildByToken/build?job=x&delay=1h&token=" + tt.secret); a.status != tt.want {
				t.Errorf("got %d %q, want %d", a.status, a.body, tt.want)
			}
		})
	}
}

// TestProvisionedHandlerHoldsNoSecret inspects what Caddy logs of a handler when tracing is on.
func TestProvisionedHandlerHoldsNoSecret(t *testing.T) {
	s := newSite(t)
	ctx, err := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{
		"build_token": json.RawMessage(`{"queue": {"queue": "bolt", "path": "` + s.path + `"}}`),
	}})
	if err != nil {
		t.Fatal(err)
	}
	mod, err := ctx.LoadModuleByID("http.handlers.build_token", []byte(`{
		"tokens": [{"secret": "c0ffee"}], "env": {"A": "c0ffee"},
		"folders": [{"name": "a", "jobs": [{"name": "x", "tokens": [{"secret": "c0ffee"}],
			"params": [{"name": "P", "kind": "password", "default": "c0ffee"}],
			"run": {"runner": "exec", "command": "true", "env": {"B": "c0ffee"}}}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(mod)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "c0ffee") {
		t.Errorf("got %s", text)
	}
	if err := appOf(t, ctx).Cleanup(); err != nil {
		t.Error(err)
	}
}

// TestTwoSites defines a job in two sites, and with two handlers in JSON.
func TestTwoSites(t *testing.T) {
	const handler = `{"handler": "build_token", "folders": [{"name": "a", "env": {"A": "b"}, "jobs": [{"name": "x", "run": RUN}]}]}`
	const run = `{"runner": "exec", "command": "echo", "args": ["hello"]}`
	for _, tt := range []struct {
		name, run string
		equal     bool
	}{
		{"equal", run, true},
		{"equal, written otherwise", `{"args":["hello"],"command":"echo","runner":"exec"}`, true},
		{"different", `{"runner": "exec", "command": "echo", "args": ["bye"]}`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home(t)
			server := func(run string) string {
				return `{"listen": ["` + freeAddress(t) + `"], "routes": [{"handle": [` + strings.Replace(handler, "RUN", run, 1) + `]}]}`
			}
			err := provision([]byte(`{"admin": {"disabled": true}, "apps": {"http": {"servers": {"one": ` + server(run) + `, "two": ` + server(tt.run) + `}}}}`))
			switch {
			case tt.equal && err != nil:
				t.Errorf("got %v, want no error", err)
			case !tt.equal && (err == nil || !strings.Contains(err.Error(), `job "a/x"`) || !strings.Contains(err.Error(), "server one") || !strings.Contains(err.Error(), "server two")):
				t.Errorf("got %v, want an error that names the job and both servers", err)
			}
		})
	}
}

// A schedule makes up for times that have passed only where it says so.
func TestSchedulesThatCatchUp(t *testing.T) {
	for catchUp, want := range map[string]bool{"": false, "none": false, "once": true} {
		spec := caddymodule.SpecOf(caddymodule.Schedule{Spec: "@daily", TimeZone: "UTC", Poll: true, CatchUp: catchUp})
		if spec.Spec != "@daily" || spec.Zone != "UTC" || !spec.Poll || spec.CatchUp != want {
			t.Errorf("with catch_up %q: %+v", catchUp, spec)
		}
	}
}

// wrappedQueue is a queue of another module, which fails as the test wants.
type wrappedQueue struct {
	Path  string `json:"path"`
	Fails string `json:"fails"`
}

// refusing is a queue that takes no configuration.
type refusing struct{ *boltqueue.DB }

func (refusing) SetRules(context.Context, time.Time, queue.Config) error {
	return errors.New("it takes no rules")
}

func (*wrappedQueue) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "build_token.queues.wrapped", New: func() caddy.Module { return new(wrappedQueue) }}
}

func (q *wrappedQueue) Place() (string, error) { return q.Path, nil }

func (q *wrappedQueue) Open(place, _ string, limit int, log *zap.Logger) (buildtoken.Options, error) {
	if limit != buildtoken.DefaultQueueLimit {
		return buildtoken.Options{}, fmt.Errorf("the limit is %d, want the default", limit)
	}
	db, err := boltqueue.Open(boltqueue.Options{Path: place, Limit: limit})
	if err != nil {
		return buildtoken.Options{}, err
	}
	opts := buildtoken.Options{Queue: struct{ *boltqueue.DB }{db}, Dir: place + ".d", Log: log}
	switch q.Fails {
	case "rules":
		opts.Queue = refusing{db}
	case "directory":
		opts.Dir = "relative"
	}
	return opts, nil
}

// TestQueueOfAnotherModule loads a queue that is neither of ours.
func TestQueueOfAnotherModule(t *testing.T) {
	for _, tt := range []struct{ fails, want string }{
		{"", ""},
		{"rules", "build_token: buildtoken: set rules: it takes no rules"},
		{"directory", "build_token: open "},
	} {
		t.Run("fails: "+tt.fails, func(t *testing.T) {
			s := newSite(t)
			err := caddy.Load([]byte(`{"admin": {"disabled": true, "config": {"persist": false}}, "apps": {"build_token": {"queue": {"queue": "wrapped", "path": "`+s.path+`", "fails": "`+tt.fails+`"}}}}`), true)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("load: %v, want %q", err, tt.want)
			}
			if err != nil {
				return
			}
			if code, text := adminAnswer(t, "POST backup"); code != http.StatusConflict || text != "the queue "+s.path+" is not in a file: back it up where it is" {
				t.Errorf("backup: got %d %q, want it refused", code, text)
			}
		})
	}
}
