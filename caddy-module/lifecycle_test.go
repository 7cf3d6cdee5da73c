package caddymodule_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

func init() {
	caddy.RegisterModule(new(failingApp))
}

// failingApp is an app that cannot be provisioned, or cannot be started.
type failingApp struct {
	Where string `json:"where"`
}

func (*failingApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "failing", New: func() caddy.Module { return new(failingApp) }}
}

var errFailing = errors.New("this app fails")

func (a *failingApp) fails(where string) error {
	if a.Where == where {
		return errFailing
	}
	return nil
}

func (a *failingApp) Provision(caddy.Context) error { return a.fails("provision") }
func (a *failingApp) Start() error                  { return a.fails("start") }
func (*failingApp) Stop() error                     { return nil }

const echo = "job echo {\n token {\n grant trigger log status\n }\n run echo hello\n}\n"

func named(token string) string { return strings.Replace(echo, "token {", "token "+token+" {", 1) }

func TestProvisioningOpensNothing(t *testing.T) {
	s := newSite(t)
	config, err := adapt(s.caddyfile("", jobs(named("secret"))))
	if err != nil {
		t.Fatal(err)
	}
	if err := provision(config); err != nil {
		t.Fatalf("validate: %v", err)
	}
	if _, err := os.Stat(s.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after validate, Stat of the queue = %v, want that it does not exist", err)
	}
	if refs := caddymodule.References(s.path); refs != 0 {
		t.Errorf("after validate, the pool has %d references", refs)
	}
}

func TestValidateWorksBesideARunningServer(t *testing.T) {
	s := newSite(t)
	text := s.caddyfile("", jobs(named("secret")))
	s.load(text)
	config, err := adapt(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := provision(config); err != nil {
		t.Errorf("validate: %v", err)
	}
	s.trigger("echo", "secret")
}

func TestTriggerRunsABuild(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("", jobs(named("secret"))))
	item := s.trigger("echo", "secret")
	if log := s.follow("echo", "secret", item); !strings.Contains(log, "hello\n") || !strings.Contains(log, "Finished: SUCCESS") {
		t.Errorf("log: got %q", log)
	}
	if a := s.get("/elsewhere"); a.status != http.StatusTeapot {
		t.Errorf("another path: got %d, want 418 from the next handler", a.status)
	}
}

// TestFailedLoadLeavesTheOldConfigurationInForce covers the ways in which a load can fail.
// Caddy starts apps in random order, so failures at the start are tried several times.
func TestFailedLoadLeavesTheOldConfigurationInForce(t *testing.T) {
	foreign := filepath.Join(t.TempDir(), "foreign.db")
	if err := os.WriteFile(foreign, []byte(strings.Repeat("no queue ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	// edit changes the JSON of the new configuration.
	type edit func(config map[string]any)
	app := func(name string, value any) edit {
		return func(config map[string]any) {
			if apps, ok := config["apps"].(map[string]any); ok {
				apps[name] = value
			}
		}
	}
	for _, tt := range []struct {
		name  string
		edit  edit
		times int
	}{
		{"JSON is wrong", app("build_token", map[string]any{"executor": 7}), 1},
		{"our app can't be provisioned", app("build_token", map[string]any{"executors": -7}), 1},
		{"another app can't be provisioned", app("failing", map[string]any{"where": "provision"}), 6},
		{"our app can't start", app("build_token", map[string]any{"executors": 7, "queue": map[string]any{"queue": "bolt", "path": foreign}}), 4},
		{"another app can't start", app("failing", map[string]any{"where": "start"}), 8},
		{"Caddy can't finish the load", func(config map[string]any) {
			config["admin"] = map[string]any{"disabled": true, "config": map[string]any{
				"persist": false,
				"load":    map[string]any{"module": "http", "url": "http://" + freeAddress(t) + "/"},
			}}
		}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			s.load(s.caddyfile("executors 3", jobs(named("old"))))
			for range tt.times {
				text, err := adapt(s.caddyfile("executors 7", jobs(named("new"))))
				if err != nil {
					t.Fatal(err)
				}
				var config map[string]any
				if err := json.Unmarshal(text, &config); err != nil {
					t.Fatal(err)
				}
				tt.edit(config)
				if text, err = json.Marshal(config); err != nil {
					t.Fatal(err)
				}
				if err := caddy.Load(text, true); err == nil {
					t.Fatal("load: got no error")
				}
				if got := status(t).Queues[0].Executors; got != 3 {
					t.Errorf("executors: got %d, want the 3 of the old configuration", got)
				}
				if refs := caddymodule.References(s.path); refs != 1 {
					t.Errorf("the pool has %d references, want 1", refs)
				}
				if refs := caddymodule.References(foreign); refs != 0 {
					t.Errorf("the pool has %d references to the other queue, want 0", refs)
				}
				item := s.trigger("echo", "old")
				if log := s.follow("echo", "old", item); !strings.Contains(log, "Finished: SUCCESS") {
					t.Errorf("log: got %q", log)
				}
			}
			if a := s.get("/buildByToken/build?job=echo&token=new"); a.status != http.StatusForbidden {
				t.Errorf("token of the new configuration: got %d, want 403", a.status)
			}
		})
	}
}

// TestReloadEndsStreams follows the log of a waiting item. A reload must end the stream: at
// exit, Caddy would wait for it.
func TestReloadEndsStreams(t *testing.T) {
	s := newSite(t)
	text := s.caddyfile("", "build_token {\n quiet_period 1h\n"+named("secret")+"\n}")
	s.load(text)
	item := s.trigger("echo", "secret")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr+"/buildByToken/log?job=echo&token=secret&item="+item, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	s.load(s.caddyfile("executors 1", jobs(named("secret"))))
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		t.Log(lines.Text())
	}
}

func TestConfigurationWithoutJobsClosesTheQueue(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("", jobs(named("secret"))))
	s.load("{\n admin off\n persist_config off\n auto_https off\n}\nhttp://" + s.addr + " {\n respond hello\n}\n")
	if refs := caddymodule.References(s.path); refs != 0 {
		t.Errorf("the pool has %d references", refs)
	}
	db, err := boltqueue.Open(boltqueue.Options{Path: s.path})
	if err != nil {
		t.Fatalf("open the queue that must be free: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if got := status(t); len(got.Queues) != 0 {
		t.Errorf("admin API: got %v, want no queue", got)
	}
}

func TestSecondServerOnTheSameFileGetsAnError(t *testing.T) {
	s := newSite(t)
	db, err := boltqueue.Open(boltqueue.Options{Path: s.path})
	if err != nil {
		t.Fatal(err)
	}
	err = s.try(s.caddyfile("", jobs(named("secret"))))
	if err == nil || !strings.Contains(err.Error(), "another Caddy") || !strings.Contains(err.Error(), s.path) {
		t.Errorf("load: got %v, want an error that names the file and the reason", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s.load(s.caddyfile("", jobs(named("secret"))))
}

func TestReloadToAnotherFile(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("", jobs(named("secret"))))
	first := s.path
	s.path = filepath.Join(filepath.Dir(first), "other", "queue.db")
	s.load(s.caddyfile("", jobs(named("secret"))))
	if one, other := caddymodule.References(first), caddymodule.References(s.path); one != 0 || other != 1 {
		t.Errorf("references: got %d to the first file and %d to the other, want 0 and 1", one, other)
	}
	item := s.trigger("echo", "secret")
	s.follow("echo", "secret", item)
	if _, err := os.Stat(filepath.Join(filepath.Dir(s.path), "queue", "logs")); err != nil {
		t.Errorf("logs: %v", err)
	}
}

// TestFirstRequestOpensTheQueue serves requests before Start, as happens when Caddy starts the
// HTTP app first, and after Cleanup, as happens to requests that are slower than a reload.
func TestFirstRequestOpensTheQueue(t *testing.T) {
	s := newSite(t)
	queue, err := json.Marshal(map[string]any{"queue": map[string]any{"queue": "bolt", "path": s.path}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, err := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{"build_token": queue}})
	if err != nil {
		t.Fatal(err)
	}
	mod, err := ctx.LoadModuleByID("http.handlers.build_token", []byte(`{"jobs": [{"name": "x", "run": {"runner": "exec", "command": "true"}, "tokens": [{"secret": "secret"}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	handler, ok := mod.(caddyhttp.MiddlewareHandler)
	if !ok {
		t.Fatalf("the handler is a %T", mod)
	}
	ask := func() int {
		t.Helper()
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/buildByToken/build?job=x&token=secret", nil)
		if err := handler.ServeHTTP(w, caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil), nil); err != nil {
			t.Fatal(err)
		}
		return w.Code
	}
	app := appOf(t, ctx)
	if got := ask(); got != http.StatusCreated {
		t.Errorf("before Start: got %d, want 201", got)
	}
	if err := app.Start(); err != nil {
		t.Fatal(err)
	}
	if got := ask(); got != http.StatusSeeOther {
		t.Errorf("after Start: got %d, want 303", got)
	}
	for range 2 {
		if err := app.Stop(); err != nil {
			t.Error(err)
		}
		if got := ask(); got != http.StatusServiceUnavailable {
			t.Errorf("after Stop: got %d, want 503", got)
		}
	}
	for range 2 {
		if err := app.Cleanup(); err != nil {
			t.Error(err)
		}
		if got := ask(); got != http.StatusServiceUnavailable {
			t.Errorf("after Cleanup: got %d, want 503", got)
		}
		if _, err := app.Status(t.Context()); !errors.Is(err, buildtoken.ErrShuttingDown) {
			t.Errorf("status after Cleanup: %v, want %v", err, buildtoken.ErrShuttingDown)
		}
	}
}

// A request that is slower than a configuration that was discarded does not open its queue.
func TestDiscardedConfigurationStaysClosed(t *testing.T) {
	s := newSite(t)
	ctx, err := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{"build_token": json.RawMessage(`{"queue": {"queue": "bolt", "path": "` + s.path + `"}}`)}})
	if err != nil {
		t.Fatal(err)
	}
	app := appOf(t, ctx)
	if err := app.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if err := app.Start(); !errors.Is(err, buildtoken.ErrShuttingDown) {
		t.Errorf("start after the end: %v, want %v", err, buildtoken.ErrShuttingDown)
	}
	if _, err := app.Status(t.Context()); !errors.Is(err, buildtoken.ErrShuttingDown) {
		t.Errorf("status after the end: %v, want %v", err, buildtoken.ErrShuttingDown)
	}
	if _, err := os.Stat(s.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the queue was made: %v", err)
	}
}

// appOf returns the app of a configuration that was only provisioned.
func appOf(t *testing.T, ctx caddy.Context) *caddymodule.App {
	t.Helper()
	mod, err := ctx.App("build_token")
	if err != nil {
		t.Fatal(err)
	}
	app, ok := mod.(*caddymodule.App)
	if !ok {
		t.Fatalf("the app is a %T", mod)
	}
	return app
}

func TestUnconfiguredAppHasDefaults(t *testing.T) {
	s := newSite(t)
	s.load("{\n admin off\n persist_config off\n auto_https off\n}\nhttp://" + s.addr + " {\n" + jobs(named("secret")) + "}\n")
	item := s.trigger("echo", "secret")
	s.follow("echo", "secret", item)
	dir := filepath.Join(os.Getenv("XDG_DATA_HOME"), "caddy", "build_token")
	for _, name := range []string{"queue.db", "queue.db.key", "logs", "workspaces"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("default place: %v", err)
		}
	}
	got := status(t).Queues[0]
	if got.Executors != 2 || got.Path != filepath.Join(dir, "queue.db") {
		t.Errorf("admin API: got %+v", got)
	}
}

// The data of a queue is beside its file, in a directory that is named after it.
func TestFolderOfTheData(t *testing.T) {
	for name, folder := range map[string]string{"ci.db": "ci", "ci.queue": "ci.queue.d", ".db": ".db.d"} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.path = filepath.Join(filepath.Dir(s.path), "sub", name)
			s.load(s.caddyfile("", jobs(named("secret"))))
			s.follow("echo", "secret", s.trigger("echo", "secret"))
			if _, err := os.Stat(filepath.Join(filepath.Dir(s.path), folder, "logs")); err != nil {
				t.Errorf("logs: %v", err)
			}
		})
	}
	t.Run("a file has its name", func(t *testing.T) {
		s := newSite(t)
		if err := os.WriteFile(strings.TrimSuffix(s.path, ".db"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.try(s.caddyfile("", jobs(named("secret")))); err == nil || !strings.Contains(err.Error(), "make the folder of the queue: ") {
			t.Errorf("load: %v, want the folder that cannot be made", err)
		}
	})
}
