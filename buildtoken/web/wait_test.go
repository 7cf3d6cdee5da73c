package web_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/throttle"
)

// serve serves the scenario's API on a local address. served receives the headers of each
// answer when it is complete.
func serve(tb testing.TB, s *scenario) (url string, served <-chan http.Header) {
	tb.Helper()
	headers := make(chan http.Header, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.api.Serve(w, r) //nolint:contextcheck // Serve takes the request's
		headers <- w.Header()
	}))
	tb.Cleanup(server.Close)
	return server.URL, headers
}

// A webhook has a body that the handler does not read. The handler must notice the end of the
// client nevertheless.
func TestWaitEndsWhenTheClientIsGone(t *testing.T) {
	for _, tt := range []struct{ name, contentType, body string }{
		{"no body", "", ""},
		{"a form", "application/x-www-form-urlencoded", "cause=push"},
		{"a body that is no form", "application/json", `{"ref":"refs/heads/main"}`},
		{"files", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"cause\"\r\n\r\npush\r\n--b--\r\n"},
		{"files, and something behind them", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"cause\"\r\n\r\npush\r\n--b--\r\n" + strings.Repeat("\n", 10_000)},
		{"a large body that is no form", "application/json", strings.Repeat(" ", 1<<20-2) + "{}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScenario(t, t.TempDir(), 0, throttle.Limit{})
			t.Cleanup(s.close)
			url, served := serve(t, s)
			ctx, hangUp := context.WithCancel(t.Context())
			queued := s.ctl.Watch()
			ended := make(chan error, 1)
			go func() {
				r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/buildByToken/build?job=secret&delay=1h", strings.NewReader(tt.body))
				if err != nil {
					ended <- err
					return
				}
				r.Header.Set("Authorization", "Bearer Hush")
				r.Header.Set("Prefer", "wait=20")
				r.Header.Set("Content-Type", tt.contentType)
				response, err := http.DefaultTransport.RoundTrip(r)
				if err == nil {
					err = response.Body.Close()
				}
				ended <- err
			}()
			<-queued
			hangUp()
			<-ended
			if h := <-served; h.Get("Preference-Applied") != "" {
				t.Errorf("it went on waiting to the end: %v", h)
			}
		})
	}
}

// BenchmarkWaiting measures the cost of a client that triggers and waits. B/waiter is the
// memory of both ends of the connection.
func BenchmarkWaiting(b *testing.B) {
	const waiters = 200
	s := newScenario(b, b.TempDir(), 1<<40, throttle.Limit{Max: -1})
	defer s.close()
	url, served := serve(b, s)
	form := "cause=push&NOTE=" + strings.Repeat("x", 500_000) // must not be kept
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	for b.Loop() {
		b.StopTimer()
		ctx, hangUp := context.WithCancel(b.Context())
		before := inUse()
		b.StartTimer()
		for n := range waiters {
			queued := s.ctl.Watch()
			go func() {
				r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/buildByToken/build?job=secret&token=Hush&delay=1h&n="+fmt.Sprint(n), strings.NewReader(form))
				if err != nil {
					b.Error(err)
					return
				}
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				r.Header.Set("Prefer", "wait=300")
				if response, err := http.DefaultTransport.RoundTrip(r); err == nil {
					_, _ = io.Copy(io.Discard, response.Body)
					_ = response.Body.Close()
				}
			}()
			<-queued
		}
		b.StopTimer()
		b.ReportMetric(float64(inUse()-before)/waiters, "B/waiter")
		hangUp()
		for range waiters {
			<-served
		}
		b.StartTimer()
	}
}
