package main

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// model is everything that is known of the server: what it answered, and what follows from
// that. Its methods are safe for concurrent use.
type model struct {
	// stop ends the run when a failure was found.
	stop func()

	// mu guards the following.
	mu       sync.Mutex
	jobs     map[string]*lane
	all      []*job
	items    map[int64]*item
	order    []int64               // of items, in the order of their discovery
	triggers map[string][]*trigger // by cause; more than one only if shared
	withKey  []*trigger            // that were not refused
	found    []string              // the failures
	counts   counts
	sweep    int // counts the full checks, from 1
	// fates records the faults of servers that share a queue; nil for a single server.
	fates  *fates
	losses losses
	sights []sight // not compared yet
	// life is when the running server was started; a build that runs started since. dying is
	// set when it is being ended.
	life  time.Time
	dying bool
}

// counts are the actions of a run.
type counts struct {
	kills, stops, early             int
	triggers, accepted, joined      int
	refused, unknown, learned       int
	again, resolved                 int
	cancels, buildStops             int
	reloads, reloadsRefused, cutOff int
	builds, aborted, looks, dropped int

	// Only of a cluster:
	startsFailed, pauses, longPauses      int
	cuts, longCuts, resets                int
	databaseKills, databaseCuts, compared int
	follows, waits                        int
}

// lane is what is known of one job.
type lane struct {
	*job
	items map[int64]int64 // number → item
	last  int64           // the highest number seen
	ended map[int64]bool  // numbers of ended builds
	// left are the IDs of items that the harness has cancelled.
	cancels []int64
}

// trigger is one request for a build.
type trigger struct {
	job    *job
	cause  string
	shared bool // other triggers have the same cause
	params map[string]string
	delay  time.Duration
	key    string // the idempotency key, "" for none
	// said and delayText are the params and delay as they were sent.
	said      map[string]string
	delayText string
	wait      int    // seconds for which the answer waits for the end; 0: none
	first     answer // to a trigger with a key; without an item while there was no answer

	sent, answered time.Time // answered is zero if there was no answer
	refused        string    // the text of the refusal
	item           int64     // 0: not known
	lastBefore     int64     // the job's highest number when it was sent
}

// fate is where an item was seen.
type fate int

const (
	unseen fate = iota
	queued
	built
	cancelled
)

func (f fate) String() string { return [...]string{"not seen", "queued", "built", "cancelled"}[f] }

// item is what is known of one item.
type item struct {
	id      int64
	lane    *lane
	met     time.Time // when it was discovered
	created bool      // a trigger was answered that it created the item
	params  map[string]string
	// accepted are the triggers that were answered with this item.
	accepted []*trigger
	fate     fate
	// left is when it became known that the item has left the queue.
	left   time.Time
	number int64
	result string
	// resultAt is when the result became known.
	resultAt time.Time
	reason   string
	// lastBefore is a number below that of the item's build.
	lastBefore int64
	// earliest is the instant before which no build may start; zero if not known.
	earliest time.Time
	due      time.Time      // as last seen
	causes   map[string]int // as last seen
	capped   bool
	// stopped is set when the harness has requested to cancel or stop it. out is when the
	// server confirmed that it left the queue.
	stopped bool
	out     time.Time
	dropped bool // its record was dropped
	settled bool // ended, and compared with the ledger
	looks   int  // how often it was read after it was cancelled
	seen    int  // the full check in which a list or the item's own page last showed it

	begun, end *entry // what its build wrote

	// With several servers: which one built it, when that ended on record, and the last sign of
	// life of its command.
	node        string
	ended, sign time.Time
}

func newModel(all []*job, stop func()) *model {
	m := &model{stop: stop, all: all, jobs: map[string]*lane{}, items: map[int64]*item{}, triggers: map[string][]*trigger{}, sweep: 1, losses: newLosses()}
	for _, j := range all {
		m.jobs[j.name] = &lane{job: j, items: map[int64]int64{}, ended: map[int64]bool{}}
	}
	return m
}

// wrong records a failure.
func (m *model) wrong(format string, args ...any) {
	m.found = append(m.found, fmt.Sprintf(format, args...))
	m.stop()
}

// report records a failure from outside of the model.
func (m *model) report(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wrong(format, args...)
}

// count changes the counts.
func (m *model) count(f func(*counts)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&m.counts)
}

// lives records that another server runs; ends that it is going to end.
func (m *model) lives(since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.life, m.dying = since, false
}

func (m *model) ends() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dying = true
}

// send records a trigger before it is sent.
func (m *model) send(t *trigger) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts.triggers++
	t.sent, t.lastBefore = now(), m.jobs[t.job.name].last
	m.triggers[t.cause] = append(m.triggers[t.cause], t)
}

// answer records the answer to a trigger.
func (m *model) answer(t *trigger, a answer, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t.answered = at
	if a.id == 0 {
		m.counts.refused++
		t.refused = fmt.Sprintf("%d %s", a.status, a.body)
		if t.item != 0 {
			m.wrong("trigger %q was refused (%s) and is in item %d", t.cause, t.refused, t.item)
		}
		return
	}
	it, known := m.items[a.id]
	if !known {
		it = m.meet(a.id, t.job.name)
		it.lastBefore = t.lastBefore
	}
	it.accepted = append(it.accepted, t)
	if t.item != 0 && t.item != a.id {
		m.wrong("trigger %q was answered with item %d and is in item %d", t.cause, a.id, t.item)
	}
	if !t.shared {
		t.item = a.id
	}
	if a.created {
		m.counts.accepted++
		if it.created || it.met.Before(t.sent) {
			m.wrong("item %d of %q was assigned again, to trigger %q", a.id, it.lane.name, t.cause)
		}
		it.created = true
	} else {
		m.counts.joined++
	}
	if it.lane.name != t.job.name {
		m.wrong("trigger %q of %q was answered with item %d of %q", t.cause, t.job.name, a.id, it.lane.name)
	}
	if !it.left.IsZero() && it.left.Before(t.sent) {
		m.wrong("trigger %q (status %d) got item %d, which had left the queue %v before", t.cause, a.status, a.id, t.sent.Sub(it.left))
	}
	if !it.out.IsZero() && it.out.Before(t.sent) {
		m.wrong("trigger %q (status %d) got item %d, which had been cancelled %v before", t.cause, a.status, a.id, t.sent.Sub(it.out))
	}
	m.sameParams(it, t.params, "trigger "+t.cause)
}

// meet adds an item that was not known.
func (m *model) meet(id int64, name string) *item {
	l, ok := m.jobs[name]
	if !ok {
		m.wrong("item %d is of job %q, which there never was", id, name)
		l = &lane{job: &job{name: name}, items: map[int64]int64{}, ended: map[int64]bool{}}
		m.jobs[name] = l
	}
	it := &item{id: id, lane: l, met: now()}
	m.items[id] = it
	m.order = append(m.order, id)
	return it
}

func (m *model) sameParams(it *item, params map[string]string, who string) {
	if it.params == nil {
		it.params = params
	}
	if !maps.Equal(it.params, params) {
		m.wrong("item %d of %q has parameters %v, %s returns %v", it.id, it.lane.name, it.params, who, params)
	}
}

// asked records that the harness is going to cancel or stop an item.
func (m *model) asked(id int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if it, ok := m.items[id]; ok {
		it.stopped = true
		if !slices.Contains(it.lane.cancels, id) {
			it.lane.cancels = append(it.lane.cancels, id)
		}
	}
}

// obeyed records that the server took an item out of the queue or stopped its build.
func (m *model) obeyed(id int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if it, ok := m.items[id]; ok && it.out.IsZero() {
		it.out = now()
	}
}

// recent returns the items that were discovered last.
func (m *model) recent() []int64 {
	const enough = 2000
	return m.order[max(0, len(m.order)-enough):]
}

// some returns a random item that matches; its job is nil if there is none.
func (m *model) some(d dice, fits func(*item) bool) (id int64, of *job, number int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*item
	for _, id := range m.recent() {
		if it := m.items[id]; fits(it) {
			all = append(all, it)
		}
	}
	if len(all) == 0 {
		return 0, nil, 0
	}
	it := pick(d, all)
	return it.id, it.lane.job, it.number
}

// open counts the items that are not known to have ended.
func (m *model) open() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, id := range m.recent() {
		if it := m.items[id]; !it.dropped && it.fate != cancelled && it.result == "" && it.end == nil {
			n++
		}
	}
	return n
}

// resultOf returns the result of a build, "" if it is not known.
func (m *model) resultOf(name string, number int64) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.jobs[name]
	if it := m.items[l.items[number]]; it != nil {
		return it.result
	}
	return ""
}
