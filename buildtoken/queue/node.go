package queue

import "slices"

// Node is a server that runs builds.
type Node struct {
	// Name identifies the node in records of builds. It also counts as a label.
	Name string `json:"name"`
	// Labels are matched against [Rules.Label].
	Labels []string `json:"labels,omitempty"`
	// Remote restricts a claim to jobs with [Rules.Remote]. Without it, a claim takes
	// only jobs that need an executor.
	Remote bool `json:"-"`
}

// Has reports whether the node may run a job with a label. The empty label fits every
// node.
func (n Node) Has(label string) bool {
	return label == "" || label == n.Name || slices.Contains(n.Labels, label)
}

// Places returns the values of [Lane.Place] that the node serves, for a backend that
// looks lanes up by them.
func (n Node) Places() []string {
	places := append([]string{"", n.Name}, n.Labels...)
	for i := range places {
		places[i] = place(places[i], n.Remote)
	}
	return places
}

// place is where a lane waits. Labels hold no control characters.
func place(label string, remote bool) string {
	if remote {
		return "\x01" + label
	}
	return label
}

// Among returns the blockage as seen by a caller that knows all nodes: an item that
// waits for an executor although no node has its label waits for a node.
func (b Blockage) Among(nodes []Node) Blockage {
	if b.Reason == NoExecutor && !slices.ContainsFunc(nodes, func(n Node) bool { return n.Has(b.Label) }) {
		b.Reason = NoNode
	}
	return b
}
