package web_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
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
