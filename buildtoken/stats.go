package buildtoken

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// JobStats counts what happened to one job since the process started.
type JobStats struct {
	Job string
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
	Jobs []JobStats
	// Waited counts started builds of this server by how long after they were due they started.
	Waited Durations
	// Lost counts builds that were recorded as lost with a server or process.
	Lost uint64
	// Refused counts refused triggers by reason; it has all reasons: unknown, throttled, token,
	// policy, full, storage, other.
	Refused map[string]uint64
	// Notifications counts attempts to send one, sorted by target and outcome.
	Notifications []NotificationCount
}

// NotificationCount is how often an attempt to send a notification to a target had an
// outcome: sent, failed, skipped or given up.
type NotificationCount struct {
	Target, Outcome string
	N               uint64
}

// stats holds the counters of [Stats].
type stats struct {
	// mu guards the following.
	mu      sync.Mutex
	jobs    map[string]*JobStats
	refused map[string]uint64
	// notified is by target and outcome.
	notified map[[2]string]uint64
	waited   Durations
	lost     uint64
}

// of returns the counters of a job. The caller must hold mu.
func (s *stats) of(full string) *JobStats {
	if s.jobs == nil {
		s.jobs = map[string]*JobStats{}
	}
	if s.jobs[full] == nil {
		s.jobs[full] = &JobStats{Job: full, Results: map[queue.Result]uint64{}}
	}
	return s.jobs[full]
}

func (s *stats) trigger(out Outcome, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		if s.refused == nil {
			s.refused = map[string]uint64{}
		}
		s.refused[reasonOf(err)]++
		if out.Job != "" {
			s.of(out.Job).Refused++
		}
	case out.Item.ID == 0: // a poll
	case out.Repeated:
		s.of(out.Job).Repeated++
	case out.Created:
		s.of(out.Job).Created++
	default:
		s.of(out.Job).Joined++
	}
}

func (s *stats) polled(full string, created bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if created {
		s.of(full).Created++
	} else {
		s.of(full).Joined++
	}
}

func (s *stats) started(builds []queue.Build) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range builds {
		s.waited.add(b.Started.Sub(b.Item.Due))
	}
}

func (s *stats) ended(b queue.Build) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.of(b.Item.Job)
	j.Results[b.Result]++
	j.Took.add(b.Ended.Sub(b.Started))
}

// wasLost counts a build that another process or server ran, and did not end.
func (s *stats) wasLost(b queue.Build) {
	s.ended(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost++
}

// looked counts a poll.
func (s *stats) looked(full, outcome string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.of(full)
	if j.Polls == nil {
		j.Polls = map[string]uint64{}
	}
	j.Polls[outcome]++
}

// settled counts an attempt to send a notification.
func (s *stats) settled(n queue.Notification) {
	outcome := string(n.State)
	if n.State == queue.DeliveryWaiting || n.State == queue.DeliveryReplaced {
		outcome = "failed"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.notified == nil {
		s.notified = map[[2]string]uint64{}
	}
	s.notified[[2]string{n.Target, outcome}]++
}

func reasonOf(err error) string {
	if _, ok := errors.AsType[*definition.ThrottledError](err); ok {
		return "throttled"
	}
	switch {
	case errors.Is(err, definition.ErrUnknownJob):
		return "unknown"
	case errors.Is(err, token.ErrMismatch), errors.Is(err, token.ErrMissing), errors.Is(err, token.ErrExpired), errors.Is(err, definition.ErrNotGranted):
		return "token"
	case errors.Is(err, policy.ErrDenied):
		return "policy"
	case errors.Is(err, queue.ErrFull):
		return "full"
	case errors.Is(err, queue.ErrStorage):
		return "storage"
	}
	return "other"
}

// Stats returns the counters as of now. What has not happened is counted as 0.
func (c *Controller) Stats() Stats {
	s := &c.stats
	defined := c.effective.Load().jobs
	s.mu.Lock()
	defer s.mu.Unlock()
	all := Stats{Waited: s.waited, Lost: s.lost, Refused: map[string]uint64{}}
	for _, reason := range []string{"unknown", "throttled", "token", "policy", "full", "storage", "other"} {
		all.Refused[reason] = s.refused[reason]
	}
	names := map[string]bool{}
	for full := range s.jobs {
		names[full] = true
	}
	for full := range defined {
		names[full] = true
	}
	for _, full := range slices.Sorted(maps.Keys(names)) {
		j := JobStats{Job: full}
		if s.jobs[full] != nil {
			j = *s.jobs[full]
		}
		counted := j.Results
		j.Results = map[queue.Result]uint64{}
		for _, r := range []queue.Result{queue.Success, queue.Unstable, queue.Failure, queue.Aborted, queue.NotBuilt} {
			j.Results[r] = counted[r]
		}
		if polls := j.Polls; polls != nil || defined[full] != nil && defined[full].Poller != nil {
			j.Polls = map[string]uint64{"changes": polls["changes"], "none": polls["none"], "failed": polls["failed"]}
		}
		all.Jobs = append(all.Jobs, j)
	}
	for key, n := range s.notified {
		all.Notifications = append(all.Notifications, NotificationCount{key[0], key[1], n})
	}
	slices.SortFunc(all.Notifications, func(a, b NotificationCount) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Outcome, b.Outcome))
	})
	return all
}
