package pgqueue_test

import (
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
	"github.com/buildtoken/buildtoken/internal/queuetest"
)

// The counts, which are kept in parts, must equal those of the items after any changes.
func TestCountsAreThoseOfTheItems(t *testing.T) {
	s := newStore(t)
	q := open(t, s.options())
	for _, key := range []string{"a", "b", "c", "d"} {
		r := request("j", key)
		r.Values = []queue.Value{{Name: "A", Kind: "text", Text: strings.Repeat(key, 3<<10)}}
		schedule(t, q, r)
	}
	if builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0}); err != nil || len(builds) != 1 {
		t.Fatalf("Claim: %v, %v", builds, err)
	}
	if err := q.Cancel(t.Context(), start, "j", 2, "alice"); err != nil {
		t.Fatal(err)
	}
	const sql = "select sum(queued), sum(kib), (select count(*) from items), (select sum(kib) from items) from counts"
	var counted, countedKiB, items, kib int
	row := pgtest.Connect(t, with(s.url, "search_path="+s.schema)).QueryRow(t.Context(), sql)
	if err := row.Scan(&counted, &countedKiB, &items, &kib); err != nil {
		t.Fatal(err)
	}
	if counted != 2 || items != 2 || countedKiB != 6 || kib != 6 {
		t.Errorf("counted %d items and %d KiB; there are %d and %d, want 2 and 6", counted, countedKiB, items, kib)
	}
}

func TestParametersAreBoundedByDefault(t *testing.T) {
	s := newStore(t)
	queuetest.ParametersAreBoundedByDefault(t, open(t, pgqueue.Options{URL: s.url, Schema: s.schema}))
}
