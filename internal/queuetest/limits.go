package queuetest

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// The total size of parameters is limited, across restarts too, and items that leave the
// queue make room.
func parametersAreBounded(t *testing.T, store Store, q Queue) {
	try := func(job string, n, kib int) error {
		r := request(job, fmt.Sprint(n))
		r.Values = []queue.Value{{Name: "A", Kind: "text", Text: strings.Repeat("x", kib<<10)}}
		_, _, err := q.Schedule(t.Context(), start, r)
		return err
	}
	n := 0
	for ; n < MaxKiB; n++ {
		if err := try("greedy", n, 50); err != nil {
			if !errors.Is(err, queue.ErrFull) {
				t.Fatal(err)
			}
			break
		}
	}
	if want := MaxKiB * 19 / 20 / 50; n != want {
		t.Errorf("%d items of 50 KiB found room, want %d", n, want)
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
	q = store.Open(t)
	t.Cleanup(func() { _ = q.Close() })
	if err := try("greedy", 6000, 50); !errors.Is(err, queue.ErrFull) {
		t.Errorf("after a restart: %v, want %v", err, queue.ErrFull)
	}
	if builds := claim(t, q, 0); len(builds) != 1 {
		t.Fatalf("claimed %d builds", len(builds))
	}
	if err := q.Cancel(t.Context(), start, "greedy", 2, "alice"); err != nil {
		t.Fatal(err)
	}
	if err := try("greedy", 6000, 50); err != nil {
		t.Errorf("after two items have left: %v", err)
	}
}

// The limits of a queue hold for triggers that are decided together, too.
func limitHoldsAtOnce(t *testing.T, _ Store, q Queue) {
	const limit, large = 5, 100 // KiB
	triggers := func(job, value string) (accepted int64) {
		var n atomic.Int64
		together(callers, func(caller int) {
			r := request(job, fmt.Sprint(caller))
			r.Values[0].Text = value
			switch _, _, err := q.Schedule(t.Context(), start, r); {
			case err == nil:
				n.Add(1)
			case !errors.Is(err, queue.ErrFull):
				t.Errorf("Schedule: %v, want %v or nil", err, queue.ErrFull)
			}
		})
		return n.Load()
	}
	most := int64(MaxKiB * 19 / 20 / large) // of one job
	if n := triggers("large", strings.Repeat("x", large<<10)); n != most {
		t.Errorf("%d items of %d KiB were accepted, want %d", n, large, most)
	}
	rules := map[string]queue.Rules{"large": {}, "small": {}}
	setRules(t, q, rules, int(most)+limit)
	if n := triggers("small", "x"); n != limit {
		t.Errorf("%d items were accepted beside %d of another job, want %d", n, most, limit)
	}
}

// ParametersAreBoundedByDefault checks the limit of a queue that was opened without one: 256 MiB.
func ParametersAreBoundedByDefault(t *testing.T, q Queue) {
	t.Helper()
	r := request("a", "large")
	mebibyte := strings.Repeat("x", 1<<20) // once in memory, however many values have it
	for n := range 256 {                   // whose names and kinds count, too
		r.Values = append(r.Values, queue.Value{Name: fmt.Sprint(n), Kind: "text", Text: mebibyte})
	}
	if _, _, err := q.Schedule(t.Context(), start, r); !errors.Is(err, queue.ErrFull) {
		t.Errorf("Schedule with more than 256 MiB of parameters = %v, want %v", err, queue.ErrFull)
	}
	r.Values = r.Values[:2]
	if _, _, err := q.Schedule(t.Context(), start, r); err != nil {
		t.Errorf("Schedule with 2 MiB of parameters = %v", err)
	}
}
