package queue_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// history ends builds with these results one after the other, each a second longer than the one
// before, and returns the summary.
func history(t *testing.T, l queue.Lane, results ...queue.Result) queue.Summary {
	t.Helper()
	var s queue.Summary
	for i, r := range results {
		n := int64(i + 1)
		l.Running = []int64{n}
		b := queue.Build{Item: queue.Item{ID: n, Job: l.Job}, Number: n, Started: start}
		change, err := queue.Finish(start.Add(time.Duration(n)*time.Second), l, s, b, r, "")
		if err != nil {
			t.Fatal(err)
		}
		s = *change.Summary
		if s.Job != l.Job {
			t.Errorf("the summary is of job %q, want %q", s.Job, l.Job)
		}
	}
	return s
}

func TestSummary(t *testing.T) {
	const none = int64(0)
	ok, bad, odd, stop, not := queue.Success, queue.Failure, queue.Unstable, queue.Aborted, queue.NotBuilt
	for _, tt := range []struct {
		name                           string
		results                        []queue.Result
		successful, stable, unstable   int64
		failed, unsuccessful, complete int64
		failing                        int64
		estimate                       time.Duration
	}{
		{"no build has ended", nil, none, none, none, none, none, none, none, -1},
		{"a success", []queue.Result{ok}, 1, 1, none, none, none, 1, none, time.Second},
		{"an unstable build is successful and not stable", []queue.Result{ok, odd}, 2, 1, 2, none, 2, 2, 2, 1500 * time.Millisecond},
		{"a failure begins a streak", []queue.Result{ok, bad, bad}, 1, 1, none, 3, 3, 3, 2, time.Second},
		{"what came to no verdict does not end it", []queue.Result{bad, stop, not, odd}, 4, none, 4, 1, 4, 4, 1, 4 * time.Second},
		{"a success ends it", []queue.Result{bad, odd, ok}, 3, 3, 2, 1, 2, 3, none, 2500 * time.Millisecond},
		{"only builds without a verdict", []queue.Result{stop, not}, none, none, none, none, 2, 2, none, 2 * time.Second},
		{"the mean of the last three successes", []queue.Result{ok, ok, ok, bad, ok}, 5, 5, none, 4, 4, 5, none, 3333 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := history(t, queue.Lane{Job: "j"}, tt.results...)
			for name, got := range map[string][2]int64{
				"successful":   {last(s, ok, odd), tt.successful},
				"stable":       {last(s, ok), tt.stable},
				"unstable":     {last(s, odd), tt.unstable},
				"failed":       {last(s, bad), tt.failed},
				"unsuccessful": {last(s, bad, odd, stop, not), tt.unsuccessful},
				"completed":    {last(s), tt.complete},
			} {
				if got[0] != got[1] {
					t.Errorf("last %s build is %d, want %d", name, got[0], got[1])
				}
			}
			if since, failing := s.FailingSince(); failing != (tt.failing > 0) || failing && since.Number != tt.failing {
				t.Errorf("FailingSince = %d, %v, want %d", since.Number, failing, tt.failing)
			}
			if d, ok := s.Estimate(); ok != (tt.estimate >= 0) || ok && d != tt.estimate {
				t.Errorf("Estimate = %v, %v, want %v", d, ok, tt.estimate)
			}
		})
	}
}

func last(s queue.Summary, results ...queue.Result) int64 {
	e, _ := s.LastWith(results...)
	return e.Number
}

// A build of a concurrent job that ends after a newer one does not change what came of that one.
func TestSummaryOfBuildsThatEndInAnyOrder(t *testing.T) {
	for _, tt := range []struct {
		newer, older queue.Result
		failing      int64 // 0: since none
	}{
		{queue.Failure, queue.Success, 2},
		{queue.Success, queue.Failure, 0},
		{queue.Failure, queue.Failure, 2},
		{queue.Aborted, queue.Failure, 1},
	} {
		var s queue.Summary
		l := queue.Lane{Job: "j", Running: []int64{1, 2}}
		for _, b := range []queue.Build{{Number: 2, Result: tt.newer}, {Number: 1, Result: tt.older}} {
			b.Item, b.Started = queue.Item{ID: b.Number, Job: "j"}, start
			r := b.Result
			b.Result = ""
			change, err := queue.Finish(start, l, s, b, r, "")
			if err != nil {
				t.Fatal(err)
			}
			l, s = change.Lane, *change.Summary
		}
		if since, failing := s.FailingSince(); since.Number != tt.failing && failing || failing != (tt.failing > 0) {
			t.Errorf("%s, then %s of an older build: FailingSince = %d, %v, want %d", tt.newer, tt.older, since.Number, failing, tt.failing)
		}
		if l.LastEnded != 2 || l.Last != tt.newer || s.Recent[0].Number != 2 {
			t.Errorf("%s, then %s of an older build: the last one is #%d, %s", tt.newer, tt.older, l.LastEnded, l.Last)
		}
	}
}

func TestEntryEnded(t *testing.T) {
	for _, tt := range []struct {
		name  string
		entry queue.Entry
		want  bool
	}{
		{"queued", queue.Entry{}, false},
		{"running", queue.Entry{Build: &queue.Build{Started: start}}, false},
		{"built", queue.Entry{Build: &queue.Build{Started: start, Ended: start, Result: queue.Success}}, true},
		{"cancelled", queue.Entry{Cancelled: &queue.Cancelled{}}, true},
	} {
		if got := tt.entry.Ended(); got != tt.want {
			t.Errorf("an item that is %s: Ended = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestSummaryIsBounded(t *testing.T) {
	results := make([]queue.Result, 3*queue.MaxRecent)
	for i := range results {
		results[i] = queue.Success
	}
	s := history(t, queue.Lane{Job: "j"}, results...)
	if len(s.Recent) != queue.MaxRecent || s.Recent[0].Number != int64(len(results)) || len(s.Last) != 1 {
		t.Errorf("%d recent builds, the first #%d, %d last ones", len(s.Recent), s.Recent[0].Number, len(s.Last))
	}
}

// A success that is no longer among the recent builds still counts, if it is one of the last
// successes.
func TestEstimateAfterManyFailures(t *testing.T) {
	results := []queue.Result{queue.Success, queue.Unstable}
	for range queue.MaxRecent {
		results = append(results, queue.Failure)
	}
	s := history(t, queue.Lane{Job: "j"}, results...)
	if d, ok := s.Estimate(); d != 1500*time.Millisecond || !ok {
		t.Errorf("Estimate = %v, %v, want that of the two builds that succeeded, 1.5s", d, ok)
	}
}

// A build that was stopped after a moment does not tell how long the next one takes.
func TestUsualLeavesOutStoppedBuilds(t *testing.T) {
	for _, tt := range []struct {
		results []queue.Result // the first took a second, the next two, …
		want    time.Duration
	}{
		{nil, 0},
		{[]queue.Result{queue.Aborted}, 0},
		{[]queue.Result{queue.NotBuilt, queue.Aborted}, 0},
		{[]queue.Result{queue.Failure, queue.Aborted}, time.Second},
		{[]queue.Result{queue.Aborted, queue.Failure}, 2 * time.Second},
		{[]queue.Result{queue.Success, queue.Failure, queue.Unstable, queue.Aborted}, 2 * time.Second},
	} {
		if got := history(t, queue.Lane{Job: "j"}, tt.results...).Usual(); got != tt.want {
			t.Errorf("Usual after %v = %v, want %v", tt.results, got, tt.want)
		}
	}
}

// Clients compare the estimate with the durations that they see, which are in milliseconds.
func TestEstimateIsTheRoundedMeanOfMilliseconds(t *testing.T) {
	const us = time.Microsecond
	for _, tt := range []struct {
		took []time.Duration
		want time.Duration
	}{
		{[]time.Duration{1000_999 * us, 1001_000 * us, 1001_000 * us}, 1001 * time.Millisecond},
		{[]time.Duration{1000_000 * us, 1000_999 * us, 1001_000 * us}, 1000 * time.Millisecond},
		{[]time.Duration{1_900 * us}, time.Millisecond},
	} {
		var s queue.Summary
		for i, took := range tt.took {
			s.Recent = append(s.Recent, queue.Ended{Number: int64(9 - i), Result: queue.Success, Took: took})
		}
		if d, ok := s.Estimate(); d != tt.want || !ok {
			t.Errorf("Estimate of %v = %v, %v, want %v", tt.took, d, ok, tt.want)
		}
	}
}

// A summary is shared with readers, so a decision must not change it in place.
func TestFinishLeavesTheSummaryAlone(t *testing.T) {
	s := history(t, queue.Lane{Job: "j"}, queue.Success, queue.Failure, queue.Success)
	before := queue.Summary{Job: s.Job, StreakStart: s.StreakStart}
	before.Recent, before.Last = append(before.Recent, s.Recent...), append(before.Last, s.Last...)
	l := queue.Lane{Job: "j", Running: []int64{2}}
	b := queue.Build{Item: queue.Item{ID: 2, Job: "j"}, Number: 2, Started: start}
	if _, err := queue.Finish(start, l, s, b, queue.Success, ""); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, s); diff != "" {
		t.Errorf("the summary was changed (-before +after):\n%s", diff)
	}
}
