package boltqueue

import (
	"context"

	bolt "go.etcd.io/bbolt"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// decodeSummary decodes the summary of a job; nil is that of a job without ended builds.
func decodeSummary(raw []byte, job string) (queue.Summary, error) {
	if raw == nil {
		return queue.Summary{Job: job}, nil
	}
	return exported(raw, "summary of "+job, func(s *queue.Summary) bool { return s.Job == job })
}

// applySummary records the summary of a change.
func (b *batch) applySummary(l *lane, c queue.Change) {
	if c.Summary == nil {
		return
	}
	l.summary = *c.Summary
	b.putJSON(bucketSummaries(), []byte(c.Lane.Job), c.Summary)
}

// Overviews returns what there is to show about several jobs, in the order asked for. No
// record is decoded for it.
func (q *DB) Overviews(ctx context.Context, jobs []string) ([]queue.Overview, error) {
	all, err := look(ctx, q, func(m *memory) []queue.Overview {
		all := make([]queue.Overview, len(jobs))
		for i, job := range jobs {
			if l, ok := m.lanes[job]; ok {
				all[i] = queue.Overview{Lane: l.head, Summary: l.summary}
			} else {
				all[i] = queue.Overview{Lane: m.newLane(job), Summary: queue.Summary{Job: job}}
			}
		}
		return all
	})
	if err != nil {
		return nil, err
	}
	err = q.view(func(tx *bolt.Tx) error {
		builds := tx.Bucket(bucketBuilds()).Cursor()
		for i, job := range jobs {
			all[i].Oldest = oldest(builds, job)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
