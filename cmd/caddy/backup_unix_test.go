//go:build unix

package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// load triggers builds of the job notes, each with a different file.
type load struct {
	*server

	last atomic.Int64
	// mu guards the following.
	mu    sync.Mutex
	items map[string]string // the content of an item's file, by the item's ID
}

// trigger queues a build and records its item.
func (l *load) trigger(query string) {
	content := fmt.Sprintf("this is file %d of its own", l.last.Add(1))
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	file, err := w.CreateFormFile("NOTES", "notes.txt")
	if err == nil {
		_, err = file.Write([]byte(content + "\n"))
	}
	if err := errors.Join(err, w.WriteField("PIN", "4711"), w.Close()); err != nil {
		l.t.Error(err)
		return
	}
	resp, err := http.Post("http://"+l.site+"/buildByToken/buildWithParameters?token=secret&job=notes"+query, w.FormDataContentType(), &form)
	if err != nil {
		l.t.Error(err)
		return
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		l.t.Errorf("trigger: got %s, want 201", resp.Status)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	parts := strings.Split(strings.TrimSuffix(resp.Header.Get("Location"), "/"), "/")
	l.items[parts[len(parts)-1]] = content
}

func (l *load) answered() map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.items)
}

// TestBackupAndRestore backs up a server while triggers and builds continue, and restores the
// backup over newer data. Everything that was answered before must be there, every build must
// have the file and the log of its own item, and old and new data must not be mixed.
func TestBackupAndRestore(t *testing.T) {
	s := newServer(t, "job notes {\n coalesce never\n quiet_period 0\n token secret {\n grant trigger log status cancel\n }\n param PIN password\n param NOTES file\n run sh -c `test \"$PIN\" = 4711 && cat NOTES`\n}\n"+
		"job long {\n quiet_period 0\n token secret {\n grant trigger log status\n }\n run sh -c `echo begun; exec sleep 1000`\n}\n")
	s.option("executors 3\n keep_builds 0")
	s.start()
	s.get("/buildByToken/build?job=long&token=secret") // runs during the backup
	s.eventually("the long build prints", func() bool {
		out, _, err := s.command("", "build-token", "log", "long", "--address", s.admin)
		return err == nil && strings.Contains(out, "begun")
	})
	l := &load{server: s, items: map[string]string{}}
	l.trigger("&delay=8000h") // waits during the backup
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					l.trigger("")
				}
			}
		})
	}
	backup := func(name string, flags ...string) (out, errs string, err error) {
		return s.command("", append([]string{"build-token", "backup", filepath.Join(s.dir, name), "--address", s.admin}, flags...)...)
	}
	s.eventually("builds have ended", func() bool { return len(l.answered()) > 20 })
	before := l.answered()
	if out, errs, err := backup("first"); err != nil || !strings.Contains(out, " files, ") {
		t.Errorf("backup: %v\n%s%s", err, out, errs)
	}
	if out, errs, err := backup("keyless", "--without-key"); err != nil {
		t.Errorf("backup without the key: %v\n%s%s", err, out, errs)
	}
	if _, errs, err := backup("first"); err == nil || !strings.Contains(errs, "exists already") {
		t.Errorf("backup over a backup: %v, %q, want it refused", err, errs)
	}
	close(stop)
	clients.Wait()

	data := filepath.Join(s.dir, "data", "caddy", "build_token")
	restore := func(name string, flags ...string) (out, errs string, err error) {
		return s.command("", append([]string{"build-token", "restore", filepath.Join(s.dir, name), "--config", s.file, "--adapter", "caddyfile"}, flags...)...)
	}
	refused := func(what, name, want string, flags ...string) {
		t.Helper()
		if out, errs, err := restore(name, flags...); err == nil || !strings.Contains(errs, want) {
			t.Errorf("restore of %s: %v\n%s%s\nwant %q", what, err, out, errs, want)
		}
	}
	refused("a backup under a running server", "first", "stop the Caddy", "--move-aside")
	s.kill()
	refused("a backup over newer data", "first", filepath.Join(data, "logs"))
	refused("a backup without its key", "keyless", "the key is not in the backup", "--move-aside")
	other := bytes.Repeat([]byte("5e"), 32)
	if err := os.WriteFile(filepath.Join(s.dir, "keyless", "queue.db.key"), other, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("a backup with another key", "keyless", "queue.db.key was changed", "--move-aside")
	refused("no backup", "data", "not a complete backup", "--move-aside")
	out, errs, err := restore("first", "--move-aside")
	if err != nil || !strings.Contains(out, "moved "+filepath.Join(data, "queue.db")+" to ") {
		t.Fatalf("restore: %v\n%s%s", err, out, errs)
	}

	s.start()
	if _, _, log := s.get("/buildByToken/log?job=long&token=secret&item=1"); !strings.Contains(log, "begun\n") || !strings.HasSuffix(log, "Finished: ABORTED\n") {
		t.Errorf("log of the build that ran: %q", log)
	}
	l.check(before, "2")
	if log := l.log("1"); !strings.Contains(log, "HTTP 404") {
		t.Errorf("item 1 is one of another job: %q", log)
	}
	// Numbers that were assigned after the backup are used again, by other builds.
	l.items = map[string]string{}
	for range 20 {
		l.trigger("")
	}
	l.check(l.answered(), "")
	for _, name := range []string{"queue.db", "queue.db.key", "logs"} {
		if found, err := filepath.Glob(filepath.Join(data, name+".before-restore-*")); err != nil || len(found) != 1 {
			t.Errorf("directories moved aside of %s: %v, %v, want one", name, found, err)
		}
	}

	// A file that has changed since the backup.
	logs, err := filepath.Glob(filepath.Join(s.dir, "first", "logs", "notes-*", "1.log"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("logs in the backup: %v, %v", logs, err)
	}
	if err := os.WriteFile(logs[0], []byte("of somebody else\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.kill()
	refused("a changed log", "first", "1.log was changed", "--move-aside")
	if err := os.Remove(filepath.Join(s.dir, "first", "SHA256SUMS")); err != nil {
		t.Fatal(err)
	}
	refused("half a backup", "first", "not a complete backup", "--move-aside")
}

// log returns the log of an item's build once it has ended, or the error.
func (l *load) log(item string) string {
	l.t.Helper()
	status, _, text := l.get("/buildByToken/log?job=notes&token=secret&item=" + item)
	if status != http.StatusOK {
		return fmt.Sprintf("HTTP %d: %s", status, text)
	}
	return text
}

// check verifies that items exist, and that the log of each has only its own file. waiting is
// an item that is not due for a long time.
func (l *load) check(items map[string]string, waiting string) {
	l.t.Helper()
	for _, item := range slices.Sorted(maps.Keys(items)) {
		if item == waiting {
			if _, _, text := l.get("/buildByToken/status?job=notes&token=secret&item=" + item); !strings.Contains(text, `"waiting"`) {
				l.t.Errorf("status of item %s, which waits: %s", item, text)
			}
			continue
		}
		log := l.log(item)
		// A build that was running when the records were copied can have ended before its log
		// was copied.
		aborted, ends := strings.HasSuffix(log, "Finished: ABORTED\n"), strings.Count(log, "Finished: ")
		whole := ends == 1 && strings.HasSuffix(log, "Finished: SUCCESS\n") && strings.Contains(log, items[item]+"\n")
		if strings.Count(log, "of its own") > 1 || !whole && (!aborted || ends > 2) {
			l.t.Errorf("log of item %s: %q, want %q alone", item, log, items[item])
		}
	}
}
