package jenkinshome

import (
	"strconv"
	"strings"
)

// resolve finds the targets of all references below e. XStream writes the path of an element
// instead of a value that it has written already, as in ../../hudson.tasks.Shell[2].
func (e *Element) resolve() {
	if e.reference != "" {
		e.target = e.follow(e.reference)
	}
	for _, child := range e.Children {
		child.resolve()
	}
}

// follow returns the element at a path, or nil. A chain of references is followed to its end.
func (e *Element) follow(path string) *Element {
	at := e
	if absolute, ok := strings.CutPrefix(path, "/"); ok {
		for at.parent != nil {
			at = at.parent
		}
		root, rest, _ := strings.Cut(absolute, "/")
		if javaName(root) != at.Name {
			return nil
		}
		path = rest
	}
	for step := range strings.SplitSeq(path, "/") {
		switch step {
		case "", ".":
		case "..":
			at = at.parent
		default:
			at = at.child(step)
		}
		if at == nil {
			return nil
		}
	}
	if at.reference != "" && at.target == nil {
		return nil // XStream refers to values only, and only backwards
	}
	if at.target != nil {
		return at.target
	}
	return at
}

// child returns the child at one step of a path, such as hudson.tasks.Shell[2].
func (e *Element) child(step string) *Element {
	name, index, indexed := strings.Cut(strings.TrimSuffix(step, "]"), "[")
	n := 1
	if indexed {
		var err error
		if n, err = strconv.Atoi(index); err != nil {
			return nil
		}
	}
	named := e.named[javaName(name)]
	if n < 1 || n > len(named) {
		return nil
	}
	return named[n-1]
}
