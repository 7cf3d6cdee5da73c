package web_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// Every complete answer has a length, also where its body is left out. An empty one has no type.
func TestWrite(t *testing.T) {
	for _, tt := range []struct{ method, body, contentType, length, sent string }{
		{http.MethodGet, "hello", web.PlainText, "5", "hello"},
		{http.MethodPost, "hello", web.PlainText, "5", "hello"},
		{http.MethodHead, "hello", web.PlainText, "5", ""},
		{http.MethodGet, "", "", "0", ""},
		{http.MethodHead, "", "", "0", ""},
	} {
		w := httptest.NewRecorder()
		q := new(web.Site).Request(w, httptest.NewRequestWithContext(t.Context(), tt.method, "/", nil))
		end := q.Begin().End
		q.Write(http.StatusAccepted, web.PlainText, tt.body)
		end()
		got := []string{w.Header().Get("Content-Type"), w.Header().Get("Content-Length"), w.Body.String()}
		if diff := cmp.Diff([]string{tt.contentType, tt.length, tt.sent}, got); diff != "" || w.Code != http.StatusAccepted {
			t.Errorf("%s of %q: status %d; type, length and body (-want +got):\n%s", tt.method, tt.body, w.Code, diff)
		}
	}
}

// A header that is added later changes none of the others.
func TestSetAll(t *testing.T) {
	h := http.Header{}
	web.SetAll(h, "A", "1", "B", "2", "C", "3")
	h.Add("A", "one")
	h.Add("B", "two")
	if diff := cmp.Diff(http.Header{"A": {"1", "one"}, "B": {"2", "two"}, "C": {"3"}}, h); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

// The log has the text of an unexpected error under the ID that the client gets, and no ID of a
// share link, which would let its readers see the build.
func TestUnexpectedErrorIsLogged(t *testing.T) {
	for path, logged := range map[string]string{
		"/job/a%20b/1/": "/job/a b/1/", "/buildByToken/build": "/buildByToken/build",
		"/buildByToken/shared/SeCrEt": "/buildByToken/shared", "/buildByToken/shared/SeCrEt/log": "/buildByToken/shared",
	} {
		core, lines := observer.New(zap.InfoLevel)
		w := httptest.NewRecorder()
		q := (&web.Site{Log: zap.New(core)}).Request(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		end := q.Begin().End
		q.Fail(errors.New("the disk is on fire"))
		end()
		m := regexp.MustCompile(`^internal error, request ([A-Z2-7]+)\n$`).FindStringSubmatch(w.Body.String())
		if w.Code != http.StatusInternalServerError || m == nil || lines.Len() != 1 {
			t.Errorf("%s: %d %q and %d lines, want 500 with an ID, and a line", path, w.Code, w.Body, lines.Len())
			continue
		}
		want := map[string]any{"request_id": m[1], "path": logged, "error": "the disk is on fire"}
		if line := lines.All()[0]; line.Level != zap.ErrorLevel || line.Message != "request failed" || !cmp.Equal(want, line.ContextMap()) {
			t.Errorf("%s: logged %v %q %v, want %v", path, line.Level, line.Message, line.ContextMap(), want)
		}
		if v := q.Refuse(errors.New("again")); v.Help != "The server's log has the reason under this number." {
			t.Errorf("%s: a page shows %q beside the number", path, v.Help)
		}
	}
}
