//go:build unix

package caddymodule_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// TestMigrateCommand moves a queue with a build, an item and an upload to a database, in which
// the server goes on.
func TestMigrateCommand(t *testing.T) {
	t.Setenv("BUILD_TOKEN_TEST_DATABASE", pgtest.Start(t).URL())
	s := newSite(t)
	body := jobs(uploading)
	s.load(s.caddyfile("node ci-1", body))
	done := s.upload("job=done&token=SECRET", "of the build that has ended\n")
	log := s.follow("done", "SECRET", done)
	s.upload("job=waits&token=SECRET", "of an item\n")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(s.path)
	file := filepath.Join(dir, "Caddyfile")
	migrate := func(block, flags string) ran {
		t.Helper()
		text := strings.Replace(s.onPostgres("node ci-1", body), "schema ci\n", block+"\n", 1)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got := run(t, strings.Fields("migrate -c "+file+" -f "+s.path+flags)...)
		got.Out, got.Err = strings.ReplaceAll(got.Out, dir, "{dir}"), strings.ReplaceAll(got.Err, dir, "{dir}")
		got.Out = regexp.MustCompile(`(?m)^took +.*$|(to +postgres:).*(/[a-z]+)$`).ReplaceAllString(got.Out, "$1$2")
		got.Out = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`).ReplaceAllString(got.Out, "{id}")
		got.Err = regexp.MustCompile(`postgres:[^ ]*/`).ReplaceAllString(got.Err, "postgres:/")
		return got
	}
	check := func(what string, want, got ran) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	report := func(schema, logs string) string {
		return "from              {dir}/queue.db\nto                postgres:/" + schema + "\njobs              2\nqueued            1\nbuilds            1\ncancelled         0\nkeys of triggers  0\nlogs              " +
			logs + "\nfiles             1\n\n\nThe file has not changed. Do not start Caddy with it again, or its queued items are built twice.\n"
	}
	const otherKey = "; write `key {file.{dir}/queue.db.key}` in its block, or move the content of that file to your other secrets and name its new place"
	check("a server that was never started", ran{1, "", "move {dir}/queue.db to postgres:/ci: the key is not that of the queue: queue postgres has no key, so it could not read queued passwords or join equal triggers" + otherKey},
		migrate("schema ci", ""))
	const key = "\n key {file.{$HOME}/queue.db.key}"
	check("migrate", ran{0, report("ci", "1, 1 KiB"), ""}, migrate("schema ci"+key, ""))
	check("migrate again", ran{1, "", `move to postgres:/ci: pgqueue: import into schema "ci": pgqueue: schema is not empty: there is something in its tables items, builds, summaries, token_uses, lanes; name another schema, or drop this one if it is not needed`}, migrate("schema ci"+key, ""))
	check("migrate without logs", ran{0, report("other", "0, 0 KiB") + `
Console logs were not moved. To keep them on this server, copy them before it starts:

	mkdir -p {dir}/data/caddy/build_token/postgres/{id}
	cp -a {dir}/queue/logs {dir}/data/caddy/build_token/postgres/{id}
`, ""}, migrate("schema other"+key, " --without-logs"))

	s.load(strings.Replace(s.onPostgres("node ci-1", body), "schema ci\n", "schema ci"+key+"\n", 1))
	if again := s.follow("done", "SECRET", done); again != log {
		t.Errorf("log after the move: %q, want %q", again, log)
	}
	if q := status(t).Queues[0]; q.Queued != 1 {
		t.Errorf("after the move, %d items are queued, want 1", q.Queued)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	s.load(strings.Replace(s.onPostgres("node ci-1", body), "schema ci\n", "schema fresh\n", 1)) // makes a key
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	check("a server with its own key", ran{1, "", "move {dir}/queue.db to postgres:/fresh: the key is not that of the queue: queue postgres has another key than the file, so it could not read queued passwords or join equal triggers" + otherKey},
		migrate("schema fresh", ""))
	made, err := filepath.Glob(filepath.Join(dir, "data/caddy/build_token/postgres/*/key"))
	if err != nil || len(made) != 1 {
		t.Fatalf("the servers made the keys %v, %v; want one", made, err)
	}
	if err := os.WriteFile(made[0], []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := migrate("schema fresh", ""); got.Status != 1 || !strings.Contains(got.Err, "key of queue postgres: ") {
		t.Errorf("a server with a damaged key: %+v, want an error about its key", got)
	}
	same, err := os.ReadFile(s.path + ".key")
	if err == nil {
		err = os.WriteFile(made[0], same, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	check("a server with the key of the file", ran{0, report("fresh", "1, 1 KiB"), ""}, migrate("schema fresh", ""))
}
