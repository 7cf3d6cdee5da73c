package pgqueue

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

// lockedSQL is true while the table of servers is locked so that no server can write to
// it, nor give another one up.
const lockedSQL = `select exists (select from pg_locks where locktype = 'relation' and granted
	and database = (select oid from pg_database where datname = current_database())
	and relation = (select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = 'servers')
	and mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))`

// stillLeased is called after a heartbeat that had to wait for a lock too long, and
// reports whether it makes sense to try again on the same connection. While the
// table of servers is locked, as by vacuum full, no server can be given up, so the
// lease goes on. After the end of the lock the others hear of each other for
// [DB.beatEvery] before they give one up; the lease is extended by that.
func (q *DB) stillLeased(ctx context.Context, conn *pgx.Conn) bool {
	asked := time.Now()
	var locked bool
	ctx, cancel := context.WithTimeout(ctx, q.beatEvery())
	defer cancel()
	if err := conn.QueryRow(ctx, lockedSQL, q.opts.Schema).Scan(&locked); err != nil {
		return false
	}
	if locked {
		q.lease.extend(asked.Add(q.beatEvery() - q.cutLimit()))
		q.lockSaid.Do(func() {
			q.opts.Log.Warn("the table of servers is locked: heartbeats wait, and builds go on", zap.String("schema", q.opts.Schema))
		})
	}
	return true
}

// extend makes the lease count as if a heartbeat had been sent at an instant, without
// making it one that got through.
func (l *lease) extend(to time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if to.After(l.heard) {
		l.heard, l.since = to, to
	}
}

// beatTimeout bounds how long a heartbeat waits for a lock.
func (q *DB) beatTimeout() string { return fmt.Sprint(max(1, q.beatEvery().Milliseconds()/2)) }
