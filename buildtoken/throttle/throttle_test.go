package throttle_test

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/throttle"
)

// However the clock is set between wrong tokens, no client waits longer than the window.
func TestClockThatIsSetBackLocksOutNoClient(t *testing.T) {
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
	add(noon.Add(-time.Hour)) // the count starts again
	want(noon.Add(-time.Hour), 0)
	add(noon.Add(-time.Hour))
	want(noon.Add(-time.Hour), time.Minute)
	want(noon, 0) // the clock is set right again
	add(noon)
	want(noon, 0)
	want(noon.AddDate(10, 0, 0), 0)
}

// client is the address of a client whose tokens are counted.
func client(text string) netip.Addr { return netip.MustParseAddr(text) }

// wrong adds n wrong tokens for a place.
func wrong(l *throttle.Limiter, now time.Time, limit throttle.Limit, from netip.Addr, place string, n int) {
	for range n {
		l.Add(now, limit, from, place)
	}
}

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestDefaults(t *testing.T) {
	for _, tt := range []struct{ in, want throttle.Limit }{
		{throttle.Limit{}, throttle.Limit{Max: 20, Window: time.Minute}},
		{throttle.Limit{Max: 3}, throttle.Limit{Max: 3, Window: time.Minute}},
		{throttle.Limit{Window: time.Second}, throttle.Limit{Max: 20, Window: time.Second}},
		{throttle.Limit{Max: -1, Window: -1}, throttle.Limit{Max: -1, Window: time.Minute}},
		{throttle.Limit{Window: 1}, throttle.Limit{Max: 20, Window: 1}},
	} {
		if got := tt.in.WithDefaults(); got != tt.want {
			t.Errorf("%+v.WithDefaults() = %+v, want %+v", tt.in, got, tt.want)
		}
	}
}

func TestWait(t *testing.T) {
	limit := throttle.Limit{Max: 3, Window: time.Minute}
	for _, tt := range []struct {
		name     string
		from, by string
		place    string
		n        int
		after    time.Duration
		want     time.Duration
	}{
		{"no wrong token", "192.0.2.1", "192.0.2.1", "app", 0, 0, 0},
		{"one fewer than the limit", "192.0.2.1", "192.0.2.1", "app", 2, 0, 0},
		{"the limit", "192.0.2.1", "192.0.2.1", "app", 3, 0, time.Minute},
		{"more than the limit", "192.0.2.1", "192.0.2.1", "app", 30, 0, time.Minute},
		{"a moment before the end of the window", "192.0.2.1", "192.0.2.1", "app", 3, time.Minute - 1, 1},
		{"the end of the window", "192.0.2.1", "192.0.2.1", "app", 3, time.Minute, 0},
		{"another place", "192.0.2.1", "192.0.2.1", "ap", 3, 0, 0},
		{"another IPv4 address", "192.0.2.1", "192.0.2.0", "app", 3, 0, 0},
		{"the same address inside IPv6", "192.0.2.1", "::ffff:192.0.2.1", "app", 3, 0, time.Minute},
		{"the same /64", "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", "app", 3, 0, time.Minute},
		{"the next /64", "2001:db8::1", "2001:db8:0:1::1", "app", 3, 0, 0},
		{"the same /63 of a higher bit", "2001:db8:0:1::", "2001:db8:0:0::", "app", 3, 0, 0},
		{"another zone of a link-local address", "fe80::1%eth0", "fe80::1%eth1", "app", 3, 0, time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := throttle.New()
			wrong(l, noon, limit, client(tt.from), "app", tt.n)
			if got := l.Wait(noon.Add(tt.after), limit, client(tt.by), "elsewhere", tt.place); got != tt.want {
				t.Errorf("Wait = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestLongestWaitOfSeveralPlacesCounts(t *testing.T) {
	l, limit, from := throttle.New(), throttle.Limit{Max: 1, Window: time.Minute}, client("192.0.2.1")
	wrong(l, noon, limit, from, "a", 1)
	wrong(l, noon.Add(10*time.Second), limit, from, "b", 1)
	for _, places := range [][]string{{"a", "b"}, {"b", "a"}} {
		if got := l.Wait(noon.Add(20*time.Second), limit, from, places...); got != 50*time.Second {
			t.Errorf("Wait for %v = %v, want 50s", places, got)
		}
	}
}

// A window begins with its first wrong token, and the next one with the first after its end.
func TestWindows(t *testing.T) {
	l, limit, from := throttle.New(), throttle.Limit{Max: 2, Window: time.Minute}, client("192.0.2.1")
	wrong(l, noon, limit, from, "a", 1)
	wrong(l, noon.Add(time.Minute-1), limit, from, "a", 1)
	if got := l.Wait(noon.Add(time.Minute-1), limit, from, "a"); got != 1 {
		t.Errorf("Wait after two wrong tokens in one window = %v, want 1ns", got)
	}
	wrong(l, noon.Add(time.Minute), limit, from, "a", 1)
	if got := l.Wait(noon.Add(time.Minute), limit, from, "a"); got != 0 {
		t.Errorf("Wait after one wrong token in the next window = %v, want 0", got)
	}
	wrong(l, noon.Add(time.Minute), limit, from, "a", 1)
	if got := l.Wait(noon.Add(time.Minute), limit, from, "a"); got != time.Minute {
		t.Errorf("Wait after two wrong tokens in the next window = %v, want 1m", got)
	}
}

func TestNoLimit(t *testing.T) {
	l, off, from := throttle.New(), throttle.Limit{Max: -1, Window: time.Minute}, client("192.0.2.1")
	wrong(l, noon, off, from, "a", 100)
	l.Remember(noon, off, from, [32]byte{1})
	if l.Wait(noon, off, from, "a") != 0 {
		t.Error("a client waits although the limit is off")
	}
	on := throttle.Limit{Max: 1, Window: time.Minute}
	if l.Wait(noon, on, from, "a") != 0 || l.Remembers(noon, from, [32]byte{1}) {
		t.Error("something is kept while the limit is off")
	}
	wrong(l, noon, on, from, "a", 1)
	if l.Wait(noon, off, from, "a") != 0 {
		t.Error("a client waits after the limit was turned off")
	}
}

func TestRemember(t *testing.T) {
	const day = 24 * time.Hour
	limit, from := throttle.Limit{}.WithDefaults(), client("2001:db8::1")
	digest := func(n int) [32]byte { return [32]byte{31: byte(n)} }
	l := throttle.New()
	l.Remember(noon, limit, from, digest(1))
	for _, tt := range []struct {
		name  string
		from  string
		which int
		after time.Duration
		want  bool
	}{
		{"at once", "2001:db8::1", 1, 0, true},
		{"for the whole /64", "2001:db8::2", 1, 0, true},
		{"not for another client", "2001:db8:1::1", 1, 0, false},
		{"not another token", "2001:db8::1", 2, 0, false},
		{"a moment before seven days", "2001:db8::1", 1, 7*day - 1, true},
		{"not after seven days", "2001:db8::1", 1, 7 * day, false},
	} {
		if got := l.Remembers(noon.Add(tt.after), client(tt.from), digest(tt.which)); got != tt.want {
			t.Errorf("%s: Remembers = %v, want %v", tt.name, got, tt.want)
		}
	}
	// Each use renews it, with a precision of an hour.
	l.Remember(noon.Add(time.Hour-1), limit, from, digest(1))
	if l.Remembers(noon.Add(7*day), from, digest(1)) {
		t.Error("a use within the first hour was written down")
	}
	l.Remember(noon.Add(time.Hour), limit, from, digest(1))
	if !l.Remembers(noon.Add(7*day), from, digest(1)) || l.Remembers(noon.Add(7*day+time.Hour), from, digest(1)) {
		t.Error("a use an hour later does not renew the seven days")
	}
	// Also with a clock that was set back.
	l.Remember(noon.AddDate(-1, 0, 0), limit, from, digest(1))
	if l.Remembers(noon.Add(day), from, digest(1)) {
		t.Error("the last use is still the one under the earlier clock")
	}
}

// TestOldestEntryIsForgotten fills the table two times over. The oldest entries must be
// forgotten, and no others.
func TestOldestEntryIsForgotten(t *testing.T) {
	const entries = 1 << 16
	l, limit := throttle.New(), throttle.Limit{Max: 1, Window: time.Hour}
	number := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}) }
	next := 0
	fill := func(n int) {
		for range n {
			l.Add(noon, limit, number(next), "app")
			next++
		}
	}
	check := func(oldest int) {
		t.Helper()
		for n := max(0, oldest-2); n < min(oldest+2, next); n++ {
			if got := l.Wait(noon, limit, number(n), "app") > 0; got != (n >= oldest) {
				t.Errorf("after %d clients: client %d is remembered: %v, want %v", next, n, got, n >= oldest)
			}
		}
		if l.Wait(noon, limit, number(next-1), "app") == 0 {
			t.Errorf("after %d clients: the last is forgotten", next)
		}
	}
	fill(entries)
	check(0)
	fill(1)
	check(1)
	fill(entries - 1)
	check(entries)
	fill(2)
	check(entries + 2)
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	l, limit, from := throttle.New(), throttle.Limit{Max: 1000, Window: time.Minute}, client("192.0.2.1")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 250 {
				l.Add(noon, limit, from, "a")
				l.Wait(noon, limit, from, "a")
				l.Remember(noon, limit, from, [32]byte{1})
				l.Remembers(noon, from, [32]byte{1})
			}
		})
	}
	all.Wait()
	if got := l.Wait(noon, limit, from, "a"); got != time.Minute {
		t.Errorf("Wait after 1000 wrong tokens at once = %v, want 1m", got)
	}
}
