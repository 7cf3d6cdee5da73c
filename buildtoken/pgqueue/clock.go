package pgqueue

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// maxOffset is how far the clock of a server may be from that of the database before
// it is worth a warning.
const maxOffset = time.Second

// clock is what is known of the difference between this server's clock and that of the
// database. Due instants are of the servers' clocks.
type clock struct {
	mu sync.Mutex
	// mu guards the following.
	offset time.Duration
	warned bool
}

// compare records the time of the database, which was read between two instants. The
// difference is accurate to half of the time between them.
func (c *clock) compare(database, sent, received time.Time, log *zap.Logger) {
	trip := received.Sub(sent)
	if trip > maxOffset {
		return // too imprecise
	}
	offset := sent.Add(trip / 2).Sub(database).Round(time.Millisecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset = offset
	off := offset.Abs()-trip/2 > maxOffset
	switch {
	case off && !c.warned:
		log.Warn("the clock of this server differs from that of the database: builds start early or late; synchronize the clocks", zap.Duration("ahead", offset))
	case !off && c.warned:
		log.Info("the clock of this server agrees with that of the database again", zap.Duration("ahead", offset))
	}
	c.warned = off
}

// ClockOffset returns how far the clock of this server is ahead of that of the database,
// as the last heartbeat has found it.
func (q *DB) ClockOffset() time.Duration {
	q.clock.mu.Lock()
	defer q.clock.mu.Unlock()
	return q.clock.offset
}
