package web_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// What is released twice is given back once, so that the limit stays the same.
func TestAnswerIsReleasedOnce(t *testing.T) {
	fit := func(before func(*web.Request)) (n int) {
		q := siteOf("192.0.2.1", new(web.InFlight)).Request(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		before(q)
		for q.Answer().Grow(1<<20) == nil {
			n++
		}
		return n
	}
	want := fit(func(*web.Request) {})
	got := fit(func(q *web.Request) {
		a := q.Answer()
		if err := a.Grow(1 << 20); err != nil {
			t.Fatal(err)
		}
		a.Release()
		a.Release()
	})
	if got != want || want == 0 {
		t.Errorf("%d large answers fit after one was released twice, want %d", got, want)
	}
}
