package queue

import "slices"

// Node is a server that runs builds.
type Node struct {
	// Name is what records of builds call it. It is a label of the node too.
	Name string `json:"name"`
	// Labels say which jobs' builds it may run.
	Labels []string `json:"labels,omitempty"`
}

// Has says whether the node may run what asks for a label. What asks for none
// (the empty label) runs on every node.
func (n Node) Has(label string) bool {
	return label == "" || label == n.Name || slices.Contains(n.Labels, label)
}

// Among tells, of an item that waits for an executor, whether it waits for one
// of the nodes that there are, or for a node.
func (b Blockage) Among(nodes []Node) Blockage {
	if b.Reason == NoExecutor && !slices.ContainsFunc(nodes, func(n Node) bool { return n.Has(b.Label) }) {
		b.Reason = NoNode
	}
	return b
}
