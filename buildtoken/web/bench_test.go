package web_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/throttle"
)

// BenchmarkServe measures a trigger without its connection. A new item is on disk before it is
// answered.
func BenchmarkServe(b *testing.B) {
	var serial atomic.Int64
	for _, bb := range []struct {
		name   string
		status int
		query  func() string
	}{
		{"refused", http.StatusForbidden, func() string { return "job=slow&token=wrong" }},
		{"unknown", http.StatusNotFound, func() string { return "job=nothing&token=wrong" }},
		{"joined", http.StatusSeeOther, func() string { return "job=slow&token=TacoTuesday&cause=push" }},
		{"new", http.StatusCreated, func() string {
			return "job=params&token=TacoTuesday&cause=push&A=" + strconv.FormatInt(serial.Add(1), 10)
		}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s := newScenario(b, b.TempDir(), 1<<40, throttle.Limit{Max: -1})
			defer s.close()
			path := "/buildByToken/build"
			if bb.name == "new" {
				path = "/buildByToken/buildWithParameters"
			}
			send := func() int {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, path+"?"+bb.query(), http.NoBody)
				r.Header.Set("User-Agent", "curl/8.5.0")
				r.Header.Set("Accept", "*/*")
				w := httptest.NewRecorder()
				s.api.Serve(w, r)
				return w.Code
			}
			send() // so that there is an item to join
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if code := send(); code != bb.status {
						b.Errorf("status %d, want %d", code, bb.status)
						return
					}
				}
			})
		})
	}
}
