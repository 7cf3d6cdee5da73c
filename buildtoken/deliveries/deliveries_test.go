package deliveries_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/deliveries"
	"github.com/buildtoken/buildtoken/buildtoken/event"
)

func TestLogKeepsTheLast(t *testing.T) {
	var l deliveries.Log
	for i := range 200 + 5 {
		if id := l.Add(deliveries.Delivery{Target: fmt.Sprint(i), Webhooks: []string{"github"}}, ""); id != int64(i+1) {
			t.Fatalf("Add = %d, want %d", id, i+1)
		}
	}
	all := l.List()
	if len(all) != 200 || all[0].ID != 200+5 || all[len(all)-1].ID != 6 {
		t.Errorf("List has %d, from %d to %d", len(all), all[0].ID, all[len(all)-1].ID)
	}
	if _, ok := l.Find(5); ok {
		t.Error("Find found one that is gone")
	}
	if d, ok := l.Find(6); !ok || d.Target != "5" {
		t.Errorf("Find(6) = %v, %v", d, ok)
	}
}

func TestUnverifiedDeliveriesDisplaceNoOthers(t *testing.T) {
	var l deliveries.Log
	for range 3 {
		l.Add(deliveries.Delivery{Webhooks: []string{"github"}, Body: []byte("kept")}, "")
	}
	for range 2 * 200 {
		l.Add(deliveries.Delivery{}, "")
	}
	all := l.List()
	if want := 3 + 50; len(all) != want {
		t.Fatalf("List has %d, want %d", len(all), want)
	}
	if newest := all[0].ID; newest != 2*200+3 || all[len(all)-1].ID != 1 {
		t.Errorf("List has %d to %d, want the first three, and the newest of the others", all[len(all)-1].ID, newest)
	}
	for range 200 {
		l.Add(deliveries.Delivery{Webhooks: []string{"github"}}, "")
	}
	if all := l.List(); len(all) != 200 || len(all[len(all)-1].Webhooks) == 0 {
		t.Errorf("List has %d, the oldest by %q: want only verified ones", len(all), all[len(all)-1].Webhooks)
	}
}

// The oldest unverified delivery makes room for a new one, wherever it is, and no other does.
func TestUnverifiedDeliveriesAreDisplacedOneByOne(t *testing.T) {
	for verified := range 3 {
		var l deliveries.Log
		for range verified {
			l.Add(deliveries.Delivery{Webhooks: []string{"github"}}, "")
		}
		for range deliveries.KeepUnverified + 1 {
			l.Add(deliveries.Delivery{}, "")
		}
		var want, got []int64
		for id := range int64(verified + deliveries.KeepUnverified + 1) {
			if id != int64(verified) {
				want = append(want, id+1)
			}
		}
		for _, d := range l.List() {
			got = append(got, d.ID)
		}
		slices.Reverse(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("deliveries after %d verified ones (-want +got):\n%s", verified, diff)
		}
	}
}

// The body of a delivery that is gone makes room, too.
func TestBodiesOfDisplacedDeliveriesDoNotCount(t *testing.T) {
	var l deliveries.Log
	for range 3 * deliveries.Keep {
		l.Add(deliveries.Delivery{Webhooks: []string{"github"}, Body: make([]byte, deliveries.MaxBytes/deliveries.Keep)}, "")
	}
	for _, d := range l.List() {
		if d.Body == nil {
			t.Fatalf("delivery %d has no body, although all bodies together are within the limit", d.ID)
		}
	}
}

func TestBodiesTogetherHaveALimit(t *testing.T) {
	var l deliveries.Log
	body := make([]byte, 300<<10)
	for range 5 {
		l.Add(deliveries.Delivery{Body: body}, "")
	}
	l.Add(deliveries.Delivery{Body: make([]byte, deliveries.MaxBytes+1)}, "")
	sizes := func() (all []int) {
		for _, d := range l.List() {
			all = append(all, len(d.Body))
		}
		return all
	}
	if want := []int{0, 300 << 10, 300 << 10, 300 << 10, 0, 0}; !slices.Equal(sizes(), want) {
		t.Errorf("bodies of %v bytes, want %v: the newest within the limit", sizes(), want)
	}
	l.Add(deliveries.Delivery{Body: make([]byte, deliveries.MaxBytes)}, "")
	if want := []int{deliveries.MaxBytes, 0, 0, 0, 0, 0, 0}; !slices.Equal(sizes(), want) {
		t.Errorf("bodies of %v bytes, want %v: one of the limit", sizes(), want)
	}
}

func TestNoSecretIsKept(t *testing.T) {
	var l deliveries.Log
	id := l.Add(deliveries.Delivery{Header: event.Header{
		"X-Github-Event": {"push"}, "X-Github-Delivery": {"1"}, "Content-Type": {"application/json"}, "X-Gitlab-Event": {"Push Hook"},
		"X-Gitlab-Token": {"s3cret"}, "Authorization": {"s3cret"}, "X-Hub-Signature-256": {"s3cret"}, "X-Gitea-Signature": {"s3cret"},
		"Cookie": {"s3cret"}, "X-Api-Key": {"s3cret"}, "Stripe-Signature": {"s3cret"}, "Webhook-Signature": {"s3cret"}, "X-Build-Token": {"s3cret"},
	}}, "")
	d, _ := l.Find(id)
	want := []string{"Content-Type", "X-Github-Delivery", "X-Github-Event", "X-Gitlab-Event"}
	if diff := cmp.Diff(want, d.HeaderNames()); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	id = l.Add(deliveries.Delivery{Header: event.Header{"User-Agent": {strings.Repeat("x", 1001)}}}, "")
	if d, _ := l.Find(id); len(d.Header["User-Agent"][0]) != 1000 {
		t.Errorf("%d bytes of a long header are kept, want 1000", len(d.Header["User-Agent"][0]))
	}
}

func TestCounts(t *testing.T) {
	var l deliveries.Log
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			l.Add(deliveries.Delivery{Outcome: []string{"queued", "ignored"}[i%2]}, []string{"github", "", "slack"}[i%3])
		})
	}
	all.Wait()
	want := []deliveries.Count{
		{"", "ignored", 5}, {"", "queued", 5}, {"github", "ignored", 5}, {"github", "queued", 5}, {"slack", "ignored", 5}, {"slack", "queued", 5},
	}
	if diff := cmp.Diff(want, l.Counts()); diff != "" {
		t.Errorf("Counts (-want +got):\n%s", diff)
	}
	if id := l.Add(deliveries.Delivery{}, ""); id != 31 {
		t.Errorf("Add after Counts = %d, want 31", id)
	}
}
