package main

import (
	"slices"
	"sync"
	"time"
)

// kind is a fault of a server, or of what it needs.
type kind int

const (
	dead      kind = iota // it does not run, or is not ready yet
	paused                // it is stopped, and may not notice it
	cut                   // it cannot reach the database
	reloading             // another configuration is being loaded
	crashed               // its database is being killed or recovers
	kinds
)

func (k kind) String() string {
	return [...]string{"dead", "paused", "cut off", "reloading", "without a database"}[k]
}

// spell is a period with a fault.
type spell struct {
	from, to time.Time // to is zero while it lasts
}

// over returns when it ended, or now.
func (s spell) over(at time.Time) time.Time {
	if s.to.IsZero() || s.to.After(at) {
		return at
	}
	return s.to
}

// fates records what was done to each server of a cluster, so that the model can determine what
// may follow from it. Its methods are safe for concurrent use.
type fates struct {
	takeover time.Duration
	labels   map[string][]string // by server
	// tell is called when a spell begins and ends.
	tell func(k kind, servers []string, begins bool)

	// mu guards the following.
	mu     sync.Mutex
	spells map[string]*[kinds][]spell
}

// Bounds for an overloaded machine.
const (
	// recovery is the time until a server works again as if nothing had happened.
	recovery = 4 * time.Second
	// ending is the time until the commands of a suspended server that was given up have ended:
	// kill_delay, and the time to notice it.
	ending = 3 * time.Second
	// jitter is the accuracy of all times.
	jitter = 1500 * time.Millisecond
)

func newFates(takeover time.Duration, labels map[string][]string) *fates {
	f := &fates{takeover: takeover, labels: labels, tell: func(kind, []string, bool) {}, spells: map[string]*[kinds][]spell{}}
	for name := range labels {
		f.spells[name] = new([kinds][]spell)
	}
	return f
}

// begin records that a fault of servers begins. The returned function records its end, and can
// be called more than once.
func (f *fates) begin(k kind, servers ...string) (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, begun := map[string]int{}, now()
	for _, name := range servers {
		of := f.spells[name]
		at[name] = len(of[k])
		of[k] = append(of[k], spell{from: begun})
	}
	f.tell(k, servers, true)
	var once sync.Once
	return func() {
		once.Do(func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.tell(k, servers, false)
			for name, n := range at {
				f.spells[name][k][n].to = now()
			}
		})
	}
}

// has reports whether a server has a label.
func (f *fates) has(server, label string) bool {
	return label == "" || label == server || slices.Contains(f.labels[server], label)
}

// disturbed reports whether a server had any fault between two instants, or shortly before.
func (f *fates) disturbed(server string, from, to time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.between(server, from.Add(-recovery), to, dead, paused, cut, reloading)) > 0
}

// databaseDied reports whether the database was killed between two instants.
func (f *fates) databaseDied(from, to time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for server := range f.spells {
		return len(f.between(server, from, to, crashed)) > 0 // all servers share the database
	}
	return false
}

// anyDisturbed is disturbed for all servers.
func (f *fates) anyDisturbed(from, to time.Time) bool {
	for server := range f.labels {
		if f.disturbed(server, from, to) {
			return true
		}
	}
	return false
}

// between returns the spells of some kinds that overlap a period, in the order of their
// beginnings. The caller must hold mu.
func (f *fates) between(server string, from, to time.Time, which ...kind) []spell {
	var all []spell
	of, known := f.spells[server]
	if !known {
		return nil
	}
	for _, k := range which {
		// The newest come first; those that ended more than an hour ago never matter.
		for _, s := range slices.Backward(of[k]) {
			if !s.from.After(to) && (s.to.IsZero() || !s.to.Before(from)) {
				all = append(all, s)
			}
			if from.Sub(s.from) > time.Hour {
				break
			}
		}
	}
	slices.SortFunc(all, func(a, b spell) int { return a.from.Compare(b.from) })
	return all
}

// silences returns the periods between two instants in which the database can have received
// nothing from a server. The caller must hold mu.
func (f *fates) silences(server string, from, to time.Time) []spell {
	var all []spell
	for _, s := range f.between(server, from.Add(-time.Minute), to, dead, paused, cut) {
		// Between two spells the server may not have had enough time to reach it.
		if last := len(all) - 1; last >= 0 && s.from.Sub(all[last].over(s.from)) < recovery {
			if all[last].to.Before(s.over(to)) {
				all[last].to = s.over(to)
			}
			continue
		}
		all = append(all, spell{s.from, s.over(to)})
	}
	return slices.DeleteFunc(all, func(s spell) bool { return s.to.Before(from) })
}

// mayLose reports whether a build that ran on a server between two instants may be lost: the
// server died, or was silent for so long that it must stop its builds, or that other servers
// give it up.
func (f *fates) mayLose(server string, from, to time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.between(server, from.Add(-jitter), to, dead)) > 0 {
		return true
	}
	// It stops its builds after two thirds; the last heartbeat can be a sixth old.
	enough := max(0, f.takeover/2-jitter)
	return slices.ContainsFunc(f.silences(server, from.Add(-recovery), to), func(s spell) bool { return s.to.Sub(s.from) >= enough })
}

// cannotEnd reports whether a server that was given up was unable, at an instant, to end the
// commands that it had started, because it did not run.
func (f *fates) cannotEnd(server string, at time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	// Not before its lease was over: the last heartbeat can be a sixth old.
	late := at.Add(-f.takeover*5/6 + jitter/3)
	for _, silence := range f.silences(server, at.Add(-ending), at) {
		if silence.from.After(late) {
			continue
		}
		for _, s := range f.between(server, at.Add(-ending), at, dead, paused) {
			if !s.from.Before(silence.from) {
				return true
			}
		}
	}
	return false
}

// calm returns the longest period between two instants in which some server had no fault, and
// so could have given up another one.
func (f *fates) calm(from, to time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	longest := time.Duration(0)
	for server := range f.spells {
		longest = max(longest, f.longest(server, from, to, dead, paused, cut))
	}
	return longest
}

// reachable returns the longest period between two instants in which a server could reach the
// database, if it ran.
func (f *fates) reachable(server string, from, to time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.longest(server, from, to, paused, cut)
}

// longest returns the longest period between two instants without spells of some kinds. The
// caller must hold mu.
func (f *fates) longest(server string, from, to time.Time, without ...kind) time.Duration {
	longest, begun := time.Duration(0), from
	for _, s := range f.between(server, from.Add(-time.Minute), to, without...) {
		longest = max(longest, s.from.Sub(begun))
		if after := s.over(to).Add(jitter); after.After(begun) {
			begun = after
		}
	}
	return max(longest, to.Sub(begun))
}
