package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The rules for builds when several servers share the queue.

// losses has the builds that ended before their commands did.
type losses struct {
	// reasons counts lost builds by reason.
	reasons map[string]int
	// slowest is the longest time for which a lost build was still recorded as running although
	// its server's lease was over and another server had no fault.
	slowest time.Duration
	// leftOver counts builds with commands that were running when they were given up, because
	// their server did not run. beside counts those of them that ran besides the next build of
	// the job.
	leftOver, beside map[int64]bool
}

func newLosses() losses {
	return losses{reasons: map[string]int{}, leftOver: map[int64]bool{}, beside: map[int64]bool{}}
}

// giveUp bounds losses.slowest: a transaction that hangs can hold the server's record for ten
// seconds.
const giveUp = 15 * time.Second

// names matches the variable parts of reasons.
var names = regexp.MustCompile(`\bn\d\b|\d+(\.\d+)?m?s`)

// builtOn records the server of a build.
func (m *model) builtOn(it *item, node, by string) {
	if it.node == "" {
		it.node = node
	}
	if it.node != node {
		m.wrong("%v is of %q; %s returns %q", it, it.node, by, node)
	}
	if !m.fates.has(node, it.lane.label) {
		m.wrong("%v was built by %q, which has not its label %q (%s)", it, node, it.lane.label, by)
	}
}

// sharedShown records a build of a shared queue.
func (m *model) sharedShown(it *item, j buildJSON, started time.Time) {
	m.builtOn(it, j.BuiltOn, "the API")
	if j.Building {
		return
	}
	first := it.ended.IsZero()
	it.ended = started.Add(time.Duration(j.Duration) * time.Millisecond)
	if first && j.Result == "ABORTED" {
		m.lost(it, j, started)
	}
	m.outlived(it)
}

// lost records a build that was ABORTED, when it is first seen.
func (m *model) lost(it *item, j buildJSON, started time.Time) {
	if !it.stopped && !m.fates.mayLose(it.node, started, it.ended) {
		m.wrong("%v on %s, from %v to %v, although nothing was wrong with that: %s", it, it.node, started, it.ended, j.Description)
	}
	if j.Description == "" {
		m.wrong("%v, and there is no reason", it)
	}
	if strings.Contains(j.Description, "was set back") {
		m.wrong("%v on %s, although nothing set the database back: %s", it, it.node, j.Description)
	}
	m.losses.reasons[names.ReplaceAllString(j.Description, "…")]++
	if at := m.fates.lostAt(it.node, started, it.ended); !at.IsZero() {
		calm := m.fates.calm(at.Add(m.fates.takeover), it.ended)
		m.losses.slowest = max(m.losses.slowest, calm)
		if calm > giveUp {
			m.wrong("%v was on record as running on %s until %v, lost since %v, although others were well for %v", it, it.node, it.ended, at, calm)
		}
	}
}

// lostAt returns when the server of a build began to be silent; zero if it never was.
func (f *fates) lostAt(server string, from, to time.Time) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.silences(server, from, to)
	if len(all) == 0 {
		return time.Time{}
	}
	at := all[0].from
	if at.Before(from) {
		at = from
	}
	return at
}

// outlived checks whether the commands of a build were still running after its end was on
// record.
func (m *model) outlived(it *item) {
	if it.ended.IsZero() || it.sign.IsZero() || !it.sign.Truncate(time.Millisecond).After(it.ended) {
		return
	}
	if !m.fates.cannotEnd(it.node, it.sign) {
		m.wrong("%v on %s ended on record at %v, and its command was still there %v later", it, it.node, it.ended, it.sign.Sub(it.ended))
	}
	m.losses.leftOver[it.id] = true
}

// besideAnother records that a build found another one of its job running, by the ledger. That
// is allowed only if the other one was given up and its server was unable to end it.
func (m *model) besideAnother(e entry) {
	other := m.items[e.Beside]
	if m.fates != nil && other != nil && other.node != e.Node && m.fates.cannotEnd(other.node, e.At) {
		m.losses.beside[other.id] = true
		return
	}
	m.wrong("build #%d of %q (item %d, on %s) ran beside another build of the job, item %d: %v", e.Number, e.Job, e.Item, e.Node, e.Beside, other)
}

// signed records a sign of life of a command.
func (m *model) signed(it *item, e entry) {
	if m.fates == nil {
		return
	}
	m.builtOn(it, e.Node, "the ledger")
	if e.At.After(it.sign) {
		it.sign = e.At
	}
	m.outlived(it)
}

// line returns the progress of a run of several servers.
func (m *model) line() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.counts
	return fmt.Sprintf("%d triggers, %d builds (%d aborted), %d kills, %d pauses, %d cuts, %d of Postgres",
		c.triggers, c.builds, c.aborted, c.kills, c.pauses, c.cuts, c.databaseKills+c.databaseCuts)
}

// reportShared returns, in a few lines, what was done to several servers and what they lost.
// The caller must hold mu.
func (m *model) reportShared() string {
	c := m.counts
	var b strings.Builder
	fmt.Fprintf(&b, `%d pauses (%d longer than takeover_after), %d cut off (%d longer), %d times connections reset, %d failed starts
Postgres: ended %d times, cut off from all %d times
%d logs followed to their end, %d triggers that waited for the end, %d answers compared
%d builds had commands left when they were given up (their server did not run), %d of them ran beside another of the job
given up %v late at most`,
		c.pauses, c.longPauses, c.cuts, c.longCuts, c.resets, c.startsFailed,
		c.databaseKills, c.databaseCuts,
		c.follows, c.waits, c.compared,
		len(m.losses.leftOver), len(m.losses.beside),
		m.losses.slowest.Round(10*time.Millisecond))
	for _, reason := range slices.Sorted(maps.Keys(m.losses.reasons)) {
		fmt.Fprintf(&b, "\n%d aborted: %s", m.losses.reasons[reason], reason)
	}
	return b.String()
}
