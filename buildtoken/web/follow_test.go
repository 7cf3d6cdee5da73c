package web_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// stranger is a client that has disconnected: writes to it fail.
type stranger struct{ *httptest.ResponseRecorder }

func (stranger) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// startFollowing queues a build and follows its log. ended receives the panic value of the
// handler.
func startFollowing(s *scenario, w http.ResponseWriter) (ended chan any) {
	s.send(s.request([]string{"POST /buildByToken/build?job=plain&token=TacoTuesday"}))
	ended = make(chan any, 1)
	r := s.request([]string{"GET /buildByToken/log?job=plain&token=LookAtMe&item=1"})
	go func() {
		defer func() { ended <- recover() }()
		s.api.Serve(w, r)
	}()
	synctest.Wait()
	return ended
}

func TestLogEndsWhenTheClientIsGone(t *testing.T) {
	bubble(t, func(s *scenario) {
		ended := startFollowing(s, stranger{httptest.NewRecorder()})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		select {
		case got := <-ended:
			if got != nil {
				t.Errorf("the handler panicked with %v", got)
			}
		default:
			t.Error("the handler goes on")
		}
	})
}

func TestLogIsCutWhenTheQueueFails(t *testing.T) {
	for name, course := range map[string][]string{
		"before the build starts":                   {"unreadable", "advance 5s"},
		"after the log, before the end is recorded": {"advance 5s", "unrecordable", "finish plain#1 SUCCESS", "unreadable", "recordable", "advance 10s"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scenario) {
				ended := startFollowing(s, httptest.NewRecorder())
				for _, line := range course {
					s.direct(line)
				}
				select {
				case got := <-ended:
					if got != any(http.ErrAbortHandler) {
						t.Errorf("the handler panicked with %v, want http.ErrAbortHandler: the client must see that the log is incomplete", got)
					}
				default:
					t.Error("the handler goes on")
				}
			})
		})
	}
}

// TestBuildLeavesTheRecord follows logs to their end. When the end of the build is to be read, the record is another one.
func TestBuildLeavesTheRecord(t *testing.T) {
	const gone = "\n[the log ends here: its build is not on record any more]\n"
	for name, tt := range map[string]struct {
		now        func(queue.Entry) (queue.Entry, error)
		last, ends string
	}{
		"dropped, since many builds came after it": {func(queue.Entry) (queue.Entry, error) { return queue.Entry{}, queue.ErrNotFound }, "", `{"state":"running","build":1,"result":null}`},
		"queued again": {func(e queue.Entry) (queue.Entry, error) {
			return queue.Entry{Item: e.Item, State: queue.Waiting}, nil
		}, gone, `{"state":"waiting","build":null,"result":null}`},
		"cancelled": {func(e queue.Entry) (queue.Entry, error) {
			return queue.Entry{Item: e.Item, State: queue.Left, Cancelled: &queue.Cancelled{}}, nil
		}, "Cancelled before it was started\n", `{"state":"cancelled","build":null,"result":null}`},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scenario) {
				s.send(s.request([]string{"POST /buildByToken/build?job=plain&token=TacoTuesday"}))
				time.Sleep(definition.DefaultQuietPeriod)
				plain := s.send(s.request([]string{"GET /buildByToken/log?job=plain&token=LookAtMe&item=1"}))
				events := s.send(s.request([]string{"GET /buildByToken/log?job=plain&token=LookAtMe&item=1", "Accept: text/event-stream"}))
				s.direct("unrecordable")
				s.direct("finish plain#1 SUCCESS")
				s.queue.setBack.Store(&tt.now)
				s.direct("recordable")
				time.Sleep(10 * time.Second)
				synctest.Wait()
				s.queue.setBack.Store(nil)
				if got := plain.body(); !strings.HasSuffix(got, "Finished: SUCCESS\n"+tt.last) || !plain.hasEnded() {
					t.Errorf("log = %q, ended %v; want it to end with %q", got, plain.hasEnded(), tt.last)
				}
				if got := events.body(); !strings.HasSuffix(got, "event: end\nid: end\ndata: "+tt.ends+"\n\n") || !events.hasEnded() {
					t.Errorf("events = %q, ended %v; want %s at the end", got, events.hasEnded(), tt.ends)
				}
			})
		})
	}
}

// A client that receives a part of a log must see that it is not all, whichever way it reads it.
func TestLogThatCannotBeReadToItsEndIsCut(t *testing.T) {
	for _, path := range []string{
		"/job/plain/1/consoleText",
		"/job/plain/1/consoleText?ansi=none",
		"/job/plain/1/logText/progressiveText",
		"/job/plain/1/logText/progressiveText?start=150000",
		"/job/plain/1/logText/progressiveHtml",
		"/buildByToken/log?job=plain&token=LookAtMe&item=1",
	} {
		t.Run(path, func(t *testing.T) {
			bubble(t, func(s *scenario) {
				s.user = "reader"
				s.send(s.request([]string{"POST /buildByToken/build?job=plain&token=TacoTuesday"}))
				time.Sleep(definition.DefaultQuietPeriod)
				synctest.Wait()
				s.direct(`print plain#1 "` + strings.Repeat("0123456789abcde\\n", 20_000) + `"`)
				// Another program truncates the file, as if a disk could read only its beginning.
				if err := os.Truncate(filepath.Join(s.dir, "logs", job.PathElement("plain"), "1.log"), 100_000); err != nil {
					t.Fatal(err)
				}
				core, logs := observer.New(zap.WarnLevel)
				s.api.Log = zap.New(core)
				w := httptest.NewRecorder()
				defer func() {
					if all := logs.FilterMessage("log could not be sent to its end").All(); len(all) != 1 || all[0].ContextMap()["job"] != "plain" {
						t.Errorf("logged %v, want a warning about the job", logs.All())
					}
					if got := recover(); got != any(http.ErrAbortHandler) {
						t.Errorf("the handler panicked with %v, want http.ErrAbortHandler; status %d with %d bytes, X-Text-Size %q", got, w.Code, w.Body.Len(), w.Header().Get("X-Text-Size"))
					}
				}()
				s.api.Serve(w, s.request([]string{"GET " + path}))
			})
		})
	}
}

// TestFollowersOfOneLogSeeTheSame starts many followers at different times.
func TestFollowersOfOneLogSeeTheSame(t *testing.T) {
	bubble(t, func(s *scenario) {
		s.send(s.request([]string{"POST /buildByToken/build?job=plain&token=TacoTuesday"}))
		var all []*exchange
		follow := func() {
			all = append(all, s.send(s.request([]string{"GET /buildByToken/log?job=plain&token=LookAtMe&item=1"})))
		}
		for range 20 {
			follow()
		}
		time.Sleep(6 * time.Second)
		for range 20 {
			follow()
			s.direct(`print plain#1 "a line\n"`)
		}
		s.direct("finish plain#1 SUCCESS")
		follow()
		time.Sleep(time.Second)
		synctest.Wait()
		for i, x := range all {
			if !x.hasEnded() || x.body() != all[0].body() || len(x.body()) < 20*len("a line\n") {
				t.Errorf("follower %d: ended %v, %q, want %q", i, x.hasEnded(), x.body(), all[0].body())
			}
		}
	})
}

// relayed is a runner whose builds end once they were resumed after a restart.
type relayed struct{}

func (relayed) Remote() {}

func (relayed) Run(ctx context.Context, b runner.Build, log io.Writer) runner.Result {
	if b.Handle != nil {
		fmt.Fprintln(log, "the rest")
		return runner.Result{Outcome: runner.Success}
	}
	fmt.Fprintln(log, "begun")
	if err := b.Save([]byte("handle")); err != nil {
		return runner.Result{Outcome: runner.Failure, Reason: err.Error()}
	}
	<-ctx.Done()
	return runner.Result{Outcome: runner.Aborted, Reason: context.Cause(ctx).Error()}
}

// TestLogIsFollowedBeforeItsBuildIsResumed follows the log of a build after a restart, at the instant before its runner
// continues: then nothing writes the log, as if it were complete.
func TestLogIsFollowedBeforeItsBuildIsResumed(t *testing.T) {
	const text = "Started by remote host 192.0.2.1\nbegun\nResumed after a restart of the server\nthe rest\nFinished: SUCCESS\n"
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		site, err := definition.Compile(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{
			Name: "far", Runner: relayed{}, Settings: job.Settings{QuietPeriod: new(time.Duration)},
			Tokens: []definition.Token{{Digest: token.NewSecret("secret").Digest(), Grants: token.Trigger | token.Log}},
		}}}})
		if err != nil {
			t.Fatal(err)
		}
		var ctl *buildtoken.Controller
		start := func(log *zap.Logger) {
			t.Helper()
			db, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
			if err != nil {
				t.Fatal(err)
			}
			if ctl, err = buildtoken.Open(t.Context(), buildtoken.Options{Queue: db, Dir: dir, Log: log}); err != nil {
				t.Fatal(err)
			}
			if _, err := ctl.Attach(t.Context(), buildtoken.Config{Sites: []*definition.Site{site}, Log: log}); err != nil {
				t.Fatal(err)
			}
		}
		s := &scenario{t: t, api: api{&web.Site{
			Open: func() (*buildtoken.Controller, error) { return ctl, nil }, Definition: site, Log: zap.NewNop(),
			Root: func(*http.Request) string { return root }, Remote: func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.1") },
		}}}
		start(nil)
		if x := s.send(s.request([]string{"POST /buildByToken/build?job=far&token=secret"})); x.Code != http.StatusCreated {
			t.Fatalf("trigger: got %d %s", x.Code, x.body())
		}
		if err := ctl.Close(); err != nil {
			t.Fatal(err)
		}

		resume := make(chan struct{})
		core, _ := observer.New(zap.InfoLevel)
		start(zap.New(core, zap.Hooks(func(e zapcore.Entry) error {
			if e.Message == "build resumed" {
				<-resume
			}
			return nil
		})))
		plain := s.send(s.request([]string{"GET /buildByToken/log?job=far&token=secret&item=1"}))
		later := s.send(s.request([]string{"GET /buildByToken/log?job=far&token=secret&item=1&start=40"}))
		events := s.send(s.request([]string{"GET /buildByToken/log?job=far&token=secret&item=1", "Accept: text/event-stream"}))
		if got := plain.body(); got != text[:39] || plain.hasEnded() {
			t.Errorf("before it is resumed: got %q, ended %v; want what there is so far", got, plain.hasEnded())
		}
		close(resume)
		time.Sleep(time.Second)
		synctest.Wait()
		for x, want := range map[*exchange]string{plain: text, later: text[40:]} {
			if got := x.body(); got != want || !x.hasEnded() {
				t.Errorf("got %q, ended %v; want %q", got, x.hasEnded(), want)
			}
		}
		got := events.body()
		for _, want := range []string{"data: begun\n", "data: the rest\n", "data: Finished: SUCCESS\n", `"result":"SUCCESS"`} {
			if !strings.Contains(got, want) || !events.hasEnded() {
				t.Errorf("events = %q, ended %v; want %q in them", got, events.hasEnded(), want)
			}
		}
		if err := ctl.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
