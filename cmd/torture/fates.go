package main

import (
	"slices"
	"sync"
	"time"
)

// kind is what may be wrong with a server, or with what it needs.
type kind int

const (
	dead      kind = iota // it does not run, or is not ready yet
	paused                // it was stopped, and may not even notice
	cut                   // it does not reach the database
	reloading             // another configuration is loaded
	crashed               // its database is being killed, or comes back
	kinds
)

func (k kind) String() string {
	return [...]string{"dead", "paused", "cut off", "reloading", "without a database"}[k]
}

// spell is a time in which something was wrong.
type spell struct {
	from, to time.Time // to is zero as long as it lasts
}

// over is when it ended, or now.
func (s spell) over(at time.Time) time.Time {
	if s.to.IsZero() || s.to.After(at) {
		return at
	}
	return s.to
}

// fates remembers what was done to each server of a cluster, so that the model
// can tell what it may do after that and what not. Its methods may be called
// concurrently.
type fates struct {
	takeover time.Duration
	labels   map[string][]string // by server
	// tell is told when a spell begins and ends.
	tell func(k kind, servers []string, begins bool)

	// mu guards the following.
	mu     sync.Mutex
	spells map[string]*[kinds][]spell
}

// How long things may take on a machine with more to do than it can.
const (
	// recovery is until a server goes on as if nothing had been.
	recovery = 4 * time.Second
	// ending is until the commands of a server that may go on, but was given up,
	// have ended: kill_delay, and what it takes to notice.
	ending = 3 * time.Second
	// jitter is how exact anything is at all.
	jitter = 1500 * time.Millisecond
)

func newFates(takeover time.Duration, labels map[string][]string) *fates {
	f := &fates{takeover: takeover, labels: labels, tell: func(kind, []string, bool) {}, spells: map[string]*[kinds][]spell{}}
	for name := range labels {
		f.spells[name] = new([kinds][]spell)
	}
	return f
}

// begin notes that something goes wrong with servers. What it returns notes the
// end, and may be called again.
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

// has says whether a server has a label.
func (f *fates) has(server, label string) bool {
	return label == "" || label == server || slices.Contains(f.labels[server], label)
}

// disturbed says whether anything was wrong with a server between two instants,
// or shortly before.
func (f *fates) disturbed(server string, from, to time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.between(server, from.Add(-recovery), to, dead, paused, cut, reloading)) > 0
}

// databaseDied says whether the database was killed between two instants.
func (f *fates) databaseDied(from, to time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for server := range f.spells {
		return len(f.between(server, from, to, crashed)) > 0 // it is that of all
	}
	return false
}

// anyDisturbed says that of all servers.
func (f *fates) anyDisturbed(from, to time.Time) bool {
	for server := range f.labels {
		if f.disturbed(server, from, to) {
			return true
		}
	}
	return false
}

// between are the spells of some kinds that overlap a time, by when they began.
// The caller holds mu.
func (f *fates) between(server string, from, to time.Time, which ...kind) []spell {
	var all []spell
	of, known := f.spells[server]
	if !known {
		return nil
	}
	for _, k := range which {
		// The newest are looked at first; older ones than an hour before never matter.
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

// silences are the times between two instants in which the database may have
// heard nothing of a server. The caller holds mu.
func (f *fates) silences(server string, from, to time.Time) []spell {
	var all []spell
	for _, s := range f.between(server, from.Add(-time.Minute), to, dead, paused, cut) {
		// Between two of them it may not have got far enough to be heard.
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

// mayLose says whether a build that ran on a server between two instants may be
// lost: the server died, or could say nothing for so long that it must stop its
// builds, or that others give it up.
func (f *fates) mayLose(server string, from, to time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.between(server, from.Add(-jitter), to, dead)) > 0 {
		return true
	}
	// It stops its builds after two thirds; the last heartbeat may be a sixth old.
	enough := max(0, f.takeover/2-jitter)
	return slices.ContainsFunc(f.silences(server, from.Add(-recovery), to), func(s spell) bool { return s.to.Sub(s.from) >= enough })
}

// cannotEnd says whether a server that was given up could do nothing, at an
// instant, about commands that it had started: it did not run.
func (f *fates) cannotEnd(server string, at time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	// Not before its lease was over: the last heartbeat may be a sixth old.
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

// calm is the longest time between two instants in which some server had
// nothing wrong with it, and so could have given up another one.
func (f *fates) calm(from, to time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	longest := time.Duration(0)
	for server := range f.spells {
		longest = max(longest, f.longest(server, from, to, dead, paused, cut))
	}
	return longest
}

// reachable is the longest time between two instants in which a server could
// reach the database, if it ran.
func (f *fates) reachable(server string, from, to time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.longest(server, from, to, paused, cut)
}

// longest is the longest time between two instants without some kinds of
// spells. The caller holds mu.
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
