package pgqueue

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// known holds the builds that Claim has handed out and that have not ended.
type known struct {
	mu sync.Mutex
	// mu guards the following.
	builds map[buildKey]running
	// missing reports whether there may be running builds that were not handed out.
	missing bool
	// unstarted holds the identities of builds that may be on record although they were not
	// handed out.
	unstarted map[int64]bool
}

// buildKey names a build as callers do. A database that was set back uses the same
// name again.
type buildKey struct {
	job    string
	number int64
}

func keyOf(b queue.Build) buildKey { return buildKey{b.Item.Job, b.Number} }

// running is a build of this server.
type running struct {
	run   int64 // its identity, never 0
	epoch int64 // in which it was started, or was last found on record
	// forgotten reports whether the database has lost the start of the build.
	forgotten bool
}

// newRun returns the identity of a build.
func newRun() int64 {
	return rand.Int64N(1<<62) + 1 //nolint:gosec // it distinguishes builds, and is not a secret
}

func (k *known) add(builds []queue.Build, runs map[buildKey]int64, epoch int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range builds {
		k.builds[keyOf(b)] = running{run: runs[keyOf(b)], epoch: epoch}
		delete(k.unstarted, runs[keyOf(b)])
	}
}

// notStarted records that builds may be on record that were not handed out.
func (k *known) notStarted(runs map[buildKey]int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.missing = k.missing || len(runs) > 0
	for _, run := range runs {
		k.unstarted[run] = true
	}
}

// wasStarted reports whether a build that is on record was handed out, as far as this
// server knows.
func (k *known) wasStarted(run int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.unstarted[run]
}

// outlived returns the sorted jobs of builds that this server still stops although they
// are not running on record: another server has ended them, or the database has lost
// their start.
func (k *known) outlived(epoch int64) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	jobs := map[string]bool{}
	for key, b := range k.builds {
		if b.epoch < epoch {
			jobs[key.job] = true
		}
	}
	return append([]string{}, slices.Sorted(maps.Keys(jobs))...)
}

func (k *known) remove(job string, number int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.builds, buildKey{job, number})
}

// run returns the identity of a build of this server; 0 if there is none of that name.
func (k *known) run(key buildKey) int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.builds[key].run
}

// lookAgain makes the next claim look for builds that were not handed out.
func (k *known) lookAgain() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.missing = true
}

// comparison is the outcome of comparing the builds of this server with the record.
type comparison struct {
	kept, lost []buildKey
	stopping   []string // jobs of builds that do not run on record
}

// compare compares the builds that were started in the last epoch with those of this
// server that run on record. ended are the identities of those that have ended on record:
// the database has not lost their start, but maybe the answer when their end was recorded.
func (k *known) compare(onRecord map[buildKey]int64, ended map[int64]bool, last int64) (c comparison) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, b := range k.builds {
		if onRecord[key] == b.run {
			c.kept = append(c.kept, key)
			continue
		}
		c.stopping = append(c.stopping, key.job)
		if b.epoch == last && !ended[b.run] {
			c.lost = append(c.lost, key)
		}
	}
	// A start that is not on record now will never be.
	runs := slices.Collect(maps.Values(onRecord))
	maps.DeleteFunc(k.unstarted, func(run int64, _ bool) bool { return !slices.Contains(runs, run) })
	return c
}

// keys returns the builds in two columns.
func (k *known) keys() (jobs []string, numbers []int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	jobs, numbers = []string{}, []int64{}
	for key := range k.builds {
		jobs, numbers = append(jobs, key.job), append(numbers, key.number)
	}
	return jobs, numbers
}

// confirm applies a comparison. The builds that are on record continue in the new
// epoch.
func (k *known) confirm(c comparison, epoch int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range c.kept {
		if b, ok := k.builds[key]; ok {
			b.epoch = epoch
			k.builds[key] = b
		}
	}
	for _, key := range c.lost {
		if b, ok := k.builds[key]; ok {
			b.forgotten = true
			k.builds[key] = b
		}
	}
}

// why is the reason for stopping a build that the database has lost.
const why = "this server, because the database was set back or replaced and has lost the start of the build"

// forgotten returns the builds that the database has lost, as requests to stop them.
func (k *known) forgotten() []queue.Build {
	k.mu.Lock()
	defer k.mu.Unlock()
	var builds []queue.Build
	for key, b := range k.builds {
		if b.forgotten {
			builds = append(builds, queue.Build{Item: queue.Item{Job: key.job}, Number: key.number, Abort: why})
		}
	}
	return builds
}

// readRuns reads builds and, into runs, their identities.
func readRuns(runs map[buildKey]int64) func(pgx.Rows) ([]queue.Build, error) {
	return func(rows pgx.Rows) ([]queue.Build, error) {
		var builds []queue.Build
		var body string
		var run int64
		err := forEach(rows, []any{&body, &run}, func() error {
			b, err := decode[queue.Build](body, "build")
			if err != nil {
				return err
			}
			builds = append(builds, b)
			runs[keyOf(b)] = run
			return nil
		})
		return builds, err
	}
}
