package web_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// Whatever the data is, it is the data of one event, in valid UTF-8.
func TestEvents(t *testing.T) {
	w := httptest.NewRecorder()
	q := new(web.Site).Request(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	defer q.Begin().End()
	e, end := q.Events(t.Context())
	defer end()
	for _, tt := range []struct{ name, id, data, want string }{
		{"", "", "text", "data: text\n\n"},
		{"line", "7", "a\nb", "event: line\nid: 7\ndata: a\ndata: b\n\n"},
		{"", "8", "a\r\nb\rc", "id: 8\ndata: a\ndata: b\ndata: c\n\n"},
		{"", "", "\r", "data: \ndata: \n\n"},
		{"", "", "a\n", "data: a\ndata: \n\n"},
		{"", "", strings.Repeat("x", 100_000), "data: " + strings.Repeat("x", 100_000) + "\n\n"},
		{"", "", "grün \xff\xfe", "data: grün \uFFFD\n\n"},
	} {
		w.Body.Reset()
		if err := e.Send(tt.name, tt.id, []byte(tt.data)); err != nil || w.Body.String() != tt.want {
			t.Errorf("Send(%q, %q, %q) sent %q, %v, want %q", tt.name, tt.id, tt.data, w.Body, err, tt.want)
		}
	}
	w.Body.Reset()
	if err := e.SendJSON("end", "9", map[string]string{"a": "<b>"}); err != nil || w.Body.String() != "event: end\nid: 9\ndata: {\"a\":\"<b>\"}\n\n" {
		t.Errorf("SendJSON sent %q, %v", w.Body, err)
	}
	w.Body.Reset()
	if err := e.Retry(1500 * time.Millisecond); err != nil || w.Body.String() != "retry: 1500\n\n" {
		t.Errorf("Retry sent %q, %v", w.Body, err)
	}
	if h := w.Header(); w.Code != http.StatusOK || !w.Flushed || h.Get("Content-Type") != "text/event-stream" || h.Get("X-Accel-Buffering") != "no" {
		t.Errorf("status %d, flushed %v, headers %v", w.Code, w.Flushed, h)
	}
}

// A stream shows every 15 seconds that it is still there, until the client is gone.
func TestHeartbeat(t *testing.T) {
	for name, gone := range map[string]error{"a client that reads": nil, "a client that is gone": io.ErrClosedPipe} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &beaten{ResponseRecorder: httptest.NewRecorder(), err: gone}
				q := new(web.Site).Request(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
				defer q.Begin().End()
				began := time.Now()
				_, end := q.Events(t.Context())
				time.Sleep(59 * time.Second)
				end()
				time.Sleep(time.Minute)
				want := []time.Duration{15 * time.Second, 30 * time.Second, 45 * time.Second}
				if gone != nil {
					want = want[:1]
				}
				var got []time.Duration
				for _, at := range w.at {
					got = append(got, at.Sub(began))
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("heartbeats (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// beaten records when it is written to.
type beaten struct {
	*httptest.ResponseRecorder

	err error
	at  []time.Time
}

func (b *beaten) Write(p []byte) (int, error) {
	if string(p) == ": still here\n\n" {
		b.at = append(b.at, time.Now())
	}
	return len(p), b.err
}

// What cannot be sent is an error. A writer that cannot flush sends when it wants to.
func TestSend(t *testing.T) {
	for name, tt := range map[string]struct{ write, flush, want error }{
		"a client that reads":          {nil, nil, nil},
		"a writer that cannot flush":   {nil, http.ErrNotSupported, nil},
		"a client that is gone":        {io.ErrClosedPipe, nil, web.ErrClientGone},
		"a client that reads too late": {nil, os.ErrDeadlineExceeded, web.ErrClientGone},
	} {
		w := &flushed{beaten{httptest.NewRecorder(), tt.write, nil}, tt.flush}
		q := new(web.Site).Request(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		end := q.Begin().End
		if err := q.Send([]byte("text")); !errors.Is(err, tt.want) || tt.want != nil && !errors.Is(err, tt.write) && !errors.Is(err, tt.flush) {
			t.Errorf("%s: Send = %v, want %v", name, err, tt.want)
		}
		end()
	}
}

// flushed is a client whose flushes have a result.
type flushed struct {
	beaten

	err error
}

func (f *flushed) FlushError() error { return f.err }

// Nothing is written to a request once its stream has ended.
func TestStreamEndsAfterAHeartbeatThatIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := stuck{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
		q := new(web.Site).Request(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		defer q.Begin().End()
		_, end := q.Events(t.Context())
		<-w.waits
		ended := make(chan struct{})
		go func() {
			end()
			close(ended)
		}()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("the stream ended while a heartbeat was written")
		default:
		}
		close(w.release)
		<-ended
	})
}
