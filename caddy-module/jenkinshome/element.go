package jenkinshome

import (
	"fmt"
	"slices"
	"strings"
)

// Element is an element of a file. The methods of a nil Element return zero values, so that
// paths of optional elements need no checks.
type Element struct {
	// Name is the name of a field or class, as in Java: XStream's escapes are undone.
	Name string
	// Class is the class of the value if the name is that of a field; "" if the file has none.
	Class string
	// Text is what stands in it, apart from its children. White space between children is left out.
	Text string
	// Children are in the order of the file.
	Children []*Element

	parent    *Element
	named     map[string][]*Element // the children by name
	place     int                   // among those of the same name, from 1
	reference string                // XStream's path of another element that has the value
	target    *Element              // that element
	taken     bool
}

// Take returns the first child with the name, and marks it as taken. It is nil if there is
// none. If the child refers to another element, Take returns that one.
func (e *Element) Take(name string) *Element {
	if child := e.find(name); child != nil {
		return child.take()
	}
	return nil
}

// TakeAll returns all children as [Element.Take] does.
func (e *Element) TakeAll() []*Element {
	if e == nil {
		return nil
	}
	all := make([]*Element, len(e.Children))
	for i, child := range e.Children {
		all[i] = child.take()
	}
	return all
}

// add adds a child.
func (e *Element) add(child *Element) {
	if e.named == nil {
		e.named = map[string][]*Element{}
	}
	e.Children, e.named[child.Name] = append(e.Children, child), append(e.named[child.Name], child)
	child.place = len(e.named[child.Name])
}

// Peek returns the children without marking them.
func (e *Element) Peek() []*Element {
	if e == nil {
		return nil
	}
	return e.Children
}

// TakeText returns the text of the first child with the name, and marks it as taken. It is ""
// if there is none.
func (e *Element) TakeText(name string) string {
	if child := e.Take(name); child != nil {
		return child.Text
	}
	return ""
}

// TakeWhole marks the element and all in it as taken.
func (e *Element) TakeWhole() {
	if e == nil {
		return
	}
	e.taken = true
	for _, child := range e.Children {
		child.TakeWhole()
	}
}

// find returns the first child with the name, without marking it.
func (e *Element) find(name string) *Element {
	if e == nil {
		return nil
	}
	if named := e.named[name]; len(named) > 0 {
		return named[0]
	}
	return nil
}

func (e *Element) take() *Element {
	e.taken = true
	if e.target != nil {
		e.target.taken = true
		return e.target
	}
	return e
}

// Left returns the outermost elements below e that have content and were not taken.
func (e *Element) Left() []*Element {
	var left []*Element
	for _, child := range e.Children {
		switch {
		case child.taken:
			left = append(left, child.Left()...)
		case child.hasContent():
			left = append(left, child)
		}
	}
	return left
}

// hasContent reports whether something is lost if the element is ignored. The name of a class is
// content without any text: it is a part of the job. The name of a field is not.
func (e *Element) hasContent() bool {
	if strings.TrimSpace(e.Text) != "" || e.reference != "" || strings.Contains(e.Name+e.Class, ".") {
		return true
	}
	return slices.ContainsFunc(e.Children, (*Element).hasContent)
}

// Dangling reports whether the element refers to another one that is not there.
func (e *Element) Dangling() bool { return e != nil && e.reference != "" && e.target == nil }

// Path is the place of the element below the root, as in builders/hudson.tasks.Shell[2].
// The path of the root is its name.
func (e *Element) Path() string {
	if e.parent == nil {
		return e.Name
	}
	step := e.Name
	if len(e.parent.named[e.Name]) > 1 {
		step = fmt.Sprintf("%s[%d]", step, e.place)
	}
	if e.parent.parent == nil {
		return step
	}
	return e.parent.Path() + "/" + step
}
