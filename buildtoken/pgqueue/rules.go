package pgqueue

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// newRules holds the rules of a configuration.
type newRules struct {
	queue.Config
	at time.Time // when it was set
	// digest identifies the set of job names. Nil means that there is no configuration yet.
	digest []byte
}

// lane is the lane of a job without history.
func (r *newRules) lane(job string) queue.Lane {
	return queue.Lane{Job: job, Rules: r.Rules[job]}
}

// digestOf returns the digest of the names of jobs.
func digestOf(rules map[string]queue.Rules) []byte {
	sum := sha256.New()
	for _, job := range slices.Sorted(maps.Keys(rules)) {
		// A length before each name keeps a, b from being the same as ab.
		sum.Write(append(binary.AppendUvarint(nil, uint64(len(job))), job...))
	}
	return sum.Sum(nil)[:16]
}

// agreedSQL returns whether the configurations of all living servers have the same jobs
// as the one with a digest. If so, any other job was removed. If not, it may be a job of
// other servers, as between the first and the last reload of several servers.
const agreedSQL = `select coalesce(bool_and(jobs = $2), true) from queue.servers where server <> $1 and ` + livesSQL

// rules holds the rules of the newest configuration. Only the loop writes them.
type rules struct {
	mu sync.RWMutex
	// mu guards the following.
	*newRules // never nil
	// agreed reports whether all servers had the same jobs when the rules were applied.
	agreed bool
}

func (r *rules) newest() *newRules {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.newRules
}

func (r *rules) set(newest *newRules, agreed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.newRules, r.agreed = newest, agreed
}

// differ records that another server has other jobs.
func (r *rules) differ() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.agreed = false
}

// unsettled reports whether removed jobs may still have their rules.
func (r *rules) unsettled() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.digest != nil && !r.agreed
}

// foreign is a set of job names. The zero value is empty.
type foreign struct {
	mu sync.Mutex
	// mu guards the following.
	jobs map[string]bool
}

func (f *foreign) add(jobs []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.jobs == nil {
		f.jobs = map[string]bool{}
	}
	for _, job := range jobs {
		f.jobs[job] = true
	}
}

// list returns the sorted names. It is never nil, which would be null in SQL.
func (f *foreign) list() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, slices.Sorted(maps.Keys(f.jobs))...)
}

func (f *foreign) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.jobs)
}

// changes reports whether the rules change a lane. They change the lane of a job that they
// do not define once all servers agree that it is gone.
func (r *newRules) changes(l queue.Lane, agreed bool) bool {
	rules, has := r.Rules[l.Job]
	if !has {
		return agreed && l.GoneUntil.IsZero()
	}
	return !l.GoneUntil.IsZero() || !l.Rules.Equal(rules)
}
