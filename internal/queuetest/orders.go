package queuetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

func dueFirstStartsFirst(t *testing.T, _ Store, q Queue) {
	delays := []int{5, 1, 4, 1, 3}
	for i, delay := range delays {
		r := request(fmt.Sprint("job", i), "k")
		r.Delay = time.Duration(delay) * time.Second
		schedule(t, q, r)
	}
	var started []int64
	for now := start; ; {
		builds, next, err := q.Claim(t.Context(), now, queue.Node{Name: "node"}, []int{0})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range builds {
			if b.Item.Due.After(now) {
				t.Errorf("item %d started %v before it was due", b.Item.ID, b.Item.Due.Sub(now))
			}
			started = append(started, b.Item.ID)
		}
		if next.IsZero() {
			break
		}
		if len(builds) == 0 && !next.After(now) {
			t.Fatalf("next is %v, but nothing started then", next)
		}
		now = next
	}
	if want := []int64{2, 4, 5, 3, 1}; !slices.Equal(started, want) {
		t.Errorf("items started in the order %v, want %v", started, want)
	}
}

func idsAreUnique(t *testing.T, store Store, q Queue) {
	seen := map[int64]string{}
	add := func(job, key string) queue.Item {
		it, _ := schedule(t, q, request(job, key))
		if other, ok := seen[it.ID]; ok {
			t.Errorf("identifier %d of %s was given to %s before", it.ID, job, other)
		}
		seen[it.ID] = job
		return it
	}
	for round := range 3 {
		a := add("a", fmt.Sprint(round))
		b := add("b", fmt.Sprint(round))
		if err := q.Cancel(t.Context(), start, "a", a.ID, "alice"); err != nil {
			t.Fatal(err)
		}
		for _, build := range claim(t, q, 0) {
			if build.Item.ID != b.ID {
				t.Errorf("started item %d, want %d", build.Item.ID, b.ID)
			}
			finish(t, q, build)
		}
		if round == 1 { // without a clean shutdown
			after := store.Copy(t)
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			store = after
		} else if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		q = store.Open(t)
		defer q.Close()
	}
}

func reclaimOnce(t *testing.T, store Store, q Queue) {
	for _, job := range []string{"b", "a", "c"} {
		schedule(t, q, request(job, "k"))
	}
	if n := len(claim(t, q, 0, 1)); n != 2 {
		t.Fatalf("%d builds started", n)
	}
	if err := q.Abort(t.Context(), "b", 1, "alice"); err != nil {
		t.Fatal(err)
	}
	after := store.Copy(t).Open(t)
	defer after.Close()
	for range 2 { // repeating it changes nothing
		lost, err := after.Lost(t.Context())
		if err != nil || len(lost) != 2 || lost[0].Item.Job != "a" || lost[1].Item.Job != "b" || !lost[0].Running() {
			t.Fatalf("Lost: %+v, %v; want the running builds of a and b", lost, err)
		}
	}
	lost, err := after.Reclaim(t.Context(), start.Add(time.Hour), "the server was lost", nil)
	if err != nil || len(lost) != 2 {
		t.Fatalf("Reclaim: %d builds, %v; want 2", len(lost), err)
	}
	if left, err := after.Lost(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("Lost after Reclaim: %d builds, %v; want none", len(left), err)
	}
	for _, b := range lost {
		onRecord, err := after.Build(t.Context(), b.Item.Job, b.Number)
		if err != nil || onRecord.Result != queue.Aborted || onRecord.Reason != "the server was lost" || !onRecord.Ended.Equal(start.Add(time.Hour)) {
			t.Errorf("lost build on record: %+v, %v", onRecord, err)
		}
	}
	if again, err := after.Reclaim(t.Context(), start, "again", nil); err != nil || len(again) != 0 {
		t.Errorf("second Reclaim: %d builds, %v; want none", len(again), err)
	}
	if wishes, err := after.Aborts(t.Context()); err != nil || len(wishes) != 0 {
		t.Errorf("requests to stop lost builds: %v, %v; want none", wishes, err)
	}
	if builds := claim(t, after, 0, 1, 2); len(builds) != 1 || builds[0].Item.Job != "c" {
		t.Errorf("started %v after Reclaim, want only the queued item", builds)
	}
}

func handedOutStays(t *testing.T, _ Store, q Queue) {
	r := request("j", "k")
	r.Delay = time.Hour
	it, _ := schedule(t, q, r)
	e, err := q.Entry(t.Context(), start, it.ID)
	if err != nil {
		t.Fatal(err)
	}
	before := *clone(it)
	for n := range 3 {
		r.Cause.Note = fmt.Sprint(n / 2)
		r.Delay -= time.Minute
		schedule(t, q, r)
	}
	if diff := cmp.Diff([]queue.Item{before, before}, []queue.Item{it, e.Item}); diff != "" {
		t.Errorf("a join changed an item that was handed out (-before +after):\n%s", diff)
	}
}

func clone(it queue.Item) *queue.Item {
	it.Causes, it.Values = slices.Clone(it.Causes), slices.Clone(it.Values)
	return &it
}

func listsObeyLimits(t *testing.T, _ Store, q Queue) {
	setRules(t, q, map[string]queue.Rules{"a": {Concurrent: true}}, 0)
	for n := range 6 {
		r := request([]string{"a", "b"}[n%2], fmt.Sprint(n))
		r.Delay = time.Duration(9-n) * time.Second
		schedule(t, q, r)
	}
	for _, tt := range []struct {
		job   string
		limit int
		want  []int64
	}{
		{"", all, []int64{6, 5, 4, 3, 2, 1}},
		{"", 4, []int64{6, 5, 4, 3}},
		{"", 1, []int64{6}},
		{"", 0, nil},
		{"", -1, nil},
		{"a", all, []int64{5, 3, 1}},
		{"b", 2, []int64{6, 4}},
		{"never triggered", all, nil},
	} {
		entries, err := q.Items(t.Context(), start, tt.job, tt.limit)
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for i, e := range entries {
			got = append(got, e.Item.ID)
			if e.Position != i {
				t.Errorf("Items(%q, %d): position %d in place %d", tt.job, tt.limit, e.Position, i)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("Items(%q, %d) = %v, want %v", tt.job, tt.limit, got, tt.want)
		}
	}
	for id := int64(1); id <= 6; id++ {
		if e, err := q.Entry(t.Context(), start, id); err != nil || e.Position != int(6-id) {
			t.Errorf("position of item %d = %d, %v; want %d", id, e.Position, err, 6-id)
		}
	}
	builds, next, err := q.Claim(t.Context(), start.Add(6*time.Second), queue.Node{Name: "node"}, []int{0, 1, 2, 3, 4, 5})
	if err != nil || len(builds) != 2 || builds[0].Item.ID != 6 || builds[1].Item.ID != 5 || !next.Equal(start.Add(7*time.Second)) {
		t.Fatalf("Claim: %+v, then at %v, %v; want the first of b and of a, then after 7s another of a", builds, next, err)
	}
	late := start.Add(time.Minute)
	if builds, _, err := q.Claim(t.Context(), late, queue.Node{Name: "node"}, []int{2, 3, 4, 5}); err != nil || len(builds) != 2 {
		t.Fatalf("Claim: %d builds, %v; want the rest of a", len(builds), err)
	}
	for _, tt := range []struct {
		before int64
		limit  int
		want   []int64
	}{
		{0, all, []int64{3, 2, 1}},
		{0, 2, []int64{3, 2}},
		{3, all, []int64{2, 1}},
		{2, 1, []int64{1}},
		{1, all, nil},
		{100, all, []int64{3, 2, 1}},
		{0, 0, nil},
		{0, -1, nil},
	} {
		builds, err := q.Builds(t.Context(), "a", tt.before, tt.limit)
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for _, b := range builds {
			if b.Item.Job != "a" {
				t.Errorf("a build of %s in the list of a", b.Item.Job)
			}
			got = append(got, b.Number)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("Builds(before %d, limit %d) = %v, want %v", tt.before, tt.limit, got, tt.want)
		}
	}
}

func lanesInOrder(t *testing.T, _ Store, q Queue) {
	rules := map[string]queue.Rules{"new": {Disabled: true, Label: "gpu"}}
	setRules(t, q, rules, 0)
	schedule(t, q, request("used", "k"))
	got, err := q.Lanes(t.Context(), []string{"unknown", "used", "new", "used"})
	if err != nil {
		t.Fatal(err)
	}
	used := queue.Lane{Job: "used", Queued: 1, GoneUntil: start} // no configuration has it
	want := []queue.Lane{{Job: "unknown"}, used, {Job: "new", Rules: rules["new"]}, used}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("Lanes (-want +got):\n%s", diff)
	}
	if none, err := q.Lanes(t.Context(), nil); err != nil || len(none) != 0 {
		t.Errorf("Lanes of no jobs = %v, %v", none, err)
	}
}

func clockGoesBack(t *testing.T, _ Store, q Queue) {
	ctx, earlier := t.Context(), start.Add(-time.Hour)
	first, _ := schedule(t, q, request("j", "k"))
	if builds, next, err := q.Claim(ctx, earlier, queue.Node{Name: "node"}, []int{0}); err != nil || len(builds) != 0 || !next.Equal(start) {
		t.Errorf("Claim before: %v, next %v, %v; want nothing until %v", builds, next, err, start)
	}
	joined, created, err := q.Schedule(ctx, earlier, request("j", "k"))
	if err != nil || created || joined.ID != first.ID || !joined.Due.Equal(earlier) {
		t.Errorf("Schedule before: item %d due %v, created %v, %v; want item %d due %v", joined.ID, joined.Due, created, err, first.ID, earlier)
	}
	second, _, err := q.Schedule(ctx, earlier, request("j", "other"))
	if err != nil || second.ID <= first.ID {
		t.Errorf("item %d after %d, %v", second.ID, first.ID, err)
	}
	for want := int64(1); want <= 2; want++ {
		builds, _, err := q.Claim(ctx, earlier, queue.Node{Name: "node"}, []int{0})
		if err != nil || len(builds) != 1 || builds[0].Number != want {
			t.Fatalf("Claim: %v, %v; want number %d", builds, err, want)
		}
		if _, err := q.Finish(ctx, earlier.Add(-time.Hour), "j", want, queue.Success, ""); err != nil {
			t.Errorf("Finish before it started: %v", err)
		}
	}
}

func overviewsInOrder(t *testing.T, _ Store, q Queue) {
	setRules(t, q, map[string]queue.Rules{"a": {KeepBuilds: 2}, "b": {}, "c": {Label: "l"}}, 0)
	for i := range 4 {
		end(t, q, fmt.Sprint(i), "a")
	}
	end(t, q, "k", "b")
	schedule(t, q, request("b", "queued"))
	got, err := q.Overviews(t.Context(), []string{"c", "b", "a", "unknown"})
	if err != nil {
		t.Fatal(err)
	}
	lanes, err := q.Lanes(t.Context(), []string{"c", "b", "a", "unknown"})
	if err != nil {
		t.Fatal(err)
	}
	of := func(numbers ...int64) (all []queue.Ended) {
		for _, n := range numbers {
			all = append(all, queue.Ended{Number: n, Result: queue.Success, Started: start, Took: time.Minute})
		}
		return all
	}
	want := []queue.Overview{
		{Lane: lanes[0], Summary: queue.Summary{Job: "c"}},
		{Lane: lanes[1], Summary: queue.Summary{Job: "b", Recent: of(1), Last: of(1), StreakStart: of(1)[0]}, Oldest: 1},
		{Lane: lanes[2], Summary: queue.Summary{Job: "a", Recent: of(4, 3, 2, 1), Last: of(4), StreakStart: of(1)[0]}, Oldest: 3},
		{Lane: lanes[3], Summary: queue.Summary{Job: "unknown"}},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("Overviews (-want +got):\n%s", diff)
	}
	if none, err := q.Overviews(t.Context(), nil); err != nil || len(none) != 0 {
		t.Errorf("Overviews of no jobs = %v, %v", none, err)
	}
}
