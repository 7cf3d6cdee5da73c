package buildtoken_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// openLog opens the log of a build.
func (s *site) openLog(full string, number int64) *console.Reader {
	s.t.Helper()
	r, err := s.Log(s.t.Context(), full, number)
	if err != nil {
		s.t.Fatalf("Log(%s, %d) = %v", full, number, err)
	}
	s.t.Cleanup(func() { _ = r.Close() })
	return r
}

// dictated is a runner whose build writes the texts that it receives, and ends with an empty
// one.
type dictated chan string

// say returns when the text is in the log.
func (w dictated) say(text string) {
	w <- text
	<-w
}

func (w dictated) end() { w <- "" }

func (w dictated) Run(ctx context.Context, _ runner.Build, log io.Writer) runner.Result {
	for {
		select {
		case text := <-w:
			if text == "" {
				return runner.Result{Outcome: runner.Success}
			}
			io.WriteString(log, text)
			w <- text
		case <-ctx.Done():
			return runner.Result{Outcome: runner.Aborted, Reason: context.Cause(ctx).Error()}
		}
	}
}

func TestLogIsLiveOnEveryServer(t *testing.T) {
	app := make(dictated)
	c := newCluster(t, labelled("app", "a", app))
	b, a := c.join("b"), c.join("a")
	item := b.trigger("app").Item.ID
	app.say("one\n")
	here, there := a.openLog("app", 1), b.openLog("app", 1)
	var text bytes.Buffer
	for i, say := range []string{"", "two ", "and \xff bytes\n"} {
		if i > 0 {
			app.say(say)
		}
		for int64(text.Len()) < here.Size() {
			size, complete, err := there.Wait(t.Context(), int64(text.Len()))
			if err != nil || complete {
				t.Fatalf("Wait(%d) = %d, %v, %v", text.Len(), size, complete, err)
			}
			p := make([]byte, size-int64(text.Len()))
			if _, err := there.ReadAt(p, int64(text.Len())); err != nil {
				t.Fatal(err)
			}
			text.Write(p)
		}
	}
	app.end()
	if _, err := console.Follow(t.Context(), there, int64(text.Len()), func(p []byte) error {
		_, err := text.Write(p)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	a.ended(item)
	want := "Started by remote host \none\ntwo and \xff bytes\nFinished: SUCCESS\n"
	if _, after, _ := bytes.Cut(text.Bytes(), []byte("\n")); "Started by remote host \n"+string(after) != want {
		t.Errorf("followed on the other server: %q, want %q", text.String(), want)
	}
	for name, r := range map[string]*console.Reader{"live here": here, "live there": there, "later here": a.openLog("app", 1), "later there": b.openLog("app", 1)} {
		all := make([]byte, r.Size())
		if _, err := r.ReadAt(all, 0); err != nil || !r.Complete() || !bytes.Equal(all, text.Bytes()) {
			t.Errorf("%s: %q, %v, complete %v; want %q", name, all, err, r.Complete(), text.String())
		}
		// Read a part, and a part that extends beyond the end.
		p := make([]byte, 10)
		if n, err := r.ReadAt(p, int64(len(all))-4); n != 4 || !errors.Is(err, io.EOF) || string(p[:n]) != "ESS\n" {
			t.Errorf("%s: end is %q, %v", name, p[:n], err)
		}
	}
	if err := a.Close(); err != nil { // returns when uploads and logs are removed
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(a.dir, "logs", job.PathElement("app"), "1.log")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file of the log is still there: %v", err)
	}
}

// prints returns a runner whose build writes that many random bytes and sends their digest.
func prints(bytes int, sum chan<- string) runs {
	return func(_ context.Context, b runner.Build, log io.Writer) runner.Result {
		random := rand.NewChaCha8([32]byte{byte(b.Number)})
		h := sha256.New()
		io.CopyN(io.MultiWriter(log, h), random, int64(bytes))
		sum <- hex.EncodeToString(h.Sum(nil))
		return runner.Result{Outcome: runner.Success}
	}
}

// TestLargeLogIsTheSameOnEveryServer follows a log that is much larger than the part that is
// kept in memory, and reads it again from several offsets.
func TestLargeLogIsTheSameOnEveryServer(t *testing.T) {
	const size = 8 << 20
	sum := make(chan string, 1)
	c := newCluster(t, labelled("app", "a", prints(size, sum)))
	b, a := c.join("b"), c.join("a")
	a.ended(a.trigger("app").Item.ID)
	want := <-sum
	r := b.openLog("app", 1)
	first := make([]byte, 100)
	n, _ := r.ReadAt(first, 0)
	from := int64(bytes.IndexByte(first[:n], '\n') + 1)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			h := sha256.New()
			_, err := io.Copy(h, io.NewSectionReader(r, from, size))
			if got := hex.EncodeToString(h.Sum(nil)); err != nil || got != want {
				t.Errorf("read on the other server: digest %s, %v; want %s", got, err, want)
			}
		})
	}
	readers.Wait()
}

// TestLogIsCompleteAfterTheDatabaseWasAway writes to the log before, during and after an outage
// of the database, and ends the build during the outage.
func TestLogIsCompleteAfterTheDatabaseWasAway(t *testing.T) {
	app := make(dictated)
	c := newCluster(t, labelled("app", "a", app))
	b, a := c.join("b"), c.join("a")
	item := b.trigger("app").Item.ID
	r := func() *console.Reader {
		app.say("before\n")
		return b.openLog("app", 1)
	}()
	if _, _, err := r.Wait(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := c.pg.Crash(); err != nil {
		t.Fatal(err)
	}
	app.say("while\n")
	app.end()
	if _, err := b.Log(t.Context(), "app", 1); !errors.Is(err, queue.ErrStorage) {
		t.Errorf("Log without a database: %v, want %v", err, queue.ErrStorage)
	}
	if err := c.pg.Run(); err != nil {
		t.Fatal(err)
	}
	a.ended(item)
	var text bytes.Buffer
	if _, err := console.Follow(t.Context(), r, 0, func(p []byte) error { text.Write(p); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, after, _ := strings.Cut(text.String(), "\n"); after != "before\nwhile\nFinished: SUCCESS\n" {
		t.Errorf("followed: %q", after)
	}
	for _, s := range []*site{a, b} {
		if got := strings.Join(s.log("app", 1), "\n") + "\n"; got != text.String() {
			t.Errorf("log on %s: %q, want %q", s.dir, got, text.String())
		}
	}
}

// TestRestartBringsTheRestOfLostLogs starts with what a killed process leaves: a running build
// on record, its log file, and the beginning of the log in the queue.
func TestRestartBringsTheRestOfLostLogs(t *testing.T) {
	c := newCluster(t, labelled("app", "a", succeeds()))
	q, dir := c.queue("a"), t.TempDir()
	now := time.Now()
	if _, _, err := q.Schedule(t.Context(), now, queue.Request{Job: "app"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := q.Claim(t.Context(), now, queue.Node{Name: "a"}, []int{0}); err != nil {
		t.Fatal(err)
	}
	w, err := console.New(filepath.Join(dir, "logs")).Create(job.PathElement("app"), 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Line("shipped")
	if _, err := q.AppendLog(t.Context(), "app", 1, 0, []byte("shipped\n"), false); err != nil {
		t.Fatal(err)
	}
	w.Line("only in the file")
	w.Close()
	a := c.start("a", dir, q)
	want := []string{"shipped", "only in the file", "lost: the server stopped while the build was running", "Finished: ABORTED"}
	if diff := cmp.Diff(want, a.log("app", 1)); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(dir, "logs", job.PathElement("app"), "1.log")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file of the log is still there: %v", err)
	}
}

// TestLogOfALostServerEnds kills a server while another one follows its build, and starts it
// again.
func TestLogOfALostServerEnds(t *testing.T) {
	c := newCluster(t, labelled("app", "a", succeeds()))
	b := c.join("b")
	item := b.trigger("app").Item.ID
	a := c.queue("a")
	if builds, _, err := a.Claim(t.Context(), time.Now(), queue.Node{Name: "a"}, []int{0}); err != nil || len(builds) != 1 {
		t.Fatalf("Claim: %v, %v", builds, err)
	}
	if _, err := a.AppendLog(t.Context(), "app", 1, 0, []byte("half a li"), false); err != nil {
		t.Fatal(err)
	}
	r := b.openLog("app", 1)
	if size, complete, err := r.Wait(t.Context(), 0); err != nil || complete || size != 9 {
		t.Fatalf("Wait = %d, %v, %v", size, complete, err)
	}
	if err := a.Close(); err != nil { // without recording the end of the build
		t.Fatal(err)
	}
	var text strings.Builder
	if _, err := console.Follow(t.Context(), r, 0, func(p []byte) error { text.Write(p); return nil }); err != nil {
		t.Fatal(err)
	}
	build := b.ended(item)
	if want := "half a li\n" + build.Reason + "\nFinished: ABORTED\n"; text.String() != want || build.Result != queue.Aborted {
		t.Errorf("followed: %q, want %q", text.String(), want)
	}
	dir := t.TempDir()
	w, err := console.New(filepath.Join(dir, "logs")).Create(job.PathElement("app"), 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Line("half a line, and more that nobody has seen")
	w.Close()
	again := c.start("a", dir, c.queue("a"))
	for _, s := range []*site{again, b} {
		if got := strings.Join(s.log("app", 1), "\n") + "\n"; got != text.String() {
			t.Errorf("log after the server came back: %q, want %q", got, text.String())
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "logs", job.PathElement("app"), "1.log")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file of the log is still there: %v", err)
	}
}

// TestFileOfARestoredQueueKeepsNoBuildFromStarting starts with a log file whose build number is
// used again.
func TestFileOfARestoredQueueKeepsNoBuildFromStarting(t *testing.T) {
	c := newCluster(t, labelled("app", "a", succeeds()))
	dir := t.TempDir()
	w, err := console.New(filepath.Join(dir, "logs")).Create(job.PathElement("app"), 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Line("of another build")
	w.Close()
	a := c.start("a", dir, c.queue("a"))
	a.ended(a.trigger("app").Item.ID)
	if got := a.log("app", 1); len(got) != 2 || got[1] != "Finished: SUCCESS" {
		t.Errorf("log: %q", got)
	}
}

// TestBuildEndsWithoutTheRestOfItsLog truncates the log file while the build is running.
func TestBuildEndsWithoutTheRestOfItsLog(t *testing.T) {
	app := make(dictated)
	c := newCluster(t, labelled("app", "a", app))
	a := c.join("a")
	b := c.join("b")
	item := a.trigger("app").Item.ID
	app.say("one\n")
	r, shipped := b.openLog("app", 1), int64(0)
	for size := a.openLog("app", 1).Size(); shipped < size; {
		var err error
		if shipped, _, err = r.Wait(t.Context(), shipped); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(filepath.Join(a.dir, "logs", job.PathElement("app"), "1.log"), 0); err != nil {
		t.Fatal(err)
	}
	app.say("two\n")
	app.end()
	if build := a.ended(item); build.Result != queue.Success {
		t.Errorf("build: %s, %s", build.Result, build.Reason)
	}
	want := []string{"one", "", "[the rest is missing: the file of the log can't be read]", "Finished: SUCCESS"}
	if diff := cmp.Diff(want, b.log("app", 1)[1:]); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// TestEarlierLogsAreStillRead reads a log file of a build that ran before the queue kept logs.
func TestEarlierLogsAreStillRead(t *testing.T) {
	c := newCluster(t, labelled("app", "a", succeeds()))
	dir := t.TempDir()
	a := c.start("a", dir, c.queue("a"))
	a.ended(a.trigger("app").Item.ID)
	if err := a.Close(); err != nil { // it removes its file of the log after it has recorded the end
		t.Fatal(err)
	}
	a = c.start("a", dir, c.queue("a"))
	if _, err := pgtest.Connect(t, c.pg.URL()).Exec(t.Context(), "delete from "+c.schema+".logs"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Log(t.Context(), "app", 1); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("Log of a build that has none: %v, want %v", err, queue.ErrNotFound)
	}
	w, err := console.New(filepath.Join(dir, "logs")).Create(job.PathElement("app"), 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Line("of before")
	w.Close()
	if got := a.log("app", 1); len(got) != 1 || got[0] != "of before" {
		t.Errorf("log: %q", got)
	}
}

// stored returns how many files the queue keeps.
func (c *cluster) stored() (n int) {
	c.t.Helper()
	row := pgtest.Connect(c.t, c.pg.URL()).QueryRow(c.t.Context(), "select count(distinct ref) from "+c.schema+".uploads")
	if err := row.Scan(&n); err != nil {
		c.t.Fatal(err)
	}
	return n
}

// TestFilesReachTheServerThatBuilds triggers builds with files on one server, and runs them on
// another one.
func TestFilesReachTheServerThatBuilds(t *testing.T) {
	contents := map[string]string{"text": "of a file", "empty": "", "several parts": strings.Repeat("0123456789abcdef", 50_000)}
	read := make(chan string, 1)
	app := labelled("app", "a", runs(func(_ context.Context, b runner.Build, _ io.Writer) runner.Result {
		content, err := os.ReadFile(b.Params[0].File)
		if err != nil {
			return runner.Result{Outcome: runner.Failure, Reason: err.Error()}
		}
		read <- string(content)
		return runner.Result{Outcome: runner.Success}
	}))
	app.Params = []job.Param{{Name: "F", Kind: job.KindFile}}
	c := newCluster(t, app)
	b := c.join("b")
	with := func(content string) func(*buildtoken.Trigger) {
		return func(t *buildtoken.Trigger) {
			values()(t)
			t.Files = map[string]buildtoken.Upload{"F": upload("notes.txt", content)}
		}
	}
	var items []int64
	for _, content := range contents {
		items = append(items, b.trigger("app", with(content)).Item.ID)
	}
	cancelled := b.trigger("app", with("cancelled"), delayed("1h")).Item.ID
	if got := c.stored(); got != 4 {
		t.Errorf("%d files are stored, want 4", got)
	}
	if err := b.Cancel(t.Context(), "app", cancelled, "user alice"); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the body ended early")
	b.refused(broken, ask("app", values(), func(t *buildtoken.Trigger) {
		t.Files = map[string]buildtoken.Upload{"F": {Open: func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader("a"), iotest.ErrReader(broken))), nil
		}}}
	}))
	if got := c.stored(); got != 3 {
		t.Errorf("after one build was cancelled and another one refused, %d files are stored, want 3", got)
	}
	// An item that was queued before the queue kept files has its file on the server that took
	// the trigger.
	rows, err := pgtest.Connect(t, c.pg.URL()).Query(t.Context(), "delete from "+c.schema+".uploads where body = 'of a file' returning ref")
	if err != nil {
		t.Fatal(err)
	}
	moved, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(moved) != 1 {
		t.Fatal(moved, err)
	}
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "uploads"), 0o700), os.WriteFile(filepath.Join(dir, "uploads", moved[0]), []byte("of a file"), 0o600)); err != nil {
		t.Fatal(err)
	}
	a := c.start("a", dir, c.queue("a"))
	got := map[string]bool{}
	for range contents {
		got[<-read] = true
	}
	for name, content := range contents {
		if !got[content] {
			t.Errorf("the build did not read the file %q", name)
		}
	}
	for _, id := range items {
		if build := a.ended(id); build.Result != queue.Success {
			t.Errorf("build %d: %s, %s", build.Number, build.Result, build.Reason)
		}
	}
	if err := a.Close(); err != nil { // returns when uploads and logs are removed
		t.Fatal(err)
	}
	if left := append(a.uploads(), b.uploads()...); c.stored() != 0 || len(left) != 0 {
		t.Errorf("left after the builds: %d in the queue, %.100q in files", c.stored(), left)
	}
}

// TestSweepRemovesOnlyOldUnusedFiles opens servers while a trigger has stored its file and is
// not queued yet.
func TestSweepRemovesOnlyOldUnusedFiles(t *testing.T) {
	app := labelled("app", "", succeeds())
	app.Params = []job.Param{{Name: "F", Kind: job.KindFile}}
	c := newCluster(t, app)
	q := c.queue("a")
	a := c.start("a", t.TempDir(), q)
	a.trigger("app", values(), delayed("1h"), func(t *buildtoken.Trigger) {
		t.Files = map[string]buildtoken.Upload{"F": upload("a", "queued")}
	})
	for _, ref := range []string{"in flight", "left by a crash"} {
		if err := q.PutFile(t.Context(), ref, strings.NewReader(ref)); err != nil {
			t.Fatal(err)
		}
	}
	const old = " set made = made - interval '61 minutes' where ref <> 'in flight'"
	if _, err := pgtest.Connect(t, c.pg.URL()).Exec(t.Context(), "update "+c.schema+".uploads"+old); err != nil {
		t.Fatal(err)
	}
	c.join("b")
	if got := c.stored(); got != 2 {
		t.Errorf("%d files are stored, want that of the item and that of the trigger", got)
	}
	if err := q.GetFile(t.Context(), "left by a crash", io.Discard); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("GetFile of a swept file: %v, want %v", err, queue.ErrNotFound)
	}
}

func TestServersNeedTheSameKey(t *testing.T) {
	c := newCluster(t, labelled("app", "", succeeds()))
	openWith := func(key vault.Key) (*buildtoken.Controller, error) {
		return buildtoken.Open(t.Context(), buildtoken.Options{Queue: c.queue("a"), Dir: t.TempDir(), SealKey: key})
	}
	first, second := vault.NewKey(), vault.NewKey()
	for _, step := range []struct {
		name   string
		key    vault.Key
		queue  bool // queue an item afterwards
		finish bool // remove it afterwards
		want   error
	}{
		{"the first key is that of the queue", first, false, false, nil},
		{"another key, while nothing is queued", second, true, false, nil},
		{"the same, with something queued", second, false, false, nil},
		{"another key, while an item is queued", first, false, false, pgqueue.ErrKey},
		{"still the same", second, false, true, nil},
		{"another key, when the item is gone", first, false, false, nil},
	} {
		ctl, err := openWith(step.key)
		if !errors.Is(err, step.want) {
			t.Fatalf("%s: %v, want %v", step.name, err, step.want)
		}
		if err != nil {
			if !strings.Contains(err.Error(), "what is queued") || !strings.Contains(err.Error(), "key {file") {
				t.Errorf("%s: %v, want the reason and what to do", step.name, err)
			}
			continue
		}
		d := define(t, c.spec())
		if _, err := ctl.Attach(t.Context(), buildtoken.Config{Sites: []*definition.Site{d}}); err != nil {
			t.Fatal(err)
		}
		if step.queue {
			if _, err := ctl.Trigger(t.Context(), d, ask("app", delayed("1h"))); err != nil {
				t.Fatal(err)
			}
		}
		if step.finish {
			if err := ctl.Cancel(t.Context(), "app", 1, "user alice"); err != nil {
				t.Fatal(err)
			}
		}
		other := c.queue("b")
		if err := other.UseKey(t.Context(), []byte("another")); !errors.Is(err, pgqueue.ErrKey) || !strings.Contains(err.Error(), "other servers use that (a)") {
			t.Errorf("%s: a second server with another key: %v, want %v", step.name, err, pgqueue.ErrKey)
		}
		if err := errors.Join(other.Close(), ctl.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
