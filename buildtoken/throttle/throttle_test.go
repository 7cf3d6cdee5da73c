package throttle_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/throttle"
)

// However the clock is set between wrong tokens, no client waits longer than the window.
func TestClockThatIsSetBackLocksNobodyOut(t *testing.T) {
	noon := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	limit := throttle.Limit{Max: 2, Window: time.Minute}
	guesser := netip.MustParseAddr("192.0.2.1")
	l := throttle.New()
	add := func(now time.Time) { l.Add(now, limit, guesser, "app") }
	want := func(now time.Time, want time.Duration) {
		t.Helper()
		if got := l.Wait(now, limit, guesser, "app"); got != want {
			t.Errorf("Wait(%v) = %v, want %v", now.Sub(noon), got, want)
		}
	}
	add(noon)
	want(noon, 0)
	add(noon)
	want(noon.Add(10*time.Second), 50*time.Second)
	want(noon.Add(-time.Hour), 0)
	add(noon.Add(-time.Hour)) // the count begins anew
	want(noon.Add(-time.Hour), 0)
	add(noon.Add(-time.Hour))
	want(noon.Add(-time.Hour), time.Minute)
	want(noon, 0) // set right again
	add(noon)
	want(noon, 0)
	want(noon.AddDate(10, 0, 0), 0)
}
