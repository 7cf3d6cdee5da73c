package web_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
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
	bubble(t, func(s *scenario) {
		ended := startFollowing(s, httptest.NewRecorder())
		s.queue.unreadable.Store(true)
		time.Sleep(definition.DefaultQuietPeriod) // then it starts
		synctest.Wait()
		select {
		case got := <-ended:
			if got != any(http.ErrAbortHandler) {
				t.Errorf("the handler panicked with %v, want http.ErrAbortHandler: the client must see that the log is incomplete", got)
			}
		default:
			t.Error("the handler goes on")
		}
	})
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
