package web_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// fitting returns how many large answers of n bytes one client can have, at most 5000.
func fitting(n int, before func(*web.Request)) (count int) {
	q := siteOf("192.0.2.1", new(web.InFlight)).Request(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	before(q)
	for count < 5000 && q.Answer().Grow(n) == nil {
		count++
	}
	return count
}

// Each client can have two answers, however large they are, and any number of small ones.
func TestLargeAnswersOfOneClient(t *testing.T) {
	for n, want := range map[int]int{1 << 30: 2, 33 << 20: 2, 32 << 20: 2, 31 << 20: 2, 16 << 20: 4, 1 << 20: 64, 64<<10 + 1: 1023, 64 << 10: 5000} {
		if got := fitting(n, func(*web.Request) {}); got != want {
			t.Errorf("%d answers of %d bytes fit, want %d", got, n, want)
		}
	}
}

// An answer that grows in steps takes as much as one that is large at once.
func TestAnswerThatGrows(t *testing.T) {
	shared := new(web.InFlight)
	q := siteOf("192.0.2.1", shared).Request(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	a := q.Answer()
	for n := range 1000 {
		if err := a.Grow(1000); err != nil {
			t.Fatalf("step %d: %v", n, err)
		}
	}
	others := 0
	for q.Answer().Grow(1<<20) == nil {
		others++
	}
	if others != 63 {
		t.Errorf("beside an answer of 1,000,000 bytes, %d of 1 MiB fit, want 63", others)
	}
	a.Release()
	if err := q.Answer().Grow(1 << 20); err != nil {
		t.Errorf("after it was released: %v", err)
	}
}

// What is released twice is given back once, so that the limit stays the same.
func TestAnswerIsReleasedOnce(t *testing.T) {
	got := fitting(1<<20, func(q *web.Request) {
		a := q.Answer()
		if err := a.Grow(1 << 20); err != nil {
			t.Fatal(err)
		}
		a.Release()
		a.Release()
	})
	if want := fitting(1<<20, func(*web.Request) {}); got != want {
		t.Errorf("%d large answers fit after one was released twice, want %d", got, want)
	}
}
