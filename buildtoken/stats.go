package buildtoken

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"

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
	// Results counts ended builds.
	Results map[queue.Result]uint64
}

// Stats counts what happened since the process started.
type Stats struct {
	// Jobs are sorted by name. Only configured jobs are counted.
	Jobs []JobStats
	// Refused counts refused triggers by reason: unknown, throttled, token, policy, full, storage, other.
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

func (s *stats) ended(b queue.Build) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of(b.Item.Job).Results[b.Result]++
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

// Stats returns the counters as of now.
func (c *Controller) Stats() Stats {
	s := &c.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	all := Stats{Refused: maps.Clone(s.refused)}
	for _, full := range slices.Sorted(maps.Keys(s.jobs)) {
		j := *s.jobs[full]
		j.Results = maps.Clone(j.Results)
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
