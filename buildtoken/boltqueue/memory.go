package boltqueue

import (
	"container/heap"
	"math"
	"slices"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// memory is what is known without reading the file: which items are queued, by
// ID, by identity and by due instant. Only who has the turn touches it.
type memory struct {
	nextID int64
	rules  map[string]queue.Rules
	lanes  map[string]*lane
	byID   map[int64]*entry
	byKey  map[identity]*entry
	kib    int // of all entries
	// ready are the lanes whose first item may start at a known instant, by the
	// label that they ask for. No heap is empty.
	ready map[string]*laneHeap
	// unsaved are items with a higher count of causes than the file says.
	unsaved map[int64]*queue.Item
	// aborts are the running builds that somebody asked to stop.
	aborts map[buildKey]queue.Build
}

type buildKey struct {
	job    string
	number int64
}

type identity struct {
	lane   *lane
	digest queue.Digest
}

// entry is a queued item. The record is in the file.
type entry struct {
	id   int64
	due  int64
	lane *lane
	// digest is needed to take the entry out of byKey.
	digest queue.Digest
	pos    int32  // in lane.items, or -1 if it is in lane.aside
	kib    uint16 // of its parameters; what is more, counts as this
	flags  byte
}

// lane is a job's head with its queued items, due first.
type lane struct {
	head  queue.Lane
	items itemHeap
	pos   int    // in memory.ready, or -1
	label string // where in memory.ready
	// aside are queued items whose records can't be read: they are never
	// started and never joined, but they can be seen and cancelled.
	aside []*entry
	// hot is the item that was last created or joined: a hot trigger joins it
	// again and again, and need not decode it each time. Never changed in place.
	hot *queue.Item
}

func newMemory() *memory {
	return &memory{
		nextID: 1, lanes: map[string]*lane{}, byID: map[int64]*entry{},
		byKey: map[identity]*entry{}, unsaved: map[int64]*queue.Item{},
		aborts: map[buildKey]queue.Build{}, ready: map[string]*laneHeap{},
	}
}

// lane returns the lane of a job, with the newest rules. A new one becomes
// part of memory when something is written for it.
func (m *memory) lane(job string) *lane {
	if l, ok := m.lanes[job]; ok {
		return l
	}
	return &lane{head: queue.Lane{Job: job, Rules: m.rules[job]}, pos: -1}
}

// rule gives every lane its rules.
func (m *memory) rule(rules map[string]queue.Rules) {
	m.rules = rules
	for job, l := range m.lanes {
		l.head.Rules = rules[job]
		m.settle(l)
	}
}

func (m *memory) add(l *lane, id, due int64, digest queue.Digest, kib int, flags byte) {
	e := &entry{id: id, due: due, lane: l, digest: digest, kib: uint16(min(kib, math.MaxUint16)), flags: flags} //nolint:gosec // min keeps it in range
	m.byID[id] = e
	m.kib += int(e.kib)
	if flags&flagSolo == 0 {
		m.byKey[identity{l, digest}] = e
	}
	heap.Push(&l.items, e)
}

// remove takes an entry out of memory. The caller settles the lane.
func (m *memory) remove(e *entry) {
	delete(m.byID, e.id)
	m.kib -= int(e.kib)
	m.forget(e)
	if e.pos >= 0 {
		heap.Remove(&e.lane.items, int(e.pos))
	} else {
		e.lane.aside = slices.DeleteFunc(e.lane.aside, func(other *entry) bool { return other == e })
	}
}

// setAside takes an entry whose record can't be read out of the way of the others.
func (m *memory) setAside(e *entry) {
	if e.pos < 0 {
		return
	}
	m.forget(e)
	heap.Remove(&e.lane.items, int(e.pos))
	e.pos = -1
	e.lane.aside = append(e.lane.aside, e)
	m.settle(e.lane)
}

// forget makes an entry one that nobody joins.
func (m *memory) forget(e *entry) {
	delete(m.unsaved, e.id)
	if key := (identity{e.lane, e.digest}); m.byKey[key] == e {
		delete(m.byKey, key)
	}
	if e.lane.hot != nil && e.lane.hot.ID == e.id {
		e.lane.hot = nil
	}
}

// running are the jobs with running builds, sorted.
func (m *memory) running() []string {
	var jobs []string
	for job, l := range m.lanes {
		if len(l.head.Running) > 0 {
			jobs = append(jobs, job)
		}
	}
	slices.Sort(jobs)
	return jobs
}

// settle puts the lane where its next instant belongs in ready.
func (m *memory) settle(l *lane) {
	waits := len(l.items) > 0 && !queue.Next(l.head, l.items[0].at()).IsZero()
	label := l.head.Rules.Label
	if l.pos >= 0 && (!waits || l.label != label) {
		lanes := m.ready[l.label]
		if heap.Remove(lanes, l.pos); lanes.Len() == 0 {
			delete(m.ready, l.label)
		}
	}
	switch {
	case !waits:
	case l.pos >= 0:
		heap.Fix(m.ready[label], l.pos)
	default:
		if m.ready[label] == nil {
			m.ready[label] = &laneHeap{}
		}
		l.label = label
		heap.Push(m.ready[label], l)
	}
}

// first is the lane whose first item may start first, of those that a label
// lets through; nil if none waits for time.
func (m *memory) first(has func(label string) bool) *lane {
	var first *lane
	for label, lanes := range m.ready {
		if top := (*lanes)[0]; has(label) && (first == nil || earlier(top.items[0], first.items[0])) {
			first = top
		}
	}
	return first
}

// next is when the first lane may start an item; zero if none waits for time.
func (m *memory) next(has func(label string) bool) time.Time {
	if l := m.first(has); l != nil {
		return l.items[0].at()
	}
	return time.Time{}
}

// asks says whether the lane asks for a label.
func (l *lane) asks(label string) bool { return l.head.Rules.Label == label }
