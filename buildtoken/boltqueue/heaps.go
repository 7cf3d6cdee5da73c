package boltqueue

import (
	"cmp"
	"container/heap"
	"slices"
	"time"
)

// at returns when the item is due.
func (e *entry) at() time.Time { return time.Unix(0, e.due).UTC() }

func compareEntries(a, b *entry) int {
	return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.id, b.id))
}

func earlier(a, b *entry) bool { return compareEntries(a, b) < 0 }

// itemHeap has the item that is due first on top; ties: the lower ID.
type itemHeap []*entry //nolint:recvcheck // container/heap's contract

func (h itemHeap) Len() int           { return len(h) }
func (h itemHeap) Less(i, j int) bool { return earlier(h[i], h[j]) }
func (h itemHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = int32(i), int32(j) //nolint:gosec // fewer than 2^31 items fit into memory
}

func (h *itemHeap) Push(x any) {
	e := x.(*entry)        //nolint:forcetypeassert // container/heap's contract
	e.pos = int32(len(*h)) //nolint:gosec // fewer than 2^31 items fit into memory
	*h = append(*h, e)
}

func (h *itemHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}

// before reports whether the lane may start an item before another lane.
func (l *lane) before(other *lane) bool {
	return l.next < other.next || l.next == other.next && l.items[0].id < other.items[0].id
}

// laneHeap has the lane on top that may start an item first.
type laneHeap []*lane //nolint:recvcheck // container/heap's contract

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].before(h[j]) }
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

// firstOf returns the entries of the lanes that are due first, in order, at
// most limit of them. It visits little more than it returns.
func firstOf(lanes []*lane, limit int) []*entry {
	limit = max(limit, 0)
	var found []*entry
	var edge candidateHeap
	for _, l := range lanes {
		found = append(found, l.aside...)
		if len(l.items) > 0 {
			edge = append(edge, candidate{l.items, 0})
		}
	}
	aside := len(found)
	heap.Init(&edge)
	for len(edge) > 0 && len(found)-aside < limit {
		top := edge[0]
		found = append(found, top.heap[top.at])
		heap.Pop(&edge)
		for child := 2*top.at + 1; child <= 2*top.at+2 && child < len(top.heap); child++ {
			heap.Push(&edge, candidate{top.heap, child})
		}
	}
	slices.SortFunc(found, compareEntries)
	return found[:min(limit, len(found))]
}

// candidate may be the next entry: it is the first of a lane, or a child of one that was found.
type candidate struct {
	heap itemHeap
	at   int
}

type candidateHeap []candidate //nolint:recvcheck // container/heap's contract

func (h candidateHeap) Len() int           { return len(h) }
func (h candidateHeap) Less(i, j int) bool { return earlier(h[i].heap[h[i].at], h[j].heap[h[j].at]) }
func (h candidateHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

func (h *candidateHeap) Push(x any) { *h = append(*h, x.(candidate)) } //nolint:forcetypeassert // container/heap's contract

func (h *candidateHeap) Pop() any {
	old := *h
	n := old[len(old)-1]
	*h = old[:len(old)-1]
	return n
}

// countBefore counts the entries at and below a place of the heap that are due before e, and stops
// counting beyond limit. Below an entry that is not due before e, no entry is.
func (h itemHeap) countBefore(e *entry, at, limit int) int {
	if limit < 0 || at >= len(h) || !earlier(h[at], e) {
		return 0
	}
	n := 1
	n += h.countBefore(e, 2*at+1, limit-n)
	return n + h.countBefore(e, 2*at+2, limit-n)
}
