package boltqueue

import (
	"context"
	"errors"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// summary returns the summary of a job as the batch sees it. A summary that cannot be
// decoded is started again: the end of a build is worth more.
func (b *batch) summary(job string) (queue.Summary, error) {
	if err := b.begin(); err != nil {
		return queue.Summary{}, err
	}
	var s queue.Summary
	err := b.read(func() (err error) {
		s, err = decodeSummary(b.bucket(bucketSummaries()).Get([]byte(job)), job)
		return err
	})
	if errors.Is(err, errRecord) {
		b.log.Error("cannot read the summary of a job; it starts again", zap.String("job", job), zap.Error(err))
		return queue.Summary{Job: job}, nil
	}
	return s, err
}

// decodeSummary decodes the summary of a job; nil is that of a job without ended builds.
func decodeSummary(raw []byte, job string) (queue.Summary, error) {
	if raw == nil {
		return queue.Summary{Job: job}, nil
	}
	return exported(raw, "summary of "+job, func(s *queue.Summary) bool { return s.Job == job })
}

// applySummary writes the summary of a change.
func (b *batch) applySummary(c queue.Change) {
	if c.Summary == nil {
		return
	}
	value, err := encodeJSON(c.Summary, "summary")
	b.note(err)
	b.put(bucketSummaries(), []byte(c.Lane.Job), value)
}

// Overviews returns what there is to show about several jobs, in the order asked for. No
// record of a build is read.
func (q *DB) Overviews(ctx context.Context, jobs []string) ([]queue.Overview, error) {
	heads, err := q.Lanes(ctx, jobs)
	if err != nil {
		return nil, err
	}
	all := make([]queue.Overview, len(jobs))
	err = q.view(func(tx *bolt.Tx) error {
		summaries, builds := tx.Bucket(bucketSummaries()), tx.Bucket(bucketBuilds()).Cursor()
		for i, job := range jobs {
			o := queue.Overview{Lane: heads[i]}
			var err error
			if o.Summary, err = decodeSummary(summaries.Get([]byte(job)), job); err != nil {
				q.opts.Log.Error("cannot read the summary of a job", zap.String("job", job), zap.Error(err))
				o.Summary = queue.Summary{Job: job}
			}
			for k := range prefixed(builds, jobPrefix(job)) {
				_, o.Oldest, err = splitJobKey(k)
				break
			}
			if err != nil {
				return err
			}
			all[i] = o
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Gone returns the lanes with queued items whose jobs no server has, by job.
func (q *DB) Gone(ctx context.Context) ([]queue.Lane, error) {
	var gone []queue.Lane
	err := q.ask(ctx, request{look: func(m *memory) error {
		gone = nil
		for _, job := range slices.Sorted(maps.Keys(m.lanes)) {
			if head := m.lanes[job].head; !head.GoneUntil.IsZero() && head.Queued > 0 {
				gone = append(gone, head)
			}
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return gone, nil
}
