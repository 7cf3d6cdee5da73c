package queuetest

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// tokenUsesAreKept saves uses, replaces some, drops those that are too old, and opens the
// queue again.
func tokenUsesAreKept(t *testing.T, store Store, q Queue) {
	addr := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, last}) }
	used := func(place, name string, uses uint64, last time.Time) queue.TokenUse {
		return queue.TokenUse{Place: place, Name: name, Uses: uses, Dead: 1, First: start, Last: last, From: []netip.Addr{addr(7), netip.MustParseAddr("2001:db8::1")}}
	}
	same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	want := func(q Queue, all ...queue.TokenUse) {
		t.Helper()
		got, err := q.TokenUses(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(all, got, same); diff != "" {
			t.Errorf("TokenUses (-want +got):\n%s", diff)
		}
	}
	save := func(now time.Time, all ...queue.TokenUse) {
		t.Helper()
		if err := q.SaveTokenUses(t.Context(), now, all); err != nil {
			t.Fatal(err)
		}
	}
	want(q)
	save(start)
	top, folder, job := used("", "ci", 1, start), used("site/", "ci", 2, start), used("site/deploy", "ütf", 3, start.Add(time.Hour))
	save(start, folder, top, job)
	want(q, top, folder, job)
	folder.Uses, folder.Last, folder.From = 1<<40, start.Add(2*time.Hour), nil
	save(start.Add(2*time.Hour), folder)
	want(q, top, folder, job)
	save(start.Add(queue.KeepTokenUses), job)
	want(q, top, folder, job)
	late := start.Add(queue.KeepTokenUses + 1)
	save(late, job)
	want(q, folder, job)
	want(store.Copy(t).Open(t), folder, job)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	want(store.Open(t), folder, job)
}
