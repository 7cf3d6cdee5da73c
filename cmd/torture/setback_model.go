package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

// setBack is one time in which the database was replaced by an earlier state of itself.
type setBack struct {
	saved time.Time // the earlier state has all that was confirmed before this
	from  time.Time // when the later state was ended
	to    time.Time // when the earlier state answered; zero if it does not yet
}

// history knows what clients were told and what builds wrote, and which of it the database
// may have lost since. Its methods may be called concurrently.
type history struct {
	fates *fates
	jobs  map[string]bool // whether a job is concurrent
	// stop ends the run when something was found.
	stop func()
	// path is where the builds write.
	path string

	// mu guards the following.
	mu     sync.Mutex
	backs  []setBack
	sent   map[string]*told // by ID
	order  []*told
	logs   map[recorded]bool // whose log was asked for
	byPID  map[int]*run
	byID   map[string][]*run
	byJob  map[string][]*run // those that may still run
	killed map[string]time.Time
	offset int64
	found  []string
	counts backCounts
}

// backCounts are what a run did.
type backCounts struct {
	triggers, accepted, refused, unknown, again int
	runs, repeated, checked, logs               int
	lost, stopped, beside                       int
}

// told is a trigger, and what clients were told of it.
type told struct {
	id, job, key string
	sent, done   time.Time // when it was first sent, and when that was over
	answers      []acknowledged
}

// acknowledged is one answer to a trigger, with its item.
type acknowledged struct {
	item         int64
	sent, answer time.Time
	lost         bool // it is counted as lost
}

// run is a build as its own lines show it.
type run struct {
	sign              // its first line
	last    time.Time // its newest line
	ended   bool      // it wrote its last line
	stopped bool      // it is counted as lost with the database
}

func (r *run) String() string {
	return fmt.Sprintf("the build of %s (%s #%d, item %d, on %s, from %s to %s)", r.ID, r.Job, r.Number, r.Item, r.Life, r.At.UTC().Format(clock), r.last.UTC().Format(clock))
}

func newHistory(f *fates, concurrent map[string]bool, path string, stop func()) *history {
	return &history{
		fates: f, jobs: concurrent, stop: stop, path: path,
		sent: map[string]*told{}, logs: map[recorded]bool{}, byPID: map[int]*run{}, byID: map[string][]*run{}, byJob: map[string][]*run{}, killed: map[string]time.Time{},
	}
}

func (h *history) wrong(format string, args ...any) {
	h.found = append(h.found, fmt.Sprintf(format, args...))
	h.stop()
}

func (h *history) report(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wrong(format, args...)
}

func (h *history) count(f func(*backCounts)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(&h.counts)
}

// begins notes that the state of the database that was saved at an instant is going to
// replace the newest one. The caller calls ends when it has.
func (h *history) begins(saved time.Time) (ends func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := len(h.backs)
	h.backs = append(h.backs, setBack{saved: saved, from: now()})
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.backs[at].to = now()
	}
}

// mayLack reports whether a database that is asked at an instant may lack what was
// requested and confirmed at others. The caller must hold mu.
func (h *history) mayLack(sent, confirmed, asked time.Time) bool {
	return slices.ContainsFunc(h.backs, func(b setBack) bool {
		return b.from.Before(asked) && !confirmed.Before(b.saved) && (b.to.IsZero() || !sent.After(b.to))
	})
}

// since returns when the database was last set back. The caller must hold mu.
func (h *history) since() time.Time {
	var last time.Time
	for _, b := range h.backs {
		if b.to.After(last) {
			last = b.to
		}
	}
	return last
}

// steady reports whether the database was not set back between two instants.
func (h *history) steady(from, to time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !slices.ContainsFunc(h.backs, func(b setBack) bool {
		return b.from.Before(to) && (b.to.IsZero() || b.to.After(from))
	})
}

// nearSetBack reports whether a server may have noticed a set-back at an instant.
func (h *history) nearSetBack(at time.Time) bool {
	return !h.steady(at.Add(-2*h.fates.takeover-recovery), at.Add(jitter))
}

// notice is how long a server may take to notice that the database has lost the start of a
// build, and to end the build, or to run one that it has started before.
func (h *history) notice() time.Duration { return h.fates.takeover + recovery }

// dies notes that a life of a server is killed: what it has started may go on.
func (h *history) dies(life string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.killed[life] = now()
}

// free reports whether no server could stop a build at an instant. The caller must
// hold mu.
func (h *history) free(r *run, at time.Time) bool {
	if killed, ok := h.killed[r.Life]; ok && killed.Before(at) {
		return true
	}
	return h.fates.cannotEnd(r.Node, at)
}

// send notes a trigger before it is sent.
func (h *history) send(id, job, key string) *told {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := &told{id: id, job: job, key: key, sent: now()}
	h.sent[id] = t
	h.order = append(h.order, t)
	h.counts.triggers++
	return t
}

// over notes that a trigger is not under way any more.
func (h *history) over(t *told, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.done.IsZero() {
		t.done = at
	}
}

// answered notes an answer. If the trigger was answered before, and the database cannot
// have lost that, it must be the same item.
func (h *history) answered(t *told, a acknowledged) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts.accepted++
	for _, before := range t.answers {
		h.counts.again++
		if before.item != a.item && before.answer.Before(a.sent) && !h.mayLack(before.sent, before.answer, a.answer) {
			h.wrong("trigger %s of %s was item %d, answered at %s; sent again at %s with its key, it is item %d", t.id, t.job, before.item, before.answer.UTC().Format(clock), a.sent.UTC().Format(clock), a.item)
		}
	}
	t.answers = append(t.answers, a)
}

// read takes the new lines that builds wrote.
func (h *history) read() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	file, err := os.Open(h.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	state, err := file.Stat()
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	raw := make([]byte, state.Size()-h.offset)
	if _, err := file.ReadAt(raw, h.offset); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	whole := raw[:bytes.LastIndexByte(raw, '\n')+1]
	h.offset += int64(len(whole))
	for line := range bytes.Lines(whole) {
		var s sign
		if err := json.Unmarshal(line, &s); err != nil {
			return fmt.Errorf("ledger: %w in %q", err, line)
		}
		h.wrote(s)
	}
	return nil
}

// wrote takes a line of a build. The caller must hold mu.
func (h *history) wrote(s sign) {
	if s.What == "start" {
		h.started(&run{sign: s, last: s.At})
		return
	}
	r := h.byPID[s.PID]
	if r == nil || r.ID != s.ID || r.Item != s.Item || r.Number != s.Number {
		h.wrong("a build wrote %+v, and began as %v", s, r)
		return
	}
	r.last, r.ended = s.At, s.What == "end"
	if s.What == "file" {
		h.wrong("%v found the file of another trigger: %q", r, s.File)
	}
	// Another run of the item, or of a job that is not concurrent, began while this one was there.
	for _, other := range h.byJob[r.Job] {
		same := other.ID == r.ID
		if other == r || h.jobs[r.Job] && !same || !other.At.Before(s.At) || other.At.Before(r.At) || other.ended && other.last.Before(r.At) {
			continue
		}
		if h.free(r, s.At) {
			h.counts.beside++
			continue
		}
		h.wrong("%v was still there at %s, when %v ran", r, s.At.UTC().Format(clock), other)
	}
	if r.ended {
		h.byJob[r.Job] = slices.DeleteFunc(h.byJob[r.Job], func(other *run) bool { return s.At.Sub(other.last) > time.Minute })
	}
}

// started takes the first line of a build. The caller must hold mu.
func (h *history) started(r *run) {
	h.counts.runs++
	if t := h.sent[r.ID]; t == nil || t.job != r.Job {
		h.wrong("%v: no trigger of that job has this ID", r)
	}
	for _, before := range h.byID[r.ID] {
		h.counts.repeated++
		if !h.mayLack(before.At.Add(-h.notice()), before.At, r.At) {
			h.wrong("%v and %v are of one item, and the database has not lost the first one", before, r)
		}
	}
	h.byPID[r.PID] = r
	h.byID[r.ID] = append(h.byID[r.ID], r)
	h.byJob[r.Job] = append(h.byJob[r.Job], r)
}
