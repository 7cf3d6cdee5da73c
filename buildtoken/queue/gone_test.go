package queue_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

func TestConfigure(t *testing.T) {
	rules := queue.Rules{Disabled: true, KeepBuilds: 3, Label: "gpu", Remote: true}
	has := queue.Config{Rules: map[string]queue.Rules{"j": rules}, Grace: time.Hour}
	lacks := queue.Config{Rules: map[string]queue.Rules{"other": {}}, Grace: time.Hour}
	l := queue.Lane{Job: "j", Queued: 1}.Configure(start, has)
	if !l.Rules.Equal(rules) || !l.GoneUntil.IsZero() {
		t.Errorf("with the job: %+v", l)
	}
	l = l.Configure(start, lacks)
	if !l.Rules.Equal(rules) || !l.GoneUntil.Equal(start.Add(time.Hour)) {
		t.Errorf("without the job: %+v, want its old rules, and an hour", l)
	}
	l = l.Configure(start.Add(time.Minute), lacks)
	if !l.GoneUntil.Equal(start.Add(time.Hour)) {
		t.Errorf("still without it: until %v, want the first hour", l.GoneUntil)
	}

	// The item waits, and then ends on any node, whatever its rules were.
	it := queue.Item{ID: 1, Job: "j", Due: start}
	if state, why := l.Explain(start, it); state != queue.Blocked || why.Reason != queue.NoServer || !why.Until.Equal(l.GoneUntil) {
		t.Errorf("Explain = %s, %+v", state, why)
	}
	if next := queue.Next(l, it.Due); !next.Equal(l.GoneUntil) {
		t.Errorf("Next = %v, want %v", next, l.GoneUntil)
	}
	if next := queue.Next(l, start.Add(2*time.Hour)); !next.Equal(start.Add(2 * time.Hour)) {
		t.Errorf("Next of an item that is due later = %v", next)
	}
	if _, ok := queue.Claim(l.GoneUntil.Add(-1), l, &it, queue.Node{Name: "n"}, 0); ok {
		t.Error("it was claimed before its time was over")
	}
	if _, ok := queue.Claim(l.GoneUntil, l, &it, queue.Node{Name: "n"}, 0); !ok {
		t.Error("it was not claimed when its time was over")
	}
	if l = l.Configure(start, has); !l.GoneUntil.IsZero() {
		t.Errorf("the job came back: %+v", l)
	}
	if _, ok := queue.Claim(start, l, &it, queue.Node{Name: "n"}, 0); ok {
		t.Error("a disabled job that came back was claimed")
	}
}

// Forget drops the records of a job that is gone. The numbers of its builds stay used.
func TestForget(t *testing.T) {
	gone := queue.Lane{
		Job: "j", Rules: queue.Rules{KeepBuilds: 3}, GoneUntil: start, LastNumber: 9, Kept: 3, KeptCancelled: 2, Receipts: 1,
		Last: queue.Failure, LastEnded: 9,
	}
	change, err := queue.Forget(gone)
	want := queue.Change{
		Lane: queue.Lane{Job: "j", Rules: queue.Rules{KeepBuilds: 3}, GoneUntil: start, LastNumber: 9},
		Trim: 3, TrimCancelled: 2, Summary: &queue.Summary{Job: "j"},
	}
	if diff := cmp.Diff(want, change); diff != "" || err != nil {
		t.Errorf("Forget = %v (-want +got):\n%s", err, diff)
	}
	if !gone.HasRecords() || change.Lane.HasRecords() {
		t.Errorf("HasRecords = %v before and %v after it", gone.HasRecords(), change.Lane.HasRecords())
	}
	for _, one := range []queue.Lane{{Kept: 1}, {KeptCancelled: 1}, {Receipts: 1}} {
		if !one.HasRecords() {
			t.Errorf("%+v has no records", one)
		}
	}
	for name, change := range map[string]func(*queue.Lane){
		"a configuration has it": func(l *queue.Lane) { l.GoneUntil = time.Time{} },
		"an item is queued":      func(l *queue.Lane) { l.Queued = 1 },
		"a build runs":           func(l *queue.Lane) { l.Running = []int64{9} },
	} {
		l := gone
		change(&l)
		if c, err := queue.Forget(l); !errors.Is(err, queue.ErrInUse) || c.Trim != 0 || c.Summary != nil {
			t.Errorf("%s: Forget = %+v, %v, want ErrInUse", name, c, err)
		}
	}
}

// An item of a gone job ends on an executor of any node, and Explain reports that.
func TestGoneItemNeedsAnExecutor(t *testing.T) {
	l := queue.Lane{Job: "j", Queued: 1, Rules: queue.Rules{Remote: true, Label: "gpu"}, GoneUntil: start}
	it := queue.Item{ID: 1, Job: "j", Due: start}
	if _, ok := queue.Claim(start, l, &it, queue.Node{Name: "n"}, 0); !ok {
		t.Error("an executor does not take the item")
	}
	if _, got := l.Explain(start, it); got != (queue.Blockage{Reason: queue.NoExecutor}) {
		t.Errorf("the item waits for %+v, want an executor of any node", got)
	}
}

// A claim takes items that need an executor, or items that do not, but never both.
func TestPlaces(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rules queue.Rules
		node  queue.Node
		want  bool
	}{
		{"no label", queue.Rules{}, queue.Node{Name: "n"}, true},
		{"the node's label", queue.Rules{Label: "gpu"}, queue.Node{Name: "n", Labels: []string{"arm", "gpu"}}, true},
		{"the node's name", queue.Rules{Label: "n"}, queue.Node{Name: "n"}, true},
		{"another label", queue.Rules{Label: "gpu"}, queue.Node{Name: "n"}, false},
		{"a remote job and an executor", queue.Rules{Remote: true}, queue.Node{Name: "n"}, false},
		{"a remote job and a slot", queue.Rules{Remote: true}, queue.Node{Name: "n", Remote: true}, true},
		{"another job and a slot", queue.Rules{}, queue.Node{Name: "n", Remote: true}, false},
		{"a remote job with another label", queue.Rules{Remote: true, Label: "gpu"}, queue.Node{Name: "n", Remote: true}, false},
		{"a remote job with the label", queue.Rules{Remote: true, Label: "gpu"}, queue.Node{Name: "n", Labels: []string{"gpu"}, Remote: true}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := queue.Lane{Job: "j", Queued: 1, Rules: tt.rules}
			if got := slices.Contains(tt.node.Places(), l.Place()); got != tt.want {
				t.Errorf("the node serves the lane: %v, want %v", got, tt.want)
			}
			if _, got := queue.Claim(start, l, &queue.Item{ID: 1, Job: "j", Due: start}, tt.node, 0); got != tt.want {
				t.Errorf("Claim = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestRulesEqual(t *testing.T) {
	full := queue.Rules{
		Concurrent: true, Disabled: true, KeepBuilds: 1, Label: "l", Remote: true,
		Notify: []queue.Target{{Name: "t", On: []queue.Condition{queue.OnFailure}}},
	}
	if !full.Equal(full) || !(queue.Rules{}).Equal(queue.Rules{}) {
		t.Error("rules differ from themselves")
	}
	for name, change := range map[string]func(*queue.Rules){
		"concurrent": func(r *queue.Rules) { r.Concurrent = false },
		"disabled":   func(r *queue.Rules) { r.Disabled = false },
		"keep":       func(r *queue.Rules) { r.KeepBuilds = 2 },
		"label":      func(r *queue.Rules) { r.Label = "" },
		"remote":     func(r *queue.Rules) { r.Remote = false },
		"notify":     func(r *queue.Rules) { r.Notify = nil },
		"conditions": func(r *queue.Rules) { r.Notify = []queue.Target{{Name: "t", On: []queue.Condition{queue.OnFixed}}} },
	} {
		other := full
		if change(&other); full.Equal(other) {
			t.Errorf("rules that differ in %s are equal", name)
		}
	}
}
