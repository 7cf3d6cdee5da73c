package pgqueue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// lease is the right of this server to start and run builds. It expires when no
// heartbeat has reached the database for [Options.TTL], and ends when a server of the
// same name opens the queue, which increments the epoch.
type lease struct {
	// cut has a value when builds must be stopped.
	cut chan struct{}
	// beating has a value while a heartbeat is sent.
	beating chan struct{}

	mu sync.Mutex
	// mu guards the following.
	epoch int64
	heard time.Time // when the last successful heartbeat was sent
	since time.Time // when the first of the heartbeats since the last gap was sent
	// database is when the database server of the last heartbeat was started.
	database string
	// pulse was written by the last heartbeat that was answered; tried may have been
	// written by the last attempt.
	pulse, tried int64
	// stopping holds the jobs that the last heartbeat listed.
	stopping []string
}

func (l *lease) get() (epoch int64, heard time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch, l.heard
}

// alone blocks until no other heartbeat of this server is sent, and no other one is until
// done is called: a heartbeat may take a new epoch, and one that is sent at the same time
// would find that the lease is not its own.
func (l *lease) alone(ctx context.Context) (done func(), err error) {
	select {
	case l.beating <- struct{}{}:
		return func() { <-l.beating }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("heartbeat: %w", context.Cause(ctx))
	}
}

// set records a successful heartbeat.
func (l *lease) set(epoch int64, heard time.Time, database string, gap time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if heard.Sub(l.heard) > gap {
		l.since = heard
	}
	l.epoch, l.heard, l.database = epoch, heard, database
}

// heardBy reports whether the last heartbeat reached the database server that was
// started at that time.
func (l *lease) heardBy(start string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.database == start
}

// nextPulse returns the pulse of the last heartbeat that was answered, and a higher
// one for the next heartbeat.
func (l *lease) nextPulse() (confirmed, next int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tried == 0 {
		l.pulse = newRun()
		l.tried = l.pulse
	}
	l.tried++
	return l.pulse, l.tried
}

func (l *lease) confirmPulse(pulse int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pulse = max(l.pulse, pulse)
}

// setStopping records the jobs that a heartbeat has listed, and reports whether they
// have changed.
func (l *lease) setStopping(jobs []string) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed = !slices.Equal(l.stopping, jobs)
	l.stopping = jobs
	return changed
}

// steady returns for how long heartbeats have succeeded without a gap.
func (l *lease) steady() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heard.Sub(l.since)
}

// CutOff has a value when this server must stop its builds, because its lease is about
// to expire or was released by another server. Their ends are recorded when the database
// can be reached again, unless another server has recorded them as lost by then.
func (q *DB) CutOff() <-chan struct{} { return q.lease.cut }

func (q *DB) cutOff() {
	select {
	case q.lease.cut <- struct{}{}:
	default:
	}
}

// beatEvery is the interval between heartbeats.
func (q *DB) beatEvery() time.Duration { return min(q.opts.TTL/6, pingEvery) }

// claimLimit is how long after its last heartbeat a server still claims, cutLimit how
// long its builds continue. The rest of the lease is for them to end.
func (q *DB) claimLimit() time.Duration { return q.opts.TTL / 3 }
func (q *DB) cutLimit() time.Duration   { return q.opts.TTL * 2 / 3 }

// settleTime is for how long the heartbeats of a server must have succeeded before it
// releases the expired leases of others: all had the same trouble.
func (q *DB) settleTime() time.Duration { return 2 * q.beatEvery() }

// errTaken is returned when another server has released the lease of this one.
var errTaken = errors.New("another server has taken the lease of this one for expired")

// errSilent is returned when no heartbeat has succeeded for too long.
var errSilent = errors.New("no heartbeat of this server has reached the database for too long")

// renew makes sure that the server has a lease. The connection must hold the lock of
// the server's name.
func (q *DB) renew(ctx context.Context, conn *pgx.Conn) error {
	done, err := q.lease.alone(ctx)
	if err != nil {
		return err
	}
	defer done()
	if epoch, _ := q.lease.get(); epoch != 0 {
		if err := q.beatAlone(ctx, conn); !errors.Is(err, errTaken) {
			return err
		}
		q.cutOff() // the other server records our builds as lost
	}
	sent := time.Now()
	own, _ := q.lease.get()
	_, pulse := q.lease.nextPulse()
	stopping := q.known.outlived(math.MaxInt64)
	var epoch int64
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// A claim locks its own server's row, so none is in progress after this.
		if _, err := tx.Exec(ctx, q.names.in("select from queue.servers where server = $1 for update"), q.opts.Server); err != nil {
			return err
		}
		return tx.QueryRow(ctx, q.names.in(`insert into queue.servers (server, epoch, beat, ttl, released, pulse, mark, stopping)
			select $1, $3 + 1, clock_timestamp(), $2, false, $4, mark, $5 from queue.incarnations
			on conflict (server) do update set epoch = greatest(servers.epoch, $3) + 1, beat = excluded.beat, ttl = excluded.ttl,
				released = false, pulse = excluded.pulse, mark = excluded.mark, stopping = excluded.stopping
			returning epoch`), q.opts.Server, q.opts.TTL.Seconds(), own, pulse, stopping).Scan(&epoch)
	})
	if err != nil {
		return fmt.Errorf("take a lease: %w", err)
	}
	q.lease.confirmPulse(pulse)
	q.lease.setStopping(stopping)
	q.lease.set(epoch, sent, startOf(conn), q.claimLimit())
	return q.beatAlone(ctx, conn)
}

// release ends the lease of this server, which runs no builds any more.
func (q *DB) release(ctx context.Context, conn *pgx.Conn) {
	epoch, _ := q.lease.get()
	// If it fails, the other servers wait until the lease expires.
	_, _ = conn.Exec(ctx, q.names.in("update queue.servers set released = true where server = $1 and epoch = $2"), q.opts.Server, epoch)
}

// mayClaim returns the epoch, or an error if the lease may be about to expire.
func (q *DB) mayClaim() (epoch int64, err error) {
	epoch, heard := q.lease.get()
	if silent := time.Since(heard); silent > q.claimLimit() {
		return 0, fmt.Errorf("%w: %w (%v)", queue.ErrStorage, errSilent, silent.Round(time.Second))
	}
	return epoch, nil
}

// stillHolds reports whether builds that were started in an epoch may be handed out, and
// notifications that were taken in it may be sent.
func (q *DB) stillHolds(epoch int64) bool {
	now, heard := q.lease.get()
	return now == epoch && time.Since(heard) < q.cutLimit()
}

// watch stops the builds in time when the database cannot be reached. It ends with
// Close.
func (q *DB) watch() {
	var last time.Time // the heartbeat after which builds were stopped
	for {
		_, heard := q.lease.get()
		left := q.cutLimit() - time.Since(heard)
		if left <= 0 {
			if !heard.Equal(last) { // there may have been one while this function slept
				q.opts.Log.Error("the database was not reached for too long: builds are stopped before other servers take them for lost")
				q.cutOff()
				last = heard
			}
			left = q.beatEvery()
		}
		select {
		case <-time.After(left):
		case <-q.stop:
			return
		}
	}
}

// LeaseRemaining returns for how long this server may still run builds if no heartbeat
// reaches the database from now on; 0 if it may not.
func (q *DB) LeaseRemaining() time.Duration {
	_, heard := q.lease.get()
	return max(q.opts.TTL-time.Since(heard), 0)
}
