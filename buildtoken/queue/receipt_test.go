package queue_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// once returns a trigger with a key.
func once(key, values byte) queue.Request {
	return queue.Request{ID: 9, Digest: queue.Digest{values}, Key: &queue.Digest{key}, Cause: queue.Cause{Kind: queue.CauseRemote, Note: "n"}}
}

// kept returns a receipt of a lane.
func kept(key, values byte, until time.Time) queue.Receipt {
	return queue.Receipt{Key: queue.Digest{key}, Values: queue.Digest{values}, Item: 3, Created: true, Until: until}
}

func TestScheduleOnceLeavesAReceipt(t *testing.T) {
	equal := &queue.Item{ID: 7, Job: "j", Due: start, Digest: queue.Digest{'v'}, Causes: []queue.Cause{{Kind: queue.CauseRemote, Note: "n", Count: 1}}}
	for _, tt := range []struct {
		name  string
		equal *queue.Item
		want  queue.Receipt
	}{
		{"of a new item", nil, queue.Receipt{Key: queue.Digest{'k'}, Values: queue.Digest{'v'}, Item: 9, Created: true, Until: after(queue.KeepReceipts)}},
		{"of a join that changes a count only", equal, queue.Receipt{Key: queue.Digest{'k'}, Values: queue.Digest{'v'}, Item: 7, Until: after(queue.KeepReceipts)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			change, err := queue.ScheduleOnce(start, queue.Lane{Job: "j"}, tt.equal, once('k', 'v'), queue.Room{}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if change.Receipt == nil || *change.Receipt != tt.want {
				t.Errorf("receipt %+v, want %+v", change.Receipt, tt.want)
			}
			if change.Lazy || change.Lane.Receipts != 1 || change.Created != tt.want.Created || len(change.Forget) != 0 {
				t.Errorf("change %+v, want one that is written at once and counts one receipt", change)
			}
		})
	}
}

// A webhook delivery is recognized by its ID alone: the rules that derive its values can have
// changed meanwhile, or depend on the time.
func TestScheduleOnceWithAnyValues(t *testing.T) {
	first := kept('k', 'w', after(queue.KeepReceipts))
	r := once('k', 'v')
	r.AnyValues = true
	var repeated *queue.RepeatedError
	if _, err := queue.ScheduleOnce(start, queue.Lane{Job: "j", Receipts: 1}, nil, r, queue.Room{}, &first, nil); !errors.As(err, &repeated) || repeated.Receipt != first {
		t.Errorf("ScheduleOnce: %v, want %+v", err, first)
	}
}

func TestScheduleOnceAnswersAsTheFirstTime(t *testing.T) {
	const day = queue.KeepReceipts
	for _, tt := range []struct {
		name  string
		first queue.Receipt
		now   time.Time
		want  error // nil: it is scheduled again
	}{
		{"the same values", kept('k', 'v', after(day)), start, &queue.RepeatedError{}},
		{"the same values just before the end", kept('k', 'v', after(day)), after(day - 1), &queue.RepeatedError{}},
		{"the same values at the end", kept('k', 'v', after(day)), after(day), nil},
		{"other values", kept('k', 'w', after(day)), start, queue.ErrKeyReused},
		{"other values at the end", kept('k', 'w', after(day)), after(day), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// The queue is full, but a repeated answer needs no place.
			full := queue.Room{Queued: 1, Limit: 1}
			change, err := queue.ScheduleOnce(tt.now, queue.Lane{Job: "j", Receipts: 1}, nil, once('k', 'v'), full, &tt.first, nil)
			var repeated *queue.RepeatedError
			switch {
			case tt.want == nil:
				if !errors.Is(err, queue.ErrFull) || change.Receipt != nil {
					t.Errorf("ScheduleOnce = %+v, %v, want %v and no receipt", change, err, queue.ErrFull)
				}
			case errors.As(tt.want, &repeated):
				if !errors.As(err, &repeated) || repeated.Receipt != tt.first {
					t.Errorf("ScheduleOnce: %v, want %+v", err, tt.first)
				}
			case !errors.Is(err, tt.want):
				t.Errorf("ScheduleOnce: %v, want %v", err, tt.want)
			}
			if err != nil && !cmp.Equal(change, queue.Change{}) {
				t.Errorf("an error came with the change %+v", change)
			}
		})
	}
}

func TestScheduleOnceForgets(t *testing.T) {
	now := after(time.Hour)
	over := func(key byte) queue.Receipt { return kept(key, 'v', now) }
	counts := func(key byte) queue.Receipt { return kept(key, 'v', now.Add(1)) }
	for _, tt := range []struct {
		name     string
		receipts int
		first    *queue.Receipt
		oldest   []queue.Receipt
		forget   string // the keys of the receipts that must be dropped
		after    int
	}{
		{"none that still count", 2, nil, []queue.Receipt{counts('a'), counts('b')}, "", 3},
		{"the expired one", 2, nil, []queue.Receipt{over('a'), counts('b')}, "a", 2},
		{"two that are over", 9, nil, []queue.Receipt{over('a'), over('b')}, "ab", 8},
		{"at most the limit, however many the backend passes", 9, nil, []queue.Receipt{over('a'), over('b'), over('c')}, "ab", 8},
		{"the one whose place it takes", 1, ptr(over('k')), nil, "k", 1},
		{"the one whose place it takes, once", 2, ptr(over('k')), []queue.Receipt{over('k'), over('b')}, "kb", 1},
		{"the oldest beyond the limit", queue.MaxReceipts, nil, []queue.Receipt{counts('a'), counts('b')}, "a", queue.MaxReceipts},
		{"none just below the limit", queue.MaxReceipts - 1, nil, []queue.Receipt{counts('a'), counts('b')}, "", queue.MaxReceipts},
	} {
		t.Run(tt.name, func(t *testing.T) {
			change, err := queue.ScheduleOnce(now, queue.Lane{Job: "j", Receipts: tt.receipts}, nil, once('k', 'v'), queue.Room{}, tt.first, tt.oldest)
			if err != nil {
				t.Fatal(err)
			}
			keys := ""
			for _, r := range change.Forget {
				keys += string(r.Key[:1])
			}
			if keys != tt.forget || change.Lane.Receipts != tt.after {
				t.Errorf("forgets %q and counts %d, want %q and %d", keys, change.Lane.Receipts, tt.forget, tt.after)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }
