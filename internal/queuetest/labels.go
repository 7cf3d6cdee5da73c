package queuetest

import (
	"slices"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// labelsPlaceBuilds claims builds as different nodes. An item that a node cannot run must not
// start there, must not delay others, and must not determine the time of the next claim.
func labelsPlaceBuilds(t *testing.T, store Store, q Queue) {
	setRules(t, q, map[string]queue.Rules{"gpu": {Label: "gpu"}, "arm": {Label: "arm"}, "named": {Label: "plain"}, "many": {Label: "gpu", Concurrent: true}}, 0)
	for i, job := range []string{"gpu", "any", "arm", "named", "many", "many"} {
		r := request(job, job)
		r.Solo, r.Delay = true, time.Duration(i)*time.Second
		schedule(t, q, r)
		select {
		case <-q.Changed():
		default:
			// An item that is due later may still be the first for its node, unless two jobs
			// share a label.
			if job != "many" {
				t.Errorf("no value of Changed for the first item of %s", job)
			}
		}
	}
	plain, gpu, arm := queue.Node{Name: "plain"}, queue.Node{Name: "big", Labels: []string{"linux", "gpu"}}, queue.Node{Name: "arm"}
	late := start.Add(time.Minute)
	ask := func(now time.Time, node queue.Node, executors int, want ...string) (next time.Time) {
		t.Helper()
		builds, next, err := q.Claim(t.Context(), now, node, []int{0, 1, 2, 3, 4, 5}[:executors])
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, b := range builds {
			got = append(got, b.Item.Job)
			if b.Node != node.Name {
				t.Errorf("%s #%d runs on %q, want %q", b.Item.Job, b.Number, b.Node, node.Name)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("node %+v started %v, want %v", node, got, want)
		}
		return next
	}
	is := func(what string, next, want time.Time) {
		t.Helper()
		if !next.Equal(want) {
			t.Errorf("%s: next is %v, want %v", what, next, want)
		}
	}
	is("a node without labels", ask(start, plain, 0), start.Add(time.Second))
	is("a node with the label", ask(start, gpu, 0), start)
	is("a node with the name", ask(start, arm, 0), start.Add(time.Second))
	is("a node without labels, all due", ask(late, plain, 6, "any", "named"), time.Time{})
	is("a node without labels, nothing left", ask(late, plain, 6), time.Time{})
	is("a node with the label, one executor", ask(late, gpu, 1, "gpu"), start.Add(4*time.Second))

	// New rules apply to queued items, at once and after a restart.
	setRules(t, q, map[string]queue.Rules{"arm": {Label: "gpu"}, "many": {Label: "arm", Concurrent: true}}, 0)
	is("a node that lost a job's label and got another's", ask(late, gpu, 6, "arm"), time.Time{})
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = store.Open(t)
	defer q.Close()
	setRules(t, q, map[string]queue.Rules{"many": {Label: "arm", Concurrent: true}}, 0)
	is("a node without labels, after a restart", ask(late, plain, 6), time.Time{})
	is("a node with the name, after a restart", ask(late, arm, 6, "many", "many"), time.Time{})
}
