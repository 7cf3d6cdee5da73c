package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The records of the reading API. Each sight has the instant of its request: what was known
// before must still be true.

// queueShown records an item of the queue's list, or of its own page.
func (m *model) queueShown(j itemJSON, asked time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	it, c := m.shown(j.ID, jobOfURL(j.Task.URL), j.Actions, asked)
	switch {
	case j.Executable != nil:
		m.leave(it, built, j.Executable.Number)
	case j.Cancelled:
		m.leave(it, cancelled, 0)
		if !it.stopped {
			m.wrong("item %d of %q is cancelled without a request", it.id, it.lane.name)
		}
		if it.begun != nil {
			m.wrong("item %d of %q is cancelled, and build #%d of it ran", it.id, it.lane.name, it.begun.Number)
		}
		it.looks++
	case strings.HasSuffix(j.Class, "$LeftItem"):
		m.wrong("item %d of %q has left the queue, without a build and without being cancelled", it.id, it.lane.name)
	default:
		m.waits(it, c, j, asked)
	}
}

// waits records an item that is shown as queued.
func (m *model) waits(it *item, c content, j itemJSON, asked time.Time) {
	if !it.left.IsZero() && it.left.Before(asked) {
		m.wrong("item %d of %q was %v (#%d) and is queued again", it.id, it.lane.name, it.fate, it.number)
		return
	}
	if !it.out.IsZero() && it.out.Before(asked) {
		m.wrong("item %d of %q was cancelled, which the server confirmed, and is queued", it.id, it.lane.name)
	}
	if it.fate == unseen {
		it.fate = queued
	}
	due := time.UnixMilli(j.Timestamp + j.BuildableStartMilliseconds) // one of the two is set
	it.due = due
	low, high := m.bounds(it, c, time.UnixMilli(j.InQueueSince), asked)
	if due.Before(low.Truncate(time.Millisecond)) {
		m.wrong("item %d of %q is due %v before any trigger allowed", it.id, it.lane.name, low.Sub(due))
	}
	if !high.IsZero() && due.After(high) {
		m.wrong("item %d of %q is due %v later than promised", it.id, it.lane.name, due.Sub(high))
	}
}

// hungMost is how long an operation of a server can take to complete, with all faults. With
// several servers, one can join an item with a poll whose end it saw before another server
// created the item.
const hungMost = 30 * time.Second

// bounds returns when an item may be due: not before all its triggers allow, and not after the
// first accepted one requests. high is zero if none was accepted.
func (m *model) bounds(it *item, c content, since, asked time.Time) (low, high time.Time) {
	if m.fates != nil {
		since = since.Add(-hungMost)
	}
	if c.scm > 0 || c.capped() {
		low = since
	}
	take := func(at time.Time) {
		if low.IsZero() || at.Before(low) {
			low = at
		}
	}
	for cause := range c.causes {
		for _, t := range m.triggers[cause] {
			if t.shared {
				take(since)
				continue
			}
			take(t.sent.Add(t.delay))
		}
	}
	for _, t := range it.accepted {
		if t.answered.After(asked) {
			continue
		}
		if at := t.answered.Add(t.delay); high.IsZero() || at.Before(high) {
			high = at
		}
	}
	return low, high
}

// buildShown records a build of a job.
func (m *model) buildShown(job string, j buildJSON, asked time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	it, c := m.shown(j.QueueID, job, j.Actions, asked)
	m.leave(it, built, j.Number)
	m.resultShown(it, j.Result, j.Building, asked)
	started := time.UnixMilli(j.Timestamp)
	low, _ := m.bounds(it, c, started, asked)
	it.earliest = low.Truncate(time.Millisecond)
	if started.Before(it.earliest) {
		m.wrong("build #%d of %q (item %d) started %v before it was due", j.Number, job, it.id, it.earliest.Sub(started))
	}
	m.checkLedger(it)
	it.reason = j.Description
	switch {
	case j.Result == "NOT_BUILT":
		m.wrong("build #%d of %q (item %d) was not built: %s", j.Number, job, it.id, j.Description)
	case m.fates != nil:
		m.sharedShown(it, j, started)
	case j.Building && started.Before(m.life.Truncate(time.Millisecond)):
		m.wrong("build #%d of %q runs on record, since before the server was started", j.Number, job)
	case j.Result == "ABORTED" && !it.stopped && !m.dying && !started.Before(m.life):
		m.wrong("build #%d of %q (item %d) was aborted without a request: %s", j.Number, job, it.id, j.Description)
	}
}

// resultShown records the result of a build, "" while it runs.
func (m *model) resultShown(it *item, result string, building bool, asked time.Time) {
	if building != (result == "") {
		m.wrong("build #%d of %q has result %q, building: %v", it.number, it.lane.name, result, building)
	}
	switch {
	case it.result == "" && result != "":
		it.result, it.resultAt = result, now()
		it.lane.ended[it.number] = true
		m.counts.builds++
		if result == "ABORTED" {
			m.counts.aborted++
		}
	case it.result != result && (result != "" || it.resultAt.Before(asked)):
		m.wrong("build #%d of %q (item %d) was %q and is %q", it.number, it.lane.name, it.id, it.result, result)
	}
}

// leave records that an item has left the queue, and how.
func (m *model) leave(it *item, how fate, number int64) {
	if it.left.IsZero() {
		it.left = now()
	}
	if it.fate != how && (it.fate == built || it.fate == cancelled) || it.number != 0 && it.number != number {
		m.wrong("item %d of %q was %v (#%d) and is %v (#%d)", it.id, it.lane.name, it.fate, it.number, how, number)
		return
	}
	it.fate, it.number = how, number
	if how != built {
		return
	}
	if other, taken := it.lane.items[number]; taken && other != it.id {
		m.wrong("build #%d of %q was item %d and is item %d", number, it.lane.name, other, it.id)
	}
	it.lane.items[number] = it.id
	it.lane.last = max(it.lane.last, number)
}

// shown records what items and builds have in common.
func (m *model) shown(id int64, name string, actions []actionJSON, asked time.Time) (*item, content) {
	it, known := m.items[id]
	if !known {
		it = m.meet(id, name)
	}
	if it.lane.name != name {
		m.wrong("item %d was of %q and is of %q", id, it.lane.name, name)
	}
	if it.dropped {
		m.wrong("item %d of %q was gone and is back", id, name)
	}
	it.seen = m.sweep
	c := contentOf(actions)
	m.sameParams(it, c.params, "the API")
	if len(c.causes) == 0 && c.scm == 0 {
		m.wrong("item %d of %q has no cause", id, name)
	}
	if c.scm > 0 && !it.lane.polled {
		m.wrong("item %d of %q was made by a poll, which the job has not", id, name)
	}
	for _, cause := range slices.Sorted(maps.Keys(c.causes)) {
		m.causeShown(it, cause, c.causes[cause])
	}
	for cause := range it.causes {
		if c.causes[cause] == 0 && it.left.Before(asked) && !it.left.IsZero() {
			m.wrong("item %d of %q had the cause %q and has it no more", id, name, cause)
		}
	}
	if !c.capped() {
		for _, t := range it.accepted {
			if c.causes[t.cause] == 0 && t.answered.Before(asked) {
				m.wrong("trigger %q was answered with item %d of %q, which does not have its cause", t.cause, id, name)
			}
		}
	}
	it.causes, it.capped = c.causes, c.capped()
	return it, c
}

// statusShown records what the holder of a token sees of an item.
func (m *model) statusShown(id int64, j statusJSON, asked time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	it := m.items[id]
	switch {
	case j.Item != id || j.Job != it.lane.name:
		m.wrong("the status of item %d of %q is that of item %d of %q", id, it.lane.name, j.Item, j.Job)
	case j.State == "cancelled":
		m.leave(it, cancelled, 0)
	case j.Build != nil:
		m.leave(it, built, *j.Build)
	case !it.left.IsZero() && it.left.Before(asked):
		m.wrong("%v, and its status is %s", it, j.State)
	}
}

// endShown records the answer to a trigger that waited for the end.
func (m *model) endShown(id int64, j *endJSON) {
	m.mu.Lock()
	defer m.mu.Unlock()
	it := m.items[id]
	switch {
	case j.State == "cancelled":
		m.leave(it, cancelled, 0)
	case j.State == "ended" && j.Build != nil:
		m.leave(it, built, *j.Build)
		m.resultShown(it, j.Result, false, now())
	default:
		m.wrong("%v, and the trigger that waited for its end got %+v", it, *j)
	}
}

// consoleShown records the console log of a build that had ended.
func (m *model) consoleShown(of *job, number int64, result, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if result == "ABORTED" {
		return // lost with its server, possibly before the log began
	}
	if !strings.HasSuffix(text, "Finished: "+result+"\n") {
		m.wrong("the log of build #%d of %q, which ended with %s, ends with %q", number, of.name, result, text[max(0, len(text)-200):])
	}
	if !strings.Contains(text, "working for") {
		m.wrong("the log of build #%d of %q does not contain what the build wrote: %q", number, of.name, text)
	}
}

// causeShown records one cause of an item.
func (m *model) causeShown(it *item, cause string, times int) {
	from := m.triggers[cause]
	if len(from) == 0 {
		m.wrong("item %d of %q has a cause that was never sent: %q", it.id, it.lane.name, cause)
		return
	}
	t := from[0]
	switch {
	case t.job != it.lane.job:
		m.wrong("item %d of %q has a cause of %q: %q", it.id, it.lane.name, t.job.name, cause)
	case t.shared:
		if times > len(from) {
			m.wrong("item %d of %q has the cause %q %d times, which was sent %d times", it.id, it.lane.name, cause, times, len(from))
		}
	case times > 1:
		m.wrong("item %d of %q has the cause %q %d times, which was sent once", it.id, it.lane.name, cause, times)
	case t.item != 0 && t.item != it.id:
		m.wrong("trigger %q is in item %d and in item %d", cause, t.item, it.id)
	case t.refused != "":
		m.wrong("trigger %q was refused (%s) and is in item %d", cause, t.refused, it.id)
	case t.item == 0:
		t.item = it.id
		m.counts.learned++
		m.sameParams(it, t.params, "trigger "+cause)
	}
}

// missing records that an item does not exist any more.
func (m *model) missing(id int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	it, l := m.items[id], m.items[id].lane
	if it.dropped {
		return
	}
	// If a job has keep newer ended builds, a build is dropped; the same applies to cancelled
	// items.
	later := 0
	for _, other := range l.cancels {
		if other > id {
			later++
		}
	}
	asCancelled := it.stopped && it.fate != built && later >= l.keep
	number := it.number
	if number == 0 {
		number = it.lastBefore + 1
	}
	asBuilt := it.fate != cancelled && l.last >= number+int64(l.keep)
	if !asBuilt && !asCancelled {
		m.wrong("item %d of %q is gone: it was %v (#%d %s), the last build known is #%d, %d are kept; %s",
			id, l.name, it.fate, it.number, it.result, l.last, l.keep, it.promises())
	}
	it.dropped = true
	m.counts.dropped++
}

// promises returns the answers that named the item.
func (it *item) promises() string {
	var b strings.Builder
	for _, t := range it.accepted {
		fmt.Fprintf(&b, "trigger %q was sent at %v and answered at %v; ", t.cause, t.sent.UTC().Format(clock), t.answered.UTC().Format(clock))
	}
	return b.String()
}

// clock is the format of instants in failures.
const clock = "15:04:05.000"

// lastNumber returns the highest known number of a job.
func (m *model) lastNumber(name string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.jobs[name].last
}

// nextShown records which number the next build of a job gets. before is the highest number
// that was known when that was requested.
func (m *model) nextShown(name string, next, before int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if next <= before {
		m.wrong("the next build of %q is #%d, and #%d was there", name, next, before)
	}
	m.jobs[name].last = max(m.jobs[name].last, next-1)
}

// jobOfURL returns the full name in a job's URL.
func jobOfURL(at string) string {
	_, rest, _ := strings.Cut(at, "/job/")
	return strings.TrimSuffix(strings.ReplaceAll(rest, "/job/", "/"), "/")
}

func (it *item) String() string {
	return fmt.Sprintf("item %d of %q: %v #%d %s", it.id, it.lane.name, it.fate, it.number, it.result)
}
