package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// onPostgres returns the Caddyfile of a site whose queue is in a database.
func (s *site) onPostgres(option, body string) string {
	return strings.Replace(s.caddyfile(option, body), "queue bolt "+s.path, "queue postgres {env.BUILD_TOKEN_TEST_DATABASE} {\n schema ci\n}", 1)
}

// TestQueueInPostgres runs through the life of a server: a trigger, a build, a reload, a stop
// and a start, a second server besides it, and an outage of the database.
func TestQueueInPostgres(t *testing.T) {
	const password = "TacoTuesdayNight"
	server := pgtest.Start(t)
	url := strings.Replace(server.URL(), "postgres:///", "postgres://buildtoken:"+password+"@/", 1)
	t.Setenv("BUILD_TOKEN_TEST_DATABASE", url)
	s := newSite(t)
	body := "handle /metrics {\n metrics\n}\n" + jobs(named("secret")+"job held {\n disabled\n token secret\n run true\n}\n")
	s.load(s.onPostgres("", body))
	item := s.trigger("echo", "secret")
	log := s.follow("echo", "secret", item)
	if !strings.Contains(log, "Finished: SUCCESS") {
		t.Errorf("log: got %q", log)
	}
	place := status(t).Queues[0].Path
	for _, path := range []string{"caddy/build_token/postgres", "caddy/build_token/postgres/*"} {
		found, _ := filepath.Glob(filepath.Join(os.Getenv("XDG_DATA_HOME"), path))
		if info, err := os.Stat(found[0]); len(found) != 1 || err != nil || info.Mode().Perm() != 0o711 { // builds can run as other users
			t.Errorf("%s: %v, %v; want one with the mode 0711", path, info, err)
		}
	}
	if !strings.HasPrefix(place, "postgres:") || !strings.HasSuffix(place, ":5432/postgres/ci") {
		t.Errorf("status: the queue is %q", place)
	}
	if a := s.get("/metrics"); !strings.Contains(a.body, "caddy_build_token_clock_offset_seconds ") {
		t.Errorf("metrics have no offset of the clock: %d", a.status)
	} else if !strings.Contains(a.body, "caddy_build_token_lease_remaining_seconds 2") && !strings.Contains(a.body, "caddy_build_token_lease_remaining_seconds 30") {
		t.Errorf("metrics have no lease of up to 30 s:\n%s", a.body)
	}
	s.load(s.onPostgres("executors 1", body))
	if refs := caddymodule.References(place); refs != 1 {
		t.Errorf("after a reload, the pool has %d references, want 1", refs)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	other, err := pgqueue.Open(t.Context(), pgqueue.Options{URL: url, Schema: "ci", Server: host})
	if err != nil {
		t.Fatalf("open the queue that must be free: %v", err)
	}
	if b, err := other.Build(t.Context(), "echo", 1); err != nil || b.Running() {
		t.Errorf("build on record: %+v, %v", b, err)
	} else if b.Node != host {
		t.Errorf("the build ran on %q, want %q", b.Node, host)
	}
	err = s.try(s.onPostgres("", body))
	if err == nil || !strings.Contains(err.Error(), "another Caddy is called "+host) || !strings.Contains(err.Error(), place) {
		t.Errorf("load beside another server of the same name: got %v, want an error that names the queue and the reason", err)
	}
	s.load(s.onPostgres("node another", body)) // besides the other one
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(os.Getenv("XDG_DATA_HOME"), "caddy", "build_token", "postgres")
	if err := errors.Join(os.Rename(folder, folder+".aside"), os.WriteFile(folder, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := s.try(s.onPostgres("", body)); err == nil || !strings.Contains(err.Error(), "make the folder of the queue: make directory: mkdir "+folder) {
		t.Errorf("load with a file in place of the folder: %v, want an error", err)
	}
	if err := errors.Join(os.Remove(folder), os.Rename(folder+".aside", folder)); err != nil {
		t.Fatal(err)
	}
	s.load(s.onPostgres("", body)) // at once: the other server has announced that it leaves
	if again := s.follow("echo", "secret", item); again != log {
		t.Errorf("log after a restart: got %q, want %q", again, log)
	}
	if code, text := adminAnswer(t, "POST backup"); code != http.StatusConflict || !strings.Contains(text, "pg_dump --schema=ci. ") ||
		!strings.Contains(text, filepath.Join(os.Getenv("XDG_DATA_HOME"), "caddy", "build_token", "postgres")+"/") || !strings.Contains(text, "/key; copy that too. Nothing was written") {
		t.Errorf("backup: got %d %q, want pg_dump and the file of the key", code, text)
	}
	if err := server.Crash(); err != nil {
		t.Fatal(err)
	}
	if a := s.get("/buildByToken/build?job=echo&token=secret"); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("trigger without a database: got %d %q, want 503 and Retry-After", a.status, a.body)
	}
	if a := s.get("/metrics"); !strings.Contains(a.body, "\ncaddy_build_token_queue_up 0\n") {
		t.Errorf("metrics without a database: %d, want queue_up 0", a.status)
	}
	if code, text := adminAnswer(t, "GET ready"); code != http.StatusServiceUnavailable || text != "not ready\n" {
		t.Errorf("ready without a database: got %d %q", code, text)
	}
	for request, want := range map[string]int{
		"GET ": 503, "GET tokens": 503, "GET leftovers": 503, "GET notifications": 503, "GET build?job=echo": 404, "GET console?job=echo": 404, "POST prune": 500, "POST notifications/retry?id=1": 503,
	} {
		if code, text := adminAnswer(t, request); code != want || text == "" {
			t.Errorf("%s without a database: got %d %q, want %d", request, code, text, want)
		}
	}
	if err := s.try(s.onPostgres("executors 3", body)); err == nil {
		t.Error("a reload without a database worked")
	} else if strings.Contains(err.Error(), password) {
		t.Errorf("the error shows the password: %v", err)
	}
	made := 0
	for _, line := range s.logged("build_token") {
		if line["msg"] == "made a key for queued password parameters; other servers of the queue need the same one" {
			made++
		}
	}
	if made != 1 {
		t.Errorf("logged %d times that a key was made, want once", made)
	}
	logged, err := os.ReadFile(s.logs)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(logged, []byte(password)) {
		t.Errorf("the log shows the password:\n%s", logged)
	}
}

// TestDatabaseThatStopsAnsweringAtTheStart locks a table that Caddy reads when it has opened
// the queue. Then it starts without the queue as well.
func TestDatabaseThatStopsAnsweringAtTheStart(t *testing.T) {
	server := pgtest.Start(t)
	t.Setenv("BUILD_TOKEN_TEST_DATABASE", server.URL())
	s := newSite(t)
	body := jobs(named("secret"))
	queue, err := pgqueue.Open(t.Context(), pgqueue.Options{URL: server.URL(), Schema: "ci", Server: "makes the tables"})
	if err == nil {
		err = queue.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	conn := pgtest.Connect(t, server.URL())
	for _, statement := range []string{"begin", "lock table ci.builds in access exclusive mode"} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	s.load(s.onPostgres("", body))
	if a := s.get("/buildByToken/build?job=echo&token=secret"); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("trigger while the table is locked: got %d %q, want 503 and Retry-After", a.status, a.body)
	}
	if _, err := conn.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	for { // each answer takes a moment; there is nothing else to wait on
		if a := s.get("/buildByToken/build?job=echo&token=secret&delay=1h"); a.status == http.StatusCreated {
			break
		} else if a.status != http.StatusServiceUnavailable {
			t.Fatalf("trigger: %d %q", a.status, a.body)
		}
	}
}

// TestDatabaseThatIsDownAtTheStart starts Caddy before its database: the site works, triggers
// are refused until the database answers, and a reload does not wait for it.
func TestDatabaseThatIsDownAtTheStart(t *testing.T) {
	server := pgtest.Start(t)
	t.Setenv("BUILD_TOKEN_TEST_DATABASE", server.URL())
	s := newSite(t)
	body := "handle /metrics {\n metrics\n}\n" + jobs(named("secret"))
	if err := server.Crash(); err != nil {
		t.Fatal(err)
	}
	ctx, err := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{"build_token": json.RawMessage(`{"queue": {"queue": "postgres", "url": "{env.BUILD_TOKEN_TEST_DATABASE}"}}`)}})
	if err != nil {
		t.Fatal(err)
	}
	app := appOf(t, ctx) // is stopped while it tries to open the queue, as if another app could not be started
	if err := errors.Join(app.Start(), app.Stop(), app.Cleanup()); err != nil {
		t.Errorf("a start and a stop without a database: %v", err)
	}
	failing := strings.Replace(s.onPostgres("", body), "schema ci\n", "schema ci\n fail_start\n", 1)
	if err := s.try(failing); err == nil || !strings.Contains(err.Error(), pgqueue.ErrUnreachable.Error()) {
		t.Errorf("start with fail_start: %v, want %v", err, pgqueue.ErrUnreachable)
	}
	s.load(s.onPostgres("", body))
	if a := s.get("/buildByToken/build?job=echo&token=secret"); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("trigger without a database: got %d %q, want 503 and Retry-After", a.status, a.body)
	}
	for _, request := range []string{
		"GET ", "GET ready", "GET tokens", "GET deliveries", "GET decisions", "GET notifications", "GET leftovers", "GET build?job=echo", "GET console?job=echo",
		"POST backup", "POST prune", "POST notifications/retry?id=1", "POST notifications/test?target=x", "POST buildByToken/build?job=echo",
	} {
		if code, text := adminAnswer(t, request); code != http.StatusServiceUnavailable || text == "" {
			t.Errorf("%s without a database: got %d %q, want 503 and a reason", request, code, text)
		} else if request == "GET " && !strings.Contains(text, pgqueue.ErrUnreachable.Error()) {
			t.Errorf("status without a database: %q, want %v", text, pgqueue.ErrUnreachable)
		}
	}
	if a := s.get("/metrics"); a.status != http.StatusOK || !strings.Contains(a.body, "\ncaddy_build_token_queue_up 0\n") {
		t.Errorf("metrics without a database: got %d, want queue_up 0", a.status)
	}
	if err := s.try(s.onPostgres("executors 1", body)); err == nil || !strings.Contains(err.Error(), pgqueue.ErrUnreachable.Error()) {
		t.Errorf("reload without a database: %v, want %v", err, pgqueue.ErrUnreachable)
	}
	inTheWay := filepath.Join(os.Getenv("XDG_DATA_HOME"), "caddy", "build_token", "postgres") // of the folder of the queue
	if err := errors.Join(os.MkdirAll(filepath.Dir(inTheWay), 0o700), os.WriteFile(inTheWay, nil, 0o600), server.Run()); err != nil {
		t.Fatal(err)
	}
	for { // it is tried again, whatever the reason
		if a := s.get("/buildByToken/build?job=echo&token=secret&delay=1h"); a.status != http.StatusServiceUnavailable {
			t.Fatalf("trigger: got %d %q", a.status, a.body)
		}
		if slices.ContainsFunc(s.logged("build_token"), func(line map[string]any) bool {
			return line["msg"] == "cannot open the queue; trying again" && strings.Contains(fmt.Sprint(line["error"]), inTheWay)
		}) {
			break
		}
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	for { // the answer arrives later; there is no event to wait for
		if a := s.get("/buildByToken/build?job=echo&token=secret&delay=1h"); a.status == http.StatusCreated {
			break
		} else if a.status != http.StatusServiceUnavailable {
			t.Fatalf("trigger: got %d %q", a.status, a.body)
		}
	}
	s.load(s.onPostgres("executors 1", body)) // after the first configuration has logged that it is ready
	messages := map[any]int{}
	for _, line := range s.logged("build_token") {
		messages[line["msg"]]++
	}
	if messages["not ready"] == 0 || messages["ready for triggers"] != 2 || messages["cannot open the queue yet: triggers are answered with 503 until its database answers"] != 1 {
		t.Errorf("logged %v, want that the queue could not be opened, that the server was not ready, and two times that it is", messages)
	}
	if q := status(t).Queues; len(q) != 1 || q[0].Queued != 1 || q[0].Executors != 1 {
		t.Errorf("status: %+v, want one item and one executor", q)
	}
}

// TestAnotherAddressOfTheSameDatabase reloads and restarts with a different address of the
// database, as an administrator does who adds a second host.
func TestAnotherAddressOfTheSameDatabase(t *testing.T) {
	server := pgtest.Start(t)
	_, socket, _ := strings.Cut(server.URL(), "host=")
	link := filepath.Join(t.TempDir(), "s")
	if err := os.Symlink(socket, link); err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	at := func(url string) string {
		return strings.Replace(s.onPostgres("", jobs(named("secret"))), "{env.BUILD_TOKEN_TEST_DATABASE}", url, 1)
	}
	one := server.URL()
	other := strings.Replace(one, socket, link, 1)
	trigger := func(want int) {
		t.Helper()
		if a := s.get("/buildByToken/build?job=echo&token=secret&delay=1h"); a.status != want {
			t.Errorf("trigger: got %d %q, want %d", a.status, a.body, want)
		}
	}
	s.load(at(one))
	trigger(http.StatusCreated)
	s.load(at(other))
	trigger(http.StatusSeeOther)
	if q := status(t).Queues; len(q) != 1 || q[0].Queued != 1 || !strings.Contains(q[0].Path, link) {
		t.Errorf("status: %+v, want one item, and the new address", q)
	}
	const keyed = "/buildByToken/build?job=echo&token=secret&delay=1h"
	s.get(keyed, "Idempotency-Key", `"one"`)
	if _, err := pgtest.Connect(t, one).Exec(t.Context(), "update ci.receipts set body = '[]'"); err != nil {
		t.Fatal(err)
	}
	s.logs += ".new"
	s.load(at(other)) // with another log, to which the queue writes too
	s.get(keyed, "Idempotency-Key", `"one"`)
	if !slices.ContainsFunc(s.logged(""), func(line map[string]any) bool {
		return line["msg"] == "receipt of a trigger can't be read; the trigger counts as a new one"
	}) {
		t.Errorf("the queue has not written to the newest log: %v", s.logged(""))
	}
	s.load(at(one))
	trigger(http.StatusSeeOther)
	s.load(strings.Replace(at(other), "schema ci", "schema another", 1)) // a different queue
	trigger(http.StatusCreated)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	s.load(at(other))
	trigger(http.StatusSeeOther)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{one, other} {
		if refs := caddymodule.References("postgres:" + url[strings.Index(url, "host=")+len("host="):] + ":5432/postgres/ci"); refs != 0 {
			t.Errorf("after a stop, the pool has %d references to %s", refs, url)
		}
	}
	if found, err := filepath.Glob(filepath.Join(os.Getenv("XDG_DATA_HOME"), "caddy", "build_token", "postgres", "*")); err != nil || len(found) != 2 {
		t.Errorf("folders of queues: %v, %v; want one of each schema", found, err)
	}
}

// TestPostgresNeedsOneKey starts a server again with a different key, as a misconfigured second
// server would.
func TestPostgresNeedsOneKey(t *testing.T) {
	t.Setenv("BUILD_TOKEN_TEST_DATABASE", pgtest.Start(t).URL())
	s := newSite(t)
	with := func(digit string) string {
		return strings.Replace(s.onPostgres("", jobs(named("secret"))), "schema ci\n", "schema ci\n key "+strings.Repeat(digit, 64)+"\n", 1)
	}
	s.load(with("a"))
	if code, text := adminAnswer(t, "POST backup"); code != http.StatusConflict || !strings.Contains(text, "Not in the database is the key of password parameters, which the configuration names; copy that too.") {
		t.Errorf("backup: got %d %q, want the key named", code, text)
	}
	if a := s.get("/buildByToken/build?job=echo&token=secret&delay=1h"); a.status != http.StatusCreated {
		t.Fatalf("trigger: %d %q", a.status, a.body)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	err := s.try(with("b"))
	if err == nil || !strings.Contains(err.Error(), "the key of this server is not that of the queue") || !strings.Contains(err.Error(), "name the same key") {
		t.Errorf("start with another key: %v, want what is wrong and what to do", err)
	}
	if err != nil && strings.Contains(err.Error(), "bbbb") {
		t.Errorf("the error shows the key: %v", err)
	}
	s.load(with("a"))
}

func TestPostgresErrors(t *testing.T) {
	const secret = "TacoTuesdayNight"
	t.Setenv("BUILD_TOKEN_TEST_DATABASE", "postgres://ci:"+secret+"@db:notaport/ci")
	for _, tt := range []struct{ name, queue, want string }{
		{"no url", `{"queue": "postgres"}`, "queue postgres: the url is missing"},
		{"url that resolves to nothing", `{"queue": "postgres", "url": "{env.BUILD_TOKEN_MISSING}"}`, "queue postgres: url: placeholder {env.BUILD_TOKEN_MISSING} resolves to nothing"},
		{"url that is none", `{"queue": "postgres", "url": "{env.BUILD_TOKEN_TEST_DATABASE}"}`, "not a usable connection string"},
		{"takeover that leaves no time", `{"queue": "postgres", "url": "host=db", "takeover_after": "2s"}`, "queue postgres: takeover_after is 2s, want at least 3s"},
		{"key that resolves to nothing", `{"queue": "postgres", "url": "host=db", "key": "{env.BUILD_TOKEN_MISSING}"}`, "queue postgres: key: placeholder"},
		{"key that is too short", `{"queue": "postgres", "url": "host=db", "key": "` + secret + `"}`, "queue postgres: key holds 16 characters, want 64"},
		{"key that is not hexadecimal", `{"queue": "postgres", "url": "host=db", "key": "` + strings.Repeat(secret, 4) + `"}`, "queue postgres: key holds something else"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home(t)
			err := provision([]byte(`{"admin": {"disabled": true}, "apps": {"build_token": {"queue": ` + tt.queue + `}}}`))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

// TestProvisionedPostgresHoldsNoSecret inspects a dump of the module.
func TestProvisionedPostgresHoldsNoSecret(t *testing.T) {
	dir := home(t)
	key := strings.Repeat("5e", 32)
	p := &caddymodule.Postgres{URL: "postgres://ci:c0ffee@db/ci", Key: key, TakeoverAfter: caddy.Duration(3 * time.Second)} // the shortest
	if err := p.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if place, err := p.Place(); err != nil || place != "postgres:db:5432/ci/buildtoken" {
			t.Errorf("Place = %q, %v", place, err)
		}
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "c0ffee") || strings.Contains(string(text), key) {
		t.Errorf("got %s", text)
	}
	if found, err := filepath.Glob(filepath.Join(dir, "data", "*")); err != nil || len(found) != 0 {
		t.Errorf("provisioning made %v, %v", found, err)
	}
}

// TestRotatedPassword changes the password of the database in a file to which the Caddyfile
// refers, without a reload, and in the Caddyfile, with a reload.
func TestRotatedPassword(t *testing.T) {
	server := pgtest.Start(t)
	admin := pgtest.Connect(t, server.URL())
	if _, err := admin.Exec(t.Context(), "create role ci superuser login password 'first'"); err != nil {
		t.Fatal(err)
	}
	if err := server.RequirePassword("ci"); err != nil {
		t.Fatal(err)
	}
	url := func(password string) string {
		return strings.Replace(strings.Replace(server.URL(), "user=buildtoken&", "", 1), "postgres:///", "postgres://ci:"+password+"@/", 1)
	}
	file := filepath.Join(t.TempDir(), "url")
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(url(password)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rotate := func(password string) { // and end all connections
		t.Helper()
		sql := "alter role ci password '" + password + "'; select pg_terminate_backend(pid) from pg_stat_activity where usename = 'ci'"
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	s := newSite(t)
	with := func(source string) string {
		return strings.Replace(s.onPostgres("", jobs(named("secret"))), "{env.BUILD_TOKEN_TEST_DATABASE}", source, 1)
	}
	trigger := func() int {
		t.Helper()
		return s.get("/buildByToken/build?job=echo&token=secret&delay=1h").status
	}
	write("first")
	s.load(with("{file." + file + "}"))
	if got := trigger(); got != http.StatusCreated {
		t.Fatalf("trigger: %d", got)
	}
	write("second")
	rotate("second")
	if got := trigger(); got != http.StatusSeeOther {
		t.Errorf("trigger with the new password in the file: %d, want 303", got)
	}
	if err := s.try(with(url("wrong"))); err == nil || !strings.Contains(err.Error(), "password authentication failed") {
		t.Errorf("reload with a wrong password: %v, want an error", err)
	} else if strings.Contains(err.Error(), "wrong") {
		t.Errorf("the error shows the password: %v", err)
	} else if !strings.Contains(err.Error(), "build_token: queue postgres:") { // the one that is open, and no other one
		t.Errorf("reload with a wrong password: %v, want the queue", err)
	}
	place := status(t).Queues[0].Path
	rotate("third")
	s.load(with(url("third")))
	if refs := caddymodule.References(place); refs != 1 {
		t.Errorf("after a reload that changes only the password, the pool has %d references, want 1", refs)
	}
	if got := trigger(); got != http.StatusSeeOther {
		t.Errorf("trigger with the new password in the Caddyfile: %d, want 303", got)
	}
}
