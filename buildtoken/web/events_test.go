package web_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

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
