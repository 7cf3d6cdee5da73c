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

// lease is the right of this server to start builds and to run them. It ends
// when the database has not heard of the server for [Options.TTL], or when a
// server of the same name opens the queue: then the epoch is a higher one.
type lease struct {
	// cut has a value when builds must be stopped.
	cut chan struct{}

	mu sync.Mutex
	// mu guards the following.
	epoch int64
	heard time.Time // when the last heartbeat that got through was sent
	since time.Time // when the first of all those was sent that came without a gap
	// database is when the database server was started that heard it.
	database string
	// pulse is what the last heartbeat that was answered has written, tried what the last
	// one of all may have written.
	pulse, tried int64
	// stopping are the jobs that the last heartbeat named.
	stopping []string
}

func (l *lease) get() (epoch int64, heard time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch, l.heard
}

// set notes that a heartbeat got through.
func (l *lease) set(epoch int64, heard time.Time, database string, gap time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if heard.Sub(l.heard) > gap {
		l.since = heard
	}
	l.epoch, l.heard, l.database = epoch, heard, database
}

// heardBy reports whether the last heartbeat went to the database server that was
// started then.
func (l *lease) heardBy(start string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.database == start
}

// nextPulse returns the pulse of the last heartbeat that was answered, and one for the
// next heartbeat. It grows, so that an older one is known as such.
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

// setStopping notes what a heartbeat has said, and reports whether that is new.
func (l *lease) setStopping(jobs []string) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed = !slices.Equal(l.stopping, jobs)
	l.stopping = jobs
	return changed
}

// steady is how long heartbeats have got through without a gap.
func (l *lease) steady() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heard.Sub(l.since)
}

// CutOff has a value when this server must stop its builds, because another one
// may give them up: the database was not reached for too long, or another server
// has given this one up. What has ended is recorded when the database is back, if
// nobody else has recorded it as lost by then.
func (q *DB) CutOff() <-chan struct{} { return q.lease.cut }

func (q *DB) cutOff() {
	select {
	case q.lease.cut <- struct{}{}:
	default:
	}
}

// beatEvery is how often a server says that it is there.
func (q *DB) beatEvery() time.Duration { return min(q.opts.TTL/6, pingEvery) }

// claimLimit is how long after its last heartbeat a server still claims,
// cutLimit how long its builds still run. The rest of the time is for them to end.
func (q *DB) claimLimit() time.Duration { return q.opts.TTL / 3 }
func (q *DB) cutLimit() time.Duration   { return q.opts.TTL * 2 / 3 }

// errTaken says that this server was given up.
var errTaken = errors.New("the server was given up by another one")

// errSilent says that the database has not heard of this server.
var errSilent = errors.New("the database has not heard of this server for too long")

// renew makes sure, with the lock of its name at hand, that the server has a lease.
func (q *DB) renew(ctx context.Context, conn *pgx.Conn) error {
	if epoch, _ := q.lease.get(); epoch != 0 {
		if err := q.beat(ctx, conn); !errors.Is(err, errTaken) {
			return err
		}
		q.cutOff() // whoever it was records our builds as lost
	}
	sent := time.Now()
	own, _ := q.lease.get()
	_, pulse := q.lease.nextPulse()
	stopping := q.known.outlived(math.MaxInt64)
	var epoch int64
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// A claim holds its own server's row, so none is half done after this.
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
	return q.beat(ctx, conn)
}

// release says that this server runs no builds any more.
func (q *DB) release(ctx context.Context, conn *pgx.Conn) {
	epoch, _ := q.lease.get()
	// If it does not get through, the others have to wait.
	_, _ = conn.Exec(ctx, q.names.in("update queue.servers set released = true where server = $1 and epoch = $2"), q.opts.Server, epoch)
}

// mayClaim answers an error if the database may be about to give this server up.
func (q *DB) mayClaim() (epoch int64, err error) {
	epoch, heard := q.lease.get()
	if silent := time.Since(heard); silent > q.claimLimit() {
		return 0, fmt.Errorf("%w: %w (%v)", queue.ErrStorage, errSilent, silent.Round(time.Second))
	}
	return epoch, nil
}

// stillHolds says whether what was started under an epoch may be handed out.
func (q *DB) stillHolds(epoch int64) bool {
	now, heard := q.lease.get()
	return now == epoch && time.Since(heard) < q.cutLimit()
}

// watch has builds stopped in time when the database can't be reached. It ends
// with Close.
func (q *DB) watch() {
	said := false
	for {
		_, heard := q.lease.get()
		left := q.cutLimit() - time.Since(heard)
		switch {
		case left > 0:
			said = false
		case !said:
			q.opts.Log.Error("the database was not reached for too long: builds are stopped, because other servers give them up soon")
			q.cutOff()
			said = true
			fallthrough
		default:
			left = q.cutLimit()
		}
		select {
		case <-time.After(left):
		case <-q.stop:
			return
		}
	}
}
