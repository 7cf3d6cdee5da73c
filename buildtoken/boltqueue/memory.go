package boltqueue

import (
	"cmp"
	"container/heap"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// memory is what the loop knows without reading the file: which items are
// queued, by ID, by identity and by due instant. Only the loop touches it.
type memory struct {
	nextID int64
	batch  uint64
	rules  map[string]queue.Rules
	lanes  map[string]*lane
	byID   map[int64]*entry
	byKey  map[identity]*entry
	ready  laneHeap // lanes whose first item may start at a known instant
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
	id    int64
	due   int64
	lane  *lane
	pos   int // in lane.items
	flags byte
	// digest is needed to take the entry out of byKey.
	digest queue.Digest
}

// lane is a job's head with its queued items, due first.
type lane struct {
	head  queue.Lane
	items itemHeap
	pos   int // in memory.ready, or -1
	// hot is the item that was last created or joined: a hot trigger joins it
	// again and again, and need not decode it each time. Never changed in place.
	hot *queue.Item
}

func newMemory() *memory {
	return &memory{
		nextID: 1, lanes: map[string]*lane{}, byID: map[int64]*entry{},
		byKey: map[identity]*entry{}, unsaved: map[int64]*queue.Item{},
		aborts: map[buildKey]queue.Build{},
	}
}

// lane returns the lane of a job, with the newest rules. A new one becomes
// part of memory, which is harmless if nothing is ever written for it.
func (m *memory) lane(job string) *lane {
	if l, ok := m.lanes[job]; ok {
		return l
	}
	l := &lane{head: queue.Lane{Job: job, Rules: m.rules[job]}, pos: -1}
	m.lanes[job] = l
	return l
}

func (m *memory) add(l *lane, id, due int64, digest queue.Digest, flags byte) *entry {
	e := &entry{id: id, due: due, lane: l, digest: digest, flags: flags}
	m.byID[id] = e
	if flags&flagSolo == 0 {
		m.byKey[identity{l, digest}] = e
	}
	heap.Push(&l.items, e)
	return e
}

func (m *memory) remove(e *entry) {
	delete(m.byID, e.id)
	delete(m.unsaved, e.id)
	if key := (identity{e.lane, e.digest}); m.byKey[key] == e {
		delete(m.byKey, key)
	}
	heap.Remove(&e.lane.items, e.pos)
	if e.lane.hot != nil && e.lane.hot.ID == e.id {
		e.lane.hot = nil
	}
}

// settle puts the lane where its next instant belongs in ready.
func (m *memory) settle(l *lane) {
	waits := len(l.items) > 0 && !queue.Next(l.head, l.items[0].at()).IsZero()
	switch {
	case waits && l.pos < 0:
		heap.Push(&m.ready, l)
	case waits:
		heap.Fix(&m.ready, l.pos)
	case l.pos >= 0:
		heap.Remove(&m.ready, l.pos)
	}
}

// at is when the item is due.
func (e *entry) at() time.Time { return time.Unix(0, e.due).UTC() }

// next is when the first lane may start an item; zero if none waits for time.
func (m *memory) next() time.Time {
	if len(m.ready) == 0 {
		return time.Time{}
	}
	return m.ready[0].items[0].at()
}

func earlier(a, b *entry) bool {
	if c := cmp.Compare(a.due, b.due); c != 0 {
		return c < 0
	}
	return a.id < b.id
}

// itemHeap has the item that is due first on top; ties: the lower ID.
type itemHeap []*entry

func (h itemHeap) Len() int           { return len(h) }
func (h itemHeap) Less(i, j int) bool { return earlier(h[i], h[j]) }
func (h itemHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}

// fix moves an entry to where its new due instant belongs.
func (h *itemHeap) fix(e *entry) { heap.Fix(h, e.pos) }

func (h *itemHeap) Push(x any) {
	e := x.(*entry) //nolint:forcetypeassert // container/heap's contract
	e.pos = len(*h)
	*h = append(*h, e)
}

func (h *itemHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}

// laneHeap has the lane on top whose first item is due first.
type laneHeap []*lane

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return earlier(h[i].items[0], h[j].items[0]) }
func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}

func (h *laneHeap) Push(x any) {
	l := x.(*lane) //nolint:forcetypeassert // container/heap's contract
	l.pos = len(*h)
	*h = append(*h, l)
}

func (h *laneHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	l.pos = -1
	*h = old[:len(old)-1]
	return l
}
