package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// recorded is a build as a server shows it.
type recorded struct {
	id, job      string
	number, item int64
	node         string
	result       string // "" while it runs
	reason       string
}

func (r recorded) String() string {
	return fmt.Sprintf("%s #%d (item %d, ID %s, on %s, %q)", r.job, r.number, r.item, r.id, r.node, r.result)
}

// runOf returns the build that a record is about, or nil if it wrote nothing. The caller must hold mu.
func (h *history) runOf(b recorded) *run {
	for _, r := range slices.Backward(h.byID[b.id]) {
		if r.Job == b.job && r.Number == b.number && r.Item == b.item && r.Node == b.node {
			return r
		}
	}
	return nil
}

// shown checks a record of a build. What the build wrote must have been read after the record.
func (h *history) shown(b recorded) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.sent[b.id]
	if t == nil || t.job != b.job {
		h.wrong("%v: no trigger of that job has this ID", b)
		return
	}
	r := h.runOf(b)
	_, want := fateOf(b.job, b.id)
	switch b.result {
	case "":
	case want:
		h.counts.checked++
		if r == nil || !r.ended {
			h.wrong("%v is on record, and no such build came to its end: %v", b, h.byID[b.id])
		}
	case "ABORTED":
		if b.reason == "" {
			h.wrong("%v, and there is no reason", b)
		}
		if strings.Contains(b.reason, "was set back") && r != nil && !slices.ContainsFunc(h.backs, func(b setBack) bool { return r.At.Before(b.from) }) {
			h.wrong("%v: %s; but the database was not set back since its start: %v", b, b.reason, r)
		}
	default:
		if b.result == "NOT_BUILT" && strings.Contains(b.reason, "file of a parameter") && h.during(t) {
			return // the file was uploaded before the set-back, and the trigger was queued after it
		}
		h.wrong("%v is on record, want %s: %s", b, want, b.reason)
	}
}

// during reports whether the database was set back while a trigger was sent. The caller must
// hold mu.
func (h *history) during(t *told) bool {
	return slices.ContainsFunc(h.backs, func(b setBack) bool {
		return (b.to.IsZero() || t.sent.Before(b.to)) && (t.done.IsZero() || t.done.After(b.from))
	})
}

// lines are what builds write to their logs.
var lines = regexp.MustCompile(`(?m)^(?:mine is (\S+), item (\d+), number (\d+)|done with (\S+)|Finished: (\S+))$`)

// logged checks that the log of a build that had ended is not that of another build. sure is set if
// the record and the log are of the same state of the database.
func (h *history) logged(b recorded, text string, sure bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts.logs++
	first, finished, complete := "", "", false
	for _, line := range lines.FindAllStringSubmatch(text, -1) {
		this := strings.TrimSpace(strings.Join(line[1:4], " "))
		switch {
		case line[5] != "":
			finished = line[5]
		case line[4] != "":
			complete = true
			if !strings.HasPrefix(first, line[4]+" ") {
				h.wrong("a log of %s #%d mixes builds: %.2000s", b.job, b.number, text)
				return
			}
		case first == "":
			first = this
		case first != this:
			h.wrong("a log of %s #%d mixes builds: %.2000s", b.job, b.number, text)
			return
		}
	}
	if sure && first != "" && first != fmt.Sprintf("%s %d %d", b.id, b.item, b.number) {
		h.wrong("the log of %v is that of another build: %.2000s", b, text)
	}
	if id, _, ok := strings.Cut(first, " "); ok && (finished == "SUCCESS" || finished == "FAILURE") {
		if _, want := fateOf(b.job, id); want != finished {
			h.wrong("a log of %s #%d has another result than its build: %.2000s", b.job, b.number, text)
		}
	}
	if sure && (b.result == "SUCCESS" || b.result == "FAILURE") && (!complete || finished != b.result) {
		h.wrong("the log of %v is not whole: %.2000s", b, text)
	}
}

// settled checks the records of all builds, after all faults have ended and all queued items have
// ended. asked is when the records were requested.
func (h *history) settled(all []recorded, asked time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	byItem, byID := map[int64]recorded{}, map[string]recorded{}
	for _, b := range all {
		if other, taken := byItem[b.item]; taken {
			h.wrong("item %d is %v and %v", b.item, b, other)
		}
		if other, taken := byID[b.id]; taken {
			h.wrong("ID %s is %v and %v", b.id, b, other)
		}
		byItem[b.item], byID[b.id] = b, b
	}
	for _, t := range h.order {
		for k, a := range t.answers {
			if b := byItem[a.item]; b.id == t.id && b.job == t.job {
				continue
			}
			if !a.lost {
				t.answers[k].lost = true
				h.counts.lost++
			}
			if !h.mayLack(a.sent, a.answer, asked) {
				h.wrong("trigger %s of %s was answered at %s with item %d, which is %v; and its ID is %v", t.id, t.job, a.answer.UTC().Format(clock), a.item, byItem[a.item], byID[t.id])
			}
		}
	}
	since := h.since()
	known := since.Add(h.notice())
	for id, runs := range h.byID {
		for _, r := range runs {
			b := byID[id]
			onRecord := b.job == r.Job && b.number == r.Number && b.item == r.Item && b.node == r.Node
			switch {
			case r.At.After(asked) || onRecord:
			case !r.last.After(known):
				if !r.stopped {
					r.stopped = true
					h.counts.stopped++
				}
			case !h.free(r, r.At) && !h.free(r, r.last):
				h.wrong("%v is not on record, since the database was set back at %s, and was not stopped", r, since.UTC().Format(clock))
			}
		}
	}
}
