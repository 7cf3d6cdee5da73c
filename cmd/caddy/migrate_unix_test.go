//go:build unix

package main_test

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// TestMigrate moves the queue of a server that was killed while a build ran, and starts the
// server again.
func TestMigrate(t *testing.T) {
	const password = "TacoTuesdayNight"
	body := "job hello {\n quiet_period 0\n token secret {\n grant trigger log status\n }\n param A string\n run echo hello\n}\n" +
		"job long {\n quiet_period 0\n token secret {\n grant trigger log status\n }\n run sleep 60\n}\n" +
		"job release {\n quiet_period 0\n token secret {\n grant trigger log status\n }\n param PIN password\n param NOTES file\n run sh -c `test \"$PIN\" = 4711 && cat NOTES`\n}\n"
	database := strings.Replace(pgtest.Start(t).URL(), "postgres:///", "postgres://buildtoken:"+password+"@/", 1)
	s := newServer(t, body)
	s.environment = append(s.environment, "DATABASE_URL="+database)
	configure := func(options string) {
		s.write(body)
		s.option("executors 1\n node ci-1\n" + options)
	}
	configure("")
	s.start()
	first := s.built("hello", nil)
	s.get("/buildByToken/build?job=long&token=secret")
	s.eventually("the long build runs", func() bool {
		out, _, err := s.command("", "build-token", "status", "--address", s.admin)
		return err == nil && strings.Contains(out, "long #1, item 2, since")
	})
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	notes, err := w.CreateFormFile("NOTES", "notes.txt")
	if err == nil {
		_, err = io.WriteString(notes, "the PIN is right\n")
	}
	if err := errors.Join(err, w.WriteField("PIN", "4711"), w.Close()); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post("http://"+s.site+"/buildByToken/buildWithParameters?token=secret&job=release", w.FormDataContentType(), &form)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("trigger: got %+v, %v", resp, err)
	}
	resp.Body.Close()

	file := filepath.Join(s.dir, "data", "caddy", "build_token", "queue.db")
	key, err := os.ReadFile(file + ".key")
	if err != nil {
		t.Fatal(err)
	}
	said := "" // by all commands together
	refused := func(what string, want ...string) {
		t.Helper()
		out, errs, err := s.command("", "build-token", "migrate", "--config", s.file, "--adapter", "caddyfile")
		said += out + errs
		if err == nil {
			t.Errorf("%s: it moved the queue: %s", what, out)
		}
		for _, w := range want {
			if !strings.Contains(errs, w) {
				t.Errorf("%s: got %q, want %q in it", what, errs, w)
			}
		}
	}
	refused("a configuration with a file", "its queue is bolt", "queue postgres")
	configure("queue postgres {env.DATABASE_URL}")
	refused("a file in use", "used by another process", file, "stop the Caddy")
	s.kill()
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	refused("no key", "has no key", "`key {file."+file+".key}`")
	configure("queue postgres {env.DATABASE_URL} {\n key " + strings.Repeat("5e", 32) + "\n}")
	refused("another key", "another key than the file", "`key {file."+file+".key}`")
	configure("queue postgres {env.DATABASE_URL} {\n key {file." + file + ".key}\n}")
	out, errs, err := s.command("", "build-token", "migrate", "--config", s.file, "--adapter", "caddyfile")
	if err != nil {
		t.Fatalf("migrate: %v\n%s%s", err, out, errs)
	}
	said += out + errs
	for _, want := range []string{"queued            1\n", "builds            2\n", "logs              2, 1 KiB\n", "files             1\n", "Running on record: 1. They end as ABORTED when ci-1 starts.", "The file has not changed."} {
		if !strings.Contains(out, want) {
			t.Errorf("migrate: got %q, want %q in it", out, want)
		}
	}
	refused("the second time", "not empty", "/postgres/buildtoken", "items, builds, summaries, token_uses, lanes")
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file is not as it was, %v", err)
	}
	if strings.Contains(said, password) || strings.Contains(said, string(bytes.TrimSpace(key))) {
		t.Errorf("a secret is shown:\n%s", said)
	}

	s.start()
	if _, _, log := s.get("/buildByToken/log?job=hello&token=secret&item=1"); log != first {
		t.Errorf("log of a build before the move: got %q, want %q", log, first)
	}
	if _, _, log := s.get("/buildByToken/log?job=long&token=secret&item=2"); !strings.Contains(log, "ABORTED") {
		t.Errorf("log of the build that ran: got %q", log)
	}
	if _, _, log := s.get("/buildByToken/log?job=release&token=secret&item=3"); !strings.Contains(log, "the PIN is right\n") {
		t.Errorf("log of the build that was queued: got %q", log)
	}
	if log := s.built("hello", nil); !strings.Contains(log, "SUCCESS") {
		t.Errorf("log of a new build: got %q", log)
	}

	// Migrate to another schema, and leave the logs where they are.
	s.kill()
	configure("queue postgres {env.DATABASE_URL} {\n schema other\n key {file." + file + ".key}\n}")
	out, errs, err = s.command("", "build-token", "migrate", "--config", s.file, "--adapter", "caddyfile", "--without-logs")
	_, script, told := strings.Cut(out, "before it starts:\n")
	if err != nil || !told || !strings.Contains(out, "logs              0, 0 KiB\n") {
		t.Fatalf("migrate without logs: %v\n%s%s", err, out, errs)
	}
	if text, err := exec.CommandContext(t.Context(), "sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, text)
	}
	s.start()
	if _, _, log := s.get("/buildByToken/log?job=hello&token=secret&item=1"); log != first {
		t.Errorf("log that was copied: got %q, want %q", log, first)
	}

	// The backup of a file cannot be restored into a database.
	backup := filepath.Join(s.dir, "backup")
	_, errs, err = s.command("", "build-token", "backup", backup, "--address", s.admin)
	if err == nil || !strings.Contains(errs, "pg_dump --schema=other") || !strings.Contains(errs, "which the configuration names") || strings.Contains(errs, password) {
		t.Errorf("backup: %v, %q; want pg_dump named", err, errs)
	}
	if _, err := os.Stat(backup); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("backup wrote something: %v", err)
	}
	if _, errs, err = s.command("", "build-token", "restore", backup, "--config", s.file, "--adapter", "caddyfile"); err == nil || !strings.Contains(errs, "pg_restore") {
		t.Errorf("restore: %v, %q; want pg_restore named", err, errs)
	}
}
