package queuetest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// callers is the number of concurrent callers.
const callers = 50

// together calls do from many goroutines that start at the same time, and waits for them.
func together(n int, do func(caller int)) {
	var wait sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		wait.Go(func() {
			<-begin
			do(i)
		})
	}
	close(begin)
	wait.Wait()
}

func equalTriggersAtOnce(t *testing.T, _ Store, q Queue) {
	const each = 4
	var mu sync.Mutex
	created := map[int64]int{}
	together(callers, func(caller int) {
		for n := range each {
			r := request("j", "k")
			r.Cause.Note = fmt.Sprint(caller % 7)
			r.Delay = time.Duration(100-caller-n) * time.Second
			it, isNew, err := q.Schedule(t.Context(), start, r)
			if err != nil {
				t.Errorf("Schedule: %v", err)
				return
			}
			mu.Lock()
			created[it.ID] += 0
			if isNew {
				created[it.ID]++
			}
			mu.Unlock()
		}
	})
	if len(created) != 1 || created[1] != 1 {
		t.Fatalf("items and how often each was created: %v, want item 1 once", created)
	}
	e, err := q.Entry(t.Context(), start, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.Item.Triggers(); got != callers*each {
		t.Errorf("the item counts %d triggers, there were %d", got, callers*each)
	}
	if want := start.Add((100 - callers - each + 2) * time.Second); !e.Item.Due.Equal(want) {
		t.Errorf("due %v, want the earliest that was asked for, %v", e.Item.Due, want)
	}
	for _, c := range e.Item.Causes {
		want := callers / 7 * each
		if c.Note == "0" {
			want += each // 50 is 7*7+1
		}
		if c.Count != want {
			t.Errorf("cause %q counted %d times, want %d", c.Note, c.Count, want)
		}
	}
}

// decisionsNeverOverlap runs all operations on one job at once, and then verifies that
// everything that was accepted is accounted for.
func decisionsNeverOverlap(t *testing.T, _ Store, q Queue) {
	setRules(t, q, map[string]queue.Rules{"j": {Concurrent: true}}, 0)
	var mu sync.Mutex
	var accepted, cancelled int
	numbers := map[int64]int64{} // build number → item
	together(callers, func(caller int) {
		for n := range 4 {
			it, _, err := q.Schedule(t.Context(), start, request("j", fmt.Sprint(caller%5, n)))
			if err != nil {
				t.Errorf("Schedule: %v", err)
				return
			}
			mu.Lock()
			accepted++
			mu.Unlock()
			switch caller % 3 {
			case 0:
				err := q.Cancel(t.Context(), start, "j", it.ID, "alice")
				if err != nil && !errors.Is(err, queue.ErrLeft) {
					t.Errorf("Cancel: %v", err)
				}
			case 1:
				builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{caller})
				if err != nil {
					t.Errorf("Claim: %v", err)
				}
				for _, b := range builds {
					mu.Lock()
					if other, ok := numbers[b.Number]; ok {
						t.Errorf("number %d was given to items %d and %d", b.Number, other, b.Item.ID)
					}
					numbers[b.Number] = b.Item.ID
					mu.Unlock()
					if _, err := q.Finish(t.Context(), start, "j", b.Number, queue.Success, ""); err != nil {
						t.Errorf("Finish: %v", err)
					}
				}
			}
		}
	})
	left, err := q.Items(t.Context(), start, "j", all)
	if err != nil {
		t.Fatal(err)
	}
	triggers, items := 0, map[int64]bool{}
	for _, e := range left {
		triggers += e.Item.Triggers()
		items[e.Item.ID] = true
	}
	for number, id := range numbers {
		b, err := q.Build(t.Context(), "j", number)
		if err != nil || b.Item.ID != id || b.Running() {
			t.Errorf("build %d of item %d: %+v, %v", number, id, b, err)
		}
		triggers += b.Item.Triggers()
		items[id] = true
	}
	l := lane(t, q, "j")
	for id := int64(1); id <= int64(accepted); id++ {
		e, err := q.Entry(t.Context(), start, id)
		if err == nil && e.Cancelled != nil {
			cancelled++
			triggers += e.Item.Triggers()
			items[id] = true
		}
	}
	if triggers != accepted {
		t.Errorf("%d triggers were accepted, %d are on record", accepted, triggers)
	}
	if l.Queued != len(left) || l.Kept != len(numbers) || l.LastNumber != int64(len(numbers)) || l.KeptCancelled != cancelled || len(l.Running) != 0 {
		t.Errorf("lane %+v; there are %d queued, %d built, %d cancelled", l, len(left), len(numbers), cancelled)
	}
	if len(items) != len(left)+len(numbers)+cancelled {
		t.Errorf("%d items in %d places", len(items), len(left)+len(numbers)+cancelled)
	}
}

func claimsAtOnce(t *testing.T, _ Store, q Queue) {
	const jobs, each = 4, 3
	for job := range jobs {
		for n := range each {
			schedule(t, q, request(fmt.Sprint("job", job), fmt.Sprint(n)))
		}
	}
	for round := range each {
		var mu sync.Mutex
		var started []queue.Build
		together(callers, func(caller int) {
			builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: fmt.Sprint("node", caller)}, []int{0, 1})
			if err != nil {
				t.Errorf("Claim: %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			started = append(started, builds...)
		})
		slices.SortFunc(started, func(a, b queue.Build) int { return cmp.Compare(a.Item.Job, b.Item.Job) })
		if len(started) != jobs {
			t.Fatalf("round %d: %d builds of %d jobs that may run one each: %v", round, len(started), jobs, started)
		}
		for i, b := range started {
			if b.Item.Job != fmt.Sprint("job", i) || b.Number != int64(round+1) {
				t.Errorf("round %d: %s #%d started, want job%d #%d", round, b.Item.Job, b.Number, i, round+1)
			}
			finish(t, q, b)
		}
	}
	if builds := claim(t, q, 0); len(builds) != 0 {
		t.Errorf("started %v from an empty queue", builds)
	}
}

func claimsWithinExecutors(t *testing.T, _ Store, q Queue) {
	setRules(t, q, map[string]queue.Rules{"j": {Concurrent: true}}, 0)
	for n := range 10 {
		schedule(t, q, request("j", fmt.Sprint(n)))
	}
	for _, executors := range [][]int{{}, {5}, {1, 3, 8}, {0, 2}} {
		builds := claim(t, q, executors...)
		var got []int
		for _, b := range builds {
			got = append(got, b.Executor)
		}
		if !slices.Equal(got, executors) {
			t.Errorf("executors %v were given builds on %v", executors, got)
		}
	}
	if builds := claim(t, q, 0, 1, 2, 3, 4, 5, 6, 7); len(builds) != 4 {
		t.Errorf("%d builds of the last 4 items", len(builds))
	}
}
