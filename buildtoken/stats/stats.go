// Package stats counts what happened since the process started.
package stats

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Job counts what happened to one job since the process started.
type Job struct {
	// Name is the full name.
	Name string
	// Created, Joined, Repeated and Refused count triggers. Refused triggers of
	// unknown jobs are not counted here.
	Created, Joined, Repeated, Refused uint64
	// Results counts ended builds; it has all results.
	Results map[queue.Result]uint64
	// Took counts ended builds by how long they ran.
	Took Durations
	// Polls counts polls by what became of them: changes, none, failed. It is nil for a
	// job that was never polled and cannot be.
	Polls map[string]uint64
}

// Durations counts durations.
type Durations struct {
	// Counts has, for each of [DurationBounds], how many were at most as long.
	Counts [9]uint64
	// N is how many there were, Sum their sum in seconds.
	N   uint64
	Sum float64
}

// DurationBounds returns the upper bounds by which durations are counted, in seconds.
func DurationBounds() [9]float64 {
	return [9]float64{1, 5, 15, 60, 300, 900, 1800, 3600, 14400}
}

func (d *Durations) add(t time.Duration) {
	seconds := max(t.Seconds(), 0)
	for i, bound := range DurationBounds() {
		if seconds <= bound {
			d.Counts[i]++
		}
	}
	d.N++
	d.Sum += seconds
}

// Stats counts what happened since the process started.
type Stats struct {
	// Jobs are sorted by name. All configured jobs are there, and jobs that were
	// configured and to which something happened.
	Jobs []Job
	// Waited counts started builds of this server by how long after they were due they started.
	Waited Durations
	// Lost counts builds that were recorded as lost with a server or process.
	Lost uint64
	// Refused counts refused triggers by reason; it has all reasons.
	Refused map[Reason]uint64
	// Notifications counts attempts to send one, sorted by target and outcome.
	Notifications []Notification
}

// Notification is how often an attempt to send a notification to a target had an
// outcome: sent, failed, skipped or given up.
type Notification struct {
	Target, Outcome string
	N               uint64
}

// Reason is why a trigger was refused.
type Reason string

// The reasons.
const (
	Unknown   Reason = "unknown"
	Throttled Reason = "throttled"
	Token     Reason = "token"
	Policy    Reason = "policy"
	Full      Reason = "full"
	Storage   Reason = "storage"
	Other     Reason = "other"
)

// Counter counts. The zero value is ready to use. Its methods are safe for concurrent use.
type Counter struct {
	// mu guards the following.
	mu      sync.Mutex
	jobs    map[string]*Job
	refused map[Reason]uint64
	// notified is by target and outcome.
	notified map[[2]string]uint64
	waited   Durations
	lost     uint64
}

// of returns the counters of a job. The caller must hold mu.
func (c *Counter) of(full string) *Job {
	if c.jobs == nil {
		c.jobs = map[string]*Job{}
	}
	if c.jobs[full] == nil {
		c.jobs[full] = &Job{Name: full, Results: map[queue.Result]uint64{}}
	}
	return c.jobs[full]
}

// Refused counts a refused trigger. full is "" if there is no such job.
func (c *Counter) Refused(full string, why Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused == nil {
		c.refused = map[Reason]uint64{}
	}
	c.refused[why]++
	if full != "" {
		c.of(full).Refused++
	}
}

// Queued counts a trigger that created an item or joined one.
func (c *Counter) Queued(full string, created bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if created {
		c.of(full).Created++
	} else {
		c.of(full).Joined++
	}
}

// Repeated counts a trigger whose idempotency key was used before.
func (c *Counter) Repeated(full string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of(full).Repeated++
}

// Started counts builds that this server started.
func (c *Counter) Started(builds []queue.Build) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range builds {
		c.waited.add(b.Started.Sub(b.Item.Due))
	}
}

// Ended counts a build that has ended.
func (c *Counter) Ended(b queue.Build) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended(b)
}

func (c *Counter) ended(b queue.Build) {
	j := c.of(b.Item.Job)
	j.Results[b.Result]++
	j.Took.add(b.Ended.Sub(b.Started))
}

// Lost counts a build that ended because the process or server that ran it is gone.
func (c *Counter) Lost(b queue.Build) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended(b)
	c.lost++
}

// Polled counts a poll by its outcome.
func (c *Counter) Polled(full, outcome string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.of(full)
	if j.Polls == nil {
		j.Polls = map[string]uint64{}
	}
	j.Polls[outcome]++
}

// Notified counts an attempt to send a notification, by the state of the notification after it.
func (c *Counter) Notified(n queue.Notification) {
	outcome := string(n.State)
	if n.State == queue.DeliveryWaiting || n.State == queue.DeliveryReplaced {
		outcome = "failed"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.notified == nil {
		c.notified = map[[2]string]uint64{}
	}
	c.notified[[2]string{n.Target, outcome}]++
}

// Stats returns the counters as of now. What has not happened is counted as 0. defined has the
// jobs of the configuration, and whether they can be polled.
func (c *Counter) Stats(defined map[string]bool) Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := Stats{Waited: c.waited, Lost: c.lost, Refused: map[Reason]uint64{}}
	for _, why := range []Reason{Unknown, Throttled, Token, Policy, Full, Storage, Other} {
		all.Refused[why] = c.refused[why]
	}
	names := map[string]bool{}
	for full := range c.jobs {
		names[full] = true
	}
	for full := range defined {
		names[full] = true
	}
	for _, full := range slices.Sorted(maps.Keys(names)) {
		j := Job{Name: full}
		if c.jobs[full] != nil {
			j = *c.jobs[full]
		}
		counted := j.Results
		j.Results = map[queue.Result]uint64{}
		for _, r := range []queue.Result{queue.Success, queue.Unstable, queue.Failure, queue.Aborted, queue.NotBuilt} {
			j.Results[r] = counted[r]
		}
		if polls := j.Polls; polls != nil || defined[full] {
			j.Polls = map[string]uint64{"changes": polls["changes"], "none": polls["none"], "failed": polls["failed"]}
		}
		all.Jobs = append(all.Jobs, j)
	}
	for key, n := range c.notified {
		all.Notifications = append(all.Notifications, Notification{key[0], key[1], n})
	}
	slices.SortFunc(all.Notifications, func(a, b Notification) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Outcome, b.Outcome))
	})
	return all
}
