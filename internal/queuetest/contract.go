package queuetest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// clause is one promise that every backend keeps.
type clause struct {
	name string
	run  func(t *testing.T, store Store, q Queue)
}

// contract is what callers rely on. Each name is what must be true.
func contract() []clause {
	return []clause{
		{"a decision sees all earlier commits of its job", seesEarlierCommits},
		{"what is answered is durable", isDurable},
		{"all of a record comes back", recordComesBack},
		{"an error means that nothing was written", errorWritesNothing},
		{"equal triggers at once make one item and lose no cause", equalTriggersAtOnce},
		{"decisions of one job never overlap", decisionsNeverOverlap},
		{"claims at once never run one job twice", claimsAtOnce},
		{"claims never exceed the executors", claimsWithinExecutors},
		{"what is due first starts first, over all jobs", dueFirstStartsFirst},
		{"a node starts only builds for which it has the label", labelsPlaceBuilds},
		{"a caller whose context ends gets an error, and may repeat", contextEnds},
		{"Changed has a value after what may start, free or stop a build", changedFires},
		{"identifiers are unique over jobs and never used again", idsAreUnique},
		{"a lost build is ended once", reclaimOnce},
		{"a key that is given many times at once makes one item", keyAtOnce},
		{"a receipt is durable together with its trigger", receiptIsDurable},
		{"keys are of one job, and their receipts get fewer", receiptsGetFewer},
		{"an item that was returned does not change", handedOutStays},
		{"the parameters of all items are bounded", parametersAreBounded},
		{"triggers at once do not exceed the limit", limitHoldsAtOnce},
		{"lists obey their limits", listsObeyLimits},
		{"lanes come in the order asked for", lanesInOrder},
		{"a clock that goes back breaks nothing", clockGoesBack},
		{"uses of tokens are kept", tokenUsesAreKept},
		{"notifications that are taken at once are sent once, in order", notificationsTakenAtOnce},
		{"notifications are durable with what they are about", notificationsAreDurable},
		{"a notification that is being sent is not sent again by a retry", retryWhileSending},
		{"a retry hides no other notification", retryHidesNothing},
		{"notifications that wait for a target are bounded", waitingIsBounded},
		{"notifications that were sent are bounded", settledIsBounded},
		{"claims for remote builds and for executors do not mix", remoteClaims},
		{"a handle is bounded and comes back", handleComesBack},
		{"overviews of many jobs come in the order asked for", overviewsInOrder},
		{"all about a job that is gone can be dropped, except its numbers", forgets},
		{"a closed queue returns ErrClosed", closedSaysSo},
	}
}

// request is a trigger of a job; different keys never join.
func request(job, key string) queue.Request {
	r := queue.Request{Job: job, Cause: queue.Cause{Kind: queue.CauseRemote, Note: key, Noted: true}}
	copy(r.Digest[:], key)
	r.Values = []queue.Value{{Name: "KEY", Kind: "string", Text: key}}
	return r
}

func schedule(t *testing.T, q Queue, r queue.Request) (queue.Item, bool) {
	t.Helper()
	it, created, err := q.Schedule(t.Context(), start, r)
	if err != nil {
		t.Fatalf("Schedule(%s): %v", r.Job, err)
	}
	return it, created
}

func claim(t *testing.T, q Queue, executors ...int) []queue.Build {
	t.Helper()
	builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, executors)
	if err != nil {
		t.Fatalf("Claim: %v", err)
	}
	return builds
}

func finish(t *testing.T, q Queue, b queue.Build) queue.Build {
	t.Helper()
	ended, err := q.Finish(t.Context(), start.Add(time.Minute), b.Item.Job, b.Number, queue.Success, "")
	if err != nil {
		t.Fatalf("Finish(%s #%d): %v", b.Item.Job, b.Number, err)
	}
	return ended
}

func lane(t *testing.T, q Queue, job string) queue.Lane {
	t.Helper()
	lanes, err := q.Lanes(t.Context(), []string{job})
	if err != nil {
		t.Fatalf("Lanes(%s): %v", job, err)
	}
	return lanes[0]
}

func setRules(t *testing.T, q Queue, rules map[string]queue.Rules, limit int) {
	t.Helper()
	if err := q.SetRules(t.Context(), start, queue.Config{Rules: rules, Limit: limit}); err != nil {
		t.Fatalf("SetRules: %v", err)
	}
}

func seesEarlierCommits(t *testing.T, _ Store, q Queue) {
	for n := range 5 {
		first, created := schedule(t, q, request("j", "k"))
		if !created {
			t.Fatalf("round %d: a build that runs or ended absorbed a trigger", n)
		}
		if again, created := schedule(t, q, request("j", "k")); created || again.ID != first.ID {
			t.Fatalf("round %d: an equal trigger made item %d beside %d", n, again.ID, first.ID)
		}
		builds := claim(t, q, 0, 1, 2)
		if len(builds) != 1 || builds[0].Number != int64(n+1) || builds[0].Item.Triggers() != 2 {
			t.Fatalf("round %d: started %+v, want number %d with two triggers", n, builds, n+1)
		}
		finish(t, q, builds[0])
		if l := lane(t, q, "j"); l.Queued != 0 || len(l.Running) != 0 || l.LastNumber != int64(n+1) || l.Kept != n+1 {
			t.Fatalf("round %d: lane %+v", n, l)
		}
	}
}

// facts is everything that a queue reports about some jobs.
type facts struct {
	Lanes  []queue.Lane
	Items  []queue.Entry
	Builds []queue.Build
	Aborts []queue.Build
	Refs   []string
	Oldest map[string]int64
}

func read(t *testing.T, q Queue, jobs ...string) facts {
	t.Helper()
	ctx := t.Context()
	f := facts{Oldest: map[string]int64{}}
	var err error
	if f.Lanes, err = q.Lanes(ctx, jobs); err != nil {
		t.Fatal(err)
	}
	if f.Items, err = q.Items(ctx, start, "", all); err != nil {
		t.Fatal(err)
	}
	for _, job := range jobs {
		builds, err := q.Builds(ctx, job, 0, all)
		if err != nil {
			t.Fatal(err)
		}
		f.Builds = append(f.Builds, builds...)
		oldest, err := q.Oldest(ctx, job)
		if err != nil && !errors.Is(err, queue.ErrNotFound) {
			t.Fatal(err)
		}
		f.Oldest[job] = oldest
	}
	if f.Aborts, err = q.Aborts(ctx); err != nil {
		t.Fatal(err)
	}
	if f.Refs, err = q.Refs(ctx); err != nil {
		t.Fatal(err)
	}
	return f
}

// same compares facts. It treats empty and nil lists as equal.
func same(before, after facts) string {
	return cmp.Diff(before, after, cmpopts.EquateEmpty(), cmpopts.SortSlices(func(a, b string) bool { return a < b }))
}

func isDurable(t *testing.T, store Store, q Queue) {
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	later := request("a", "later")
	later.Delay = time.Hour
	sooner := later
	sooner.Delay, sooner.Cause.Note = time.Minute, "another"
	file := request("b", "file")
	file.Solo, file.Values = true, []queue.Value{{Name: "F", Kind: "file", Text: "f.txt", Ref: "ref"}}
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"a new item", func() { schedule(t, q, later) }},
		{"an earlier due instant and a new cause", func() { schedule(t, q, sooner) }},
		{"a solo item with a file", func() { schedule(t, q, file) }},
		{"a started build", func() {
			if builds := claim(t, q, 0); len(builds) != 1 {
				t.Fatalf("started %v", builds)
			}
		}},
		{"a wish to stop it", func() { do(q.Abort(ctx, "b", 1, "alice")) }},
		{"its end", func() {
			_, err := q.Finish(ctx, start.Add(time.Minute), "b", 1, queue.Aborted, "stopped")
			do(err)
		}},
		{"a cancelled item", func() { do(q.Cancel(ctx, start, "a", 1, "alice")) }},
	} {
		step.do()
		after := store.Copy(t).Open(t)
		if diff := same(read(t, q, "a", "b"), read(t, after, "a", "b")); diff != "" {
			t.Errorf("%s is not durable (-answered +after a power cut):\n%s", step.name, diff)
		}
		for id := int64(1); id <= 2; id++ {
			want, wantErr := q.Entry(ctx, start, id)
			got, err := after.Entry(ctx, start, id)
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || !errors.Is(err, wantErr) && !errors.Is(wantErr, queue.ErrNotFound) {
				t.Errorf("item %d after %s: %v, want %v (-answered +after a power cut):\n%s", id, step.name, err, wantErr, diff)
			}
		}
		do(after.Close())
	}
}

func recordComesBack(t *testing.T, store Store, q Queue) {
	r := request("team/app/ä b=c", "k")
	r.Digest = queue.Digest{0xff, 0, 1, 15: 0x80}
	r.Delay, r.Root, r.Solo = 90*time.Second+1, "https://ci.example.com/x", true
	r.Values = []queue.Value{
		{Name: "EMPTY", Kind: "string"},
		{Name: "TEXT", Kind: "text", Text: "one\ntwo\t\"three\" <&> \u2028 ünï 🚀\x00"},
		{Name: "PIN", Kind: "password", Sealed: []byte{0, 0xff, 0xfe, '"', '\n'}},
		{Name: "FLAG", Kind: "boolean", Text: "true"},
		{Name: "FILE", Kind: "file", Text: "../odd name", Ref: "ab12"},
	}
	r.Cause = queue.Cause{Kind: queue.CauseRemote, Addr: "2001:db8::1", Note: "", Noted: true, User: "alice", Token: "ci"}
	it, _ := schedule(t, q, r)
	want := queue.Item{
		ID: it.ID, Job: r.Job, Since: start, Due: start.Add(r.Delay), Digest: r.Digest, Solo: true, Values: r.Values, Root: r.Root,
		Causes: []queue.Cause{{Kind: queue.CauseRemote, Addr: "2001:db8::1", Noted: true, User: "alice", Token: "ci", Count: 1}},
	}
	if diff := cmp.Diff(want, it); diff != "" {
		t.Errorf("scheduled item (-want +got):\n%s", diff)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	again := store.Open(t)
	defer again.Close()
	e, err := again.Entry(t.Context(), start, it.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, e.Item); diff != "" {
		t.Errorf("item after a restart (-want +got):\n%s", diff)
	}
	due := start.Add(r.Delay)
	builds, _, err := again.Claim(t.Context(), due, queue.Node{Name: "node-1"}, []int{7})
	if err != nil || len(builds) != 1 {
		t.Fatalf("Claim: %d builds, %v", len(builds), err)
	}
	wantBuild := queue.Build{Item: want, Number: 1, Node: "node-1", Executor: 7, Started: due}
	if diff := cmp.Diff(wantBuild, builds[0]); diff != "" {
		t.Errorf("started build (-want +got):\n%s", diff)
	}
	got, err := again.Build(t.Context(), r.Job, 1)
	if diff := cmp.Diff(wantBuild, got); diff != "" || err != nil {
		t.Errorf("build on record: %v (-want +got):\n%s", err, diff)
	}
}

func errorWritesNothing(t *testing.T, store Store, q Queue) {
	ctx := t.Context()
	setRules(t, q, map[string]queue.Rules{"a": {}, "b": {}, "c": {}}, 2)
	schedule(t, q, request("a", "1"))
	schedule(t, q, request("b", "2"))
	claim(t, q, 0) // item 1 starts: a runs, b is queued
	schedule(t, q, keyed("b", "3", "key"))
	before := read(t, q, "a", "b", "c")
	errOf := func(_ any, err error) error { return err }
	for _, tt := range []struct {
		name string
		do   func() error
		want error
	}{
		{"a new item without room", func() error {
			_, _, err := q.Schedule(ctx, start, request("c", "new"))
			return err
		}, queue.ErrFull},
		{"a cancelled item that never was", func() error { return q.Cancel(ctx, start, "b", 99, "alice") }, queue.ErrNotFound},
		{"a cancelled item of another job", func() error { return q.Cancel(ctx, start, "a", 2, "alice") }, queue.ErrNotFound},
		{"a cancelled item that was started", func() error { return q.Cancel(ctx, start, "a", 1, "alice") }, queue.ErrLeft},
		{"a started item under another job's name", func() error { return q.Cancel(ctx, start, "b", 1, "alice") }, queue.ErrNotFound},
		{"the end of a build that never was", func() error { return errOf(q.Finish(ctx, start, "a", 2, queue.Success, "")) }, queue.ErrNotFound},
		{"the end of a build of no job", func() error { return errOf(q.Finish(ctx, start, "zzz", 1, queue.Success, "")) }, queue.ErrNotFound},
		{"a wish to stop a build that never was", func() error { return q.Abort(ctx, "b", 1, "alice") }, queue.ErrNotFound},
		{"an item that never was", func() error { return errOf(q.Entry(ctx, start, 99)) }, queue.ErrNotFound},
		{"a build that never was", func() error { return errOf(q.Build(ctx, "b", 1)) }, queue.ErrNotFound},
		{"a key with other values", func() error {
			_, _, err := q.Schedule(ctx, start, keyed("b", "4", "key"))
			return err
		}, queue.ErrKeyReused},
		{"the oldest of no builds", func() error { return errOf(q.Oldest(ctx, "b")) }, queue.ErrNotFound},
	} {
		if err := tt.do(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if diff := same(before, read(t, q, "a", "b", "c")); diff != "" {
			t.Errorf("%s changed something (-before +after):\n%s", tt.name, diff)
		}
	}
	after := store.Copy(t).Open(t)
	defer after.Close()
	if diff := same(before, read(t, after, "a", "b", "c")); diff != "" {
		t.Errorf("errors changed the stored queue (-before +after):\n%s", diff)
	}
	b := finish(t, q, queue.Build{Item: queue.Item{Job: "a"}, Number: 1})
	if _, err := q.Finish(ctx, start, "a", 1, queue.Failure, "late"); !errors.Is(err, queue.ErrNotRunning) {
		t.Errorf("second Finish: %v, want %v", err, queue.ErrNotRunning)
	}
	if err := q.Abort(ctx, "a", 1, "alice"); !errors.Is(err, queue.ErrNotRunning) {
		t.Errorf("Abort of a build that ended: %v, want %v", err, queue.ErrNotRunning)
	}
	if got, err := q.Build(ctx, "a", 1); err != nil || got.Result != b.Result || got.Abort != "" {
		t.Errorf("a late verdict changed the build to %+v, %v", got, err)
	}
}
