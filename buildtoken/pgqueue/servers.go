package pgqueue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// living holds the living servers, as a heartbeat has found them. It is immutable.
type living struct {
	epochs map[string]int64
	nodes  []queue.Node
}

// Nodes returns the living servers that have announced what they can run, including this
// one, by name, as the last heartbeat has found them.
func (q *DB) Nodes() []queue.Node { return q.living.Load().nodes }

// Announce publishes to all servers what this one can run.
func (q *DB) Announce(ctx context.Context, node queue.Node, executors int) error {
	return q.decide(ctx, func(_ context.Context, t *tx) error {
		t.tell = message{Servers: true, Notice: queue.Notice{All: true}}
		b := t.batch()
		b.Queue("update queue.servers set labels = $2, executors = $3 where server = $1", q.opts.Server, append([]string{}, node.Labels...), executors)
		t.last = b
		return nil
	})
}

const (
	// ownSQL returns the lease, and whether the database has lost nothing: it is the incarnation
	// of before, and it has the last heartbeat that was answered, or a later one.
	ownSQL = `select epoch, released, mark is not distinct from (select mark from queue.incarnations) and pulse between $2 and $3
		from queue.servers where server = $1 for no key update`
	beatSQL = `update queue.servers set beat = clock_timestamp(), pulse = $4, stopping = $5
		where server = $1 and epoch = $2 and not released
			and mark is not distinct from (select mark from queue.incarnations) and pulse between $3 and $4`
	// livesSQL is whether the lease of a server is valid, by the database's clock.
	livesSQL = "(not released and beat >= clock_timestamp() - ttl * interval '1 second')"
	// giveUpSQL releases the expired leases of other servers. It skips rows that are
	// locked, by a claim or by another server that does the same.
	giveUpSQL = `update queue.servers set epoch = epoch + 1, released = true where server in
		(select server from queue.servers where not released and server <> $1 and not ` + livesSQL + ` for update skip locked) returning server`
	livingSQL = "select server, epoch, labels, jobs from queue.servers where " + livesSQL + " order by server"
	// lostSQL selects the builds that run on record although their server is gone, and
	// those that this server has started in an earlier epoch.
	lostSQL = `select b.job, b.number, b.run, b.epoch, b.server, s.server is null, coalesce(s.epoch = b.epoch, false), coalesce(s.ttl, 0)
		from queue.builds b left join queue.servers s using (server)
		where b.running and (s.server is null or s.released or b.server = $1 and b.epoch < $2) order by b.job, b.number`
)

// beat renews the lease of this server, releases the expired leases of others, and finds
// the living servers. It returns [errTaken] if the lease of this server was released. It
// uses no table but that of servers, so no lock on another table delays it.
func (q *DB) beat(ctx context.Context, conn *pgx.Conn) error {
	done, err := q.lease.alone(ctx)
	if err != nil {
		return err
	}
	defer done()
	return q.beatAlone(ctx, conn)
}

// beatAlone is beat for a caller that has called [lease.alone].
func (q *DB) beatAlone(ctx context.Context, conn *pgx.Conn) error {
	epoch, _ := q.lease.get()
	sent := time.Now()
	found := &living{epochs: map[string]int64{}}
	var held, same, differ bool
	var clock time.Time
	stopping := q.known.outlived(epoch)
	confirmed, pulse := q.lease.nextPulse()
	b := new(pgx.Batch)
	b.Queue(ownSQL, q.opts.Server, confirmed, pulse).Query(func(rows pgx.Rows) error {
		var onRecord int64
		var released, unchanged bool
		return forEach(rows, []any{&onRecord, &released, &unchanged}, func() error {
			// Epochs only grow, so a lower one is that of an older state of the database.
			held = onRecord < epoch || onRecord == epoch && !released
			same = onRecord == epoch && unchanged
			return nil
		})
	})
	b.Queue(beatSQL, q.opts.Server, epoch, confirmed, pulse, stopping)
	// After the database was unreachable, all servers get the time for a heartbeat.
	if q.lease.steady() >= q.settleTime() {
		b.Queue(giveUpSQL, q.opts.Server).Query(func(rows pgx.Rows) error {
			gone, err := column[string](rows)
			if len(gone) > 0 {
				q.opts.Log.Error("leases of servers have expired: their builds are taken for lost", zap.Strings("servers", gone))
				q.hub.tell(message{Servers: true}) // what only they could run is stuck, on all servers
			}
			return err
		})
	}
	b.Queue(livingSQL).Query(func(rows pgx.Rows) (err error) {
		differ, err = found.read(rows, q.rules.newest().digest)
		return err
	})
	b.Queue("select clock_timestamp()").QueryRow(scan(&clock))
	if err := conn.SendBatch(ctx, q.names.inAll(b)).Close(); err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	switch {
	case !held:
		return errTaken
	case !same:
		return q.confirm(ctx, conn)
	}
	q.lease.confirmPulse(pulse)
	q.lease.set(epoch, sent, startOf(conn), q.claimLimit())
	q.clock.compare(clock, sent, time.Now(), q.opts.Log)
	q.tellStopping(stopping)
	if before := q.living.Swap(found); before != nil && !maps.Equal(before.epochs, found.epochs) {
		q.hub.pass(queue.Notice{All: true}) // notifications of a server that is gone may be missing
		q.notify()                          // and something to send
	}
	switch {
	case differ:
		q.rules.differ()
	case q.rules.unsettled():
		select {
		case q.settle <- struct{}{}:
		default:
		}
	}
	return q.lookForLost(ctx, conn, epoch)
}

// lookForLost looks for builds that run on record only. The lease does not depend on it,
// since the table of builds may be locked for long, as by vacuum full.
func (q *DB) lookForLost(ctx context.Context, conn *pgx.Conn, epoch int64) error {
	var lost []lostBuild
	b := new(pgx.Batch)
	b.Queue("select set_config('lock_timeout', $1, true)", q.beatTimeout())
	b.Queue(lostSQL, q.opts.Server, epoch).Query(into(&lost, q.readLost))
	err := conn.SendBatch(ctx, q.names.inAll(b)).Close()
	switch {
	case isLocked(err):
		q.opts.Log.Debug("the table of builds is locked", zap.Error(err))
		return nil
	case err != nil:
		return fmt.Errorf("look for lost builds: %w", err)
	}
	if len(lost) > 0 {
		q.hub.pass(queue.Notice{Lost: true})
	}
	return nil
}

// isLocked reports whether a statement was given up because of a lock.
func isLocked(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "55P03" // lock_not_available
}

// read reads servers, and reports whether some have other jobs than own.
func (l *living) read(rows pgx.Rows, own []byte) (differ bool, err error) {
	var server string
	var epoch int64
	var labels []string
	var jobs []byte
	err = forEach(rows, []any{&server, &epoch, &labels, &jobs}, func() error {
		l.epochs[server] = epoch
		if labels != nil { // it was announced
			l.nodes = append(l.nodes, queue.Node{Name: server, Labels: labels})
		}
		differ = differ || jobs != nil && own != nil && !slices.Equal(jobs, own)
		return nil
	})
	return differ, err
}

// lostBuild is a build that runs on record only.
type lostBuild struct {
	job    string
	number int64
	server string
	reason string
}

// readLost reads the rows of lostSQL.
func (q *DB) readLost(rows pgx.Rows) ([]lostBuild, error) {
	var all []lostBuild
	var found lostBuild
	var unknown, left bool
	var ttl float64 // seconds
	var run, epoch int64
	err := forEach(rows, []any{&found.job, &found.number, &run, &epoch, &found.server, &unknown, &left, &ttl}, func() error {
		switch {
		case found.server == q.opts.Server:
			// A build that was handed out is being stopped, and its end is recorded as usual.
			if !q.reclaimed.Load() || q.known.run(buildKey{found.job, found.number}) == run {
				return nil
			}
			found.reason = "lost: the server was given up when it started the build"
			switch {
			case epoch >= q.setBack.Load():
			case !q.known.wasStarted(run):
				found.reason = "lost: the connection to the database was lost when the build was started, so nothing was run"
			default:
				found.reason = "lost: the database was set back to a time when the build was running, so how it ended is not known"
			}
		case unknown:
			found.reason = fmt.Sprintf("lost: the server %s is not known any more", found.server)
		case left:
			found.reason = fmt.Sprintf("lost: the server %s has stopped and did not record how the build ended", found.server)
		default:
			found.reason = fmt.Sprintf("lost: the server %s was not heard of for %v", found.server, time.Duration(ttl*float64(time.Second)))
		}
		all = append(all, found)
		return nil
	})
	return all, err
}

// ReclaimLost ends the builds that run on record although their server is gone, and
// returns them. Each build is ended once, even if several servers do this at once. When
// the server that ran them comes back, they are among its [DB.Lost].
//
// Builds for which keep returns true stay running; the caller goes on with them after
// [DB.Adopt]. A nil keep ends all builds.
func (q *DB) ReclaimLost(ctx context.Context, now time.Time, keep func(queue.Build) bool) ([]queue.Build, error) {
	epoch, _ := q.lease.get()
	var lost []lostBuild
	err := q.query(ctx, lostSQL, []any{q.opts.Server, epoch}, into(&lost, q.readLost))
	if err != nil {
		return nil, err
	}
	var ended []queue.Build
	for _, b := range lost {
		if keep != nil {
			build, err := q.Build(ctx, b.job, b.number)
			if errors.Is(err, queue.ErrNotFound) || err == nil && keep(build) {
				continue
			}
			if err != nil {
				return ended, err
			}
		}
		build, err := q.finish(ctx, now, b.job, b.number, queue.Aborted, b.reason, ending{lost: true, orphan: b.server != q.opts.Server})
		switch {
		case errors.Is(err, queue.ErrNotRunning), errors.Is(err, queue.ErrNotFound): // another server was faster
		case err != nil:
			return ended, err
		default:
			ended = append(ended, build)
		}
	}
	if len(ended) > 0 {
		q.opts.Log.Warn("builds were lost with the server that ran them", zap.Int("builds", len(ended)))
	}
	return ended, nil
}
