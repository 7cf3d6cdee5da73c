package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"strings"
	"sync"
	"time"
)

// ledger reads what builds wrote.
type ledger struct {
	path string

	// mu guards the following.
	mu     sync.Mutex
	offset int64
}

// read passes the new lines to the model.
func (l *ledger) read(m *model) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	file, err := os.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	raw, err := io.ReadAll(io.NewSectionReader(file, l.offset, 1<<40))
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	whole := raw[:bytes.LastIndexByte(raw, '\n')+1]
	l.offset += int64(len(whole))
	for line := range bytes.Lines(whole) {
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("ledger: %w in %q", err, line)
		}
		m.wrote(e)
	}
	return nil
}

// wrote records a line of the ledger.
func (m *model) wrote(e entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	it, known := m.items[e.Item]
	if !known {
		it = m.meet(e.Item, e.Job)
	}
	who := fmt.Sprintf("build #%d of %q (item %d)", e.Number, e.Job, e.Item)
	if it.lane.name != e.Job {
		m.wrong("%s ran, and the item is of %q", who, it.lane.name)
	}
	if it.fate == cancelled {
		m.wrong("%s ran, and the item was cancelled", who)
		return
	}
	m.signed(it, e)
	switch e.What {
	case "alive":
		return
	case "beside":
		m.besideAnother(e)
		return
	case "start":
		if it.begun != nil {
			m.wrong("%s ran twice: as #%d at %v, as #%d at %v", who, it.begun.Number, it.begun.At, e.Number, e.At)
		}
		if e.Executor >= maxExecutors {
			m.wrong("%s ran on executor %d", who, e.Executor)
		}
		it.begun = &e
	case "end":
		if it.end != nil {
			m.wrong("%s ended twice: at %v and at %v", who, it.end.At, e.At)
		}
		it.end = &e
	}
	m.leave(it, built, e.Number)
	m.checkLedger(it)
}

// checkLedger compares what the build wrote with what is known of its item.
func (m *model) checkLedger(it *item) {
	if it.begun == nil {
		return
	}
	who := fmt.Sprintf("build #%d of %q (item %d)", it.begun.Number, it.lane.name, it.id)
	if !it.earliest.IsZero() && it.begun.At.Before(it.earliest) {
		m.wrong("%s ran %v before it was due", who, it.earliest.Sub(it.begun.At))
	}
	if it.params != nil && !maps.Equal(it.params, it.begun.Params) {
		m.wrong("%s ran with %v, and its item has %v", who, it.begun.Params, it.params)
	}
	// The instant on record is the one at which the server decided to start due items. A
	// trigger that was accepted before that was done can have been sent a moment later.
	for _, t := range it.accepted {
		if it.begun.At.Before(t.sent) {
			m.wrong("trigger %q joined %s, which had begun %v before", t.cause, who, t.sent.Sub(it.begun.At))
		}
	}
	for cause := range it.causes {
		if len(it.begun.Cause) < 8000 && !strings.Contains(it.begun.Cause, cause) {
			m.wrong("%s does not have its cause %q", who, cause)
		}
	}
}

// settle compares results with the ledger, which must have been read since the results were
// known.
func (m *model) settle(read time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range m.order {
		it := m.items[id]
		if it.settled || it.result == "" || !it.resultAt.Before(read) {
			continue
		}
		it.settled = true
		want := "SUCCESS"
		if it.lane.exit != 0 {
			want = "FAILURE"
		}
		if it.result != want && it.result != "ABORTED" {
			m.wrong("%v, want %s: %s", it, want, it.reason)
		}
		if it.result != "ABORTED" && (it.begun == nil || it.end == nil) {
			m.wrong("%v, and the build did not write down that it began and ended", it)
		}
	}
}
