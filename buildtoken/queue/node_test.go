package queue_test

import (
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

func TestNodeHasItsLabelsAndItsName(t *testing.T) {
	node := queue.Node{Name: "big", Labels: []string{"linux", "gpu"}}
	for label, want := range map[string]bool{"": true, "linux": true, "gpu": true, "big": true, "Linux": false, "lin": false, "arm": false} {
		if got := node.Has(label); got != want {
			t.Errorf("Has(%q) = %v, want %v", label, got, want)
		}
	}
	if !(queue.Node{}).Has("") || (queue.Node{}).Has("linux") {
		t.Error("a node without name and labels runs jobs without a label, and no others")
	}
}

func TestBlockageAmongNodes(t *testing.T) {
	nodes := []queue.Node{{Name: "a"}, {Name: "b", Labels: []string{"gpu"}}}
	for _, tt := range []struct {
		name  string
		nodes []queue.Node
		in    queue.Blockage
		want  queue.Reason
	}{
		{"a node has the label", nodes, queue.Blockage{Reason: queue.NoExecutor, Label: "gpu"}, queue.NoExecutor},
		{"no node has the label", nodes, queue.Blockage{Reason: queue.NoExecutor, Label: "arm"}, queue.NoNode},
		{"any node will do", nodes, queue.Blockage{Reason: queue.NoExecutor}, queue.NoExecutor},
		{"there is no node at all", nil, queue.Blockage{Reason: queue.NoExecutor}, queue.NoNode},
		{"it waits for something else first", nodes, queue.Blockage{Reason: queue.BuildRunning, Number: 1}, queue.BuildRunning},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.in.Among(tt.nodes); got.Reason != tt.want || got.Label != tt.in.Label {
				t.Errorf("%+v among %v = %+v, want the reason %q", tt.in, tt.nodes, got, tt.want)
			}
		})
	}
}
