package queuetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// keyed is a request with a key.
func keyed(job, values, key string) queue.Request {
	r := request(job, values)
	r.Key = keyOf(key)
	return r
}

// again repeats a request with a key, and returns the receipt of the first one.
func again(t *testing.T, q Queue, now time.Time, r queue.Request) queue.Receipt {
	t.Helper()
	it, created, err := q.Schedule(t.Context(), now, r)
	var repeated *queue.RepeatedError
	if !errors.As(err, &repeated) {
		t.Fatalf("Schedule with the key of an earlier trigger = item %d, %v, %v; want a RepeatedError", it.ID, created, err)
	}
	return repeated.Receipt
}

// first makes a request with a new key.
func first(t *testing.T, q Queue, now time.Time, r queue.Request) queue.Receipt {
	t.Helper()
	it, created, err := q.Schedule(t.Context(), now, r)
	if err != nil {
		t.Fatalf("Schedule with a new key: %v", err)
	}
	return queue.Receipt{Key: *r.Key, Values: r.Digest, Item: it.ID, Created: created, Until: now.Add(queue.KeepReceipts)}
}

func keyAtOnce(t *testing.T, _ Store, q Queue) {
	var mu sync.Mutex
	made, repeats := map[int64]int{}, map[queue.Receipt]int{}
	together(callers, func(int) {
		r := keyed("j", "k", "key")
		r.Solo = true // so that only the key keeps them from being many
		it, created, err := q.Schedule(t.Context(), start, r)
		var repeated *queue.RepeatedError
		mu.Lock()
		defer mu.Unlock()
		switch {
		case errors.As(err, &repeated):
			repeats[repeated.Receipt]++
		case err != nil || !created:
			t.Errorf("Schedule = item %d, %v, %v; want a new item or a RepeatedError", it.ID, created, err)
		default:
			made[it.ID]++
		}
	})
	want := map[queue.Receipt]int{
		{Key: *keyOf("key"), Values: request("j", "k").Digest, Item: 1, Created: true, Until: start.Add(queue.KeepReceipts)}: callers - 1,
	}
	if diff := cmp.Diff(want, repeats); len(made) != 1 || made[1] != 1 || diff != "" {
		t.Errorf("items %v, want item 1 once; receipts (-want +got):\n%s", made, diff)
	}
	if l := lane(t, q, "j"); l.Queued != 1 || l.Receipts != 1 {
		t.Errorf("lane %+v, want one item and one receipt", l)
	}
}

func receiptIsDurable(t *testing.T, store Store, q Queue) {
	created, joined, counted := keyed("j", "k", "created"), keyed("j", "k", "joined"), keyed("j", "k", "counted")
	created.Delay = time.Hour
	joined.Delay, joined.Cause.Note = time.Hour, "another"
	counted.Delay = time.Hour // changes nothing but a count
	for _, step := range []struct {
		name string
		do   func()
		r    queue.Request
		want queue.Receipt
	}{
		{name: "a new item", r: created},
		{name: "a join", r: joined},
		{name: "a join that only counts", r: counted},
	} {
		step.want = first(t, q, start, step.r)
		// At once, because a power cut may come at any moment.
		after := store.Copy(t).Open(t)
		if got := again(t, after, start, step.r); got != step.want {
			t.Errorf("%s: after a power cut the receipt is %+v, want %+v", step.name, got, step.want)
		}
		if got := again(t, q, start, step.r); got != step.want {
			t.Errorf("%s: the receipt is %+v, want %+v", step.name, got, step.want)
		}
		if diff := same(read(t, q, "j"), read(t, after, "j")); diff != "" {
			t.Errorf("%s (-answered +after a power cut):\n%s", step.name, diff)
		}
		if err := after.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := lane(t, q, "j").Receipts; n != 3 {
		t.Errorf("%d receipts, want 3", n)
	}
	// The item's record is dropped; the receipts stay.
	setRules(t, q, map[string]queue.Rules{"j": {KeepBuilds: 1}}, 0)
	for _, it := range []int64{1, 2, 3} {
		if it > 1 {
			schedule(t, q, request("j", fmt.Sprint(it)))
		}
		if err := q.Cancel(t.Context(), start, "j", it, "alice"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := q.Entry(t.Context(), start, 1); !errors.Is(err, queue.ErrNotFound) {
		t.Fatalf("item 1 should be dropped: %v", err)
	}
	for _, r := range []queue.Request{created, joined, counted} {
		if got := again(t, q, start.Add(queue.KeepReceipts-1), r); got.Item != 1 {
			t.Errorf("the receipt of an item that is gone names item %d, want 1", got.Item)
		}
	}
}

func receiptsGetFewer(t *testing.T, store Store, q Queue) {
	const n = 10
	for i := range n {
		first(t, q, start, keyed("j", fmt.Sprint(i), fmt.Sprint(i)))
	}
	first(t, q, start, keyed("other", "0", "0")) // the same key; the job is another one
	if got := lane(t, q, "j").Receipts; got != n {
		t.Fatalf("%d receipts, want %d", got, n)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = store.Open(t)
	defer q.Close()
	over := start.Add(queue.KeepReceipts)
	for i := range n {
		first(t, q, over.Add(time.Duration(i)), keyed("j", fmt.Sprint(i), fmt.Sprint("new", i)))
		old := max(0, n-queue.MaxForget*(i+1))
		if got := lane(t, q, "j").Receipts; got != old+i+1 {
			t.Fatalf("after %d new receipts there are %d, want them and %d old ones", i+1, got, old)
		}
	}
	for i := range n {
		again(t, q, over.Add(n), keyed("j", fmt.Sprint(i), fmt.Sprint("new", i)))
	}
	// The key of an expired receipt can be used again, with any values.
	first(t, q, over, keyed("other", "1", "0"))
	if got := lane(t, q, "other").Receipts; got != 1 {
		t.Errorf("%d receipts of the other job, want 1 in the place of the old one", got)
	}
	again(t, q, over, keyed("other", "1", "0"))
}
