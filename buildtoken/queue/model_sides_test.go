package queue_test

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// store is a minimal backend: it has records, and no rules.
type store struct {
	nextID    int64
	lanes     map[string]queue.Lane
	items     map[int64]*queue.Item
	builds    map[numbered]queue.Build
	cancelled map[int64]queue.Cancelled
	receipts  map[string][]queue.Receipt // of a job, in no order
	summaries map[string]queue.Summary
}

type numbered struct {
	job    string
	number int64
}

func newStore() store {
	return store{1, map[string]queue.Lane{}, map[int64]*queue.Item{}, map[numbered]queue.Build{}, map[int64]queue.Cancelled{}, map[string][]queue.Receipt{}, map[string]queue.Summary{}}
}

func (s *store) lane(job string) queue.Lane {
	if l, ok := s.lanes[job]; ok {
		return l
	}
	return queue.Lane{Job: job}
}

// commit applies a change as a backend does.
func (s *store) commit(c committed) {
	job := c.change.Lane.Job
	s.lanes[job] = c.change.Lane
	if c.change.Item != nil {
		s.items[c.change.Item.ID] = c.change.Item
		s.nextID = max(s.nextID, c.change.Item.ID+1)
	}
	delete(s.items, c.change.Left)
	if b := c.change.Build; b != nil {
		s.builds[numbered{job, b.Number}] = *b
	}
	if c.change.Summary != nil {
		s.summaries[job] = *c.change.Summary
	}
	if gone := c.change.Cancelled; gone != nil {
		s.cancelled[gone.Item.ID] = *gone
	}
	for range c.change.Trim {
		oldest := numbered{job, 1 << 60}
		for n, b := range s.builds {
			if n.job == job && n.number < oldest.number && !b.Running() {
				oldest = n
			}
		}
		delete(s.builds, oldest)
	}
	for range c.change.TrimCancelled {
		oldest := int64(1 << 60)
		for id, gone := range s.cancelled {
			if gone.Item.Job == job && id < oldest {
				oldest = id
			}
		}
		delete(s.cancelled, oldest)
	}
	for _, old := range c.change.Forget {
		s.receipts[job] = slices.DeleteFunc(s.receipts[job], func(r queue.Receipt) bool { return r.Key == old.Key })
	}
	if c.change.Receipt != nil {
		s.receipts[job] = append(s.receipts[job], *c.change.Receipt)
	}
}

// receipt returns the receipt of a request's key.
func (s *store) receipt(r queue.Request) *queue.Receipt {
	for _, kept := range s.receipts[r.Job] {
		if kept.Key == *r.Key {
			return &kept
		}
	}
	return nil
}

// oldestReceipts returns the receipts of a job that expire first.
func (s *store) oldestReceipts(job string) []queue.Receipt {
	all := slices.SortedFunc(slices.Values(s.receipts[job]), func(a, b queue.Receipt) int { return a.Until.Compare(b.Until) })
	return all[:min(len(all), queue.MaxForget)]
}

// equal returns the item that a request can join.
func (s *store) equal(r queue.Request) *queue.Item {
	for _, it := range s.items {
		if it.Job == r.Job && it.Digest == r.Digest && !it.Solo {
			return it
		}
	}
	return nil
}

// first returns the item of a job that is due first, and of several the one with the lowest ID.
func (s *store) first(job string) *queue.Item {
	var first *queue.Item
	for _, it := range s.items {
		if it.Job == job && (first == nil || cmp.Or(it.Due.Compare(first.Due), cmp.Compare(it.ID, first.ID)) < 0) {
			first = it
		}
	}
	return first
}

// build returns one of the newest builds of a job, running or not.
func (s *store) build(o op) (queue.Build, bool) {
	b, ok := s.builds[numbered{o.job(), s.lane(o.job()).LastNumber - int64(o.b%4)}]
	return b, ok
}

// place is where a trigger's item is in the model.
type place int

const (
	inQueue place = iota
	running
	ended
	wasCancelled
	dropped
)

// modelItem is everything that ever happened to an item, in order.
type modelItem struct {
	id                    int64
	job                   string
	digest                queue.Digest
	solo                  bool
	place                 place
	notes                 []string // of all triggers
	since, due, left, end time.Time
	number                int64
	executor              int
	result                queue.Result
	abort                 string
}

// model keeps all items in a slice, and searches it for every answer.
type model struct {
	items []modelItem
	rules map[string]queue.Rules
	// keyed are all accepted triggers with a key, in order.
	keyed []keyedTrigger
}

type keyedTrigger struct {
	job     string
	receipt queue.Receipt
}

func newModel() model { return model{rules: map[string]queue.Rules{}} }

// do applies an operation and returns how it must end.
func (m *model) do(o op, now time.Time, limit int) error {
	switch o.kind {
	case opTrigger:
		return m.trigger(o.request(), now, limit)
	case opClaim:
		if next := m.next(o.job()); next.IsZero() || next.After(now) {
			return nil
		}
		it := m.first(o.job())
		it.place, it.number, it.left, it.executor = running, m.lastNumber(o.job())+1, now, o.b
	case opFinish:
		return m.finish(o, now)
	case opCancel:
		for i := range m.items {
			if it := &m.items[i]; it.id == int64(len(m.items)-o.b%16) && it.place == inQueue {
				it.place, it.left = wasCancelled, now
				m.forget(it.job, wasCancelled, func(a, b *modelItem) int { return cmp.Compare(a.id, b.id) })
			}
		}
	case opAbort:
		it := m.build(o)
		if it == nil {
			return nil
		}
		if it.place != running {
			return queue.ErrNotRunning
		}
		if it.abort == "" {
			it.abort = fmt.Sprint("user ", o.c)
		}
	case opRules:
		m.rules[o.job()] = o.rules()
	case opAdvance, opCrash, opKinds:
	}
	return nil
}

func (m *model) trigger(r queue.Request, now time.Time, limit int) error {
	if r.Key == nil {
		_, _, err := m.schedule(r, now, limit)
		return err
	}
	for _, k := range m.keyed {
		if k.job == r.Job && k.receipt.Key == *r.Key && k.receipt.Until.After(now) {
			if k.receipt.Values != r.Digest {
				return queue.ErrKeyReused
			}
			return &queue.RepeatedError{Receipt: k.receipt}
		}
	}
	id, created, err := m.schedule(r, now, limit)
	if err == nil {
		m.keyed = append(m.keyed, keyedTrigger{r.Job, queue.Receipt{
			Key: *r.Key, Values: r.Digest, Item: id, Created: created, Until: now.Add(24 * time.Hour),
		}})
	}
	return err
}

// receipts returns how many receipts of a job have not expired.
func (m *model) receipts(job string, now time.Time) int {
	n := 0
	for _, k := range m.keyed {
		if k.job == job && k.receipt.Until.After(now) {
			n++
		}
	}
	return n
}

func (m *model) schedule(r queue.Request, now time.Time, limit int) (id int64, created bool, err error) {
	due := now
	if r.Delay > 0 {
		due = now.Add(r.Delay)
	}
	for i := range m.items {
		it := &m.items[i]
		if it.place == inQueue && it.job == r.Job && it.digest == r.Digest && !it.solo && !r.Solo {
			it.notes = append(it.notes, r.Cause.Note)
			if due.Before(it.due) {
				it.due = due
			}
			return it.id, false, nil
		}
	}
	if m.count(inQueue) >= limit {
		return 0, false, queue.ErrFull
	}
	m.items = append(m.items, modelItem{
		id: int64(len(m.items) + 1), job: r.Job, digest: r.Digest, solo: r.Solo,
		notes: []string{r.Cause.Note}, since: now, due: due,
	})
	return int64(len(m.items)), true, nil
}

func (m *model) finish(o op, now time.Time) error {
	it := m.build(o)
	if it == nil {
		return nil
	}
	if it.place != running {
		return queue.ErrNotRunning
	}
	it.place, it.end, it.result = ended, now, o.result()
	m.forget(it.job, ended, func(a, b *modelItem) int { return cmp.Compare(a.number, b.number) })
	return nil
}

// forget drops the oldest records of a kind until keep_builds are left.
func (m *model) forget(job string, kind place, order func(a, b *modelItem) int) {
	keep := m.rules[job].KeepBuilds
	if keep == 0 {
		return
	}
	var of []*modelItem
	for i := range m.items {
		if m.items[i].job == job && m.items[i].place == kind {
			of = append(of, &m.items[i])
		}
	}
	slices.SortFunc(of, order)
	for _, it := range of[:max(0, len(of)-keep)] {
		it.place = dropped
	}
}

// build returns the item whose record store.build finds.
func (m *model) build(o op) *modelItem {
	number := m.lastNumber(o.job()) - int64(o.b%4)
	for i := range m.items {
		it := &m.items[i]
		if it.job == o.job() && it.number == number && (it.place == running || it.place == ended) {
			return it
		}
	}
	return nil
}

func (m *model) first(job string) *modelItem {
	var first *modelItem
	for i := range m.items {
		it := &m.items[i]
		if it.job == job && it.place == inQueue && (first == nil || it.due.Before(first.due)) {
			first = it
		}
	}
	return first
}

func (m *model) next(job string) time.Time {
	first := m.first(job)
	if first == nil || m.rules[job].Disabled || !m.rules[job].Concurrent && m.runs(job) {
		return time.Time{}
	}
	return first.due
}

func (m *model) runs(job string) bool {
	return slices.ContainsFunc(m.items, func(it modelItem) bool { return it.job == job && it.place == running })
}

func (m *model) state(it *modelItem, now time.Time) queue.State {
	switch {
	case it.due.After(now):
		return queue.Waiting
	case m.rules[it.job].Disabled || !m.rules[it.job].Concurrent && m.runs(it.job):
		return queue.Blocked
	default:
		return queue.Buildable
	}
}

func (m *model) count(kind place) int {
	n := 0
	for i := range m.items {
		if m.items[i].place == kind {
			n++
		}
	}
	return n
}

// lastNumber returns how many builds there ever were, including dropped ones.
func (m *model) lastNumber(job string) int64 {
	n := int64(0)
	for i := range m.items {
		if m.items[i].job == job && m.items[i].number > 0 {
			n++
		}
	}
	return n
}

// lane returns the expected lane of a job.
func (m *model) lane(job string) queue.Lane {
	l := queue.Lane{Job: job, Rules: m.rules[job], LastNumber: m.lastNumber(job)}
	for i := range m.items {
		it := &m.items[i]
		if it.job != job {
			continue
		}
		switch it.place {
		case inQueue:
			l.Queued++
		case running:
			l.Running = append(l.Running, it.number)
		case ended:
			l.Kept++
		case wasCancelled:
			l.KeptCancelled++
		case dropped:
		}
		if it.result != "" && it.number > l.LastEnded {
			l.Last, l.LastEnded = it.result, it.number
		}
	}
	slices.Sort(l.Running)
	return l
}

// fold counts equal notes: each of the first MaxCauses different ones, and the sum of the rest.
func (it *modelItem) fold() (causes []queue.Cause, more int) {
	for _, note := range it.notes {
		at := slices.IndexFunc(causes, func(c queue.Cause) bool { return c.Note == note })
		switch {
		case at >= 0:
			causes[at].Count++
		case len(causes) < queue.MaxCauses:
			causes = append(causes, queue.Cause{Kind: queue.CauseRemote, Note: note, Count: 1})
		default:
			more++
		}
	}
	return causes, more
}

// recent returns the ended builds with the highest numbers, including dropped ones.
func (m *model) recent(job string) []queue.Ended {
	var all []queue.Ended
	for i := range m.items {
		if it := &m.items[i]; it.job == job && it.result != "" {
			all = append(all, queue.Ended{Number: it.number, Result: it.result, Started: it.left, Took: it.end.Sub(it.left)})
		}
	}
	slices.SortFunc(all, func(a, b queue.Ended) int { return cmp.Compare(b.Number, a.Number) })
	return all[:min(len(all), queue.MaxRecent)]
}
