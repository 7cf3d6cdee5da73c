package boltqueue

import (
	"fmt"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// read indexes what is queued and running, the receipts, and the notifications. Of items it
// decodes only the headers, of receipts only the keys.
func (m *memory) read(tx *bolt.Tx, log *zap.Logger) error {
	m.nextID = max(1, int64(readUint(tx.Bucket(bucketMeta()).Get(keyNextID())))) //nolint:gosec // written from an int64
	if err := tx.Bucket(bucketLanes()).ForEach(func(job, raw []byte) error { return m.readLane(tx, string(job), raw, log) }); err != nil {
		return err
	}
	queued := make(map[*lane]int, len(m.lanes))
	err := tx.Bucket(bucketItems()).ForEach(func(k, raw []byte) error {
		id, err := keyID(k)
		if err != nil {
			return err
		}
		h, _, err := decodeHeader(raw)
		if err != nil {
			return fmt.Errorf("item %d: %w", id, err)
		}
		l, ok := m.lanes[string(h.job)]
		if !ok {
			return fmt.Errorf("%w: item %d of %q, which has no lane", errRecord, id, h.job)
		}
		// The size of the whole record, with its causes, because the parameters are not decoded.
		m.add(l, id, h.due, h.digest, len(raw)>>10, h.flags)
		queued[l]++
		m.nextID = max(m.nextID, id+1)
		return nil
	})
	if err != nil {
		return err
	}
	for job, l := range m.lanes {
		if l.head.Queued != queued[l] {
			return fmt.Errorf("%w: lane of %q counts %d items, there are %d", errRecord, job, l.head.Queued, queued[l])
		}
		m.reposition(l)
	}
	m.readReceipts(tx, log)
	m.outbox.read(tx, log)
	return nil
}

// readLane reads a lane, the summary of its builds, and the requests to stop
// running ones.
func (m *memory) readLane(tx *bolt.Tx, job string, raw []byte, log *zap.Logger) error {
	head, err := decodeJSON[queue.Lane](raw, "lane")
	if err != nil {
		return err
	}
	if head.Job != job {
		return fmt.Errorf("%w: lane of %q holds %q", errRecord, job, head.Job)
	}
	summary, err := decodeSummary(tx.Bucket(bucketSummaries()).Get([]byte(job)), job)
	if err != nil { // the builds are worth more
		log.Error("cannot read the summary of a job; it starts again", zap.String("job", job), zap.Error(err))
		summary = queue.Summary{Job: job}
	}
	m.lanes[job] = &lane{head: *head, pos: -1, summary: summary}
	for _, number := range head.Running {
		raw := tx.Bucket(bucketBuilds()).Get(jobKey(job, number))
		if raw == nil {
			return fmt.Errorf("%w: running build %s #%d has no record", errRecord, job, number)
		}
		build, err := decodeJSON[queue.Build](raw, "build")
		if err != nil {
			return err
		}
		if build.Abort != "" {
			m.aborts[buildKey{job, number}] = *build
		}
	}
	return nil
}
