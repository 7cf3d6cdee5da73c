package queue_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

func addr(last byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, last}) }

func addrs(last ...byte) (all []netip.Addr) {
	for _, b := range last {
		all = append(all, addr(b))
	}
	return all
}

// sameAddr compares addresses, whose fields cmp cannot see.
var sameAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// The last five addresses are kept, each once, the newest first.
func TestTokenUseKeepsTheLastAddresses(t *testing.T) {
	for _, tt := range []struct {
		name string
		from []netip.Addr
		want []netip.Addr
	}{
		{"an unknown address", []netip.Addr{{}}, nil},
		{"an unknown address changes nothing", []netip.Addr{addr(1), {}}, addrs(1)},
		{"the same one again", addrs(1, 1), addrs(1)},
		{"another one", addrs(1, 2), addrs(2, 1)},
		{"an earlier one again", addrs(1, 2, 3, 1), addrs(1, 3, 2)},
		{"five", addrs(1, 2, 3, 4, 5), addrs(5, 4, 3, 2, 1)},
		{"six", addrs(1, 2, 3, 4, 5, 6), addrs(6, 5, 4, 3, 2)},
		{"IPv4 within IPv6 is the same", []netip.Addr{addr(1), netip.AddrFrom16(addr(1).As16())}, addrs(1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var u queue.TokenUse
			for _, from := range tt.from {
				u.Count(start, from, false)
			}
			if diff := cmp.Diff(tt.want, u.From, sameAddr); diff != "" {
				t.Errorf("From (-want +got):\n%s", diff)
			}
		})
	}
}

// As the documents say.
func TestLimitsOfRecords(t *testing.T) {
	if queue.KeepTokenUses != 365*24*time.Hour || queue.MaxJoined != 16 || queue.MaxRecent != 30 {
		t.Errorf("uses of tokens are kept for %v, %d traces, %d builds", queue.KeepTokenUses, queue.MaxJoined, queue.MaxRecent)
	}
}

func TestTokenUseCounts(t *testing.T) {
	var u queue.TokenUse
	for i, dead := range []bool{true, false, false, true, false} {
		u.Count(start.Add(time.Duration(i)*time.Minute), addr(1), dead)
	}
	want := queue.TokenUse{Uses: 3, Dead: 2, First: start, Last: start.Add(4 * time.Minute), From: addrs(1)}
	if diff := cmp.Diff(want, u, sameAddr); diff != "" {
		t.Errorf("after five uses (-want +got):\n%s", diff)
	}
}

func TestUsesOfSeveralServersAddUp(t *testing.T) {
	here := queue.TokenUse{Uses: 2, Dead: 1, First: start, Last: start.Add(time.Hour), From: []netip.Addr{addr(1), addr(2), addr(3)}}
	there := queue.TokenUse{Uses: 3, First: start.Add(-time.Hour), Last: start.Add(2 * time.Hour), From: []netip.Addr{addr(4), addr(2), addr(5), addr(6)}}
	for _, sum := range []struct{ a, b queue.TokenUse }{{here, there}, {there, here}} {
		got := sum.a
		got.Add(sum.b)
		want := queue.TokenUse{Uses: 5, Dead: 1, First: start.Add(-time.Hour), Last: start.Add(2 * time.Hour), From: []netip.Addr{addr(4), addr(2), addr(5), addr(6), addr(1)}}
		if diff := cmp.Diff(want, got, sameAddr); diff != "" {
			t.Errorf("Add (-want +got):\n%s", diff)
		}
	}
	if here.From[0] != addr(1) || there.From[3] != addr(6) {
		t.Error("Add changes what it adds")
	}
}

// A server that has not used a token yet has no times.
func TestUsesAddUpWithNone(t *testing.T) {
	one := queue.TokenUse{Uses: 3, Dead: 2, First: start, Last: start.Add(time.Hour), From: addrs(4, 2)}
	for _, sum := range []struct{ a, b queue.TokenUse }{{one, queue.TokenUse{}}, {queue.TokenUse{}, one}} {
		got := sum.a
		got.Add(sum.b)
		if diff := cmp.Diff(one, got, sameAddr); diff != "" {
			t.Errorf("Add (-want +got):\n%s", diff)
		}
	}
}

func TestTokenUsesAreOrderedByPlaceAndName(t *testing.T) {
	for _, tt := range []struct {
		a, b queue.TokenUse
		want int
	}{
		{queue.TokenUse{Place: "a/", Name: "z"}, queue.TokenUse{Place: "b/", Name: "a"}, -1},
		{queue.TokenUse{Place: "b/", Name: "a"}, queue.TokenUse{Place: "a/", Name: "z"}, 1},
		{queue.TokenUse{Place: "a/", Name: "b"}, queue.TokenUse{Place: "a/", Name: "a"}, 1},
		{queue.TokenUse{Place: "a/", Name: "a", Uses: 1}, queue.TokenUse{Place: "a/", Name: "a"}, 0},
	} {
		if got := queue.CompareTokenUses(tt.a, tt.b); got != tt.want {
			t.Errorf("CompareTokenUses(%v, %v) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
