//go:build unix

package caddymodule_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

// serveAdmin serves the admin API of the configuration in force, and returns its address.
func serveAdmin(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := new(caddymodule.Admin).Routes()[0].Handler.ServeHTTP(w, r)
		if refused, ok := errors.AsType[caddy.APIError](err); ok {
			http.Error(w, refused.Err.Error(), refused.HTTPStatus)
		} else if err != nil {
			t.Errorf("%s %s: %v, which is no caddy.APIError", r.Method, r.URL, err)
		}
	}))
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// upload queues a build with a file, and returns the ID of the item.
func (s *site) upload(query, content string) string {
	s.t.Helper()
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	file, err := w.CreateFormFile("FILE", "file.txt")
	if err == nil {
		_, err = file.Write([]byte(content))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		s.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://"+s.addr+"/buildByToken/buildWithParameters?"+query, &form)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", w.FormDataContentType())
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		s.t.Fatalf("trigger with a file: got %s, want 201", resp.Status)
	}
	return filepath.Base(resp.Header.Get("Location"))
}

// begun waits until the log of a build that goes on contains a text.
func (s *site) begun(job, token, item, text string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/buildByToken/log?job="+job+"&token="+token+"&item="+item, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	var log []byte
	for buffer := make([]byte, 4096); !bytes.Contains(log, []byte(text)); {
		n, err := resp.Body.Read(buffer)
		if log = append(log, buffer[:n]...); err != nil {
			s.t.Fatalf("log of %s: %q, %v", job, log, err)
		}
	}
}

const uploading = `job done {
	token SECRET {
		grant trigger log status
	}
	param FILE file
	run cat FILE
}
job runs {
	token SECRET {
		grant trigger log status
	}
	param FILE file
	run sh -c ` + "`cat FILE; exec sleep 1000`" + `
}
job waits {
	quiet_period 1d
	coalesce never
	token SECRET
	param FILE file
	run cat FILE
}
`

// TestBackupOfARunningServer backs up a server with a build that has ended, one that runs, and
// items that wait, and restores the backup.
func TestBackupOfARunningServer(t *testing.T) {
	s := newSite(t)
	file := s.caddyfile("shutdown_timeout 0", jobs(uploading))
	s.load(file)
	dir, data := filepath.Dir(s.path), strings.TrimSuffix(s.path, ".db")
	done := s.upload("job=done&token=SECRET", "of the build that has ended\n")
	log := s.follow("done", "SECRET", done)
	runs := s.upload("job=runs&token=SECRET", "of the build that runs\n")
	s.begun("runs", "SECRET", runs, "of the build that runs\n")
	ofItems := s.uploads() // a running build has its file elsewhere
	s.upload("job=waits&token=SECRET", "of an item\n")
	missing := slices.Clone(s.uploads())
	s.upload("job=waits&token=SECRET", "of an item whose file is lost\n")
	for _, name := range s.uploads() {
		if !slices.Contains(missing, name) {
			if err := os.Remove(filepath.Join(data, "uploads", name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	address := serveAdmin(t)
	command := func(line string) ran {
		t.Helper()
		got := run(t, strings.Fields(strings.NewReplacer("{addr}", address, "{dir}", dir).Replace(line))...)
		got.Out, got.Err = strings.ReplaceAll(got.Out, dir, "{dir}"), strings.ReplaceAll(got.Err, dir, "{dir}")
		return got
	}
	check := func(line string, want ran) {
		t.Helper()
		if diff := cmp.Diff(want, command(line)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
	var names []string
	for _, name := range s.uploads() {
		names = append(names, "uploads/"+name)
	}
	if len(names) != len(ofItems)+1 {
		t.Errorf("uploads: %v, want one more than %v", names, ofItems)
	}
	names = append(names, "queue.db", "queue.db.key", "SHA256SUMS", "logs/"+job.PathElement("done")+"/1.log", "logs/"+job.PathElement("runs")+"/1.log")
	slices.Sort(names)
	for _, tt := range []struct {
		name, flag string
		key        int
	}{{"whole", "", 1}, {"keyless", " --without-key", 0}} {
		got := command("backup {dir}/" + tt.name + tt.flag + " --address {addr}")
		if want := regexp.MustCompile(fmt.Sprintf(`^\{dir\}/%s: %d files, [0-9]+ KiB\n$`, tt.name, len(names)-1+tt.key)); got.Status != 0 || !want.MatchString(got.Out) || got.Err != "" {
			t.Errorf("backup %s: %+v, want %s", tt.name, got, want)
		}
		all := filesOf(t, filepath.Join(dir, tt.name))
		if log := all["b/logs/"+job.PathElement("done")+"/1.log"]; !strings.Contains(log, "of the build that has ended\n") || !strings.HasSuffix(log, "Finished: SUCCESS\n") {
			t.Errorf("%s: log of the build that has ended: %q", tt.name, log)
		}
		if log := all["b/logs/"+job.PathElement("runs")+"/1.log"]; !strings.HasSuffix(log, "of the build that runs\n") {
			t.Errorf("%s: log of the build that runs: %q", tt.name, log)
		}
		if n := strings.Count(all["b/SHA256SUMS"], "  queue.db.key\n"); n != 1 {
			t.Errorf("%s: the sum of the key is there %d times, want once", tt.name, n)
		}
		want := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "queue.db.key" && tt.key == 0 })
		var found []string
		for name := range all {
			found = append(found, strings.TrimPrefix(name, "b/"))
		}
		slices.Sort(found)
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("files of %s (-want +got):\n%s", tt.name, diff)
		}
	}
	if found := s.uploads(); len(found) != len(ofItems)+1 {
		t.Errorf("the backup left something behind: %v", found)
	}
	logged := map[string]int{}
	for _, line := range s.logged("build_token") {
		if line["msg"] == "backup made" && line["files"] != float64(len(names)) && line["files"] != float64(len(names)-1) {
			t.Errorf("logged %v, want the number of files", line)
		}
		if text, _ := line["msg"].(string); strings.HasPrefix(text, "backup") {
			logged[text]++
		}
	}
	if diff := cmp.Diff(map[string]int{"backup made": 2, "backup: an uploaded file is missing; its build will end as NOT_BUILT": 2}, logged); diff != "" {
		t.Errorf("logged (-want +got):\n%s", diff)
	}

	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/build_token/backup", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.Header.Get("Content-Type") != "application/x-tar" {
		t.Errorf("the answer of the admin API has the type %s, error %v, want application/x-tar", answer.Header.Get("Content-Type"), err)
	}
	answer.Body.Close()

	check("restore {dir}/whole --to {dir}/queue.db --move-aside", ran{1, "", "boltqueue: file is used by another process: {dir}/queue.db; stop the Caddy that runs with it"})
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	check("restore {dir}/whole --to {dir}/queue.db", ran{1, "", `there is data already, and mixing it with the backup would show logs of other builds: ["{dir}/queue.db" "{dir}/queue.db.key" "{dir}/queue/logs" "{dir}/queue/uploads"]; use --move-aside to rename it, or name another file with --to`})
	got := command("restore {dir}/whole --to {dir}/queue.db --move-aside")
	got.Out = regexp.MustCompile(`\.before-restore-\d{8}-\d{6}\n`).ReplaceAllString(got.Out, ".aside\n")
	if diff := cmp.Diff(ran{0, `moved {dir}/queue.db to {dir}/queue.db.aside
moved {dir}/queue.db.key to {dir}/queue.db.key.aside
moved {dir}/queue/logs to {dir}/queue/logs.aside
moved {dir}/queue/uploads to {dir}/queue/uploads.aside
restored {dir}/queue.db: ` + fmt.Sprint(len(names)-1) + ` files
Now start Caddy. What is queued builds again.
`, ""}, got); diff != "" {
		t.Errorf("restore (-want +got):\n%s", diff)
	}
	s.load(file)
	if again := s.follow("done", "SECRET", done); again != log {
		t.Errorf("log after the restore: %q, want %q", again, log)
	}
	if q := status(t).Queues[0]; q.Queued != 2 {
		t.Errorf("after the restore, %d items are queued, want 2", q.Queued)
	}
	if found := s.uploads(); len(found) != 1 {
		t.Errorf("uploads after the restore: %v, want that of the item that waits", found)
	}
}

// uploads lists the uploaded files of the site.
func (s *site) uploads() (names []string) {
	s.t.Helper()
	found, err := os.ReadDir(filepath.Join(strings.TrimSuffix(s.path, ".db"), "uploads"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range found {
		names = append(names, f.Name())
	}
	return names
}

// TestBackupThatCannotBeMade takes away, one after another, what a backup consists of.
func TestBackupThatCannotBeMade(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("shutdown_timeout 0", jobs(uploading)))
	s.follow("done", "SECRET", s.upload("job=done&token=SECRET", "x"))
	s.begun("runs", "SECRET", s.upload("job=runs&token=SECRET", "of the build that runs\n"), "of the build that runs\n")
	running := s.uploads()[0]
	s.upload("job=waits&token=SECRET", "of an item\n")
	dir, data := filepath.Dir(s.path), strings.TrimSuffix(s.path, ".db")
	address := serveAdmin(t)
	waiting := slices.DeleteFunc(s.uploads(), func(name string) bool { return name == running })[0]
	log, ofBuild, ofItem := "logs/"+job.PathElement("done")+"/1.log", "uploads/"+running, "uploads/"+waiting
	for _, tt := range []struct{ name, path, flag, logged string }{
		{"a key that is missing", s.path + ".key", "", "back up: open " + s.path + ".key: no such file or directory"},
		{"a key that is missing, and is not wanted", s.path + ".key", "--without-key", "back up: open " + s.path + ".key: no such file or directory"},
		{"a key that cannot be read", s.path + ".key", "", "back up queue.db.key: read " + s.path + ".key: is a directory"},
		{"a key that cannot be read, and is not wanted", s.path + ".key", "--without-key", "back up: read " + s.path + ".key: is a directory"},
		{"a log that cannot be read", filepath.Join(data, log), "", "back up " + log + ": read " + filepath.Join(data, log) + ": is a directory"},
		{"an upload that cannot be read", filepath.Join(data, ofItem), "", "back up " + ofItem + ": read " + filepath.Join(data, ofItem) + ": is a directory"},
		{"an upload of a running build that cannot be read", filepath.Join(data, ofBuild), "", "back up " + ofBuild + ": read " + filepath.Join(data, ofBuild) + ": is a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.Rename(tt.path, tt.path+".aside"); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(tt.name, "missing") {
				if err := os.Mkdir(tt.path, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			got := run(t, strings.Fields("backup "+filepath.Join(dir, "b")+" --address "+address+" "+tt.flag)...)
			if got.Status != 1 || got.Out != "" || !strings.HasPrefix(got.Err, "back up to ") {
				t.Errorf("backup: %+v, want it refused", got)
			}
			lines := s.logged("build_token")
			if last := lines[len(lines)-1]; last["msg"] != "backup failed" || last["error"] != tt.logged {
				t.Errorf("the last line of the log is %v, want %q", last, tt.logged)
			}
			_ = os.Remove(tt.path) // if it is a directory
			if err := os.Rename(tt.path+".aside", tt.path); err != nil {
				t.Fatal(err)
			}
			if found := s.uploads(); len(found) != 2 {
				t.Errorf("uploads: %v, want two", found)
			}
		})
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(data, "uploads")), os.WriteFile(filepath.Join(data, "uploads"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	got := run(t, "backup", filepath.Join(dir, "b"), "--address", address)
	if want := (ran{1, "", "back up: mkdir " + filepath.Join(data, "uploads") + ": not a directory (503)"}); got != want {
		t.Errorf("backup without a place for a copy: %+v, want %+v", got, want)
	}
	if err := os.Remove(filepath.Join(data, "uploads")); err != nil {
		t.Fatal(err)
	}
}

// hooked is the writer of an answer that calls a function before it takes a text with a mark in it.
type hooked struct {
	httptest.ResponseRecorder
	mark string
	call func() error
}

func (h *hooked) Write(text []byte) (int, error) {
	if h.call != nil && bytes.Contains(text, []byte(h.mark)) {
		call := h.call
		h.call = nil
		if err := call(); err != nil {
			return 0, err
		}
	}
	return h.Body.Write(text)
}

// backUp makes a backup and returns its files, or nil if the answer is broken off.
func (h *hooked) backUp(ctx context.Context, t *testing.T) (files map[string]string) {
	t.Helper()
	defer func() {
		why := recover()
		if err, _ := why.(error); why != nil && !errors.Is(err, http.ErrAbortHandler) {
			panic(why)
		}
	}()
	h.ResponseRecorder = *httptest.NewRecorder()
	if err := new(caddymodule.Admin).Routes()[0].Handler.ServeHTTP(h, httptest.NewRequestWithContext(ctx, http.MethodPost, "/build_token/backup", nil)); err != nil {
		t.Errorf("backup: %v", err)
	}
	all := map[string]string{}
	for from := tar.NewReader(h.Body); ; {
		header, err := from.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(from)
		if err != nil {
			t.Fatal(err)
		}
		all[header.Name] = string(text)
	}
}

// TestBackupThatBreaksOff has clients that leave in the middle of a backup. It must not end as if it were
// complete.
func TestBackupThatBreaksOff(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("", jobs(named("SECRET"))))
	s.follow("echo", "SECRET", s.trigger("echo", "SECRET"))
	ctx, cancel := context.WithCancelCause(t.Context())
	left := errors.New("the client has left")
	log := "logs/" + job.PathElement("echo") + "/1.log"
	for _, tt := range []struct {
		name, mark string
		call       func() error
		want       string
	}{
		{"at the queue", "queue.db", func() error { return left }, "back up queue.db: the client has left"},
		{"at a log", log, func() error { return left }, "back up " + log + ": the client has left"},
		{"at the sums", "SHA256SUMS", func() error { return left }, "back up SHA256SUMS: the client has left"},
		{"between two files", "queue.db", func() error { cancel(left); return nil }, "the client has left"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if files := (&hooked{mark: tt.mark, call: tt.call}).backUp(ctx, t); files != nil {
				t.Errorf("the answer was not broken off; it has %d files", len(files))
			}
			lines := s.logged("build_token")
			if last := lines[len(lines)-1]; last["msg"] != "backup failed" || last["error"] != tt.want {
				t.Errorf("the last line of the log is %v, want %q", last, tt.want)
			}
		})
	}
}

// TestBackupOfALogThatChanges changes the log of a running build while the queue is sent.
func TestBackupOfALogThatChanges(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("shutdown_timeout 0", jobs("job runs {\n token SECRET {\n grant trigger log\n }\n run sh -c `echo hello; exec sleep 1000`\n}\n")))
	s.begun("runs", "SECRET", s.trigger("runs", "SECRET"), "hello\n")
	name := "logs/" + job.PathElement("runs") + "/1.log"
	path := filepath.Join(strings.TrimSuffix(s.path, ".db"), filepath.FromSlash(name))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name         string
		first, later func() error
		want         string
	}{
		{"a log that grows", func() error { return nil }, func() error { return os.WriteFile(path, append(before, "more\n"...), 0o600) }, string(before)},
		{"a log that is shortened", func() error { return nil }, func() error { return os.Truncate(path, 3) }, string(before[:3])},
		{"a log that did not exist yet", func() error { return os.Rename(path, path+".aside") }, func() error { return os.Rename(path+".aside", path) }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.first(); err != nil {
				t.Fatal(err)
			}
			files := (&hooked{mark: "queue.db", call: tt.later}).backUp(t.Context(), t)
			if log, ok := files[name]; !ok || log != tt.want {
				t.Errorf("the log in the backup is %q, want %q", log, tt.want)
			}
			if sum := fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(tt.want)), name); !strings.Contains(files["SHA256SUMS"], sum) {
				t.Errorf("the sums are %q, want %q in them", files["SHA256SUMS"], sum)
			}
		})
	}
}

// TestBackupHoldsItsFiles cancels an item while the queue is sent, in which it still waits: its file must be in the
// backup.
func TestBackupHoldsItsFiles(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("", jobs(uploading)))
	item := s.upload("job=waits&token=SECRET", "of an item\n")
	name := "uploads/" + s.uploads()[0]
	h := &hooked{mark: "queue.db", call: func() error {
		if code, text := adminAnswer(t, "POST buildByToken/cancel?job=waits&item="+item); code != http.StatusNoContent {
			t.Errorf("cancel: got %d %s", code, text)
		}
		return nil
	}}
	if files := h.backUp(t.Context(), t); files[name] != "of an item\n" {
		t.Errorf("the file of the item is %q, want its content", files[name])
	}
}
