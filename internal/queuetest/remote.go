package queuetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

func remoteClaims(t *testing.T, _ Store, q Queue) {
	setRules(t, q, map[string]queue.Rules{"far": {Remote: true, Concurrent: true}, "near": {Concurrent: true}, "gpu": {Remote: true, Label: "gpu"}}, 0)
	for _, job := range []string{"far", "gpu", "near"} {
		schedule(t, q, request(job, "1"))
	}
	schedule(t, q, request("far", "2"))
	for _, step := range []struct {
		node  queue.Node
		slots []int
		want  []string
	}{
		{queue.Node{Name: "n"}, []int{0, 1, 2, 3}, []string{"near 0"}},
		{queue.Node{Name: "n", Remote: true}, []int{5}, []string{"far 5"}},
		{queue.Node{Name: "n", Remote: true}, []int{6, 7}, []string{"far 6"}},
		{queue.Node{Name: "n", Labels: []string{"gpu"}}, []int{0}, nil},
		{queue.Node{Name: "n", Labels: []string{"gpu"}, Remote: true}, []int{8}, []string{"gpu 8"}},
	} {
		builds, _, err := q.Claim(t.Context(), start, step.node, step.slots)
		if err != nil {
			t.Errorf("Claim as %+v: %v", step.node, err)
		}
		var got []string
		for _, b := range builds {
			got = append(got, fmt.Sprint(b.Item.Job, " ", b.Executor))
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("Claim as %+v (-want +got):\n%s", step.node, diff)
		}
	}
}

func handleComesBack(t *testing.T, store Store, q Queue) {
	schedule(t, q, request("j", "k"))
	b := claim(t, q, 0)[0]
	handle := make([]byte, queue.MaxHandle)
	for i := range handle {
		handle[i] = byte(i)
	}
	if err := q.SetHandle(t.Context(), "j", b.Number, append(slices.Clone(handle), 0)); err == nil {
		t.Error("a handle that is too large was stored")
	}
	if err := q.SetHandle(t.Context(), "j", b.Number, handle); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = store.Open(t)
	defer q.Close()
	lost, err := q.Lost(t.Context())
	if err != nil || len(lost) != 1 || !slices.Equal(lost[0].Handle, handle) {
		t.Fatalf("Lost = %d builds, %v; want one with its handle", len(lost), err)
	}
	if ended, err := q.Reclaim(t.Context(), start, "lost", func(queue.Build) bool { return true }); err != nil || len(ended) != 0 {
		t.Fatalf("Reclaim ended %v, %v; want nothing", ended, err)
	}
	adopted, err := q.Adopt(t.Context(), lost, queue.Node{Name: "other"}, []int{3})
	if err != nil || len(adopted) != 1 || !slices.Equal(adopted[0].Handle, handle) {
		t.Fatalf("Adopt = %d builds, %v; want one with its handle", len(adopted), err)
	}
	got, err := q.Build(t.Context(), "j", b.Number)
	if err != nil || got.Node != "other" || got.Executor != 3 || !got.Running() || !slices.Equal(got.Handle, handle) {
		t.Errorf("adopted build %+v, %v", got, err)
	}
	if builds := claim(t, q, 0); len(builds) != 0 {
		t.Errorf("Claim = %v beside an adopted build", builds)
	}
	if e := finish(t, q, got); e.Handle != nil {
		t.Errorf("a build that has ended keeps its handle")
	}
	if got, err := q.Build(t.Context(), "j", b.Number); err != nil || got.Handle != nil || got.Result != queue.Success {
		t.Errorf("ended build on record %+v, %v", got, err)
	}
}
