package pgqueue

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

// lockedSQL returns whether the table of servers is locked against writes, so that no
// lease can be released.
const lockedSQL = `select exists (select from pg_locks where locktype = 'relation' and granted
	and database = (select oid from pg_database where datname = current_database())
	and relation = (select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = 'servers')
	and mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))`

// stillLeased is called after a heartbeat that has waited too long for a lock. It reports
// whether the same connection can be used again. While the table of servers is locked, as
// by vacuum full, no lease can be released, so this one is extended. After the lock has
// ended, other servers renew their leases for [DB.settleTime] before they release one, so
// the lease can be extended by that much.
func (q *DB) stillLeased(ctx context.Context, conn *pgx.Conn) bool {
	asked := time.Now()
	var locked bool
	ctx, cancel := context.WithTimeout(ctx, q.settleTime()/2)
	defer cancel()
	if err := conn.QueryRow(ctx, lockedSQL, q.opts.Schema).Scan(&locked); err != nil {
		return false
	}
	if locked {
		q.lease.extend(asked.Add(q.settleTime() - q.cutLimit()))
		q.lockSaid.Do(func() {
			q.opts.Log.Warn("the table of servers is locked: heartbeats wait, and builds go on", zap.String("schema", q.opts.Schema))
		})
	}
	return true
}

// extend extends the lease as if a heartbeat had been sent at an instant.
func (l *lease) extend(to time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if to.After(l.heard) {
		l.heard, l.since = to, to
	}
}

// beatTimeout bounds how long a heartbeat waits for a lock.
func (q *DB) beatTimeout() string { return fmt.Sprint(max(1, q.beatEvery().Milliseconds()/2)) }
