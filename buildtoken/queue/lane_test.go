package queue_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// start is the first instant of every test.
var start = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)

func after(d time.Duration) time.Time { return start.Add(d) }

func schedule(t *testing.T, l queue.Lane, equal *queue.Item, r queue.Request) queue.Change {
	t.Helper()
	change, err := queue.Schedule(start, l, equal, r, queue.Room{})
	if err != nil {
		t.Fatal(err)
	}
	return change
}

// claim starts an item of the lane on executor 0.
func claim(t *testing.T, l queue.Lane, id int64) queue.Change {
	t.Helper()
	l.Queued++
	change, ok := queue.Claim(start, l, &queue.Item{ID: id, Job: l.Job, Due: start}, queue.Node{Name: "node"}, 0)
	if !ok {
		t.Fatalf("Claim of item %d: not started", id)
	}
	return change
}

func finish(t *testing.T, l queue.Lane, b queue.Build, r queue.Result) queue.Change {
	t.Helper()
	change, err := queue.Finish(start, l, queue.Summary{}, b, r, "")
	if err != nil {
		t.Fatal(err)
	}
	return change
}

// A program that derives numbers from the history would pass all other tests, until builds are
// dropped.
func TestNumbersDoNotComeFromHistory(t *testing.T) {
	l := queue.Lane{Job: "j", Rules: queue.Rules{KeepBuilds: 1}}
	kept := 0
	for want := int64(1); want <= 20; want++ {
		started := claim(t, l, 100+want)
		if got := started.Build.Number; got != want {
			t.Fatalf("number %d, want %d, with %d builds on record", got, want, kept)
		}
		ended := finish(t, started.Lane, *started.Build, queue.Success)
		kept += 1 - ended.Trim
		l = ended.Lane
	}
	if kept != 1 || l.Kept != 1 {
		t.Errorf("%d builds on record, the lane counts %d, want 1", kept, l.Kept)
	}
}

func TestScheduleCreates(t *testing.T) {
	r := queue.Request{
		ID: 7, Digest: queue.Digest{1}, Delay: 5 * time.Second, Root: "https://ci.example.com",
		Values: []queue.Value{{Name: "ENV", Kind: "string", Text: "staging"}},
		Cause:  queue.Cause{Kind: queue.CauseRemote, Addr: "192.0.2.7"},
	}
	got := schedule(t, queue.Lane{Job: "app/deploy", Queued: 2}, nil, r)
	want := queue.Change{
		Lane: queue.Lane{Job: "app/deploy", Queued: 3},
		Item: &queue.Item{
			ID: 7, Job: "app/deploy", Since: start, Due: after(5 * time.Second), Digest: queue.Digest{1},
			Values: r.Values, Root: r.Root,
			Causes: []queue.Cause{{Kind: queue.CauseRemote, Addr: "192.0.2.7", Count: 1}},
		},
		Created: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("change (-want +got):\n%s", diff)
	}
}

func TestScheduleDue(t *testing.T) {
	const century = 100 * 365 * 24 * time.Hour
	for _, tt := range []struct {
		name  string
		delay time.Duration
		want  time.Time
	}{
		{"no delay is due at once", 0, start},
		{"a delay", 90 * time.Second, after(90 * time.Second)},
		{"a negative delay is none", -time.Hour, start},
		{"the shortest delay", 1, after(1)},
		{"the longest possible delay still lies in the future", 1<<63 - 1, after(century)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := schedule(t, queue.Lane{Job: "j"}, nil, queue.Request{ID: 1, Delay: tt.delay}).Item.Due; !got.Equal(tt.want) {
				t.Errorf("due %v, want %v", got, tt.want)
			}
		})
	}
}

func TestScheduleJoins(t *testing.T) {
	equal := &queue.Item{
		ID: 3, Job: "j", Since: after(-time.Minute), Due: after(10 * time.Second),
		Causes: []queue.Cause{{Kind: queue.CauseUser, User: "alice", Count: 1}}, Root: "https://first.example.com",
	}
	alice, bob := queue.Cause{Kind: queue.CauseUser, User: "alice"}, queue.Cause{Kind: queue.CauseUser, User: "bob"}
	for _, tt := range []struct {
		name     string
		r        queue.Request
		wantDue  time.Duration
		wantLazy bool
		causes   int
	}{
		{"the earlier due instant wins", queue.Request{Delay: 2 * time.Second, Cause: alice}, 2 * time.Second, false, 1},
		{"a later one never pushes back", queue.Request{Delay: time.Hour, Cause: alice}, 10 * time.Second, true, 1},
		{"the same instant changes nothing", queue.Request{Delay: 10 * time.Second, Cause: alice}, 10 * time.Second, true, 1},
		{"a new cause is a fact, also when due does not move", queue.Request{Delay: time.Hour, Cause: bob}, 10 * time.Second, false, 2},
		{"without a delay it is due at once", queue.Request{Cause: bob}, 0, false, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.r.ID, tt.r.Root = 99, "https://second.example.com"
			l := queue.Lane{Job: "j", Queued: 1}
			got := schedule(t, l, equal, tt.r)
			if got.Created || got.Item.ID != 3 || got.Item.Root != equal.Root || !got.Item.Since.Equal(equal.Since) {
				t.Errorf("created %v, item %d since %v under %s; want the item that was there", got.Created, got.Item.ID, got.Item.Since, got.Item.Root)
			}
			if !got.Item.Due.Equal(after(tt.wantDue)) || got.Lazy != tt.wantLazy || len(got.Item.Causes) != tt.causes {
				t.Errorf("due %v, lazy %v, %d causes; want %v, %v, %d", got.Item.Due, got.Lazy, len(got.Item.Causes), after(tt.wantDue), tt.wantLazy, tt.causes)
			}
			if diff := cmp.Diff(l, got.Lane); diff != "" {
				t.Errorf("a join changed the lane (-before +after):\n%s", diff)
			}
		})
	}
}

func TestSoloRequestsNeverJoin(t *testing.T) {
	equal := &queue.Item{ID: 3, Job: "j", Due: start}
	got := schedule(t, queue.Lane{Job: "j", Queued: 1}, equal, queue.Request{ID: 4, Solo: true})
	if !got.Created || got.Item.ID != 4 || !got.Item.Solo || got.Lane.Queued != 2 {
		t.Errorf("created %v, item %d, solo %v, %d queued; want a new solo item 4, 2 queued", got.Created, got.Item.ID, got.Item.Solo, got.Lane.Queued)
	}
}

func TestOnlyNewItemsNeedRoom(t *testing.T) {
	equal := &queue.Item{ID: 3, Job: "j", Due: start}
	for _, tt := range []struct {
		name  string
		equal *queue.Item
		solo  bool
		room  queue.Room
		want  error
	}{
		{"the last of a small queue", nil, false, queue.Room{Queued: 998, Limit: 999}, nil},
		{"a new item with room", nil, false, queue.Room{Queued: 9, Limit: 10}, nil},
		{"a new item without room", nil, false, queue.Room{Queued: 10, Limit: 10}, queue.ErrFull},
		{"a new item when the limit was lowered", nil, false, queue.Room{Queued: 11, Limit: 10}, queue.ErrFull},
		{"a limit of zero is none", nil, false, queue.Room{Queued: 1 << 40}, nil},
		{"a join needs none", equal, false, queue.Room{Queued: 10, Limit: 10}, nil},
		{"a solo request needs some", equal, true, queue.Room{Queued: 10, Limit: 10}, queue.ErrFull},
	} {
		t.Run(tt.name, func(t *testing.T) {
			change, err := queue.Schedule(start, queue.Lane{Job: "j"}, tt.equal, queue.Request{ID: 4, Solo: tt.solo}, tt.room)
			if !errors.Is(err, tt.want) {
				t.Errorf("Schedule: %v, want %v", err, tt.want)
			}
			if diff := cmp.Diff(queue.Change{}, change); tt.want != nil && diff != "" {
				t.Errorf("a refused trigger changed something:\n%s", diff)
			}
		})
	}
}

// A client that can trigger only one job must not be able to block all others.
func TestLastRoomIsForJobsThatHaveNothingQueued(t *testing.T) {
	for _, tt := range []struct {
		name   string
		queued int
		room   queue.Room
		want   error
	}{
		{"one job gets 950 places of a thousand", 949, queue.Room{Queued: 949, Limit: 1000}, nil},
		{"but not the rest", 950, queue.Room{Queued: 950, Limit: 1000}, queue.ErrFull},
		{"nor if it has only some of them", 1, queue.Room{Queued: 950, Limit: 1000}, queue.ErrFull},
		{"which other jobs get", 0, queue.Room{Queued: 999, Limit: 1000}, nil},
		{"if other jobs have the places", 0, queue.Room{Queued: 1000, Limit: 1000}, queue.ErrFull},
		{"a lower limit reserves no places", 998, queue.Room{Queued: 998, Limit: 999}, nil},
		{"of the usual limit it is 500", 9500, queue.Room{Queued: 9500, Limit: 10_000}, queue.ErrFull},
		{"and not more", 9499, queue.Room{Queued: 9499, Limit: 10_000}, nil},
		{"without a limit there is room", 1 << 30, queue.Room{Queued: 1 << 30}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := queue.Schedule(start, queue.Lane{Job: "j", Queued: tt.queued}, nil, queue.Request{ID: 4}, tt.room); !errors.Is(err, tt.want) {
				t.Errorf("Schedule: %v, want %v", err, tt.want)
			}
		})
	}
}

// The total size is limited, because a caller that lists the queue needs that much memory.
func TestRoomForParameters(t *testing.T) {
	large := []queue.Value{{Name: "A", Text: strings.Repeat("a", 10<<10)}}
	small := []queue.Value{{Name: "A", Text: strings.Repeat("a", 900)}}
	for _, tt := range []struct {
		name   string
		queued int
		values []queue.Value
		room   queue.Room
		want   error
	}{
		{"there is some", 0, large, queue.Room{KiB: 90, MaxKiB: 100}, nil},
		{"there is too little", 0, large, queue.Room{KiB: 91, MaxKiB: 100}, queue.ErrFull},
		{"the last twentieth of much is for others", 1, large, queue.Room{KiB: 941, MaxKiB: 1000}, queue.ErrFull},
		{"ordinary parameters need none", 1, small, queue.Room{KiB: 200, MaxKiB: 100}, nil},
		{"without a limit", 1, large, queue.Room{KiB: 1 << 40}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := queue.Lane{Job: "j", Queued: tt.queued}
			if _, err := queue.Schedule(start, l, nil, queue.Request{ID: 4, Values: tt.values}, tt.room); !errors.Is(err, tt.want) {
				t.Errorf("Schedule: %v, want %v", err, tt.want)
			}
		})
	}
}

func TestNoBuildEndsBeforeItBegan(t *testing.T) {
	l := queue.Lane{Job: "j", Running: []int64{1}, LastNumber: 1}
	change, err := queue.Finish(start.Add(-3*time.Hour), l, queue.Summary{}, queue.Build{Item: queue.Item{ID: 1, Job: "j"}, Number: 1, Started: start}, queue.Success, "")
	if err != nil || !change.Build.Ended.Equal(start) {
		t.Errorf("Finish by a clock that was set back: %+v, %v, want that it ended when it began", change.Build, err)
	}
}

// laneCases are lanes with an item that is due at start.
var laneCases = []struct {
	name string
	lane queue.Lane
	open bool
}{
	{"nothing runs", queue.Lane{}, true},
	{"a build runs", queue.Lane{Running: []int64{4}}, false},
	{"a build runs, concurrent", queue.Lane{Running: []int64{4}, Rules: queue.Rules{Concurrent: true}}, true},
	{"disabled", queue.Lane{Rules: queue.Rules{Disabled: true}}, false},
	{"disabled, concurrent", queue.Lane{Rules: queue.Rules{Disabled: true, Concurrent: true}}, false},
	{"builds of the time when it was concurrent", queue.Lane{Running: []int64{4, 5}}, false},
}

func TestNextAndClaimAgree(t *testing.T) {
	for _, tt := range laneCases {
		t.Run(tt.name, func(t *testing.T) {
			tt.lane.Job, tt.lane.Queued, tt.lane.LastNumber = "j", 1, 5
			item := &queue.Item{ID: 1, Job: "j", Due: start}
			next := queue.Next(tt.lane, item.Due)
			if tt.open != next.Equal(start) || !tt.open != next.IsZero() {
				t.Errorf("Next = %v, open %v", next, tt.open)
			}
			if got := queue.Next(tt.lane, time.Time{}); !got.IsZero() {
				t.Errorf("Next without an item = %v, want zero", got)
			}
			for _, early := range []time.Duration{1, time.Second} {
				if _, ok := queue.Claim(start.Add(-early), tt.lane, item, queue.Node{Name: "node"}, 0); ok {
					t.Errorf("started %v before it was due", early)
				}
			}
			before := slices.Clone(tt.lane.Running)
			change, ok := queue.Claim(start, tt.lane, item, queue.Node{Name: "node"}, 3)
			if ok != tt.open {
				t.Fatalf("Claim when due: %v, want %v", ok, tt.open)
			}
			if !ok {
				return
			}
			want := queue.Change{
				Lane:  queue.Lane{Job: "j", Rules: tt.lane.Rules, LastNumber: 6, Running: append(before, 6)},
				Left:  1,
				Build: &queue.Build{Item: *item, Number: 6, Node: "node", Executor: 3, Started: start},
			}
			if diff := cmp.Diff(want, change); diff != "" {
				t.Errorf("change (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	it := queue.Item{ID: 5, Job: "j", Due: start}
	got := queue.Cancel(after(time.Second), queue.Lane{Job: "j", Queued: 3}, it, "alice")
	want := queue.Change{
		Lane: queue.Lane{Job: "j", Queued: 2, KeptCancelled: 1}, Left: 5,
		Cancelled: &queue.Cancelled{Item: it, At: after(time.Second), By: "alice"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("change (-want +got):\n%s", diff)
	}
}

func TestFinishFence(t *testing.T) {
	l := queue.Lane{Job: "j", Running: []int64{7, 8}, LastNumber: 8}
	running := queue.Build{Item: queue.Item{ID: 1, Job: "j"}, Number: 7, Started: start}
	ended := running
	ended.Result = queue.Success
	for _, tt := range []struct {
		name  string
		lane  queue.Lane
		build queue.Build
		want  error
	}{
		{"a running build", l, running, nil},
		{"a build that the lane does not run", queue.Lane{Job: "j", Running: []int64{8}, LastNumber: 8}, running, queue.ErrNotRunning},
		{"a build that has ended on record", l, ended, queue.ErrNotRunning},
	} {
		t.Run(tt.name, func(t *testing.T) {
			change, err := queue.Finish(start, tt.lane, queue.Summary{}, tt.build, queue.Failure, "exit status 1")
			if !errors.Is(err, tt.want) {
				t.Fatalf("Finish: %v, want %v", err, tt.want)
			}
			if tt.want != nil {
				return
			}
			if !slices.Equal(change.Lane.Running, []int64{8}) || !slices.Equal(l.Running, []int64{7, 8}) {
				t.Errorf("running %v, the caller's lane %v; want [8] and [7 8]", change.Lane.Running, l.Running)
			}
			if b := change.Build; b.Running() || b.Result != queue.Failure || b.Reason != "exit status 1" || !b.Ended.Equal(start) {
				t.Errorf("build %+v did not end", b)
			}
			if _, err := queue.Finish(start, change.Lane, queue.Summary{}, *change.Build, queue.Success, ""); !errors.Is(err, queue.ErrNotRunning) {
				t.Errorf("second Finish: %v, want %v", err, queue.ErrNotRunning)
			}
		})
	}
}

func TestLastIsTheHighestNumberThatEnded(t *testing.T) {
	l := queue.Lane{Job: "j", Rules: queue.Rules{Concurrent: true}}
	first := claim(t, l, 1)
	second := claim(t, first.Lane, 2)
	l = finish(t, second.Lane, *second.Build, queue.Success).Lane
	if l.Last != queue.Success || l.LastEnded != 2 {
		t.Errorf("last %v of #%d, want SUCCESS of #2", l.Last, l.LastEnded)
	}
	l = finish(t, l, *first.Build, queue.Failure).Lane
	if l.Last != queue.Success || l.LastEnded != 2 {
		t.Errorf("a lower number that ended later gives last %v of #%d, want SUCCESS of #2", l.Last, l.LastEnded)
	}
}

func TestTrim(t *testing.T) {
	for _, tt := range []struct {
		name             string
		keep, kept       int
		wantTrim, wantIn int
	}{
		{"zero keeps all", 0, 50, 0, 51},
		{"below the limit", 3, 1, 0, 2},
		{"at the limit", 3, 2, 0, 3},
		{"one above", 3, 3, 1, 3},
		{"a lowered limit", 3, 10, 8, 3},
		{"a much lowered limit is not dropped at once", 3, 5000, 1000, 4001},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rules := queue.Rules{KeepBuilds: tt.keep}
			started := claim(t, queue.Lane{Job: "j", Rules: rules, Kept: tt.kept, LastNumber: int64(tt.kept)}, 1)
			ended := finish(t, started.Lane, *started.Build, queue.Success)
			if ended.Trim != tt.wantTrim || ended.Lane.Kept != tt.wantIn || ended.TrimCancelled != 0 {
				t.Errorf("Finish trims %d, keeps %d, want %d and %d", ended.Trim, ended.Lane.Kept, tt.wantTrim, tt.wantIn)
			}
			gone := queue.Cancel(start, queue.Lane{Job: "j", Rules: rules, KeptCancelled: tt.kept, Queued: 1}, queue.Item{ID: 1}, "")
			if gone.TrimCancelled != tt.wantTrim || gone.Lane.KeptCancelled != tt.wantIn || gone.Trim != 0 {
				t.Errorf("Cancel trims %d, keeps %d, want %d and %d", gone.TrimCancelled, gone.Lane.KeptCancelled, tt.wantTrim, tt.wantIn)
			}
		})
	}
}

func TestAbort(t *testing.T) {
	l := queue.Lane{Job: "j", Running: []int64{7}, LastNumber: 7}
	b := queue.Build{Item: queue.Item{ID: 1, Job: "j"}, Number: 7, Started: start}
	first, err := queue.Abort(l, b, "alice")
	if err != nil || first.Build.Abort != "alice" || !first.Build.Running() {
		t.Fatalf("Abort = %+v, %v; want a running build that alice wants to stop", first.Build, err)
	}
	second, err := queue.Abort(first.Lane, *first.Build, "bob")
	if err != nil || second.Build.Abort != "alice" {
		t.Errorf("second Abort = %q, %v; want the first request, by alice", second.Build.Abort, err)
	}
	ended := finish(t, second.Lane, *second.Build, queue.Aborted)
	if _, err := queue.Abort(ended.Lane, *ended.Build, "carol"); !errors.Is(err, queue.ErrNotRunning) {
		t.Errorf("Abort of a build that ended: %v, want %v", err, queue.ErrNotRunning)
	}
	if _, err := queue.Abort(queue.Lane{Job: "j"}, b, "carol"); !errors.Is(err, queue.ErrNotRunning) {
		t.Errorf("Abort of a build that the lane does not run: %v, want %v", err, queue.ErrNotRunning)
	}
}

func TestExplainLooksAtReasonsInOrder(t *testing.T) {
	everything := queue.Lane{Running: []int64{4, 6}, Rules: queue.Rules{Disabled: true, Label: "gpu"}}
	enabled := everything
	enabled.Rules.Disabled = false
	concurrent := enabled
	concurrent.Rules.Concurrent = true
	idle := enabled
	idle.Running = nil
	for _, tt := range []struct {
		name  string
		lane  queue.Lane
		due   time.Duration
		state queue.State
		want  queue.Blockage
	}{
		{"the quiet period comes first", everything, 1, queue.Waiting, queue.Blockage{Reason: queue.QuietPeriod, Until: after(1)}},
		{"then that the job is disabled", everything, 0, queue.Blocked, queue.Blockage{Reason: queue.JobDisabled}},
		{"then the newest running build", enabled, 0, queue.Blocked, queue.Blockage{Reason: queue.BuildRunning, Number: 6}},
		{"a concurrent job waits for an executor only", concurrent, 0, queue.Buildable, queue.Blockage{Reason: queue.NoExecutor, Label: "gpu"}},
		{"and so does an idle one", idle, -time.Hour, queue.Buildable, queue.Blockage{Reason: queue.NoExecutor, Label: "gpu"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			state, blockage := tt.lane.Explain(start, queue.Item{Due: after(tt.due)})
			if state != tt.state {
				t.Errorf("state %q, want %q", state, tt.state)
			}
			if diff := cmp.Diff(tt.want, blockage); diff != "" {
				t.Errorf("blockage (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDigestText(t *testing.T) {
	want := queue.Digest{0, 1, 2, 0xff, 0xfe, 15: 9}
	text, err := want.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var got queue.Digest
	if err := got.UnmarshalText(text); err != nil || got != want {
		t.Errorf("UnmarshalText(%s) = %v, %v; want %v", text, got, err, want)
	}
	for _, bad := range []string{"", "AA", string(text) + "AA", "!" + string(text[1:]), string(text) + "=="} {
		d := want
		if err := d.UnmarshalText([]byte(bad)); err == nil || d != want {
			t.Errorf("UnmarshalText(%q) = %v, digest %v; want an error and no change", bad, err, d)
		}
	}
}

// TestChangesOfBuildsThatDoNotRun applies each change of a running build to builds that are not
// running.
func TestChangesOfBuildsThatDoNotRun(t *testing.T) {
	l := queue.Lane{Job: "j", Running: []int64{7}, LastNumber: 8}
	running := queue.Build{Item: queue.Item{ID: 1, Job: "j"}, Number: 7, Started: start}
	ended, unknown := running, running
	ended.Result, unknown.Number = queue.Success, 8
	for name, change := range map[string]func(queue.Build) (queue.Change, error){
		"Abort":     func(b queue.Build) (queue.Change, error) { return queue.Abort(l, b, "alice") },
		"SetHandle": func(b queue.Build) (queue.Change, error) { return queue.SetHandle(l, b, []byte("h")) },
		"Adopt":     func(b queue.Build) (queue.Change, error) { return queue.Adopt(l, b, queue.Node{Name: "n"}, 3) },
		"Finish": func(b queue.Build) (queue.Change, error) {
			return queue.Finish(start, l, queue.Summary{}, b, queue.Success, "")
		},
	} {
		if c, err := change(running); err != nil || c.Build == nil {
			t.Errorf("%s of a running build = %+v, %v", name, c, err)
		}
		for _, b := range []queue.Build{ended, unknown} {
			if c, err := change(b); !errors.Is(err, queue.ErrNotRunning) || c.Build != nil {
				t.Errorf("%s of #%d with result %q = %+v, %v; want ErrNotRunning and no change", name, b.Number, b.Result, c, err)
			}
		}
	}
}

func TestAdopt(t *testing.T) {
	l := queue.Lane{Job: "j", Running: []int64{7}, LastNumber: 7}
	b := queue.Build{Item: queue.Item{ID: 1, Job: "j"}, Number: 7, Started: start, Node: "gone", Handle: []byte("h")}
	want := b
	want.Node, want.Executor = "here", 3
	c, err := queue.Adopt(l, b, queue.Node{Name: "here"}, 3)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, c.Build); diff != "" {
		t.Errorf("Adopt (-want +got):\n%s", diff)
	}
}

func TestHandleIsBounded(t *testing.T) {
	l := queue.Lane{Job: "j", Running: []int64{7}}
	b := queue.Build{Item: queue.Item{Job: "j"}, Number: 7}
	handle := make([]byte, 4096)
	c, err := queue.SetHandle(l, b, handle)
	if err != nil || len(c.Build.Handle) != 4096 {
		t.Fatalf("SetHandle of %d bytes = %v", len(handle), err)
	}
	if handle[0] = 1; c.Build.Handle[0] == 1 {
		t.Error("SetHandle keeps the caller's slice")
	}
	if _, err := queue.SetHandle(l, b, make([]byte, 4097)); err == nil {
		t.Error("SetHandle of 4097 bytes = nil, want an error")
	}
}

func TestLastLines(t *testing.T) {
	for want, b := range map[string]queue.Build{
		"Finished: SUCCESS":                {Result: queue.Success},
		"exit status 1\nFinished: FAILURE": {Result: queue.Failure, Reason: "exit status 1"},
	} {
		if got := strings.Join(b.LastLines(), "\n"); got != want {
			t.Errorf("LastLines of %+v = %q, want %q", b, got, want)
		}
	}
}

// TestKiB puts the size into one field after the other.
func TestKiB(t *testing.T) {
	text := strings.Repeat("x", 1500)
	for i, v := range []queue.Value{{Name: text}, {Kind: text}, {Text: text}, {Sealed: []byte(text)}, {Ref: text}} {
		if got := queue.KiB([]queue.Value{v, {Text: text[:548]}}); got != 2 {
			t.Errorf("KiB of 2048 bytes, most in field %d = %d, want 2", i, got)
		}
		if got := queue.KiB([]queue.Value{v, {Text: text[:547]}}); got != 1 {
			t.Errorf("KiB of 2047 bytes, most in field %d = %d, want 1", i, got)
		}
	}
}
