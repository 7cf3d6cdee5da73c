package usage_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/usage"
)

func TestCounterSavesOnlyWhatHasChanged(t *testing.T) {
	start := time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)
	c := usage.New([]queue.TokenUse{
		{Place: "site/", Name: "ci", Uses: 7, First: start.Add(-time.Hour), Last: start},
		{Place: "site/", Name: "other", Uses: 9, First: start, Last: start},
		{Place: "site/", Name: "ci", Uses: 100, Elsewhere: true},
	})
	changed := func() bool {
		select {
		case <-c.Changed():
			return true
		default:
			return false
		}
	}
	save := func(result error) (saved []queue.TokenUse) {
		t.Helper()
		if err := c.Save(func(uses []queue.TokenUse) error {
			saved = uses
			return result
		}); !errors.Is(err, result) {
			t.Errorf("Save = %v, want %v", err, result)
		}
		return saved
	}
	if changed() || save(nil) != nil {
		t.Error("there is something to save, although nothing was used")
	}
	from := netip.MustParseAddr("192.0.2.7")
	for range 3 {
		c.Count(start.Add(time.Minute), "site/", token.Token{Name: "ci"}, from, false)
	}
	want := []queue.TokenUse{{Place: "site/", Name: "ci", Uses: 10, First: start.Add(-time.Hour), Last: start.Add(time.Minute), From: []netip.Addr{from}}}
	same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	full := errors.New("the disk is full")
	for _, result := range []error{full, nil} {
		if !changed() {
			t.Error("Changed has no value")
		}
		if diff := cmp.Diff(want, save(result), same); diff != "" {
			t.Errorf("Save (-want +got):\n%s", diff)
		}
	}
	if changed() || save(nil) != nil {
		t.Error("what was saved is saved again")
	}
}

func TestUsesOfSeveralServersAddUp(t *testing.T) {
	start := time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)
	addr := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, last}) }
	here := queue.TokenUse{Uses: 2, Dead: 1, First: start, Last: start.Add(time.Hour), From: []netip.Addr{addr(1), addr(2), addr(3)}}
	there := queue.TokenUse{Uses: 3, First: start.Add(-time.Hour), Last: start.Add(2 * time.Hour), From: []netip.Addr{addr(4), addr(2), addr(5), addr(6)}}
	for _, sum := range []struct{ a, b queue.TokenUse }{{here, there}, {there, here}} {
		got := sum.a
		got.Add(sum.b)
		want := queue.TokenUse{Uses: 5, Dead: 1, First: start.Add(-time.Hour), Last: start.Add(2 * time.Hour), From: []netip.Addr{addr(4), addr(2), addr(5), addr(6), addr(1)}}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("Add (-want +got):\n%s", diff)
		}
	}
	if here.From[0] != addr(1) || there.From[3] != addr(6) {
		t.Error("Add changes what it adds")
	}
}
