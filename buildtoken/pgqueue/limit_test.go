package pgqueue_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/pgqueue/pgtest"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// The parameters of all items are bounded, over a restart too, and what leaves
// the queue makes room.
func TestParametersOfAllItemsAreBounded(t *testing.T) {
	s := newStore(t)
	opts := pgqueue.Options{URL: s.url, Schema: s.schema, MaxKiB: 1000}
	q := open(t, opts)
	try := func(job string, n, kib int) error {
		r := request(job, fmt.Sprint(n))
		r.Values = []queue.Value{{Name: "A", Kind: "text", Text: strings.Repeat("x", kib<<10)}}
		_, _, err := q.Schedule(t.Context(), start, r)
		return err
	}
	n := 0
	for ; n < 1000; n++ {
		if err := try("greedy", n, 50); err != nil {
			if !errors.Is(err, queue.ErrFull) {
				t.Fatal(err)
			}
			break
		}
	}
	if n != 19 {
		t.Errorf("%d items of 50 KiB found room in 950", n)
	}
	if err := try("greedy", 0, 50); err != nil {
		t.Errorf("a join needs no room: %v", err)
	}
	if err := try("greedy", 5000, 0); err != nil {
		t.Errorf("small parameters need no room: %v", err)
	}
	if err := try("modest", 0, 40); err != nil {
		t.Errorf("another job has no room: %v", err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, opts)
	if err := try("greedy", 6000, 50); !errors.Is(err, queue.ErrFull) {
		t.Errorf("after a restart: %v, want %v", err, queue.ErrFull)
	}
	builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0})
	if err != nil || len(builds) != 1 {
		t.Fatalf("Claim = %v, %v", builds, err)
	}
	if err := q.Cancel(t.Context(), start, "greedy", 2, "alice"); err != nil {
		t.Fatal(err)
	}
	if err := try("greedy", 6000, 50); err != nil {
		t.Errorf("after two items have left: %v", err)
	}
	const sql = "select sum(queued) = (select count(*) from items) and sum(kib) = (select sum(kib) from items) from counts"
	var right bool
	if err := pgtest.Connect(t, with(s.url, "search_path="+s.schema)).QueryRow(t.Context(), sql).Scan(&right); err != nil || !right {
		t.Errorf("the counts are not those of the items: %v", err)
	}
}
