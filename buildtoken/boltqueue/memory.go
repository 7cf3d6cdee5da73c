package boltqueue

import (
	"container/heap"
	"math"
	"slices"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// memory is what is known without reading the file: which items are queued, by
// ID, by digest and by due instant. It belongs to the holder of the turn.
type memory struct {
	nextID     int64
	config     queue.Config
	configured time.Time // when the config was set; zero: never
	lanes      map[string]*lane
	byID       map[int64]*entry
	byDigest   map[identity]*entry
	kib        int // of all entries
	// ready are the lanes whose first item may start at a known instant, by
	// [queue.Lane.Place]. No heap is empty.
	ready map[string]*laneHeap
	// unsaved are items with a higher count of causes, or more trace contexts, than the
	// file has.
	unsaved map[int64]*queue.Item
	// aborts are the running builds that were asked to stop.
	aborts map[buildKey]queue.Build
	outbox outbox
}

type buildKey struct {
	job    string
	number int64
}

type identity struct {
	lane   *lane
	digest queue.Digest
}

// entry is a queued item, whose record is in the file.
type entry struct {
	id   int64
	due  int64 // nanoseconds since 1970, UTC
	lane *lane
	// digest is needed to take the entry out of byDigest.
	digest queue.Digest
	pos    int32  // in lane.items, or -1 if it is in lane.aside
	kib    uint16 // of its parameters, at most 65535
	flags  byte
}

// lane is a queue.Lane with its queued items, due first.
type lane struct {
	head  queue.Lane
	items itemHeap
	pos   int    // in memory.ready, or -1
	place string // the heap in memory.ready
	next  int64  // when the first item may start, if pos is not -1; as entry.due
	// aside are queued items whose records cannot be read: they are never
	// started and never joined, but they can be seen and cancelled.
	aside []*entry
	// hot is the item that was last created or joined. A busy trigger joins it over and
	// over, and does not have to decode it each time. It is never modified in place.
	hot *queue.Item
	// summary is kept in memory because lists of jobs show it. It is never modified in place.
	summary queue.Summary
	// receipts has the expiry of each receipt, as entry.due, by its key.
	receipts map[queue.Digest]int64
}

func newMemory() *memory {
	return &memory{
		lanes: map[string]*lane{}, byID: map[int64]*entry{},
		byDigest: map[identity]*entry{}, unsaved: map[int64]*queue.Item{},
		aborts: map[buildKey]queue.Build{}, ready: map[string]*laneHeap{}, outbox: newOutbox(),
	}
}

// lane returns the lane of a job under the newest configuration. A new one becomes
// part of memory when something is written for it.
func (m *memory) lane(job string) *lane {
	if l, ok := m.lanes[job]; ok {
		return l
	}
	head := m.newLane(job)
	if !m.configured.IsZero() {
		head = head.Configure(m.configured, m.config)
	}
	return &lane{head: head, pos: -1, summary: queue.Summary{Job: job}}
}

func (m *memory) newLane(job string) queue.Lane {
	return queue.Lane{Job: job, Rules: m.config.Rules[job]}
}

// configure applies a configuration to every lane, and returns the lanes whose jobs became
// gone or came back.
func (m *memory) configure(now time.Time, c queue.Config) (changed []*lane) {
	m.config, m.configured = c, now
	for _, l := range m.lanes {
		before := l.head.GoneUntil
		l.head = l.head.Configure(now, c)
		m.reposition(l)
		if !before.Equal(l.head.GoneUntil) {
			changed = append(changed, l)
		}
	}
	return changed
}

func (m *memory) add(l *lane, id, due int64, digest queue.Digest, kib int, flags byte) {
	e := &entry{id: id, due: due, lane: l, digest: digest, kib: uint16(min(kib, math.MaxUint16)), flags: flags} //nolint:gosec // min keeps it in range
	m.byID[id] = e
	m.kib += int(e.kib)
	if flags&flagSolo == 0 {
		m.byDigest[identity{l, digest}] = e
	}
	heap.Push(&l.items, e)
}

// remove takes an entry out of memory. The caller must reposition the lane.
func (m *memory) remove(e *entry) {
	delete(m.byID, e.id)
	m.kib -= int(e.kib)
	m.excludeFromJoins(e)
	if e.pos >= 0 {
		heap.Remove(&e.lane.items, int(e.pos))
	} else {
		e.lane.aside = slices.DeleteFunc(e.lane.aside, func(other *entry) bool { return other == e })
	}
}

// setAside takes an entry of lane.items, whose record cannot be read, out of the way of the others.
func (m *memory) setAside(e *entry) {
	m.excludeFromJoins(e)
	heap.Remove(&e.lane.items, int(e.pos))
	e.pos = -1
	e.lane.aside = append(e.lane.aside, e)
	m.reposition(e.lane)
}

// excludeFromJoins makes sure that no trigger joins the entry.
func (m *memory) excludeFromJoins(e *entry) {
	delete(m.unsaved, e.id)
	if key := (identity{e.lane, e.digest}); m.byDigest[key] == e {
		delete(m.byDigest, key)
	}
	if e.lane.hot != nil && e.lane.hot.ID == e.id {
		e.lane.hot = nil
	}
}

// running returns the jobs with running builds, sorted.
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

// reposition puts the lane where its next instant belongs in ready.
func (m *memory) reposition(l *lane) {
	var next time.Time
	if len(l.items) > 0 {
		next = queue.Next(l.head, l.items[0].at())
	}
	place := l.head.Place()
	if l.pos >= 0 && (next.IsZero() || l.place != place) {
		lanes := m.ready[l.place]
		if heap.Remove(lanes, l.pos); lanes.Len() == 0 {
			delete(m.ready, l.place)
		}
	}
	if next.IsZero() {
		return
	}
	l.next = next.UnixNano()
	if l.pos >= 0 {
		heap.Fix(m.ready[place], l.pos)
		return
	}
	if m.ready[place] == nil {
		m.ready[place] = &laneHeap{}
	}
	l.place = place
	heap.Push(m.ready[place], l)
}

// first returns the lane whose first item may start first, among the lanes of some
// places; nil if no lane waits for time.
func (m *memory) first(places []string) *lane {
	var first *lane
	for _, place := range places {
		if lanes := m.ready[place]; lanes != nil && (first == nil || (*lanes)[0].before(first)) {
			first = (*lanes)[0]
		}
	}
	return first
}

// next returns when the first lane may start an item; zero if no lane waits for time.
func (m *memory) next(places ...string) time.Time {
	if l := m.first(places); l != nil {
		return time.Unix(0, l.next).UTC()
	}
	return time.Time{}
}
